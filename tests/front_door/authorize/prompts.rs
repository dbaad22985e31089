//! What a client insists on: no page, a new sign-in, a new consent, a certain user, a certain age, single claims.

use std::time::Duration;

use serde_json::{Value, json};

use super::pages::{ALLOW, BOB};
use super::{ALICE, CALLBACK, answered, app, code_of, exchange, request, signed_in};
use crate::support::browser::{Browser, Page};
use crate::support::forge::segment;
use crate::support::people::claims;
use crate::support::{Registered, Server, on_each_database};

/// What the client was refused with; it gets its state and no code.
#[track_caller]
fn refused(page: &Page) -> String {
    let parameters = answered(page);
    assert_eq!(parameters["state"], "s t&a=te");
    assert!(!parameters.contains_key("code") && parameters["error_description"].len() > 10, "{parameters:?}");
    parameters["error"].clone()
}

/// Exchanges the code of an answer.
async fn id_token(server: &Server, app: &Registered, page: &Page) -> (String, Value) {
    let tokens = exchange(server, app, &code_of(page), &[]).await;
    tokens.is(200);
    let text = tokens.body["id_token"].as_str().unwrap().to_owned();
    let said = claims(&text);
    (text, said)
}

#[test]
fn prompt_none_shows_no_page_whatever_would_be_needed() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let silent = |more: &[(&'static str, &'static str)]| request(&[&[("prompt", "none")], more].concat());
        let browser = Browser::new(&server);
        assert_eq!(refused(&browser.get(&silent(&[])).await.is(303)), "login_required");
        let posted = browser.get(&silent(&[("response_mode", "form_post")])).await.posted_to(CALLBACK);
        assert_eq!((posted["error"].as_str(), posted["state"].as_str()), ("login_required", "s t&a=te"));

        let login = browser.open(&request(&[])).await;
        let consent = browser.submit(&login, &ALICE).await.is(200);
        assert_eq!(refused(&browser.get(&silent(&[])).await), "consent_required");
        browser.submit(&consent, &ALLOW).await.is(303);
        assert!(answered(&browser.get(&silent(&[])).await.is(303)).contains_key("code"));
        assert_eq!(refused(&browser.get(&silent(&[("scope", "openid phone")])).await), "invalid_scope");
        assert_eq!(refused(&browser.get(&silent(&[("scope", "openid profile")])).await), "consent_required");
        for beside in ["none login", "none consent", "select_account none"] {
            assert_eq!(refused(&browser.get(&request(&[("prompt", beside)])).await), "invalid_request", "{beside}");
        }
        assert_eq!(refused(&browser.get(&request(&[("prompt", "create")])).await), "invalid_request");
    });
}

#[test]
fn prompt_login_asks_whoever_is_signed_in_once_more() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        server.user("bob").await;
        let browser = Browser::new(&server);
        let (_, first) = id_token(&server, &app, &signed_in(&browser, &request(&[])).await).await;
        for prompt in ["login", "select_account", "login consent"] {
            server.clock.advance(Duration::from_secs(5));
            let secret = browser.cookie("latchkey");
            let login = browser.open(&request(&[("prompt", prompt)])).await.is(200);
            assert!(login.html.contains("Please confirm that it’s you."), "{}", login.html);
            let mut back = browser.submit(&login, &ALICE).await;
            if prompt.contains("consent") {
                back = browser.submit(&back.is(200), &ALLOW).await;
            }
            let (_, again) = id_token(&server, &app, &back.is(303)).await;
            assert_eq!((&again["sub"], &again["auth_time"]), (&first["sub"], &json!(server.clock_seconds())));
            assert_ne!(browser.cookie("latchkey"), secret);
        }
        let began = server.audit("sign_in_began").await.len();
        assert_eq!((began, server.audit("sign_in_renewed").await.len()), (1, 3));

        // Somebody else may, too: that is what the client gets.
        let login = browser.open(&request(&[("prompt", "login")])).await.is(200);
        let consent = browser.submit(&login, &BOB).await.is(200);
        let (_, other) = id_token(&server, &app, &browser.submit(&consent, &ALLOW).await).await;
        assert_ne!(other["sub"], first["sub"]);
    });
}

