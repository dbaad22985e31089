//! The table of legacy tokens: each of them opens one session, on whatever node, and is recognised afterwards.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::readers::Readers;
use super::redeem::RedeemedToken;
use super::sql::{DbResult, Hex, JsonRows, Row, Sql, args, from_json};
use super::tx::Tx;
use crate::domain::ids::{ClientId, SessionId, Sub};
use crate::domain::time::Timestamp;

/// How far users have moved, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationCounts {
    /// By how their password hash begins.
    pub users: Vec<UserCount>,
    /// By issuer, in the order of their names.
    pub issuers: Vec<LegacyCount>,
}

/// Users of one kind of password hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCount {
    /// As [`super::Store::password_schemes`] has it.
    pub password_scheme: Option<String>,
    pub users: u64,
    /// Those of them who have exchanged a legacy token.
    pub moved: u64,
}

/// Legacy tokens of one issuer, as far as their hashes are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyCount {
    pub issuer: String,
    pub tokens: u64,
    pub users: u64,
    pub latest: Timestamp,
}

/// A row on its way into the table.
#[derive(Debug)]
pub(super) struct NewRow<'a> {
    pub issuer: &'a str,
    pub client_id: &'a ClientId,
    pub sub: &'a Sub,
    pub sid: SessionId,
    pub redeemed_at: Timestamp,
    pub keep_until: Timestamp,
}

/// A token that was redeemed, as a batch holds it.
#[derive(Debug)]
pub(super) struct Redeemed {
    pub client_id: ClientId,
    pub sub: Sub,
    pub sid: SessionId,
    pub redeemed_at: Timestamp,
    pub noted: i64,
    /// Whether `noted` differs from the row's.
    pub changed: bool,
}

impl Redeemed {
    /// Whether the trail has not heard the like of this token; it has from now on.
    pub fn is_news(&mut self, bit: i64) -> bool {
        let first = self.noted & bit == 0;
        self.noted |= bit;
        self.changed |= first;
        first
    }
}

#[derive(Serialize)]
struct JsonRow<'a> {
    hash: Hex<'a>,
    issuer: &'a str,
    client_id: &'a ClientId,
    sub: &'a Sub,
    sid: SessionId,
    redeemed_at: i64,
    keep_until: i64,
}

/// The guard: of two inserts of one hash only one answers it. On PostgreSQL the other waits for the first's end.
const INSERT: Sql = from_json!(
    "INSERT INTO legacy_tokens (hash, issuer, client_id, sub, sid, redeemed_at, keep_until) \
     SELECT hash, issuer, client_id, sub, sid, redeemed_at, keep_until FROM ",
    [
        hash bytea, issuer text, client_id text, sub text, sid text, redeemed_at bigint, keep_until bigint,
    ],
    " WHERE true ON CONFLICT (hash) DO NOTHING RETURNING hash"
);

/// Tokens by the JSON array of their hashes in `$1`; on PostgreSQL locked in one order.
const READ: Sql = Sql {
    sqlite: "SELECT hash, client_id, sub, sid, redeemed_at, noted FROM legacy_tokens \
             WHERE hash IN (SELECT unhex(substr(value, 3)) FROM json_each($1))",
    postgres: "SELECT hash, client_id, sub, sid, redeemed_at, noted FROM legacy_tokens \
               WHERE hash = ANY (ARRAY(SELECT CAST(json_array_elements_text($1::json) AS bytea))) \
               ORDER BY hash FOR UPDATE",
};

const NOTE: Sql = from_json!(
    "UPDATE legacy_tokens SET noted = j.noted FROM ",
    [hash bytea, noted bigint],
    " WHERE legacy_tokens.hash = j.hash"
);

/// Writes rows where there are none, in the order of their hashes, and answers which of them are new.
pub(super) async fn insert(tx: &mut Tx, rows: &BTreeMap<[u8; 32], NewRow<'_>>) -> DbResult<Vec<[u8; 32]>> {
    let rows = rows.iter().map(|(hash, row)| JsonRow {
        hash: Hex(hash),
        issuer: row.issuer,
        client_id: row.client_id,
        sub: row.sub,
        sid: row.sid,
        redeemed_at: row.redeemed_at.millis(),
        keep_until: row.keep_until.millis(),
    });
    let written = tx.fetch(INSERT, args![JsonRows::of(rows)?]).await?;
    written.iter().map(|row| row.hash("hash")).collect()
}

