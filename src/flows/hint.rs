//! ID tokens that come back as hints of who is meant (`id_token_hint`, OpenID Connect Core section 3.1.2.1, RP-Initiated
//! Logout section 2).

use crate::context::Context;
use crate::domain::error::OAuthError;
use crate::tokens::id_token::{Hint, read_hint};
use crate::tokens::verify::TokenFault;

/// What an ID token of ours says, expired or not; `None` of any other text.
///
/// # Errors
/// The keys must be looked at again, and the database does not answer.
pub async fn read(ctx: &Context, token: &str) -> Result<Option<Hint>, OAuthError> {
    let judge = || read_hint(&ctx.replica.keys(), &ctx.issuer, token);
    let mut outcome = judge();
    // Another node may have made the key since this one last looked.
    if matches!(outcome, Err(TokenFault::UnknownKid(_))) {
        ctx.replica.look_again().await?;
        outcome = judge();
    }
    Ok(outcome.ok())
}
