//! What must hold of every history, whatever failed meanwhile. Pure: it knows nothing of processes.
//!
//! 1. Every acknowledged refresh's successor works, unless its session was ended on purpose.
//! 2. No token is active later than the bound after its revocation was acknowledged, on any node; and none is inactive
//!    that nobody revoked.
//! 3. No generation of a session has two different refresh tokens.
//! 4. What was ended stays ended.
//! 5. No answer is one that a client does not expect.
//!
//! After a failover to an asynchronous standby, logins and revocations that were acknowledged within the lag may be
//! lost. They are counted, and nothing else is excused by them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::history::{Answer, Asked, History, Lag, Loss, Moment, Operation, Token};

/// A rule that was broken, and all that happened to its session.
#[derive(Debug)]
pub struct Violation {
    pub what: String,
    pub story: Vec<String>,
}

/// What was there to be checked, and what came of it.
#[derive(Debug, Default)]
pub struct Verdict {
    pub logins: usize,
    pub refreshes: usize,
    pub introspections: usize,
    pub revocations: usize,
    /// 503.
    pub unavailable: usize,
    pub unanswered: usize,
    /// Of these: the connection was closed after the request had been sent, and before the answer began.
    pub closed: usize,
    /// How long no refresh was answered with tokens, anywhere, while there was load.
    pub longest_silence: Duration,
    /// Successors that were given again, to a retry or to another of several tabs, and were the same.
    pub given_again: usize,
    /// Answers about revoked tokens past the bound.
    pub past_bound: usize,
    /// Sessions whose latest token was taken in the end.
    pub kept: usize,
    /// What the lag excuses.
    pub lost_logins: usize,
    pub lost_revocations: usize,
    pub violations: Vec<Violation>,
}

pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict { longest_silence: longest_silence(history), ..Verdict::default() };
    let mut sessions: BTreeMap<usize, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        verdict.count(operation);
        sessions.entry(operation.session).or_default().push(operation);
    }
    for operations in sessions.into_values() {
        let mut session = Session::of(history, operations);
        session.judge(&mut verdict);
    }
    verdict
}

fn longest_silence(history: &History) -> Duration {
    let answered = history.operations.iter().filter(|it| it.ended <= history.stopped);
    let refreshes = answered.filter(|it| matches!((&it.asked, &it.answer), (Asked::Refresh(_), Answer::Tokens { .. })));
    let mut answered: Vec<u64> = refreshes.map(|it| it.ended.0).collect();
    answered.sort_unstable();
    Duration::from_micros(answered.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}

impl Verdict {
    fn count(&mut self, operation: &Operation) {
        self.closed += usize::from(matches!(operation.answer, Answer::Lost(Loss::Closed)));
        match (&operation.asked, &operation.answer) {
            (_, Answer::Unavailable) => self.unavailable += 1,
            (_, Answer::Lost(_)) => self.unanswered += 1,
            (Asked::Login, _) => self.logins += 1,
            (Asked::Refresh(_), _) => self.refreshes += 1,
            (Asked::IsActive(_), _) => self.introspections += 1,
            (Asked::Revoke(_), _) => self.revocations += 1,
        }
    }
}

/// When something was asked to end, and when that was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    sent: Option<Moment>,
    acknowledged: Option<Moment>,
    /// By a database that had not lost its tail since.
    certain: Option<Moment>,
}

/// Whether an end must be known to an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    MayBe,
    Must,
    /// It would have to be, had the standby heard of it.
    Excused,
}

impl End {
    fn hear(&mut self, operation: &Operation, lag: Option<Lag>) {
        let earlier = |known: Option<Moment>, moment| known.into_iter().chain([moment]).min();
        self.sent = earlier(self.sent, operation.sent);
        if matches!(operation.answer, Answer::Revoked) {
            self.acknowledged = earlier(self.acknowledged, operation.ended);
            if !lag.is_some_and(|lag| lag.may_have_lost(operation)) {
                self.certain = earlier(self.certain, operation.ended);
            }
        }
    }

    /// To an operation that may come `bound` after the end.
    fn known_to(&self, operation: &Operation, bound: Duration, lag: Option<Lag>) -> Known {
        let is_past = |end: Option<Moment>| end.is_some_and(|end| operation.sent > end.plus(bound));
        if is_past(self.certain) {
            return Known::Must;
        }
        match lag {
            _ if !is_past(self.acknowledged) => Known::MayBe,
            // The database that acknowledged it was still the one that was asked.
            Some(lag) if operation.ended > lag.until => Known::Excused,
            _ => Known::Must,
        }
    }

    fn was_asked_before(&self, moment: Moment) -> bool {
        self.sent.is_some_and(|sent| sent <= moment)
    }
}

struct Session<'a> {
    history: &'a History,
    operations: Vec<&'a Operation>,
    login: Option<&'a Operation>,
    end: End,
    /// Access tokens that were revoked by themselves.
    revoked: BTreeMap<&'a Token, End>,
    generations: BTreeMap<u32, &'a Token>,
    lost_login: bool,
    lost_revocation: bool,
}

