//! The table of logouts that clients are still to hear of (OpenID Connect Back-Channel Logout 1.0).
//!
//! A row is written in the transaction that ends its session, so that no crash loses one. Whoever takes it moves its due
//! time first, by a guarded statement: one node tells the client, and another one only where that node was gone too long.

use super::readers::Readers;
use super::sql::{DbResult, JsonRows, Row, Sql, args};
use super::tx::Tx;
use super::writer::Decision;
use crate::domain::audit::AuditEvent;
use crate::domain::ids::{ClientId, SessionId, Sub};
use crate::domain::logout::LogoutDelivery;
use crate::domain::time::Timestamp;

/// When a client is tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryLogout {
    pub now: Timestamp,
    pub due_at: Timestamp,
    /// Until when what else is due for this client waits: it will meet the same, and must not keep others waiting.
    pub others_due_at: Timestamp,
}

macro_rules! enqueue {
    ($ids:literal, $uri:literal) => {
        concat!(
            "INSERT INTO logout_deliveries (sid, client_id, sub, ended_at, due_at, attempts) \
             SELECT sessions.id, sessions.client_id, sessions.sub, sessions.ended_at, sessions.ended_at, 0 \
             FROM sessions JOIN clients ON clients.client_id = sessions.client_id WHERE sessions.id ",
            $ids,
            " AND sessions.ended_at IS NOT NULL AND sessions.sign_in IS NOT NULL \
             AND ' ' || sessions.scope || ' ' LIKE '% openid %' AND ",
            $uri,
            " IS NOT NULL ON CONFLICT (sid) DO NOTHING"
        )
    };
}

const ENQUEUE: Sql = Sql {
    sqlite: enqueue!("IN (SELECT value FROM json_each($1))", "clients.body->>'backchannel_logout_uri'"),
    postgres: enqueue!(
        "= ANY (ARRAY(SELECT json_array_elements_text($1::json)))",
        "clients.body::json->>'backchannel_logout_uri'"
    ),
};

/// Notes the sessions, which have just been ended, that a client is to hear of: those it got an ID token with.
pub(super) fn enqueue(tx: &mut Tx, ended: impl IntoIterator<Item = SessionId>) -> DbResult<()> {
    tx.write(ENQUEUE, JsonRows::of(ended)?);
    Ok(())
}

/// Whether any is due: asked before a writer is troubled.
pub(super) async fn any_due(readers: &Readers, now: Timestamp) -> DbResult<bool> {
    const TEXT: &str = "SELECT 1 AS found FROM logout_deliveries WHERE due_at <= $1 LIMIT 1";
    Ok(!readers.fetch(TEXT, args![now]).await?.is_empty())
}

macro_rules! due {
    () => {
        "SELECT sid FROM logout_deliveries WHERE due_at <= $1 ORDER BY due_at, sid LIMIT $3"
    };
}

macro_rules! claim {
    ($ids:expr) => {
        concat!(
            "UPDATE logout_deliveries SET due_at = $2, attempts = attempts + 1 WHERE due_at <= $1 AND sid ",
            $ids,
            " RETURNING sid, client_id, sub, ended_at, attempts"
        )
    };
}

const CLAIM: Sql = Sql {
    sqlite: claim!(concat!("IN (", due!(), ")")),
    postgres: claim!(concat!("= ANY (ARRAY(", due!(), " FOR UPDATE SKIP LOCKED))")),
};

/// Takes what is due, so that nobody else does until `until`.
pub(super) async fn claim(
    tx: &mut Tx,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> DbResult<Decision<Vec<LogoutDelivery>>> {
    let rows = tx.fetch(CLAIM, args![now, until, limit]).await?;
    Ok(Decision::Keep(rows.iter().map(delivery_of).collect::<DbResult<_>>()?))
}

fn delivery_of(row: &Row) -> DbResult<LogoutDelivery> {
    Ok(LogoutDelivery {
        sid: row.parsed("sid", |text| text.parse().ok())?,
        client_id: ClientId::new(row.get::<&str>("client_id")?),
        sub: Sub::new(row.get::<&str>("sub")?),
        ended_at: row.time("ended_at")?,
        attempt: row.small("attempts")?,
    })
}

/// Removes what this attempt has come to an end with; answers whether it was still its own.
pub(super) async fn settle(
    tx: &mut Tx,
    delivery: LogoutDelivery,
    audit: Option<AuditEvent>,
) -> DbResult<Decision<bool>> {
    const TEXT: &str = "DELETE FROM logout_deliveries WHERE sid = $1 AND attempts = $2";
    if tx.execute(TEXT, args![delivery.sid, delivery.attempt]).await? == 0 {
        return Ok(Decision::Discard(false));
    }
    tx.record(audit.as_slice())?;
    Ok(Decision::Keep(true))
}

/// Puts what this attempt has failed with off; answers whether it was still its own.
pub(super) async fn retry(tx: &mut Tx, delivery: LogoutDelivery, retry: RetryLogout) -> DbResult<Decision<bool>> {
    const TEXT: &str = "UPDATE logout_deliveries SET due_at = $3 WHERE sid = $1 AND attempts = $2";
    if tx.execute(TEXT, args![delivery.sid, delivery.attempt, retry.due_at]).await? == 0 {
        return Ok(Decision::Discard(false));
    }
    tx.execute(OTHERS, args![&delivery.client_id, retry.now, retry.others_due_at]).await?;
    Ok(Decision::Keep(true))
}

/// Rows that another node has under way are left to it.
const OTHERS: Sql = Sql {
    sqlite: "UPDATE logout_deliveries SET due_at = $3 WHERE client_id = $1 AND due_at <= $2",
    postgres: "UPDATE logout_deliveries SET due_at = $3 WHERE sid = ANY (ARRAY(SELECT sid FROM logout_deliveries \
               WHERE client_id = $1 AND due_at <= $2 ORDER BY sid FOR UPDATE SKIP LOCKED))",
};