/// The tokens of these hashes that were redeemed.
pub(super) async fn read<'h>(
    tx: &mut Tx,
    hashes: impl IntoIterator<Item = &'h [u8; 32]>,
) -> DbResult<HashMap<[u8; 32], Redeemed>> {
    let hashes = JsonRows::of(hashes.into_iter().map(|hash| Hex(hash)))?;
    tx.fetch(READ, args![hashes]).await?.iter().map(|row| Ok((row.hash("hash")?, redeemed_of(row)?))).collect()
}

fn redeemed_of(row: &Row) -> DbResult<Redeemed> {
    Ok(Redeemed {
        client_id: ClientId::new(row.get::<&str>("client_id")?),
        sub: Sub::new(row.get::<&str>("sub")?),
        sid: row.parsed("sid", |text| text.parse().ok())?,
        redeemed_at: row.time("redeemed_at")?,
        noted: row.get("noted")?,
        changed: false,
    })
}

/// The token of this hash, if it was redeemed. Locks nothing.
pub(super) async fn one(readers: &Readers, hash: &[u8; 32]) -> DbResult<Option<RedeemedToken>> {
    const TEXT: &str = "SELECT client_id, sub, sid, redeemed_at, noted FROM legacy_tokens WHERE hash = $1";
    let rows = readers.fetch(TEXT, args![hash]).await?;
    let Some(Redeemed { client_id, sid, redeemed_at, .. }) = rows.first().map(redeemed_of).transpose()? else {
        return Ok(None);
    };
    Ok(Some(RedeemedToken { client_id, sid, redeemed_at }))
}

/// Writes what the trail has heard of.
pub(super) fn note<'r>(tx: &mut Tx, rows: impl IntoIterator<Item = (&'r [u8; 32], &'r Redeemed)>) -> DbResult<()> {
    #[derive(Serialize)]
    struct Noted<'a> {
        hash: Hex<'a>,
        noted: i64,
    }
    let changed = rows.into_iter().filter(|(_, row)| row.changed);
    let rows = JsonRows::of(changed.map(|(hash, row)| Noted { hash: Hex(hash), noted: row.noted }))?;
    tx.write(NOTE, rows);
    Ok(())
}

/// Writes when users have moved, unless they had before.
pub(super) fn moved(tx: &mut Tx, users: &BTreeMap<Sub, Timestamp>) -> DbResult<()> {
    const MOVED: Sql = from_json!(
        "UPDATE users SET moved_at = j.moved_at FROM ",
        [sub text, moved_at bigint],
        " WHERE users.sub = j.sub AND users.moved_at IS NULL"
    );
    #[derive(Serialize)]
    struct Moved<'a> {
        sub: &'a Sub,
        moved_at: i64,
    }
    let rows = users.iter().map(|(sub, at)| Moved { sub, moved_at: at.millis() });
    tx.write(MOVED, JsonRows::of(rows)?);
    Ok(())
}

/// Both statements read an index alone: of a million users and a million tokens they take about a second.
pub(super) async fn counts(readers: &Readers) -> DbResult<MigrationCounts> {
    const USERS: &str = "SELECT password_scheme, count(*) AS users, count(moved_at) AS moved FROM users \
                         GROUP BY password_scheme ORDER BY password_scheme";
    const TOKENS: &str = "SELECT issuer, count(*) AS tokens, count(DISTINCT sub) AS users, max(redeemed_at) AS latest \
                          FROM legacy_tokens GROUP BY issuer ORDER BY issuer";
    let answers = readers.fetch_snapshot(&[(USERS.into(), args![]), (TOKENS.into(), args![])]).await?;
    let [users, tokens] = answers.as_slice() else { return Ok(MigrationCounts::default()) };
    let user_count = |row: &Row| {
        Ok(UserCount {
            password_scheme: row.get("password_scheme")?,
            users: row.small("users")?,
            moved: row.small("moved")?,
        })
    };
    let token_count = |row: &Row| {
        Ok(LegacyCount {
            issuer: row.get("issuer")?,
            tokens: row.small("tokens")?,
            users: row.small("users")?,
            latest: row.time("latest")?,
        })
    };
    Ok(MigrationCounts {
        users: users.iter().map(user_count).collect::<DbResult<_>>()?,
        issuers: tokens.iter().map(token_count).collect::<DbResult<_>>()?,
    })
}
