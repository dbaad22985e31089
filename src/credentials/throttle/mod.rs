//! Failed logins slow further ones down: per account, per address, per client (design: five, twenty and a thousand free
//! failures in 15 minutes).
//!
//! An attempt is reserved before its password is hashed, so that a throttled one costs nothing and many at once do not
//! each count as the first; its outcome is recorded afterwards. Unknown accounts are throttled like known ones, by a
//! keyed hash of the name, so that a refusal tells nothing. One process remembers by itself ([`memory`]); nodes that
//! share a database remember together ([`shared`]).

mod memory;
mod shared;
mod subjects;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use self::memory::Memory;
use self::shared::Shared;
use self::subjects::Subjects;
use super::CredentialSettings;
use crate::domain::failures::{Outcome, Subject, Verdict};
use crate::domain::secret::Secret32;
use crate::domain::sources::Clock;
use crate::domain::time::Timestamp;
use crate::storage::{Store, StoreError};

pub(super) use self::subjects::network;

/// How soon an attempt asks again that waits for the outcome of others, which another node may know first.
const ASK_AGAIN: Duration = Duration::from_millis(30);

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
    /// The database that counts does not answer.
    Unanswered(StoreError),
}

/// Who lets attempts in.
pub(super) struct Throttle {
    pub subjects: Subjects,
    /// All that one process counts: where it is alone, everything; else what only bounds the audit trail.
    memory: Memory,
    /// Where nodes count together.
    shared: Option<Shared>,
    /// Wakes attempts that wait for the outcome of others.
    ended: Notify,
    /// One permit per attempt that may wait.
    waiting: Semaphore,
}

impl Throttle {
    /// `key` is the same on all nodes that share `store`, which is `None` where one process is alone.
    pub fn new(
        settings: &CredentialSettings,
        clock: Arc<dyn Clock>,
        key: Secret32,
        store: Option<Arc<dyn Store>>,
    ) -> Self {
        Self {
            subjects: Subjects::new(settings, key),
            memory: Memory::new(Arc::clone(&clock)),
            shared: store.map(|store| Shared::new(store, clock)),
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
            if let Some(attempt) = self.decide(subjects).await? {
                return Ok(attempt);
            }
            if place.is_none() {
                place = Some(self.waiting.try_acquire().map_err(|_| Denied::Overloaded)?);
            }
            if self.shared.is_some() {
                // Whichever comes first.
                let _ = tokio::time::timeout(ASK_AGAIN, ended).await;
            } else {
                ended.await;
            }
        }
    }

    /// `None` where the outcomes of others decide.
    async fn decide(self: &Arc<Self>, subjects: &[Subject]) -> Result<Option<Attempt>, Denied> {
        let Some(shared) = &self.shared else {
            return self.judge(subjects, self.memory.reserve(subjects));
        };
        // A caller that hangs up meanwhile abandons what was reserved, and does not leave it under way.
        let (throttle, shared, subjects) = (Arc::clone(self), shared.clone(), subjects.to_vec());
        let asking = tokio::spawn(async move {
            let verdict = shared.reserve(&subjects).await.map_err(Denied::Unanswered)?;
            throttle.judge(&subjects, verdict)
        });
        // The program is ending, or the task has panicked.
        asking.await.unwrap_or_else(|error| Err(Denied::Unanswered(StoreError::Unavailable(Box::new(error)))))
    }

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

    async fn settle(self: Arc<Self>, subjects: Vec<Subject>, until: Timestamp, outcome: Outcome) {
        match &self.shared {
            None => self.settle_here(&subjects, until, outcome),
            Some(shared) => {
                shared.settle(subjects, until, outcome).await;
                self.ended.notify_waiters();
            }
        }
    }

    fn settle_here(&self, subjects: &[Subject], until: Timestamp, outcome: Outcome) {
        self.memory.settle(subjects, until, outcome);
        self.ended.notify_waiters();
    }

    /// Counts a failure that needed no reservation, in this process, and answers whether it is still a free one.
    pub fn count(&self, subject: Subject) -> bool {
        self.memory.count(subject)
    }
}

/// An attempt that was let in. Dropped without an outcome (a full queue, a caller that hung up and so learned nothing)
/// it counts as none.
pub(super) struct Attempt {
    throttle: Arc<Throttle>,
    subjects: Vec<Subject>,
    /// When it has failed, if nobody settles it where nodes count together.
    until: Timestamp,
}

impl Attempt {
    pub async fn succeeded(self) {
        self.settle(Outcome::Succeeded).await;
    }

    pub async fn failed(self) {
        self.settle(Outcome::Failed).await;
    }

    /// Returns when the outcome counts: whoever learns it then meets it at the next attempt, on any node.
    async fn settle(mut self, outcome: Outcome) {
        let subjects = std::mem::take(&mut self.subjects);
        Arc::clone(&self.throttle).settle(subjects, self.until, outcome).await;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let subjects = std::mem::take(&mut self.subjects);
        if subjects.is_empty() {
            return;
        }
        match (&self.throttle.shared, Handle::try_current()) {
            (None, _) => self.throttle.settle_here(&subjects, self.until, Outcome::Abandoned),
            (Some(_), Ok(runtime)) => {
                drop(runtime.spawn(Arc::clone(&self.throttle).settle(subjects, self.until, Outcome::Abandoned)));
            }
            // The program has ended.
            (Some(_), Err(_)) => {}
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
        let throttle = Throttle::new(&settings, Arc::clone(&clock) as _, Secret32::new([1; 32]), None);
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
            admitted(&throttle, &alice).await.failed().await;
        }
        let second = Duration::from_secs(1);
        assert_eq!(throttled(&throttle, &alice).await, (second, true));
        assert_eq!(throttled(&throttle, &alice).await, (second, false), "announced once");

        let elsewhere = [names.known_address("alice", address("192.0.2.9"))];
        assert!(throttle.reserve(&elsewhere).await.is_ok(), "a known address is spared");

        clock.advance(second);
        admitted(&throttle, &alice).await.succeeded().await;
        for _ in 0..2 {
            admitted(&throttle, &alice).await.failed().await;
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
            attempt.failed().await;
        }
        for one in waiting {
            one.await.unwrap();
        }
        clock.advance(Duration::from_secs(1));
        admitted(&throttle, &alice).await.succeeded().await;
    }

    #[tokio::test]
    async fn waiting_is_bounded_and_giving_up_frees_the_place() {
        let (_, throttle) =
            throttle(CredentialSettings { queue: 1, account_failures: 1, ..CredentialSettings::default() });
        let alice = [throttle.subjects.account("alice")];
        let first = admitted(&throttle, &alice).await;
        let waits = {
            let throttle = Arc::clone(&throttle);
            tokio::spawn(async move { admitted(&throttle, &alice).await.succeeded().await })
        };
        tokio::task::yield_now().await;
        assert!(matches!(throttle.reserve(&alice).await, Err(Denied::Overloaded)));
        drop(first);
        waits.await.unwrap();
    }
}
