//! Userinfo: what is told of a user, to whom, and to whom not, on both databases.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::config::Settings;
use latchkey::domain::audit::{Actor, AuditType};
use latchkey::domain::ids::ClientId;
use latchkey::domain::key::Alg;
use latchkey::storage::ClientEffects;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use serde_json::{Value, json};

use crate::support::people::{claims, header};
use crate::support::{Registered, Reply, Server, configured, on_each_database, on_each_database_with};

const PATH: &str = "/oauth2/userinfo";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const FORM: &str = "application/x-www-form-urlencoded";
const SCOPE: &str = "openid profile email address phone read";

/// A client that may have every standard claim, and a user who has them all.
async fn app(server: &Server, over: Value) -> Registered {
    let mut body = json!({
        "grant_types": ["password", "refresh_token", "client_credentials", EXCHANGE], "scope": SCOPE,
        "allowed_origins": ["https://spa.example"],
    });
    for (name, value) in over.as_object().unwrap() {
        body[name] = value.clone();
    }
    let app = server.app(body).await;
    let mut all = profile();
    for (name, value) in [
        ("email", json!("alice@example.com")),
        ("email_verified", json!(true)),
        ("address", address()),
        ("phone_number", json!("+41 31 555 01 01")),
        ("phone_number_verified", json!(false)),
        ("external_id", json!("42")),
    ] {
        all[name] = value;
    }
    server.admin_patch(&format!("/admin/v1/users/{}", alice(server).await), all).await.is(200);
    app
}

fn profile() -> Value {
    json!({
        "name": "Alice Ice", "given_name": "Alice", "family_name": "Ice", "middle_name": "M", "nickname": "Al",
        "preferred_username": "al", "profile": "https://al.example", "picture": "https://al.example/p.png",
        "website": "https://al.example", "gender": "female", "birthdate": "2000-02-29", "zoneinfo": "Europe/Zurich",
        "locale": "de-CH",
    })
}

fn address() -> Value {
    json!({ "street_address": "Gasse 1", "locality": "Bern", "country": "CH" })
}

async fn alice(server: &Server) -> String {
    let found = server.admin_get("/admin/v1/users?username=alice").await;
    found.body["items"][0]["sub"].as_str().unwrap().to_owned()
}

async fn ask(server: &Server, method: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    ask_at(server, PATH, method, headers, body).await
}

