//! Leases: of several nodes one does a job.
//!
//! A lease is no more than a hint that spares the others the work. What keeps a holder from harm that was suspended past
//! its end and goes on as if nothing had been is never its clock, but a statement of the very transaction that does the
//! work: it takes the lease's row along, or does nothing.

use std::time::Duration;

use super::nodes::now;
use super::readers::Readers;
use super::sql::{DbResult, args};
use super::tx::Tx;
use super::writer::Decision;
use crate::domain::ids::NodeId;

/// How long a lease lasts after it was last taken: when a holder that is gone is followed by another.
const SPAN: Duration = Duration::from_secs(20);

/// A job that one node does for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Moving keys along.
    Keys,
    /// Removing what has expired.
    Sweep,
}

impl Lease {
    fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Sweep => "sweep",
        }
    }
}

/// Leaves the leases of a node that stops to whoever comes next.
pub(super) async fn give_up(tx: &mut Tx, node: NodeId) -> DbResult<()> {
    tx.execute("DELETE FROM leases WHERE holder = $1", args![node.to_string()]).await?;
    Ok(())
}

/// Whether it is this node's, or nobody's. Asked before a writer is troubled.
pub(super) async fn is_free(readers: &Readers, lease: Lease, node: NodeId) -> DbResult<bool> {
    const HELD: &str = concat!("SELECT 1 AS found FROM leases WHERE name = $1 AND holder <> $2 AND ends_at > ", now!());
    Ok(readers.fetch(HELD, args![lease.name(), node.to_string()]).await?.is_empty())
}

/// Takes it for [`SPAN`]; answers whether it was to be had.
pub(super) async fn hold(tx: &mut Tx, lease: Lease, node: NodeId) -> DbResult<Decision<bool>> {
    Ok(if take(tx, lease, node).await? { Decision::Keep(true) } else { Decision::Discard(false) })
}

/// Takes it for this transaction and [`SPAN`] longer; answers whether it was to be had. Whoever has it under way (and may
/// be suspended in the middle of it) is not waited for.
pub(super) async fn take(tx: &mut Tx, lease: Lease, node: NodeId) -> DbResult<bool> {
    const TAKE: &str = concat!(
        "UPDATE leases SET holder = $2, ends_at = $3 + ",
        now!(),
        " WHERE name = ANY (ARRAY(SELECT name FROM leases WHERE name = $1 AND (holder = $2 OR ends_at <= ",
        now!(),
        ") FOR UPDATE SKIP LOCKED))"
    );
    const MAKE: &str = concat!(
        "INSERT INTO leases (name, holder, ends_at) VALUES ($1, $2, $3 + ",
        now!(),
        ") ON CONFLICT (name) DO NOTHING"
    );
    let args = || args![lease.name(), node.to_string(), SPAN];
    // There is none before its first holder.
    Ok(tx.execute(TAKE, args()).await? > 0 || tx.execute(MAKE, args()).await? > 0)
}
