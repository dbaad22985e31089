//! The last phase: what a grant has permitted becomes an access token (RFC 9068), an ID token where there is one, and the
//! answer around them.

use std::sync::Arc;
use std::time::Duration;

use super::id_token::{self, IdTokenWish};
use super::{TokenResponse, TokenType};
use crate::context::Context;
use crate::domain::claim_rules::{ClaimPlace, Subject};
use crate::domain::client::{Client, GrantType};
use crate::domain::error::OAuthError;
use crate::domain::ids::{Jti, SessionId, Sub};
use crate::domain::key::Alg;
use crate::domain::scope::Scope;
use crate::domain::secret::SecretText;
use crate::domain::session::Session;
use crate::domain::sources::{Entropy, random};
use crate::domain::time::Timestamp;
use crate::domain::user::User;
use crate::keys::{SigningSlot, Snapshot};
use crate::replica::ReplicaError;
use crate::tokens::claims::{AccessClaims, Act, ExtraClaims};
use crate::tokens::mint::mint;

/// The moment of an access token and the keys to sign it with, made ready *before* a grant changes anything in the
/// database: past that point nothing is left that could fail and cost a client its answer.
pub(super) struct Ready {
    /// The one `now` of the answer. It is older than whatever the grant then commits, so a revocation that comes
    /// after, and lasts until the longest token of its own moment has expired, outlasts this one.
    pub now: Timestamp,
    /// The life of the access token, in whole seconds.
    ttl: Duration,
    keys: Arc<Snapshot>,
    /// Those that an ID token is signed with, where there may be one.
    id_token_keys: Option<Arc<Snapshot>>,
}

impl Ready {
    /// # Errors
    /// A new, longer lifetime must be recorded first and the database does not answer.
    pub async fn make(ctx: &Context, client: &Client) -> Result<Self, OAuthError> {
        let ttl = Duration::from_secs(ctx.policy.of(client).access_ttl.as_secs());
        let keys = ctx.replica.ensure_ttl(client.access_token_alg, ttl).await?;
        Ok(Self { now: ctx.now(), ttl, keys, id_token_keys: None })
    }

    /// Makes ready for an ID token as well.
    ///
    /// # Errors
    /// As [`Ready::make`].
    pub async fn with_id_token(self, ctx: &Context, client: &Client) -> Result<Self, OAuthError> {
        let keys = ctx.replica.ensure_ttl(client.id_token_alg, ctx.policy.id_token_ttl).await?;
        Ok(Self { id_token_keys: Some(keys), ..self })
    }

    /// When the access token expires.
    pub fn expires_at(&self) -> Timestamp {
        self.now.plus(self.ttl)
    }

    /// The same, for a token that must not outlive `limit`; `None` where no whole second is left.
    pub fn until(self, limit: Timestamp) -> Option<Self> {
        let left = Duration::from_secs(u64::try_from(limit.seconds().saturating_sub(self.now.seconds())).unwrap_or(0));
        (!left.is_zero()).then(|| Self { ttl: self.ttl.min(left), ..self })
    }
}

/// What a grant has permitted.
pub(super) struct Permit {
    pub ready: Ready,
    /// A `sub`, or the `client_id` where a client acts for itself.
    pub subject: String,
    /// The subject, where the grant has read the user anyway.
    pub user: Option<User>,
    pub scope: Scope,
    pub audience: Vec<String>,
    pub session: Option<Standing>,
    pub refresh_token: Option<SecretText>,
    /// What came of an exchange says so.
    pub issued_token_type: Option<TokenType>,
    /// Who acts for the subject, where that is not the client the subject logged in at.
    pub act: Option<Act>,
    /// [`Ready::with_id_token`] goes before it.
    pub id_token: Option<IdTokenWish>,
}

/// The session that an access token belongs to.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    pub sid: SessionId,
    pub started_at: Timestamp,
    pub auth_time: Option<Timestamp>,
    /// When the session ends if nobody uses it again; `None` where it is another client's, and none of this one's to
    /// renew.
    pub ends_at: Option<Timestamp>,
}

impl Standing {
    /// A session of the client that the token is issued to.
    pub fn of(session: &Session, ends_at: Timestamp) -> Self {
        Self {
            sid: session.id,
            started_at: session.started_at,
            auth_time: Some(session.auth_time),
            ends_at: Some(ends_at),
        }
    }
}

/// When a client should renew, in seconds from now: between 60 % and 80 % of the token's life, drawn anew for every
/// answer. So what logged in together does not come back together, and a fifth of the life is left for retries.
fn refresh_in(entropy: &dyn Entropy, ttl: Duration) -> u64 {
    let ttl = ttl.as_secs();
    let earliest = ttl * 3 / 5;
    let span = ttl * 4 / 5 - earliest + 1;
    earliest + u64::from(u32::from_be_bytes(random(entropy))) % span
}

