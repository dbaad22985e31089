//! One writing transaction, and the revocations it decides.

use std::collections::BTreeMap;

use super::audit::{self, AuditRows};
use super::conn::{Answer, Conn, Interrupted, Step};
use super::endpoint::BEGIN_WRITE;
use super::revocations;
use super::sql::{DbResult, Dialect, JsonRows, Row, Sql, Value, args};
use crate::domain::audit::AuditEvent;
use crate::domain::revocation::{Revocation, RevocationSink};

/// A transaction owns its connection: dropped before its end, it takes the connection with it, and the database undoes
/// what it did.
///
/// What nobody waits for goes to the database with the next statement whose answer counts, or with COMMIT.
pub(super) struct Tx {
    conn: Conn,
    /// In the order in which they are to be carried out; BEGIN comes first.
    ahead: Vec<Step>,
    stage: Stage,
    /// What the sink must hear of before COMMIT is sent.
    decided: Vec<Revocation>,
    /// Whether something changes that other nodes hold in memory.
    is_news: bool,
}

/// How far the database has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was asked of it.
    New,
    /// It cannot even begin.
    Refused,
    Begun,
    /// COMMIT was sent, and whether it was carried out is not known.
    Committing,
}

impl Stage {
    /// After a failure that so many statements came before.
    fn after(self, done: usize) -> Self {
        match self {
            Self::New if done == 0 => Self::Refused,
            Self::New => Self::Begun,
            other => other,
        }
    }
}

impl Tx {
    /// # Errors
    /// Where the database is a server: it is not there, or the connection has died while it was idle. That a file is
    /// locked shows at the first statement, by [`Stage::Refused`].
    pub async fn begin(conn: Conn) -> DbResult<Self> {
        let begin = Step::new(BEGIN_WRITE, args![]);
        let mut tx = Self { conn, ahead: Vec::new(), stage: Stage::New, decided: Vec::new(), is_news: false };
        match tx.conn.dialect() {
            Dialect::Sqlite => tx.ahead.push(begin),
            Dialect::Postgres => drop(tx.send(begin).await?),
        }
        Ok(tx)
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Runs a statement, and answers how many rows it changed.
    pub async fn execute(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> DbResult<u64> {
        Ok(self.send(Step::new(sql, args)).await?.changed)
    }

    /// Runs a statement, and answers its rows.
    pub async fn fetch(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> DbResult<Vec<Row>> {
        Ok(self.send(Step::new(sql, args)).await?.rows)
    }

    /// Writes the rows, if there are any.
    pub fn write(&mut self, sql: impl Into<Sql>, rows: JsonRows) {
        if !rows.is_empty() {
            self.ahead.push(Step::new(sql, args![rows]));
        }
    }

    /// Writes exactly these rows, or fails as [`DbError::Contended`](super::sql::DbError::Contended): somebody has
    /// changed one since it was read.
    pub fn write_guarded(&mut self, sql: impl Into<Sql>, rows: JsonRows) {
        let count = rows.len();
        if count > 0 {
            self.ahead.push(Step::new(sql, args![rows]).changing(count));
        }
    }

    /// Sends what goes ahead, and a last statement, whose answer it is.
    async fn send(&mut self, last: Step) -> Result<Answer, Interrupted> {
        let mut steps = std::mem::take(&mut self.ahead);
        steps.push(last);
        let sent = self.conn.run(steps).await;
        self.stage = match &sent {
            Ok(_) => Stage::Begun,
            Err(interrupted) => self.stage.after(interrupted.done),
        };
        Ok(sent?.pop().unwrap_or_default())
    }

    /// Writes revocations; of equal ones the one that reaches furthest counts.
    pub fn revoke(&mut self, revocations: Vec<Revocation>) -> DbResult<()> {
        // One row per key, since no statement may touch a row twice, and in one order, so that writers never wait for
        // each other in a circle.
        let mut rows = BTreeMap::new();
        for revocation in &revocations {
            let (key, reach) = revocations::row_of(revocation);
            rows.entry(key).and_modify(|known: &mut revocations::Reach| known.extend(reach)).or_insert(reach);
        }
        let rows = rows.into_iter().map(|((kind, id), reach)| revocations::JsonRow { kind, id, reach });
        self.write(revocations::UPSERT, JsonRows::of(rows)?);
        self.is_news |= !revocations.is_empty();
        self.decided.extend(revocations);
        Ok(())
    }

    /// Notes that something changes, beside revocations, that other nodes hold in memory: keys, clients.
    pub fn make_news(&mut self) {
        self.is_news = true;
    }

    pub fn is_news(&self) -> bool {
        self.is_news
    }

    /// Writes entries of the audit trail.
    pub fn record(&mut self, events: &[AuditEvent]) -> DbResult<()> {
        let mut rows = AuditRows::default();
        for event in events {
            rows.push(event)?;
        }
        self.record_rows(rows);
        Ok(())
    }

    pub fn record_rows(&mut self, rows: AuditRows) {
        self.write(audit::INSERT, rows.into_json());
    }

    /// Tells the sink what was decided, then commits. The sink may hear of what is undone after all, where a statement
    /// before COMMIT fails.
    pub async fn commit(&mut self, sink: &dyn RevocationSink) -> DbResult<()> {
        if !self.decided.is_empty() {
            sink.decided(&self.decided);
        }
        let before = self.ahead.len();
        if self.stage == Stage::New && before < 2 {
            return Ok(()); // Nothing was asked, and nothing is to be written.
        }
        let Err(Interrupted { done, error }) = self.send(Step::new("COMMIT", args![])).await else { return Ok(()) };
        if done == before {
            self.stage = Stage::Committing;
        }
        Err(error)
    }

    /// The connection of a transaction that is committed.
    pub fn into_conn(self) -> Conn {
        self.conn
    }

    /// Undoes everything. The connection comes back if it is still good.
    pub async fn roll_back(mut self) -> Option<Conn> {
        if self.stage == Stage::New {
            return Some(self.conn);
        }
        self.conn.run(vec![Step::new("ROLLBACK", args![])]).await.ok().map(|_| self.conn)
    }
}
