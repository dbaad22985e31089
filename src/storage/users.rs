//! The users table.

use super::cursor::Cursor;
use super::ending::{self, Ending, Owner, TooMany};
use super::readers::Readers;
use super::sql::{DbError, DbResult, Row, args};
use super::tx::Tx;
use super::writer::Decision;
use super::{ChangeOutcome, CreateUserOutcome, Listed, Page, UserEffects, UserName};
use crate::domain::audit::AuditEvent;
use crate::domain::ids::Sub;
use crate::domain::scope::Scope;
use crate::domain::session::EndReason;
use crate::domain::time::Timestamp;
use crate::domain::user::User;

macro_rules! columns {
    () => {
        "sub, username, username_key, external_id, password_hash, claims, attributes, admin_scopes, disabled, \
         created_at, updated_at, version, credential_epoch"
    };
}

fn user_of(row: &Row) -> DbResult<User> {
    Ok(User {
        sub: Sub::new(row.get::<&str>("sub")?),
        username: row.get("username")?,
        username_key: row.get("username_key")?,
        external_id: row.get("external_id")?,
        password_hash: row.get("password_hash")?,
        claims: row.json("claims")?,
        attributes: row.json("attributes")?,
        admin_scopes: row.parsed("admin_scopes", |text| Scope::parse(text).ok())?,
        disabled: row.flag("disabled")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        version: row.get("version")?,
        credential_epoch: row.get("credential_epoch")?,
    })
}

pub(super) async fn by_sub(readers: &Readers, sub: &Sub) -> DbResult<Option<User>> {
    const TEXT: &str = concat!("SELECT ", columns!(), " FROM users WHERE sub = $1");
    readers.fetch(TEXT, args![sub]).await?.first().map(user_of).transpose()
}

pub(super) async fn by_username(readers: &Readers, username_key: &str) -> DbResult<Option<User>> {
    const TEXT: &str = concat!("SELECT ", columns!(), " FROM users WHERE username_key = $1");
    readers.fetch(TEXT, args![username_key]).await?.first().map(user_of).transpose()
}

pub(super) async fn by_external_id(readers: &Readers, external_id: &str) -> DbResult<Option<User>> {
    const TEXT: &str = concat!("SELECT ", columns!(), " FROM users WHERE external_id = $1");
    readers.fetch(TEXT, args![external_id]).await?.first().map(user_of).transpose()
}

pub(super) async fn password_schemes(readers: &Readers) -> DbResult<Vec<(Option<String>, u64)>> {
    const TEXT: &str = "SELECT password_scheme, count(*) AS users FROM users GROUP BY password_scheme \
                        ORDER BY password_scheme";
    let rows = readers.fetch(TEXT, args![]).await?;
    rows.iter().map(|row| Ok((row.get("password_scheme")?, row.small("users")?))).collect()
}

pub(super) async fn password_hash_of_scheme(readers: &Readers, scheme: &str) -> DbResult<Option<String>> {
    const TEXT: &str = "SELECT password_hash FROM users WHERE password_scheme = $1 LIMIT 1";
    readers.fetch(TEXT, args![scheme]).await?.first().map(|row| row.get("password_hash")).transpose()
}

/// A page, oldest first.
pub(super) async fn list(readers: &Readers, page: Page) -> DbResult<Listed<User>> {
    const TEXT: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM users WHERE (created_at, sub) > ($1, $2) ORDER BY created_at, sub LIMIT $3"
    );
    let Some(start) = page.start(Cursor::lowest()) else { return Ok(Listed::empty()) };
    let rows = readers.fetch(TEXT, args![start.number, start.id, page.probe()]).await?;
    page.cut(&rows, user_of, |user| Cursor { number: user.created_at.millis(), id: user.sub.to_string() })
}

pub(super) async fn sessions_ended_at(readers: &Readers, sub: &Sub) -> DbResult<Option<Timestamp>> {
    const TEXT: &str = "SELECT sessions_ended_at FROM users WHERE sub = $1";
    let rows = readers.fetch(TEXT, args![sub]).await?;
    rows.first().map_or(Ok(None), |row| row.time_if_any("sessions_ended_at"))
}

pub(super) async fn is_known_address(
    readers: &Readers,
    sub: &Sub,
    address: &[u8; 32],
    since: Timestamp,
) -> DbResult<bool> {
    const TEXT: &str = "SELECT 1 AS known FROM known_addresses WHERE sub = $1 AND address = $2 AND seen_at >= $3";
    Ok(!readers.fetch(TEXT, args![sub, address, since]).await?.is_empty())
}

pub(super) async fn create(tx: &mut Tx, user: User, audit: AuditEvent) -> DbResult<Decision<CreateUserOutcome>> {
    const TEXT: &str = concat!(
        "INSERT INTO users (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING"
    );
    let username_key = user.username_key.clone();
    let args = args![
        &user.sub,
        user.username,
        user.username_key,
        user.external_id,
        user.password_hash,
        json_of(&user.claims),
        json_of(&user.attributes),
        user.admin_scopes.to_string(),
        user.disabled,
        user.created_at,
        user.updated_at,
        user.version,
        user.credential_epoch,
    ];
    if tx.execute(TEXT, args).await? == 0 {
        let same = tx.fetch("SELECT 1 AS found FROM users WHERE username_key = $1", args![username_key]).await?;
        let taken = if same.is_empty() { UserName::ExternalId } else { UserName::Username };
        return Ok(Decision::Discard(CreateUserOutcome::Exists(taken)));
    }
    tx.record(&[audit])?;
    Ok(Decision::Keep(CreateUserOutcome::Created))
}

