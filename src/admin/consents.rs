//! Looking at what users have allowed clients, and taking it back for them.

use super::{AdminCaller, not_found};
use crate::context::Context;
use crate::domain::audit::AuditType;
use crate::domain::consent::Consent;
use crate::domain::error::OAuthError;
use crate::domain::ids::{ClientId, Sub};
use crate::storage::RevokeConsent;

/// What a user has allowed clients, the latest first.
///
/// # Errors
/// [`NotFound`](crate::domain::error::Code::NotFound): there is no such user. The database does not answer.
pub async fn list(ctx: &Context, sub: &str) -> Result<Vec<Consent>, OAuthError> {
    let user = ctx.store.user(&Sub::new(sub)).await?.ok_or_else(|| not_found("user"))?;
    Ok(ctx.store.consents_of(&user.sub).await?)
}

/// Takes back what a user has allowed a client, and ends the client's sessions of the user that came from it.
///
/// # Errors
/// [`NotFound`](crate::domain::error::Code::NotFound): there is no such consent. The database does not answer.
pub async fn revoke(ctx: &Context, caller: &AdminCaller, sub: &str, client_id: &str) -> Result<(), OAuthError> {
    let (sub, client_id) = (Sub::new(sub), ClientId::new(client_id));
    let audit = ctx.audit(AuditType::ConsentRevoked, caller.actor.clone()).about_user(&sub).about_client(&client_id);
    let revocation = RevokeConsent { sub, client_id, now: ctx.now(), horizon: ctx.horizon(), audit };
    ctx.store.revoke_consent(revocation).await?.map(drop).ok_or_else(|| not_found("consent"))
}
