//! Where the database is and how a connection to it is made.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::conn::Conn;
use super::sql::{DbError, DbResult, Dialect, Sql, args};

/// How long a connection may take to be made, and a caller may wait for a free one.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long PostgreSQL may take for a statement, and for its locks. Below [`DEADLINE`], so that its own word is heard.
const STATEMENT_TIMEOUT_MS: &str = "3000";
const LOCK_TIMEOUT_MS: &str = "2000";

/// How long a whole transaction over the network may take before its connection is given up. A file has none: whoever
/// gives up on a disk gains nothing.
const DEADLINE: Duration = Duration::from_secs(4);

/// How long a statement waits for another process (a backup, a shell) that has locked the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many pages SQLite's log may have before a commit folds it into the file: four times what SQLite lets come
/// together, so that the [`Checkpointer`](super::checkpoint::Checkpointer) has nearly always done it before.
const AUTOCHECKPOINT: &str = "4000";

/// A database, as connections are made to it.
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// What is wrong with a `database.url`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadUrl(pub String);

impl Endpoint {
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return match path {
                "" => Err(BadUrl("it names no file".into())),
                ":memory:" => Err(BadUrl("a database in memory would lose every session; name a file".into())),
                path if path.contains('?') => Err(BadUrl("options after '?' are not supported".into())),
                path => Ok(Self::Sqlite(PathBuf::from(path))),
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(url).map_err(|error| BadUrl(error.to_string()))?;
            return Ok(Self::Postgres(Box::new(options.application_name("latchkey").disable_statement_logging())));
        }
        Err(BadUrl("it begins with neither sqlite:// nor postgres://".into()))
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The database's name for people; never its password.
    pub fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(options) => {
                let (user, host, port) = (options.get_username(), options.get_host(), options.get_port());
                format!("postgres://{user}@{host}:{port}/{}", options.get_database().unwrap_or(user))
            }
        }
    }

    /// How long a transaction may take, where giving up makes sense.
    pub fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(_) => Some(DEADLINE),
        }
    }

    /// A connection to write with.
    pub async fn writer(&self) -> DbResult<Conn> {
        match self {
            Self::Sqlite(path) => sqlite(path, false).await,
            Self::Postgres(options) => {
                let mut conn = postgres(options).await?;
                // An answer promises durability, whatever the server's default; stronger defaults stay.
                const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                                       WHERE current_setting('synchronous_commit') IN ('off', 'local')";
                conn.execute(DURABLE, args![]).await?;
                Ok(conn)
            }
        }
    }

    /// A connection to read with.
    pub async fn reader(&self) -> DbResult<Conn> {
        match self {
            Self::Sqlite(path) => sqlite(path, true).await,
            Self::Postgres(options) => postgres(options).await,
        }
    }
}

async fn sqlite(path: &Path, read_only: bool) -> DbResult<Conn> {
    sqlite_connection(path, read_only).await.map(Conn::Sqlite).map_err(DbError::Connect)
}

/// A connection with everything that durability and integrity ask of SQLite.
pub(super) async fn sqlite_connection(path: &Path, read_only: bool) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .read_only(read_only)
        .disable_statement_logging();
    let options = if read_only {
        options.pragma("query_only", "on")
    } else {
        options.pragma("wal_autocheckpoint", AUTOCHECKPOINT)
    };
    options.connect().await
}

async fn postgres(options: &PgConnectOptions) -> DbResult<Conn> {
    let options =
        options.clone().options([("statement_timeout", STATEMENT_TIMEOUT_MS), ("lock_timeout", LOCK_TIMEOUT_MS)]);
    let connecting = PgConnection::connect_with(&options);
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(conn) => conn.map(|conn| Conn::Postgres(Box::new(conn))).map_err(DbError::Connect),
        Err(_) => Err(DbError::TimedOut(CONNECT_TIMEOUT)),
    }
}

/// Begins a writing transaction. On SQLite it takes the write lock at once: one that reads first and writes later would
/// meet SQLITE_BUSY where no timeout helps.
pub(super) const BEGIN_WRITE: Sql = Sql { sqlite: "BEGIN IMMEDIATE", postgres: "BEGIN" };

/// Begins a transaction whose statements all see the same moment.
pub(super) const BEGIN_SNAPSHOT: Sql =
    Sql { sqlite: "BEGIN", postgres: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_file_or_a_server_and_shows_no_password() {
        let relative = Endpoint::parse("sqlite://latchkey.db").map(|it| it.shown());
        assert_eq!(relative, Ok("latchkey.db".into()));
        assert_eq!(Endpoint::parse("sqlite:///var/lib/l.db").map(|it| it.shown()), Ok("/var/lib/l.db".into()));
        let server = Endpoint::parse("postgres://me:pAss@db:5433/latchkey").map(|it| it.shown());
        assert_eq!(server, Ok("postgres://me@db:5433/latchkey".into()));
        for bad in ["", "latchkey.db", "sqlite://", "sqlite://:memory:", "sqlite://a?mode=ro", "mysql://x"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
