//! `/admin/v1/audit`

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::param::Query;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};

use super::{Topic, caller};
use crate::admin::audit::{self, AuditQuery};
use crate::app::App;
use crate::domain::audit::AuditRecord;
use crate::domain::origin::Origin;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::error::ListFailure;
use crate::http::json::Answer;
use crate::http::moment::Moment;

/// One entry of the audit trail.
#[derive(Debug, Object)]
#[oai(rename = "AuditEvent", skip_serializing_if_is_none, example)]
pub(super) struct Event {
    /// Grows along the trail.
    id: i64,
    /// When.
    at: Moment,
    /// What happened, such as `login_failed` or `key_activated`.
    #[oai(rename = "type")]
    kind: String,
    /// Who did it: a `client_id`, a `sub`, or one of `system`, `bootstrap`, `shell`.
    actor: String,
    /// The client through which a user did it.
    via: Option<String>,
    /// From where, as `server.trusted_proxies` sees it.
    address: Option<String>,
    /// The user it is about.
    sub: Option<String>,
    /// The client it is about.
    client_id: Option<String>,
    /// The session it is about.
    sid: Option<String>,
    /// What else there is to know. Never a secret.
    detail: BTreeMap<String, serde_json::Value>,
}

impl Example for Event {
    fn example() -> Self {
        Self {
            id: 4711,
            at: Moment::example("2026-01-31T09:30:00Z"),
            kind: "client_updated".into(),
            actor: "latchkey-admin".into(),
            via: None,
            address: Some("192.0.2.17".into()),
            sub: None,
            client_id: Some("web-shop".into()),
            sid: None,
            detail: [("changed".to_owned(), serde_json::json!(["lifetimes"]))].into(),
        }
    }
}

impl From<&AuditRecord> for Event {
    fn from(record: &AuditRecord) -> Self {
        let event = &record.event;
        Self {
            id: record.id,
            at: event.at.into(),
            kind: event.kind.as_str().to_owned(),
            actor: event.actor.who.clone(),
            via: event.actor.via.as_ref().map(ToString::to_string),
            address: event.actor.address.clone(),
            sub: event.sub.as_ref().map(ToString::to_string),
            client_id: event.client_id.as_ref().map(ToString::to_string),
            sid: event.sid.map(|sid| sid.to_string()),
            detail: event.detail.as_object().cloned().unwrap_or_default().into_iter().collect(),
        }
    }
}

/// A page of the audit trail.
#[derive(Debug, Object)]
#[oai(example)]
struct AuditList {
    items: Vec<Event>,
    /// What to pass as `after` for the next page.
    #[oai(nullable)]
    next: Option<String>,
}

impl Example for AuditList {
    fn example() -> Self {
        Self { items: vec![Example::example()], next: Some("NDcxMS4".into()) }
    }
}

/// Which end of the trail comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum Order {
    /// Newest last.
    Asc,
    /// Newest first.
    Desc,
}

/// Reading the audit trail.
pub struct AuditApi {
    app: Arc<App>,
}

impl AuditApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Audit")]
impl AuditApi {
    /// Read the audit trail
    #[oai(path = "/audit", method = "get", operation_id = "listAuditEvents")]
    #[expect(clippy::too_many_arguments, reason = "each is a query parameter that the document shows by itself")]
    async fn list(
        &self,
        #[oai(scope = "AdminScope::AuditRead")] bearer: Bearer,
        origin: Origin,
        /// Newest last by default.
        order: Query<Option<Order>>,
        /// Only events of this type.
        #[oai(name = "type")]
        kind: Query<Option<String>>,
        /// Only events about this user.
        sub: Query<Option<String>>,
        /// Only events about this client.
        client_id: Query<Option<String>>,
        /// Only events about this session.
        sid: Query<Option<String>>,
        /// The `next` of the page before.
        after: Query<Option<String>>,
        /// Items on this page, 1 to 1,000; 100 by default.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
    ) -> Result<Answer<AuditList>, ListFailure> {
        caller(&self.app, &bearer, "admin:audit:read", &origin).await?;
        let newest_first = order.0 == Some(Order::Desc);
        let query = AuditQuery {
            kind: kind.0,
            sub: sub.0,
            client_id: client_id.0,
            sid: sid.0,
            newest_first,
            after: after.0,
            limit: limit.0,
        };
        let page = audit::list(&self.app.context, query).await?;
        Ok(Answer(AuditList { items: page.items.iter().map(Event::from).collect(), next: page.next }))
    }
}
