//! Word between nodes that something has changed which others hold in memory: PostgreSQL's NOTIFY, and a connection that
//! listens for it.
//!
//! Word only makes a catch-up come early, and polling comes anyway: behind a pooler that passes no notifications on,
//! nothing is heard and nothing is wrong. So it is sent after the commit, by a connection of its own, and may be lost.
//! Within a transaction it would make all commits of the server wait for one lock, from before their fsync until after.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::conn::Conn;
use super::endpoint::{CONNECT_TIMEOUT, Endpoint};
use super::sql::{DbError, DbResult, args};

/// What nodes listen on. Two services in one database hear each other, and look once more than they must.
const CHANNEL: &str = "latchkey";

/// How long is waited after each word: what comes meanwhile is told together.
const PAUSE: Duration = Duration::from_millis(5);

/// How long is waited before the next try to listen.
const RETRY: Duration = Duration::from_secs(1);

/// Tells, and is told. When the last copy goes, so do its connections.
#[derive(Clone, Default)]
pub(super) struct News {
    wires: Wires,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Clone, Default)]
struct Wires {
    said: Arc<Notify>,
    heard: Arc<Notify>,
    /// The server's process that tells for this node: its own word is no news to it.
    teller: Arc<AtomicU32>,
}

impl News {
    /// Begins to tell and to listen, where the database is a server.
    pub fn start(endpoint: &Endpoint) -> Self {
        let news = Self::default();
        if let Endpoint::Postgres(server) = endpoint {
            let mut tasks = news.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(news.wires.clone().keep_telling(endpoint.clone()));
            // A pooler passes nothing on.
            if !server.is_pooled {
                tasks.spawn(news.wires.clone().keep_listening(server.options.clone()));
            }
            drop(tasks);
        }
        news
    }

    /// Has the others told, soon.
    pub fn tell(&self) {
        self.wires.said.notify_one();
    }

    /// Returns when another node has told something since the last time, or may have done so unheard.
    pub async fn heard(&self) {
        self.wires.heard.notified().await;
    }

    /// Neither tells nor listens any more.
    pub fn close(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Wires {
    async fn keep_telling(self, endpoint: Endpoint) {
        let mut conn = None;
        loop {
            self.said.notified().await;
            match self.tell_on(&endpoint, conn.take()).await {
                Ok(used) => conn = Some(used),
                // The others poll.
                Err(error) => tracing::debug!(%error, "other nodes were not told of a change"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn tell_on(&self, endpoint: &Endpoint, conn: Option<Conn>) -> DbResult<Conn> {
        const TEXT: &str = "SELECT pg_backend_pid() AS pid, pg_notify($1, '')::text AS told";
        let mut conn = match conn {
            Some(conn) => conn,
            None => endpoint.reader().await?,
        };
        let told = conn.fetch(TEXT, args![CHANNEL]).await?;
        if let Some(row) = told.first() {
            self.teller.store(row.get::<i32>("pid")?.unsigned_abs(), Ordering::Relaxed);
        }
        Ok(conn)
    }

    async fn keep_listening(self, options: PgConnectOptions) {
        let mut is_deaf = false;
        loop {
            let Err(error) = self.listen(&options, &mut is_deaf).await;
            if !is_deaf {
                tracing::warn!(%error, "changes of other nodes are not heard of, and found by polling alone");
            }
            is_deaf = true;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Listens until the connection ends.
    async fn listen(&self, options: &PgConnectOptions, is_deaf: &mut bool) -> DbResult<Infallible> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .max_lifetime(None)
            .idle_timeout(None);
        let pool = pool.connect_with(options.clone()).await.map_err(DbError::Connect)?;
        let mut listener = PgListener::connect_with(&pool).await.map_err(DbError::Connect)?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await.map_err(DbError::Connect)?;
        if std::mem::take(is_deaf) {
            tracing::info!("changes of other nodes are heard of again");
        }
        // What was told before.
        self.heard.notify_one();
        while let Some(word) = listener.try_recv().await.map_err(DbError::Connect)? {
            if word.process_id() != self.teller.load(Ordering::Relaxed) {
                self.heard.notify_one();
            }
        }
        Err(DbError::Connect(sqlx::Error::WorkerCrashed))
    }
}
