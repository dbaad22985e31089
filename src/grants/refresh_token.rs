//! `refresh_token` (RFC 6749 section 6, RFC 9700 section 4.14): a session goes on. What a presented token does to its
//! session is [`crate::domain::session::present`]'s to decide and the store's to commit; here is what comes before and
//! after.

use serde_json::json;

use super::id_token::{self, IdTokenWish};
use super::issue::{Permit, Ready, Standing};
use super::still_allowed::still_allowed;
use super::{Asked, TokenRequest, missing, waking};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::audit::{Actor, AuditType};
use crate::domain::client::Client;
use crate::domain::error::{Code, OAuthError, Reason};
use crate::domain::meter::Count;
use crate::domain::session::{Outcome, Presented, Session, Successor};
use crate::storage::{Refresh, Refreshed};
use crate::tokens::refresh;

/// # Errors
/// `invalid_grant` with the reason; `invalid_scope` or `invalid_target` for more than the session has; 503.
pub(super) async fn authorise(asked: &Asked<'_>) -> Result<Permit, OAuthError> {
    let Asked { ctx, client, wish, request, .. } = asked;
    let presented = presented(ctx, client, request).await?;

    // More than the session has is refused before the token is presented. A session never changes its scope and
    // audience, so nothing can come between; and a refusal after the rotation would take the successor away from a
    // client that only mistyped a scope. (Even then a retry would get it again, but only within the window.) Whatever
    // else is wrong with the session is left for the presentation to tell, with its effects.
    if wish.scope.is_some() || !wish.resource.is_empty() {
        let session = ctx.store.session(presented.session).await?;
        if let Some(session) = session.filter(|session| session.client_id == client.client_id) {
            wish.narrowed(&session.scope, &session.audience)?;
        }
    }

    let mut ready = Ready::make(ctx, client).await?;
    if id_token::may_have_one(client) {
        ready = ready.with_id_token(ctx, client).await?;
    }
    let policy = ctx.policy.of(client);
    if ctx.replica.pulse().is_waking() {
        return Err(waking());
    }
    let refreshed = ctx
        .store
        .refresh(Refresh {
            presented,
            policy: policy.clone(),
            now: ready.now,
            address: Some(request.origin.address().to_string()),
            horizon: ctx.horizon(),
        })
        .await?;
    if let (Outcome::Healed { from, to, .. }, Some(session)) = (&refreshed.outcome, &refreshed.session) {
        audit_lost_tail(ctx, request, session, json!({ "from": from, "to": to })).await?;
    }
    let (successor, session) = judge(ctx, refreshed)?;

    let (scope, audience) = wish.narrowed(&session.scope, &session.audience)?;
    let scope = still_allowed(ctx, client, &session.sub, scope).await?;
    // Read again: the store may have derived the successor with keys that are newer than those of `ready`.
    let refresh_token = refresh::encode(&ctx.replica.keys(), &successor).map_err(OAuthError::internal)?;
    Ok(Permit {
        ready,
        subject: session.sub.to_string(),
        user: None,
        id_token: IdTokenWish::at_refresh(client, &session, &scope),
        scope,
        audience,
        session: Some(Standing::of(&session, session.expires_under(&policy))),
        refresh_token: Some(refresh_token),
        issued_token_type: None,
        act: None,
    })
}

/// Refuses a disabled client. The reason is told as in every other refusal: to a client with a secret, and to a public
/// one that presents an authentic token.
pub(super) async fn client_disabled(
    ctx: &Context,
    credentials: &Credentials,
    client: &Client,
    request: &TokenRequest,
) -> OAuthError {
    match presented(ctx, client, request).await {
        Err(error) if client.is_public() || error.code != Code::InvalidGrant => error,
        Ok(_) | Err(_) => {
            let refused = refuse(ctx, Reason::ClientDisabled);
            if !credentials.client_failure_is_news(request.origin.address()) {
                return refused;
            }
            let address = Some(request.origin.address().to_string());
            let actor = Actor { who: client.client_id.to_string(), via: None, address };
            let event = ctx
                .audit(AuditType::RefreshRefused, actor)
                .about_client(&client.client_id)
                .detail(json!({ "reason": Reason::ClientDisabled.as_str() }));
            match ctx.store.record(vec![event]).await {
                Ok(()) => refused,
                Err(error) => error.into(),
            }
        }
    }
}

/// The authentic token of the request. One that is garbled, cut off or forged ends here, before any database.
async fn presented(ctx: &Context, client: &Client, request: &TokenRequest) -> Result<Presented, OAuthError> {
    let text = request.refresh_token.as_ref().ok_or_else(|| missing("refresh_token"))?.expose();
    if let Some(presented) = ctx.replica.presented(text, &client.client_id).await? {
        return Ok(presented);
    }
    let refused = refuse(ctx, Reason::UnknownSession);
    // Whoever has neither a secret nor an authentic token gets no word for programs.
    Err(if client.is_public() { OAuthError { reason: None, ..refused } } else { refused })
}

/// What healed one session tells of all: the database has lost the tail of what it had acknowledged.
async fn audit_lost_tail(
    ctx: &Context,
    request: &TokenRequest,
    session: &Session,
    generations: serde_json::Value,
) -> Result<(), OAuthError> {
    let Some(first) = ctx.replica.first_heal().await? else { return Ok(()) };
    tracing::error!(
        sid = %session.id,
        "the database has lost what it had acknowledged last (it was restored, or a standby was promoted): sessions heal, \
         logins and revocations of that time are lost"
    );
    let address = Some(request.origin.address().to_string());
    let actor = Actor { who: session.client_id.to_string(), via: None, address };
    let event = ctx.audit(AuditType::TailLost, actor).about_session(session.id).detail(generations);
    ctx.store.record(vec![event]).await?;
    first.noted();
    Ok(())
}

/// The refresh token to answer with and its session, or the refusal. Counts what happened.
fn judge(ctx: &Context, refreshed: Refreshed) -> Result<(Successor, Session), OAuthError> {
    if refreshed.pattern {
        ctx.meter.count(Count::RetryPattern);
    }
    let successor = match refreshed.outcome {
        Outcome::Rotated(successor) => {
            ctx.meter.count(Count::RefreshRotated);
            successor
        }
        Outcome::Healed { successor, .. } => {
            ctx.meter.count(Count::RefreshHealed);
            successor
        }
        Outcome::RetryOfParent { successor, late } => {
            ctx.meter.count(Count::RefreshRetried { late });
            successor
        }
        Outcome::Kept(successor) => {
            ctx.meter.count(Count::RefreshKept);
            successor
        }
        Outcome::Replayed { .. } => {
            ctx.meter.count(Count::RefreshReused);
            return Err(OAuthError::refused(Reason::ReusedAfterWindow));
        }
        Outcome::Refused(refusal) => return Err(refuse(ctx, refusal.public())),
    };
    let session = refreshed.session.ok_or_else(|| OAuthError::internal("a session was renewed that there is not"))?;
    Ok((successor, session))
}

fn refuse(ctx: &Context, reason: Reason) -> OAuthError {
    ctx.meter.count(Count::RefreshRefused(reason));
    OAuthError::refused(reason)
}
