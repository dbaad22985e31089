//! How answers reach all kinds of clients, and what the tokens are good for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use latchkey::domain::secret::sha256;
use serde_json::json;

use super::pages::ALLOW;
use super::{ALICE, CALLBACK, CHALLENGE, VERIFIER, answered, app, code_of, exchange, request, signed_in};
use crate::support::browser::Browser;
use crate::support::people::claims;
use crate::support::{Server, on_each_database};

const LISTED: &str = "http://127.0.0.1/callback";
const APP: &str = "com.example.app:/callback";

/// A client that keeps no secret.
async fn public(server: &Server) {
    app(
        server,
        json!({ "client_id": "native", "token_endpoint_auth_method": "none", "scope": "openid email",
                "redirect_uris": [LISTED, APP, "http://[::1]/callback", CALLBACK] }),
    )
    .await;
}

#[test]
fn form_post_hands_the_answer_over_by_a_form_and_nothing_by_the_address() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let page = signed_in(&browser, &request(&[("response_mode", "form_post")])).await;
        let parameters = page.posted_to(CALLBACK);
        let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
        assert_eq!(names, ["code", "iss", "state"]);
        assert_eq!((parameters["state"].as_str(), parameters["iss"].as_str()), ("s t&a=te", super::ISSUER));
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        let script = page.html.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
        let hash = STANDARD.encode(sha256(script.as_bytes()));
        assert!(policy.contains(&format!("script-src 'sha256-{hash}';")), "{policy}");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("form-action 'self' https://app.example;"), "{policy}");
        assert!(page.html.contains("<button type=\"submit\""), "it works without script");
        assert_eq!(page.headers["cache-control"], "no-store");
        exchange(&server, &app, &parameters["code"], &[]).await.is(200);

        let refused = browser.get(&request(&[("response_mode", "form_post"), ("scope", "sudo")])).await;
        assert_eq!(refused.posted_to(CALLBACK)["error"], "invalid_scope");
        for mode in ["fragment", "query.jwt", "web_message"] {
            let refused = browser.get(&request(&[("response_mode", mode)])).await;
            assert_eq!(answered(&refused)["error"], "invalid_request", "{mode}");
        }
        let query_only = json!({ "response_modes": ["query"] });
        server.admin_patch("/admin/v1/clients/web", query_only).await.is(200);
        let refused = browser.get(&request(&[("response_mode", "form_post")])).await;
        assert_eq!(answered(&refused)["error"], "invalid_request");
    });
}

#[test]
fn a_request_by_post_from_another_site_finds_who_is_signed_in() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        let query = request(&[("state", "p\u{f6}st & more")]);
        let url = reqwest::Url::parse(&format!("http://x{query}")).unwrap();
        let form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // A browser sends no Lax cookie with it.
        let stranger = Browser::new(&server);
        let sent = stranger.post("/oauth2/authorize", &form).await.is(303);
        assert!(sent.location.as_deref().unwrap().starts_with("/oauth2/authorize?client_id=web&"), "{sent:?}");
        assert!(stranger.cookies().is_empty(), "{sent:?}");
        let back = browser.follow(sent).await.is(303);
        assert_eq!(answered(&back)["state"], "p\u{f6}st & more");
    });
}

#[test]
fn a_resource_narrows_whom_the_access_tokens_are_for() {
    on_each_database(async |server| {
        let app = app(&server, json!({ "audience": ["https://a.example", "https://b.example"] })).await;
        let browser = Browser::new(&server);
        let back = signed_in(&browser, &request(&[("resource", "https://a.example")])).await;
        let tokens = exchange(&server, &app, &code_of(&back), &[]).await;
        assert_eq!(claims(&tokens.access())["aud"], json!("https://a.example"));
        let renewed = server.refresh(&app, &tokens.refresh()).await;
        assert_eq!(claims(&renewed.access())["aud"], json!("https://a.example"));
        let more = server.refresh_with(&app, &renewed.refresh(), &[("resource", "https://b.example")]).await;
        more.is_error(400, "invalid_target");
        let elsewhere = browser.open(&request(&[("resource", "https://c.example")])).await;
        assert_eq!(answered(&elsewhere)["error"], "invalid_target");

        let both = request(&[("resource", "https://a.example"), ("resource", "https://b.example")]);
        let code = &code_of(&browser.open(&both).await);
        let narrowed = exchange(&server, &app, code, &[("resource", "https://b.example")]).await;
        assert_eq!(claims(&narrowed.access())["aud"], json!("https://b.example"));
    });
}

#[test]
fn offline_access_is_asked_for_and_means_nothing_without_refresh_tokens() {
    on_each_database(async |server| {
        let web = app(&server, json!({})).await;
        let scope = [("scope", "openid offline_access")];
        let browser = Browser::new(&server);
        let login = browser.open(&request(&scope)).await;
        let consent = browser.submit(&login, &ALICE).await.is(200);
        assert!(consent.html.contains("Stay connected when you’re not using it"), "{}", consent.html);
        let back = browser.submit(&consent, &ALLOW).await;
        let tokens = exchange(&server, &web, &code_of(&back), &[]).await;
        assert_eq!(tokens.body["scope"], "openid offline_access");
        server.refresh(&web, &tokens.refresh()).await.is(200);

        let bare = app(&server, json!({ "client_id": "bare", "grant_types": ["authorization_code"] })).await;
        let consent = browser.open(&request(&[("client_id", "bare"), scope[0]])).await.is(200);
        let back = browser.submit(&consent, &ALLOW).await;
        let tokens = exchange(&server, &bare, &code_of(&back), &[]).await;
        tokens.is(200);
        assert_eq!((&tokens.body["scope"], tokens.body.get("refresh_token")), (&json!("openid"), None));
        assert!(tokens.body["id_token"].is_string());
    });
}

