//! The sign-ins table: users signed in in browsers, found by the hash of a cookie's secret (OpenID Connect Core section
//! 3.1.2.3), and what ends with one (RP-Initiated Logout 1.0, Back-Channel Logout 1.0).

use std::slice;

use serde_json::json;

use super::cursor::Cursor;
use super::ending::{self, Ending, Owner, TooMany};
use super::logins::{self, Addresses};
use super::readers::Readers;
use super::sql::{DbResult, JsonRows, Row, Sql, args};
use super::tx::Tx;
use super::writer::Decision;
use super::{EndOutcome, Listed, Page};
use crate::domain::audit::{AuditEvent, AuditType};
use crate::domain::ids::{ClientId, SessionId, SignInId, Sub};
use crate::domain::sign_in::{Browser, SignIn, SignInEnd};
use crate::domain::time::Timestamp;

/// A user who has just typed the password in a browser.
#[derive(Clone, Debug)]
pub struct BeginSignIn {
    pub sign_in: SignIn,
    /// SHA-256 of the secret that the browser's cookie is to carry.
    pub secret_hash: [u8; 32],
    /// The user's when the password was checked: see [`super::OpenSession::credential_epoch`].
    pub credential_epoch: i64,
    /// Another user's sign-in in the same browser: it ends, with what ends with it.
    pub replaces: Option<SignInId>,
    /// See [`super::OpenSession::known_address`].
    pub known_address: Option<[u8; 32]>,
    /// See [`super::Refresh::horizon`].
    pub horizon: Timestamp,
    pub audit: AuditEvent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginOutcome {
    Begun {
        /// The sessions of the sign-in that was replaced.
        replaced: Vec<SessionOfSignIn>,
    },
    /// The user was disabled, deleted or given another password in between. Nothing was changed.
    UserChanged,
}

/// A user who has typed the password again in the same browser.
#[derive(Clone, Debug)]
pub struct RenewSignIn {
    /// As it is to be.
    pub sign_in: SignIn,
    /// SHA-256 of the secret that the browser came with.
    pub old_secret_hash: [u8; 32],
    /// SHA-256 of the secret that the browser's cookie is to carry from now on.
    pub secret_hash: [u8; 32],
    /// See [`super::OpenSession::credential_epoch`].
    pub credential_epoch: i64,
    /// See [`super::OpenSession::known_address`].
    pub known_address: Option<[u8; 32]>,
    pub audit: AuditEvent,
}

/// Nothing was changed but by [`RenewSignInOutcome::Renewed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewSignInOutcome {
    Renewed,
    /// The user was disabled, deleted or given another password in between.
    UserChanged,
    /// It has ended, or the browser's secret is not the latest: another tab was faster.
    Gone,
}

/// A sign-in to end.
#[derive(Clone, Debug)]
pub struct EndSignIn {
    pub id: SignInId,
    /// End it only if it is this user's.
    pub of_user: Option<Sub>,
    pub reason: SignInEnd,
    /// Whether its sessions end too, but for the offline ones.
    pub end_sessions: bool,
    pub now: Timestamp,
    pub horizon: Timestamp,
    pub audit: AuditEvent,
}

/// What became of a sign-in that was to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSignIn {
    pub outcome: EndOutcome,
    /// Where it was ended by this: the sessions of it that were live, at most 5,000 of those that go on.
    pub sessions: Vec<SessionOfSignIn>,
}

/// A session of a sign-in that ended: its client is to hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOfSignIn {
    pub id: SessionId,
    pub client_id: ClientId,
    /// Whether it ended with the sign-in; otherwise it goes on.
    pub ended: bool,
}

/// Which sign-ins a list is of.
#[derive(Clone, Debug, Default)]
pub struct SignInFilter {
    pub sub: Option<Sub>,
    /// Only those that had neither ended nor expired at this moment.
    pub live_at: Option<Timestamp>,
}

macro_rules! columns {
    () => {
        "id, sub, auth_time, started_at, last_used_at, idle_expires_at, absolute_expires_at, user_agent, address, \
         ended_at, end_reason"
    };
}

