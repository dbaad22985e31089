//! Delegation: a service that was called with a user's token gets one of its own, to call the next service on the user's
//! behalf (RFC 8693 section 1.1). It says who acts (`act`, section 4.1), is for fewer, and ends no later.

use serde_json::json;

use crate::domain::audit::{Actor, AuditType};
use crate::domain::error::{Code, OAuthError, Reason};
use crate::domain::ids::Sub;
use crate::domain::wish::Wish;
use crate::grants::issue::{Permit, Ready, Standing};
use crate::grants::{Asked, TokenType};
use crate::tokens::claims::{AccessClaims, Act};

/// How many may act one for another: enough for every chain of services that anyone can follow.
const DEEPEST: usize = 8;

/// # Errors
/// `invalid_request`: the token is not for this client, or its session is over; `unauthorized_client` for a public
/// client; `invalid_scope`, `invalid_target`; 503.
pub(super) async fn authorise(asked: &Asked<'_>, wish: &Wish, subject: &AccessClaims) -> Result<Permit, OAuthError> {
    let Asked { ctx, client, request, .. } = asked;
    if client.is_public() {
        let text = "a client without a secret renews tokens of its own alone; to act for a user takes a secret";
        return Err(OAuthError::new(Code::UnauthorizedClient, text));
    }
    // Said as of a token that is none: what it is for is nobody's business whom it is not for.
    if !client.is_audience(&subject.aud) {
        return Err(OAuthError::refused_exchange(Reason::TokenInactive));
    }
    if subject.act.as_ref().is_some_and(|act| act.depth() >= DEEPEST) {
        let text = format!("{DEEPEST} clients act one for another already, and no more may");
        return Err(OAuthError::new(Code::InvalidRequest, text));
    }
    let (scope, audience) = wish.delegated(&subject.scope, &subject.aud, client, &ctx.issuer)?;

    let ready = Ready::make(ctx, client).await?;
    let mut limit = subject.exp;
    let mut standing = None;
    if let Some(sid) = subject.sid {
        let session = ctx.store.session(sid).await?.filter(|session| session.ended.is_none());
        let session = session.ok_or_else(|| OAuthError::refused_exchange(Reason::TokenInactive))?;
        limit = limit.min(session.absolute_expires_at);
        let (started_at, auth_time) = (session.started_at, subject.auth_time);
        standing = Some(Standing { sid, started_at, auth_time, ends_at: None });
    }
    let ready = ready.until(limit).ok_or_else(|| OAuthError::refused_exchange(Reason::TokenInactive))?;

    let address = Some(request.origin.address().to_string());
    let mut audit = ctx
        .audit(AuditType::TokenDelegated, Actor { who: client.client_id.to_string(), via: None, address })
        .about_client(&client.client_id)
        .detail(json!({
            "jti": subject.jti, "from_client_id": subject.client_id, "scope": scope, "audience": audience,
        }));
    audit.sid = subject.sid;
    audit.sub = subject.sid.map(|_| Sub::new(subject.sub.as_str()));
    ctx.store.record(vec![audit]).await?;

    let act = Act { sub: client.client_id.to_string(), act: subject.act.clone().map(Box::new) };
    Ok(Permit {
        ready,
        subject: subject.sub.clone(),
        user: None,
        scope,
        audience,
        session: standing,
        refresh_token: None,
        issued_token_type: Some(TokenType::AccessToken),
        act: Some(act),
        id_token: None,
    })
}
