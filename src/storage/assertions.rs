//! The table of used assertions (RFC 7523 section 3, item 7): each counts once, on whatever node it is shown.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::group::GroupJob;
use super::sql::{DbResult, Hex, JsonRows, Sql, args, from_json};
use super::tx::Tx;
use super::{AssertionOutcome, AssertionUse};

#[derive(Serialize)]
struct JsonRow<'a> {
    hash: Hex<'a>,
    keep_until: i64,
}

/// The guard: of two inserts of one hash only one answers it. On PostgreSQL the other waits for the first's end.
const INSERT: Sql = from_json!(
    "INSERT INTO assertion_ids (hash, keep_until) SELECT hash, keep_until FROM ",
    [hash bytea, keep_until bigint],
    " WHERE true ON CONFLICT (hash) DO NOTHING RETURNING hash"
);

/// Decides which assertions of the batch have not been used before. Of equal ones in it the first counts.
pub(super) async fn carry_out(jobs: &mut [GroupJob], tx: &mut Tx) -> DbResult<()> {
    let mut rows: BTreeMap<[u8; 32], i64> = BTreeMap::new();
    for job in &*jobs {
        if let GroupJob::UseAssertion(job) = job {
            let AssertionUse { hash, keep_until } = job.request();
            rows.entry(*hash).or_insert(keep_until.millis());
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    // In the order of their hashes, so that no two writers wait for each other in a circle.
    let rows =
        JsonRows::of(rows.iter().map(|(hash, keep_until)| JsonRow { hash: Hex(hash), keep_until: *keep_until }))?;
    let written = tx.fetch(INSERT, args![rows]).await?;
    let mut fresh: HashSet<[u8; 32]> = written.iter().map(|row| row.hash("hash")).collect::<DbResult<_>>()?;
    for job in jobs {
        if let GroupJob::UseAssertion(job) = job {
            let is_first = fresh.remove(&job.request().hash);
            job.decide(if is_first { AssertionOutcome::Fresh } else { AssertionOutcome::Replayed });
        }
    }
    Ok(())
}
