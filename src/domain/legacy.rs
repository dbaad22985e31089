//! Tokens of another system, which Latchkey takes once each: what an operator says of the system that issued them, and what
//! becomes of one that comes back.
//!
//! A legacy token is the parent of the first refresh token of the session that it opened: both the session's id and that
//! token are derived from it. So the table of [`super::session`] holds for it too: inside the retry window, while nobody
//! has used its successor, it gets the same again; later it is a replay, and the session ends.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ids::ClientId;
use super::policy::TokenPolicy;
use super::session::{EndReason, Notice, Refusal, Session, may_go_on, note_retry, retry_window};
use super::time::Timestamp;

/// An algorithm that a foreign token may be signed with (RFC 7518 section 3.1). Configuration names it, never the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyAlg {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

/// What kind of key an algorithm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFamily {
    /// A secret that both sides hold.
    Secret,
    Rsa,
    /// An elliptic curve, by its size.
    Ec(u16),
}

impl LegacyAlg {
    pub const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
    ];

    /// The `alg` of a token's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    pub const fn family(self) -> KeyFamily {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => KeyFamily::Secret,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => KeyFamily::Rsa,
            Self::Es256 => KeyFamily::Ec(256),
            Self::Es384 => KeyFamily::Ec(384),
            Self::Es512 => KeyFamily::Ec(521),
        }
    }

    /// The shortest secret that does not weaken the hash, in bytes (RFC 7518 section 3.2); none where it takes no secret.
    pub const fn wanted_secret(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            _ => None,
        }
    }
}

/// How the claim that names the user finds them here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserBy {
    #[default]
    ExternalId,
    Username,
    Sub,
}

impl UserBy {
    pub const ALL: [Self; 3] = [Self::ExternalId, Self::Username, Self::Sub];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExternalId => "external_id",
            Self::Username => "username",
            Self::Sub => "sub",
        }
    }
}

/// How a secret is spelled where it is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretEncoding {
    /// Its bytes are the secret.
    #[default]
    Text,
    /// As Java's libraries have it.
    Base64,
}

impl SecretEncoding {
    pub const ALL: [Self; 2] = [Self::Text, Self::Base64];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Base64 => "base64",
        }
    }
}

/// The longest leeway that an issuer's tokens may have after their `exp`.
pub const LONGEST_LEEWAY: Duration = Duration::from_secs(60);

/// What an operator says of a system whose tokens are taken. Its key is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyIssuer {
    pub name: String,
    /// All of one family.
    pub algorithms: Vec<LegacyAlg>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What must be in `aud`.
    pub audience: Option<String>,
    /// The claim that names the user; within another one by `user.id`.
    pub user_claim: String,
    pub user_by: UserBy,
    pub started_claim: Option<String>,
    pub ends_claim: Option<String>,
    /// Claims that must be there and equal.
    pub require: Map<String, Value>,
    /// Who may exchange its tokens.
    pub clients: Vec<ClientId>,
    /// The `jti`s of tokens that it had blacklisted.
    pub denied: BTreeSet<String>,
    /// How long after its `exp` a token still counts.
    pub leeway: Duration,
    pub cut_off: Timestamp,
}

/// Whether a login is from before all sessions of its user were ended, and so opens none.
pub fn was_logged_out(logged_in_at: Option<Timestamp>, sessions_ended_at: Option<Timestamp>) -> bool {
    // A login whose time nobody knows may have been before.
    sessions_ended_at.is_some_and(|ended| logged_in_at.is_none_or(|login| login <= ended))
}

/// A legacy token that has opened a session before, as a client brings it again.
#[derive(Clone, Copy, Debug)]
pub struct Return<'a> {
    pub client_id: &'a ClientId,
    /// When it opened the session.
    pub redeemed_at: Timestamp,
    /// Whether by now it would open none any more: it has expired, or its issuer's cut-off has passed.
    pub lapsed: bool,
    pub now: Timestamp,
}

