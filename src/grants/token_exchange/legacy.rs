//! Legacy tokens: what another system issued before, exchanged once for a session of Latchkey's own (RFC 8693 section 2,
//! with a `subject_token` that is somebody else's JWT).
//!
//! The session keeps the start of the old login, so that it ends when it was promised to. Its id and its first refresh
//! token are derived from the legacy token: an answer that got lost is given again. What becomes of a token that comes
//! back is [`crate::domain::legacy`]'s to decide and the store's to commit.

use serde_json::json;

use crate::context::Context;
use crate::credentials::foreign::user_named;
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::error::{OAuthError, Reason};
use crate::domain::ids::Sub;
use crate::domain::legacy::{LONGEST_LEEWAY, LegacyIssuer};
use crate::domain::meter::Count;
use crate::domain::scope::Scope;
use crate::domain::secret::{Secret32, SecretText};
use crate::domain::session::{Session, Successor};
use crate::domain::user::User;
use crate::domain::wish::{self, Wish};
use crate::grants::begin::Beginning;
use crate::grants::issue::{Permit, Ready, Standing};
use crate::grants::still_allowed::still_allowed;
use crate::grants::{Asked, TokenType};
use crate::storage::{Opening, RedeemOutcome, RedeemRefusal, RedeemToken};
use crate::tokens::legacy::{Examined, LegacyRefusal, LegacyToken, Own};
use crate::tokens::refresh;

/// # Errors
/// `invalid_request` with the reason: the token is nobody's, has expired, was used before, or its user may not log in;
/// `invalid_scope`, `invalid_target`; 503.
pub(super) async fn authorise(asked: &Asked<'_>, wish: &Wish, text: &str) -> Result<Permit, OAuthError> {
    let Asked { ctx, client, .. } = asked;
    let keys = ctx.replica.keys();
    let own = Own { issuer: &ctx.issuer, knows: &|kid| keys.knows(kid) };
    let (issuer, token) = match ctx.legacy.examine(own, &client.client_id, text, ctx.now()) {
        // Whoever has no key can send any number of these: nothing is written of them.
        Examined::Nobodys => return Err(refuse(ctx, Reason::TokenInactive)),
        Examined::Refused { issuer, hash, refusal } => {
            return Err(refused(asked, issuer, &hash, refusal, None).await);
        }
        Examined::Taken { issuer, token } => (issuer, token),
    };
    let scope = wish.scope_for(client)?;
    // Nobody proved a moment ago that they are an administrator.
    wish::user_holds(&scope, &Scope::default())?;
    let audience = wish.audience_for(&scope, client, &ctx.issuer)?;

    let ready = Ready::make(ctx, client).await?;
    let (sid, secret) = ctx.legacy.derive(&token.hash);
    let candidate = match token.lapsed {
        Some(reason) => Err(reason),
        None => Ok(user_named(ctx, issuer, &token.user).await?),
    };
    let (mut user, mut first) = (None, None);
    let opening = match candidate {
        Err(reason) => Err(reason),
        Ok(None) => return Err(refused(asked, issuer, &token.hash, LegacyRefusal::UnknownUser, None).await),
        Ok(Some(found)) if found.disabled => {
            return Err(refused(asked, issuer, &token.hash, LegacyRefusal::UserDisabled, Some(&found.sub)).await);
        }
        Ok(Some(found)) => {
            let beginning = Beginning {
                id: sid,
                secret: secret.clone(),
                sub: found.sub.clone(),
                scope,
                audience,
                started_at: token.started_at.unwrap_or(ready.now),
                ends_at: token.ends_at,
                sign_in: None,
            };
            let (session, refresh_token) = beginning.session(asked, &ready).await?;
            // In whole seconds, as the access token's life is.
            let opening = if ready.now.seconds() < session.absolute_expires_at.seconds() {
                Ok(opening(asked, issuer, &token, session, &found))
            } else {
                Err(Reason::AbsoluteExpired)
            };
            (user, first) = (Some(found), refresh_token);
            opening
        }
    };
    let opened = opening.as_ref().ok().map(|opening| opening.session.clone());
    let redemption = RedeemToken {
        hash: token.hash,
        issuer: issuer.name.clone(),
        sid,
        client_id: client.client_id.clone(),
        policy: ctx.policy.of(client),
        now: ready.now,
        address: Some(asked.request.origin.address().to_string()),
        horizon: ctx.horizon(),
        opening,
    };
    match ctx.store.redeem_token(redemption).await? {
        RedeemOutcome::Opened => {
            ctx.meter.count(Count::LegacyExchanged);
            let session = opened.ok_or_else(|| OAuthError::internal("a session was opened that there is not"))?;
            let (scope, audience) = (session.scope.clone(), session.audience.clone());
            permit(ready, &session, user, (scope, audience), first)
        }
        RedeemOutcome::Retried { session, late } => {
            ctx.meter.count(Count::LegacyRetried { late });
            let (scope, audience) = wish.narrowed(&session.scope, &session.audience)?;
            let scope = still_allowed(ctx, client, &session.sub, scope).await?;
            let again = again(ctx, &session, secret)?;
            permit(ready, &session, user, (scope, audience), again)
        }
        RedeemOutcome::Replayed => {
            ctx.meter.count(Count::LegacyReplayed);
            Err(OAuthError::refused_exchange(Reason::ReusedAfterWindow))
        }
        RedeemOutcome::Refused(refusal) => {
            Err(redemption_refused(asked, issuer, &token, refusal, user.as_ref().map(|user| &user.sub)).await)
        }
    }
}