impl<'a> Session<'a> {
    fn of(history: &'a History, mut operations: Vec<&'a Operation>) -> Self {
        operations.sort_by_key(|operation| operation.sent);
        let login = operations
            .iter()
            .find(|it| matches!((&it.asked, &it.answer), (Asked::Login, Answer::Tokens { .. })))
            .copied();
        let mut end = End::default();
        let mut revoked: BTreeMap<&Token, End> = BTreeMap::new();
        for operation in &operations {
            match &operation.asked {
                Asked::Revoke(token) if token.generation().is_some() => end.hear(operation, history.lag),
                Asked::Revoke(token) => revoked.entry(token).or_default().hear(operation, history.lag),
                _ => {}
            }
        }
        let generations = BTreeMap::new();
        Self { history, operations, login, end, revoked, generations, lost_login: false, lost_revocation: false }
    }

    fn judge(&mut self, verdict: &mut Verdict) {
        let mut faults = Vec::new();
        for operation in self.operations.clone() {
            if let Some(fault) = self.fault_of(operation, verdict) {
                faults.push(format!("{fault}: {operation}"));
            }
        }
        match self.is_kept() {
            Some(true) => verdict.kept += 1,
            Some(false) => faults.push("the latest refresh token of a session that nobody ended was not taken".into()),
            None => {}
        }
        verdict.lost_logins += usize::from(self.lost_login);
        verdict.lost_revocations += usize::from(self.lost_revocation);
        if let Some(what) = faults.into_iter().next() {
            let story = self.operations.iter().map(ToString::to_string).collect();
            verdict.violations.push(Violation { what, story });
        }
    }

    /// Whether its latest token was taken in the end; `None` where it need not be.
    fn is_kept(&self) -> Option<bool> {
        self.login?;
        if self.end.sent.is_some() || self.lost_login {
            return None;
        }
        Some(self.operations.iter().any(|it| {
            it.sent >= self.history.last_tries
                && matches!((&it.asked, &it.answer), (Asked::Refresh(_), Answer::Tokens { .. }))
        }))
    }

    fn fault_of(&mut self, operation: &'a Operation, verdict: &mut Verdict) -> Option<&'static str> {
        match (&operation.asked, &operation.answer) {
            (_, Answer::Odd(_)) => Some("an answer that no client expects"),
            (_, Answer::Lost(Loss::Cut | Loss::TimedOut)) if self.history.gentle => Some("an answer was lost"),
            (_, Answer::Lost(_) | Answer::Unavailable) | (Asked::Revoke(_), Answer::Revoked) => None,
            (Asked::Login, Answer::Tokens { refresh, .. }) => self.step_fault(0, refresh, verdict),
            (Asked::Refresh(parent), Answer::Tokens { refresh, .. }) => {
                let step = self.step_fault(parent.generation()? + 1, refresh, verdict);
                step.or_else(|| self.revival_fault(operation))
            }
            (Asked::Refresh(_), Answer::Refused(_)) => self.refusal_fault(operation),
            (Asked::IsActive(token), Answer::Active(true)) => self.active_fault(operation, token),
            (Asked::IsActive(token), Answer::Active(false)) => self.inactive_fault(operation, token, verdict),
            _ => Some("an answer to another question"),
        }
    }

    fn step_fault(&mut self, expected: u32, token: &'a Token, verdict: &mut Verdict) -> Option<&'static str> {
        if token.generation() != Some(expected) {
            return Some("the refresh token is not of the generation that follows");
        }
        match self.generations.entry(expected) {
            Entry::Vacant(free) => {
                free.insert(token);
            }
            Entry::Occupied(known) if *known.get() != token => return Some("a generation has two refresh tokens"),
            Entry::Occupied(_) => verdict.given_again += 1,
        }
        None
    }

    /// A session that was renewed although it had ended.
    fn revival_fault(&mut self, operation: &Operation) -> Option<&'static str> {
        let known = self.end.known_to(operation, Duration::ZERO, self.history.lag);
        self.lost_revocation |= known == Known::Excused;
        (known == Known::Must).then_some("a session that had ended was renewed")
    }

    fn refusal_fault(&mut self, operation: &Operation) -> Option<&'static str> {
        if self.end.was_asked_before(operation.ended) {
            return None;
        }
        if self.login_may_be_lost(operation) {
            self.lost_login = true;
            return None;
        }
        Some("a session that nobody ended was refused")
    }

    fn login_may_be_lost(&self, operation: &Operation) -> bool {
        let (Some(lag), Some(login)) = (self.history.lag, self.login) else { return false };
        operation.ended > lag.until && lag.may_have_lost(login)
    }

    fn active_fault(&mut self, operation: &Operation, token: &Token) -> Option<&'static str> {
        let known = self.ends_of(token).map(|end| end.known_to(operation, self.history.bound, self.history.lag));
        let known: Vec<_> = known.collect();
        self.lost_revocation |= known.contains(&Known::Excused);
        known.contains(&Known::Must).then_some("a token was active later than the bound after its revocation")
    }

    fn inactive_fault(&self, operation: &Operation, token: &Token, verdict: &mut Verdict) -> Option<&'static str> {
        let must = |end: &End| end.known_to(operation, self.history.bound, self.history.lag) == Known::Must;
        verdict.past_bound += usize::from(self.ends_of(token).any(must));
        let known = self.ends_of(token).any(|end| end.was_asked_before(operation.ended));
        (!known && !self.login_may_be_lost(operation)).then_some("a token was inactive that nobody had revoked")
    }

    /// What ends an access token: the end of its session, and its own.
    fn ends_of(&self, token: &Token) -> impl Iterator<Item = &End> {
        [Some(&self.end), self.revoked.get(token)].into_iter().flatten()
    }
}
