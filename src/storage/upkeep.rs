//! What keeps the database small and the program's memory of itself: the sweep, and notes.

use std::time::Duration;

use super::leases::{self, Lease};
use super::readers::Readers;
use super::sql::{DbResult, Sql, args};
use super::tx::Tx;
use super::writer::Decision;
use crate::domain::ids::NodeId;
use crate::domain::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a session's row outlives its absolute limit, so that a refusal can still say `absolute_expired`. One that
/// expired by disuse stays to its absolute limit too, and says `idle_expired` all that time.
pub(super) const KEEP_EXPIRED: Duration = DAY;

/// How long an ended session's row is kept for the operator, even where its absolute limit is far away.
pub(super) const KEEP_ENDED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long a sign-in's row outlives its absolute limit or its end, for the operator.
pub(super) const KEEP_SIGN_INS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long a code that has expired is recognised when it is brought again.
pub(super) const KEEP_CODES: Duration = Duration::from_secs(60 * 60);

/// How long an address counts as known after the last login from it.
pub(super) const KEEP_ADDRESSES: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long the audit trail goes back: a year, and a month to look back at it.
pub(super) const KEEP_AUDIT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// A row that a batch has locked waits for the next sweep.
macro_rules! delete_oldest {
    ($table:literal, $key:literal, $where:literal) => {
        Sql {
            sqlite: concat!(
                "DELETE FROM ",
                $table,
                " WHERE (",
                $key,
                ") IN (SELECT ",
                $key,
                " FROM ",
                $table,
                " WHERE ",
                $where,
                " LIMIT $2)"
            ),
            postgres: concat!(
                "DELETE FROM ",
                $table,
                " WHERE (",
                $key,
                ") IN (SELECT ",
                $key,
                " FROM ",
                $table,
                " WHERE ",
                $where,
                " LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
        }
    };
}

const EXPIRED_SESSIONS: Sql = delete_oldest!("sessions", "id", "absolute_expires_at < $1");
const ENDED_SESSIONS: Sql = delete_oldest!("sessions", "id", "ended_at < $1");
const REVOCATIONS: Sql = delete_oldest!("revocations", "kind, id", "expires_at <= $1");
const LEGACY_TOKENS: Sql = delete_oldest!("legacy_tokens", "hash", "keep_until <= $1");
const ASSERTION_IDS: Sql = delete_oldest!("assertion_ids", "hash", "keep_until <= $1");
const EXPIRED_SIGN_INS: Sql = delete_oldest!("sign_ins", "id", "absolute_expires_at < $1");
const ENDED_SIGN_INS: Sql = delete_oldest!("sign_ins", "id", "ended_at < $1");
const CODES: Sql = delete_oldest!("codes", "hash", "expires_at < $1");
const ADDRESSES: Sql = delete_oldest!("known_addresses", "sub, address", "seen_at < $1");
/// Entries are numbered in the order of their time, near enough: the oldest are the first, and need no other index.
const AUDIT: Sql = delete_oldest!("audit", "id", "id IN (SELECT id FROM audit ORDER BY id LIMIT $2) AND at < $1");

/// How many rows a step of the sweep removed, of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub sessions: u64,
    pub revocations: u64,
    pub known_addresses: u64,
    pub legacy_tokens: u64,
    pub assertion_ids: u64,
    pub sign_ins: u64,
    pub codes: u64,
    pub login_failures: u64,
    pub audit: u64,
}

impl Swept {
    /// The rows of the kind that had most: with fewer than the limit, nothing is left of any.
    #[must_use]
    pub fn most(&self) -> u64 {
        let Self {
            sessions,
            revocations,
            known_addresses,
            legacy_tokens,
            assertion_ids,
            sign_ins,
            codes,
            login_failures,
            audit,
        } = *self;
        [sessions, revocations, known_addresses, legacy_tokens, assertion_ids, sign_ins, codes, login_failures, audit]
            .into_iter()
            .fold(0, u64::max)
    }
}

/// `lease`: of several nodes one sweeps; `None` where there is but one. Answers `None` where another node is at it.
pub(super) async fn sweep(
    tx: &mut Tx,
    lease: Option<NodeId>,
    now: Timestamp,
    limit: u32,
) -> DbResult<Decision<Option<Swept>>> {
    if let Some(node) = lease
        && !leases::take(tx, Lease::Sweep, node).await?
    {
        return Ok(Decision::Discard(None));
    }
    let mut delete = async |sql: Sql, before: Timestamp| tx.execute(sql, args![before, limit]).await;
    let swept = Swept {
        sessions: delete(EXPIRED_SESSIONS, now.minus(KEEP_EXPIRED)).await?
            + delete(ENDED_SESSIONS, now.minus(KEEP_ENDED)).await?,
        revocations: delete(REVOCATIONS, now).await?,
        known_addresses: delete(ADDRESSES, now.minus(KEEP_ADDRESSES)).await?,
        legacy_tokens: delete(LEGACY_TOKENS, now).await?,
        assertion_ids: delete(ASSERTION_IDS, now).await?,
        sign_ins: delete(EXPIRED_SIGN_INS, now.minus(KEEP_SIGN_INS)).await?
            + delete(ENDED_SIGN_INS, now.minus(KEEP_SIGN_INS)).await?,
        codes: delete(CODES, now.minus(KEEP_CODES)).await?,
        login_failures: 0,
        audit: delete(AUDIT, now.minus(KEEP_AUDIT)).await?,
    };
    Ok(Decision::Keep(Some(swept)))
}

pub(super) async fn note(readers: &Readers, name: &str) -> DbResult<Option<String>> {
    let rows = readers.fetch("SELECT value FROM notes WHERE name = $1", args![name]).await?;
    rows.first().map(|row| row.get("value")).transpose()
}

pub(super) async fn claim_note(tx: &mut Tx, name: String, value: String) -> DbResult<Decision<String>> {
    const CLAIM: &str = "INSERT INTO notes (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    if tx.execute(CLAIM, args![name.clone(), value.clone()]).await? == 1 {
        return Ok(Decision::Keep(value));
    }
    let rows = tx.fetch("SELECT value FROM notes WHERE name = $1", args![name]).await?;
    let kept = rows.first().map_or(Ok(value), |row| row.get("value"))?;
    Ok(Decision::Keep(kept))
}

pub(super) async fn set_note(tx: &mut Tx, name: String, value: String) -> DbResult<Decision<()>> {
    const SET: &str = "INSERT INTO notes (name, value) VALUES ($1, $2) \
                       ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    tx.execute(SET, args![name, value]).await?;
    Ok(Decision::Keep(()))
}