fn sign_in_of(row: &Row) -> DbResult<SignIn> {
    let ended = match row.time_if_any("ended_at")? {
        None => None,
        Some(at) => Some((at, SignInEnd::read(row.get("end_reason")?))),
    };
    Ok(SignIn {
        id: row.parsed("id", |text| text.parse().ok())?,
        sub: Sub::new(row.get::<&str>("sub")?),
        auth_time: row.time("auth_time")?,
        started_at: row.time("started_at")?,
        last_used_at: row.time("last_used_at")?,
        idle_expires_at: row.time("idle_expires_at")?,
        absolute_expires_at: row.time("absolute_expires_at")?,
        browser: Browser { user_agent: row.get("user_agent")?, address: row.get("address")? },
        ended,
    })
}

pub(super) async fn one(readers: &Readers, id: SignInId) -> DbResult<Option<SignIn>> {
    const TEXT: &str = concat!("SELECT ", columns!(), " FROM sign_ins WHERE id = $1");
    readers.fetch(TEXT, args![id]).await?.first().map(sign_in_of).transpose()
}

pub(super) async fn by_secret(readers: &Readers, hash: &[u8; 32]) -> DbResult<Option<SignIn>> {
    const TEXT: &str = concat!("SELECT ", columns!(), " FROM sign_ins WHERE secret_hash = $1");
    readers.fetch(TEXT, args![hash]).await?.first().map(sign_in_of).transpose()
}

/// A page, newest first, driven by the narrowest filter.
macro_rules! page {
    ($driver:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM sign_ins WHERE ",
            $driver,
            " AND (CAST($1 AS TEXT) IS NULL OR sub = $1) AND (CAST($2 AS BIGINT) IS NULL \
             OR (ended_at IS NULL AND idle_expires_at > $2 AND absolute_expires_at > $2)) \
             AND (started_at, id) < ($3, $4) ORDER BY started_at DESC, id DESC LIMIT $5"
        )
    };
}

pub(super) async fn list(readers: &Readers, filter: SignInFilter, page: Page) -> DbResult<Listed<SignIn>> {
    let Some(start) = page.start(Cursor::highest()) else { return Ok(Listed::empty()) };
    let text = if filter.sub.is_some() { page!("sub = $1") } else { page!("true") };
    let args = args![filter.sub.as_ref(), filter.live_at, start.number, start.id, page.probe()];
    let rows = readers.fetch(text, args).await?;
    page.cut(&rows, sign_in_of, |it| Cursor { number: it.started_at.millis(), id: it.id.to_string() })
}

pub(super) async fn begin(tx: &mut Tx, login: BeginSignIn) -> DbResult<Decision<Result<BeginOutcome, TooMany>>> {
    const TEXT: &str = "INSERT INTO sign_ins (id, secret_hash, sub, auth_time, started_at, last_used_at, \
                        idle_expires_at, absolute_expires_at, user_agent, address) \
                        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let sign_in = &login.sign_in;
    if !is_unchanged(tx, &sign_in.sub, login.credential_epoch).await? {
        return Ok(Decision::Discard(Ok(BeginOutcome::UserChanged)));
    }
    let replaced = match login.replaces {
        None => Vec::new(),
        Some(id) => match replace(tx, id, &login).await? {
            Ok(sessions) => sessions,
            Err(many) => return Ok(Decision::Discard(Err(many))),
        },
    };
    let args = args![
        sign_in.id,
        &login.secret_hash,
        &sign_in.sub,
        sign_in.auth_time,
        sign_in.started_at,
        sign_in.last_used_at,
        sign_in.idle_expires_at,
        sign_in.absolute_expires_at,
        sign_in.browser.user_agent.as_str(),
        sign_in.browser.address.as_str(),
    ];
    tx.execute(TEXT, args).await?;
    remember(tx, sign_in, login.known_address.as_ref())?;
    tx.record(slice::from_ref(&login.audit))?;
    Ok(Decision::Keep(Ok(BeginOutcome::Begun { replaced })))
}

/// Ends the sign-in that another user's takes the place of, if it has not ended before.
async fn replace(tx: &mut Tx, id: SignInId, login: &BeginSignIn) -> DbResult<Result<Vec<SessionOfSignIn>, TooMany>> {
    let now = login.sign_in.started_at;
    let end = EndSignIn {
        id,
        of_user: None,
        reason: SignInEnd::Replaced,
        end_sessions: true,
        now,
        horizon: login.horizon,
        audit: AuditEvent::new(now, AuditType::SignInEnded, login.audit.actor.clone())
            .detail(json!({ "sign_in": id.to_string(), "reason": SignInEnd::Replaced.as_str() })),
    };
    Ok(end_one(tx, end).await?.map(|ended| ended.sessions))
}

