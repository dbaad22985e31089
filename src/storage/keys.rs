//! The key tables, as rows: signing keys and versions of the refresh keys, sealed by `keys`.
//!
//! A commit is guarded by the revision that its plan was made on, so of two nodes that rotate at once one finds its
//! plan outdated. The `longest_*` columns only ever grow, whoever writes them.

use super::readers::Readers;
use super::sql::{DbError, DbResult, Row, args};
use super::tx::Tx;
use super::writer::Decision;
use super::{KeyCommit, KeyWrite, Raise};
use crate::domain::audit::AuditEvent;
use crate::domain::ids::Kid;
use crate::domain::key::{Alg, KeyState, KeyTable, RefreshKey, RefreshKeyState, SigningKey};
use crate::domain::time::Timestamp;

fn since_of(row: &Row) -> DbResult<Timestamp> {
    row.time_if_any("state_since")?.ok_or_else(|| DbError::Row("state_since is absent".into()))
}

fn signing_key_of(row: &Row) -> DbResult<SigningKey> {
    let state = match row.get::<&str>("state")? {
        "standby" => KeyState::Standby,
        "active" => KeyState::Active { since: since_of(row)? },
        "retiring" => KeyState::Retiring { since: since_of(row)? },
        "retired" => KeyState::Retired { since: since_of(row)? },
        "compromised" => KeyState::Compromised { since: since_of(row)? },
        state => return Err(DbError::Row(format!("state = {state:?}, which means nothing"))),
    };
    Ok(SigningKey {
        kid: Kid::new(row.get::<&str>("kid")?),
        alg: row.parsed("alg", Alg::parse)?,
        state,
        created_at: row.time("created_at")?,
        public_jwk: row.get("public_jwk")?,
        sealed_private: row.get("sealed_private")?,
        unseen_max_age: row.span("unseen_max_age")?,
        longest_max_age: row.span("longest_max_age")?,
        longest_ttl: row.span("longest_ttl")?,
        rotation_requested_at: row.time_if_any("rotation_requested_at")?,
        imported: row.flag("imported")?,
    })
}

fn refresh_key_of(row: &Row) -> DbResult<RefreshKey> {
    let state = match row.get::<&str>("state")? {
        "active" => RefreshKeyState::Active,
        "retained" => RefreshKeyState::Retained { since: since_of(row)? },
        "compromised" => RefreshKeyState::Compromised { since: since_of(row)? },
        state => return Err(DbError::Row(format!("state = {state:?}, which means nothing"))),
    };
    Ok(RefreshKey {
        version: row.small("version")?,
        state,
        created_at: row.time("created_at")?,
        sealed: row.get("sealed")?,
        longest_absolute: row.span("longest_absolute")?,
    })
}

fn signing_since(state: KeyState) -> Option<Timestamp> {
    match state {
        KeyState::Standby => None,
        KeyState::Active { since }
        | KeyState::Retiring { since }
        | KeyState::Retired { since }
        | KeyState::Compromised { since } => Some(since),
    }
}

fn refresh_since(state: RefreshKeyState) -> Option<Timestamp> {
    match state {
        RefreshKeyState::Active => None,
        RefreshKeyState::Retained { since } | RefreshKeyState::Compromised { since } => Some(since),
    }
}

/// All keys and their revision, of one moment.
pub(super) async fn all(readers: &Readers) -> DbResult<KeyTable> {
    let statements = [
        ("SELECT value FROM revisions WHERE name = 'keys'".into(), args![]),
        (
            "SELECT kid, alg, state, state_since, created_at, public_jwk, sealed_private, unseen_max_age, \
             longest_max_age, longest_ttl, rotation_requested_at, imported \
             FROM signing_keys ORDER BY alg, created_at, kid"
                .into(),
            args![],
        ),
        (
            "SELECT version, state, state_since, created_at, sealed, longest_absolute FROM refresh_keys \
             ORDER BY version"
                .into(),
            args![],
        ),
    ];
    let answers = readers.fetch_snapshot(&statements).await?;
    let [revision, signing, refresh] = answers.as_slice() else {
        return Err(DbError::Row("a snapshot with an answer missing".into()));
    };
    Ok(KeyTable {
        revision: revision.first().ok_or_else(|| DbError::Row("there is no revision of keys".into()))?.get("value")?,
        signing: signing.iter().map(signing_key_of).collect::<DbResult<_>>()?,
        refresh: refresh.iter().map(refresh_key_of).collect::<DbResult<_>>()?,
    })
}

