//! `client_secret_jwt`: an assertion under HMAC with the client's secret (OIDC Core section 9), which is sealed for that
//! end where all other secrets are hashed.

use super::assertion::Unproven;
use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::client::{Client, SecretHash};
use crate::domain::error::OAuthError;
use crate::domain::origin::Origin;
use crate::keys::seal::client_secret_name;
use crate::tokens::assertion::{Assertion, AssertionFault};

pub(super) async fn check(
    ctx: &Context,
    credentials: &Credentials,
    client: &Client,
    assertion: &Assertion<'_>,
    origin: &Origin,
) -> Result<(), Unproven> {
    let name = client_secret_name(&client.client_id);
    let mut secrets = Vec::new();
    let mut may_be_guessed = false;
    for secret in client.live_secrets(ctx.now()) {
        if let SecretHash::Sealed { sealed, chosen } = &secret.hash {
            let opened = ctx.masters.open(&name, sealed);
            secrets.push(opened.map_err(|error| Unproven::Failed(OAuthError::internal(error)))?);
            may_be_guessed |= *chosen;
        }
    }
    let mut verdict = Err(AssertionFault::Signature);
    let mut judge = || {
        // Every secret is tried, so that the time does not tell which of them it was.
        for secret in &secrets {
            let judged = assertion.check_secret(secret);
            if verdict.is_err() {
                verdict = judged;
            }
        }
        verdict.is_ok()
    };
    if may_be_guessed {
        credentials.throttled_guess(origin.address(), judge).await.map_err(Unproven::Failed)?;
    } else {
        judge();
    }
    Ok(verdict?)
}
