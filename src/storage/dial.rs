//! Making connections to a database that may be away.
//!
//! A server that starts, or stands in for another one, is asked by every node and every request at once. So where the
//! last try failed, one caller at a time tries again, and ever less often; whoever comes meanwhile is told so at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::conn::Conn;
use super::endpoint::Endpoint;
use super::sql::{DbError, DbResult};

/// The pause before the first try after a failed one. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause: how long after its return the database is noticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Makes connections of one kind.
pub(super) struct Dialer {
    pub endpoint: Endpoint,
    /// How many tries have failed since the last that did not.
    failures: AtomicU32,
    /// Who has it may try although the last try failed.
    turn: Semaphore,
}

impl Dialer {
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, failures: AtomicU32::new(0), turn: Semaphore::new(1) }
    }

    /// A connection to write with.
    pub async fn writer(&self) -> DbResult<Conn> {
        self.dial(self.endpoint.writer()).await
    }

    /// A connection to read with.
    pub async fn reader(&self) -> DbResult<Conn> {
        self.dial(self.endpoint.reader()).await
    }

    async fn dial(&self, connecting: impl Future<Output = DbResult<Conn>>) -> DbResult<Conn> {
        let failures = self.failures.load(Ordering::Relaxed);
        let _turn = if failures > 0 {
            let turn = self.turn.try_acquire().map_err(|_| DbError::Away)?;
            tokio::time::sleep(pause(failures)).await;
            Some(turn)
        } else {
            None
        };
        let connected = connecting.await;
        // Those that failed together count as one.
        let failures = if connected.is_ok() { 0 } else { failures.saturating_add(1) };
        self.failures.store(failures, Ordering::Relaxed);
        connected
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_half_a_second() {
        let pauses = [1, 2, 3, 5, 6, 7, u32::MAX].map(|failures| pause(failures).as_millis());
        assert_eq!(pauses, [20, 40, 80, 320, 500, 500, 500]);
    }

    #[tokio::test]
    async fn while_the_database_is_away_one_tries_at_a_time() {
        let endpoint = Endpoint::parse("postgres://me@127.0.0.1:1/x").unwrap_or_else(|fault| panic!("{fault:?}"));
        let dialer = Dialer::new(endpoint);
        assert!(matches!(dialer.reader().await, Err(DbError::Connect(_))));
        let (first, second) = tokio::join!(dialer.reader(), dialer.reader());
        assert!(matches!((first, second), (Err(DbError::Connect(_)), Err(DbError::Away))));

        // It is back, on SQLite as it happens.
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.db");
        std::fs::write(&path, "").unwrap();
        let back = Endpoint::Sqlite(path);
        let Dialer { failures, turn, .. } = dialer;
        let dialer = Dialer { endpoint: back, failures, turn };
        dialer.writer().await.unwrap_or_else(|error| panic!("{error}")).close().await;
        let (first, second) = tokio::join!(dialer.writer(), dialer.writer());
        assert!(first.is_ok() && second.is_ok());
    }
}
