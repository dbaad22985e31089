//! A look at a database from outside, for `latchkey doctor`: it changes nothing and takes no lock.

use std::collections::BTreeSet;

use sqlx::migrate::Migrator;

use super::OpenError;
use super::conn::Conn;
use super::endpoint::{BadUrl, Endpoint};
use super::open::{POSTGRES_MIGRATIONS, SQLITE_MIGRATIONS, unreachable};
use super::sql::{DbResult, Dialect, Sql, args};
use crate::domain::time::Timestamp;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// How many migrations the next start or `latchkey migrate` will run.
    pub migrations_due: usize,
    /// Whether a newer program has migrated it: this one must not touch it.
    pub is_newer: bool,
    /// The database server's wall clock; `None` where it is this machine's.
    pub clock: Option<Timestamp>,
}

/// Looks at the database that the URL names, which must exist.
///
/// # Errors
/// The URL is of no use, or the database does not answer.
pub async fn inspect(url: &str) -> Result<Inspection, OpenError> {
    let endpoint = Endpoint::parse(url).map_err(|BadUrl(fault)| OpenError::Url(fault))?;
    let mut conn = endpoint.reader().await.map_err(|error| unreachable(&endpoint, error))?;
    let inspection = look(&mut conn).await.map_err(|error| unreachable(&endpoint, error));
    conn.close().await;
    inspection
}

async fn look(conn: &mut Conn) -> DbResult<Inspection> {
    let (migrations, clock): (&Migrator, _) = match conn.dialect() {
        Dialect::Sqlite => (&SQLITE_MIGRATIONS, None),
        Dialect::Postgres => (&POSTGRES_MIGRATIONS, Some(server_clock(conn).await?)),
    };
    let known: BTreeSet<i64> = migrations.iter().map(|migration| migration.version).collect();
    let applied = applied(conn).await?;
    Ok(Inspection {
        migrations_due: known.difference(&applied).count(),
        is_newer: applied.difference(&known).next().is_some(),
        clock,
    })
}

async fn server_clock(conn: &mut Conn) -> DbResult<Timestamp> {
    const TEXT: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";
    conn.fetch(TEXT, args![]).await?.first().map_or(Ok(Timestamp::MIN), |row| row.time("now"))
}

async fn applied(conn: &mut Conn) -> DbResult<BTreeSet<i64>> {
    const IS_MIGRATED: Sql = Sql {
        sqlite: "SELECT name AS found FROM sqlite_master WHERE name = '_sqlx_migrations'",
        postgres: "SELECT relname::text AS found FROM pg_class \
                   WHERE relname = '_sqlx_migrations' AND relnamespace = current_schema()::regnamespace",
    };
    if conn.fetch(IS_MIGRATED, args![]).await?.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = conn.fetch("SELECT version FROM _sqlx_migrations WHERE success", args![]).await?;
    rows.iter().map(|row| row.get("version")).collect()
}