/// What the return of a legacy token came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnOutcome {
    /// In time: the same refresh token again.
    Retried { late: bool },
    /// It is a retry, but by now the token counts for nothing. Nothing was changed.
    Lapsed,
    /// Its successor is in use, or the window has passed: the session has been ended by this.
    Replayed,
    /// Nothing was changed.
    Refused(Refusal),
}

/// Presents a legacy token to the session that it opened.
///
/// The order of checks is that of [`super::session::present`]: a wrong client changes nothing and learns nothing. A lost
/// answer is given again although the token has expired meanwhile, for as long as a client retries at once.
pub fn come_back(session: &mut Session, token: Return<'_>, policy: &TokenPolicy) -> (ReturnOutcome, Vec<Notice>) {
    let Return { client_id, redeemed_at, lapsed, now } = token;
    if let Err(refusal) = may_go_on(session, client_id, policy, now) {
        return (ReturnOutcome::Refused(refusal), Vec::new());
    }
    let first_generation = session.chain.as_ref().is_none_or(|chain| chain.generation == 0);
    let unused = first_generation && session.last_used_at == redeemed_at;
    let elapsed = now.since(redeemed_at);
    let window = session.chain.as_ref().map_or(policy.refresh_retry_window, |chain| retry_window(chain, policy));
    if !unused || elapsed > window {
        session.end(now, EndReason::Reused);
        return (ReturnOutcome::Replayed, Vec::new());
    }
    let late = elapsed > policy.late_retry;
    if lapsed && late {
        return (ReturnOutcome::Lapsed, Vec::new());
    }
    let notices = session.chain.as_mut().map_or_else(Vec::new, |chain| note_retry(chain, late));
    (ReturnOutcome::Retried { late }, notices)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::{SessionId, Sub};
    use crate::domain::scope::Scope;
    use crate::domain::session::{Chain, RetrySeen};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn session() -> Session {
        let policy = TokenPolicy::default();
        Session {
            id: SessionId::from_bytes([1; 16]),
            client_id: ClientId::new("web"),
            sub: Sub::new("usr_1"),
            scope: Scope::default(),
            audience: Vec::new(),
            auth_time: NOW.minus(seconds(1000)),
            started_at: NOW.minus(seconds(1000)),
            last_used_at: NOW,
            idle_expires_at: NOW.plus(policy.refresh_idle),
            absolute_expires_at: NOW.minus(seconds(1000)).plus(policy.refresh_absolute),
            sign_in: None,
            offline: false,
            claims: None,
            chain: Some(Chain {
                generation: 0,
                secret_hash: [2; 32],
                key_version: 1,
                rotated_at: NOW,
                retry_seen: RetrySeen::None,
                late_streak: 0,
                narrowed: false,
            }),
            ended: None,
        }
    }

    /// Brings the token back after a while, and answers what came of it and whether the session has changed.
    fn back(session: &mut Session, client: &str, lapsed: bool, after: Duration) -> (ReturnOutcome, bool) {
        let before = session.clone();
        let client_id = ClientId::new(client);
        let token = Return { client_id: &client_id, redeemed_at: NOW, lapsed, now: NOW.plus(after) };
        let (outcome, notices) = come_back(session, token, &TokenPolicy::default());
        if outcome != ReturnOutcome::Replayed {
            assert_eq!(notices.is_empty(), before == *session, "what is noticed is written");
        }
        (outcome, before != *session)
    }

    #[test]
    fn inside_the_window_the_same_comes_again_and_after_it_the_session_ends() {
        for (after, expected) in [
            (seconds(0), ReturnOutcome::Retried { late: false }),
            (seconds(15), ReturnOutcome::Retried { late: false }),
            (Duration::from_millis(15_001), ReturnOutcome::Retried { late: true }),
            (seconds(60), ReturnOutcome::Retried { late: true }),
            (Duration::from_millis(60_001), ReturnOutcome::Replayed),
        ] {
            let mut session = session();
            assert_eq!(back(&mut session, "web", false, after).0, expected, "after {after:?}");
            assert_eq!(session.ended.is_some(), expected == ReturnOutcome::Replayed);
            let mut chainless = Session { chain: None, ..self::session() };
            assert_eq!(
                back(&mut chainless, "web", false, after).0,
                expected,
                "without a refresh token, after {after:?}"
            );
        }
        let mut session = session();
        assert_eq!(back(&mut session, "web", false, seconds(1)), (ReturnOutcome::Retried { late: false }, true));
        assert_eq!(
            back(&mut session, "web", false, seconds(2)),
            (ReturnOutcome::Retried { late: false }, false),
            "no news"
        );
    }

    #[test]
    fn once_its_successor_is_in_use_a_token_is_a_replay() {
        let mut rotated = session();
        rotated.chain.as_mut().unwrap().generation = 1;
        let mut kept = Session { last_used_at: NOW.plus(seconds(1)), ..session() };
        let mut renewed = Session { chain: None, last_used_at: NOW.plus(seconds(1)), ..session() };
        for session in [&mut rotated, &mut kept, &mut renewed] {
            assert_eq!(back(session, "web", false, seconds(2)).0, ReturnOutcome::Replayed);
            assert_eq!(session.ended, Some((NOW.plus(seconds(2)), EndReason::Reused)));
            let refused = ReturnOutcome::Refused(Refusal::Ended(EndReason::Reused));
            assert_eq!(back(session, "web", false, seconds(3)), (refused, false), "it ends once");
        }
    }

    #[test]
    fn a_token_that_lapsed_is_given_its_lost_answer_and_no_more() {
        let mut session = session();
        assert_eq!(back(&mut session, "web", true, seconds(15)).0, ReturnOutcome::Retried { late: false });
        assert_eq!(back(&mut session, "web", true, seconds(16)), (ReturnOutcome::Lapsed, false));
        assert_eq!(
            back(&mut session, "web", true, seconds(61)).0,
            ReturnOutcome::Replayed,
            "a thief who came first is out"
        );
    }

    #[test]
    fn a_wrong_client_and_a_session_that_is_over_change_nothing() {
        let policy = TokenPolicy::default();
        for (mut session, client, after, refusal) in [
            (session(), "other", seconds(1), Refusal::WrongClient),
            (session(), "other", policy.refresh_absolute, Refusal::WrongClient),
            (session(), "web", policy.refresh_idle, Refusal::IdleExpired),
            (session(), "web", policy.refresh_absolute, Refusal::AbsoluteExpired),
            (
                Session { ended: Some((NOW, EndReason::RevokedByAdmin)), ..session() },
                "web",
                policy.refresh_absolute,
                Refusal::Ended(EndReason::RevokedByAdmin),
            ),
        ] {
            assert_eq!(back(&mut session, client, false, after), (ReturnOutcome::Refused(refusal), false));
        }
    }

    proptest! {
        /// Whatever comes back and when: no limit of the session ever moves, and nothing brings an ended one back.
        #[test]
        fn no_return_lengthens_a_session(
            returns in prop::collection::vec((0..200_000_u64, any::<bool>(), any::<bool>()), 1..12),
        ) {
            let mut session = session();
            let limits = |it: &Session| (it.idle_expires_at, it.absolute_expires_at, it.last_used_at, it.started_at);
            let before = limits(&session);
            let mut after = Duration::ZERO;
            for (step, lapsed, ours) in returns {
                after += Duration::from_millis(step);
                let was_over = session.ended;
                let (outcome, _) = back(&mut session, if ours { "web" } else { "other" }, lapsed, after);
                prop_assert_eq!(limits(&session), before);
                prop_assert!(was_over.is_none() || session.ended == was_over);
                let retried = matches!(outcome, ReturnOutcome::Retried { .. });
                prop_assert!(!retried || (ours && after <= seconds(60) && session.ended.is_none()));
            }
        }
    }
}