pub(super) async fn renew(tx: &mut Tx, login: RenewSignIn) -> DbResult<Decision<RenewSignInOutcome>> {
    const TEXT: &str = "UPDATE sign_ins SET secret_hash = $4, auth_time = $5, last_used_at = $6, idle_expires_at = $7, \
                        absolute_expires_at = $8, user_agent = $9, address = $10 \
                        WHERE id = $1 AND sub = $2 AND secret_hash = $3 AND ended_at IS NULL";
    let sign_in = &login.sign_in;
    if !is_unchanged(tx, &sign_in.sub, login.credential_epoch).await? {
        return Ok(Decision::Discard(RenewSignInOutcome::UserChanged));
    }
    let args = args![
        sign_in.id,
        &sign_in.sub,
        &login.old_secret_hash,
        &login.secret_hash,
        sign_in.auth_time,
        sign_in.last_used_at,
        sign_in.idle_expires_at,
        sign_in.absolute_expires_at,
        sign_in.browser.user_agent.as_str(),
        sign_in.browser.address.as_str(),
    ];
    if tx.execute(TEXT, args).await? == 0 {
        return Ok(Decision::Discard(RenewSignInOutcome::Gone));
    }
    remember(tx, sign_in, login.known_address.as_ref())?;
    tx.record(slice::from_ref(&login.audit))?;
    Ok(Decision::Keep(RenewSignInOutcome::Renewed))
}

async fn is_unchanged(tx: &mut Tx, sub: &Sub, credential_epoch: i64) -> DbResult<bool> {
    let users = logins::read(tx, logins::READ, vec![sub.as_str()]).await?;
    Ok(users.unchanged(sub, credential_epoch).is_some())
}

fn remember(tx: &mut Tx, sign_in: &SignIn, address: Option<&[u8; 32]>) -> DbResult<()> {
    let mut addresses = Addresses::default();
    addresses.add(&sign_in.sub, address, sign_in.auth_time);
    addresses.remember(tx)
}

/// Writes a use, unless the sign-in has ended or a later use is written.
pub(super) async fn touch(tx: &mut Tx, used: SignIn) -> DbResult<Decision<bool>> {
    const TEXT: &str = "UPDATE sign_ins SET last_used_at = $2, idle_expires_at = $3 \
                        WHERE id = $1 AND last_used_at < $2 AND ended_at IS NULL";
    let written = tx.execute(TEXT, args![used.id, used.last_used_at, used.idle_expires_at]).await? == 1;
    Ok(if written { Decision::Keep(true) } else { Decision::Discard(false) })
}

pub(super) async fn end(tx: &mut Tx, end: EndSignIn) -> DbResult<Decision<Result<EndedSignIn, TooMany>>> {
    Ok(match end_one(tx, end).await? {
        Ok(ended) if ended.outcome == EndOutcome::Ended => Decision::Keep(Ok(ended)),
        other => Decision::Discard(other),
    })
}

/// Ends a sign-in and its sessions. Its row is written first, and so locked: an exchange of a code in flight has either
/// opened its session, which is ended here, or will find the sign-in ended.
async fn end_one(tx: &mut Tx, end: EndSignIn) -> DbResult<Result<EndedSignIn, TooMany>> {
    const TEXT: &str = "UPDATE sign_ins SET ended_at = $3, end_reason = $4 \
                        WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR sub = $2) AND ended_at IS NULL RETURNING sub";
    const MISSED: &str = "SELECT 1 AS found FROM sign_ins WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR sub = $2)";
    let EndSignIn { id, of_user, reason, end_sessions, now, horizon, audit } = end;
    let ended = tx.fetch(TEXT, args![id, of_user.as_ref(), now, reason.as_str()]).await?;
    let Some(row) = ended.first() else {
        let missed = tx.fetch(MISSED, args![id, of_user.as_ref()]).await?;
        let outcome = if missed.is_empty() { EndOutcome::NotFound } else { EndOutcome::EndedBefore };
        return Ok(Ok(EndedSignIn { outcome, sessions: Vec::new() }));
    };
    let audit = audit.about_user(&Sub::new(row.get::<&str>("sub")?));
    let mut sessions = Vec::new();
    if end_sessions {
        let ending = Ending { reason: reason.of_sessions(), now, horizon };
        match ending::end_all(tx, Owner::SignIn(id), ending).await? {
            Ok(ended) => sessions.extend(ended.into_iter().map(SessionOfSignIn::from)),
            Err(many) => return Ok(Err(many)),
        }
    }
    sessions.extend(left(tx, id, now).await?);
    tx.record(&[audit])?;
    Ok(Ok(EndedSignIn { outcome: EndOutcome::Ended, sessions }))
}

