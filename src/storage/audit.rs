//! The audit trail's table: writing entries in groups, reading them by page.

use std::borrow::Cow;

use serde::Serialize;

use super::cursor::Cursor;
use super::readers::Readers;
use super::sql::{DbResult, JsonRows, Row, Sql, args, from_json};
use super::{AuditFilter, Listed, Page};
use crate::domain::audit::{Actor, AuditEvent, AuditRecord, AuditType};
use crate::domain::ids::{ClientId, Sub};

/// Entries on their way into the table.
#[derive(Debug, Default)]
pub(super) struct AuditRows(JsonRows);

impl AuditRows {
    pub fn push(&mut self, event: &AuditEvent) -> DbResult<()> {
        self.0.push(&AuditRow {
            at: event.at.millis(),
            kind: event.kind.as_str(),
            who: storable(&event.actor.who),
            via: event.actor.via.as_ref().map(|id| storable(id.as_str())),
            address: event.actor.address.as_deref().map(storable),
            sub: event.sub.as_ref().map(|id| storable(id.as_str())),
            client_id: event.client_id.as_ref().map(|id| storable(id.as_str())),
            sid: event.sid,
            detail: event.detail.to_string(),
        })
    }

    pub fn into_json(self) -> JsonRows {
        self.0
    }
}

#[derive(Serialize)]
struct AuditRow<'a> {
    at: i64,
    #[serde(rename = "type")]
    kind: &'static str,
    who: Cow<'a, str>,
    via: Option<Cow<'a, str>>,
    address: Option<Cow<'a, str>>,
    sub: Option<Cow<'a, str>>,
    client_id: Option<Cow<'a, str>>,
    sid: Option<crate::domain::ids::SessionId>,
    detail: String,
}

/// Who failed to authenticate may have sent anything as a name. PostgreSQL refuses a text with NUL, and the entry must
/// not be lost for it.
fn storable(text: &str) -> Cow<'_, str> {
    if super::sql::is_storable(text) { Cow::Borrowed(text) } else { Cow::Owned(text.replace('\0', "\u{fffd}")) }
}

pub(super) const INSERT: Sql = from_json!(
    "INSERT INTO audit (at, type, who, via, address, sub, client_id, sid, detail) \
     SELECT at, type, who, via, address, sub, client_id, sid, detail FROM ",
    [at bigint, type text, who text, via text, address text, sub text, client_id text, sid text, detail text],
    ""
);

/// A page, driven by the narrowest filter that has an index; the others are checked row by row.
macro_rules! page {
    ($driver:literal, $compare:literal, $order:literal) => {
        concat!(
            "SELECT id, at, type, who, via, address, sub, client_id, sid, detail FROM audit WHERE ",
            $driver,
            " AND (CAST($1 AS TEXT) IS NULL OR sid = $1) AND (CAST($2 AS TEXT) IS NULL OR sub = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR client_id = $3) AND (CAST($4 AS TEXT) IS NULL OR type = $4) \
             AND id ",
            $compare,
            " $5 ORDER BY id ",
            $order,
            " LIMIT $6"
        )
    };
    ($driver:literal) => {
        [page!($driver, ">", "ASC"), page!($driver, "<", "DESC")]
    };
}

const BY_SESSION: [&str; 2] = page!("sid = $1");
const BY_USER: [&str; 2] = page!("sub = $2");
const BY_CLIENT: [&str; 2] = page!("client_id = $3");
const BY_TYPE: [&str; 2] = page!("type = $4");
const ALL: [&str; 2] = page!("true");

pub(super) async fn list(readers: &Readers, filter: AuditFilter, page: Page) -> DbResult<Listed<AuditRecord>> {
    let first = if filter.newest_first { Cursor::highest() } else { Cursor::lowest() };
    let Some(start) = page.start(first) else { return Ok(Listed::empty()) };
    let texts = if filter.sid.is_some() {
        BY_SESSION
    } else if filter.sub.is_some() {
        BY_USER
    } else if filter.client_id.is_some() {
        BY_CLIENT
    } else if filter.kind.is_some() {
        BY_TYPE
    } else {
        ALL
    };
    let args = args![
        filter.sid,
        filter.sub.as_ref(),
        filter.client_id.as_ref(),
        filter.kind.map(AuditType::as_str),
        start.number,
        page.probe(),
    ];
    let rows = readers.fetch(texts[usize::from(filter.newest_first)], args).await?;
    page.cut(&rows, record_of, |record| Cursor { number: record.id, id: String::new() })
}

fn record_of(row: &Row) -> DbResult<AuditRecord> {
    let optional = |column| row.get::<Option<&str>>(column);
    let name = row.get::<&str>("type")?;
    let kind = AuditType::parse(name).unwrap_or(AuditType::Unknown);
    let mut detail: serde_json::Value = row.json("detail")?;
    if let (AuditType::Unknown, Some(detail)) = (kind, detail.as_object_mut()) {
        detail.insert("type".into(), name.into());
    }
    Ok(AuditRecord {
        id: row.get("id")?,
        event: AuditEvent {
            at: row.time("at")?,
            kind,
            actor: Actor {
                who: row.get("who")?,
                via: optional("via")?.map(ClientId::new),
                address: row.get("address")?,
            },
            sub: optional("sub")?.map(Sub::new),
            client_id: optional("client_id")?.map(ClientId::new),
            sid: optional("sid")?.and_then(|text| text.parse().ok()),
            detail,
        },
    })
}
