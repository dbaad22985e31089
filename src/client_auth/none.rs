//! `none`: a public client names itself and proves nothing (RFC 6749 section 3.2.1, RFC 7591 section 2).

use super::Proof;
use crate::domain::client::AuthMethod;

pub(super) fn read(client_id: &str) -> Proof {
    Proof { client_id: client_id.to_owned(), secret: None, method: AuthMethod::None }
}
