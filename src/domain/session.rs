//! Refresh sessions (RFC 6749 section 6, RFC 9700 section 4.14): what a session is and what a presented refresh token
//! does to it.
//!
//! A session is one client's standing permission from one login of one user: one row, whatever the number of
//! refreshes. Its refresh token is a chain: generation `g + 1` is *derived* from generation `g`, so an answer that got
//! lost is given again instead of drawn anew, and any older generation is recognised for the session's whole life.
//! [`present`] is the whole outcome table, pure: storage calls it inside its batch, tests call it under a simulated
//! clock.

use std::time::Duration;

use super::error::Reason;
use super::ids::{ClientId, SessionId, SignInId, Sub};
use super::policy::TokenPolicy;
use super::scope::Scope;
use super::secret::{Secret32, same};
use super::time::Timestamp;

/// This many generations in a row, each retried late, are a pattern no honest client shows.
pub const PATTERN_LENGTH: u8 = 5;

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// An older refresh token was used again.
    Reused,
    /// The client revoked it (RFC 7009).
    RevokedByClient,
    /// An operator ended it.
    RevokedByAdmin,
    PasswordChanged,
    UserDisabled,
    UserDeleted,
    ClientDeleted,
    /// The sign-in that it came from ended.
    LoggedOut,
    /// The authorization code that it came from was used again (RFC 6749 section 4.1.2).
    CodeReused,
    /// The user allows its client nothing any more.
    ConsentRevoked,
    /// A reason that a newer Latchkey on the same database has given, and this one does not know.
    Unknown,
}

impl EndReason {
    pub const ALL: [Self; 11] = [
        Self::Reused,
        Self::RevokedByClient,
        Self::RevokedByAdmin,
        Self::PasswordChanged,
        Self::UserDisabled,
        Self::UserDeleted,
        Self::ClientDeleted,
        Self::LoggedOut,
        Self::CodeReused,
        Self::ConsentRevoked,
        Self::Unknown,
    ];

    /// How it is stored and shown to operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reused => "reused",
            Self::RevokedByClient => "revoked_by_client",
            Self::RevokedByAdmin => "revoked_by_admin",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::ClientDeleted => "client_deleted",
            Self::LoggedOut => "logged_out",
            Self::CodeReused => "code_reused",
            Self::ConsentRevoked => "consent_revoked",
            Self::Unknown => "unknown",
        }
    }

    /// What [`Self::as_str`] has stored, here or in a newer version.
    pub fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|known| known.as_str() == text).unwrap_or(Self::Unknown)
    }

    /// What the client is told.
    pub const fn public(self) -> Reason {
        match self {
            Self::Reused => Reason::ReusedAfterWindow,
            Self::UserDisabled | Self::UserDeleted => Reason::UserDisabled,
            Self::RevokedByClient
            | Self::RevokedByAdmin
            | Self::PasswordChanged
            | Self::ClientDeleted
            | Self::LoggedOut
            | Self::CodeReused
            | Self::ConsentRevoked
            | Self::Unknown => Reason::Revoked,
        }
    }
}

/// What was seen of the current generation's parent since the last rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetrySeen {
    None,
    /// Within `late_retry` of the rotation: a lost answer, or several tabs.
    Prompt,
    /// After `late_retry`, within the window: what a thief's use looks like too.
    Late,
}

/// Where the refresh token of a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub generation: u32,
    /// SHA-256 of the current generation's secret. The secret itself is nowhere.
    pub secret_hash: [u8; 32],
    /// The version of the refresh keys that made the current generation.
    pub key_version: u8,
    /// When the current generation was made.
    pub rotated_at: Timestamp,
    pub retry_seen: RetrySeen,
    /// How many of the latest generations in a row saw a late retry.
    pub late_streak: u8,
    /// Whether the pattern was met, so that the window is `late_retry` long from then on.
    pub narrowed: bool,
}

impl Chain {
    /// Whether the secret is the current generation's.
    pub fn holds(&self, secret: &Secret32) -> bool {
        same(&self.secret_hash, &secret.sha256())
    }
}

