//! The user's own account: devices, what clients were allowed, the password.

use serde_json::json;

use crate::authorize::{ALICE, app, request};
use crate::logout::{leaving, tokens};
use crate::support::browser::{Browser, Page};
use crate::support::{PASSWORD, Server, on_each_database};

const NEW: &str = "a new correct horse";

async fn enter<'a>(server: &'a Server, username: &str) -> Browser<'a> {
    let browser = Browser::new(server);
    let login = browser.open("/account").await.is(200);
    assert!(login.html.contains("id=\"sign-in\"") && !login.html.contains("to continue to"), "{}", login.html);
    let account = browser.submit(&login, &[("username", username), ("password", PASSWORD)]).await;
    is_account(account, username);
    browser
}

#[track_caller]
fn is_account(page: Page, username: &str) -> Page {
    let page = page.is(200);
    assert!(page.html.contains("change_password") && page.html.contains(username), "{}", page.html);
    page
}

/// Sends one of the page's forms.
async fn act(browser: &Browser<'_>, page: &Page, fields: &[(&str, &str)]) -> Page {
    let hidden = page.hidden();
    let csrf = hidden.iter().find(|(name, _)| name == "csrf").unwrap();
    let all: Vec<(&str, &str)> =
        [(csrf.0.as_str(), csrf.1.as_str())].into_iter().chain(fields.iter().copied()).collect();
    browser.post("/account", &all).await
}

/// The ids of the other devices that the page can end.
fn others(page: &Page) -> Vec<String> {
    let parts = page.html.split("name=\"sign_in\" value=\"").skip(1);
    parts.map(|part| part.split_once('"').unwrap().0.to_owned()).collect()
}

#[test]
fn a_user_sees_the_devices_and_ends_one() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let (desk, phone) = (enter(&server, "alice").await, enter(&server, "alice").await);
        let of_phone = tokens(&phone, &server, &client, "openid").await;
        let page = is_account(desk.open("/account").await, "alice");
        assert!(page.html.contains("This device"), "{}", page.html);
        let others = others(&page);
        assert_eq!(others.len(), 1, "{}", page.html);
        let ended = act(&desk, &page, &[("action", "end_device"), ("sign_in", &others[0])]).await;
        let ended = is_account(ended, "alice");
        assert!(ended.html.contains("That device is signed out") && self::others(&ended).is_empty(), "{}", ended.html);
        assert!(phone.get("/account").await.is(303).location.unwrap().starts_with("/login"));
        server.refresh(&client, &of_phone.refresh()).await.is_refused("revoked");
        assert_eq!(desk.get("/login").await.is(303).location.as_deref(), Some("/account"));

        let left = desk.follow(act(&desk, &ended, &[("action", "log_out")]).await).await.is(200);
        assert!(left.html.contains("signed out"), "{}", left.html);
        assert_eq!(desk.cookie("latchkey"), None);
        desk.get("/account").await.is(303);
    });
}

#[test]
fn nobody_ends_what_is_anothers() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        server.user("bob").await;
        let (alice, alices_phone) = (enter(&server, "alice").await, enter(&server, "alice").await);
        let bob = enter(&server, "bob").await;
        let alices = others(&alice.open("/account").await);
        let page = bob.open("/account").await;
        for id in [alices[0].as_str(), "AAAAAAAAAAAAAAAAAAAAAA", "", "../x"] {
            is_account(act(&bob, &page, &[("action", "end_device"), ("sign_in", id)]).await, "bob");
        }
        is_account(alices_phone.open("/account").await, "alice");

        // A form of one account does nothing in another, and none without the browser it was given to.
        let stale = act(&alice, &page, &[("action", "log_out_all")]).await.is(400);
        assert!(stale.html.contains("change_password"), "{}", stale.html);
        let page = alice.open("/account").await;
        alice.set_cookie("latchkey-visit", &"A".repeat(43));
        act(&alice, &page, &[("action", "log_out_all")]).await.is(400);
        alice.post("/account", &[("action", "log_out_all")]).await.is(400);
        is_account(alices_phone.open("/account").await, "alice");
    });
}

