//! Killed after the commit and before the answer; restored to an older copy. Neither logs anybody out.

use latchkey::config::Settings;
use latchkey::domain::meter::Count;

use crate::support::victim::{self, Victim};
use crate::support::{Database, Server, on_each_database};

/// Not a test of its own: the process that the next one kills.
#[test]
fn victim() {
    victim::serve_until(Count::RefreshRotated, Settings::default());
}

#[test]
fn killed_between_commit_and_answer_the_retry_gets_the_successor() {
    on_each_database(async |mut server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        server.halt().await;

        let victim = Victim::start(&server, "crash::victim");
        let form = [("grant_type", "refresh_token"), ("refresh_token", &*first.refresh())];
        let request = server.http.post(format!("{}/oauth2/token", victim.url)).basic_auth(&app.id, Some(&app.secret));
        assert!(request.form(&form).send().await.is_err(), "the answer never left");
        victim.was_killed();

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
        for kind in ["refresh_healed", "tail_lost"] {
            assert_eq!(server.audit(kind).await.len(), 1, "{kind}");
        }
        assert_eq!(server.refresh(&app, &newest).await.refresh(), healed.refresh(), "and retries as ever");
    });
}

#[test]
fn a_login_that_was_lost_with_the_tail_can_be_revoked() {
    on_each_database(async |mut server: Server| {
        let app = server.web_app().await;
        server.halt().await;
        let older = server.database().copy();
        let server = server.restart().await;
        let lost = server.login(&app).await;
        let server = server.restart_after(|database: &Database| database.restore(&older)).await;
        assert!(server.is_active(&app, &lost.access()).await, "its key is there, and nobody has revoked it");
        server.revoke(&app, &lost.refresh()).await.is(200);
        assert!(!server.is_active(&app, &lost.access()).await);
        let server = server.restart().await;
        assert!(!server.is_active(&app, &lost.access()).await);
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
