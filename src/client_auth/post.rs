//! `client_secret_post`: `client_id` and `client_secret` in the body (RFC 6749 section 2.3.1).

use super::Proof;
use crate::domain::client::AuthMethod;
use crate::domain::secret::SecretText;

pub(super) fn read(client_id: &str, secret: &SecretText) -> Proof {
    Proof { client_id: client_id.to_owned(), secret: Some(secret.clone()), method: AuthMethod::ClientSecretPost }
}
