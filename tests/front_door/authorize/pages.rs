//! What people do at the pages: mistype a password, refuse, load again, go back, open a second tab, wait too long.

use std::time::Duration;

use serde_json::json;

use super::{ALICE, CALLBACK, answered, app, code_of, exchange, request, signed_in};
use crate::support::browser::{Browser, Page};
use crate::support::{PASSWORD, on_each_database};

const MINUTE: Duration = Duration::from_secs(60);
const TOO_LONG: &str = "This sign-in took too long";
const OUT_OF_DATE: &str = "This page is out of date";

pub const BOB: [(&str, &str); 2] = [("username", "bob"), ("password", PASSWORD)];
pub const ALLOW: [(&str, &str); 1] = [("decision", "allow")];

/// What the page has in its field for the username.
fn username_in(page: &Page) -> &str {
    let field = page.html.split_once("name=\"username\"").unwrap().1;
    field.split_once(" value=\"").unwrap().1.split_once('"').unwrap().0
}

#[test]
fn a_wrong_password_is_answered_with_the_same_page_and_the_name_that_was_typed() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        let refused = browser.send_form(&login, &[("username", "Alice"), ("password", "wrong horse")]).await.is(400);
        assert!(refused.html.contains("That username and password don’t match."), "{}", refused.html);
        assert!(refused.html.contains("role=\"alert\"") && refused.html.contains("aria-invalid=\"true\""));
        assert_eq!(username_in(&refused), "Alice");
        assert!(!refused.html.contains("wrong horse"), "a password is never shown again");
        assert_eq!(refused.headers.get("set-cookie"), None);
        assert_eq!(browser.cookie("latchkey"), None);
        browser.submit(&refused, &ALICE).await.is(200);
        assert!(browser.cookie("latchkey").is_some());
    });
}

#[test]
fn who_guesses_too_often_is_told_how_long_to_wait() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        for _ in 0..5 {
            browser.submit(&login, &[("username", "alice"), ("password", "wrong")]).await.is(400);
        }
        let slowed = browser.submit(&login, &ALICE).await.is(429);
        assert!(slowed.html.contains("Too many attempts. Try again in "), "{}", slowed.html);
        assert_eq!((username_in(&slowed), browser.cookie("latchkey")), ("alice", None));
        let wait: u64 = slowed.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
        server.clock.advance(Duration::from_secs(wait));
        browser.submit(&slowed, &ALICE).await.is(200);
    });
}

#[test]
fn who_does_not_allow_it_sends_the_client_away_and_is_asked_again_another_time() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await;
        let consent = browser.submit(&login, &ALICE).await.is(200);
        assert!(consent.html.contains("id=\"deny\""), "{}", consent.html);
        // Only the button that allows does.
        for decision in ["deny", "", "Allow", "allow "] {
            let denied = answered(&browser.submit(&consent, &[("decision", decision)]).await.is(303));
            assert_eq!((denied["error"].as_str(), denied["state"].as_str()), ("access_denied", "s t&a=te"));
            assert!(!denied.contains_key("code") && !denied["error_description"].is_empty(), "{denied:?}");
        }
        assert_eq!(server.audit("consent_granted").await.len(), 0);

        let consent = browser.open(&request(&[("response_mode", "form_post")])).await.is(200);
        let denied = browser.submit(&consent, &[("decision", "deny")]).await.posted_to(CALLBACK);
        assert_eq!((denied["error"].as_str(), denied["state"].as_str()), ("access_denied", "s t&a=te"));
    });
}

#[test]
fn every_page_can_be_loaded_again_and_gone_back_to() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        let again = browser.get(&login.path).await.is(200);
        assert_eq!(again.html, login.html, "the same form, so that both can be sent");
        browser.submit(&again, &[("username", "alice"), ("password", "wrong")]).await.is(400);
        browser.get(&login.path).await.is(200);

        let consent = browser.submit(&login, &ALICE).await.is(200);
        assert!(consent.path.starts_with("/consent?ticket="), "{}", consent.path);
        assert_eq!(browser.get(&consent.path).await.is(200).html, consent.html);
        // Back at the sign-in page, and the form sent once more: whoever is signed in goes on.
        let back = browser.open(&login.path).await.is(200);
        assert_eq!(back.path, consent.path);
        let resent = browser.submit(&login, &ALICE).await.is(200);
        assert_eq!(resent.path, consent.path);

        // Every page leads on afterwards too, and each time to a code of its own.
        let mut codes = vec![code_of(&browser.submit(&consent, &ALLOW).await.is(303))];
        codes.push(code_of(&browser.open(&login.path).await.is(303)));
        codes.push(code_of(&browser.open(&consent.path).await.is(303)));
        codes.push(code_of(&browser.submit(&consent, &ALLOW).await.is(303)));
        codes.push(code_of(&browser.open(&request(&[])).await.is(303)));
        for code in &codes {
            exchange(&server, &app, code, &[]).await.is(200);
        }
        assert_eq!(server.audit("sign_in_began").await.len(), 1);
        assert_eq!(server.audit("sign_in_renewed").await.len(), 1);
    });
}

