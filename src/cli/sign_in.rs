//! `latchkey sign-in ...`: browsers that users are signed in with, by the admin API.

use clap::Subcommand;
use reqwest::Method;

use super::Globals;
use super::failure::Result;
use super::output::note;
use super::remote::{Remote, RemoteArgs, print_list, print_object};

const READ: &str = "admin:sessions:read";
const WRITE: &str = "admin:sessions";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List sign-ins, newest first
    List {
        /// Only this user's
        #[arg(long)]
        sub: Option<String>,
        /// Only those that have neither ended nor expired
        #[arg(long)]
        live: bool,
        /// At most so many; 0 lists all
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Show one sign-in
    Show {
        id: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Sign a browser out: its sessions end too, but for those with offline_access
    #[command(visible_alias = "revoke")]
    End {
        id: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

pub(super) async fn run(action: Action, globals: &Globals) -> Result<()> {
    match action {
        Action::List { sub, live, limit, remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            let asked = [("sub", sub.as_deref()), ("live", live.then_some("true"))];
            let columns = [
                ("SIGN-IN", "id"),
                ("USER", "sub"),
                ("STATE", "state"),
                ("STARTED", "started_at"),
                ("LAST USED", "last_used_at"),
                ("ADDRESS", "address"),
                ("BROWSER", "user_agent"),
            ];
            let listed = server.list(&["sign-ins"], &asked, (limit > 0).then_some(limit)).await?;
            print_list(listed, &columns, &remote)?;
        }
        Action::Show { id, remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            print_object(&server.call(Method::GET, &["sign-ins", &id], None).await?, &remote)?;
        }
        Action::End { id, remote } => {
            let server = Remote::connect(&remote, globals, WRITE).await?;
            server.call(Method::DELETE, &["sign-ins", &id], None).await?;
            note(format_args!("sign-in {id} has ended"));
        }
    }
    Ok(())
}
