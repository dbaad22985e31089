//! Connections that only read, kept for reuse.
//!
//! sqlx's own pool asks a connection whether it lives on every return, which costs as much as the read. Here a
//! connection is used as it is; the first error that says it is dead drops all idle ones, and the read, which changed
//! nothing, is tried once more on a fresh one.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::conn::{Conn, Step};
use super::dial::Dialer;
use super::endpoint::{BEGIN_SNAPSHOT, CONNECT_TIMEOUT, Endpoint};
use super::sql::{DbError, DbResult, Dialect, Row, Sql, Value, args};

/// How many reads run at once. SQLite's are calls into the same process; PostgreSQL's wait for the network.
const SQLITE_READERS: usize = 4;
const POSTGRES_READERS: usize = 8;

pub(super) struct Readers {
    dialer: Dialer,
    permits: Semaphore,
    idle: Mutex<Vec<Conn>>,
}

impl Readers {
    pub fn new(endpoint: Endpoint) -> Self {
        let count = match endpoint.dialect() {
            Dialect::Sqlite => SQLITE_READERS,
            Dialect::Postgres => POSTGRES_READERS,
        };
        let idle = Mutex::new(Vec::with_capacity(count));
        Self { dialer: Dialer::new(endpoint), permits: Semaphore::new(count), idle }
    }

    /// One statement, which sees one moment.
    pub async fn fetch(&self, sql: impl Into<Sql>, args: Vec<Value>) -> DbResult<Vec<Row>> {
        let answers = self.read(&[(sql.into(), args)]).await?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }

    /// Several statements that all see the same moment.
    pub async fn fetch_snapshot(&self, statements: &[(Sql, Vec<Value>)]) -> DbResult<Vec<Vec<Row>>> {
        self.read(statements).await
    }

    async fn read(&self, statements: &[(Sql, Vec<Value>)]) -> DbResult<Vec<Vec<Row>>> {
        if statements.iter().any(|(_, args)| args.iter().any(Value::finds_nothing)) {
            return Ok(statements.iter().map(|_| Vec::new()).collect());
        }
        // A closed semaphore and a crowded one come to the same: no connection.
        let waiting = tokio::time::timeout(CONNECT_TIMEOUT, self.permits.acquire());
        let Ok(Ok(_permit)) = waiting.await else { return Err(DbError::TimedOut(CONNECT_TIMEOUT)) };
        match self.attempt(statements).await {
            Err(DbError::Sql(error)) => {
                let error = DbError::Sql(error);
                if !error.breaks_connection() {
                    return Err(error);
                }
                // What broke one connection (a restarted server) has broken the idle ones.
                self.forget_idle();
                self.attempt(statements).await
            }
            // A server whose machine is gone says nothing on the others either.
            Err(error @ DbError::TimedOut(_)) => {
                self.forget_idle();
                Err(error)
            }
            answer => answer,
        }
    }

    fn forget_idle(&self) {
        drop(std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner)));
    }

    /// A connection returns to the idle ones unless it broke; one whose caller went away in the middle is dropped.
    async fn attempt(&self, statements: &[(Sql, Vec<Value>)]) -> DbResult<Vec<Vec<Row>>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => self.dialer.reader().await?,
        };
        let reading = run(&mut conn, statements);
        let answer = match self.dialer.endpoint.deadline() {
            Some(deadline) => tokio::time::timeout(deadline, reading).await.unwrap_or(Err(DbError::TimedOut(deadline))),
            None => reading.await,
        };
        if answer.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
        answer
    }

    /// Lets no further read begin, and closes the idle connections.
    pub async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for conn in idle {
            conn.close().await;
        }
    }
}

async fn run(conn: &mut Conn, statements: &[(Sql, Vec<Value>)]) -> DbResult<Vec<Vec<Row>>> {
    let reads = statements.iter().map(|(sql, args)| Step::new(*sql, args.clone()));
    let alone = statements.len() == 1 && !conn.is_pooled();
    let begin = (!alone).then(|| Step::new(BEGIN_SNAPSHOT, args![]));
    let commit = (!alone).then(|| Step::new("COMMIT", args![]));
    let ahead = usize::from(begin.is_some());
    let steps = begin.into_iter().chain(reads).chain(commit).collect();
    let answers = conn.run(steps).await?;
    Ok(answers.into_iter().skip(ahead).take(statements.len()).map(|answer| answer.rows).collect())
}