/// One client's standing permission from one login of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub client_id: ClientId,
    pub sub: Sub,
    pub scope: Scope,
    /// The `aud` its access tokens may name.
    pub audience: Vec<String>,
    pub auth_time: Timestamp,
    pub started_at: Timestamp,
    pub last_used_at: Timestamp,
    pub idle_expires_at: Timestamp,
    pub absolute_expires_at: Timestamp,
    /// The sign-in that opened it through an authorization code; `None` where no browser was in between.
    pub sign_in: Option<SignInId>,
    /// Whether it outlives its sign-in (`offline_access`, OpenID Connect Core section 11).
    pub offline: bool,
    /// The parameter `claims` of the authorization request, as JSON.
    pub claims: Option<String>,
    /// `None` where the client has no `refresh_token` grant: nothing renews this session.
    pub chain: Option<Chain>,
    pub ended: Option<(Timestamp, EndReason)>,
}

impl Session {
    /// When it ends if nobody uses it again.
    pub fn expires_at(&self) -> Timestamp {
        self.idle_expires_at.min(self.absolute_expires_at)
    }

    /// The same under the client's present policy, which may have shortened its sessions since.
    pub fn expires_under(&self, policy: &TokenPolicy) -> Timestamp {
        self.idle_expires_at.min(absolute_end(self, policy))
    }

    /// Its absolute limit under the client's present policy.
    pub fn absolute_under(&self, policy: &TokenPolicy) -> Timestamp {
        absolute_end(self, policy)
    }

    /// Whether a presented token says anything of this session: the tag of a compromised version proves nothing, since
    /// whoever holds the lost key could make one of anybody's; then the row's hash must prove it.
    pub fn believes(&self, presented: &Presented, keys: &dyn ChainKeys) -> bool {
        !keys.is_compromised(presented.key_version)
            || self.chain.as_ref().is_some_and(|chain| chain.holds(&presented.secret))
    }

    /// Ends it, unless it has ended already.
    pub fn end(&mut self, now: Timestamp, reason: EndReason) -> bool {
        let first = self.ended.is_none();
        if first {
            self.ended = Some((now, reason));
        }
        first
    }
}

/// What is derived with the refresh keys. Pure computation; the keys live in `tokens`.
pub trait ChainKeys: Send + Sync {
    /// The version that new generations are made with.
    fn current_version(&self) -> u8;

    fn is_compromised(&self, version: u8) -> bool;

    /// The secret that follows `secret` as `generation`; `None` where the version is no longer kept.
    fn successor(&self, version: u8, session: SessionId, generation: u32, secret: &Secret32) -> Option<Secret32>;
}

/// A refresh token whose tag was found authentic, as a client presents it.
#[derive(Clone, Debug)]
pub struct Presented {
    pub session: SessionId,
    pub generation: u32,
    pub secret: Secret32,
    /// The version of the refresh keys whose tag it bears.
    pub key_version: u8,
    pub client_id: ClientId,
}

/// The refresh token to answer with: all that its text is made of, but for the tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    pub session: SessionId,
    pub generation: u32,
    pub secret: Secret32,
    pub key_version: u8,
}

/// What a presentation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A step forward.
    Rotated(Successor),
    /// The database had lost its tail: it was set to the presented generation, then rotated.
    Healed { successor: Successor, from: u32, to: u32 },
    /// The immediate parent, in time: the very same successor again.
    RetryOfParent { successor: Successor, late: bool },
    /// Rotation is off: the same refresh token again, the idle limit moved.
    Kept(Successor),
    /// An older generation: the session has been ended by this presentation.
    Replayed { presented: u32, current: u32 },
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownSession,
    /// Answered like [`Refusal::UnknownSession`]: a wrong client learns nothing.
    WrongClient,
    Ended(EndReason),
    IdleExpired,
    AbsoluteExpired,
    /// Newer than the row, and healing is off.
    AheadOfDatabase,
    /// Bears the tag of a compromised version, which proves nothing, and the row's hash does not prove it either.
    Unproven,
}

impl Refusal {
    pub const fn public(self) -> Reason {
        match self {
            Self::Ended(reason) => reason.public(),
            Self::IdleExpired => Reason::IdleExpired,
            Self::AbsoluteExpired => Reason::AbsoluteExpired,
            Self::UnknownSession | Self::WrongClient | Self::AheadOfDatabase | Self::Unproven => Reason::UnknownSession,
        }
    }
}

/// What the audit trail and the metrics hear of a presentation, beside its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// First retry of this generation.
    Retried { late: bool },
    /// The fifth generation in a row with a late retry: the window is short from now on.
    RetryPattern,
}

