//! The sessions table: its row and its statements.

use serde::Serialize;

use super::cursor::Cursor;
use super::readers::Readers;
use super::sql::{DbError, DbResult, Hex, Row, Sql, args, from_json};
use super::{Listed, Page, SessionFilter};
use crate::domain::ids::{ClientId, SessionId, SignInId, Sub};
use crate::domain::scope::Scope;
use crate::domain::session::{Chain, EndReason, RetrySeen, Session};

macro_rules! columns {
    () => {
        "id, client_id, sub, scope, audience, auth_time, started_at, last_used_at, idle_expires_at, \
         absolute_expires_at, generation, secret_hash, key_version, rotated_at, retry_seen, late_streak, narrowed, \
         ended_at, end_reason, sign_in, offline, claims"
    };
}

/// A session on its way into the table. What a refresh cannot change is absent from an update.
#[derive(Serialize)]
pub(super) struct SessionRow<'a> {
    id: SessionId,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    fixed: Option<FixedColumns<'a>>,
    last_used_at: i64,
    idle_expires_at: i64,
    absolute_expires_at: i64,
    generation: Option<u32>,
    secret_hash: Option<Hex<'a>>,
    key_version: Option<u8>,
    rotated_at: Option<i64>,
    retry_seen: Option<u8>,
    late_streak: Option<u8>,
    narrowed: Option<u8>,
    ended_at: Option<i64>,
    end_reason: Option<&'static str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    guard: Option<Guard>,
}

#[derive(Serialize)]
struct FixedColumns<'a> {
    client_id: &'a ClientId,
    sub: &'a Sub,
    scope: &'a Scope,
    audience: String,
    auth_time: i64,
    started_at: i64,
    sign_in: Option<SignInId>,
    offline: u8,
    claims: Option<&'a str>,
}

/// What an update is guarded by, and what it writes beside the session itself.
#[derive(Serialize)]
struct Guard {
    row_version: i64,
    refusals_noted: i64,
}

impl<'a> SessionRow<'a> {
    fn new(session: &'a Session, fixed: Option<FixedColumns<'a>>, guard: Option<Guard>) -> Self {
        let chain = session.chain.as_ref();
        Self {
            id: session.id,
            fixed,
            last_used_at: session.last_used_at.millis(),
            idle_expires_at: session.idle_expires_at.millis(),
            absolute_expires_at: session.absolute_expires_at.millis(),
            generation: chain.map(|chain| chain.generation),
            secret_hash: chain.map(|chain| Hex(&chain.secret_hash)),
            key_version: chain.map(|chain| chain.key_version),
            rotated_at: chain.map(|chain| chain.rotated_at.millis()),
            retry_seen: chain.map(|chain| retry_code(chain.retry_seen)),
            late_streak: chain.map(|chain| chain.late_streak),
            narrowed: chain.map(|chain| chain.narrowed.into()),
            ended_at: session.ended.map(|(at, _)| at.millis()),
            end_reason: session.ended.map(|(_, reason)| reason.as_str()),
            guard,
        }
    }

    pub fn insert(session: &'a Session) -> Self {
        let fixed = FixedColumns {
            client_id: &session.client_id,
            sub: &session.sub,
            scope: &session.scope,
            audience: serde_json::Value::from(session.audience.as_slice()).to_string(),
            auth_time: session.auth_time.millis(),
            started_at: session.started_at.millis(),
            sign_in: session.sign_in,
            offline: session.offline.into(),
            claims: session.claims.as_deref(),
        };
        Self::new(session, Some(fixed), None)
    }

    pub fn update(held: &'a Held) -> Self {
        let guard = Guard { row_version: held.row_version, refusals_noted: held.refusals_noted };
        Self::new(&held.session, None, Some(guard))
    }
}

/// A row as a batch holds it: read once, decided on, written once.
#[derive(Debug)]
pub(super) struct Held {
    pub session: Session,
    /// The row's version when it was read.
    pub row_version: i64,
    /// Which kinds of refusal the audit trail has heard of, one bit each.
    pub refusals_noted: i64,
    pub changed: bool,
    /// Whether this batch opens it: there is no row yet.
    pub is_new: bool,
}

impl Held {
    /// A session that is to be written with this batch.
    pub fn new(session: Session) -> Self {
        Self { session, row_version: 0, refusals_noted: 0, changed: false, is_new: true }
    }
}

/// Sessions by the JSON array of their ids in `$1`. On PostgreSQL locked in the order of their ids, so that two batches
/// never wait for each other in a circle; on SQLite the transaction holds the whole file.
pub(super) const READ: Sql = Sql {
    sqlite: concat!(
        "SELECT ",
        columns!(),
        ", refusals_noted, row_version FROM sessions WHERE id IN (SELECT value FROM json_each($1))"
    ),
    postgres: concat!(
        "SELECT ",
        columns!(),
        ", refusals_noted, row_version FROM sessions \
         WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json))) ORDER BY id FOR UPDATE"
    ),
};

