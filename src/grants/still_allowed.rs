//! What a session may still carry (RFC 6749 section 3.3), after its client or its user has lost a scope.

use crate::context::Context;
use crate::domain::client::Client;
use crate::domain::error::OAuthError;
use crate::domain::ids::Sub;
use crate::domain::scope::{Scope, is_admin};
use crate::domain::wish::still_held;

/// A session outlives changes to its client and its user: what they have lost since, its next token has lost too. Should the
/// database fail here, after the rotation, the client's retry is answered with the very same successor.
pub(super) async fn still_allowed(
    ctx: &Context,
    client: &Client,
    sub: &Sub,
    scope: Scope,
) -> Result<Scope, OAuthError> {
    let scope = still_held(&scope, &client.scope);
    if !scope.iter().any(is_admin) {
        return Ok(scope);
    }
    let user = ctx.store.user(sub).await?;
    let held = user.map(|user| user.admin_scopes).unwrap_or_default();
    let administration = still_held(&scope.only_admin(), &held);
    Ok(scope.filtered(|token| !is_admin(token) || administration.contains(token)))
}
