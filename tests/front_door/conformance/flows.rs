//! Modules of requests that succeed, whatever else they carry.

use serde_json::{Value, json};

use super::{Done, Run, module, names};
use crate::support::{Registered, Reply};

#[test]
fn oidcc_server() {
    module("oidcc-server", async |run| {
        let done = run.happy(&[]).await;
        assert_eq!(names(&run.userinfo(&done).await), names(&json!({ "sub": "" })), "nothing that was not asked for");
    });
}

#[test]
fn oidcc_userinfo_get() {
    module("oidcc-userinfo-get", async |run| {
        run.userinfo(&run.happy(&[]).await).await;
    });
}

/// Userinfo by POST.
async fn posted(run: &Run<'_>, done: &Done, in_header: bool) -> Value {
    let request = run.server.http.post(format!("{}/oauth2/userinfo", run.server.url));
    let access = done.tokens.access();
    let request = if in_header { request.bearer_auth(access) } else { request.form(&[("access_token", access)]) };
    let told = Reply::of(request.send().await.unwrap()).await;
    told.is(200);
    assert_eq!(told.body["sub"], done.id_token.1["sub"]);
    told.body
}

#[test]
fn oidcc_userinfo_post_header() {
    module("oidcc-userinfo-post-header", async |run| {
        posted(&run, &run.happy(&[]).await, true).await;
    });
}

#[test]
fn oidcc_userinfo_post_body() {
    module("oidcc-userinfo-post-body", async |run| {
        posted(&run, &run.happy(&[]).await, false).await;
    });
}

#[test]
fn oidcc_ensure_request_without_nonce_succeeds_for_code_flow() {
    module("oidcc-ensure-request-without-nonce-succeeds-for-code-flow", async |run| {
        let done = run.happy(&[("nonce", "")]).await;
        assert_eq!(done.id_token.1.get("nonce"), None);
    });
}

