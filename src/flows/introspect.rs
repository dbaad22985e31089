//! RFC 7662: what an authenticated client may learn of a token.
//!
//! A client sees a token that was issued to it, or one that names it (or one of its `resource_identifiers`) as
//! audience. All else is `{"active":false}`. Of refresh tokens only the current generation is active, only to its own
//! client, and asking never rotates, heals or counts as reuse.

use crate::client_auth::{ClientClaim, Endpoint, authenticate};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::client::{Client, GrantType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, Jti, SessionId};
use crate::domain::origin::Origin;
use crate::domain::scope::Scope;
use crate::domain::secret::SecretText;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::introspection::Introspector;
use crate::tokens::claims::{AccessClaims, Act, ExtraClaims};
use crate::tokens::refresh;

/// The request of RFC 7662 section 2.1. `token_type_hint` is not needed: the two kinds look different.
#[derive(Debug)]
pub struct IntrospectRequest {
    pub client: ClientClaim,
    pub token: SecretText,
    pub origin: Origin,
}

/// The response of RFC 7662 section 2.2, for an active token.
#[derive(Debug)]
pub struct ActiveToken {
    pub token_type: &'static str,
    pub iss: String,
    pub sub: String,
    pub aud: Vec<String>,
    pub client_id: ClientId,
    pub scope: Scope,
    pub exp: Timestamp,
    pub iat: Timestamp,
    pub jti: Option<Jti>,
    pub sid: Option<SessionId>,
    pub auth_time: Option<Timestamp>,
    pub act: Option<Act>,
    pub extra: ExtraClaims,
}

/// # Errors
/// The caller is not an authenticated client, or the node cannot vouch for its memory.
pub async fn introspect(
    ctx: &Context,
    credentials: &Credentials,
    introspector: &Introspector,
    request: IntrospectRequest,
) -> Result<Option<ActiveToken>, OAuthError> {
    let IntrospectRequest { client, origin, .. } = &request;
    let caller = authenticate(ctx, credentials, client, origin, Endpoint::Introspection).await?.client;
    if caller.is_public() || caller.disabled {
        return Err(OAuthError::new(
            Code::UnauthorizedClient,
            "introspection needs a client that proves itself and is not disabled",
        ));
    }
    let token = request.token.expose();
    if refresh::looks_like_refresh_token(token) {
        return active_refresh_token(ctx, &caller, token).await;
    }
    let active = introspector.check(ctx, token).await?;
    let seen = active.filter(|token| may_see(&caller, &token.claims));
    Ok(seen.map(|token| describe(token.claims)))
}

fn may_see(caller: &Client, claims: &AccessClaims) -> bool {
    claims.client_id == caller.client_id || caller.is_audience(&claims.aud)
}

fn describe(claims: AccessClaims) -> ActiveToken {
    ActiveToken {
        token_type: "Bearer",
        iss: claims.iss,
        sub: claims.sub,
        aud: claims.aud,
        client_id: claims.client_id,
        scope: claims.scope,
        exp: claims.exp,
        iat: claims.iat,
        jti: Some(claims.jti),
        sid: claims.sid,
        auth_time: claims.auth_time,
        act: claims.act,
        extra: claims.extra,
    }
}

async fn active_refresh_token(ctx: &Context, caller: &Client, text: &str) -> Result<Option<ActiveToken>, OAuthError> {
    let Some(presented) = ctx.replica.presented(text, &caller.client_id).await? else {
        return Ok(None);
    };
    let Some(session) = ctx.store.session(presented.session).await? else {
        return Ok(None);
    };
    let current = session
        .chain
        .as_ref()
        .is_some_and(|chain| chain.generation == presented.generation && chain.holds(&presented.secret));
    let expires_at = session.expires_under(&ctx.policy.of(caller));
    let alive = session.ended.is_none() && ctx.now() < expires_at && caller.may_use(GrantType::RefreshToken);
    let active = current && alive && session.client_id == caller.client_id;
    Ok(active.then(|| describe_session(ctx, &session, expires_at)))
}

fn describe_session(ctx: &Context, session: &Session, expires_at: Timestamp) -> ActiveToken {
    ActiveToken {
        token_type: "refresh_token",
        iss: ctx.issuer.to_string(),
        sub: session.sub.to_string(),
        aud: vec![ctx.issuer.to_string()],
        client_id: session.client_id.clone(),
        scope: session.scope.clone(),
        exp: expires_at,
        iat: session.last_used_at,
        jti: None,
        sid: Some(session.id),
        auth_time: Some(session.auth_time),
        act: None,
        extra: ExtraClaims::default(),
    }
}
