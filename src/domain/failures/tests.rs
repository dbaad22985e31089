//! The rules under simulated time, in memory and where several nodes share what is remembered.

use proptest::prelude::*;

use super::*;

const RULE: Rule = Rule { free: 5, longest_delay: Duration::from_secs(30), forgives: true };

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

/// Reserves for one subject, as it is stored and read again.
fn enter(failures: &mut Failures, rule: Rule, now: Timestamp, longest: Option<Duration>) -> Verdict {
    let mut subjects = [(rule, stored(failures))];
    let verdict = reserve(&mut subjects, now, longest);
    *failures = stored(&subjects[0].1);
    verdict
}

fn leave(failures: &mut Failures, rule: Rule, until: Timestamp, outcome: Outcome, now: Timestamp) {
    let mut subjects = [(rule, stored(failures))];
    settle(&mut subjects, until, outcome, now);
    *failures = stored(&subjects[0].1);
}

fn stored(failures: &Failures) -> Failures {
    let text = serde_json::to_string(failures).unwrap();
    assert!(text.len() < 1400, "{text}");
    let read = serde_json::from_str(&text).unwrap();
    assert_eq!(*failures, read);
    read
}

/// One attempt with a wrong password, if it is admitted; how long to wait, where it is not.
fn wrong(failures: &mut Failures, rule: Rule, now: Timestamp) -> Option<Duration> {
    match enter(failures, rule, now, None) {
        Verdict::Admitted { until } => {
            leave(failures, rule, until, Outcome::Failed, now);
            None
        }
        Verdict::Refused { retry_after, .. } => Some(retry_after),
        Verdict::Undecided => panic!("nothing is under way"),
    }
}

#[test]
fn five_are_free_then_the_wait_doubles_to_thirty_seconds() {
    let mut failures = Failures::default();
    let mut now = at(1000);
    for _ in 0..5 {
        assert_eq!(wrong(&mut failures, RULE, now), None);
    }
    for wait in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(wrong(&mut failures, RULE, now), Some(seconds(wait)));
        now = now.plus(seconds(wait));
        assert_eq!(wrong(&mut failures, RULE, now), None, "after {wait} s");
    }
    now = now.plus(WINDOW);
    assert!(failures.is_empty(now) && !failures.is_empty(now.minus(Duration::from_millis(1))));
    for _ in 0..5 {
        assert_eq!(wrong(&mut failures, RULE, now), None);
    }
    assert_eq!(wrong(&mut failures, RULE, now), Some(seconds(1)), "from the beginning");
}

#[test]
fn attempts_at_once_wait_for_each_other() {
    let mut failures = Failures::default();
    let now = at(1);
    let enter = |failures: &mut Failures| enter(failures, RULE, now, None);
    let until = Timestamp::MAX;
    for _ in 0..5 {
        assert_eq!(enter(&mut failures), Verdict::Admitted { until });
    }
    assert_eq!(enter(&mut failures), Verdict::Undecided);
    leave(&mut failures, RULE, until, Outcome::Succeeded, now);
    assert_eq!(enter(&mut failures), Verdict::Admitted { until }, "one succeeded");
    for _ in 0..4 {
        leave(&mut failures, RULE, until, Outcome::Failed, now);
    }
    assert_eq!(enter(&mut failures), Verdict::Undecided);
    leave(&mut failures, RULE, until, Outcome::Failed, now);
    assert!(matches!(enter(&mut failures), Verdict::Refused { retry_after, .. } if retry_after == seconds(1)));
}

#[test]
fn a_closed_door_is_announced_once_a_window_and_says_whose_it_is() {
    let mut account = Failures::default();
    for _ in 0..5 {
        wrong(&mut account, RULE, at(10));
    }
    let mut subjects = [(RULE, account), (RULE, Failures::default())];
    let refused = |subjects: &mut [(Rule, Failures)], now| match reserve(subjects, now, None) {
        Verdict::Refused { closed, announce, .. } => (closed, announce),
        other => panic!("{other:?}"),
    };
    let closed = vec![seconds(1), seconds(0)];
    assert_eq!(refused(&mut subjects, at(10)), (closed.clone(), true));
    assert_eq!(refused(&mut subjects, at(10)), (closed, false));
    assert!(!subjects[1].1.has_attempt_under_way(), "with every subject or with none");
    let later = at(11).plus(WINDOW);
    for _ in 0..5 {
        wrong(&mut subjects[0].1, RULE, later);
    }
    assert!(refused(&mut subjects, later).1);
}

