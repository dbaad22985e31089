//! Logouts: who is asked, who is sent where, and what ends (OpenID Connect RP-Initiated Logout 1.0).

use latchkey::keys::Typ;
use serde_json::{Value, json};

use crate::authorize::{ALICE, answered, app, exchange, request, signed_in};
use crate::support::browser::{Browser, Page};
use crate::support::people::claims;
use crate::support::{PASSWORD, Registered, Reply, Server, on_each_database};

const OUT: &str = "https://app.example/out";

/// The client of these tests.
pub async fn leaving(server: &Server, over: Value) -> Registered {
    let mut body = json!({ "post_logout_redirect_uris": [OUT, "https://app.example/bye?a=1"] });
    for (name, value) in over.as_object().unwrap() {
        body[name] = value.clone();
    }
    app(server, body).await
}

/// Signs alice in at the client, and gets its tokens.
pub async fn tokens(browser: &Browser<'_>, server: &Server, client: &Registered, scope: &str) -> Reply {
    let asked = request(&[("client_id", &client.id), ("scope", scope)]);
    let mut page = browser.open(&asked).await;
    if page.html.contains("id=\"sign-in\"") {
        page = browser.submit(&page, &ALICE).await;
    }
    if page.html.contains("id=\"allow\"") {
        page = browser.submit(&page, &[("decision", "allow")]).await;
    }
    let tokens = exchange(server, client, &answered(&page)["code"], &[]).await;
    tokens.is(200);
    tokens
}

pub fn id_token(tokens: &Reply) -> String {
    tokens.body["id_token"].as_str().unwrap().to_owned()
}

fn logout(parameters: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params("http://x/oauth2/logout", parameters).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// Whether the browser is signed in: `prompt=none` is answered with a code.
async fn is_signed_in(browser: &Browser<'_>) -> bool {
    let silent = browser.open(&request(&[("prompt", "none")])).await;
    let parameters = answered(&silent);
    if !parameters.contains_key("code") {
        assert_eq!(parameters["error"], "login_required");
    }
    parameters.contains_key("code")
}

#[track_caller]
fn is_question(page: Page) -> Page {
    let page = page.is(200);
    assert!(page.html.contains("id=\"confirm\"") && page.html.contains("alice"), "{}", page.html);
    page
}

#[track_caller]
fn is_signed_out_page(page: Page) {
    let page = page.is(200);
    assert!(page.html.contains("signed out") && !page.html.contains("<form"), "{}", page.html);
}

#[test]
fn a_client_that_shows_the_id_token_is_obeyed() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let browser = Browser::new(&server);
        let tokens = tokens(&browser, &server, &client, "openid email").await;
        let id_token = id_token(&tokens);
        let asked = [("id_token_hint", id_token.as_str()), ("post_logout_redirect_uri", OUT), ("state", "s t&a=te")];

        // By POST of another site no cookie comes along: it comes again by GET.
        let posted = browser.post("/oauth2/logout", &asked).await.is(303);
        assert!(posted.location.as_deref().unwrap().starts_with("/oauth2/logout?"), "{posted:?}");
        let left = browser.follow(posted).await.is(303);
        assert_eq!(left.sent_to(OUT), [("state".to_owned(), "s t&a=te".to_owned())].into());
        assert_eq!(browser.cookie("latchkey"), None, "the cookie is gone");
        assert!(!is_signed_in(&browser).await);
        server.refresh(&client, &tokens.refresh()).await.is_refused("revoked");
        assert!(!server.is_active(&client, &tokens.access()).await);
        let audit = server.audit("sign_in_ended").await;
        assert_eq!((audit.len(), &audit[0]["client_id"]), (1, &json!("web")), "{audit:?}");

        // Once more, with nobody signed in: the browser is sent on all the same.
        let again =
            browser.open(&logout(&[asked[0], ("post_logout_redirect_uri", "https://app.example/bye?a=1")])).await;
        assert_eq!(again.is(303).location.as_deref(), Some("https://app.example/bye?a=1"));
        is_signed_out_page(browser.open("/oauth2/logout").await);
        assert_eq!(server.audit("sign_in_ended").await.len(), 1);
    });
}