/// What a scope releases, each with a value of its kind.
const RELEASED: [(&str, &[&str]); 4] = [
    (
        "profile",
        &[
            "name",
            "family_name",
            "given_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("address", &["address"]),
    ("phone", &["phone_number", "phone_number_verified"]),
];

/// Userinfo tells all that these scopes release, and no more.
async fn releases(run: &Run<'_>, scopes: &[&str]) {
    let done = run.happy(&[("scope", &format!("openid {}", scopes.join(" ")))]).await;
    let told = run.userinfo(&done).await;
    let of_scopes = RELEASED.iter().filter(|(scope, _)| scopes.contains(scope)).flat_map(|(_, claims)| *claims);
    let expected = of_scopes.copied().chain(["sub"]).collect();
    assert_eq!(names(&told), expected);
    for (name, value) in told.as_object().unwrap() {
        let is_right = match name.as_str() {
            "email_verified" | "phone_number_verified" => value.is_boolean(),
            "updated_at" => value.as_i64().is_some_and(|at| at > 1_000_000_000),
            "address" => value["formatted"].is_string() && value["country"].is_string(),
            "profile" | "picture" | "website" => value.as_str().unwrap().starts_with("https://"),
            _ => value.as_str().is_some_and(|text| !text.is_empty()),
        };
        assert!(is_right, "{name}: {value}");
    }
    let granted = done.tokens.body["scope"].as_str().unwrap();
    assert!(scopes.iter().all(|scope| granted.split(' ').any(|token| token == *scope)), "{granted}");
}

#[test]
fn oidcc_scope_profile() {
    module("oidcc-scope-profile", async |run| releases(&run, &["profile"]).await);
}

#[test]
fn oidcc_scope_email() {
    module("oidcc-scope-email", async |run| releases(&run, &["email"]).await);
}

#[test]
fn oidcc_scope_address() {
    module("oidcc-scope-address", async |run| releases(&run, &["address"]).await);
}

#[test]
fn oidcc_scope_phone() {
    module("oidcc-scope-phone", async |run| releases(&run, &["phone"]).await);
}

#[test]
fn oidcc_scope_all() {
    module("oidcc-scope-all", async |run| releases(&run, &["profile", "email", "address", "phone"]).await);
}

#[test]
fn oidcc_alternate_happy_flow() {
    module("oidcc-alternate-happy-flow", async |run| {
        let path = run.request(&[("scope", "email openid")]);
        let (endpoint, query) = path.split_once('?').unwrap();
        let turned: Vec<&str> = query.split('&').rev().collect();
        let page = run.visit(&format!("{endpoint}?{}", turned.join("&"))).await;
        let client = run.client("client");
        let done = run.done(&client, run.exchange(&client, &run.code(&page)).await, "nonce-of-the-suite").await;
        assert_eq!(run.userinfo(&done).await["email"], "alice@op.localtest");
    });
}

/// The request succeeds with this beside it.
fn accepts(name: &str, beside: (&str, &str)) {
    module(name, async |run| {
        run.userinfo(&run.happy(&[beside]).await).await;
    });
}

#[test]
fn oidcc_display_page() {
    accepts("oidcc-display-page", ("display", "page"));
}

#[test]
fn oidcc_display_popup() {
    accepts("oidcc-display-popup", ("display", "popup"));
}

#[test]
fn oidcc_ensure_request_with_unknown_parameter_succeeds() {
    accepts("oidcc-ensure-request-with-unknown-parameter-succeeds", ("extra", "foobar"));
}

#[test]
fn oidcc_login_hint() {
    accepts("oidcc-login-hint", ("login_hint", "alice"));
}

#[test]
fn oidcc_ui_locales() {
    accepts("oidcc-ui-locales", ("ui_locales", "en"));
}

#[test]
fn oidcc_claims_locales() {
    accepts("oidcc-claims-locales", ("claims_locales", "se"));
}

#[test]
fn oidcc_ensure_request_with_acr_values_succeeds() {
    module("oidcc-ensure-request-with-acr-values-succeeds", async |run| {
        let wanted = run.plan.all["server"]["acr_values"].as_str().unwrap();
        let done = run.happy(&[("acr_values", wanted)]).await;
        assert_eq!(done.id_token.1["acr"].as_str(), Some(wanted));
    });
}

#[test]
fn oidcc_ensure_request_with_valid_pkce_succeeds() {
    module("oidcc-ensure-request-with-valid-pkce-succeeds", async |run| {
        let pkce = [("code_challenge", crate::authorize::CHALLENGE), ("code_challenge_method", "S256")];
        let code = run.code(&run.visit(&run.request(&pkce)).await);
        let (client, callback) = (run.client("client"), run.plan.callback());
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", callback.as_str()),
            ("code_verifier", crate::authorize::VERIFIER),
        ];
        run.done(&client, run.server.token(&client, &form).await, "nonce-of-the-suite").await;
    });
}

#[test]
fn oidcc_claims_essential() {
    module("oidcc-claims-essential", async |run| {
        let done = run.happy(&[("claims", r#"{"userinfo":{"name":{"essential":true}}}"#)]).await;
        assert_eq!(run.userinfo(&done).await["name"], "Alice Marie Ice");
    });
}

#[test]
fn oidcc_ensure_post_request_succeeds() {
    module("oidcc-ensure-post-request-succeeds", async |run| {
        let url = reqwest::Url::parse(&format!("http://x{}", run.request(&[]))).unwrap();
        let form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let sent = run.browser.post("/oauth2/authorize", &form).await.is(303);
        let page = run.visit(&sent.location.unwrap()).await;
        let client = run.client("client");
        run.done(&client, run.exchange(&client, &run.code(&page)).await, "nonce-of-the-suite").await;
    });
}

#[test]
fn oidcc_server_client_secret_post() {
    module("oidcc-server-client-secret-post", async |run| {
        let Registered { id, secret } = run.client("client_secret_post");
        let code = run.code(&run.visit(&run.request(&[("client_id", &id)])).await);
        let callback = run.plan.callback();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", callback.as_str()),
            ("client_id", id.as_str()),
            ("client_secret", secret.as_str()),
        ];
        let tokens = run.server.form("/oauth2/token", None, &form).await;
        let done = run.done(&Registered { id: id.clone(), secret: secret.clone() }, tokens, "nonce-of-the-suite").await;
        run.userinfo(&done).await;
    });
}