#[test]
fn an_attempt_that_nobody_settles_has_failed_when_its_time_is_up() {
    let mut failures = Failures::default();
    let enter = |failures: &mut Failures, now| enter(failures, RULE, now, Some(LONGEST_ATTEMPT));
    for _ in 0..5 {
        assert_eq!(enter(&mut failures, at(100)), Verdict::Admitted { until: at(110) });
    }
    assert_eq!(enter(&mut failures, at(109)), Verdict::Undecided);
    assert!(matches!(enter(&mut failures, at(110)), Verdict::Refused { retry_after, .. } if retry_after == seconds(1)));
    assert_eq!(enter(&mut failures, at(111)), Verdict::Admitted { until: at(121) }, "it blocks nobody for long");
    // It lives after all: what it says of a failure is known, and a success counts.
    let before = failures.clone();
    leave(&mut failures, RULE, at(110), Outcome::Failed, at(112));
    assert_eq!(failures, before);
    leave(&mut failures, RULE, at(110), Outcome::Succeeded, at(112));
    assert_eq!(wrong(&mut failures, RULE, at(112)), None);
}

#[test]
fn of_a_thousand_failures_few_moments_are_remembered() {
    let rule = Rule { free: 1000, longest_delay: seconds(1), forgives: false };
    let mut failures = Failures::default();
    let mut now = at(1_800_000_000);
    for n in 0..1000 {
        assert_eq!(wrong(&mut failures, rule, now), None, "{n}");
        now = now.plus(Duration::from_millis(700));
    }
    now = now.minus(Duration::from_millis(700));
    assert_eq!(wrong(&mut failures, rule, now), Some(seconds(1)));
    assert!(failures.recent.0.len() <= 34);
}

