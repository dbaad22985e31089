//! The nodes that serve one database, and what each of them has loaded.
//!
//! Whether a node lives is told by the database's own clock, so it does not matter how those of the nodes differ.

use super::leases;
use super::readers::Readers;
use super::sql::{DbResult, args};
use super::tx::Tx;
use super::writer::Decision;
use crate::domain::ids::NodeId;

/// How long after its last word a node counts as gone, in milliseconds: four words that did not come. One that comes
/// back reads what it has missed before it answers from memory.
const GONE: i64 = 20_000;

/// When its row goes.
const FORGOTTEN: i64 = 24 * 60 * 60 * 1000;

/// The database's clock, in milliseconds.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}
pub(super) use now;

pub(super) async fn report(tx: &mut Tx, node: NodeId, keys_revision: i64) -> DbResult<Decision<()>> {
    const REPORT: &str = concat!(
        "INSERT INTO nodes (id, keys_revision, seen_at) VALUES ($1, $2, ",
        now!(),
        ") ON CONFLICT (id) DO UPDATE SET keys_revision = excluded.keys_revision, seen_at = excluded.seen_at"
    );
    const FORGET: &str = concat!("DELETE FROM nodes WHERE seen_at < ", now!(), " - $1");
    tx.execute(REPORT, args![node.to_string(), keys_revision]).await?;
    tx.execute(FORGET, args![FORGOTTEN]).await?;
    Ok(Decision::Keep(()))
}

pub(super) async fn forget(tx: &mut Tx, node: NodeId) -> DbResult<Decision<()>> {
    tx.execute("DELETE FROM nodes WHERE id = $1", args![node.to_string()]).await?;
    leases::give_up(tx, node).await?;
    Ok(Decision::Keep(()))
}

/// The revisions of the keys that the others have loaded, of those who live.
pub(super) async fn others(readers: &Readers, node: NodeId) -> DbResult<Vec<i64>> {
    const OTHERS: &str = concat!("SELECT keys_revision FROM nodes WHERE id <> $1 AND seen_at > ", now!(), " - $2");
    let rows = readers.fetch(OTHERS, args![node.to_string(), GONE]).await?;
    rows.iter().map(|row| row.get("keys_revision")).collect()
}
