//! How failures slow down further attempts: pure functions over what is remembered of one account, address or client,
//! and the time. Time is uptime, so that setting the wall clock neither opens nor closes anything.

use std::collections::VecDeque;
use std::time::Duration;

/// The time in which failures add up.
pub(super) const WINDOW: Duration = Duration::from_secs(15 * 60);

/// The wait after the last free failure; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// How much is free, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Failures within [`WINDOW`] that cost nothing.
    pub free: u32,
    /// What the doubling wait never exceeds: a victim of somebody else's guessing must still get a turn.
    pub longest_delay: Duration,
}

/// Whether one more attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    /// As many attempts are under way as may still fail: their outcomes decide.
    Undecided,
    Refused {
        retry_after: Duration,
    },
}

/// What is remembered of one account, address or client.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    /// When the latest failures were, oldest first; never more than the rule's free ones, or one.
    recent: VecDeque<Duration>,
    /// Attempts under way: N at once may not have N times the free failures.
    under_way: u32,
    /// How often the wait has doubled.
    doublings: u32,
    /// No attempt before this moment.
    closed_until: Duration,
    /// When a refusal was last announced to the audit trail.
    announced: Option<Duration>,
    /// When anything last happened: what is forgotten first where memory is short.
    pub touched: Duration,
}

