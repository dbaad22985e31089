//! How failures slow down further attempts: pure functions over what is remembered of accounts, addresses and clients,
//! and the time.
//!
//! An attempt is reserved before its outcome is known, so that N at once do not have N times the free failures, and is
//! settled afterwards. Moments are of whichever clock counts where the failures are remembered: uptime in memory, the
//! database's where nodes share them. Setting the wall clock of a node neither opens nor closes anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

#[cfg(test)]
mod tests;

/// The time in which failures add up.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// How long an attempt may be under way where its end may stay unknown, because the node that makes it died: then it
/// has failed. Many times what a full queue of password checks takes. One that takes longer all the same is counted as
/// a failure, and its success clears the account after all.
pub const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);

/// The wait after the last free failure; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// Into how many slices of [`WINDOW`] failures are put together where more of them are free: what is remembered of a
/// client with a thousand stays small.
const SLICES: u32 = 32;

/// How much is free, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Failures within [`WINDOW`] that cost nothing.
    pub free: u32,
    /// What the doubling wait never exceeds: a victim of somebody else's guessing must still get a turn.
    pub longest_delay: Duration,
    /// Whether a success clears it. Only an account's: whoever guesses may own another account, and must not clear an
    /// address with it.
    pub forgives: bool,
}

impl Rule {
    /// The end of the slice that failures at this moment are put together in.
    fn slice(self, at: Timestamp) -> Timestamp {
        if self.free <= SLICES { at } else { at.round_up(WINDOW / SLICES) }
    }

    fn most(self) -> u32 {
        self.free.max(1)
    }
}

/// Whose failures are counted, by a keyed hash of its kind and name, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub key: [u8; 32],
    pub rule: Rule,
}

/// Whether one more attempt may be made, as far as one subject says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Admitted,
    /// As many attempts are under way as may still fail: their outcomes decide.
    Undecided,
    Refused {
        retry_after: Duration,
    },
}

/// Whether an attempt may be made that counts for several subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admitted {
        /// When it has failed if nobody settles it before; [`settle`] finds it by this.
        until: Timestamp,
    },
    /// As many attempts are under way as may still fail: their outcomes decide.
    Undecided,
    Refused {
        retry_after: Duration,
        /// For how long each subject lets nobody in, whatever happens meanwhile, but for a success that is under way.
        closed: Vec<Duration>,
        /// The first refusal of its window: write it to the audit trail.
        announce: bool,
    },
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    /// It came to nothing, and its caller learned nothing.
    Abandoned,
}

/// Reserves an attempt with every subject or with none; the longest wait counts. Unsettled, it has failed after
/// `longest`, if there is such a limit.
pub fn reserve(subjects: &mut [(Rule, Failures)], now: Timestamp, longest: Option<Duration>) -> Verdict {
    let mut verdict = Admission::Admitted;
    for (rule, failures) in &mut *subjects {
        failures.pass_to(*rule, now);
        verdict = match (verdict, failures.admission(*rule, now)) {
            (Admission::Refused { retry_after: a }, Admission::Refused { retry_after: b }) => {
                Admission::Refused { retry_after: a.max(b) }
            }
            (refused @ Admission::Refused { .. }, _) | (_, refused @ Admission::Refused { .. }) => refused,
            (Admission::Undecided, _) | (_, Admission::Undecided) => Admission::Undecided,
            (Admission::Admitted, Admission::Admitted) => Admission::Admitted,
        };
    }
    match verdict {
        Admission::Admitted => {
            // In whole seconds, so that of many attempts few moments are remembered.
            let until = longest.map_or(Timestamp::MAX, |longest| now.plus(longest).round_up(Duration::from_secs(1)));
            for (_, failures) in subjects {
                failures.begin(until, now);
            }
            Verdict::Admitted { until }
        }
        Admission::Undecided => Verdict::Undecided,
        Admission::Refused { retry_after } => {
            let mut announce = false;
            let mut closed = Vec::with_capacity(subjects.len());
            for (rule, failures) in subjects {
                if failures.is_throttling(*rule, now) {
                    announce |= failures.announce(now);
                }
                closed.push(failures.closed_until.since(now));
            }
            Verdict::Refused { retry_after, closed, announce }
        }
    }
}

/// Notes what an attempt came to that was reserved with these subjects.
pub fn settle(subjects: &mut [(Rule, Failures)], until: Timestamp, outcome: Outcome, now: Timestamp) {
    for (rule, failures) in subjects {
        failures.pass_to(*rule, now);
        // One whose time was up has been counted as failed.
        let in_time = failures.under_way.take(until);
        match outcome {
            Outcome::Failed if in_time => failures.fail(*rule, now),
            Outcome::Succeeded if rule.forgives => failures.clear(),
            Outcome::Failed | Outcome::Succeeded | Outcome::Abandoned => {}
        }
    }
}

/// What is remembered of one account, address or client. Some hundred bytes, and never two thousand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failures {
    /// The latest failures; never more than the rule's free ones, or one.
    recent: Tally,
    /// Attempts under way, by the moment when each has failed.
    under_way: Tally,
    /// How often the wait has doubled.
    doublings: u32,
    /// No attempt before this moment.
    closed_until: Timestamp,
    /// When a refusal was last announced to the audit trail.
    announced: Option<Timestamp>,
    /// When anything last happened.
    touched: Timestamp,
}

impl Default for Failures {
    fn default() -> Self {
        let never = Timestamp::from_millis(0);
        Self {
            recent: Tally::default(),
            under_way: Tally::default(),
            doublings: 0,
            closed_until: never,
            announced: None,
            touched: never,
        }
    }
}