#[test]
fn without_openid_there_is_a_code_flow_and_no_id_token() {
    on_each_database(async |server| {
        let app = app(&server, json!({ "scope": "read write" })).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[("scope", "read"), ("nonce", "")])).await.is(200);
        let consent = browser.submit(&login, &ALICE).await.is(200);
        assert!(consent.html.contains("Use the permission <code>read</code>"), "{}", consent.html);
        let back = browser.submit(&consent, &ALLOW).await;
        let tokens = exchange(&server, &app, &code_of(&back), &[]).await;
        tokens.is(200);
        assert_eq!((&tokens.body["scope"], tokens.body.get("id_token")), (&json!("read"), None));
        let renewed = server.refresh(&app, &tokens.refresh()).await;
        assert_eq!(renewed.body.get("id_token"), None);
        server.get_as(&renewed.access(), "/oauth2/userinfo").await.is_error(403, "insufficient_scope");
        assert_eq!(answered(&browser.open(&request(&[("scope", "openid")])).await)["error"], "invalid_scope");
    });
}

#[test]
fn an_app_on_the_machine_is_answered_at_the_port_that_it_listens_on() {
    on_each_database(async |server| {
        public(&server).await;
        let browser = Browser::new(&server);
        for (at, uri) in ["http://127.0.0.1:51004/callback", "http://[::1]:51005/callback", LISTED].iter().enumerate() {
            let path = request(&[("client_id", "native"), ("redirect_uri", uri)]);
            let mut page = browser.open(&path).await.is(200);
            let source = if uri.contains('[') { "http:".into() } else { uri.replace("/callback", "") };
            let policy = page.headers["content-security-policy"].to_str().unwrap().to_owned();
            assert!(policy.contains(&format!("form-action 'self' {source} ")), "{policy}");
            if at == 0 {
                page = browser.submit(&page, &ALICE).await;
            }
            // Whatever else listens on the machine could have sent the request: its user is asked each time.
            assert!(page.html.contains("id=\"allow\""), "{uri}: {}", page.html);
            server.clock.advance(std::time::Duration::from_secs(1));
            let parameters = browser.submit(&page, &ALLOW).await.is(303).sent_to(uri);
            let form = |verifier: &'static str, code: &str| {
                let form = [("grant_type", "authorization_code"), ("client_id", "native"), ("redirect_uri", uri)];
                form.into_iter()
                    .chain([("code_verifier", verifier)])
                    .map(|(name, value)| (name, value.to_owned()))
                    .chain([("code", code.to_owned())])
                    .collect::<Vec<_>>()
            };
            let send = async |form: Vec<(&str, String)>| {
                let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
                server.form("/oauth2/token", None, &form).await
            };
            let bare = send(form("", &parameters["code"])).await;
            bare.is_error(400, "invalid_grant");
            let tokens = send(form(VERIFIER, &parameters["code"])).await;
            tokens.is(200);
            server.clock.advance(std::time::Duration::from_secs(1));
        }
    });
}

#[test]
fn an_app_is_answered_at_its_own_scheme_and_a_public_client_never_without_pkce() {
    on_each_database(async |server| {
        public(&server).await;
        let browser = Browser::new(&server);
        let native = [("client_id", "native"), ("redirect_uri", APP)];
        let login = browser.open(&request(&native)).await.is(200);
        let policy = login.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("form-action 'self' com.example.app: "), "{policy}");
        let consent = browser.submit(&login, &ALICE).await.is(200);
        assert!(consent.html.contains("You’ll be taken to <bdi>com.example.app</bdi>"), "{}", consent.html);
        let parameters = browser.submit(&consent, &ALLOW).await.is(303).sent_to(APP);
        assert_eq!(parameters["state"], "s t&a=te");

        let waived = json!({ "require_pkce": false });
        server.admin_patch("/admin/v1/clients/native", waived).await.is_error(400, "invalid_client_metadata");
        for changes in [
            &[("code_challenge", ""), ("code_challenge_method", "")][..],
            &[("code_challenge_method", "plain")],
            &[("code_challenge", VERIFIER), ("code_challenge_method", "")],
        ] {
            let all = [&native[..], changes].concat();
            let refused = browser.open(&request(&all)).await.is(303).sent_to(APP);
            assert_eq!(refused["error"], "invalid_request", "{changes:?}");
        }
        assert_ne!(CHALLENGE, VERIFIER);
    });
}

#[test]
fn the_users_of_a_first_party_client_are_not_asked() {
    on_each_database(async |server| {
        let app = app(&server, json!({ "skip_consent": true })).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        let back = browser.submit(&login, &ALICE).await.is(303);
        exchange(&server, &app, &code_of(&back), &[]).await.is(200);
        code_of(&browser.open(&request(&[("prompt", "none"), ("scope", "openid profile")])).await);
        // Unless the client asks for that itself.
        browser.open(&request(&[("prompt", "consent")])).await.is(200);
        assert_eq!(server.audit("consent_granted").await.len(), 0);
        // What was never allowed is nothing once it is asked for again.
        server.admin_patch("/admin/v1/clients/web", json!({ "skip_consent": false })).await.is(200);
        let page = browser.open(&request(&[])).await.is(200);
        assert!(page.html.contains("id=\"allow\""), "{}", page.html);
    });
}
