//! What operators register of a client of the code flow: by the admin API and by `bootstrap.file`.

use serde_json::{Map, Value, json};

use crate::support::{Registered, Server, on_each_database, on_each_database_with};

const CALLBACK: &str = "https://app.example.com/callback";
const SECRET: &str = "a bootstrap secret of thirty-two bytes or more";

/// The members of the code flow, none at its default.
fn members() -> Value {
    json!({
        "redirect_uris": [CALLBACK, "http://127.0.0.1/callback", "https://app.example.com/callback?tenant=7"],
        "post_logout_redirect_uris": ["https://app.example.com/"],
        "backchannel_logout_uri": "https://app.example.com/logout",
        "require_pkce": false,
        "response_modes": ["form_post"],
        "id_token_signed_response_alg": "ES256",
        "userinfo_signed_response_alg": "RS256",
        "skip_consent": true,
        "client_uri": "https://app.example.com",
        "policy_uri": "https://app.example.com/privacy",
        "tos_uri": "https://app.example.com/terms",
    })
}

/// What an answer says where nothing was registered; what it leaves out is `null` here.
fn defaults() -> Value {
    json!({
        "redirect_uris": [],
        "post_logout_redirect_uris": [],
        "backchannel_logout_uri": null,
        "require_pkce": true,
        "response_modes": ["query", "form_post"],
        "id_token_signed_response_alg": "RS256",
        "userinfo_signed_response_alg": null,
        "skip_consent": false,
        "client_uri": null,
        "policy_uri": null,
        "tos_uri": null,
    })
}

/// A client body with `more` laid over it.
fn with(mut body: Value, more: &Value) -> Value {
    for (member, value) in more.as_object().unwrap() {
        body[member] = value.clone();
    }
    body
}

fn has(shown: &Value, expected: &Value) {
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(shown.get(member).unwrap_or(&Value::Null), value, "{member}: {shown}");
    }
}

#[test]
fn every_member_is_kept_changed_and_put_back_by_null() {
    on_each_database(async |server: Server| {
        let plain = server.admin_post("/admin/v1/clients", json!({ "client_id": "plain" })).await;
        plain.is(201);
        has(&plain.body, &defaults());

        let grants = json!({ "grant_types": ["authorization_code", "refresh_token"] });
        let body = with(with(json!({ "client_id": "app", "response_types": ["code"] }), &grants), &members());
        let made = server.admin_post("/admin/v1/clients", body).await;
        made.is(201);
        has(&made.body, &members());
        has(&made.body, &grants);
        has(&server.admin_get("/admin/v1/clients/app").await.body, &members());

        // One by one: each can be changed, and null is its default; the others stay.
        let path = "/admin/v1/clients/app";
        for (member, value) in members().as_object().unwrap() {
            if member == "redirect_uris" {
                continue;
            }
            let reset = server.admin_patch(path, json!({ member: null })).await;
            reset.is(200);
            has(&reset.body, &with(members(), &json!({ member: defaults()[member] })));
            let changed = server.admin_patch(path, json!({ member: value })).await;
            changed.is(200);
            has(&changed.body, &members());
        }
        let other = json!({ "redirect_uris": ["https://other.example.com/callback"] });
        has(&server.admin_patch(path, other.clone()).await.body, &with(members(), &other));
        let events = server.audit("client_updated").await;
        let from_to = json!({ "from": members()["redirect_uris"], "to": other["redirect_uris"] });
        assert!(events.iter().any(|event| event["detail"]["redirect_uris"] == from_to), "{events:?}");
        assert!(events.iter().any(|event| event["detail"]["changed"] == json!(["skip_consent"])), "{events:?}");

        let all = members().as_object().unwrap().keys().map(|member| (member.clone(), Value::Null)).collect();
        let all = with(Value::Object(all), &json!({ "grant_types": ["refresh_token"] }));
        let reset = server.admin_patch(path, all).await;
        reset.is(200);
        has(&reset.body, &defaults());
        let server = server.restart().await;
        has(&server.admin_get(path).await.body, &defaults());
    });
}

