//! Failed logins slow further ones down: per account, per address, per client (design: five, twenty and a thousand free
//! failures in 15 minutes).
//!
//! An attempt is reserved before its password is hashed, so that a throttled one costs nothing and many at once do not
//! each count as the first; its outcome is recorded afterwards. Unknown accounts are throttled like known ones, by a
//! keyed hash of the name, so that a refusal tells nothing.

mod memory;
mod subjects;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use self::memory::Memory;
use self::subjects::Subjects;
use super::CredentialSettings;
use crate::domain::failures::{Outcome, Subject, Verdict};
use crate::domain::secret::Secret32;
use crate::domain::sources::Clock;
use crate::domain::time::Timestamp;

pub(super) use self::subjects::network;

/// Why an attempt was not let in.
#[derive(Debug)]
pub(super) enum Denied {
    Throttled {
        /// Whole seconds, at least one.
        retry_after: Duration,
        /// The first refusal of its window: write it to the audit trail.
        announce: bool,
    },
    /// Too many attempts wait for the outcome of others.
    Overloaded,
}

/// Who lets attempts in.
pub(super) struct Throttle {
    pub subjects: Subjects,
    memory: Memory,
    /// Wakes attempts that wait for the outcome of others.
    ended: Notify,
    /// One permit per attempt that may wait.
    waiting: Semaphore,
}

impl Throttle {
    pub fn new(settings: &CredentialSettings, clock: Arc<dyn Clock>, key: Secret32) -> Self {
        Self {
            subjects: Subjects::new(settings, key),
            memory: Memory::new(clock),
            ended: Notify::new(),
            waiting: Semaphore::new(settings.queue.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// Lets one attempt in, once nothing under way can still close the door. The caller settles it.
    pub async fn reserve(self: &Arc<Self>, subjects: &[Subject]) -> Result<Attempt, Denied> {
        let mut place = None;
        loop {
            // Registered before the decision: an end between the two must wake us.
            let ended = self.ended.notified();
            if let Some(attempt) = self.judge(subjects, self.memory.reserve(subjects))? {
                return Ok(attempt);
            }
            if place.is_none() {
                place = Some(self.waiting.try_acquire().map_err(|_| Denied::Overloaded)?);
            }
            ended.await;
        }
    }

    /// `None` where the outcomes of others decide.
    fn judge(self: &Arc<Self>, subjects: &[Subject], verdict: Verdict) -> Result<Option<Attempt>, Denied> {
        match verdict {
            Verdict::Admitted { until } => {
                Ok(Some(Attempt { throttle: Arc::clone(self), subjects: subjects.to_vec(), until }))
            }
            Verdict::Undecided => Ok(None),
            Verdict::Refused { retry_after, announce, .. } => {
                let whole = retry_after.as_millis().div_ceil(1000).max(1);
                let retry_after = Duration::from_secs(u64::try_from(whole).unwrap_or(u64::MAX));
                Err(Denied::Throttled { retry_after, announce })
            }
        }
    }

    fn settle(&self, subjects: &[Subject], until: Timestamp, outcome: Outcome) {
        self.memory.settle(subjects, until, outcome);
        self.ended.notify_waiters();
    }

    /// Counts a failure that needed no reservation, and answers whether it is still a free one.
    pub fn count(&self, subject: Subject) -> bool {
        self.memory.count(subject)
    }
}

/// An attempt that was let in. Dropped without an outcome (a full queue, a caller that hung up and so learned nothing)
/// it counts as none.
pub(super) struct Attempt {
    throttle: Arc<Throttle>,
    subjects: Vec<Subject>,
    /// By which it is found again.
    until: Timestamp,
}

impl Attempt {
    pub fn succeeded(self) {
        self.settle(Outcome::Succeeded);
    }

    pub fn failed(self) {
        self.settle(Outcome::Failed);
    }

    fn settle(mut self, outcome: Outcome) {
        self.throttle.settle(&std::mem::take(&mut self.subjects), self.until, outcome);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.subjects.is_empty() {
            self.throttle.settle(&self.subjects, self.until, Outcome::Abandoned);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::domain::sources::ManualClock;

    fn throttle(settings: CredentialSettings) -> (Arc<ManualClock>, Arc<Throttle>) {
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(0)));
        clock.advance(Duration::from_secs(5));
        let throttle = Throttle::new(&settings, Arc::clone(&clock) as _, Secret32::new([1; 32]));
        (clock, Arc::new(throttle))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn admitted(throttle: &Arc<Throttle>, subjects: &[Subject]) -> Attempt {
        throttle.reserve(subjects).await.unwrap_or_else(|denied| panic!("{denied:?}"))
    }

    /// How long to wait, and whether it is news.
    async fn throttled(throttle: &Arc<Throttle>, subjects: &[Subject]) -> (Duration, bool) {
        match throttle.reserve(subjects).await {
            Err(Denied::Throttled { retry_after, announce }) => (retry_after, announce),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("admitted"),
        }
    }

    #[tokio::test]
    async fn the_sixth_guess_waits_and_a_success_clears_the_account_alone() {
        let (clock, throttle) = throttle(CredentialSettings { address_failures: 7, ..CredentialSettings::default() });
        let names = &throttle.subjects;
        let alice = [names.account("alice"), names.address(address("192.0.2.1"))];
        for _ in 0..5 {
            admitted(&throttle, &alice).await.failed();
        }
        let second = Duration::from_secs(1);
        assert_eq!(throttled(&throttle, &alice).await, (second, true));
        assert_eq!(throttled(&throttle, &alice).await, (second, false), "announced once");

        let elsewhere = [names.known_address("alice", address("192.0.2.9"))];
        assert!(throttle.reserve(&elsewhere).await.is_ok(), "a known address is spared");

        clock.advance(second);
        admitted(&throttle, &alice).await.succeeded();
        for _ in 0..2 {
            admitted(&throttle, &alice).await.failed();
        }
        // The address remembers its five.
        throttled(&throttle, &alice).await;
    }

    #[tokio::test]
    async fn many_at_once_wait_for_the_first_outcomes() {
        let (clock, throttle) = throttle(CredentialSettings::default());
        let alice = [throttle.subjects.account("alice")];
        let mut first = Vec::new();
        for _ in 0..5 {
            first.push(admitted(&throttle, &alice).await);
        }
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let throttle = Arc::clone(&throttle);
                tokio::spawn(async move { throttled(&throttle, &alice).await })
            })
            .collect();
        tokio::task::yield_now().await;
        for attempt in first {
            attempt.failed();
        }
        for one in waiting {
            one.await.unwrap();
        }
        clock.advance(Duration::from_secs(1));
        admitted(&throttle, &alice).await.succeeded();
    }

    #[tokio::test]
    async fn waiting_is_bounded_and_giving_up_frees_the_place() {
        let (_, throttle) =
            throttle(CredentialSettings { queue: 1, account_failures: 1, ..CredentialSettings::default() });
        let alice = [throttle.subjects.account("alice")];
        let first = admitted(&throttle, &alice).await;
        let waits = {
            let throttle = Arc::clone(&throttle);
            tokio::spawn(async move { admitted(&throttle, &alice).await.succeeded() })
        };
        tokio::task::yield_now().await;
        assert!(matches!(throttle.reserve(&alice).await, Err(Denied::Overloaded)));
        drop(first);
        waits.await.unwrap();
    }
}
