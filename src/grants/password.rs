//! `password` (RFC 6749 section 4.3): a first-party client brings its user's name and password. RFC 9700 section 2.4
//! tells everyone else to use the authorization code flow; a client has this grant only where an operator said so.

use super::issue::{Permit, Ready, Standing};
use super::{Asked, client_disabled, missing, wish};
use crate::credentials::login::{self, LoggedIn, Login};
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::client::GrantType;
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::SessionId;
use crate::domain::scope::Scope;
use crate::domain::secret::SecretText;
use crate::domain::session::{Chain, Session};
use crate::domain::time::Timestamp;
use crate::domain::user::User;
use crate::storage::{OpenOutcome, OpenSession};
use crate::tokens::refresh;

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

    let login = Login { username, password, client, origin: &request.origin };
    let LoggedIn { user, known_address } = login::check(ctx, credentials, login).await?;
    wish::user_holds(&scope, &user.admin_scopes)?;
    // The password may have waited long enough for somebody to disable the client.
    if ctx.replica.client(&client.client_id).await?.is_none_or(|client| client.disabled) {
        return Err(client_disabled());
    }

    let ready = Ready::make(ctx, client).await?;
    let (session, refresh_token) = new_session(asked, &user, &ready, scope.clone(), audience.clone()).await?;
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
    })
}

/// Every login of a user is a session, so that it can be listed and ended. A client without the grant `refresh_token`
/// gets one that lasts as long as its only access token, or, where it may exchange that for another one, as long as it
/// does so in time.
async fn new_session(
    asked: &Asked<'_>,
    user: &User,
    ready: &Ready,
    scope: Scope,
    audience: Vec<String>,
) -> Result<(Session, Option<SecretText>), OAuthError> {
    let Asked { ctx, client, .. } = asked;
    let now = ready.now;
    let id = SessionId::generate(&*ctx.entropy);
    let renewal = if client.may_use(GrantType::RefreshToken) { Some(renewal(asked, id, now).await?) } else { None };
    let (idle_expires_at, absolute_expires_at, chain, token) = match renewal {
        Some(Renewal { idle_expires_at, absolute_expires_at, chain, token }) => {
            (idle_expires_at, absolute_expires_at, Some(chain), Some(token))
        }
        None if client.may_use(GrantType::TokenExchange) => {
            let policy = ctx.policy.of(client);
            let absolute = now.plus(policy.refresh_absolute);
            (ready.expires_at().plus(policy.exchange_leeway).min(absolute), absolute, None, None)
        }
        None => (ready.expires_at(), ready.expires_at(), None, None),
    };
    let session = Session {
        id,
        client_id: client.client_id.clone(),
        sub: user.sub.clone(),
        scope,
        audience,
        auth_time: now,
        started_at: now,
        last_used_at: now,
        idle_expires_at,
        absolute_expires_at,
        chain,
        ended: None,
    };
    Ok((session, token))
}

/// What makes a session renewable.
struct Renewal {
    idle_expires_at: Timestamp,
    absolute_expires_at: Timestamp,
    chain: Chain,
    token: SecretText,
}

async fn renewal(asked: &Asked<'_>, id: SessionId, now: Timestamp) -> Result<Renewal, OAuthError> {
    let ctx = asked.ctx;
    let policy = ctx.policy.of(&asked.client);
    // The refresh keys are kept as long as the longest session that may hold a token of theirs: recorded before it is.
    let keys = ctx.replica.ensure_absolute(policy.refresh_absolute).await?;
    let first = refresh::first(&*ctx.entropy, &keys, id)
        .ok_or_else(|| OAuthError::internal("there is no active version of the refresh keys"))?;
    let absolute_expires_at = now.plus(policy.refresh_absolute);
    Ok(Renewal {
        idle_expires_at: now.plus(policy.refresh_idle).min(absolute_expires_at),
        absolute_expires_at,
        chain: refresh::chain_of(&first, now),
        token: refresh::encode(&keys, &first).map_err(OAuthError::internal)?,
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
