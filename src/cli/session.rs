//! `latchkey session ...`: sessions, by the admin API.

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
    /// List sessions, newest first
    List {
        /// Only this user's
        #[arg(long)]
        sub: Option<String>,
        /// Only those opened by this client
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// At most so many; 0 lists all
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Show one session with its timeline
    Show {
        sid: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// End a session: its refresh token and its access tokens are dead at once
    End {
        sid: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

pub(super) async fn run(action: Action, globals: &Globals) -> Result<()> {
    match action {
        Action::List { sub, client_id, limit, remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            let asked = [("sub", sub.as_deref()), ("client_id", client_id.as_deref())];
            let columns = [
                ("SESSION", "sid"),
                ("USER", "sub"),
                ("CLIENT", "client_id"),
                ("STATE", "state"),
                ("STARTED", "started_at"),
                ("LAST USED", "last_used_at"),
                ("GENERATION", "generation"),
            ];
            let listed = server.list(&["sessions"], &asked, (limit > 0).then_some(limit)).await?;
            print_list(listed, &columns, &remote)?;
        }
        Action::Show { sid, remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            print_object(&server.call(Method::GET, &["sessions", &sid], None).await?, &remote)?;
        }
        Action::End { sid, remote } => {
            let server = Remote::connect(&remote, globals, WRITE).await?;
            server.call(Method::DELETE, &["sessions", &sid], None).await?;
            note(format_args!("session {sid} has ended"));
        }
    }
    Ok(())
}