#[test]
fn what_was_allowed_is_taken_back_and_asked_again() {
    on_each_database(async |server| {
        let client = app(&server, json!({})).await;
        let browser = enter(&server, "alice").await;
        let got = tokens(&browser, &server, &client, "openid email offline_access").await;
        let page = is_account(browser.open("/account").await, "alice");
        assert!(page.html.contains("A web application") && page.html.contains("value=\"web\""), "{}", page.html);
        let revoked = act(&browser, &page, &[("action", "revoke"), ("client_id", "web")]).await.is(200);
        assert!(revoked.html.contains("No application has access"), "{}", revoked.html);
        server.refresh(&client, &got.refresh()).await.is_refused("revoked");
        let asked = browser.open(&request(&[])).await.is(200);
        assert!(asked.html.contains("id=\"allow\""), "{}", asked.html);
        assert_eq!(server.audit("consent_revoked").await.len(), 1);
    });
}

#[test]
fn a_changed_password_ends_all_but_this_sign_in() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let (desk, phone) = (enter(&server, "alice").await, enter(&server, "alice").await);
        let of_desk = tokens(&desk, &server, &client, "openid email").await;
        let of_phone = tokens(&phone, &server, &client, "openid offline_access").await;
        let page = desk.open("/account").await;
        let change = async |browser: &Browser<'_>, current: &str, new: &str| {
            let fields = [("action", "change_password"), ("current_password", current), ("new_password", new)];
            act(browser, &page, &fields).await
        };
        assert!(change(&desk, "wrong", NEW).await.is(400).html.contains("current password isn"));
        assert!(change(&desk, PASSWORD, "a\u{7}b").await.is(400).html.contains("can’t be used"));
        assert!(change(&desk, PASSWORD, "").await.is(400).html.contains("can’t be used"));
        is_account(phone.open("/account").await, "alice");

        let before = desk.cookie("latchkey").unwrap();
        let changed = is_account(change(&desk, PASSWORD, NEW).await, "alice");
        assert!(changed.html.contains("Your password is changed"), "{}", changed.html);
        assert_ne!(desk.cookie("latchkey").unwrap(), before, "a copied cookie is of no use");
        let thief = Browser::new(&server);
        thief.set_cookie("latchkey", &before);
        thief.get("/account").await.is(303);
        phone.get("/account").await.is(303);
        server.refresh(&client, &of_phone.refresh()).await.is_refused("revoked");
        server.refresh(&client, &of_desk.refresh()).await.is(200);
        is_account(desk.open("/account").await, "alice");

        let login = phone.open("/account").await;
        phone.submit(&login, &ALICE).await.is(400);
        let fields = [("username", "alice"), ("password", NEW)];
        is_account(phone.submit(&login, &fields).await, "alice");
        assert_eq!(server.audit("user_password_changed").await.len(), 1);
    });
}

#[test]
fn guesses_of_the_current_password_are_throttled_like_logins() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = enter(&server, "alice").await;
        let page = browser.open("/account").await;
        let guess = [("action", "change_password"), ("current_password", "guess"), ("new_password", NEW)];
        let mut last = act(&browser, &page, &guess).await.is(400);
        for _ in 0..20 {
            last = act(&browser, &page, &guess).await;
            if last.status == 429 {
                break;
            }
        }
        let slowed = last.is(429);
        assert!(slowed.html.contains("change_password"), "{}", slowed.html);
        let wait: u64 = slowed.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    });
}

#[test]
fn logging_out_everywhere_ends_everything() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let (desk, phone) = (enter(&server, "alice").await, enter(&server, "alice").await);
        let offline = tokens(&phone, &server, &client, "openid offline_access").await;
        let page = desk.open("/account").await;
        let left = act(&desk, &page, &[("action", "log_out_all")]).await.is(303);
        assert_eq!(left.location.as_deref(), Some("/logged-out"));
        phone.get("/account").await.is(303);
        server.refresh(&client, &offline.refresh()).await.is_refused("revoked");
        assert_eq!(server.audit("user_logged_out").await.len(), 1);
    });
}
