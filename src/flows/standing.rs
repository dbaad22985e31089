//! How a token stands, for the client that may renew or exchange it: what verification endpoints of the kind that Django's
//! packages have can say without using it.
//!
//! Of an access token everything is told: whoever holds it can try it. Of a refresh token only how its session stands.
//! Whether it is the current one is found out by using it alone, or else a thief could ask as often as he likes, and no
//! replay would ever be noticed. Of a legacy token what its exchange would come to: a thief whom it would let in could
//! exchange it as well. Nothing is written, and nothing is used up.

use crate::context::Context;
use crate::credentials::foreign::user_named;
use crate::domain::client::{Client, GrantType};
use crate::domain::error::{OAuthError, Reason};
use crate::domain::ids::Sub;
use crate::domain::legacy::{Return, ReturnOutcome, come_back, was_logged_out};
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::introspection::Introspector;
use crate::tokens::legacy::{Examined, Own};
use crate::tokens::peek::says_it_expired;
use crate::tokens::verify::Verified;

/// How an access token stands.
#[derive(Debug)]
pub enum AccessStanding {
    Active(Box<Verified>),
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

/// How a legacy token stands.
#[derive(Debug)]
pub enum LegacyStanding {
    /// The client would get a session for it now, or the same answer once more.
    Exchangeable(Exchangeable),
    /// Used up, blacklisted by its issuer, or from before all sessions of its user were ended.
    Ended,
    /// Or past its issuer's cut-off, or past the end of its session.
    Expired,
    UserDisabled,
    /// None that counts here, or none of this client's.
    Unknown,
}

/// What there is to tell of a legacy token that can be exchanged.
#[derive(Debug)]
pub struct Exchangeable {
    pub sub: Sub,
    /// What the exchange gives where nobody asks for less.
    pub scope: Scope,
    /// Its `iat`.
    pub issued_at: Option<Timestamp>,
    /// From when on it opens no session, if nobody exchanges it before.
    pub expires_at: Timestamp,
    /// When the login ends if nobody goes on with it: the same moment, until the token has opened a session.
    pub session_expires_at: Timestamp,
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
    if ctx.now() < verified.expires_at() {
        let active = introspector.check(ctx, token).await?;
        return Ok(active.map_or(AccessStanding::Ended, |token| AccessStanding::Active(Box::new(token))));
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

/// The rules of the exchange, in their order; what it does last is left out.
///
/// # Errors
/// The database does not answer.
pub async fn of_legacy_token(ctx: &Context, client: &Client, text: &str) -> Result<LegacyStanding, OAuthError> {
    if !client.may_use(GrantType::TokenExchange) {
        return Ok(LegacyStanding::Unknown);
    }
    let now = ctx.now();
    let keys = ctx.replica.keys();
    let own = Own { issuer: &ctx.issuer, knows: &|kid| keys.knows(kid) };
    let (issuer, token) = match ctx.legacy.examine(own, &client.client_id, text, now) {
        Examined::Nobodys => return Ok(LegacyStanding::Unknown),
        Examined::Refused { refusal, .. } => {
            return Ok(match LegacyStanding::refused(refusal.public()) {
                // Its signature is good: what it says of its end is true.
                LegacyStanding::Unknown if says_it_expired(text, now) => LegacyStanding::Expired,
                standing => standing,
            });
        }
        Examined::Taken { issuer, token } => (issuer, token),
    };
    let Some(scope) = client.unnamed_scope() else { return Ok(LegacyStanding::Unknown) };
    let policy = ctx.policy.of(client);
    let limit = policy.limit_of(token.started_at.unwrap_or(now), token.ends_at);
    // Whom it would open a session for.
    let opening = match token.lapsed {
        Some(_) => None,
        None => match user_named(ctx, issuer, &token.user).await? {
            None => return Ok(LegacyStanding::Unknown),
            Some(user) if user.disabled => return Ok(LegacyStanding::UserDisabled),
            Some(user) => Some(user.sub).filter(|_| is_before(now, limit)),
        },
    };
    let expires_at = token.expires_at.min(issuer.cut_off).min(limit);
    let told = |sub, scope, session_expires_at| {
        let issued_at = token.issued_at;
        LegacyStanding::Exchangeable(Exchangeable { sub, scope, issued_at, expires_at, session_expires_at })
    };
    let Some(redeemed) = ctx.store.redeemed_token(&token.hash).await? else {
        let Some(sub) = opening else { return Ok(LegacyStanding::Expired) };
        if was_logged_out(token.started_at, ctx.store.sessions_ended_at(&sub).await?) {
            return Ok(LegacyStanding::Ended);
        }
        return Ok(told(sub, scope, expires_at));
    };
    if redeemed.client_id != client.client_id {
        return Ok(LegacyStanding::Unknown);
    }
    // The sweep has taken it: long ago, then.
    let Some(mut session) = ctx.store.session(redeemed.sid).await? else { return Ok(LegacyStanding::Ended) };
    let back =
        Return { client_id: &client.client_id, redeemed_at: redeemed.redeemed_at, lapsed: opening.is_none(), now };
    // On this copy, which nobody writes back.
    let (outcome, _) = come_back(&mut session, back, &policy);
    Ok(match outcome {
        ReturnOutcome::Retried { .. } if is_before(now, session.absolute_expires_at) => {
            let ends_at = session.expires_under(&policy);
            told(session.sub, session.scope, ends_at)
        }
        ReturnOutcome::Retried { .. } | ReturnOutcome::Lapsed => LegacyStanding::Expired,
        ReturnOutcome::Replayed => LegacyStanding::Ended,
        ReturnOutcome::Refused(refusal) => LegacyStanding::refused(refusal.public()),
    })
}

/// In whole seconds, as an access token's life is.
const fn is_before(now: Timestamp, limit: Timestamp) -> bool {
    now.seconds() < limit.seconds()
}

impl LegacyStanding {
    /// What the exchange is refused with.
    const fn refused(reason: Reason) -> Self {
        match reason {
            Reason::Revoked | Reason::ReusedAfterWindow => Self::Ended,
            Reason::IdleExpired | Reason::AbsoluteExpired | Reason::CutOff => Self::Expired,
            Reason::UserDisabled => Self::UserDisabled,
            Reason::UnknownSession | Reason::TokenInactive | Reason::ClientDisabled => Self::Unknown,
        }
    }
}
