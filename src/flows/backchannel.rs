//! Telling clients that a session has ended (OpenID Connect Back-Channel Logout 1.0 section 2.5).
//!
//! What is to be told is in the database since the session ended. Any node tells it, a few clients at a time, each
//! attempt with a logout token of its own. A client may hear of one logout twice, and never of none while it listens.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::context::Context;
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::client::Client;
use crate::domain::error::OAuthError;
use crate::domain::ids::Jti;
use crate::domain::logout::LogoutDelivery;
use crate::domain::meter::Count;
use crate::outbound::{Outbound, OutboundError};
use crate::replica::ReplicaError;
use crate::storage::RetryLogout;
use crate::tokens::logout_token::{LIFETIME, LogoutClaims, mint_logout_token};

/// How many are told at once.
const AT_ONCE: u32 = 32;

/// How long another node leaves what this one has taken: longer than any answer may take.
const LEASE: Duration = Duration::from_secs(120);

/// How long what else is due for a client waits that has just not listened.
const BREATH: Duration = Duration::from_secs(5);

/// Tells what is due, up to so many; answers how many those were.
///
/// # Errors
/// The database does not answer. What was taken is due again when its lease is over.
pub async fn deliver(ctx: &Context, outbound: &Arc<Outbound>) -> Result<usize, OAuthError> {
    let now = ctx.now();
    let taken = ctx.store.claim_logouts(now, now.plus(LEASE), AT_ONCE).await?;
    let count = taken.len();
    let mut attempts = JoinSet::new();
    for delivery in taken {
        let (ctx, outbound) = (ctx.clone(), Arc::clone(outbound));
        attempts.spawn(async move { attempt(&ctx, &outbound, delivery).await });
    }
    let mut outcome = Ok(count);
    while let Some(attempt) = attempts.join_next().await {
        if let Err(error) = attempt.map_err(OAuthError::internal).flatten() {
            outcome = Err(error);
        }
    }
    outcome
}

async fn attempt(ctx: &Context, outbound: &Outbound, delivery: LogoutDelivery) -> Result<(), OAuthError> {
    let client = ctx.replica.client(&delivery.client_id).await?;
    let told = client.as_ref().and_then(|client| Some((client, client.backchannel_logout_uri.as_deref()?)));
    let Some((client, uri)) = told else {
        // Nobody is to be told any more.
        ctx.store.settle_logout(delivery, None).await?;
        return Ok(());
    };
    let token = token(ctx, client, &delivery).await?;
    match outbound.post_form(uri, &[("logout_token", &token)]).await {
        Ok(()) => {
            let audit = event(ctx, AuditType::LogoutDelivered, &delivery, json!({ "attempts": delivery.attempt }));
            if ctx.store.settle_logout(delivery, Some(audit)).await? {
                ctx.meter.count(Count::LogoutDelivered);
            }
            Ok(())
        }
        Err(error) => failed(ctx, delivery, &error).await,
    }
}

async fn token(ctx: &Context, client: &Client, delivery: &LogoutDelivery) -> Result<String, OAuthError> {
    let alg = client.id_token_alg;
    let keys = ctx.replica.ensure_ttl(alg, LIFETIME).await?;
    let slot = keys.active(alg).ok_or(ReplicaError::NoActiveKey(alg.as_str()))?;
    let jti = Jti::generate(&*ctx.clock, &*ctx.entropy);
    let whose = (&delivery.sub, delivery.sid);
    let claims = LogoutClaims::new(&ctx.issuer, &client.client_id, whose, jti, ctx.now());
    mint_logout_token(slot, &claims).map_err(OAuthError::internal)
}

/// Every failure is tried again: what refuses today may have been mended in an hour.
async fn failed(ctx: &Context, delivery: LogoutDelivery, error: &OutboundError) -> Result<(), OAuthError> {
    let now = ctx.now();
    let (client_id, sid, attempt) = (delivery.client_id.clone(), delivery.sid, delivery.attempt);
    let count = match delivery.next_attempt(now) {
        Some(due_at) => {
            let retry = RetryLogout { now, due_at, others_due_at: now.plus(BREATH) };
            tracing::info!(%client_id, %sid, attempt, %error, "a client did not take a logout token; it is tried again");
            ctx.store.retry_logout(delivery, retry).await?.then_some(Count::LogoutRetried)
        }
        None => {
            let detail = json!({ "attempts": attempt, "error": error.to_string() });
            let audit = event(ctx, AuditType::LogoutUndeliverable, &delivery, detail);
            tracing::warn!(%client_id, %sid, attempt, %error, "a client was not told of a logout within an hour");
            ctx.store.settle_logout(delivery, Some(audit)).await?.then_some(Count::LogoutUndeliverable)
        }
    };
    if let Some(count) = count {
        ctx.meter.count(count);
    }
    Ok(())
}

fn event(ctx: &Context, kind: AuditType, delivery: &LogoutDelivery, detail: serde_json::Value) -> AuditEvent {
    ctx.audit(kind, Actor::system())
        .about_user(&delivery.sub)
        .about_client(&delivery.client_id)
        .about_session(delivery.sid)
        .detail(detail)
}
