//! RFC 7009: the client that a token was issued to ends it.
//!
//! An authentic refresh token of any generation ends its session and the session's access tokens; an access token ends
//! alone, unless it is what renews its session. Unknown and expired tokens answer like revoked ones: there is nothing left to do.

use crate::client_auth::{ClientClaim, Endpoint, authenticate};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::audit::{Actor, AuditType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::ClientId;
use crate::domain::meter::Count;
use crate::domain::origin::Origin;
use crate::domain::secret::SecretText;
use crate::domain::session::{ChainKeys, EndReason, Session};
use crate::introspection::Introspector;
use crate::storage::{EndOutcome, EndSession};
use crate::tokens::refresh;
use crate::tokens::verify::CLOCK_SKEW;

/// The request of RFC 7009 section 2.1. `token_type_hint` is not needed: the two kinds look different.
#[derive(Debug)]
pub struct RevokeRequest {
    pub client: ClientClaim,
    pub token: SecretText,
    pub origin: Origin,
}

/// # Errors
/// The client is not authenticated, the token is another client's, or the database does not answer.
pub async fn revoke(
    ctx: &Context,
    credentials: &Credentials,
    introspector: &Introspector,
    request: RevokeRequest,
) -> Result<(), OAuthError> {
    let RevokeRequest { client, origin, .. } = &request;
    let caller = authenticate(ctx, credentials, client, origin, Endpoint::Revocation).await?.client;
    let actor =
        Actor { who: caller.client_id.to_string(), via: None, address: Some(request.origin.address().to_string()) };
    let token = request.token.expose();
    if refresh::looks_like_refresh_token(token) {
        revoke_refresh_token(ctx, &caller.client_id, actor, token).await
    } else {
        revoke_access_token(ctx, introspector, &caller.client_id, actor, token).await
    }
}

async fn revoke_access_token(
    ctx: &Context,
    introspector: &Introspector,
    caller: &ClientId,
    actor: Actor,
    token: &str,
) -> Result<(), OAuthError> {
    let Some(verified) = introspector.verified(ctx, token, ctx.now()).await? else {
        return Ok(());
    };
    let claims = &verified.claims;
    if claims.client_id != *caller {
        return Err(anothers_token());
    }
    // A session without a refresh token is renewed by any of its access tokens: to revoke one is to log out, or an earlier
    // copy would go on.
    if let Some(sid) = claims.sid
        && let Some(session) = ctx.store.session(sid).await?
        && session.client_id == *caller
        && session.chain.is_none()
    {
        return end(ctx, caller, actor, &session).await;
    }
    let mut audit = ctx.audit(AuditType::TokenRevoked, actor).about_client(caller);
    audit.sid = claims.sid;
    audit.detail = serde_json::json!({ "jti": claims.jti });
    // The entry must outlive the token on the clocks of all who ask.
    let gone_at = verified.expires_at().plus(CLOCK_SKEW);
    ctx.store.revoke_token(&claims.jti, gone_at, audit).await?;
    ctx.meter.count(Count::TokenRevoked);
    Ok(())
}

async fn revoke_refresh_token(ctx: &Context, caller: &ClientId, actor: Actor, text: &str) -> Result<(), OAuthError> {
    let Some(presented) = ctx.replica.presented(text, caller).await? else {
        return Ok(());
    };
    let Some(session) = ctx.store.session(presented.session).await? else {
        // It was swept, or the database has lost it with its tail: its access tokens have gone out all the same.
        if !ChainKeys::is_compromised(&*ctx.replica.keys(), presented.key_version) {
            ctx.store.revoke_lost_session(presented.session, ctx.horizon()).await?;
        }
        return Ok(());
    };
    if session.client_id != *caller {
        return Err(anothers_token());
    }
    if !session.believes(&presented, &*ctx.replica.keys()) {
        return Ok(());
    }
    end(ctx, caller, actor, &session).await
}

/// Ends a session that is the caller's.
async fn end(ctx: &Context, caller: &ClientId, actor: Actor, session: &Session) -> Result<(), OAuthError> {
    let audit = ctx
        .audit(AuditType::SessionRevoked, actor)
        .about_client(caller)
        .about_user(&session.sub)
        .about_session(session.id)
        .detail(serde_json::json!({ "reason": EndReason::RevokedByClient.as_str() }));
    let end = EndSession {
        id: session.id,
        of_client: Some(caller.clone()),
        reason: EndReason::RevokedByClient,
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit,
    };
    if ctx.store.end_session(end).await? == EndOutcome::Ended {
        ctx.meter.count(Count::SessionRevoked);
    }
    Ok(())
}

fn anothers_token() -> OAuthError {
    OAuthError::new(Code::UnauthorizedClient, "the token was issued to another client, and only that one may revoke it")
}
