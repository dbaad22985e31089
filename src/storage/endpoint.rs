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

/// How long PostgreSQL keeps a transaction that asks nothing of it: a node that was stopped in the middle must not hold
/// rows that the others need. Below [`LOCK_TIMEOUT_MS`], so that whoever waits for them gets them.
const IDLE_TIMEOUT_MS: &str = "1500";

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
    Postgres(Box<Server>),
}

/// A database server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub options: PgConnectOptions,
    /// Whether there is a pooler in between that gives each transaction whichever connection is free, PgBouncer in its
    /// mode `transaction`: nothing that a connection was told before counts, prepared statements among it.
    pub is_pooled: bool,
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
            return Server::parse(url).map(|server| Self::Postgres(Box::new(server)));
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
            Self::Postgres(server) => {
                let options = &server.options;
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
            Self::Postgres(server) => {
                // An answer promises durability, whatever the server's default; stronger defaults stay.
                const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                                       WHERE current_setting('synchronous_commit') IN ('off', 'local')";
                let mut conn = postgres(server).await?;
                conn.execute(DURABLE, args![]).await?;
                Ok(conn)
            }
        }
    }

    /// A connection to read with.
    pub async fn reader(&self) -> DbResult<Conn> {
        match self {
            Self::Sqlite(path) => sqlite(path, true).await,
            Self::Postgres(server) => postgres(server).await,
        }
    }
}

impl Server {
    /// The parameter `pooler` is ours; the driver reads the others.
    fn parse(url: &str) -> Result<Self, BadUrl> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (poolers, others): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|it| !it.is_empty()).partition(|it| it.starts_with("pooler="));
        let is_pooled = match poolers[..] {
            [] => false,
            ["pooler=transaction"] => true,
            [other, ..] => {
                return Err(BadUrl(format!(
                    "{other:?} means nothing here: it is pooler=transaction, once, or left out"
                )));
            }
        };
        let options = PgConnectOptions::from_str(&format!("{address}?{}", others.join("&")))
            .map_err(|error| BadUrl(error.to_string()))?
            .application_name("latchkey")
            .disable_statement_logging();
        let options = if is_pooled { options.extra_float_digits(None) } else { options };
        Ok(Self { options, is_pooled })
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

async fn postgres(server: &Server) -> DbResult<Conn> {
    let options = if server.is_pooled {
        // It takes no settings for a connection, and the role must have them: docs/operating.md.
        server.options.clone()
    } else {
        server.options.clone().options([
            ("statement_timeout", STATEMENT_TIMEOUT_MS),
            ("lock_timeout", LOCK_TIMEOUT_MS),
            ("idle_in_transaction_session_timeout", IDLE_TIMEOUT_MS),
        ])
    };
    let connecting = async {
        let conn = PgConnection::connect_with(&options).await.map_err(DbError::Connect)?;
        let mut conn = Conn::postgres(conn, server.is_pooled);
        refuse_standby(&mut conn).await?;
        Ok(conn)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(DbError::TimedOut(CONNECT_TIMEOUT)))
}

/// A standby is behind, and nobody can tell how far: a node that read from it would vouch for what is no longer so. Asked
/// once a connection, since no server becomes a standby without a restart.
async fn refuse_standby(conn: &mut Conn) -> DbResult<()> {
    let rows = conn.fetch("SELECT 1 AS found WHERE pg_is_in_recovery()", args![]).await?;
    if rows.is_empty() { Ok(()) } else { Err(DbError::Standby) }
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
        let pooled = |url: &str| match Endpoint::parse(url) {
            Ok(Endpoint::Postgres(server)) => server.is_pooled,
            other => panic!("{other:?}"),
        };
        assert!(
            pooled("postgres://me@db/l?sslmode=disable&pooler=transaction")
                && !pooled("postgres://me@db/l?sslmode=disable")
        );
        let strange = "postgres://me@db/l?pooler=session";
        for bad in ["", "latchkey.db", "sqlite://", "sqlite://:memory:", "sqlite://a?mode=ro", "mysql://x", strange] {
            assert!(Endpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
