//! The last phase: what a grant has permitted becomes an access token (RFC 9068) and the answer around it.

use std::sync::Arc;
use std::time::Duration;

use super::TokenResponse;
use crate::context::Context;
use crate::domain::client::Client;
use crate::domain::error::OAuthError;
use crate::domain::ids::{Jti, SessionId};
use crate::domain::scope::Scope;
use crate::domain::secret::SecretText;
use crate::domain::time::Timestamp;
use crate::keys::keyring::Snapshot;
use crate::replica::ReplicaError;
use crate::tokens::claims::AccessClaims;
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
}

impl Ready {
    /// # Errors
    /// A new, longer lifetime must be recorded first and the database does not answer.
    pub async fn make(ctx: &Context, client: &Client) -> Result<Self, OAuthError> {
        let ttl = Duration::from_secs(ctx.policy.of(client).access_ttl.as_secs());
        let keys = ctx.replica.ensure_ttl(client.access_token_alg, ttl).await?;
        Ok(Self { now: ctx.now(), ttl, keys })
    }

    /// When the access token expires.
    pub fn expires_at(&self) -> Timestamp {
        self.now.plus(self.ttl)
    }
}

/// What a grant has permitted.
pub(super) struct Permit {
    pub ready: Ready,
    /// A `sub`, or the `client_id` where a client acts for itself.
    pub subject: String,
    pub scope: Scope,
    pub audience: Vec<String>,
    /// The session, and when its user logged in.
    pub session: Option<(SessionId, Timestamp)>,
    pub refresh_token: Option<SecretText>,
}

/// # Errors
/// `server_error`: the active key is missing or the library refuses, which only a defect makes happen.
pub(super) fn issue(ctx: &Context, client: &Client, permit: Permit) -> Result<TokenResponse, OAuthError> {
    let Ready { now, ttl, keys } = permit.ready;
    let alg = client.access_token_alg;
    let slot = keys.active(alg).ok_or(ReplicaError::NoActiveKey(alg.as_str()))?;
    let iat = Timestamp::from_seconds(now.seconds());
    let claims = AccessClaims {
        iss: ctx.issuer.to_string(),
        sub: permit.subject,
        aud: permit.audience,
        exp: iat.plus(ttl),
        iat,
        jti: Jti::generate(&*ctx.clock, &*ctx.entropy),
        client_id: client.client_id.clone(),
        scope: permit.scope,
        sid: permit.session.map(|(sid, _)| sid),
        auth_time: permit.session.map(|(_, auth_time)| auth_time),
    };
    let access_token = mint(slot, &claims).map_err(OAuthError::internal)?;
    let expires_in = ttl.as_secs();
    Ok(TokenResponse { access_token, expires_in, refresh_token: permit.refresh_token, scope: claims.scope })
}
