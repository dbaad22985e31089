//! How a token stands, for the client that it was issued to and that may renew it: what verification endpoints of the
//! kind that Django's packages have can say without using it.
//!
//! Of an access token everything is told: whoever holds it can try it. Of a refresh token only how its session stands.
//! Whether it is the current one is found out by using it alone, or else a thief could ask as often as he likes, and no
//! replay would ever be noticed.

use std::sync::Arc;

use crate::context::Context;
use crate::domain::client::Client;
use crate::domain::error::OAuthError;
use crate::introspection::Introspector;
use crate::tokens::verify::Verified;

/// How an access token stands.
#[derive(Debug)]
pub enum AccessStanding {
    Active(Arc<Verified>),
    /// Revoked, or its user, client, session or key is.
    Ended,
    Expired {
        /// Whether its session has come to its absolute limit as well.
        for_good: bool,
    },
    /// Not one of Latchkey's, or another client's.
    Unknown,
}

/// How the session of a refresh token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshStanding {
    Alive,
    Ended,
    Expired,
    /// Not one of Latchkey's, or another client's.
    Unknown,
}

/// # Errors
/// This node cannot vouch for its memory and the database does not answer.
pub async fn of_access_token(
    ctx: &Context,
    introspector: &Introspector,
    client: &Client,
    token: &str,
) -> Result<AccessStanding, OAuthError> {
    // Noise ends here, after one look for its key at most.
    let verified = introspector.authentic(ctx, token).await?;
    let Some(verified) = verified.filter(|token| token.claims.client_id == client.client_id) else {
        return Ok(AccessStanding::Unknown);
    };
    if ctx.now() < verified.expires_at {
        let active = introspector.check(ctx, token).await?;
        return Ok(active.map_or(AccessStanding::Ended, AccessStanding::Active));
    }
    let session = match verified.claims.sid {
        Some(sid) => ctx.store.session(sid).await?,
        None => None,
    };
    let policy = ctx.policy.of(client);
    let for_good = session.is_some_and(|session| session.absolute_under(&policy) <= ctx.now());
    Ok(AccessStanding::Expired { for_good })
}

/// # Errors
/// The database does not answer.
pub async fn of_refresh_token(ctx: &Context, client: &Client, text: &str) -> Result<RefreshStanding, OAuthError> {
    let Some(presented) = ctx.replica.presented(text, &client.client_id).await? else {
        return Ok(RefreshStanding::Unknown);
    };
    let session = ctx.store.session(presented.session).await?;
    let Some(session) = session.filter(|session| session.client_id == client.client_id) else {
        return Ok(RefreshStanding::Unknown);
    };
    if !session.believes(&presented, &*ctx.replica.keys()) {
        return Ok(RefreshStanding::Unknown);
    }
    Ok(if session.ended.is_some() {
        RefreshStanding::Ended
    } else if session.expires_under(&ctx.policy.of(client)) <= ctx.now() {
        RefreshStanding::Expired
    } else {
        RefreshStanding::Alive
    })
}
