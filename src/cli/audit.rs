//! `latchkey audit list`: the audit trail, by the admin API.

use clap::{Subcommand, ValueEnum};

use super::Globals;
use super::failure::Result;
use super::remote::{Remote, RemoteArgs, print_list};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List what happened: the latest events, newest last
    List {
        /// Only events of this type, such as refresh_reused
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// Only those about this user
        #[arg(long)]
        sub: Option<String>,
        /// Only those about this client
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// Go on behind this cursor, in the given order
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// Read from the oldest or from the newest event on [default: the latest ones, newest last]
        #[arg(long, value_enum)]
        order: Option<Order>,
        /// At most so many; 0 lists all
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    Asc,
    Desc,
}

pub(super) async fn run(action: Action, globals: &Globals) -> Result<()> {
    let Action::List { kind, sub, client_id, after, order, limit, remote } = action;
    let server = Remote::connect(&remote, globals, "admin:audit:read").await?;
    // A cursor belongs to an order, so with one and no order given the API's own, oldest first, is meant.
    let is_latest = order.is_none() && after.is_none();
    let direction = if is_latest || order == Some(Order::Desc) { "desc" } else { "asc" };
    let asked = [
        ("order", Some(direction)),
        ("type", kind.as_deref()),
        ("sub", sub.as_deref()),
        ("client_id", client_id.as_deref()),
    ];
    let mut listed = server.list_after(&["audit"], &asked, (limit > 0).then_some(limit), after).await?;
    if is_latest {
        // Turned round, the cursor of the older rest says nothing to someone who reads downwards.
        listed.items.reverse();
        listed.next = None;
    }
    let columns = [
        ("AT", "at"),
        ("TYPE", "type"),
        ("WHO", "actor"),
        ("FROM", "address"),
        ("USER", "sub"),
        ("CLIENT", "client_id"),
        ("SESSION", "sid"),
        ("DETAIL", "detail"),
    ];
    print_list(listed, &columns, &remote)
}