impl Failures {
    fn failed(&self, now: Timestamp) -> u32 {
        self.recent.after(now.minus(WINDOW))
    }

    /// Brings it up to now: an attempt whose time is up has failed.
    fn pass_to(&mut self, rule: Rule, now: Timestamp) {
        // Where somebody has set the clock back, nobody waits longer for it.
        self.shift_back(self.touched.since(now));
        while let Some((until, count)) = self.under_way.take_first(now) {
            for _ in 0..count {
                self.fail(rule, until);
            }
        }
    }

    fn shift_back(&mut self, span: Duration) {
        if span.is_zero() {
            return;
        }
        let moments = self.recent.moments().chain(self.under_way.moments()).chain(&mut self.announced);
        for moment in moments.chain([&mut self.closed_until, &mut self.touched]) {
            // An attempt without a limit has none on any clock.
            if *moment < Timestamp::MAX {
                *moment = moment.minus(span);
            }
        }
    }

    fn admission(&self, rule: Rule, now: Timestamp) -> Admission {
        let (failed, under_way) = (self.failed(now), self.under_way.total());
        if failed < rule.free {
            let possible = failed.saturating_add(under_way);
            return if possible < rule.free { Admission::Admitted } else { Admission::Undecided };
        }
        if now < self.closed_until {
            return Admission::Refused { retry_after: self.closed_until.since(now) };
        }
        // One at a time: its failure closes the door for the others.
        if under_way > 0 { Admission::Refused { retry_after: FIRST_DELAY } } else { Admission::Admitted }
    }

    fn begin(&mut self, until: Timestamp, now: Timestamp) {
        self.under_way.add(until);
        self.touched = now;
    }

    /// Counts a failure.
    pub fn fail(&mut self, rule: Rule, at: Timestamp) {
        if self.failed(at) < rule.free {
            self.doublings = 0;
        }
        self.recent.add(rule.slice(at));
        self.recent.keep_latest(rule.most());
        if self.failed(at) >= rule.free {
            let delay = FIRST_DELAY.saturating_mul(1 << self.doublings.min(16)).min(rule.longest_delay);
            self.doublings = self.doublings.saturating_add(1);
            self.closed_until = self.closed_until.max(at.plus(delay));
        }
        self.touched = self.touched.max(at);
    }

    /// Forgets every failure.
    fn clear(&mut self) {
        let under_way = std::mem::take(&mut self.under_way);
        *self = Self { under_way, touched: self.touched, ..Self::default() };
    }

    /// Whether failures slow attempts down right now.
    pub fn is_throttling(&self, rule: Rule, now: Timestamp) -> bool {
        now < self.closed_until || (rule.free > 0 && self.failed(now) >= rule.free)
    }

    /// When nothing is lost by forgetting it; [`Timestamp::MAX`] while an attempt without a limit is under way.
    pub fn forget_at(&self) -> Timestamp {
        // What is under way may have failed then, and counts for a window.
        let latest = self.recent.latest().max(self.under_way.latest());
        latest.map_or(self.closed_until, |latest| latest.plus(WINDOW).max(self.closed_until))
    }

    /// Whether nothing is lost by forgetting it now.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        self.forget_at() <= now
    }

    pub fn has_attempt_under_way(&self) -> bool {
        self.under_way.total() > 0
    }

    /// When anything last happened: what is forgotten first where memory is short.
    pub fn touched(&self) -> Timestamp {
        self.touched
    }

    /// Whether this refusal is the first in a window: only those are written to the audit trail, so that hammering a
    /// closed door does not fill the database.
    fn announce(&mut self, now: Timestamp) -> bool {
        let first = self.announced.is_none_or(|at| at.plus(WINDOW) <= now);
        if first {
            self.announced = Some(now);
        }
        first
    }
}

/// How often something happened at which moments, the earliest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Tally(Vec<(Timestamp, u32)>);

impl Tally {
    fn add(&mut self, at: Timestamp) {
        match self.0.binary_search_by_key(&at, |(moment, _)| *moment) {
            Ok(found) => self.0[found].1 = self.0[found].1.saturating_add(1),
            Err(place) => self.0.insert(place, (at, 1)),
        }
    }

    /// Takes one of this moment away, if there is one.
    fn take(&mut self, at: Timestamp) -> bool {
        let Ok(found) = self.0.binary_search_by_key(&at, |(moment, _)| *moment) else { return false };
        self.lessen(found);
        true
    }

    fn lessen(&mut self, index: usize) {
        self.0[index].1 = self.0[index].1.saturating_sub(1);
        if self.0[index].1 == 0 {
            self.0.remove(index);
        }
    }

    /// Takes all of the earliest moment away, if it has come by now.
    fn take_first(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        self.0.first().is_some_and(|(at, _)| *at <= now).then(|| self.0.remove(0))
    }

    /// Forgets the earliest, so that this many are left.
    fn keep_latest(&mut self, most: u32) {
        while self.total() > most {
            self.lessen(0);
        }
    }

    fn total(&self) -> u32 {
        self.0.iter().fold(0, |total, (_, count)| total.saturating_add(*count))
    }

    fn after(&self, moment: Timestamp) -> u32 {
        let later = self.0.iter().filter(|(at, _)| *at > moment);
        later.fold(0, |total, (_, count)| total.saturating_add(*count))
    }

    fn latest(&self) -> Option<Timestamp> {
        self.0.last().map(|(at, _)| *at)
    }

    fn moments(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        self.0.iter_mut().map(|(at, _)| at)
    }
}
