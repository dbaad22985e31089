//! Opening a database: its file and lock, its migrations, its writers and readers.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::migrate::MigrateError;
use sqlx::{ConnectOptions as _, PgConnection};

use super::Store;
use super::conn::Conn;
use super::database::Database;
use super::endpoint::{BadUrl, CONNECT_TIMEOUT, Endpoint, sqlite_connection};
use super::lock::{ExclusiveLock, LockError};
use super::news::News;
use super::readers::Readers;
use super::schema::{self, Schema};
use super::writer::{Workshop, Writers};
use crate::domain::revocation::RevocationSink;
use crate::domain::session::ChainKeys;

/// Where the database is and how much may wait for it.
#[derive(Clone, Debug)]
pub struct StorageSettings {
    /// `sqlite://latchkey.db`, `sqlite:///var/lib/latchkey.db` or `postgres://user@host/name`.
    pub url: String,
    /// How many jobs may wait for each writer; one more is answered [`super::StoreError::QueueFull`].
    pub queue: usize,
}

impl StorageSettings {
    /// Deep enough for a burst, short enough that what waits is answered within a second.
    pub const DEFAULT_QUEUE: usize = 4096;

    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), queue: Self::DEFAULT_QUEUE }
    }
}

/// Why a database cannot be opened: what happened, with which value, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("database.url is of no use: {0}; write sqlite://FILE or postgres://USER@HOST/NAME")]
    Url(String),
    #[error("the database {} cannot be created: {error}; create its directory or mend its permissions", path.display())]
    Create {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("the database {} is in use by {holder}; stop it first", path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("the lock file {} cannot be written: {error}; mend its permissions", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("the database {database} does not answer: {error}; is it running, and does database.url name it rightly?")]
    Unreachable {
        database: String,
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "the database {database} was migrated by a newer Latchkey, and this version can no longer serve it (it holds \
         migration {migration}); run that version, or restore a backup from before"
    )]
    Newer { database: String, migration: i64 },
    #[error(
        "{due} migrations are due on the database {database}, and none runs through a pooler; run `latchkey migrate` with \
         the server's own address and without pooler=transaction"
    )]
    Pooled { database: String, due: usize },
    #[error("the database {database} cannot be migrated: {error}; nothing of this migration was kept")]
    Migrate {
        database: String,
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Opens the database for serving: creates what is missing, locks a SQLite file for the store's life, migrates.
///
/// `chain_keys` derives the successors of refresh tokens; `sink` is told of every revocation before its COMMIT is sent.
///
/// # Errors
/// See [`OpenError`]. Nothing is left running then.
pub async fn open(
    settings: StorageSettings,
    chain_keys: Arc<dyn ChainKeys>,
    sink: Arc<dyn RevocationSink>,
) -> Result<Arc<dyn Store>, OpenError> {
    let (endpoint, lock) = prepare(&settings.url, "latchkey serve").await?;
    let news = News::start(&endpoint);
    let workshop = Workshop { endpoint, chain_keys, sink, news: news.clone(), _lock: lock.map(Arc::new) };
    let readers = Readers::new(workshop.endpoint.clone());
    let writers = Writers::start(&workshop, settings.queue);
    Ok(Arc::new(Database::new(readers, writers, news, workshop.endpoint.dialect())))
}

/// Creates the database, if it is a file that is missing, and migrates it.
///
/// # Errors
/// See [`OpenError`]; a SQLite file that is being served is [`OpenError::Locked`].
pub async fn migrate(url: &str) -> Result<(), OpenError> {
    prepare(url, "latchkey migrate").await.map(|_| ())
}

async fn prepare(url: &str, holder: &str) -> Result<(Endpoint, Option<ExclusiveLock>), OpenError> {
    let endpoint = Endpoint::parse(url).map_err(|BadUrl(fault)| OpenError::Url(fault))?;
    match endpoint {
        Endpoint::Sqlite(path) => {
            let path = create(&path).map_err(|error| OpenError::Create { path, error })?;
            let lock = ExclusiveLock::acquire(&path, holder).map_err(|error| match error {
                LockError::Held(holder) => OpenError::Locked { path: path.clone(), holder },
                LockError::Io(path, error) => OpenError::Lock { path, error },
            })?;
            let endpoint = Endpoint::Sqlite(path.clone());
            let conn = sqlite_connection(&path, false).await.map_err(|error| unreachable(&endpoint, error))?;
            bring_up(&endpoint, Conn::Sqlite(conn)).await?;
            Ok((endpoint, Some(lock)))
        }
        Endpoint::Postgres(ref server) => {
            // Without the timeouts of everyday statements: a migration may take as long as it needs.
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, server.options.connect());
            let conn: PgConnection = match connecting.await {
                Ok(connected) => connected.map_err(|error| unreachable(&endpoint, error))?,
                Err(elapsed) => return Err(unreachable(&endpoint, elapsed)),
            };
            bring_up(&endpoint, Conn::postgres(conn, server.is_pooled)).await?;
            Ok((endpoint, None))
        }
    }
}

/// Migrates, unless a newer version has.
async fn bring_up(endpoint: &Endpoint, mut conn: Conn) -> Result<(), OpenError> {
    let mut schema = read_schema(endpoint, &mut conn).await?;
    match schema {
        // A pooler gives each step of a migration another connection, and with it not the lock that the first one took.
        Schema::Known { due: 0 } if conn.is_pooled() => {}
        Schema::Known { due } if conn.is_pooled() => return Err(OpenError::Pooled { database: endpoint.shown(), due }),
        Schema::Known { .. } => match schema::migrate(&mut conn).await {
            Ok(()) => {}
            // A newer version had the lock, and has migrated since the schema was read.
            Err(MigrateError::VersionMissing(_)) => schema = read_schema(endpoint, &mut conn).await?,
            Err(error) => return Err(OpenError::Migrate { database: endpoint.shown(), error: error.into() }),
        },
        Schema::Newer { .. } | Schema::TooNew { .. } => {}
    }
    conn.close().await;
    match schema {
        Schema::Known { .. } => Ok(()),
        Schema::Newer { migration } => {
            tracing::warn!(
                migration,
                "a newer Latchkey has migrated the database; this version serves it beside that one until it is upgraded, too"
            );
            Ok(())
        }
        Schema::TooNew { migration } => Err(OpenError::Newer { database: endpoint.shown(), migration }),
    }
}

async fn read_schema(endpoint: &Endpoint, conn: &mut Conn) -> Result<Schema, OpenError> {
    schema::read(conn).await.map_err(|error| unreachable(endpoint, error))
}

/// Creates the file where it is missing, readable to its owner alone (SQLite gives its companions the same mode), and
/// answers its one true name: the lock beside it must not depend on how the file was named.
fn create(path: &Path) -> std::io::Result<PathBuf> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    path.canonicalize()
}

pub(super) fn unreachable(
    endpoint: &Endpoint,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Unreachable { database: endpoint.shown(), error: error.into() }
}