#[test]
fn prompt_consent_asks_again_what_was_allowed_before() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        browser.open(&request(&[])).await.is(303);
        server.clock.advance(Duration::from_secs(1));
        let consent = browser.open(&request(&[("prompt", "consent")])).await.is(200);
        assert!(consent.html.contains("See your email address"), "{}", consent.html);
        assert_eq!(refused(&browser.submit(&consent, &[("decision", "deny")]).await), "access_denied");
        answered(&browser.submit(&consent, &ALLOW).await.is(303));
        // What was denied this once was allowed before, and still is.
        browser.open(&request(&[])).await.is(303);
    });
}

#[test]
fn max_age_is_how_long_ago_the_password_may_have_been_typed() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let (_, first) = id_token(&server, &app, &signed_in(&browser, &request(&[])).await).await;
        server.clock.advance(Duration::from_secs(99));
        let (_, silent) = id_token(&server, &app, &browser.open(&request(&[("max_age", "100")])).await).await;
        assert_eq!(silent["auth_time"], first["auth_time"]);
        for max_age in ["98", "0"] {
            let path = request(&[("max_age", max_age), ("prompt", "none")]);
            assert_eq!(refused(&browser.get(&path).await), "login_required", "{max_age}");
        }
        let login = browser.open(&request(&[("max_age", "0")])).await.is(200);
        server.clock.advance(Duration::from_secs(7));
        let (_, again) = id_token(&server, &app, &browser.submit(&login, &ALICE).await).await;
        assert_eq!(again["auth_time"], server.clock_seconds());
        for nonsense in ["-1", "soon", "1.5", "99999999999"] {
            assert_eq!(refused(&browser.get(&request(&[("max_age", nonsense)])).await), "invalid_request");
        }
    });
}

