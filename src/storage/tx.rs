//! One writing transaction, and the revocations it decides.

use std::collections::BTreeMap;

use super::audit::AuditRows;
use super::endpoint::BEGIN_WRITE;
use super::revocations;
use super::sql::{Conn, DbResult, JsonRows, Row, Sql, Value, args};
use crate::domain::audit::AuditEvent;
use crate::domain::revocation::{Revocation, RevocationSink};

/// A transaction owns its connection: dropped before its end, it takes the connection with it, and the database undoes
/// what it did.
pub(super) struct Tx {
    conn: Conn,
    /// What the sink must hear of before COMMIT is sent.
    decided: Vec<Revocation>,
}

impl Tx {
    pub async fn begin(mut conn: Conn) -> DbResult<Self> {
        conn.execute(BEGIN_WRITE, args![]).await?;
        Ok(Self { conn, decided: Vec::new() })
    }

    pub async fn execute(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> DbResult<u64> {
        self.conn.execute(sql, args).await
    }

    pub async fn fetch(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> DbResult<Vec<Row>> {
        self.conn.fetch(sql, args).await
    }

    /// Writes revocations; of equal ones the one that reaches furthest counts.
    pub async fn revoke(&mut self, revocations: Vec<Revocation>) -> DbResult<()> {
        if revocations.is_empty() {
            return Ok(());
        }
        // One row per key, since no statement may touch a row twice, and in one order, so that writers never wait for
        // each other in a circle.
        let mut rows = BTreeMap::new();
        for revocation in &revocations {
            let (key, reach) = revocations::row_of(revocation);
            rows.entry(key).and_modify(|known: &mut revocations::Reach| known.extend(reach)).or_insert(reach);
        }
        let rows = rows.into_iter().map(|((kind, id), reach)| revocations::JsonRow { kind, id, reach });
        let rows = JsonRows::of(rows)?;
        self.execute(revocations::UPSERT, args![rows]).await?;
        self.decided.extend(revocations);
        Ok(())
    }

    /// Writes entries of the audit trail.
    pub async fn record(&mut self, events: &[AuditEvent]) -> DbResult<()> {
        let mut rows = AuditRows::default();
        for event in events {
            rows.push(event)?;
        }
        self.record_rows(rows).await
    }

    pub async fn record_rows(&mut self, rows: AuditRows) -> DbResult<()> {
        if !rows.is_empty() {
            self.execute(super::audit::INSERT, args![rows.into_json()]).await?;
        }
        Ok(())
    }

    /// Tells the sink what was decided, then commits.
    pub async fn commit(mut self, sink: &dyn RevocationSink) -> DbResult<Conn> {
        if !self.decided.is_empty() {
            sink.decided(&self.decided);
        }
        self.conn.execute("COMMIT", args![]).await?;
        Ok(self.conn)
    }

    /// Undoes everything. The connection comes back if it is still good.
    pub async fn roll_back(mut self) -> Option<Conn> {
        self.conn.execute("ROLLBACK", args![]).await.ok().map(|_| self.conn)
    }
}
