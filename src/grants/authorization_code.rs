//! `authorization_code` (RFC 6749 section 4.1.3, RFC 7636 section 4.5, RFC 9700 section 4.8): a code is exchanged once for the
//! session that its user allowed.
//!
//! Whatever is wrong with who brings it leaves the code as it is. A second exchange by its own client is the mark of a
//! theft: the session that the first one opened is ended.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::begin::Beginning;
use super::id_token::IdTokenWish;
use super::issue::{Permit, Ready, Standing};
use super::still_allowed::still_allowed;
use super::{Asked, missing, waking};
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::code::{self, CodeRefusal};
use crate::domain::error::{Code, OAuthError};
use crate::domain::secret::{Secret32, SecretText};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::storage::{RedeemCode, RedeemCodeOutcome};

/// The parameters of this grant alone.
#[derive(Default)]
pub struct CodeParameters {
    pub code: Option<SecretText>,
    pub redirect_uri: Option<String>,
    pub code_verifier: Option<SecretText>,
}

const UNKNOWN: &str = "no such code for this client: it was exchanged long ago, has expired, or never was; begin the \
                       authorization again";

/// # Errors
/// `invalid_grant`: the code is none of this client's, has expired, was exchanged before, or what comes with it is not
/// what it was asked for with; `invalid_target`; 503.
pub(super) async fn authorise(asked: &Asked<'_>) -> Result<Permit, OAuthError> {
    let Asked { ctx, client, request, wish, .. } = asked;
    let text = request.code.code.as_ref().ok_or_else(|| missing("code"))?;
    let hash = secret_of(text).ok_or_else(|| refused(UNKNOWN))?.sha256();
    let code = ctx.store.code(&hash).await?.ok_or_else(|| refused(UNKNOWN))?;
    let redirect_uri = request.code.redirect_uri.as_deref();
    let verifier = request.code.code_verifier.as_ref().map(SecretText::expose);
    code::check(&code, &client.client_id, redirect_uri, verifier, ctx.now()).map_err(|refusal| match refusal {
        CodeRefusal::WrongClient => refused(UNKNOWN),
        refusal => refused(refusal.text()),
    })?;
    let (scope, audience) = wish.narrowed(&code.scope, &code.audience)?;
    let scope = still_allowed(ctx, client, &code.sub, scope).await?;

    let mut ready = Ready::make(ctx, client).await?;
    if code.scope.contains("openid") {
        ready = ready.with_id_token(ctx, client).await?;
    }
    let (session, refresh_token) = Beginning::of_code(asked, &ready, &code).session(asked, &ready).await?;
    let standing = Standing::of(&session, session.expires_at());
    let id_token = IdTokenWish::at_exchange(&code, &scope);
    let sub = session.sub.to_string();
    let redemption = RedeemCode {
        hash,
        audit: opened(asked, &session, ready.now),
        session,
        now: ready.now,
        address: Some(request.origin.address().to_string()),
        horizon: ctx.horizon(),
    };
    if ctx.replica.pulse().is_waking() {
        return Err(waking());
    }
    match ctx.store.redeem_code(redemption).await? {
        RedeemCodeOutcome::Opened => {}
        RedeemCodeOutcome::Replayed { .. } => {
            return Err(refused(
                "the code was exchanged before, so the session that this opened has been ended; begin the authorization \
                 again",
            ));
        }
        RedeemCodeOutcome::UserChanged => {
            return Err(refused("the user was changed after the login; begin the authorization again"));
        }
        RedeemCodeOutcome::SignInEnded => {
            return Err(refused("the user has signed out after the login; begin the authorization again"));
        }
        RedeemCodeOutcome::Gone => return Err(refused(UNKNOWN)),
    }
    Ok(Permit {
        ready,
        subject: sub,
        user: None,
        scope,
        audience,
        session: Some(standing),
        refresh_token,
        issued_token_type: None,
        act: None,
        id_token,
    })
}

/// What the text of a code carries; `None` of any other text.
fn secret_of(text: &SecretText) -> Option<Secret32> {
    let mut bytes = [0; 32];
    // A text of another length does not fill the buffer, or overflows it.
    let length = URL_SAFE_NO_PAD.decode_slice(text.expose(), &mut bytes).ok()?;
    (length == bytes.len()).then(|| Secret32::new(bytes))
}

fn refused(text: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidGrant, text)
}

fn opened(asked: &Asked<'_>, session: &Session, now: Timestamp) -> AuditEvent {
    let actor = Actor {
        who: session.sub.to_string(),
        via: Some(asked.client.client_id.clone()),
        address: Some(asked.request.origin.address().to_string()),
    };
    AuditEvent::new(now, AuditType::CodeRedeemed, actor)
        .about_user(&session.sub)
        .about_client(&asked.client.client_id)
        .about_session(session.id)
        .detail(json!({ "sign_in": session.sign_in, "scope": session.scope }))
}
