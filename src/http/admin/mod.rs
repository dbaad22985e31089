//! The admin API (`/admin/v1`): one struct of operations per topic, each a thin layer over [`crate::admin`].
//!
//! Every operation authorises its caller first, then reads its body, then calls one use case. Bodies are read by the
//! same types as `bootstrap.file`; the objects here show them in the OpenAPI document, and tests hold the two together.

mod audit;
mod client_keys;
mod clients;
mod consents;
mod import;
mod keys;
mod migration;
mod sessions;
mod sign_ins;
mod users;

use std::sync::Arc;

use poem_openapi::ApiResponse;

pub use audit::AuditApi;
pub use clients::ClientsApi;
pub use consents::ConsentsApi;
pub use import::{IMPORT_PATH, ImportApi};
pub use keys::KeysApi;
pub use migration::MigrationApi;
pub use sessions::SessionsApi;
pub use sign_ins::SignInsApi;
pub use users::{Address, UsersApi};

use super::authorization::Bearer;
use super::document::Topic;
use super::error::{Answers, Failure};
use crate::admin::{self, AdminCaller};
use crate::app::App;
use crate::domain::error::OAuthError;
use crate::domain::origin::Origin;

/// Every topic of the admin API.
pub type AdminApis =
    (KeysApi, ClientsApi, UsersApi, ImportApi, MigrationApi, SessionsApi, SignInsApi, ConsentsApi, AuditApi);

/// The operations, for the service and its document.
pub fn apis(app: &Arc<App>) -> AdminApis {
    let app = || Arc::clone(app);
    (
        KeysApi::new(app()),
        ClientsApi::new(app()),
        UsersApi::new(app()),
        ImportApi::new(app()),
        MigrationApi::new(app()),
        SessionsApi::new(app()),
        SignInsApi::new(app()),
        ConsentsApi::new(app()),
        AuditApi::new(app()),
    )
}

/// The error answers of what removes something that may be the last of its kind.
#[derive(Debug)]
enum RemovalAnswers {}

impl Answers for RemovalAnswers {
    const STATUSES: &'static [u16] = &[401, 403, 404, 409, 429, 500, 503];
}

type RemovalFailure = Failure<RemovalAnswers>;

/// The answer to what removes something.
#[derive(ApiResponse)]
enum Gone {
    /// It is gone
    #[oai(status = 204)]
    Gone,
}

/// The answer to a change that has nothing to show.
#[derive(ApiResponse)]
enum Done {
    /// It is done
    #[oai(status = 204)]
    Done,
}

/// Lets the call through if its token gives the right.
async fn caller(app: &App, bearer: &Bearer, needed: &str, origin: &Origin) -> Result<AdminCaller, OAuthError> {
    admin::authorize(&app.context, &app.introspector, bearer.token(), needed, origin).await
}

/// Where a thing is found, as a path on this server: the issuer's own path comes first.
fn location(app: &App, collection: &str, id: &str) -> String {
    let issuer = &app.context.issuer;
    let authority = issuer.split_once("://").map_or("", |(_, rest)| rest);
    let prefix = authority.find('/').map_or("", |at| authority[at..].trim_end_matches('/'));
    format!("{prefix}/admin/v1/{collection}/{}", encoded(id))
}

/// One segment of a path (RFC 3986 section 3.3).
fn encoded(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_one_segment() {
        assert_eq!(encoded("cli_a-b.c~d"), "cli_a-b.c~d");
        assert_eq!(encoded("a/b c?d"), "a%2Fb%20c%3Fd");
    }
}