#[test]
fn an_expired_hint_is_still_a_hint() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let browser = Browser::new(&server);
        let first = tokens(&browser, &server, &client, "openid email").await;
        server.clock.advance(std::time::Duration::from_secs(3 * 60 * 60));
        assert!(is_signed_in(&browser).await);
        let left = browser.open(&logout(&[("id_token_hint", &id_token(&first))])).await;
        is_signed_out_page(left);
        assert!(!is_signed_in(&browser).await);

        // The sign-in has expired, its session has not: the logout of the client still ends it.
        let second = tokens(&browser, &server, &client, "openid email").await;
        server.clock.advance(std::time::Duration::from_secs(25 * 60 * 60));
        assert!(!is_signed_in(&browser).await);
        is_signed_out_page(browser.open(&logout(&[("id_token_hint", &id_token(&second))])).await);
        server.refresh(&client, &second.refresh()).await.is_refused("revoked");
    });
}

#[test]
fn what_nobody_can_be_sure_of_is_asked() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let browser = Browser::new(&server);
        let tokens_of_alice = tokens(&browser, &server, &client, "openid email").await;
        let elsewhere = Browser::new(&server);
        let other_browsers = id_token(&tokens(&elsewhere, &server, &client, "openid email").await);

        for asked in [
            vec![],
            vec![("state", "s")],
            vec![("client_id", "web")],
            vec![("post_logout_redirect_uri", OUT)],
            vec![("client_id", "web"), ("post_logout_redirect_uri", OUT), ("logout_hint", "alice")],
            vec![("id_token_hint", other_browsers.as_str()), ("post_logout_redirect_uri", OUT)],
        ] {
            is_question(browser.open(&logout(&asked)).await);
        }
        let asked = [("client_id", "web"), ("post_logout_redirect_uri", OUT), ("state", "s")];
        let question = is_question(browser.open(&logout(&asked)).await);
        assert!(question.html.contains("A web application"), "{}", question.html);
        let policy = question.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("form-action 'self' https://app.example;"), "{policy}");

        let stayed = browser.submit(&question, &[("decision", "stay")]).await.is(200);
        assert!(stayed.html.contains("change_password"), "the account: {}", stayed.html);
        assert!(is_signed_in(&browser).await);

        let left = browser.submit(&question, &[("decision", "log_out")]).await.is(303);
        assert_eq!(left.sent_to(OUT), [("state".to_owned(), "s".to_owned())].into());
        assert!(!is_signed_in(&browser).await && is_signed_in(&elsewhere).await);
        server.refresh(&client, &tokens_of_alice.refresh()).await.is_refused("revoked");
        // The button pressed twice.
        let twice = browser.submit(&question, &[("decision", "log_out")]).await.is(303);
        assert_eq!(twice.sent_to(OUT)["state"], "s");

        let chinese = elsewhere.open(&logout(&[("ui_locales", "zh-CN")])).await.is(200);
        assert!(chinese.html.contains("<html lang=\"zh-Hans\">"), "{}", chinese.html);
        let left = elsewhere.submit(&chinese, &[("decision", "log_out")]).await.is(200);
        assert!(left.html.contains("<html lang=\"zh-Hans\">"), "{}", left.html);
    });
}

#[test]
fn nobody_is_sent_where_no_client_has_registered() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        server.other_app().await;
        let browser = Browser::new(&server);
        let id_token = id_token(&tokens(&browser, &server, &client, "openid email").await);
        let told = async |parameters: &[(&str, &str)], why: &str| {
            let page = browser.open(&logout(parameters)).await.is(400);
            assert!(page.location.is_none() && page.html.contains(why), "{parameters:?}: {}", page.html);
        };
        for trick in [
            "https://evil.example/",
            "https://app.example/out/",
            "https://app.example/out?x=1",
            "https://app.example/out#f",
            "https://app.example@evil.example/out",
            "https://app.example.evil.example/out",
            "https://APP.example/out",
            "https://app.example./out",
            "https://app.example/%6Fut",
            "http://app.example/out",
            "//app.example/out",
            "https:app.example/out",
            "javascript:alert(1)",
            "/account",
        ] {
            told(&[("id_token_hint", &id_token), ("post_logout_redirect_uri", trick)], "character by character").await;
            told(&[("client_id", "web"), ("post_logout_redirect_uri", trick)], "character by character").await;
        }
        told(&[("client_id", "other"), ("post_logout_redirect_uri", OUT)], "character by character").await;
        told(&[("client_id", "other"), ("id_token_hint", &id_token)], "another client").await;
        told(&[("client_id", "nobody"), ("post_logout_redirect_uri", OUT)], "no client").await;
        told(&[("state", "a"), ("state", "b")], "more than once").await;
        told(&[("client_id", "web"), ("state", &"x".repeat(9000))], "bytes").await;
        assert!(is_signed_in(&browser).await);
    });
}

