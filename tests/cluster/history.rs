//! What clients asked and what they were answered: all that the checker knows.
//!
//! Every moment is one of the harness's own monotonic clock, and lies outside of what the service can have done: an
//! operation took effect after it was sent, and before it was answered if it was.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Microseconds since the round began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0 + span.as_micros() as u64)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.0 as f64 / 1e6)
    }
}

/// An access or a refresh token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(Arc<str>);

impl Token {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Which refresh token of its session this is; `None` for access tokens.
    pub fn generation(&self) -> Option<u32> {
        let bytes = URL_SAFE_NO_PAD.decode(self.0.strip_prefix("lkr_")?).ok()?;
        Some(u32::from_be_bytes(bytes.get(17..21)?.try_into().ok()?))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Texts of one kind begin alike.
        let end = self.0.get(self.0.len().saturating_sub(6)..).unwrap_or_default();
        match self.generation() {
            Some(generation) => write!(f, "refresh token {generation} (..{end})"),
            None => write!(f, "access token ..{end}"),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Asked {
    Login,
    Refresh(Token),
    /// Introspection of an access token.
    IsActive(Token),
    /// Of a refresh token: the session ends. Of an access token: only that one.
    Revoke(Token),
}

/// How an answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// There was no connection to be had.
    NotReached,
    /// The connection was closed before the answer began.
    Closed,
    /// The answer began and did not end.
    Cut,
    /// The client waited no longer.
    TimedOut,
    /// The client went away on purpose.
    Abandoned,
}

#[derive(Clone, Debug)]
pub enum Answer {
    Tokens {
        access: Token,
        refresh: Token,
    },
    Active(bool),
    Revoked,
    /// `invalid_grant`, and its reason.
    Refused(String),
    /// 503.
    Unavailable,
    Lost(Loss),
    /// What no client expects: its status and its text.
    Odd(String),
}

impl Answer {
    /// Whether the request may still lie somewhere and be carried out later.
    pub fn is_given_up(&self) -> bool {
        matches!(self, Self::Lost(Loss::TimedOut | Loss::Abandoned))
    }
}

/// One request to one node.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The harness's own number. Each login that a user tries opens another.
    pub session: usize,
    pub node: usize,
    pub sent: Moment,
    /// When the answer was there, or was given up.
    pub ended: Moment,
    pub asked: Asked,
    pub answer: Answer,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}, node {}: ", self.sent, self.ended, self.node)?;
        match &self.asked {
            Asked::Login => write!(f, "login")?,
            Asked::Refresh(token) => write!(f, "refresh with {token}")?,
            Asked::IsActive(token) => write!(f, "is {token} active")?,
            Asked::Revoke(token) => write!(f, "revoke {token}")?,
        }
        match &self.answer {
            Answer::Tokens { access, refresh } => write!(f, " -> {refresh}, {access}"),
            Answer::Active(active) => write!(f, " -> {active}"),
            Answer::Revoked => write!(f, " -> revoked"),
            Answer::Refused(reason) => write!(f, " -> refused: {reason}"),
            Answer::Unavailable => write!(f, " -> 503"),
            Answer::Lost(loss) => write!(f, " -> no answer: {loss:?}"),
            Answer::Odd(what) => write!(f, " -> {what}"),
        }
    }
}

/// What a failover to an asynchronous standby may have lost: the answers between these moments.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    /// The commit of the last transaction that the standby has, or a little before.
    pub since: Moment,
    /// When the primary died.
    pub until: Moment,
}

impl Lag {
    /// Whether a commit that `operation` was told of may have been lost.
    pub fn may_have_lost(&self, operation: &Operation) -> bool {
        operation.ended >= self.since && operation.sent <= self.until
    }
}

/// A round as its clients saw it.
#[derive(Clone, Debug)]
pub struct History {
    pub operations: Vec<Operation>,
    /// `introspection.revocation_staleness`.
    pub bound: Duration,
    /// When the users stopped.
    pub stopped: Moment,
    /// From then on each session's latest token was tried once more, with every node well.
    pub last_tries: Moment,
    pub lag: Option<Lag>,
    /// Whether no answer may be lost but in ways after which clients try again by themselves.
    pub gentle: bool,
}
