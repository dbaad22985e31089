//! `client_credentials` (RFC 6749 section 4.4): a confidential client acts for itself. No session, no refresh token.

use super::Asked;
use super::issue::{Permit, Ready};
use crate::domain::error::{Code, OAuthError};

/// # Errors
/// The client is public, or its scope holds nothing but what must be named.
pub(super) async fn authorise(asked: &Asked<'_>) -> Result<Permit, OAuthError> {
    let client = &asked.client;
    if client.is_public() {
        return Err(OAuthError::new(
            Code::UnauthorizedClient,
            "client_credentials is for clients that have a secret (RFC 6749 section 4.4)",
        ));
    }
    let scope = asked.wish.scope_for(client)?;
    let audience = asked.wish.audience_for(&scope, client, &asked.ctx.issuer)?;
    let ready = Ready::make(asked.ctx, client).await?;
    Ok(Permit {
        ready,
        subject: client.client_id.to_string(),
        user: None,
        scope,
        audience,
        session: None,
        refresh_token: None,
        issued_token_type: None,
        act: None,
        id_token: None,
    })
}
