//! The code flow: from a client's request through the pages to its tokens, on both databases.

mod answers;
mod meanwhile;
pub mod pages;
mod prompts;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::domain::secret::sha256;
use serde_json::{Value, json};

use crate::support::browser::{Browser, Page};
use crate::support::people::claims;
use crate::support::{PASSWORD, Registered, Reply, Server, on_each_database};

pub const CALLBACK: &str = "https://app.example/callback";
pub const ISSUER: &str = "http://127.0.0.1:8420";
/// RFC 7636 appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A client of the code flow, and its user alice.
pub async fn app(server: &Server, over: Value) -> Registered {
    let mut body = json!({
        "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": [CALLBACK],
        "scope": "openid profile email offline_access read",
    });
    for (name, value) in over.as_object().unwrap() {
        body[name] = value.clone();
    }
    server.app(body).await
}

/// The path of an authorization request that is good, but for what is changed; an empty value takes a parameter away.
pub fn request(changes: &[(&str, &str)]) -> String {
    let good = [
        ("client_id", "web"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid email"),
        ("state", "s t&a=te"),
        ("nonce", "n-1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let kept = good.into_iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let all = kept.chain(changes.iter().copied().filter(|(_, value)| !value.is_empty()));
    let url = reqwest::Url::parse_with_params("http://x/oauth2/authorize", all).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap())
}

pub const ALICE: [(&str, &str); 2] = [("username", "alice"), ("password", PASSWORD)];

/// Signs alice in and consents, to the answer that the client gets.
pub async fn signed_in(browser: &Browser<'_>, path: &str) -> Page {
    let login = browser.open(path).await.is(200);
    let consent = browser.submit(&login, &ALICE).await.is(200);
    browser.submit(&consent, &[("decision", "allow")]).await
}

pub async fn exchange(server: &Server, app: &Registered, code: &str, over: &[(&str, &str)]) -> Reply {
    let good =
        [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)];
    let kept = good.into_iter().filter(|(name, _)| !over.iter().any(|(changed, _)| changed == name));
    let form: Vec<_> = kept.chain(over.iter().copied()).collect();
    server.form("/oauth2/token", Some((&app.id, &app.secret)), &form).await
}

/// The parameters that a client gets, with the code that is in them.
#[track_caller]
pub fn answered(page: &Page) -> BTreeMap<String, String> {
    let parameters = page.sent_to(CALLBACK);
    assert_eq!(parameters.get("iss").map(String::as_str), Some(ISSUER), "RFC 9207");
    parameters
}

/// The code that a client gets.
#[track_caller]
pub fn code_of(page: &Page) -> String {
    let parameters = answered(page);
    parameters.get("code").unwrap_or_else(|| panic!("{parameters:?}")).clone()
}

#[test]
fn a_user_signs_in_consents_and_the_client_gets_tokens() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);

        let login = browser.open(&request(&[])).await.is(200);
        assert!(login.html.contains("A web application") && login.html.contains("id=\"sign-in\""), "{}", login.html);
        let policy = login.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("form-action 'self' https://app.example;"), "{policy}");
        let consent = browser.submit(&login, &ALICE).await.is(200);
        assert!(consent.html.contains("id=\"allow\"") && consent.html.contains("alice"), "{}", consent.html);
        let back = browser.submit(&consent, &[("decision", "allow")]).await.is(303);
        let parameters = answered(&back);
        assert_eq!(parameters["state"], "s t&a=te");

        let tokens = exchange(&server, &app, &parameters["code"], &[]).await;
        tokens.is(200);
        let id_token = claims(tokens.body["id_token"].as_str().unwrap());
        let access = claims(&tokens.access());
        let half = &sha256(tokens.access().as_bytes())[..16];
        assert_eq!(id_token["nonce"], "n-1");
        assert_eq!((&id_token["iss"], &id_token["aud"]), (&json!(ISSUER), &json!("web")));
        assert_eq!((&id_token["sub"], &id_token["sid"]), (&access["sub"], &access["sid"]));
        assert_eq!(id_token["at_hash"], URL_SAFE_NO_PAD.encode(half));
        assert_eq!((&id_token["auth_time"], &id_token["amr"]), (&json!(server.clock_seconds()), &json!(["pwd"])));
        assert_eq!(id_token.get("acr"), None, "nobody asked");
        assert_eq!(tokens.body["scope"], "openid email");

        let renewed = server.refresh(&app, &tokens.refresh()).await;
        renewed.is(200);
        let again = claims(renewed.body["id_token"].as_str().unwrap());
        assert_eq!((&again["sid"], &again["auth_time"]), (&id_token["sid"], &id_token["auth_time"]));
        assert_eq!(again.get("nonce"), None, "OpenID Connect Core section 12.2");
        let told = server.get_as(&renewed.access(), "/oauth2/userinfo").await;
        told.is(200);
        assert_eq!(told.body["sub"], id_token["sub"]);

        // Who is signed in and has consented sees no page again.
        let silent = browser.open(&request(&[("prompt", "none"), ("nonce", "n-2")])).await.is(303);
        let tokens = exchange(&server, &app, &code_of(&silent), &[]).await;
        let second = claims(tokens.body["id_token"].as_str().unwrap());
        assert_eq!((&second["auth_time"], &second["nonce"]), (&id_token["auth_time"], &json!("n-2")));
        assert_ne!(second["sid"], id_token["sid"]);
        for (kind, count) in [("sign_in_began", 1), ("consent_granted", 1), ("code_redeemed", 2)] {
            assert_eq!(server.audit(kind).await.len(), count, "{kind}");
        }
    });
}

#[test]
fn a_code_is_good_once_and_a_second_use_ends_what_the_first_one_opened() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let code = code_of(&signed_in(&browser, &request(&[])).await);
        let tokens = exchange(&server, &app, &code, &[]).await;
        tokens.is(200);
        let again = exchange(&server, &app, &code, &[]).await;
        again.is_error(400, "invalid_grant");
        assert_eq!(server.introspect(&app, &tokens.access()).await.body["active"], false);
        let refused = server.refresh(&app, &tokens.refresh()).await;
        refused.is_error(400, "invalid_grant");
        assert_eq!(refused.body["reason"], "revoked");
        assert_eq!(server.audit("code_replayed").await.len(), 1);
        assert!(!tokens.access().is_empty());
    });
}