#[test]
fn two_tabs_of_one_browser_go_on_side_by_side() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let one = browser.open(&request(&[("state", "one"), ("nonce", "n-one")])).await.is(200);
        let two = browser.open(&request(&[("state", "two"), ("nonce", "n-two"), ("scope", "openid")])).await.is(200);
        assert_ne!(one.path, two.path);
        let one = browser.submit(&one, &ALICE).await.is(200);
        let two = browser.submit(&two, &ALICE).await.is(200);
        assert_eq!(server.audit("sign_in_began").await.len(), 1);
        for (consent, state) in [(one, "one"), (two, "two")] {
            let parameters = answered(&browser.submit(&consent, &ALLOW).await.is(303));
            assert_eq!(parameters["state"], state);
            let tokens = exchange(&server, &app, &parameters["code"], &[]).await;
            tokens.is(200);
            let id_token = crate::support::people::claims(tokens.body["id_token"].as_str().unwrap());
            assert_eq!(id_token["nonce"], format!("n-{state}"));
        }
    });
}

#[test]
fn a_page_that_was_made_for_one_user_is_answered_by_nobody_else() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        server.user("bob").await;
        let browser = Browser::new(&server);
        let one = browser.open(&request(&[("state", "one")])).await;
        let two = browser.open(&request(&[("state", "two")])).await;
        let of_alice = browser.submit(&one, &ALICE).await.is(200);
        let of_bob = browser.submit(&two, &BOB).await.is(200);
        assert!(of_alice.html.contains("<bdi>alice</bdi>") && of_bob.html.contains("<bdi>bob</bdi>"));
        browser.submit(&of_alice, &ALLOW).await.shows_error(400, OUT_OF_DATE);
        assert_eq!(server.audit("consent_granted").await.len(), 0);
        // Loaded again, it asks whoever is there now.
        let again = browser.get(&of_alice.path).await.is(200);
        assert!(again.html.contains("<bdi>bob</bdi>"), "{}", again.html);
        assert_eq!(answered(&browser.submit(&again, &ALLOW).await)["state"], "one");

        // Bob would rather be alice: the page that asks has a link for that, and a page that is loaded again stays.
        let consent = browser.open(&request(&[("prompt", "consent")])).await.is(200);
        let link = consent.html.split_once("<a href=\"").unwrap().1.split_once('"').unwrap().0.replace("&#38;", "&");
        let another = browser.open(&link).await.is(200);
        assert!(another.html.contains("id=\"sign-in\"") && !another.html.contains("bob"), "{}", another.html);
        let consent = browser.submit(&another, &ALICE).await.is(200);
        assert!(consent.html.contains("<bdi>alice</bdi>"), "{}", consent.html);
    });
}

#[test]
fn a_request_lives_for_half_an_hour_and_then_leads_nowhere() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        server.clock.advance(29 * MINUTE);
        browser.get(&login.path).await.is(200);
        let consent = browser.submit(&login, &ALICE).await.is(200);
        server.clock.advance(2 * MINUTE);
        for page in [&login, &consent] {
            browser.get(&page.path).await.shows_error(400, TOO_LONG);
        }
        browser.submit(&login, &ALICE).await.shows_error(400, TOO_LONG);
        for decision in ["allow", "deny"] {
            browser.submit(&consent, &[("decision", decision)]).await.shows_error(400, TOO_LONG);
        }
        assert_eq!(server.audit("consent_granted").await.len(), 0);
    });
}

#[test]
fn pages_speak_the_language_that_the_request_or_the_browser_prefers() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[("ui_locales", "fr zh-CN en")])).await.is(200);
        assert!(login.html.contains("<html lang=\"zh-Hans\">") && login.html.contains("<h1>登录</h1>"));
        let refused = browser.submit(&login, &[("username", "alice"), ("password", "x")]).await.is(400);
        assert!(refused.html.contains("用户名或密码不正确"), "{}", refused.html);
        let consent = browser.submit(&refused, &ALICE).await.is(200);
        assert!(consent.html.contains("想使用您的账号") && consent.html.contains("允许"), "{}", consent.html);

        let login = Browser::new(&server).open(&request(&[])).await;
        for (ui_locales, accept, language) in [
            ("", "zh-CN,zh;q=0.9", "zh-Hans"),
            ("", "de", "en"),
            ("en", "zh-CN", "en"),
            ("tlh", "zh-CN", "zh-Hans"),
            ("zh-TW", "en", "en"),
        ] {
            let visitor = Browser::new(&server);
            let sent = visitor.get(&request(&[("ui_locales", ui_locales)])).await.is(303);
            let page = visitor.get_with(&sent.location.unwrap(), &[("accept-language", accept)]).await.is(200);
            assert!(page.html.contains(&format!("<html lang=\"{language}\">")), "{ui_locales} {accept}");
        }
        let late = browser.get_with("/login?ticket=x", &[("accept-language", "zh-CN")]).await.is(400);
        assert!(late.html.contains("<html lang=\"zh-Hans\">"), "{}", late.html);
        assert!(login.html.contains("<html lang=\"en\">"));
    });
}

#[test]
fn a_login_hint_is_the_name_that_the_page_begins_with() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[("login_hint", "alice")])).await.is(200);
        assert_eq!(username_in(&login), "alice");
        let refused = browser.submit(&login, &[("username", "al"), ("password", "x")]).await.is(400);
        assert_eq!(username_in(&refused), "al", "what was typed counts for more");
        browser.submit(&login, &ALICE).await.is(200);
        // It signs nobody in, and out.
        let silent = answered(&browser.open(&request(&[("login_hint", "bob"), ("prompt", "none")])).await);
        assert_eq!(silent["error"], "consent_required");
        signed_in(&Browser::new(&server), &request(&[("login_hint", "somebody else")])).await.is(303);
    });
}