pub(super) const INSERT: Sql = from_json!(
    concat!("INSERT INTO sessions (", columns!(), ") SELECT ", columns!(), " FROM "),
    [
        id text, client_id text, sub text, scope text, audience text, auth_time bigint, started_at bigint,
        last_used_at bigint, idle_expires_at bigint, absolute_expires_at bigint, generation bigint, secret_hash bytea,
        key_version bigint, rotated_at bigint, retry_seen bigint, late_streak bigint, narrowed bigint, ended_at bigint,
        end_reason text, sign_in text, offline bigint, claims text,
    ],
    ""
);

/// Every write of a row raises `row_version`, so the guard holds exactly if nobody else wrote it since.
pub(super) const UPDATE: Sql = from_json!(
    "UPDATE sessions SET last_used_at = j.last_used_at, idle_expires_at = j.idle_expires_at, \
     absolute_expires_at = j.absolute_expires_at, generation = j.generation, secret_hash = j.secret_hash, \
     key_version = j.key_version, rotated_at = j.rotated_at, retry_seen = j.retry_seen, late_streak = j.late_streak, \
     narrowed = j.narrowed, ended_at = j.ended_at, end_reason = j.end_reason, refusals_noted = j.refusals_noted, \
     row_version = sessions.row_version + 1 FROM ",
    [
        id text, last_used_at bigint, idle_expires_at bigint, absolute_expires_at bigint, generation bigint,
        secret_hash bytea, key_version bigint, rotated_at bigint, retry_seen bigint, late_streak bigint,
        narrowed bigint, ended_at bigint, end_reason text, row_version bigint, refusals_noted bigint,
    ],
    " WHERE sessions.id = j.id AND sessions.row_version = j.row_version"
);

const fn retry_code(seen: RetrySeen) -> u8 {
    match seen {
        RetrySeen::None => 0,
        RetrySeen::Prompt => 1,
        RetrySeen::Late => 2,
    }
}

fn retry_seen(code: i64) -> DbResult<RetrySeen> {
    match code {
        0 => Ok(RetrySeen::None),
        1 => Ok(RetrySeen::Prompt),
        2 => Ok(RetrySeen::Late),
        _ => Err(DbError::Row(format!("retry_seen = {code}, which means nothing"))),
    }
}

pub(super) fn held_of(row: &Row) -> DbResult<Held> {
    Ok(Held {
        session: session_of(row)?,
        row_version: row.get("row_version")?,
        refusals_noted: row.get("refusals_noted")?,
        changed: false,
        is_new: false,
    })
}

pub(super) fn session_of(row: &Row) -> DbResult<Session> {
    let chain = match row.get::<Option<i64>>("generation")? {
        None => None,
        Some(_) => Some(Chain {
            generation: row.small("generation")?,
            secret_hash: row.hash("secret_hash")?,
            key_version: row.small("key_version")?,
            rotated_at: row.time("rotated_at")?,
            retry_seen: retry_seen(row.get("retry_seen")?)?,
            late_streak: row.small("late_streak")?,
            narrowed: row.flag("narrowed")?,
        }),
    };
    let ended = match row.time_if_any("ended_at")? {
        None => None,
        Some(at) => Some((at, EndReason::read(row.get("end_reason")?))),
    };
    Ok(Session {
        id: row.parsed("id", |text| text.parse().ok())?,
        client_id: ClientId::new(row.get::<&str>("client_id")?),
        sub: Sub::new(row.get::<&str>("sub")?),
        scope: row.parsed("scope", |text| Scope::parse(text).ok())?,
        audience: row.json("audience")?,
        auth_time: row.time("auth_time")?,
        started_at: row.time("started_at")?,
        last_used_at: row.time("last_used_at")?,
        idle_expires_at: row.time("idle_expires_at")?,
        absolute_expires_at: row.time("absolute_expires_at")?,
        sign_in: row.parsed_if_any("sign_in", |text| text.parse().ok())?,
        offline: row.flag("offline")?,
        claims: row.get::<Option<String>>("claims")?,
        chain,
        ended,
    })
}

pub(super) async fn one(readers: &Readers, id: SessionId) -> DbResult<Option<Session>> {
    const TEXT: &str = concat!("SELECT ", columns!(), " FROM sessions WHERE id = $1");
    readers.fetch(TEXT, args![id]).await?.first().map(session_of).transpose()
}

/// A page, newest first, driven by the narrowest filter.
macro_rules! page {
    ($driver:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM sessions WHERE ",
            $driver,
            " AND (CAST($1 AS TEXT) IS NULL OR sub = $1) AND (CAST($2 AS TEXT) IS NULL OR client_id = $2) \
             AND (started_at, id) < ($3, $4) ORDER BY started_at DESC, id DESC LIMIT $5"
        )
    };
}

pub(super) async fn list(readers: &Readers, filter: SessionFilter, page: Page) -> DbResult<Listed<Session>> {
    let Some(start) = page.start(Cursor::highest()) else { return Ok(Listed::empty()) };
    let text = match (&filter.sub, &filter.client_id) {
        (Some(_), _) => page!("sub = $1"),
        (None, Some(_)) => page!("client_id = $2"),
        (None, None) => page!("true"),
    };
    let args = args![filter.sub.as_ref(), filter.client_id.as_ref(), start.number, start.id, page.probe()];
    let rows = readers.fetch(text, args).await?;
    page.cut(&rows, session_of, |session| Cursor { number: session.started_at.millis(), id: session.id.to_string() })
}