/// Which name another user has, where that is why a change was refused.
fn taken_by(error: &DbError) -> Option<UserName> {
    let column = |name| error.is_unique_violation_of(name);
    if column("external_id") {
        Some(UserName::ExternalId)
    } else if column("username_key") {
        Some(UserName::Username)
    } else {
        None
    }
}

/// serde_json writes every map of its own.
pub(super) fn json_of(object: &serde_json::Map<String, serde_json::Value>) -> String {
    serde_json::to_string(object).unwrap_or_default()
}

pub(super) async fn change(
    tx: &mut Tx,
    user: User,
    effects: UserEffects,
) -> DbResult<Decision<Result<ChangeOutcome, TooMany>>> {
    const TEXT: &str = "UPDATE users SET username = $3, username_key = $4, external_id = $5, password_hash = $6, \
                        claims = $7, attributes = $8, admin_scopes = $9, disabled = $10, updated_at = $11, \
                        credential_epoch = $12, version = version + 1 WHERE sub = $1 AND version = $2";
    let args = args![
        &user.sub,
        user.version,
        user.username,
        user.username_key,
        user.external_id,
        user.password_hash,
        json_of(&user.claims),
        json_of(&user.attributes),
        user.admin_scopes.to_string(),
        user.disabled,
        user.updated_at,
        user.credential_epoch,
    ];
    match tx.execute(TEXT, args).await {
        Ok(0) => return Ok(Decision::Discard(Ok(missed(tx, &user.sub).await?))),
        Ok(_) => {}
        Err(error) => {
            return taken_by(&error).map(|name| Decision::Discard(Ok(ChangeOutcome::Exists(name)))).ok_or(error);
        }
    }
    Ok(carry_out(tx, &user.sub, effects, None).await?.map(|ended| ended.map(|_| ChangeOutcome::Changed)))
}

/// Removes the row; whatever the caller asked for, the user's sessions end.
pub(super) async fn delete(
    tx: &mut Tx,
    sub: Sub,
    version: i64,
    effects: UserEffects,
) -> DbResult<Decision<Result<ChangeOutcome, TooMany>>> {
    if tx.execute("DELETE FROM users WHERE sub = $1 AND version = $2", args![&sub, version]).await? == 0 {
        return Ok(Decision::Discard(Ok(missed(tx, &sub).await?)));
    }
    let effects = UserEffects { except: None, ..effects };
    Ok(carry_out(tx, &sub, effects, Some(EndReason::UserDeleted))
        .await?
        .map(|ended| ended.map(|_| ChangeOutcome::Changed)))
}

/// Why a guarded statement found no row.
async fn missed(tx: &mut Tx, sub: &Sub) -> DbResult<ChangeOutcome> {
    let rows = tx.fetch("SELECT 1 AS found FROM users WHERE sub = $1", args![sub]).await?;
    Ok(if rows.is_empty() { ChangeOutcome::NotFound } else { ChangeOutcome::Conflict })
}

/// Ends sessions and sign-ins, where that is asked for, and writes the audit entry. Answers how many sessions ended.
///
/// It writes the user's row first, and so locks it: a login in flight has either opened its session, which is ended here,
/// or will find the user changed.
pub(super) async fn carry_out(
    tx: &mut Tx,
    sub: &Sub,
    effects: UserEffects,
    at_least: Option<EndReason>,
) -> DbResult<Decision<Result<u64, TooMany>>> {
    let ended = match effects.end_sessions.or(at_least) {
        Some(reason) => {
            // Before the sessions, whose rows are locked after their user's everywhere.
            const TEXT: &str = "UPDATE users SET sessions_ended_at = $2 WHERE sub = $1";
            tx.execute(TEXT, args![sub, effects.now]).await?;
            let ending = Ending { reason, now: effects.now, horizon: effects.horizon };
            let owner = Owner::User { sub: sub.clone(), except: effects.except };
            match ending::end_all(tx, owner, ending).await? {
                Ok(ended) => ended.len() as u64,
                Err(many) => return Ok(Decision::Discard(Err(many))),
            }
        }
        None => 0,
    };
    tx.record(&[effects.audit])?;
    Ok(Decision::Keep(Ok(ended)))
}

/// The version grows, so that a change planned on the old hash cannot bring it back.
pub(super) async fn upgrade_password_hash(
    tx: &mut Tx,
    sub: Sub,
    credential_epoch: i64,
    hash: String,
) -> DbResult<Decision<bool>> {
    const TEXT: &str = "UPDATE users SET password_hash = $3, version = version + 1 \
                        WHERE sub = $1 AND credential_epoch = $2";
    Ok(Decision::Keep(tx.execute(TEXT, args![&sub, credential_epoch, hash]).await? == 1))
}