/// The verdict on one presentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Whether the session differs from before, so that the row must be written.
    pub changed: bool,
    pub notices: Vec<Notice>,
}

impl Verdict {
    fn unchanged(outcome: Outcome) -> Self {
        Self { outcome, changed: false, notices: Vec::new() }
    }

    fn changed(outcome: Outcome) -> Self {
        Self { outcome, changed: true, notices: Vec::new() }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::unchanged(Outcome::Refused(refusal))
    }
}

/// Presents a refresh token to its session and steps the session accordingly.
///
/// `policy` is the presenting client's. The order of checks is a promise: client, ended, expired, generation; so a
/// wrong client changes nothing and learns nothing, and a refused request never extends the idle limit.
pub fn present(
    session: &mut Session,
    presented: &Presented,
    policy: &TokenPolicy,
    keys: &dyn ChainKeys,
    now: Timestamp,
) -> Verdict {
    if let Err(refusal) = may_go_on(session, &presented.client_id, policy, now) {
        return Verdict::refused(refusal);
    }
    let Some(chain) = &session.chain else {
        return Verdict::refused(Refusal::UnknownSession);
    };

    let current = chain.generation;
    let trusted = !keys.is_compromised(presented.key_version);
    if presented.generation == current && chain.holds(&presented.secret) {
        return step(session, presented, policy, keys, now);
    }
    if presented.generation.checked_add(1) == Some(current)
        && let Some(successor) = proven_successor(chain, presented, keys)
    {
        return retry(session, successor, policy, now);
    }
    if !trusted {
        return Verdict::refused(Refusal::Unproven);
    }
    if presented.generation > current {
        return heal(session, presented, policy, keys, now);
    }
    replay(session, presented.generation, current, now)
}

/// Lets a session go on without a look at its refresh token: one of its access tokens was brought back for a successor
/// (RFC 8693). `latest_expiry` is when the new access token expires.
///
/// A session without a refresh token lives as long as its latest access token can be brought back; another one has
/// been used.
///
/// # Errors
/// As [`present`] refuses. Nothing is changed then.
pub fn renew(
    session: &mut Session,
    client_id: &ClientId,
    policy: &TokenPolicy,
    latest_expiry: Timestamp,
    now: Timestamp,
) -> Result<(), Refusal> {
    may_go_on(session, client_id, policy, now)?;
    let latest_exchange = session.idle_expires_at.max(latest_expiry.plus(policy.exchange_leeway));
    touch(session, policy, now);
    if session.chain.is_none() {
        session.idle_expires_at = latest_exchange.min(session.absolute_expires_at);
    }
    Ok(())
}

/// The checks before any token is looked at.
pub(super) fn may_go_on(
    session: &Session,
    client_id: &ClientId,
    policy: &TokenPolicy,
    now: Timestamp,
) -> Result<(), Refusal> {
    if session.client_id != *client_id {
        return Err(Refusal::WrongClient);
    }
    if let Some((_, reason)) = session.ended {
        return Err(Refusal::Ended(reason));
    }
    if now >= absolute_end(session, policy) {
        return Err(Refusal::AbsoluteExpired);
    }
    if now >= session.idle_expires_at {
        return Err(Refusal::IdleExpired);
    }
    Ok(())
}

fn absolute_end(session: &Session, policy: &TokenPolicy) -> Timestamp {
    session.absolute_expires_at.min(session.started_at.plus(policy.refresh_absolute))
}

/// Moves the idle limit, which never passes the absolute one.
fn touch(session: &mut Session, policy: &TokenPolicy, now: Timestamp) {
    session.absolute_expires_at = absolute_end(session, policy);
    session.last_used_at = session.last_used_at.max(now);
    session.idle_expires_at = session.last_used_at.plus(policy.refresh_idle).min(session.absolute_expires_at);
}

/// The presented token is the current one.
fn step(
    session: &mut Session,
    presented: &Presented,
    policy: &TokenPolicy,
    keys: &dyn ChainKeys,
    now: Timestamp,
) -> Verdict {
    // A token of a compromised version is exchanged for one of the current version even where rotation is off.
    if !policy.rotate_refresh && !keys.is_compromised(presented.key_version) {
        touch(session, policy, now);
        return Verdict::changed(Outcome::Kept(Successor {
            session: session.id,
            generation: presented.generation,
            secret: presented.secret.clone(),
            key_version: presented.key_version,
        }));
    }
    match rotate_from(session, presented, policy, keys, now) {
        Some(successor) => Verdict::changed(Outcome::Rotated(successor)),
        None => Verdict::refused(Refusal::Unproven),
    }
}

