//! `password` (RFC 6749 section 4.3): a first-party client brings its user's name and password. RFC 9700 section 2.4
//! tells everyone else to use the authorization code flow; a client has this grant only where an operator said so.

use super::begin::Beginning;
use super::issue::{Permit, Ready, Standing};
use super::{Asked, client_disabled, missing};
use crate::credentials::login::{self, LoggedIn, Login};
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::client::GrantType;
use crate::domain::error::{Code, OAuthError};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::domain::user::User;
use crate::domain::wish;
use crate::storage::{OpenOutcome, OpenSession};

/// # Errors
/// `invalid_grant` for every kind of wrong login; 429 past the free failures; `invalid_scope` for a right to administer
/// that the user does not hold; 503.
pub(super) async fn authorise(asked: &Asked<'_>) -> Result<Permit, OAuthError> {
    let Asked { ctx, credentials, client, request, .. } = asked;
    let username = request.username.as_deref().ok_or_else(|| missing("username"))?;
    let password = request.password.as_ref().ok_or_else(|| missing("password"))?;
    // What the client alone decides is decided before a password is hashed.
    let scope = asked.wish.scope_for(client)?;
    let audience = asked.wish.audience_for(&scope, client, &ctx.issuer)?;

    let origin = &request.origin;
    // A confidential client's connection is a backend's, from which every user arrives: only the address that a trusted
    // proxy or backend forwarded counts there.
    let user_address = if client.is_public() { Some(origin.address()) } else { origin.forwarded };
    let login = Login { username, password, client_id: Some(&client.client_id), user_address, origin };
    let LoggedIn { user, known_address } = login::check(ctx, credentials, login).await?;
    wish::user_holds(&scope, &user.admin_scopes)?;
    // The password may have waited long enough for somebody to disable the client.
    if ctx.replica.client(&client.client_id).await?.is_none_or(|client| client.disabled) {
        return Err(client_disabled());
    }

    let ready = Ready::make(ctx, client).await?;
    let beginning = Beginning::now(asked, &ready, user.sub.clone(), scope.clone(), audience.clone());
    let (session, refresh_token) = beginning.session(asked, &ready).await?;
    let standing = Standing::of(&session, session.expires_at());
    let open = OpenSession {
        audit: succeeded(asked, &user, &session, ready.now),
        session,
        credential_epoch: user.credential_epoch,
        known_address,
    };
    match ctx.store.open_session(open).await? {
        OpenOutcome::Opened => {}
        // Disabled, deleted or given another password while this one was checked: wrong by now.
        OpenOutcome::UserChanged => return Err(OAuthError::new(Code::InvalidGrant, login::WRONG)),
    }
    Ok(Permit {
        ready,
        subject: user.sub.to_string(),
        user: Some(user),
        scope,
        audience,
        session: Some(standing),
        refresh_token,
        issued_token_type: None,
        act: None,
        id_token: None,
    })
}

fn succeeded(asked: &Asked<'_>, user: &User, session: &Session, now: Timestamp) -> AuditEvent {
    let actor = Actor {
        who: user.sub.to_string(),
        via: Some(asked.client.client_id.clone()),
        address: Some(asked.request.origin.address().to_string()),
    };
    AuditEvent::new(now, AuditType::LoginSucceeded, actor)
        .about_user(&user.sub)
        .about_client(&asked.client.client_id)
        .about_session(session.id)
        .detail(serde_json::json!({ "grant_type": GrantType::Password.as_str(), "scope": session.scope }))
}