impl Failures {
    fn failed(&self, now: Duration) -> u32 {
        let counted = self.recent.iter().filter(|at| **at + WINDOW > now).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    pub fn admission(&self, rule: Rule, now: Duration) -> Admission {
        let failed = self.failed(now);
        if failed < rule.free {
            let possible = failed.saturating_add(self.under_way);
            return if possible < rule.free { Admission::Admitted } else { Admission::Undecided };
        }
        if now < self.closed_until {
            return Admission::Refused { retry_after: self.closed_until - now };
        }
        // One at a time: its failure closes the door for the others.
        if self.under_way > 0 { Admission::Refused { retry_after: FIRST_DELAY } } else { Admission::Admitted }
    }

    pub fn begin(&mut self, now: Duration) {
        self.under_way = self.under_way.saturating_add(1);
        self.touched = now;
    }

    /// An attempt ended, whatever its outcome.
    pub fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    pub fn fail(&mut self, rule: Rule, now: Duration) {
        if self.failed(now) < rule.free {
            self.doublings = 0;
        }
        self.recent.push_back(now);
        while self.recent.len() > usize::try_from(rule.free.max(1)).unwrap_or(usize::MAX) {
            self.recent.pop_front();
        }
        if self.failed(now) >= rule.free {
            let delay = FIRST_DELAY.saturating_mul(1 << self.doublings.min(16)).min(rule.longest_delay);
            self.doublings = self.doublings.saturating_add(1);
            self.closed_until = now + delay;
        }
        self.touched = now;
    }

    /// Forgets every failure.
    pub fn clear(&mut self) {
        *self = Self { under_way: self.under_way, touched: self.touched, ..Self::default() };
    }

    /// Whether failures slow attempts down right now.
    pub fn is_throttling(&self, rule: Rule, now: Duration) -> bool {
        now < self.closed_until || (rule.free > 0 && self.failed(now) >= rule.free)
    }

    /// Whether nothing would be lost by forgetting it.
    pub fn is_empty(&self, now: Duration) -> bool {
        self.under_way == 0 && now >= self.closed_until && self.failed(now) == 0
    }

    pub fn has_attempt_under_way(&self) -> bool {
        self.under_way > 0
    }

    /// Whether this refusal is the first in a window: only those are written to the audit trail, so that hammering a
    /// closed door does not fill the database.
    pub fn announce(&mut self, now: Duration) -> bool {
        let first = self.announced.is_none_or(|at| at + WINDOW <= now);
        if first {
            self.announced = Some(now);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Rule = Rule { free: 5, longest_delay: Duration::from_secs(30) };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// One attempt with a wrong password, if it is admitted.
    fn wrong(failures: &mut Failures, now: Duration) -> Admission {
        let admission = failures.admission(RULE, now);
        if admission == Admission::Admitted {
            failures.begin(now);
            failures.end();
            failures.fail(RULE, now);
        }
        admission
    }

    #[test]
    fn five_are_free_then_the_wait_doubles_to_thirty_seconds() {
        let mut failures = Failures::default();
        let mut now = seconds(1000);
        for _ in 0..5 {
            assert_eq!(wrong(&mut failures, now), Admission::Admitted);
        }
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(wrong(&mut failures, now), Admission::Refused { retry_after: seconds(wait) });
            now += seconds(wait);
            assert_eq!(wrong(&mut failures, now), Admission::Admitted, "after {wait} s");
        }
        now += WINDOW;
        assert!(failures.is_empty(now));
        for _ in 0..5 {
            assert_eq!(wrong(&mut failures, now), Admission::Admitted);
        }
        assert_eq!(wrong(&mut failures, now), Admission::Refused { retry_after: seconds(1) }, "from the beginning");
    }

    #[test]
    fn attempts_at_once_wait_for_each_other() {
        let mut failures = Failures::default();
        let now = seconds(1);
        for _ in 0..5 {
            assert_eq!(failures.admission(RULE, now), Admission::Admitted);
            failures.begin(now);
        }
        assert_eq!(failures.admission(RULE, now), Admission::Undecided);
        failures.end();
        failures.clear();
        assert_eq!(failures.admission(RULE, now), Admission::Admitted, "one succeeded");
        for _ in 0..4 {
            failures.end();
            failures.fail(RULE, now);
        }
        failures.begin(now);
        assert_eq!(failures.admission(RULE, now), Admission::Undecided);
        failures.end();
        failures.fail(RULE, now);
        assert_eq!(failures.admission(RULE, now), Admission::Refused { retry_after: seconds(1) });
    }

    #[test]
    fn a_closed_door_is_announced_once_a_window() {
        let mut failures = Failures::default();
        assert!(failures.announce(seconds(10)));
        assert!(!failures.announce(seconds(11)));
        assert!(failures.announce(seconds(10) + WINDOW));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Begin,
        EndWrong,
        EndRight,
        Cancel,
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Begin),
            5 => Just(Step::EndWrong),
            1 => Just(Step::EndRight),
            1 => Just(Step::Cancel),
            3 => (0u64..40_000).prop_map(Step::Pass),
            1 => (0u64..1_000_000).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// Whatever the order of beginnings, ends and pauses: between successes, never more than the free failures
        /// happen in a window without a wait of a second between those beyond; nobody waits longer than promised; and
        /// whoever waits as long as told, with nobody else at the door, is let in.
        #[test]
        fn guesses_are_bounded_and_waits_are_short(steps in steps()) {
            let mut failures = Failures::default();
            let mut now = seconds(50);
            let mut under_way = 0u32;
            let mut failed: Vec<Duration> = Vec::new();
            for step in steps {
                match step {
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                    Step::Begin => match failures.admission(RULE, now) {
                        Admission::Admitted => {
                            failures.begin(now);
                            under_way += 1;
                        }
                        Admission::Undecided => prop_assert!(under_way > 0, "somebody's end will decide"),
                        Admission::Refused { retry_after } => {
                            prop_assert!(retry_after <= RULE.longest_delay && retry_after > Duration::ZERO);
                            prop_assert!(failures.is_throttling(RULE, now));
                            if under_way == 0 {
                                prop_assert_eq!(failures.admission(RULE, now + retry_after), Admission::Admitted);
                            }
                        }
                    },
                    Step::EndWrong | Step::EndRight | Step::Cancel if under_way == 0 => {}
                    Step::EndWrong => {
                        under_way -= 1;
                        failures.end();
                        failures.fail(RULE, now);
                        failed.push(now);
                    }
                    Step::EndRight => {
                        under_way -= 1;
                        failures.end();
                        failures.clear();
                        failed.clear();
                    }
                    Step::Cancel => {
                        under_way -= 1;
                        failures.end();
                    }
                }
                // A success may arrive while others are under way, which then were admitted before it: up to as many
                // again as are free.
                let in_window = failed.iter().filter(|at| **at + WINDOW > now).count();
                let span = failed.last().map_or(Duration::ZERO, |last| *last - failed[0]);
                let waits = usize::try_from(span.min(WINDOW).as_secs()).unwrap();
                prop_assert!(in_window <= 2 * 5 + waits, "{in_window} failures in {span:?}");
                prop_assert!(failures.recent.len() <= 5, "bounded");
            }
        }
    }
}
