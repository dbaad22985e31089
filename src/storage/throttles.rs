//! The failures of logins, counted once for all nodes that share a PostgreSQL: attempts are reserved and settled many at
//! a time in one transaction.
//!
//! What becomes of an attempt is decided by [`failures`], at the moment of the database's clock at which all its rows are
//! held: it does not matter how the clocks of the nodes differ. The table is not logged, so such a transaction writes
//! nothing that its COMMIT would have to wait for, neither for a disk nor for a standby. What is written with others that
//! do wait goes elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::group::GroupJob;
use super::nodes::now;
use super::sql::{DbError, DbResult, Hex, JsonRows, Sql, args, from_json};
use super::tx::Tx;
use super::writer::Decision;
use crate::domain::failures::{self, Failures, LONGEST_ATTEMPT, Outcome, Rule, Subject};
use crate::domain::sources::Offset;
use crate::domain::time::Timestamp;

/// Rows are to be forgotten at whole minutes: most changes then leave the index as it is.
const FORGOTTEN_AT: Duration = Duration::from_secs(60);

/// An attempt at a password, or at a client secret that a person chose.
#[derive(Clone, Debug)]
pub struct ReserveAttempt {
    /// All different.
    pub subjects: Vec<Subject>,
    /// Of the caller's clock, whose time counts as far as it is not the database's.
    pub offset: Offset,
}

/// What an attempt came to that was let in.
#[derive(Clone, Debug)]
pub struct SettleAttempt {
    pub subjects: Vec<Subject>,
    /// As the reservation answered it.
    pub until: Timestamp,
    pub outcome: Outcome,
    pub offset: Offset,
}

/// Locks the rows, in the order given; those that are missing are made. The moment of the last one is one at which all
/// are held.
const HOLD: Sql = from_json!(
    "INSERT INTO login_failures (key, state, forget_at) SELECT key, '{}', 0 FROM ",
    [key bytea],
    concat!(
        " WHERE true ON CONFLICT (key) DO UPDATE SET forget_at = login_failures.forget_at RETURNING key, state, ",
        now!(),
        " AS now"
    )
);

const WRITE: Sql = from_json!(
    "UPDATE login_failures SET state = j.state, forget_at = j.forget_at FROM ",
    [key bytea, state text, forget_at bigint],
    " WHERE login_failures.key = j.key"
);

const FORGET: Sql = from_json!("DELETE FROM login_failures USING ", [key bytea], " WHERE login_failures.key = j.key");

const SWEEP: &str = concat!(
    "DELETE FROM login_failures WHERE key IN (SELECT key FROM login_failures WHERE forget_at <= ",
    now!(),
    " LIMIT $1 FOR UPDATE SKIP LOCKED)"
);

#[derive(Serialize)]
struct JsonKey<'a> {
    key: Hex<'a>,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    key: Hex<'a>,
    state: String,
    forget_at: i64,
}

/// Decides the attempts of the batch, in arrival order.
pub(super) async fn carry_out(jobs: &mut [GroupJob], tx: &mut Tx) -> DbResult<()> {
    let mut keys: Vec<&Subject> = Vec::new();
    for job in &*jobs {
        match job {
            GroupJob::Reserve(job) => keys.extend(&job.request().subjects),
            GroupJob::Settle(job) => keys.extend(&job.request().subjects),
            _ => {}
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let mut book = Book::hold(tx, keys.into_iter().map(|subject| subject.key).collect()).await?;
    for job in jobs {
        match job {
            GroupJob::Reserve(job) => {
                let ReserveAttempt { subjects, offset } = job.request();
                let decide = |held: &mut [_], now| failures::reserve(held, now, Some(LONGEST_ATTEMPT));
                let verdict = book.change(subjects, *offset, decide)?;
                job.decide(verdict);
            }
            GroupJob::Settle(job) => {
                let SettleAttempt { subjects, until, outcome, offset } = job.request();
                book.change(subjects, *offset, |held, now| failures::settle(held, *until, *outcome, now))?;
                job.decide(());
            }
            _ => {}
        }
    }
    book.write(tx)
}

/// Removes rows in which nothing counts any more.
pub(super) async fn sweep(tx: &mut Tx, limit: u32) -> DbResult<Decision<u64>> {
    Ok(Decision::Keep(tx.execute(SWEEP, args![limit]).await?))
}

struct Held {
    read: Failures,
    current: Failures,
    /// When it was last looked at.
    seen: Timestamp,
}

/// The rows of a batch, which nobody else can change.
struct Book {
    /// When all of them were held, by the database's clock.
    held_at: Timestamp,
    rows: BTreeMap<[u8; 32], Held>,
}

impl Book {
    async fn hold(tx: &mut Tx, mut keys: Vec<[u8; 32]>) -> DbResult<Self> {
        // In one order, so that no two nodes wait for each other in a circle.
        keys.sort_unstable();
        keys.dedup();
        let keys = JsonRows::of(keys.iter().map(|key| JsonKey { key: Hex(key) }))?;
        let mut book = Self { held_at: Timestamp::MIN, rows: BTreeMap::new() };
        for row in tx.fetch(HOLD, args![keys]).await? {
            book.held_at = book.held_at.max(row.time("now")?);
            let read: Failures = row.json("state")?;
            book.rows.insert(row.hash("key")?, Held { current: read.clone(), read, seen: Timestamp::MIN });
        }
        Ok(book)
    }

    fn change<T>(
        &mut self,
        subjects: &[Subject],
        offset: Offset,
        change: impl FnOnce(&mut [(Rule, Failures)], Timestamp) -> T,
    ) -> DbResult<T> {
        let now = offset.apply(self.held_at);
        let mut states = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let missing = || DbError::Row("a row of login_failures was neither found nor made".into());
            let held = self.rows.get(&subject.key).ok_or_else(missing)?;
            states.push((subject.rule, held.current.clone()));
        }
        let outcome = change(&mut states, now);
        for (subject, (_, state)) in subjects.iter().zip(states) {
            if let Some(held) = self.rows.get_mut(&subject.key) {
                (held.current, held.seen) = (state, now);
            }
        }
        Ok(outcome)
    }

    fn write(self, tx: &mut Tx) -> DbResult<()> {
        let mut written = JsonRows::default();
        let mut forgotten = JsonRows::default();
        for (key, Held { read, current, seen }) in &self.rows {
            if current.is_empty(*seen) {
                forgotten.push(&JsonKey { key: Hex(key) })?;
            } else if current != read {
                let state = serde_json::to_string(current).map_err(|error| DbError::Row(error.to_string()))?;
                let forget_at = current.forget_at().round_up(FORGOTTEN_AT).millis();
                written.push(&JsonRow { key: Hex(key), state, forget_at })?;
            }
        }
        tx.write_guarded(WRITE, written);
        tx.write(FORGET, forgotten);
        Ok(())
    }
}
