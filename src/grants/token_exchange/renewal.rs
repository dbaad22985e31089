//! Re-signing: a client brings back an access token of its own for one with a new `exp`, signed by the key that is
//! active now. Its session goes on, up to its absolute limit.
//!
//! A token can be brought back more than once: whoever holds a stolen one can keep it alive, up to that limit and until
//! the session is ended. That is what re-signing is, here as anywhere; refresh tokens notice.

use serde_json::json;

use crate::domain::audit::{Actor, AuditType};
use crate::domain::error::{Code, OAuthError, Reason};
use crate::domain::ids::Sub;
use crate::domain::session::Refusal;
use crate::domain::wish::Wish;
use crate::grants::issue::{Permit, Ready, Standing};
use crate::grants::still_allowed::still_allowed;
use crate::grants::{Asked, TokenType};
use crate::storage::{RenewOutcome, RenewSession};
use crate::tokens::claims::AccessClaims;

/// # Errors
/// `invalid_request`: there is no session to go on, or it does not; `invalid_scope`, `invalid_target`; 503.
pub(super) async fn authorise(asked: &Asked<'_>, wish: &Wish, subject: &AccessClaims) -> Result<Permit, OAuthError> {
    let Asked { ctx, client, request, .. } = asked;
    let Some(sid) = subject.sid else {
        let text = "this token was issued to the client itself and is not renewed; get another by client_credentials";
        return Err(OAuthError::new(Code::InvalidRequest, text));
    };
    let (scope, audience) = wish.narrowed(&subject.scope, &subject.aud)?;
    let sub = Sub::new(subject.sub.as_str());
    let scope = still_allowed(ctx, client, &sub, scope).await?;

    let ready = Ready::make(ctx, client).await?;
    let policy = ctx.policy.of(client);
    let address = Some(request.origin.address().to_string());
    let actor = Actor { who: subject.sub.clone(), via: Some(client.client_id.clone()), address: address.clone() };
    let audit = ctx
        .audit(AuditType::TokenRenewed, actor)
        .about_user(&sub)
        .about_client(&client.client_id)
        .about_session(sid)
        .detail(json!({ "jti": subject.jti, "scope": scope, "audience": audience }));
    let renewal = RenewSession {
        id: sid,
        client_id: client.client_id.clone(),
        policy: policy.clone(),
        latest_expiry: ready.expires_at(),
        now: ready.now,
        address,
        audit,
    };
    let session = match ctx.store.renew_session(renewal).await? {
        RenewOutcome::Renewed(session) => session,
        RenewOutcome::Refused(Refusal::WrongClient | Refusal::UnknownSession) => {
            return Err(OAuthError::refused_exchange(Reason::UnknownSession));
        }
        RenewOutcome::Refused(refusal) => return Err(OAuthError::refused_exchange(refusal.public())),
    };
    let limit = session.absolute_expires_at;
    let ready = ready.until(limit).ok_or_else(|| OAuthError::refused_exchange(Reason::AbsoluteExpired))?;
    Ok(Permit {
        ready,
        subject: subject.sub.clone(),
        user: None,
        scope,
        audience,
        session: Some(Standing::of(&session, session.expires_under(&policy))),
        refresh_token: None,
        issued_token_type: Some(TokenType::AccessToken),
        act: None,
        id_token: None,
    })
}