pub(super) async fn commit(
    tx: &mut Tx,
    revision: i64,
    writes: Vec<KeyWrite>,
    audit: Vec<AuditEvent>,
) -> DbResult<Decision<KeyCommit>> {
    const GUARD: &str = "UPDATE revisions SET value = value + 1 WHERE name = 'keys' AND value = $1";
    if tx.execute(GUARD, args![revision]).await? == 0 {
        return Ok(Decision::Discard(KeyCommit::Outdated));
    }
    tx.make_news();
    for write in writes {
        let shown = format!("{write:?}");
        if self::write(tx, write).await? == 0 {
            return Err(DbError::Row(format!("there is no row for {shown}")));
        }
    }
    tx.record(&audit)?;
    Ok(Decision::Keep(KeyCommit::Committed(revision + 1)))
}

/// Writes one row, and answers whether it was there to be written.
async fn write(tx: &mut Tx, write: KeyWrite) -> DbResult<u64> {
    match write {
        KeyWrite::InsertSigning(key) => {
            const TEXT: &str = "INSERT INTO signing_keys (kid, alg, state, state_since, created_at, public_jwk, \
                                sealed_private, unseen_max_age, longest_max_age, longest_ttl, rotation_requested_at, \
                                imported) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
            let args = args![
                &key.kid,
                key.alg.as_str(),
                key.state.as_str(),
                signing_since(key.state),
                key.created_at,
                key.public_jwk,
                key.sealed_private,
                key.unseen_max_age,
                key.longest_max_age,
                key.longest_ttl,
                key.rotation_requested_at,
                key.imported,
            ];
            tx.execute(TEXT, args).await
        }
        KeyWrite::UpdateSigning(key) => {
            const TEXT: &str = "UPDATE signing_keys SET state = $2, state_since = $3, sealed_private = $4, \
                                rotation_requested_at = $5, \
                                longest_max_age = CASE WHEN longest_max_age < $6 THEN $6 ELSE longest_max_age END, \
                                longest_ttl = CASE WHEN longest_ttl < $7 THEN $7 ELSE longest_ttl END WHERE kid = $1";
            let args = args![
                &key.kid,
                key.state.as_str(),
                signing_since(key.state),
                key.sealed_private,
                key.rotation_requested_at,
                key.longest_max_age,
                key.longest_ttl,
            ];
            tx.execute(TEXT, args).await
        }
        KeyWrite::InsertRefresh(key) => {
            const TEXT: &str = "INSERT INTO refresh_keys (version, state, state_since, created_at, sealed, \
                                longest_absolute) VALUES ($1, $2, $3, $4, $5, $6)";
            let since = refresh_since(key.state);
            let state = key.state.as_str();
            let args = args![key.version, state, since, key.created_at, key.sealed, key.longest_absolute];
            tx.execute(TEXT, args).await
        }
        KeyWrite::UpdateRefresh(key) => {
            const TEXT: &str = "UPDATE refresh_keys SET state = $2, state_since = $3, sealed = $4, \
                                longest_absolute = CASE WHEN longest_absolute < $5 THEN $5 ELSE longest_absolute END \
                                WHERE version = $1";
            let since = refresh_since(key.state);
            let args = args![key.version, key.state.as_str(), since, key.sealed, key.longest_absolute];
            tx.execute(TEXT, args).await
        }
        KeyWrite::DeleteRefresh(version) => {
            tx.execute("DELETE FROM refresh_keys WHERE version = $1", args![version]).await
        }
    }
}

/// Raises a limit that is lower. What it raises changes the revision, so that other nodes learn of it.
pub(super) async fn raise(tx: &mut Tx, limit: Raise) -> DbResult<Decision<()>> {
    let raised = match limit {
        Raise::MaxAge(max_age) => {
            // A node that has not loaded a standby yet serves the longer max-age without it.
            const UNSEEN: &str = "UPDATE signing_keys SET unseen_max_age = $1 \
                                  WHERE unseen_max_age < $1 AND state = 'standby' \
                                  AND EXISTS (SELECT 1 FROM signing_keys AS served WHERE served.longest_max_age < $1 \
                                              AND served.longest_max_age > 0)";
            const TEXT: &str = "UPDATE signing_keys SET longest_max_age = $1 \
                                WHERE longest_max_age < $1 AND state IN ('standby', 'active', 'retiring')";
            tx.execute(UNSEEN, args![max_age]).await?;
            tx.execute(TEXT, args![max_age]).await?
        }
        Raise::Ttl { kid, ttl } => {
            const TEXT: &str = "UPDATE signing_keys SET longest_ttl = $2 WHERE kid = $1 AND longest_ttl < $2";
            tx.execute(TEXT, args![&kid, ttl]).await?
        }
        Raise::RefreshAbsolute { version, absolute } => {
            const TEXT: &str = "UPDATE refresh_keys SET longest_absolute = $2 \
                                WHERE version = $1 AND longest_absolute < $2";
            tx.execute(TEXT, args![version, absolute]).await?
        }
    };
    if raised > 0 {
        const BUMP: &str = "UPDATE revisions SET value = value + 1 WHERE name = 'keys'";
        tx.execute(BUMP, args![]).await?;
        tx.make_news();
    }
    Ok(Decision::Keep(()))
}