#[test]
fn an_id_token_hint_says_who_it_must_be() {
    on_each_database(async |server| {
        let web = app(&server, json!({})).await;
        let other = app(&server, json!({ "client_id": "other" })).await;
        server.user("bob").await;
        let browser = Browser::new(&server);
        let (hint, alice) = id_token(&server, &web, &signed_in(&browser, &request(&[])).await).await;
        let with = |hint: &str, prompt: &str| request(&[("id_token_hint", hint), ("prompt", prompt)]);
        answered(&browser.get(&with(&hint, "none")).await.is(303));

        // Somebody else is not taken for her, nor lets her in.
        let of_bob = Browser::new(&server);
        let login = of_bob.open(&request(&[])).await;
        let consent = of_bob.submit(&login, &BOB).await;
        of_bob.submit(&consent, &ALLOW).await.is(303);
        assert_eq!(refused(&of_bob.get(&with(&hint, "none")).await), "login_required");
        let login = of_bob.open(&with(&hint, "")).await.is(200);
        let still = of_bob.submit(&login, &BOB).await.is(200);
        assert!(still.html.contains("id=\"sign-in\""), "{}", still.html);
        let (_, said) = id_token(&server, &web, &of_bob.submit(&still, &ALICE).await.is(303)).await;
        assert_eq!(said["sub"], alice["sub"]);

        // It is none of the client's own.
        let path = request(&[("client_id", "other")]);
        let back = browser.submit(&browser.open(&path).await.is(200), &ALLOW).await;
        let (foreign, _) = id_token(&server, &other, &back).await;
        let parts: Vec<&str> = hint.split('.').collect();
        let unsigned = format!("{}.{}.", segment(r#"{"alg":"none"}"#), parts[1]);
        let access = exchange(&server, &web, &code_of(&browser.get(&request(&[])).await), &[]).await.access();
        let garbled = format!("{}.{}.{}", parts[0], parts[1], parts[2].replace(['A', 'b'], "c"));
        let long = "a".repeat(7000);
        for wrong in [&foreign, &unsigned, &garbled, &access, "x", "a.b.c", "\u{fffd}", &long] {
            assert_eq!(refused(&browser.get(&with(wrong, "none")).await), "invalid_request", "{wrong}");
        }

        // When it was told matters to nobody.
        server.clock.advance(Duration::from_secs(2 * 60 * 60));
        answered(&browser.get(&with(&hint, "none")).await.is(303)).get("code").unwrap();
    });
}

#[test]
fn a_kind_of_login_is_told_where_it_is_asked_for_and_refused_where_it_cannot_be_had() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        for (changes, acr) in [
            (("acr_values", "1"), json!("1")),
            (("acr_values", "urn:example:gold 1"), json!("1")),
            (("claims", r#"{"id_token":{"acr":null}}"#), json!("1")),
            (("claims", r#"{"id_token":{"acr":{"essential":true,"values":["1","2"]}}}"#), json!("1")),
            (("claims", r#"{"id_token":{"acr":{"value":"9"}}}"#), json!("1")),
            (("display", "popup"), Value::Null),
        ] {
            let (_, said) = id_token(&server, &app, &browser.open(&request(&[changes])).await.is(303)).await;
            assert_eq!((&said["acr"], &said["amr"]), (&acr, &json!(["pwd"])), "{changes:?}");
        }
        let gold = r#"{"id_token":{"acr":{"essential":true,"value":"gold"}}}"#;
        let unmet = refused(&browser.get(&request(&[("claims", gold)])).await);
        assert_eq!(unmet, "unmet_authentication_requirements");
    });
}

#[test]
fn single_claims_are_asked_for_told_where_they_were_wanted_and_no_others() {
    on_each_database(async |server| {
        let app = app(&server, json!({ "scope": "openid profile email address read" })).await;
        let sub = server.admin_get("/admin/v1/users?username=alice").await.body["items"][0]["sub"].clone();
        let known = json!({ "name": "Alice Ice", "address": { "country": "CH" }, "phone_number": "+41 31 555 01 01" });
        server.admin_patch(&format!("/admin/v1/users/{}", sub.as_str().unwrap()), known).await.is(200);
        let wanted = json!({
            "userinfo": { "address": null, "phone_number": { "essential": true }, "shoe_size": null },
            "id_token": { "name": { "essential": true }, "email": null, "auth_time": null, "phone_number": null },
        });
        let path = request(&[("scope", "openid"), ("claims", &wanted.to_string())]);
        let browser = Browser::new(&server);
        let login = browser.open(&path).await.is(200);
        let consent = browser.submit(&login, &ALICE).await.is(200);
        for line in ["See your name and profile", "See your email address", "See your postal address"] {
            assert!(consent.html.contains(line), "{line}: {}", consent.html);
        }
        assert!(!consent.html.contains("phone number"), "the client never gets it: {}", consent.html);
        let back = browser.submit(&consent, &ALLOW).await;
        let tokens = exchange(&server, &app, &code_of(&back), &[]).await;
        assert_eq!(tokens.body["scope"], "openid");
        let said = claims(tokens.body["id_token"].as_str().unwrap());
        assert_eq!((&said["name"], &said["email"]), (&json!("Alice Ice"), &json!("alice@example.com")));
        for absent in ["address", "phone_number", "email_verified", "given_name"] {
            assert_eq!(said.get(absent), None, "{absent}");
        }
        let expected = json!({ "sub": sub, "address": { "country": "CH" } });
        for access in [tokens.access(), server.refresh(&app, &tokens.refresh()).await.access()] {
            assert_eq!(server.get_as(&access, "/oauth2/userinfo").await.body, expected);
        }
        // Remembered, like scopes; more is asked for.
        browser.open(&path).await.is(303);
        assert_eq!(refused(&browser.get(&request(&[("claims", "[]")])).await), "invalid_request");
        let insists =
            |sub: &str| request(&[("claims", &json!({ "id_token": { "sub": { "value": sub } } }).to_string())]);
        assert_eq!(browser.open(&insists(sub.as_str().unwrap())).await.status, 303);
        let login = browser.open(&insists("usr_somebody_else")).await.is(200);
        assert!(login.html.contains("id=\"sign-in\""), "{}", login.html);
    });
}
