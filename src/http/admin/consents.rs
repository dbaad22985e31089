//! `/admin/v1/users/{sub}/consents`

use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::{Gone, Topic, caller};
use crate::admin::consents;
use crate::app::App;
use crate::domain::consent::Consent as Allowed;
use crate::domain::origin::Origin;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::error::ItemFailure;
use crate::http::json::Answer;
use crate::http::moment::Moment;

/// What a user has allowed a client.
#[derive(Debug, Object)]
#[oai(example)]
struct Consent {
    client_id: String,
    scope: String,
    /// When it was allowed, or last widened.
    granted_at: Moment,
}

impl Example for Consent {
    fn example() -> Self {
        Self {
            client_id: "web-shop".into(),
            scope: "openid profile".into(),
            granted_at: Moment::example("2026-01-31T09:30:00Z"),
        }
    }
}

impl From<&Allowed> for Consent {
    fn from(allowed: &Allowed) -> Self {
        Self {
            client_id: allowed.client_id.to_string(),
            scope: allowed.scope.to_string(),
            granted_at: allowed.granted_at.into(),
        }
    }
}

/// The consents of a user, the latest first.
#[derive(Debug, Object)]
#[oai(example)]
struct ConsentList {
    items: Vec<Consent>,
}

impl Example for ConsentList {
    fn example() -> Self {
        Self { items: vec![Example::example()] }
    }
}

/// The operations on consents.
pub struct ConsentsApi {
    app: Arc<App>,
}

impl ConsentsApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Sessions")]
impl ConsentsApi {
    /// List what a user has allowed clients
    #[oai(path = "/users/:sub/consents", method = "get", operation_id = "listConsents")]
    async fn list(
        &self,
        #[oai(scope = "AdminScope::SessionsRead")] bearer: Bearer,
        origin: Origin,
        /// The user.
        sub: Path<String>,
    ) -> Result<Answer<ConsentList>, ItemFailure> {
        caller(&self.app, &bearer, "admin:sessions:read", &origin).await?;
        let allowed = consents::list(&self.app.context, &sub).await?;
        Ok(Answer(ConsentList { items: allowed.iter().map(Consent::from).collect() }))
    }

    /// Take back what a user has allowed a client
    ///
    /// The client's sessions of this user that came from a login in a browser end, those with `offline_access` too. The
    /// user is asked again at the next one.
    #[oai(path = "/users/:sub/consents/:client_id", method = "delete", operation_id = "revokeConsent")]
    async fn revoke(
        &self,
        #[oai(scope = "AdminScope::Sessions")] bearer: Bearer,
        origin: Origin,
        /// The user.
        sub: Path<String>,
        /// The client.
        client_id: Path<String>,
    ) -> Result<Gone, ItemFailure> {
        let caller = caller(&self.app, &bearer, "admin:sessions", &origin).await?;
        consents::revoke(&self.app.context, &caller, &sub, &client_id).await?;
        Ok(Gone::Gone)
    }
}
