//! What changes while somebody is on the way: clients and users are changed, sign-ins run out, the service restarts,
//! another node takes the next step.

use std::time::Duration;

use serde_json::json;

use super::pages::ALLOW;
use super::{ALICE, CALLBACK, answered, app, code_of, exchange, request, signed_in};
use crate::support::browser::Browser;
use crate::support::{PASSWORD, Server, on_each_database};

const HOUR: Duration = Duration::from_secs(60 * 60);
const UNTRUSTED: &str = "We don’t know where this came from";
const OUT_OF_DATE: &str = "This page is out of date";
const WEB: &str = "/admin/v1/clients/web";

async fn user_path(server: &Server) -> String {
    let found = server.admin_get("/admin/v1/users?username=alice").await;
    format!("/admin/v1/users/{}", found.body["items"][0]["sub"].as_str().unwrap())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    ClientDisabled,
    ClientDeleted,
    GrantTaken,
    AddressTaken,
    UserDisabled,
    UserDeleted,
    PasswordChanged,
    LoggedOut,
}

impl Change {
    async fn make(self, server: &Server) {
        let path = user_path(server).await;
        let made = match self {
            Self::ClientDisabled => server.admin_patch(WEB, json!({ "disabled": true })).await,
            Self::ClientDeleted => server.admin_delete(WEB).await,
            Self::GrantTaken => {
                let without = json!({ "grant_types": ["password"], "redirect_uris": null });
                server.admin_patch(WEB, without).await
            }
            Self::AddressTaken => {
                server.admin_patch(WEB, json!({ "redirect_uris": ["https://app.example/moved"] })).await
            }
            Self::UserDisabled => server.admin_patch(&path, json!({ "disabled": true })).await,
            Self::UserDeleted => server.admin_delete(&path).await,
            Self::PasswordChanged => {
                server.admin_put(&format!("{path}/password"), json!({ "password": "another battery" })).await
            }
            Self::LoggedOut => server.admin_post(&format!("{path}/logout"), json!({})).await,
        };
        made.is_success();
    }
}

#[test]
fn a_client_that_is_changed_on_the_way_is_judged_as_it_is_now() {
    for (change, status, code) in [
        (Change::ClientDisabled, 400, "unauthorized_client"),
        (Change::ClientDeleted, 401, "invalid_client"),
        (Change::GrantTaken, 400, "unauthorized_client"),
        (Change::AddressTaken, 0, ""),
    ] {
        on_each_database(async |server| {
            let app = app(&server, json!({})).await;
            let browser = Browser::new(&server);
            let code_before = code_of(&signed_in(&browser, &request(&[])).await);
            let login = Browser::new(&server).open(&request(&[])).await.is(200);
            let login_of_alice = browser.open(&request(&[("prompt", "login")])).await.is(200);
            let consent = browser.open(&request(&[("prompt", "consent")])).await.is(200);
            println!("{change:?}");
            change.make(&server).await;
            for path in [&login.path, &login_of_alice.path, &consent.path, &request(&[])] {
                browser.open(path).await.shows_error(400, UNTRUSTED);
            }
            let began = server.audit("sign_in_began").await.len();
            browser.submit(&login_of_alice, &ALICE).await.shows_error(400, UNTRUSTED);
            browser.submit(&login_of_alice, &[ALICE[0], ("password", "wrong")]).await.shows_error(400, UNTRUSTED);
            assert_eq!(server.audit("sign_in_began").await.len(), began, "no password is looked at");
            assert_eq!(server.audit("sign_in_renewed").await.len() + server.audit("login_failed").await.len(), 0);
            for decision in ["allow", "deny"] {
                browser.submit(&consent, &[("decision", decision)]).await.shows_error(400, UNTRUSTED);
            }
            if status > 0 {
                exchange(&server, &app, &code_before, &[]).await.is_error(status, code);
            }
        });
    }
}

#[test]
fn a_user_who_is_changed_on_the_way_is_signed_out() {
    for change in [Change::UserDisabled, Change::UserDeleted, Change::PasswordChanged, Change::LoggedOut] {
        on_each_database(async |server| {
            let app = app(&server, json!({})).await;
            let browser = Browser::new(&server);
            let code = code_of(&signed_in(&browser, &request(&[])).await);
            let consent = browser.open(&request(&[("prompt", "consent")])).await.is(200);
            println!("{change:?}");
            change.make(&server).await;
            exchange(&server, &app, &code, &[]).await.is_error(400, "invalid_grant");
            browser.submit(&consent, &ALLOW).await.shows_error(400, OUT_OF_DATE);
            let login = browser.open(&consent.path).await.is(200);
            assert!(login.path.starts_with("/login?"), "{}", login.path);
            let silent = browser.open(&request(&[("prompt", "none")])).await.is(303);
            assert_eq!(answered(&silent)["error"], "login_required");
            let again = browser.submit(&login, &ALICE).await;
            assert_eq!(again.status, if change == Change::LoggedOut { 200 } else { 400 }, "{}", again.html);
        });
    }
}

