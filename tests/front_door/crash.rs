//! Killed after the commit and before the answer; restored to an older copy. Neither logs anybody out.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use latchkey::domain::meter::{Count, Meter};

use crate::support::{Database, Server, block_on, on_each_database};

/// Dies without a word the moment a refresh has been committed: its count is taken after the store answered and before
/// the client is.
struct KillAfterRefresh;

impl Meter for KillAfterRefresh {
    fn count(&self, what: Count) {
        if what == Count::RefreshRotated {
            let me = std::process::id().to_string();
            let _ = Command::new("kill").args(["-9", &me]).status();
        }
    }
}

const VICTIM: &str = "LATCHKEY_TEST_VICTIM";

/// Not a test of its own: the process that the next one kills.
#[test]
fn victim() {
    let Ok(place) = std::env::var(VICTIM) else { return };
    let (database, keys) = place.split_once('\n').unwrap();
    block_on(async {
        let server = Server::victim(database, keys, Arc::new(KillAfterRefresh)).await;
        println!("victim at {}", server.url);
        std::future::pending::<()>().await;
    });
}

#[test]
fn killed_between_commit_and_answer_the_retry_gets_the_successor() {
    on_each_database(async |mut server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        server.halt().await;

        let place = format!("{}\n{}", server.database().url(), server.keys_directory().display());
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["crash::victim", "--exact", "--nocapture"])
            .env(VICTIM, place)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| line.unwrap().split_once("victim at ").map(|(_, url)| url.to_owned())).unwrap();
        let form = [("grant_type", "refresh_token"), ("refresh_token", &*first.refresh())];
        let request = server.http.post(format!("{url}/oauth2/token")).basic_auth(&app.id, Some(&app.secret));
        assert!(request.form(&form).send().await.is_err(), "the answer never left");
        let status = victim.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");

        let server = server.restart().await;
        let session = server.session_of(&first).await;
        assert_eq!(session["generation"], 1, "the step was durable: {session}");
        let again = server.refresh(&app, &first.refresh()).await;
        assert_eq!(again.status, 200, "{}", again.body);
        assert_eq!(server.session_of(&first).await["generation"], 1, "the lost answer, not another step");
        assert_eq!(server.refresh(&app, &again.refresh()).await.status, 200);
    });
}

#[test]
fn a_database_restored_to_an_older_copy_heals() {
    on_each_database(async |mut server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        server.halt().await;
        let older = server.database().copy();
        let server = server.restart().await;
        let mut newest = first.refresh();
        for _ in 0..3 {
            newest = server.refresh(&app, &newest).await.refresh();
        }
        let server = server.restart_after(|database: &Database| database.restore(&older)).await;
        assert_eq!(server.session_of(&first).await["generation"], 0, "the tail is lost");
        let healed = server.refresh(&app, &newest).await;
        assert_eq!(healed.status, 200, "{}", healed.body);
        assert_eq!(server.session_of(&first).await["generation"], 4);
        assert_eq!(server.audit("refresh_healed").await.len(), 1);
        assert_eq!(server.refresh(&app, &newest).await.refresh(), healed.refresh(), "and retries as ever");
    });
}

#[test]
fn healing_can_be_refused() {
    crate::support::on_each_database_with(
        |settings| settings.tokens.refresh_heal = false,
        async |mut server: Server| {
            let app = server.web_app().await;
            let first = server.login(&app).await;
            server.halt().await;
            let older = server.database().copy();
            let server = server.restart().await;
            let second = server.refresh(&app, &first.refresh()).await;
            let server = server.restart_after(|database: &Database| database.restore(&older)).await;
            server.refresh(&app, &second.refresh()).await.is_refused("unknown_session");
            assert_eq!(server.session_of(&first).await["generation"], 0);
        },
    );
}