#[test]
fn what_is_unsafe_is_refused_with_its_reason() {
    on_each_database(async |server: Server| {
        let app = json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK] });
        server.admin_post("/admin/v1/clients", with(app.clone(), &json!({ "client_id": "app" }))).await.is(201);
        let public = "none";
        for (more, why) in [
            (json!({ "redirect_uris": ["https://*.example.com/callback"] }), "wildcards"),
            (json!({ "redirect_uris": [CALLBACK, "https://app.example.com/callback#x"] }), "fragment"),
            (json!({ "redirect_uris": ["https://app.example.com@evil.example/"] }), "before an @"),
            (json!({ "redirect_uris": ["/callback"] }), "not absolute"),
            (json!({ "redirect_uris": ["http://app.example.com/callback"] }), "loopback only"),
            (json!({ "redirect_uris": ["javascript:alert(1)"] }), "run or open"),
            (json!({ "redirect_uris": ["myapp:/callback"], "token_endpoint_auth_method": public }), "without a dot"),
            (json!({ "redirect_uris": ["com.example.app:/callback"] }), "private-use scheme"),
            (json!({ "redirect_uris": ["https://app.example.com\\@evil.example/"] }), "backslash"),
            (json!({ "redirect_uris": ["https://bücher.example/callback"] }), "xn--"),
            (json!({ "redirect_uris": ["https://app.example.com/a b"] }), "spaces"),
            (json!({ "redirect_uris": ["https://app.example.com/a\n"] }), "control"),
            (json!({ "redirect_uris": ["https://app.example.com/../x"] }), "segment"),
            (json!({ "redirect_uris": [format!("https://app.example.com/{}", "x".repeat(2_048))] }), "too long"),
            (json!({ "redirect_uris": [] }), "at least one of redirect_uris"),
            (json!({ "redirect_uris": null }), "at least one of redirect_uris"),
            (json!({ "grant_types": ["password"] }), "without the grant type authorization_code"),
            (json!({ "post_logout_redirect_uris": ["http://app.example.com/"] }), "post_logout_redirect_uris"),
            (json!({ "backchannel_logout_uri": "http://app.example.com/logout" }), "backchannel_logout_uri"),
            (json!({ "backchannel_logout_uri": "https://app.example.com/#logout" }), "fragment"),
            (json!({ "client_uri": "http://app.example.com/" }), "client_uri"),
            (json!({ "policy_uri": "javascript:alert(1)" }), "policy_uri"),
            (json!({ "tos_uri": "data:text/html,x" }), "tos_uri"),
            (json!({ "require_pkce": false, "token_endpoint_auth_method": public }), "require_pkce"),
            (
                json!({ "skip_consent": true, "token_endpoint_auth_method": public,
                        "redirect_uris": ["http://127.0.0.1/callback"] }),
                "skip_consent",
            ),
            (
                json!({ "skip_consent": true, "token_endpoint_auth_method": public,
                        "redirect_uris": ["com.example.app:/callback"] }),
                "skip_consent",
            ),
            (json!({ "response_types": ["code id_token"] }), "response_types"),
            (json!({ "response_modes": ["fragment"] }), "fragment"),
            (json!({ "response_modes": [] }), "may not be empty"),
            (json!({ "id_token_signed_response_alg": "none" }), "id_token_signed_response_alg"),
            (json!({ "userinfo_signed_response_alg": "HS256" }), "userinfo_signed_response_alg"),
        ] {
            for refused in [
                server.admin_post("/admin/v1/clients", with(app.clone(), &more)).await,
                server.admin_patch("/admin/v1/clients/app", more.clone()).await,
            ] {
                refused.is_error(400, "invalid_client_metadata");
                let told = refused.body["error_description"].as_str().unwrap();
                assert!(told.contains(why), "{more}: {told}");
            }
        }
        let listed = server.admin_get("/admin/v1/clients").await;
        assert_eq!(listed.body["items"].as_array().unwrap().len(), 2, "the admin and the one: {}", listed.text);
        has(&server.admin_get("/admin/v1/clients/app").await.body, &with(defaults(), &app));
        for more in
            [json!({ "require_pkce": "no" }), json!({ "redirect_uris": CALLBACK }), json!({ "redirect_uri": [] })]
        {
            server.admin_patch("/admin/v1/clients/app", more).await.is_error(400, "invalid_request");
        }
    });
}

