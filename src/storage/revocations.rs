//! The revocation table, which every node's revocation set is read from (RFC 7009; the set itself is
//! `introspection`'s).

use serde::Serialize;

use super::sql::{DbError, DbResult, Row, Sql, from_json};
use super::{CatchUp, Position};
use crate::domain::ids::{ClientId, Jti};
use crate::domain::revocation::{Revocation, Revoked};
use crate::domain::time::Timestamp;

/// What makes two revocations one row.
pub(super) type Key<'a> = (&'static str, std::borrow::Cow<'a, str>);

/// How far a revocation reaches: later is further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Reach {
    pub minted_before: Option<i64>,
    pub expires_at: i64,
}

impl Reach {
    pub fn extend(&mut self, other: Self) {
        self.minted_before = self.minted_before.max(other.minted_before);
        self.expires_at = self.expires_at.max(other.expires_at);
    }
}

#[derive(Serialize)]
pub(super) struct JsonRow<'a> {
    pub kind: &'static str,
    pub id: std::borrow::Cow<'a, str>,
    #[serde(flatten)]
    pub reach: Reach,
}

const SESSION: &str = "session";
const TOKEN: &str = "token";
const CLIENT: &str = "client";

pub(super) fn row_of(revocation: &Revocation) -> (Key<'_>, Reach) {
    let (key, minted_before): (Key<'_>, _) = match &revocation.what {
        Revoked::Session(id) => ((SESSION, id.to_string().into()), None),
        Revoked::Token(jti) => ((TOKEN, jti.as_str().into()), None),
        Revoked::Client { client_id, minted_before } => {
            ((CLIENT, client_id.as_str().into()), Some(minted_before.millis()))
        }
    };
    (key, Reach { minted_before, expires_at: revocation.expires_at.millis() })
}

fn revocation_of(row: &Row) -> DbResult<Revocation> {
    let what = match row.get::<&str>("kind")? {
        SESSION => Revoked::Session(row.parsed("id", |text| text.parse().ok())?),
        TOKEN => Revoked::Token(Jti::new(row.get::<&str>("id")?)),
        CLIENT => Revoked::Client {
            client_id: ClientId::new(row.get::<&str>("id")?),
            minted_before: row.time_if_any("minted_before")?.unwrap_or(Timestamp::MAX),
        },
        kind => return Err(DbError::Row(format!("kind = {kind:?}, which means nothing"))),
    };
    Ok(Revocation { what, expires_at: row.time("expires_at")? })
}

/// Raises an equal row; only what was raised counts as written anew, for those who follow.
pub(super) const UPSERT: Sql = from_json!(
    "INSERT INTO revocations (kind, id, minted_before, expires_at) SELECT kind, id, minted_before, expires_at FROM ",
    [kind text, id text, minted_before bigint, expires_at bigint],
    " WHERE true \
     ON CONFLICT (kind, id) DO UPDATE SET \
     minted_before = CASE WHEN excluded.minted_before > revocations.minted_before \
         THEN excluded.minted_before ELSE revocations.minted_before END, \
     expires_at = CASE WHEN excluded.expires_at > revocations.expires_at \
         THEN excluded.expires_at ELSE revocations.expires_at END, \
     tx = excluded.tx"
);

macro_rules! catch_up {
    () => {
        "(SELECT value FROM revisions WHERE name = 'keys') AS keys_revision, \
         (SELECT value FROM revisions WHERE name = 'clients') AS clients_revision, \
         r.kind, r.id, r.minted_before, r.expires_at "
    };
}
/// One statement, so that the rows and the next floor are of one snapshot: a transaction still running then has an id
/// at or above the floor, and its rows are read next time. Numbers of another life of the database say nothing about this
/// one (a standby that was promoted may have lost its tail, and given the same numbers to others since): everything is
/// read again. A life is told by when the server started, and by a floor above its own.
///
/// On SQLite this process writes alone and hears of its own revocations before they are committed: past the first
/// reading there is no news of them.
pub(super) const CATCH_UP: Sql = Sql {
    sqlite: concat!(
        "SELECT 1 AS floor, 1 AS life, ",
        catch_up!(),
        "FROM (SELECT 1) AS now \
         LEFT JOIN revocations AS r \
         ON r.expires_at > CASE WHEN $1 < 1 OR $3 < 1 THEN $2 ELSE 9223372036854775807 END"
    ),
    postgres: concat!(
        "SELECT now.floor AS floor, now.life AS life, ",
        catch_up!(),
        "FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS floor, \
         (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS life) AS now \
         LEFT JOIN revocations AS r \
         ON r.tx >= CASE WHEN now.floor < $1 OR now.life <> $3 THEN 0 ELSE $1 END AND r.expires_at > $2"
    ),
};

pub(super) fn caught_up(rows: &[Row]) -> DbResult<CatchUp> {
    let first = rows.first().ok_or_else(|| DbError::Row("no answer to a question that always has one".into()))?;
    let mut revocations = Vec::with_capacity(rows.len());
    for row in rows {
        // The one row of an outer join that found nothing.
        if row.get::<Option<&str>>("kind")?.is_some() {
            revocations.push(revocation_of(row)?);
        }
    }
    Ok(CatchUp {
        revocations,
        position: Position { floor: first.get("floor")?, life: first.get("life")? },
        keys_revision: first.get("keys_revision")?,
        clients_revision: first.get("clients_revision")?,
    })
}