#[test]
fn a_new_password_opens_the_page_that_waited() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        Change::PasswordChanged.make(&server).await;
        browser.submit(&login, &ALICE).await.is(400);
        browser.submit(&login, &[("username", "alice"), ("password", "another battery")]).await.is(200);
        assert_ne!(PASSWORD, "another battery");
    });
}

#[test]
fn a_sign_in_lasts_a_day_unused_and_two_weeks_at_most() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await;
        let entered = browser.send_form(&login, &ALICE).await;
        let cookie = entered.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=1209600"), "{cookie}");
        let consent = browser.follow(entered).await;
        browser.submit(&consent, &ALLOW).await.is(303);
        let silent = async || answered(&browser.get(&request(&[("prompt", "none")])).await).contains_key("code");
        for _ in 0..14 {
            server.clock.advance(Duration::from_secs(23 * 60 * 60 + 3000));
            assert!(silent().await, "used every day");
        }
        server.clock.advance(3 * HOUR);
        assert!(!silent().await, "two weeks are over");

        browser.submit(&browser.open(&request(&[])).await.is(200), &ALICE).await.is(303);
        server.clock.advance(24 * HOUR - Duration::from_secs(1));
        assert!(silent().await);
        server.clock.advance(24 * HOUR);
        assert!(!silent().await, "nobody used it for a day");
        let login = browser.open(&request(&[])).await.is(200);
        assert!(!login.html.contains("Please confirm that it’s you."), "nobody is signed in: {}", login.html);
    });
}

#[test]
fn a_restart_between_any_two_steps_goes_unnoticed() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        let jar = browser.cookies();
        let server = server.restart().await;
        let browser = Browser::with(&server, jar);
        browser.get(&login.path).await.is(200);
        let consent = browser.submit(&login, &ALICE).await.is(200);
        let jar = browser.cookies();
        let server = server.restart().await;
        let browser = Browser::with(&server, jar);
        let code = code_of(&browser.submit(&consent, &ALLOW).await.is(303));
        let jar = browser.cookies();
        let server = server.restart().await;
        let tokens = exchange(&server, &app, &code, &[]).await;
        tokens.is(200);
        Browser::with(&server, jar).open(&request(&[("prompt", "none")])).await.is(303).sent_to(CALLBACK);
        exchange(&server, &app, &code, &[]).await.is_error(400, "invalid_grant");
        assert!(!server.is_active(&app, &tokens.access()).await);
    });
}

#[test]
fn another_node_takes_any_step() {
    on_each_database(async |server: Server| {
        if server.database().file().is_some() {
            return println!("skipped: SQLite has one node");
        }
        let app = app(&server, json!({})).await;
        let other = server.another_node().await;
        let one = Browser::new(&server);
        let login = one.open(&request(&[])).await.is(200);
        let two = Browser::with(&other, one.cookies());
        let consent = two.submit(&login, &ALICE).await.is(200);
        let one = Browser::with(&server, two.cookies());
        let back = one.submit(&consent, &ALLOW).await.is(303);
        let code = code_of(&back);
        let tokens = exchange(&other, &app, &code, &[]).await;
        tokens.is(200);
        assert!(server.is_active(&app, &tokens.access()).await);
        code_of(&two.get(&request(&[("prompt", "none")])).await.is(303));
        // Its hint was signed there.
        let hint = tokens.body["id_token"].as_str().unwrap();
        let silent = one.get(&request(&[("prompt", "none"), ("id_token_hint", hint)])).await.is(303);
        assert!(answered(&silent).contains_key("code"));
        exchange(&server, &app, &code, &[]).await.is_error(400, "invalid_grant");
        other.refresh(&app, &tokens.refresh()).await.is_refused("revoked");
        // A second code of the same sign-in, whose user is changed at the other node.
        let code = code_of(&one.open(&request(&[])).await);
        Change::PasswordChanged.make(&other).await;
        exchange(&server, &app, &code, &[]).await.is_error(400, "invalid_grant");
        let silent = one.get(&request(&[("prompt", "none")])).await;
        assert_eq!(answered(&silent)["error"], "login_required");
    });
}
