//! The session that a login begins: what it lasts, and whether it can be renewed.

use super::Asked;
use super::issue::Ready;
use crate::domain::client::GrantType;
use crate::domain::code::Code;
use crate::domain::error::OAuthError;
use crate::domain::ids::{SessionId, SignInId, Sub};
use crate::domain::scope::Scope;
use crate::domain::secret::{Secret32, SecretText};
use crate::domain::session::{Chain, Session};
use crate::domain::sources::random;
use crate::domain::time::Timestamp;
use crate::tokens::refresh;

/// What is to begin.
pub(super) struct Beginning {
    pub id: SessionId,
    /// The first refresh secret.
    pub secret: Secret32,
    pub sub: Sub,
    pub scope: Scope,
    pub audience: Vec<String>,
    /// When the user logged in: now, unless the login was made elsewhere.
    pub started_at: Timestamp,
    /// The end that the session has been promised at the latest, beside its policy's.
    pub ends_at: Option<Timestamp>,
    /// The sign-in in a browser that it comes from.
    pub sign_in: Option<SignedIn>,
}

/// What a session takes over from a browser's sign-in.
pub(super) struct SignedIn {
    id: SignInId,
    auth_time: Timestamp,
    /// Whether the session outlives it.
    offline: bool,
    claims: Option<String>,
}

impl Beginning {
    /// A login that has just been made.
    pub fn now(asked: &Asked<'_>, ready: &Ready, sub: Sub, scope: Scope, audience: Vec<String>) -> Self {
        let entropy = &*asked.ctx.entropy;
        Self {
            id: SessionId::generate(entropy),
            secret: Secret32::new(random(entropy)),
            sub,
            scope,
            audience,
            started_at: ready.now,
            ends_at: None,
            sign_in: None,
        }
    }

    /// A login that a browser has brought back as a code.
    pub fn of_code(asked: &Asked<'_>, ready: &Ready, code: &Code) -> Self {
        let sign_in = SignedIn {
            id: code.sign_in,
            auth_time: code.auth_time,
            offline: code.scope.contains("offline_access"),
            claims: code.claims.clone(),
        };
        let begun = Self::now(asked, ready, code.sub.clone(), code.scope.clone(), code.audience.clone());
        Self { sign_in: Some(sign_in), ..begun }
    }

    /// The session, and the refresh token where there is one.
    ///
    /// Every login of a user is a session, so that it can be listed and ended. A client without the grant
    /// `refresh_token` gets one that lasts as long as its only access token, or, where it may exchange that for another
    /// one, as long as it does so in time.
    ///
    /// # Errors
    /// The refresh keys must be recorded to live longer first, and the database does not answer.
    pub async fn session(self, asked: &Asked<'_>, ready: &Ready) -> Result<(Session, Option<SecretText>), OAuthError> {
        let Asked { ctx, client, .. } = asked;
        let now = ready.now;
        let policy = ctx.policy.of(client);
        let limit = policy.limit_of(self.started_at, self.ends_at);
        let (idle, absolute, chain, token) = if client.may_use(GrantType::RefreshToken) {
            let (chain, token) = self.chain(asked, now).await?;
            (now.plus(policy.refresh_idle), limit, Some(chain), Some(token))
        } else if client.may_use(GrantType::TokenExchange) {
            (ready.expires_at().plus(policy.exchange_leeway), limit, None, None)
        } else {
            (ready.expires_at(), ready.expires_at(), None, None)
        };
        let session = Session {
            id: self.id,
            client_id: client.client_id.clone(),
            sub: self.sub,
            scope: self.scope,
            audience: self.audience,
            auth_time: self.sign_in.as_ref().map_or(self.started_at, |sign_in| sign_in.auth_time),
            started_at: self.started_at,
            last_used_at: now,
            idle_expires_at: idle.min(absolute),
            absolute_expires_at: absolute,
            sign_in: self.sign_in.as_ref().map(|sign_in| sign_in.id),
            offline: self.sign_in.as_ref().is_some_and(|sign_in| sign_in.offline),
            claims: self.sign_in.and_then(|sign_in| sign_in.claims),
            chain,
            ended: None,
        };
        Ok((session, token))
    }

    async fn chain(&self, asked: &Asked<'_>, now: Timestamp) -> Result<(Chain, SecretText), OAuthError> {
        let ctx = asked.ctx;
        let policy = ctx.policy.of(&asked.client);
        // The refresh keys are kept as long as the longest session that may hold a token of theirs: recorded before it is.
        let keys = ctx.replica.ensure_absolute(policy.refresh_absolute).await?;
        let first = refresh::first(&keys, self.id, self.secret.clone())
            .ok_or_else(|| OAuthError::internal("there is no active version of the refresh keys"))?;
        Ok((refresh::chain_of(&first, now), refresh::encode(&keys, &first).map_err(OAuthError::internal)?))
    }
}
