//! What nodes that share a database remember of failures together, so that N nodes do not give N times the tries.
//!
//! The database remembers. A node keeps for a moment what it was told of closed doors, so that hammering them does not
//! load the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::failures::{Outcome, Subject, Verdict};
use crate::domain::sources::Clock;
use crate::domain::time::Timestamp;
use crate::storage::{ReserveAttempt, SettleAttempt, Store, StoreError};

/// How long a closed door is believed to be closed unasked: a success that was under way may have opened it.
const BELIEVED: Duration = Duration::from_secs(1);

/// How many closed doors are known at once: some 5 MiB. Past it the database is asked.
const CAPACITY: usize = 50_000;

#[derive(Clone)]
pub(super) struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    doors: Arc<Doors>,
}

impl Shared {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, doors: Arc::default() }
    }

    /// # Errors
    /// The database does not answer. The attempt may be reserved then; nobody settles it, and it counts as failed when
    /// its time is up: a lost answer must not be a free try.
    pub async fn reserve(&self, subjects: &[Subject]) -> Result<Verdict, StoreError> {
        if let Some(retry_after) = self.doors.closed(subjects, self.clock.uptime()) {
            // Whoever was told of it has announced it.
            return Ok(Verdict::Refused { retry_after, closed: Vec::new(), announce: false });
        }
        let request = ReserveAttempt { subjects: subjects.to_vec(), offset: self.clock.offset() };
        let verdict = self.store.reserve_attempt(request).await?;
        if let Verdict::Refused { closed, .. } = &verdict {
            self.doors.close(subjects, closed, self.clock.uptime());
        }
        Ok(verdict)
    }

    /// Unsettled, the attempt counts as failed when its time is up. So where the database does not answer there is
    /// nothing to tell the caller, who has an outcome.
    pub async fn settle(&self, subjects: Vec<Subject>, until: Timestamp, outcome: Outcome) {
        let settlement = SettleAttempt { subjects, until, outcome, offset: self.clock.offset() };
        if let Err(error) = self.store.settle_attempt(settlement).await {
            tracing::debug!(%error, ?outcome, "an attempt at a password counts as failed");
        }
    }
}

/// The doors that were found closed, by uptime.
#[derive(Default)]
struct Doors(Mutex<HashMap<[u8; 32], Closed>>);

#[derive(Clone, Copy)]
struct Closed {
    until: Duration,
    believed_until: Duration,
}

impl Doors {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Closed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long a door among these is known to be closed.
    fn closed(&self, subjects: &[Subject], now: Duration) -> Option<Duration> {
        let closed = self.lock();
        let known = subjects.iter().filter_map(|subject| closed.get(&subject.key));
        known.filter(|door| now < door.believed_until).map(|door| door.until - now).max()
    }

    /// Remembers those that are closed for some time.
    fn close(&self, subjects: &[Subject], waits: &[Duration], now: Duration) {
        let mut closed = self.lock();
        if closed.len() + subjects.len() > CAPACITY {
            closed.retain(|_, door| now < door.believed_until);
        }
        for (subject, wait) in subjects.iter().zip(waits) {
            if !wait.is_zero() && closed.len() < CAPACITY {
                let door = Closed { until: now + *wait, believed_until: now + BELIEVED.min(*wait) };
                closed.insert(subject.key, door);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failures::Rule;

    fn subject(n: usize) -> Subject {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        Subject { key, rule: Rule { free: 5, longest_delay: Duration::from_secs(30), forgives: true } }
    }

    #[test]
    fn a_closed_door_is_believed_for_a_second_and_no_longer_than_it_is_closed() {
        let doors = Doors::default();
        let both = [subject(1), subject(2)];
        let millis = Duration::from_millis;
        doors.close(&both, &[millis(16_000), millis(400)], millis(5_000));
        assert_eq!(doors.closed(&both, millis(5_100)), Some(millis(15_900)), "the longest wait counts");
        assert_eq!(doors.closed(&both[1..], millis(5_399)), Some(millis(1)));
        assert_eq!(doors.closed(&both[1..], millis(5_400)), None);
        assert_eq!(doors.closed(&both, millis(5_999)), Some(millis(15_001)));
        assert_eq!(doors.closed(&both, millis(6_000)), None, "somebody's success may have opened it");
    }

    #[test]
    fn open_doors_are_not_remembered_and_closed_ones_are_bounded() {
        let doors = Doors::default();
        let (second, zero) = (Duration::from_secs(1), Duration::ZERO);
        doors.close(&[subject(0)], &[zero], second);
        assert!(doors.lock().is_empty());
        for n in 0..CAPACITY + 10 {
            doors.close(&[subject(n)], &[second], second);
        }
        assert_eq!(doors.lock().len(), CAPACITY);
        doors.close(&[subject(CAPACITY + 5)], &[second], 2 * second);
        assert_eq!(doors.lock().len(), 1, "those that are over make room");
    }
}
