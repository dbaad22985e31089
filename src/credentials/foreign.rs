//! Whom the token of another system names.

use super::precis::username_key;
use crate::context::Context;
use crate::domain::error::OAuthError;
use crate::domain::ids::Sub;
use crate::domain::legacy::{LegacyIssuer, UserBy};
use crate::domain::user::User;

/// # Errors
/// The database does not answer.
pub async fn user_named(ctx: &Context, issuer: &LegacyIssuer, name: &str) -> Result<Option<User>, OAuthError> {
    Ok(match issuer.user_by {
        UserBy::ExternalId => ctx.store.user_by_external_id(name).await?,
        UserBy::Sub => ctx.store.user(&Sub::new(name)).await?,
        // What cannot be a username is nobody's.
        UserBy::Username => match username_key(name) {
            Ok(key) => ctx.store.user_by_username(&key).await?,
            Err(_) => None,
        },
    })
}
