//! Who is a user here, and what is the password: what the pages tell of that, and how often they may be asked.

use serde_json::json;

use crate::authorize::{ALICE, app, request};
use crate::support::browser::{Browser, Page};
use crate::support::{PASSWORD, Server, on_each_database};

/// All of an answer but what is drawn anew for each, and the name that was typed.
fn said(page: &Page, username: &str) -> (u16, Vec<(String, String)>, String) {
    let headers =
        page.headers.iter().filter(|(name, _)| !["date", "x-request-id", "content-length"].contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let escaped = username.replace('<', "&#60;").replace('>', "&#62;");
    (page.status, headers.collect(), page.html.replace(&format!("value=\"{escaped}\""), ""))
}

#[test]
fn user_enumeration_by_the_answer() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let barred = json!({ "username": "barred", "password": PASSWORD, "disabled": true });
        server.admin_post("/admin/v1/users", barred).await.is(201);
        server.admin_post("/admin/v1/users", json!({ "username": "nopassword" })).await.is(201);
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        let long = "n".repeat(5000);
        let mut answers = Vec::new();
        for (username, password) in [
            ("alice", "wrong"),
            ("nobody", PASSWORD),
            ("barred", PASSWORD),
            ("nopassword", PASSWORD),
            ("alice", "control\u{7}"),
            ("nobody", "control\u{7}"),
            ("what no\u{7}body is called", PASSWORD),
            ("<b>", PASSWORD),
            (&long, PASSWORD),
            ("alice", &long),
        ] {
            let page = browser.send_form(&login, &[("username", username), ("password", password)]).await.is(400);
            assert_eq!(browser.cookie("latchkey"), None, "{username}");
            answers.push(said(&page, username));
        }
        for answer in &answers[1..] {
            assert_eq!(*answer, answers[0]);
        }
        // Nor by how the next page looks: a hint is shown as it came.
        let hinted = async |username: &str| browser.open(&request(&[("login_hint", username)])).await;
        let (known, unknown) = (hinted("alice").await, hinted("nobody").await);
        let without_tickets = |page: &Page, name: &str| {
            let hidden = page.hidden();
            hidden.iter().fold(said(page, name).2, |html, (_, value)| html.replace(value, ""))
        };
        assert_eq!(without_tickets(&known, "alice"), without_tickets(&unknown, "nobody"));
    });
}

#[test]
fn password_guessing_at_the_page() {
    on_each_database(async |server: Server| {
        app(&server, json!({})).await;
        for name in ["alice", "nobody"] {
            let browser = Browser::new(&server);
            let login = browser.open(&request(&[])).await.is(200);
            let guess = [("username", name), ("password", "wrong")];
            let answers = server.at_once(30, async |_| browser.send_form(&login, &guess).await.status).await;
            let tried = answers.iter().filter(|status| **status == 400).count();
            assert!(tried <= 5, "{name}: {tried} guesses were checked: {answers:?}");
            assert!(answers.iter().all(|status| [400, 429, 503].contains(status)), "{answers:?}");
        }
        // Another browser, ticket or client does not help.
        app(&server, json!({ "client_id": "other" })).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[("client_id", "other")])).await;
        browser.send_form(&login, &ALICE).await.is(429);
    });
}
