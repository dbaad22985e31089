//! What one process remembers of failures. It is bounded; what is forgotten first is whatever slows nobody down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::failures::{self, Failures, Outcome, Rule, Subject, Verdict};
use crate::domain::sources::Clock;
use crate::domain::time::Timestamp;

/// How many accounts, addresses and clients are remembered: at most some 30 MiB.
const CAPACITY: usize = 100_000;

type Known = HashMap<[u8; 32], (Rule, Failures)>;

/// Failures by their subjects, under uptime: nobody else reads these moments, and no wall clock moves them.
pub(super) struct Memory {
    known: Mutex<Known>,
    clock: Arc<dyn Clock>,
    capacity: usize,
}

impl Memory {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { known: Mutex::default(), clock, capacity: CAPACITY }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0).plus(self.clock.uptime())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever reserves here settles it: its attempts end with their process.
    pub fn reserve(&self, subjects: &[Subject]) -> Verdict {
        let now = self.now();
        let mut known = self.lock();
        let mut held = hold(&known, subjects);
        let verdict = failures::reserve(&mut held, now, None);
        self.put_back(&mut known, subjects, held, now);
        verdict
    }

    pub fn settle(&self, subjects: &[Subject], until: Timestamp, outcome: Outcome) {
        let now = self.now();
        let mut known = self.lock();
        let mut held = hold(&known, subjects);
        failures::settle(&mut held, until, outcome, now);
        self.put_back(&mut known, subjects, held, now);
    }

    /// Counts a failure that needed no reservation, and answers whether it is still a free one.
    pub fn count(&self, subject: Subject) -> bool {
        let now = self.now();
        let mut known = self.lock();
        self.make_room(&mut known, &subject.key, now);
        let (_, failures) = known.entry(subject.key).or_insert_with(|| (subject.rule, Failures::default()));
        let free = !failures.is_throttling(subject.rule, now);
        failures.fail(subject.rule, now);
        free
    }

    fn put_back(&self, known: &mut Known, subjects: &[Subject], held: Vec<(Rule, Failures)>, now: Timestamp) {
        for (subject, one) in subjects.iter().zip(held) {
            if one.1.is_empty(now) {
                known.remove(&subject.key);
            } else {
                self.make_room(known, &subject.key, now);
                known.insert(subject.key, one);
            }
        }
    }

    /// Forgets some subjects where `newcomer` would be one too many: what slows nobody down first, the longest
    /// untouched first. A sixteenth at once, so that the search is paid for rarely.
    fn make_room(&self, known: &mut Known, newcomer: &[u8; 32], now: Timestamp) {
        if known.len() < self.capacity || known.contains_key(newcomer) {
            return;
        }
        known.retain(|_, (_, failures)| !failures.is_empty(now));
        let wanted = (self.capacity / 16).max(1);
        let spare = self.capacity.saturating_sub(known.len());
        if spare >= wanted {
            return;
        }
        let mut order: Vec<(bool, Timestamp, [u8; 32])> = known
            .iter()
            .filter(|(_, (_, failures))| !failures.has_attempt_under_way())
            .map(|(key, (rule, failures))| (failures.is_throttling(*rule, now), failures.touched(), *key))
            .collect();
        order.sort_unstable_by_key(|(throttling, touched, _)| (*throttling, *touched));
        for (_, _, key) in order.into_iter().take(wanted - spare) {
            known.remove(&key);
        }
    }
}

fn hold(known: &Known, subjects: &[Subject]) -> Vec<(Rule, Failures)> {
    let one = |subject: &Subject| known.get(&subject.key).map(|(_, failures)| failures.clone()).unwrap_or_default();
    subjects.iter().map(|subject| (subject.rule, one(subject))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::sources::ManualClock;

    fn account(n: u32) -> [Subject; 1] {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        [Subject { key, rule: Rule { free: 5, longest_delay: Duration::from_secs(30), forgives: true } }]
    }

    fn memory() -> (Arc<ManualClock>, Memory) {
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(0)));
        clock.advance(Duration::from_secs(5));
        (Arc::clone(&clock), Memory::new(clock))
    }

    fn attempt(memory: &Memory, who: &[Subject], outcome: Outcome) {
        match memory.reserve(who) {
            Verdict::Admitted { until } => memory.settle(who, until, outcome),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_bounded_and_throttled_accounts_are_kept_the_longest() {
        let (clock, mut memory) = memory();
        memory.capacity = 64;
        let victim = account(0);
        for _ in 0..5 {
            attempt(&memory, &victim, Outcome::Failed);
        }
        for n in 1..1000 {
            clock.advance(Duration::from_millis(1));
            attempt(&memory, &account(n), Outcome::Failed);
            assert!(memory.lock().len() <= 64);
        }
        let now = memory.now();
        assert!(memory.lock()[&victim[0].key].1.is_throttling(victim[0].rule, now), "kept through the flood");
    }

    #[test]
    fn nothing_is_remembered_of_successes() {
        let (_, memory) = memory();
        attempt(&memory, &account(1), Outcome::Failed);
        attempt(&memory, &account(1), Outcome::Succeeded);
        attempt(&memory, &account(2), Outcome::Abandoned);
        assert!(memory.lock().is_empty());
    }
}