fn opening(asked: &Asked<'_>, issuer: &LegacyIssuer, token: &LegacyToken, session: Session, user: &User) -> Opening {
    let audit = event(asked, AuditType::LegacyExchanged, Some(&user.sub)).about_session(session.id).detail(json!({
        "issuer": issuer.name, "started_at": session.started_at.rfc3339(), "scope": session.scope,
    }));
    Opening {
        session,
        credential_epoch: user.credential_epoch,
        logged_in_at: token.started_at,
        // However the cut-off and the leeway are changed later: while the token could be taken again.
        keep_until: issuer.cut_off.max(token.expires_at.plus(LONGEST_LEEWAY)),
        audit,
    }
}

fn permit(
    ready: Ready,
    session: &Session,
    user: Option<User>,
    (scope, audience): (Scope, Vec<String>),
    refresh_token: Option<SecretText>,
) -> Result<Permit, OAuthError> {
    let limit = session.absolute_expires_at;
    let ready = ready.until(limit).ok_or_else(|| OAuthError::refused_exchange(Reason::AbsoluteExpired))?;
    Ok(Permit {
        ready,
        subject: session.sub.to_string(),
        user,
        scope,
        audience,
        session: Some(Standing::of(session, session.expires_at())),
        refresh_token,
        issued_token_type: Some(TokenType::AccessToken),
        act: None,
        id_token: None,
    })
}

/// The first refresh token of the session, once more: made with the version of the keys that it was made with then.
fn again(ctx: &Context, session: &Session, secret: Secret32) -> Result<Option<SecretText>, OAuthError> {
    let Some(chain) = &session.chain else { return Ok(None) };
    let first = Successor { session: session.id, generation: chain.generation, secret, key_version: chain.key_version };
    refresh::encode(&ctx.replica.keys(), &first).map(Some).map_err(OAuthError::internal)
}

async fn redemption_refused(
    asked: &Asked<'_>,
    issuer: &LegacyIssuer,
    token: &LegacyToken,
    refusal: RedeemRefusal,
    sub: Option<&Sub>,
) -> OAuthError {
    let refusal = match refusal {
        RedeemRefusal::UserChanged => {
            return OAuthError::unavailable("the user has just been changed; try again");
        }
        RedeemRefusal::Lapsed(reason) => return refuse(asked.ctx, reason),
        RedeemRefusal::Session(refusal) => {
            let reason = match refusal.public() {
                // Also what a wrong client is told.
                Reason::UnknownSession => Reason::TokenInactive,
                reason => reason,
            };
            return refuse(asked.ctx, reason);
        }
        RedeemRefusal::LoggedOut => LegacyRefusal::LoggedOut,
        RedeemRefusal::NotRedeemed(Reason::CutOff) => LegacyRefusal::CutOff,
        RedeemRefusal::NotRedeemed(Reason::AbsoluteExpired) => LegacyRefusal::TooOld,
        RedeemRefusal::NotRedeemed(_) => LegacyRefusal::Expired,
    };
    refused(asked, issuer, &token.hash, refusal, sub).await
}

/// Refuses a token whose signature is good, and tells the audit trail the first time of each kind.
async fn refused(
    asked: &Asked<'_>,
    issuer: &LegacyIssuer,
    hash: &[u8; 32],
    refusal: LegacyRefusal,
    sub: Option<&Sub>,
) -> OAuthError {
    let error = refuse(asked.ctx, refusal.public());
    if !asked.credentials.legacy_refusal_is_news(&issuer.name, hash, refusal.as_str()) {
        return error;
    }
    let detail = json!({ "issuer": issuer.name, "reason": refusal.public().as_str(), "cause": refusal.as_str() });
    let entry = event(asked, AuditType::LegacyRefused, sub).detail(detail);
    match asked.ctx.store.record(vec![entry]).await {
        Ok(()) => error,
        Err(failed) => failed.into(),
    }
}

fn event(asked: &Asked<'_>, kind: AuditType, sub: Option<&Sub>) -> AuditEvent {
    let Asked { ctx, client, request, .. } = asked;
    let address = Some(request.origin.address().to_string());
    let actor = Actor { who: client.client_id.to_string(), via: None, address };
    let event = ctx.audit(kind, actor).about_client(&client.client_id);
    match sub {
        Some(sub) => event.about_user(sub),
        None => event,
    }
}

fn refuse(ctx: &Context, reason: Reason) -> OAuthError {
    ctx.meter.count(Count::LegacyRefused(reason));
    OAuthError::refused_exchange(reason)
}
