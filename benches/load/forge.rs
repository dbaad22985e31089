//! Sessions by the thousand and million: rows written directly, as logins would have left them, and refresh tokens for
//! them, made with the service's own keys. Session `n` is the same on every run.

use std::fmt::Write as _;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use latchkey::domain::ids::SessionId;
use latchkey::domain::secret::{Secret32, sha256};
use latchkey::domain::session::Successor;
use latchkey::keys::Snapshot;
use latchkey::tokens::refresh;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::goals::Store;
use super::place::Place;

/// Rows of one statement, and of one transaction.
const STATEMENT: u64 = 500;
const TRANSACTION: u64 = 100_000;

/// From so many on, indexes are made anew instead of row by row.
const MANY: u64 = 200_000;

/// Makes the refresh tokens.
#[derive(Clone)]
pub struct Forge(Arc<Snapshot>);

impl Forge {
    pub fn of(place: &Place) -> Self {
        Self(Arc::clone(&place.keys))
    }

    /// The first refresh token of session `n`.
    pub fn token(&self, n: u64) -> anyhow::Result<String> {
        let first = self.first(n)?;
        Ok(refresh::encode(&self.0, &first)?.expose().to_owned())
    }

    fn first(&self, n: u64) -> anyhow::Result<Successor> {
        refresh::first(&self.0, id(n), secret(n)).context("the service has no refresh keys")
    }
}

fn drawn(what: u8, n: u64) -> [u8; 32] {
    let mut name = [what; 9];
    name[1..].copy_from_slice(&n.to_be_bytes());
    sha256(&name)
}

fn id(n: u64) -> SessionId {
    let mut id = [0; 16];
    id.copy_from_slice(&drawn(1, n)[..16]);
    SessionId::from_bytes(id)
}

fn secret(n: u64) -> Secret32 {
    Secret32::new(drawn(2, n))
}

/// What all forged rows have in common: they are copies of one session that a login opened.
const COPIED: &str = "client_id, sub, scope, audience, auth_time, started_at, last_used_at, idle_expires_at, \
                      absolute_expires_at, generation, key_version, rotated_at, retry_seen, late_streak, narrowed, \
                      sign_in, offline, claims";

const TIMES: [&str; 5] = ["auth_time", "started_at", "last_used_at", "idle_expires_at", "absolute_expires_at"];

fn sqlite_file(place: &Place) -> &str {
    place.url.trim_start_matches("sqlite://")
}

/// Either database, to write rows into past the service.
pub enum Hands {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Hands {
    pub async fn on(place: &Place) -> anyhow::Result<Self> {
        Ok(match place.store {
            Store::Sqlite => {
                let options = SqliteConnectOptions::new().filename(sqlite_file(place));
                // What is written here may be lost: the run would be, too.
                let options = options.synchronous(SqliteSynchronous::Off).pragma("cache_size", "-1000000");
                Self::Sqlite(options.disable_statement_logging().connect().await?)
            }
            Store::Postgres => Self::Postgres(PgConnection::connect(&place.url).await?),
        })
    }

    pub async fn execute(&mut self, text: String) -> anyhow::Result<u64> {
        let text = AssertSqlSafe(text);
        Ok(match self {
            Self::Sqlite(conn) => conn.execute(text).await?.rows_affected(),
            Self::Postgres(conn) => conn.execute(text).await?.rows_affected(),
        })
    }

    pub async fn count(&mut self, text: &'static str) -> anyhow::Result<i64> {
        Ok(match self {
            Self::Sqlite(conn) => conn.fetch_one(text).await?.try_get(0)?,
            Self::Postgres(conn) => conn.fetch_one(text).await?.try_get(0)?,
        })
    }

    pub async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(conn) => conn.close().await?,
            Self::Postgres(conn) => conn.close().await?,
        }
        Ok(())
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let hex = bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        match self {
            Self::Sqlite(_) => format!("X'{hex}'"),
            Self::Postgres(_) => format!(r"'\x{hex}'::bytea"),
        }
    }

    /// Writes the sessions `from..to` of a client, as copies of one that a login has opened, but so much older.
    ///
    /// # Errors
    /// The client has no session to copy.
    pub async fn forge(&mut self, client: &str, from: u64, to: u64, age: Duration) -> anyhow::Result<()> {
        self.execute("DROP TABLE IF EXISTS pattern".into()).await?;
        let pattern = format!(
            "CREATE TEMPORARY TABLE pattern AS SELECT {COPIED} FROM sessions WHERE client_id = '{client}' \
             AND generation = 0 AND ended_at IS NULL ORDER BY started_at LIMIT 1"
        );
        self.execute(pattern).await?;
        ensure!(self.count("SELECT count(*) FROM pattern").await? == 1, "{client} has no session to copy");
        let age = age.as_millis();
        let aged = TIMES.map(|time| format!("{time} = {time} - {age}")).join(", ");
        self.execute(format!("UPDATE pattern SET {aged}")).await?;
        let indexes = if to - from < MANY { Vec::new() } else { self.drop_indexes().await? };
        self.insert(from, to).await?;
        for index in indexes {
            self.execute(index).await?;
        }
        Ok(())
    }

    /// Drops the indexes of the table, and answers what makes them again.
    async fn drop_indexes(&mut self) -> anyhow::Result<Vec<String>> {
        const SQLITE: &str = "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'sessions' AND type = 'index' \
                              AND sql IS NOT NULL";
        const POSTGRES: &str = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'sessions' \
                                AND indexname <> 'sessions_pkey'";
        let indexes: Vec<(String, String)> = match self {
            Self::Sqlite(conn) => sqlx::query_as(SQLITE).fetch_all(conn).await?,
            Self::Postgres(conn) => sqlx::query_as(POSTGRES).fetch_all(conn).await?,
        };
        for (name, _) in &indexes {
            self.execute(format!("DROP INDEX {name}")).await?;
        }
        Ok(indexes.into_iter().map(|(_, text)| text).collect())
    }

    /// Leaves the table as a service that has run for a while would: in order, and on the disk. What is still to be
    /// written out would be waited for by the first durable commits.
    pub async fn settle(&mut self, place: &Place) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(_) => {
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)".into()).await?;
                File::open(sqlite_file(place))?.sync_all()?;
            }
            Self::Postgres(_) => {
                self.execute("VACUUM ANALYZE sessions".into()).await?;
                self.execute("CHECKPOINT".into()).await?;
            }
        }
        Ok(())
    }

    async fn insert(&mut self, from: u64, to: u64) -> anyhow::Result<()> {
        let mut begin = from;
        while begin < to {
            let end = to.min(begin + TRANSACTION);
            // In the order of their ids, for they are drawn from everywhere.
            let mut rows: Vec<(SessionId, u64)> = (begin..end).map(|n| (id(n), n)).collect();
            rows.sort_unstable();
            self.execute("BEGIN".into()).await?;
            for rows in rows.chunks(STATEMENT as usize) {
                let mut text = format!(
                    "INSERT INTO sessions (id, secret_hash, {COPIED}) SELECT j.column1, j.column2, {COPIED} \
                     FROM pattern, (VALUES "
                );
                for (index, (id, n)) in rows.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let hash = self.blob(&secret(*n).sha256());
                    write!(text, "{comma}('{id}',{hash})")?;
                }
                text.push_str(") AS j");
                self.execute(text).await?;
            }
            self.execute("COMMIT".into()).await?;
            begin = end;
        }
        Ok(())
    }
}