/// Sets the chain to the successor of the presented generation. `None` where the generations are used up, or the
/// current version of the keys is missing, which the keyring never lets happen.
fn rotate_from(
    session: &mut Session,
    presented: &Presented,
    policy: &TokenPolicy,
    keys: &dyn ChainKeys,
    now: Timestamp,
) -> Option<Successor> {
    let generation = presented.generation.checked_add(1)?;
    let key_version = keys.current_version();
    let secret = keys.successor(key_version, session.id, generation, &presented.secret)?;
    let chain = session.chain.as_mut()?;
    if chain.retry_seen != RetrySeen::Late {
        chain.late_streak = 0;
    }
    chain.generation = generation;
    chain.secret_hash = secret.sha256();
    chain.key_version = key_version;
    chain.rotated_at = now;
    chain.retry_seen = RetrySeen::None;
    touch(session, policy, now);
    Some(Successor { session: session.id, generation, secret, key_version })
}

/// The successor of the presented secret, if it is what the row holds.
fn proven_successor(chain: &Chain, presented: &Presented, keys: &dyn ChainKeys) -> Option<Successor> {
    let secret = keys.successor(chain.key_version, presented.session, chain.generation, &presented.secret)?;
    same(&chain.secret_hash, &secret.sha256()).then_some(Successor {
        session: presented.session,
        generation: chain.generation,
        secret,
        key_version: chain.key_version,
    })
}

/// The presented token is the proven parent of the current one.
fn retry(session: &mut Session, successor: Successor, policy: &TokenPolicy, now: Timestamp) -> Verdict {
    let Some(chain) = session.chain.as_mut() else {
        return Verdict::refused(Refusal::UnknownSession);
    };
    let current = chain.generation;
    let elapsed = now.since(chain.rotated_at);
    let window = retry_window(chain, policy);
    if elapsed > window {
        return replay(session, current - 1, current, now);
    }

    let late = elapsed > policy.late_retry;
    let mut verdict = Verdict::unchanged(Outcome::RetryOfParent { successor, late });
    verdict.notices = note_retry(chain, late);
    verdict.changed = !verdict.notices.is_empty();
    verdict
}

/// Remembers a retry of the current generation's parent, and answers what there is to tell of it: nothing where the like
/// was seen before, and nothing has changed then.
pub(super) fn note_retry(chain: &mut Chain, late: bool) -> Vec<Notice> {
    let seen = if late { RetrySeen::Late } else { RetrySeen::Prompt };
    if seen <= chain.retry_seen {
        return Vec::new();
    }
    chain.retry_seen = seen;
    let mut notices = vec![Notice::Retried { late }];
    if late {
        chain.late_streak = chain.late_streak.saturating_add(1);
        if chain.late_streak >= PATTERN_LENGTH && !chain.narrowed {
            chain.narrowed = true;
            notices.push(Notice::RetryPattern);
        }
    }
    notices
}

/// An authentic token newer than the row: the database lost its tail.
fn heal(
    session: &mut Session,
    presented: &Presented,
    policy: &TokenPolicy,
    keys: &dyn ChainKeys,
    now: Timestamp,
) -> Verdict {
    if !policy.refresh_heal {
        return Verdict::refused(Refusal::AheadOfDatabase);
    }
    let from = session.chain.as_ref().map_or(0, |chain| chain.generation);
    match rotate_from(session, presented, policy, keys, now) {
        Some(successor) => Verdict::changed(Outcome::Healed { successor, from, to: presented.generation }),
        None => Verdict::refused(Refusal::AheadOfDatabase),
    }
}

fn replay(session: &mut Session, presented: u32, current: u32, now: Timestamp) -> Verdict {
    session.end(now, EndReason::Reused);
    Verdict::changed(Outcome::Replayed { presented, current })
}

/// The window in which the immediate parent of the current generation gets the same answer again.
pub fn retry_window(chain: &Chain, policy: &TokenPolicy) -> Duration {
    if chain.narrowed { policy.late_retry.min(policy.refresh_retry_window) } else { policy.refresh_retry_window }
}