async fn ask_at(server: &Server, path: &str, method: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = server.http.request(method.parse().unwrap(), format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::of(request.body(body.to_owned()).send().await.unwrap()).await
}

async fn with_scope(server: &Server, app: &Registered, scope: &str) -> String {
    let login = server.login_with(app, &[("scope", scope)]).await;
    login.is(200);
    login.access()
}

/// Everything but `updated_at`, which is checked by itself.
#[track_caller]
fn told(reply: &Reply) -> Value {
    reply.is(200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    let mut body = reply.body.clone();
    body.as_object_mut().unwrap().remove("updated_at");
    body
}

#[test]
fn each_scope_releases_its_claims_and_sub_is_always_told() {
    on_each_database(async |server: Server| {
        let app = app(&server, json!({})).await;
        let sub = alice(&server).await;
        let mut all = profile();
        all["sub"] = json!(sub);
        let mut only = json!({ "sub": sub });
        for (scope, released) in [
            ("openid", json!({})),
            ("openid profile", profile()),
            ("email openid", json!({ "email": "alice@example.com", "email_verified": true })),
            ("openid address", json!({ "address": address() })),
            ("openid phone", json!({ "phone_number": "+41 31 555 01 01", "phone_number_verified": false })),
        ] {
            let token = with_scope(&server, &app, scope).await;
            let reply = server.get_as(&token, PATH).await;
            let mut expected = json!({ "sub": sub });
            expected.as_object_mut().unwrap().extend(released.as_object().cloned().unwrap());
            only.as_object_mut().unwrap().extend(released.as_object().cloned().unwrap());
            assert_eq!(told(&reply), expected, "{scope}");
            let updated = reply.body["updated_at"].as_i64();
            assert_eq!(updated, scope.contains("profile").then(|| server.clock_seconds()), "{scope}");
            assert_eq!(claims(&token)["sub"], reply.body["sub"]);
        }
        let token = server.login(&app).await.access();
        assert_eq!(told(&server.get_as(&token, PATH).await), only, "all of them");
    });
}

#[test]
fn the_token_comes_in_the_header_or_in_a_form_and_in_one_of_them() {
    on_each_database(async |server: Server| {
        let app = app(&server, json!({})).await;
        let token = with_scope(&server, &app, "openid email").await;
        let bearer = format!("Bearer {token}");
        let expected = told(&server.get_as(&token, PATH).await);
        let in_form = format!("access_token={token}");
        for (method, headers, body) in [
            ("POST", vec![("authorization", bearer.as_str())], ""),
            ("POST", vec![("authorization", bearer.as_str()), ("content-type", FORM)], "a=b"),
            ("POST", vec![("authorization", bearer.as_str()), ("content-type", "application/json")], "{}"),
            ("POST", vec![("content-type", FORM)], in_form.as_str()),
        ] {
            assert_eq!(told(&ask(&server, method, &headers, body).await), expected, "{method} {headers:?}");
        }

        let both = [("authorization", bearer.as_str()), ("content-type", FORM)];
        ask(&server, "POST", &both, &in_form).await.is_error(400, "invalid_request");
        let twice = format!("{in_form}&{in_form}");
        ask(&server, "POST", &[("content-type", FORM)], &twice).await.is_error(400, "invalid_request");
        let in_url = format!("{PATH}?access_token={token}");
        for headers in [&[][..], &both[..1]] {
            let refused = ask_at(&server, &in_url, "GET", headers, "").await;
            refused.is_error(400, "invalid_request");
            assert!(refused.body["error_description"].as_str().unwrap().contains("logs"), "{}", refused.text);
        }
        let by_get = ask(&server, "GET", &[("content-type", FORM)], &in_form).await;
        by_get.is_error(401, "invalid_token");
        let not_a_form = ask(&server, "POST", &[("content-type", "text/plain")], &in_form).await;
        not_a_form.is_error(401, "invalid_token");
        let put = ask(&server, "PUT", &both[..1], "").await;
        put.is_error(405, "method_not_allowed");
        assert_eq!(put.header("allow"), "GET, HEAD, OPTIONS, POST");
    });
}

#[test]
fn a_challenge_says_what_was_wrong_with_the_token_and_nothing_where_there_was_none() {
    on_each_database(async |server: Server| {
        let app = app(&server, json!({})).await;
        let none = server.get(PATH).await;
        none.is_error(401, "invalid_token");
        assert_eq!(none.header("www-authenticate"), "Bearer realm=\"latchkey\"");

        let login = server.login(&app).await;
        server.get_as(&login.access(), PATH).await.is(200);
        let other = with_scope(&server, &app, "read email").await;
        let narrow = server.get_as(&other, PATH).await;
        narrow.is_error(403, "insufficient_scope");
        assert!(
            narrow.header("www-authenticate").starts_with("Bearer realm=\"latchkey\", error=\"insufficient_scope\"")
        );

        let for_itself = server.token(&app, &[("grant_type", "client_credentials"), ("scope", "openid")]).await;
        for_itself.is(200);
        let inactive = format!("{}x", login.access());
        for (what, token) in [
            ("a client that acts for itself", for_itself.access()),
            ("a refresh token", login.refresh()),
            ("garbage", "garbage".to_owned()),
            ("a changed signature", inactive),
        ] {
            let headers = [("content-type", FORM)];
            for refused in [
                server.get_as(&token, PATH).await,
                ask(&server, "POST", &headers, &format!("access_token={token}")).await,
            ] {
                refused.is_error(401, "invalid_token");
                let challenge = refused.header("www-authenticate");
                assert!(
                    challenge.starts_with("Bearer realm=\"latchkey\", error=\"invalid_token\""),
                    "{what}: {challenge}"
                );
            }
        }
        let basic = ask(&server, "GET", &[("authorization", "Basic d2ViOng=")], "").await;
        basic.is_error(401, "invalid_token");

        server.clock.advance(Duration::from_secs(600));
        server.get_as(&login.access(), PATH).await.is_error(401, "invalid_token");
    });
}

#[test]
fn what_is_revoked_tells_nothing_at_the_very_next_call() {
    on_each_database(async |server: Server| {
        let app = app(&server, json!({})).await;
        let user = format!("/admin/v1/users/{}", alice(&server).await);
        let fresh = async || {
            let token = server.login(&app).await;
            server.get_as(&token.access(), PATH).await.is(200);
            token
        };
        let revoked = fresh().await;
        server.revoke(&app, &revoked.refresh()).await.is(200);
        server.get_as(&revoked.access(), PATH).await.is_error(401, "invalid_token");

        let disabled = fresh().await;
        server.admin_patch(&user, json!({ "disabled": true })).await.is(200);
        server.get_as(&disabled.access(), PATH).await.is_error(401, "invalid_token");
        server.admin_patch(&user, json!({ "disabled": false })).await.is(200);
        server.get_as(&disabled.access(), PATH).await.is_error(401, "invalid_token");

        let renamed = fresh().await;
        server.admin_patch(&user, json!({ "name": "Alice Fire" })).await.is(200);
        assert_eq!(server.get_as(&renamed.access(), PATH).await.body["name"], "Alice Fire", "never from memory");

        let other = fresh().await;
        server.admin_patch("/admin/v1/clients/web", json!({ "disabled": true })).await.is(200);
        server.get_as(&other.access(), PATH).await.is_error(401, "invalid_token");
        server.admin_patch("/admin/v1/clients/web", json!({ "disabled": false })).await.is(200);
        server.clock.advance(Duration::from_secs(1));

        let deleted = fresh().await;
        server.admin_delete(&user).await.is(204);
        server.get_as(&deleted.access(), PATH).await.is_error(401, "invalid_token");
    });
}

#[test]
fn pages_of_the_tokens_own_client_may_read_the_answer() {
    on_each_database(async |server: Server| {
        let web = app(&server, json!({})).await;
        let body = json!({ "client_id": "other", "scope": SCOPE, "allowed_origins": ["https://other.example"] });
        server.app(body).await;
        let token = format!("Bearer {}", server.login(&web).await.access());
        for (origin, readable) in
            [("https://spa.example", true), ("https://other.example", false), ("https://evil.example", false)]
        {
            let answer = ask(&server, "GET", &[("origin", origin), ("authorization", &token)], "").await;
            answer.is(200);
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, if readable { origin } else { "" });
            assert!(answer.header("vary").contains("Origin"));
        }
        let preflight = [
            ("origin", "https://spa.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization"),
        ];
        let preflight = ask(&server, "OPTIONS", &preflight, "").await;
        preflight.is(204);
        assert_eq!(preflight.header("access-control-allow-origin"), "https://spa.example");
        assert!(preflight.header("access-control-allow-headers").contains("Authorization"));
    });
}

const RULES: &str = "
[[claims]]
claim = 'user_id'
attribute = 'external_id'
as = 'integer'
in = ['access_token', 'userinfo']

[[claims]]
claim = 'name'
template = '{given_name} the Great'
in = ['userinfo']
scope = 'profile'

[[claims]]
claim = 'since'
attribute = 'session.started_at'
in = ['userinfo', 'id_token']

[[claims]]
claim = 'tenant'
value = 'forum'
in = ['id_token']
";

#[test]
fn the_operators_own_claims_are_told_where_their_rule_says() {
    let rules = |settings: &mut Settings| settings.claims = configured(RULES).claims;
    on_each_database_with(rules, async |server: Server| {
        let app = app(&server, json!({})).await;
        let token = with_scope(&server, &app, "openid profile").await;
        let since = server.clock_seconds();
        server.clock.advance(Duration::from_secs(60));
        let answer = server.get_as(&token, PATH).await.body;
        assert_eq!((&answer["user_id"], &answer["since"]), (&json!(42), &json!(since)));
        assert_eq!(answer["name"], "Alice the Great", "over the standard claim");
        assert_eq!(answer["tenant"], Value::Null);
        let said = claims(&token);
        assert_eq!(said["user_id"], 42);
        for elsewhere in ["name", "since", "tenant"] {
            assert_eq!(said[elsewhere], Value::Null, "{elsewhere} is not for access tokens");
        }
        let narrow = with_scope(&server, &app, "openid").await;
        assert_eq!(server.get_as(&narrow, PATH).await.body["name"], Value::Null, "only with the scope profile");
    });
}

/// As the registration will.
async fn sign_userinfo(server: &Server, client: &str, alg: Option<Alg>) {
    let store = &server.app.context.store;
    let mut client = store.client(&ClientId::new(client)).await.unwrap().unwrap();
    client.userinfo_alg = alg;
    let ctx = &server.app.context;
    let effects = ClientEffects {
        revoke_tokens_before: None,
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit: ctx.audit(AuditType::ClientUpdated, Actor::default()),
    };
    store.change_client(client, effects).await.unwrap();
    ctx.replica.reload_clients().await.unwrap();
}

#[test]
fn a_client_may_have_the_answer_signed_for_itself_alone() {
    on_each_database(async |server: Server| {
        let app = app(&server, json!({})).await;
        let token = with_scope(&server, &app, "openid email").await;
        let plain = told(&server.get_as(&token, PATH).await);
        sign_userinfo(&server, "web", Some(Alg::ES256)).await;
        let reply = server.get_as(&token, PATH).await;
        reply.is(200);
        assert_eq!((reply.header("content-type"), reply.header("cache-control")), ("application/jwt", "no-store"));
        let mut expected = plain.clone();
        expected["iss"] = json!("http://127.0.0.1:8420");
        expected["aud"] = json!("web");
        assert_eq!(claims(&reply.text), expected);
        let head = header(&reply.text);
        assert_eq!((&head["alg"], &head["typ"]), (&json!("ES256"), &json!("JWT")));

        // By another library, with the key that is published.
        let keys = server.get("/.well-known/jwks.json").await.body;
        let jwk = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]).unwrap();
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let key = VerifyingKey::from_sec1_bytes(&[vec![4], coordinate("x"), coordinate("y")].concat()).unwrap();
        let (message, signature) = reply.text.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        key.verify(message.as_bytes(), &signature).unwrap();

        // It is an answer and opens nothing.
        server.get_as(&reply.text, PATH).await.is_error(401, "invalid_token");
        assert!(!server.is_active(&app, &reply.text).await);
        // Nor does asking get more than asking for it plainly: errors are JSON.
        server.get_as("x", PATH).await.is_error(401, "invalid_token");

        sign_userinfo(&server, "web", Some(Alg::RS256)).await;
        let reply = server.get_as(&token, PATH).await;
        assert_eq!(header(&reply.text)["alg"], "RS256");
        sign_userinfo(&server, "web", None).await;
        assert_eq!(told(&server.get_as(&token, PATH).await), plain);
    });
}