/// Reads the user, where a claim of a token needs one that the grant has not read. Should the database fail here, the
/// client's retry finds what has been committed for it.
async fn missing_user(ctx: &Context, client: &Client, permit: &Permit) -> Result<Option<User>, OAuthError> {
    let by_rule = |place| ctx.claims.need_user(place, &client.client_id, &permit.scope);
    let in_id_token = |wish: &IdTokenWish| wish.names_claims() || by_rule(ClaimPlace::IdToken);
    let needed = by_rule(ClaimPlace::AccessToken) || permit.id_token.as_ref().is_some_and(in_id_token);
    if permit.session.is_none() || permit.user.is_some() || !needed {
        return Ok(None);
    }
    Ok(ctx.store.user(&Sub::new(permit.subject.as_str())).await?)
}

/// # Errors
/// `server_error`: the active key is missing or the library refuses, which only a defect makes happen. 503 where a claim
/// needs the user, and the database does not answer.
pub(super) async fn issue(ctx: &Context, client: &Client, permit: Permit) -> Result<TokenResponse, OAuthError> {
    let read = missing_user(ctx, client, &permit).await?;
    let Permit { ready, subject, user, scope, audience, session, refresh_token, issued_token_type, act, id_token } =
        permit;
    let Ready { now, ttl, keys, id_token_keys } = ready;
    let known = Subject {
        client_id: &client.client_id,
        scope: &scope,
        sub: session.is_some().then_some(subject.as_str()),
        user: user.as_ref().or(read.as_ref()),
        started_at: session.map(|session| session.started_at),
        auth_time: session.and_then(|session| session.auth_time),
    };
    let ends_at = session.and_then(|session| session.ends_at);
    let renewable = ends_at.is_some() && (refresh_token.is_some() || client.may_use(GrantType::TokenExchange));
    let iat = Timestamp::from_seconds(now.seconds());
    let claims = AccessClaims {
        iss: ctx.issuer.to_string(),
        sub: subject.clone(),
        aud: audience,
        exp: iat.plus(ttl),
        iat,
        jti: Jti::generate(&*ctx.clock, &*ctx.entropy),
        client_id: client.client_id.clone(),
        scope: scope.clone(),
        sid: session.map(|session| session.sid),
        auth_time: known.auth_time,
        act,
        extra: ExtraClaims::new(ctx.claims_in(ClaimPlace::AccessToken, &known)),
    };
    let slot = active(&keys, client.access_token_alg)?;
    let access_token = mint(slot, &claims).map_err(OAuthError::internal)?;
    let id_token = match (id_token, id_token_keys, session) {
        (Some(wish), Some(keys), Some(session)) => {
            let slot = active(&keys, client.id_token_alg)?;
            Some(id_token::make(ctx, slot, client, wish, &known, Beside { access_token: &access_token, iat, session })?)
        }
        (Some(_), _, _) => return Err(OAuthError::internal("an ID token was permitted that nothing was ready for")),
        (None, _, _) => None,
    };
    Ok(TokenResponse {
        access_token,
        id_token,
        sub: subject,
        issued_at: iat,
        issued_token_type,
        expires_in: ttl.as_secs(),
        refresh_in: renewable.then(|| refresh_in(&*ctx.entropy, ttl)),
        refresh_token,
        session_expires_at: ends_at,
        scope,
    })
}

/// What an ID token is made beside.
pub(super) struct Beside<'a> {
    pub access_token: &'a str,
    pub iat: Timestamp,
    pub session: Standing,
}

fn active(keys: &Snapshot, alg: Alg) -> Result<&SigningSlot, ReplicaError> {
    keys.active(alg).ok_or(ReplicaError::NoActiveKey(alg.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sources::SystemEntropy;

    /// Draws the same bytes every time.
    struct Same(u8);

    impl Entropy for Same {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn a_client_is_told_to_renew_before_its_token_expires() {
        let ttl = Duration::from_secs(600);
        assert_eq!(refresh_in(&Same(0), ttl), 360);
        assert_eq!(refresh_in(&Same(7), ttl), refresh_in(&Same(7), ttl), "the injected randomness decides alone");
        let drawn: Vec<u64> = (0..1000).map(|_| refresh_in(&SystemEntropy, ttl)).collect();
        assert!(drawn.iter().all(|seconds| (360..=480).contains(seconds)), "{drawn:?}");
        assert!(drawn.iter().any(|seconds| *seconds < 380) && drawn.iter().any(|seconds| *seconds > 460), "{drawn:?}");
    }

    #[test]
    fn the_shortest_life_has_a_hint_too() {
        for (ttl, expected) in [(1, 0..=0), (2, 1..=1), (5, 3..=4), (86_400, 51_840..=69_120)] {
            let hint = refresh_in(&SystemEntropy, Duration::from_secs(ttl));
            assert!(expected.contains(&hint) && hint < ttl, "{hint} of {ttl}");
        }
    }
}
