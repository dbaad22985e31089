//! Folding SQLite's write-ahead log into its file: beside the writer, not within it.
//!
//! By itself SQLite does that within some commit, every thousand pages, and whoever commits then waits while all these
//! pages go to their places. A connection of its own does the same while commits go on. What the log has grown by in the
//! meantime is left for the writer, which finds next to nothing to do, and begins the log anew.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::conn::Conn;
use super::endpoint::Endpoint;
use super::sql::{DbResult, args};

/// A checkpoint is due after so many commits of hot operations: some pages each.
const COMMITS: u32 = 32;

/// For how many of those administrative work counts: the sweep, and whatever ends sessions by the hundred.
const HEAVY: u32 = 8;

/// Stands by a writer.
pub(super) struct Checkpointer {
    commits: u32,
    due: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Checkpointer {
    pub fn start(endpoint: Endpoint) -> Self {
        let (due, mut asked) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut conn = None;
            while asked.recv().await.is_some() {
                match checkpoint(&endpoint, conn.take()).await {
                    Ok(it) => conn = Some(it),
                    // The writer still does it, and with what is wrong with the file it will be heard.
                    Err(error) => tracing::debug!(%error, "the log was not folded into the file"),
                }
            }
            if let Some(conn) = conn {
                conn.close().await;
            }
        });
        Self { commits: 0, due, task }
    }

    /// Notes a commit.
    pub fn committed(&mut self, is_heavy: bool) {
        self.commits += if is_heavy { HEAVY } else { 1 };
        if self.commits >= COMMITS {
            self.commits = 0;
            // One that is still due will see this one's pages too.
            let _ = self.due.try_send(());
        }
    }

    /// Ends when its connection is closed.
    pub async fn close(self) {
        drop(self.due);
        let _ = self.task.await;
    }
}

async fn checkpoint(endpoint: &Endpoint, conn: Option<Conn>) -> DbResult<Conn> {
    let mut conn = match conn {
        Some(conn) => conn,
        None => endpoint.writer().await?,
    };
    // It waits for nobody, and nobody waits for it.
    conn.fetch("PRAGMA wal_checkpoint(PASSIVE)", args![]).await?;
    Ok(conn)
}