#[test]
fn a_clock_that_goes_back_makes_nobody_wait_longer() {
    let mut failures = Failures::default();
    let mut now = at(1_800_000_000);
    for _ in 0..5 {
        wrong(&mut failures, RULE, now);
    }
    now = now.minus(seconds(3600));
    assert_eq!(wrong(&mut failures, RULE, now), Some(seconds(1)));
    assert_eq!(wrong(&mut failures, RULE, now.plus(seconds(1))), None);
    assert_eq!(wrong(&mut failures, RULE, now.plus(seconds(1))), Some(seconds(2)), "nothing is forgotten");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    /// Of the attempts under way, the one at this place, in turn.
    End(usize, Outcome),
    /// The node that makes it is gone.
    Die(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => Just(Step::Begin),
        5 => any::<usize>().prop_map(|n| Step::End(n, Outcome::Failed)),
        1 => any::<usize>().prop_map(|n| Step::End(n, Outcome::Succeeded)),
        1 => any::<usize>().prop_map(|n| Step::End(n, Outcome::Abandoned)),
        1 => any::<usize>().prop_map(Step::Die),
        3 => (0u64..40_000).prop_map(Step::Pass),
        1 => (0u64..1_000_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

fn pick<T>(items: &mut Vec<T>, n: usize) -> Option<T> {
    (!items.is_empty()).then(|| items.remove(n % items.len()))
}

proptest! {
    /// Whatever the order of beginnings, ends and pauses: between successes, never more than the free failures happen
    /// in a window without a wait of a second between those beyond; nobody waits longer than promised; and whoever waits
    /// as long as told, with nobody else at the door, is let in.
    #[test]
    fn guesses_are_bounded_and_waits_are_short(steps in steps()) {
        let mut failures = Failures::default();
        let mut now = at(50);
        let mut under_way = Vec::new();
        let mut failed: Vec<Timestamp> = Vec::new();
        for step in steps {
            match step {
                Step::Pass(millis) => now = now.plus(Duration::from_millis(millis)),
                Step::Begin => match enter(&mut failures, RULE, now, None) {
                    Verdict::Admitted { until } => under_way.push(until),
                    Verdict::Undecided => prop_assert!(!under_way.is_empty(), "somebody's end will decide"),
                    Verdict::Refused { retry_after, .. } => {
                        prop_assert!(retry_after <= RULE.longest_delay && retry_after > Duration::ZERO);
                        prop_assert!(failures.is_throttling(RULE, now));
                        if under_way.is_empty() {
                            let verdict = enter(&mut failures.clone(), RULE, now.plus(retry_after), None);
                            prop_assert!(matches!(verdict, Verdict::Admitted { .. }), "{:?}", verdict);
                        }
                    }
                },
                Step::End(n, outcome) => {
                    let Some(until) = pick(&mut under_way, n) else { continue };
                    leave(&mut failures, RULE, until, outcome, now);
                    match outcome {
                        Outcome::Failed => failed.push(now),
                        Outcome::Succeeded => failed.clear(),
                        Outcome::Abandoned => {}
                    }
                }
                // In memory nobody dies alone.
                Step::Die(_) => {}
            }
            // A success may arrive while others are under way, which then were admitted before it: up to as many again
            // as are free.
            let in_window = failed.iter().filter(|at| at.plus(WINDOW) > now).count();
            let span = failed.last().map_or(Duration::ZERO, |last| last.since(failed[0]));
            let waits = usize::try_from(span.min(WINDOW).as_secs()).unwrap();
            prop_assert!(in_window <= 2 * 5 + waits, "{in_window} failures in {span:?}");
            prop_assert!(under_way.len() <= 5, "{} at once", under_way.len());
            prop_assert!(failures.recent.total() <= 5, "bounded");
        }
    }

    /// Nodes that share what is remembered, and die with attempts under way, are let in exactly as often as one that
    /// lives and fails with each of those when its time is up.
    #[test]
    fn nodes_get_no_more_than_one(steps in steps()) {
        let (mut nodes, mut one) = (Failures::default(), Failures::default());
        let mut now = at(50);
        let mut under_way = Vec::new();
        let mut dead: Vec<Timestamp> = Vec::new();
        for step in steps {
            // The one is told what nobody tells the nodes.
            dead.extend(under_way.extract_if(.., |until: &mut Timestamp| *until <= now));
            dead.sort_unstable();
            for until in dead.extract_if(.., |until| *until <= now) {
                leave(&mut one, RULE, Timestamp::MAX, Outcome::Failed, until);
            }
            match step {
                Step::Pass(millis) => now = now.plus(Duration::from_millis(millis)),
                Step::Begin => {
                    let verdict = enter(&mut nodes, RULE, now, Some(LONGEST_ATTEMPT));
                    let expected = enter(&mut one, RULE, now, None);
                    match (verdict, expected) {
                        (Verdict::Admitted { until }, Verdict::Admitted { .. }) => under_way.push(until),
                        (verdict, expected) => prop_assert_eq!(verdict, expected),
                    }
                }
                Step::End(n, outcome) => {
                    let Some(until) = pick(&mut under_way, n) else { continue };
                    leave(&mut nodes, RULE, until, outcome, now);
                    leave(&mut one, RULE, Timestamp::MAX, outcome, now);
                }
                Step::Die(n) => dead.extend(pick(&mut under_way, n)),
            }
        }
        // Nothing is left under way for ever.
        let later = now.plus(LONGEST_ATTEMPT + seconds(1) + RULE.longest_delay);
        let verdict = enter(&mut nodes.clone(), RULE, later, Some(LONGEST_ATTEMPT));
        prop_assert!(matches!(verdict, Verdict::Admitted { .. }), "{:?}", verdict);
        prop_assert!(nodes.is_empty(later.plus(WINDOW)));
    }
}