#[test]
fn a_hint_that_is_not_ours_is_worth_nothing() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let browser = Browser::new(&server);
        let tokens = tokens(&browser, &server, &client, "openid email").await;
        let good = id_token(&tokens);
        let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
        let stranger = Server::sqlite().await;
        let keys = stranger.app.context.replica.keys();
        let slot = keys.active(latchkey::domain::key::Alg::RS256).unwrap();
        let foreign = latchkey::tokens::mint::sign(slot, Typ::Jwt, &claims(&good)).unwrap();
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        let bad = [
            foreign,
            format!("{none}.{payload}."),
            format!("{none}.{payload}.{signature}"),
            format!("{header}.{payload}."),
            tokens.access(),
            "no token".to_owned(),
        ];
        for hint in bad {
            for more in [None, Some(("client_id", "web"))] {
                let mut asked =
                    vec![("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", OUT), ("state", "s")];
                asked.extend(more);
                let question = is_question(browser.open(&logout(&asked)).await);
                assert!(!question.hidden().iter().any(|(_, value)| value.contains(OUT)));
                // Nobody signed in: still nobody is sent anywhere.
                is_signed_out_page(Browser::new(&server).open(&logout(&asked)).await);
            }
        }
        let question = browser.open(&logout(&[("id_token_hint", "x"), ("post_logout_redirect_uri", OUT)])).await;
        is_signed_out_page(browser.submit(&question, &[("decision", "log_out")]).await);
        assert!(!is_signed_in(&browser).await);
    });
}

#[test]
fn the_hint_of_a_compromised_key_is_worth_nothing() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let browser = Browser::new(&server);
        let hint = id_token(&tokens(&browser, &server, &client, "openid email").await);
        let lost = json!({ "alg": "RS256", "mode": "compromise" });
        server.admin_post("/admin/v1/keys/rotate", lost).await.is(200);
        is_question(browser.open(&logout(&[("id_token_hint", &hint), ("post_logout_redirect_uri", OUT)])).await);
    });
}

#[test]
fn another_site_cannot_answer_the_question() {
    on_each_database(async |server| {
        leaving(&server, json!({})).await;
        server.user("bob").await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await;
        let question = is_question(browser.open("/oauth2/logout").await);
        let ticket = question.hidden().into_iter().find(|(name, _)| name == "ticket").unwrap().1;

        // What an attacker gets of a browser of their own, in the victim's.
        let attacker = Browser::new(&server);
        let page = attacker.open("/login").await;
        attacker.submit(&page, &[("username", "bob"), ("password", PASSWORD)]).await.is(200);
        let theirs = attacker.open("/oauth2/logout").await.is(200);
        let refused = browser.send_form(&theirs, &[("decision", "log_out")]).await.is(400);
        assert!(refused.location.is_none());
        for csrf in ["", "AAAA"] {
            let fields = [("ticket", ticket.as_str()), ("csrf", csrf), ("decision", "log_out")];
            browser.post("/oauth2/logout", &fields).await.is(400);
        }
        // A ticket of another purpose, a forged and an old one.
        browser.post("/oauth2/logout", &[("ticket", "AAAA"), ("decision", "log_out")]).await.is(400);
        server.clock.advance(std::time::Duration::from_secs(31 * 60));
        browser.submit(&question, &[("decision", "log_out")]).await.is(400);
        assert!(is_signed_in(&browser).await);
    });
}

#[test]
fn offline_access_outlives_the_logout_and_nothing_else_does() {
    on_each_database(async |server| {
        let client = leaving(&server, json!({})).await;
        let browser = Browser::new(&server);
        let online = tokens(&browser, &server, &client, "openid email").await;
        let offline = tokens(&browser, &server, &client, "openid offline_access").await;
        is_signed_out_page(browser.open(&logout(&[("id_token_hint", &id_token(&online))])).await);
        server.refresh(&client, &online.refresh()).await.is_refused("revoked");
        server.refresh(&client, &offline.refresh()).await.is(200);
        assert!(server.is_active(&client, &offline.access()).await);
    });
}

#[test]
fn a_post_logout_redirect_uri_that_was_taken_away_meanwhile_is_not_used() {
    on_each_database(async |server| {
        leaving(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await;
        let asked = [("client_id", "web"), ("post_logout_redirect_uri", OUT)];
        let question = is_question(browser.open(&logout(&asked)).await);
        server.admin_patch("/admin/v1/clients/web", json!({ "post_logout_redirect_uris": [] })).await.is(200);
        is_signed_out_page(browser.submit(&question, &[("decision", "log_out")]).await);
    });
}
