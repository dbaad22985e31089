//! A Latchkey in a process of its own, which dies without a word at a chosen count: after the commit, before the answer.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use latchkey::config::Settings;
use latchkey::domain::meter::{Count, Meter};

use super::{Server, block_on};

/// Counts are taken after the store has answered and before the client is.
struct KillAfter(Count);

impl Meter for KillAfter {
    fn count(&self, what: Count) {
        if what == self.0 {
            let me = std::process::id().to_string();
            let _ = Command::new("kill").args(["-9", &me]).status();
        }
    }
}

/// Where the process finds its database and keys; unset in every other one.
const PLACE: &str = "LATCHKEY_TEST_VICTIM";

/// What the process does that a test named itself for: it serves until it dies after `count`.
pub fn serve_until(count: Count, settings: Settings) {
    let Ok(place) = std::env::var(PLACE) else { return };
    let (database, keys) = place.split_once('\n').unwrap();
    block_on(async {
        let server = Server::victim(settings, database, keys, Arc::new(KillAfter(count))).await;
        println!("victim at {}", server.url);
        std::future::pending::<()>().await;
    });
}

/// The process, seen from the test that kills it.
pub struct Victim {
    process: Child,
    pub url: String,
}

impl Victim {
    /// Starts the test of this name as a process on the database and keys of a server that has halted.
    pub fn start(server: &Server, test: &str) -> Self {
        let place = format!("{}\n{}", server.database().url(), server.keys_directory().display());
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(PLACE, place)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| line.unwrap().split_once("victim at ").map(|(_, url)| url.to_owned())).unwrap();
        Self { process, url }
    }

    #[track_caller]
    pub fn was_killed(mut self) {
        let status = self.process.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    }
}
