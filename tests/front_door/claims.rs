//! Claims of the operator's own, in real tokens and in introspection, on both databases.

use std::time::Duration;

use latchkey::config::Settings;
use serde_json::{Value, json};

use crate::support::people::claims;
use crate::support::{Registered, Server, configured, on_each_database_with};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const RULES: &str = "
[[claims]]
claim = 'user_id'
attribute = 'external_id'
as = 'integer'

[[claims]]
claim = 'orig_iat'
attribute = 'session.started_at'

[[claims]]
claim = 'full_name'
template = '{given_name} {family_name}'
scope = 'profile'

[[claims]]
claim = 'department'
attribute = 'attributes.department.id'
clients = ['web', 'payments']

[[claims]]
claim = 'token_type'
value = 'access'

[[claims]]
claim = 'tenant'
value = { name = 'forum', plans = ['a', 'b'] }
clients = ['payments']
";

fn rules(settings: &mut Settings) {
    settings.claims = configured(RULES).claims;
}

async fn app(server: &Server, over: Value) -> Registered {
    let mut body = json!({
        "grant_types": ["password", "refresh_token", "client_credentials", EXCHANGE],
        "scope": "read profile",
        "audience": ["payments"],
    });
    for (name, value) in over.as_object().unwrap() {
        body[name] = value.clone();
    }
    let app = server.app(body).await;
    let sub =
        server.admin_get("/admin/v1/users?username=alice").await.body["items"][0]["sub"].as_str().unwrap().to_owned();
    let patch = json!({
        "external_id": "42", "given_name": "Al", "family_name": "Ice", "attributes": { "department": { "id": 7 } },
    });
    server.admin_patch(&format!("/admin/v1/users/{sub}"), patch).await.is(200);
    app
}

/// The mapped claims of a token.
fn own(token: &str) -> Value {
    let mut all = claims(token);
    let known = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "sid", "auth_time", "act"];
    known.iter().for_each(|name| {
        all.as_object_mut().unwrap().remove(*name);
    });
    all
}

#[test]
fn a_login_a_refresh_and_an_exchange_carry_what_the_rules_say() {
    on_each_database_with(rules, async |server: Server| {
        let app = app(&server, json!({})).await;
        let login = server.login(&app).await;
        let began = server.clock_seconds();
        let expected = json!({
            "user_id": 42, "orig_iat": began, "full_name": "Al Ice", "department": 7, "token_type": "access",
        });
        assert_eq!(own(&login.access()), expected);
        server.clock.advance(Duration::from_secs(100));
        let refreshed = server.refresh(&app, &login.refresh()).await;
        assert_eq!(own(&refreshed.access()), expected, "the session began when it began");
        let exchanged = server.exchange(&app, &login.access(), &[]).await;
        exchanged.is(200);
        assert_eq!(own(&exchanged.access()), expected);
        let narrow = server.refresh_with(&app, &refreshed.refresh(), &[("scope", "read")]).await;
        assert_eq!(own(&narrow.access())["full_name"], Value::Null, "only with the scope profile");
        assert_eq!(own(&narrow.access())["user_id"], 42);

        let answer = server.introspect(&app, &exchanged.access()).await;
        for name in ["user_id", "orig_iat", "full_name", "department"] {
            assert_eq!(answer.body[name], expected[name], "{name} in {}", answer.text);
        }
        assert_eq!(answer.body["token_type"], "Bearer", "introspection's own member");
        assert_eq!(answer.text.matches("token_type").count(), 1, "{}", answer.text);
    });
}

#[test]
fn what_changes_of_a_user_is_in_their_next_token() {
    on_each_database_with(rules, async |server: Server| {
        let app = app(&server, json!({})).await;
        let login = server.login(&app).await;
        let sub = server.sub_of(&login);
        let patch =
            json!({ "family_name": "Liddell", "attributes": { "department": null }, "external_id": "no number" });
        server.admin_patch(&format!("/admin/v1/users/{sub}"), patch).await.is(200);
        let next = server.refresh(&app, &login.refresh()).await;
        let expected = json!({ "orig_iat": server.clock_seconds(), "full_name": "Al Liddell", "token_type": "access" });
        assert_eq!(own(&next.access()), expected, "what has no value is left out");
    });
}

#[test]
fn a_client_for_itself_has_the_constants_alone() {
    on_each_database_with(rules, async |server: Server| {
        let app = app(&server, json!({})).await;
        let token = server.token(&app, &[("grant_type", "client_credentials")]).await;
        assert_eq!(own(&token.access()), json!({ "token_type": "access" }));
    });
}

#[test]
fn a_delegated_token_carries_the_claims_of_the_client_that_acts() {
    on_each_database_with(rules, async |server: Server| {
        let web = app(&server, json!({ "scope": "read" })).await;
        let body = json!({
            "client_id": "payments", "grant_types": [EXCHANGE], "scope": "read", "audience": ["ledger", "payments"],
            "resource_identifiers": [],
        });
        let made = server.admin_post("/admin/v1/clients", body).await;
        made.is(201);
        let payments =
            Registered { id: "payments".into(), secret: made.body["client_secret"].as_str().unwrap().into() };
        let login = server.login(&web).await;
        assert_eq!(own(&login.access())["tenant"], Value::Null);
        let delegated = server.exchange(&payments, &login.access(), &[("audience", "payments")]).await;
        delegated.is(200);
        assert_eq!(claims(&delegated.access())["act"]["sub"], "payments");
        assert_eq!(
            own(&delegated.access()),
            json!({
                "user_id": 42, "orig_iat": server.clock_seconds(), "department": 7, "token_type": "access",
                "tenant": { "name": "forum", "plans": ["a", "b"] },
            })
        );
    });
}

#[test]
fn a_claim_that_would_make_the_token_too_large_is_left_out_and_counted() {
    let everything = |settings: &mut Settings| {
        settings.claims = configured(
            "[[claims]]\nclaim = 'all'\nattribute = 'attributes.all'\n\
                                      [[claims]]\nclaim = 'user_id'\nattribute = 'external_id'",
        )
        .claims;
    };
    on_each_database_with(everything, async |server: Server| {
        let app = app(&server, json!({})).await;
        let sub = server.sub_of(&server.login(&app).await);
        let patch = json!({ "attributes": { "all": "x".repeat(4_100) } });
        server.admin_patch(&format!("/admin/v1/users/{sub}"), patch).await.is(200);
        let login = server.login(&app).await;
        assert_eq!(own(&login.access()), json!({ "user_id": "42" }));
        let metrics = server.admin_get("/metrics").await;
        assert!(metrics.text.contains("latchkey_claims_left_out_total 1\n"), "{}", metrics.text);
    });
}
