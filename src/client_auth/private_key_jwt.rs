//! `private_key_jwt`: an assertion that a key of the client's own has signed, which Latchkey knows the public half of
//! (OIDC Core section 9).

use super::assertion::{Fault, Unproven};
use crate::context::Context;
use crate::domain::client::Client;
use crate::tokens::assertion::{Assertion, AssertionFault};

pub(super) async fn check(ctx: &Context, client: &Client, assertion: &Assertion<'_>) -> Result<(), Unproven> {
    let only = client.keys.signing_alg;
    let keys = ctx.client_keys.keys_of(client).await.map_err(Fault::NoKeys)?;
    match assertion.check_key(&keys, only) {
        // The client may have rotated its keys since they were fetched.
        Err(AssertionFault::UnknownKey) => {
            let newer = ctx.client_keys.keys_beyond(client, &keys).await.map_err(Fault::NoKeys)?;
            Ok(assertion.check_key(&newer, only)?)
        }
        judged => Ok(judged?),
    }
}