#[test]
fn a_token_from_any_grant_will_do_that_speaks_for_the_user() {
    on_each_database(async |server: Server| {
        let web = app(&server, json!({ "audience": ["payments"] })).await;
        let login = server.login(&web).await;
        let renewed = server.refresh(&web, &login.refresh()).await;
        let exchanged = server.exchange(&web, &renewed.access(), &[]).await;
        for reply in [&renewed, &exchanged] {
            assert_eq!(server.get_as(&reply.access(), PATH).await.body["email"], "alice@example.com");
        }
        let narrowed = server.refresh_with(&web, &renewed.refresh(), &[("scope", "read profile")]).await;
        narrowed.is(200);
        server.get_as(&narrowed.access(), PATH).await.is_error(403, "insufficient_scope");

        // A service that was called with the token gets its own scope of it.
        let body = json!({
            "client_id": "payments", "grant_types": [EXCHANGE], "scope": "openid email", "audience": ["payments"],
        });
        let made = server.admin_post("/admin/v1/clients", body).await;
        made.is(201);
        let payments =
            Registered { id: "payments".into(), secret: made.body["client_secret"].as_str().unwrap().into() };
        let delegated = server.exchange(&payments, &login.access(), &[]).await;
        delegated.is(200);
        let answer = told(&server.get_as(&delegated.access(), PATH).await);
        assert_eq!(
            answer,
            json!({ "sub": alice(&server).await, "email": "alice@example.com", "email_verified": true })
        );
    });
}