#[test]
fn apps_and_pages_are_public_clients() {
    on_each_database(async |server: Server| {
        let native = json!({
            "client_id": "native", "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"],
            "redirect_uris": ["com.example.app:/callback", "http://127.0.0.1/callback", "http://[::1]/callback"],
            "post_logout_redirect_uris": ["com.example.app:/"],
        });
        server.admin_post("/admin/v1/clients", native.clone()).await.is(201);
        has(&server.admin_get("/admin/v1/clients/native").await.body, &with(native, &json!({ "require_pkce": true })));
        let page = json!({
            "client_id": "spa", "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"],
            "redirect_uris": [CALLBACK], "allowed_origins": ["https://app.example.com"], "skip_consent": true,
        });
        server.admin_post("/admin/v1/clients", page.clone()).await.is(201);
        has(&server.admin_get("/admin/v1/clients/spa").await.body, &page);

        // What a client is registered with counts in a later change, too.
        let confidential = json!({ "token_endpoint_auth_method": "client_secret_basic" });
        let refused = server.admin_patch("/admin/v1/clients/native", confidential).await;
        refused.is_error(400, "invalid_client_metadata");
        assert!(refused.text.contains("com.example.app:/callback"), "{}", refused.text);
        let at_home = json!({ "redirect_uris": ["http://localhost:3000/callback"] });
        let refused = server.admin_patch("/admin/v1/clients/spa", at_home).await;
        assert!(refused.text.contains("skip_consent"), "{}", refused.text);
    });
}

#[test]
fn the_token_endpoint_knows_only_grants_that_it_serves() {
    on_each_database(async |server: Server| {
        let body = json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK] });
        let made = server.admin_post("/admin/v1/clients", body).await;
        let text = |member: &str| made.body[member].as_str().unwrap().to_owned();
        let client = Registered { id: text("client_id"), secret: text("client_secret") };
        let metadata = server.get("/.well-known/oauth-authorization-server").await;
        let served = metadata.body["grant_types_supported"].as_array().unwrap().contains(&json!("authorization_code"));
        let form = [("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", CALLBACK)];
        let error = if served { "invalid_grant" } else { "unsupported_grant_type" };
        server.token(&client, &form).await.is_error(400, error);
    });
}

#[test]
fn bootstrap_reads_what_the_admin_api_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap.json");
    let body =
        with(json!({ "client_id": "web", "client_secret": SECRET, "grant_types": ["authorization_code"] }), &members());
    let write = |body: &Value| std::fs::write(&file, json!({ "clients": [body] }).to_string()).unwrap();
    on_each_database_with(
        |settings| {
            write(&body);
            settings.bootstrap.file = Some(file.clone());
        },
        async |server: Server| {
            has(&server.admin_get("/admin/v1/clients/web").await.body, &members());
            server.admin_patch("/admin/v1/clients/web", json!({ "skip_consent": false })).await.is(200);
            let mut server = server.restart().await;
            let warnings = &server.app.bootstrap.warnings;
            assert!(warnings.len() == 1 && warnings[0].contains("in skip_consent:"), "{warnings:?}");

            server.halt().await;
            for member in members().as_object().unwrap().keys() {
                let one = Map::from_iter([(member.clone(), json!("https://*.example"))]);
                write(&with(body.clone(), &Value::Object(one)));
                let told = server.start_error().await;
                assert!(told.contains("bootstrap.file"), "{member}: {told}");
            }
            write(&with(body.clone(), &json!({ "redirect_uris": ["http://app.example.com/"] })));
            let told = server.start_error().await;
            assert!(told.contains("clients[0] (\"web\")") && told.contains("loopback only"), "{told}");
        },
    );
}