/// The sessions that go on without their sign-in.
async fn left(tx: &mut Tx, id: SignInId, now: Timestamp) -> DbResult<Vec<SessionOfSignIn>> {
    const TEXT: &str = "SELECT id, client_id FROM sessions \
                        WHERE sign_in = $1 AND ended_at IS NULL AND idle_expires_at > $2 LIMIT $3";
    let rows = tx.fetch(TEXT, args![id, now, ending::AT_ONCE]).await?;
    rows.iter()
        .map(|row| {
            let id = row.parsed("id", |text| text.parse().ok())?;
            Ok(SessionOfSignIn { id, client_id: ClientId::new(row.get::<&str>("client_id")?), ended: false })
        })
        .collect()
}

impl From<ending::EndedSession> for SessionOfSignIn {
    fn from(ended: ending::EndedSession) -> Self {
        Self { id: ended.id, client_id: ended.client_id, ended: true }
    }
}

macro_rules! live_of_user {
    () => {
        "SELECT id FROM sign_ins WHERE sub = $1 AND ended_at IS NULL AND (CAST($2 AS TEXT) IS NULL OR id <> $2) LIMIT $3"
    };
}

/// Rows are locked in the order that batches lock them in.
const LIVE_OF_USER: Sql = Sql {
    sqlite: live_of_user!(),
    postgres: concat!("SELECT id FROM sign_ins WHERE id = ANY (ARRAY(", live_of_user!(), ")) ORDER BY id FOR UPDATE"),
};

const END_MANY: Sql = Sql {
    sqlite: "UPDATE sign_ins SET ended_at = $2, end_reason = $3 \
             WHERE id IN (SELECT value FROM json_each($1)) AND ended_at IS NULL",
    postgres: "UPDATE sign_ins SET ended_at = $2, end_reason = $3 \
               WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json))) AND ended_at IS NULL",
};

/// Ends sign-ins of a user, but for one, and answers how many those were. Their sessions are the caller's business.
pub(super) async fn end_of_user(
    tx: &mut Tx,
    sub: &Sub,
    except: Option<SignInId>,
    ending: Ending,
    limit: u32,
) -> DbResult<u64> {
    let found = tx.fetch(LIVE_OF_USER, args![sub, except, limit]).await?;
    let found: Vec<&str> = found.iter().map(|row| row.get("id")).collect::<DbResult<_>>()?;
    if found.is_empty() {
        return Ok(0);
    }
    let reason = SignInEnd::with_all_sessions(ending.reason);
    tx.execute(END_MANY, args![JsonRows::of(found)?, ending.now, reason.as_str()]).await
}

/// Sign-ins by the JSON array of their ids in `$1`, kept from ending until the commit.
const READ: Sql = Sql {
    sqlite: "SELECT id, end_reason FROM sign_ins WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "SELECT id, end_reason FROM sign_ins \
               WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json))) ORDER BY id FOR SHARE",
};

/// Reads whether and why sign-ins have ended, and keeps the others from ending.
pub(super) async fn read(tx: &mut Tx, ids: &[SignInId]) -> DbResult<Vec<(SignInId, Option<SignInEnd>)>> {
    let rows = tx.fetch(READ, args![JsonRows::of(ids)?]).await?;
    rows.iter()
        .map(|row| {
            let id = row.parsed("id", |text| text.parse().ok())?;
            Ok((id, row.get::<Option<&str>>("end_reason")?.map(SignInEnd::read)))
        })
        .collect()
}
