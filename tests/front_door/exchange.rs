//! Token exchange (RFC 8693): re-signing within a session, delegation from service to service, on both databases.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::people::{claims, header};
use crate::support::{Registered, Server, on_each_database, on_each_database_with};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A client that renews by its access token alone.
async fn resigner(server: &Server, over: Value) -> Registered {
    let mut body = json!({ "grant_types": ["password", EXCHANGE, "client_credentials"] });
    for (name, value) in over.as_object().unwrap() {
        body[name] = value.clone();
    }
    server.app(body).await
}

#[test]
fn a_token_is_exchanged_for_its_successor() {
    on_each_database(async |server: Server| {
        let app = resigner(&server, json!({})).await;
        let first = server.login(&app).await;
        assert!(first.body["refresh_token"].is_null(), "it renews by its access token alone: {}", first.text);
        assert!(first.body["refresh_in"].as_u64().is_some_and(|seconds| (360..=480).contains(&seconds)));
        server.clock.advance(9 * MINUTE);
        let second = server.exchange(&app, &first.access(), &[]).await;
        second.is(200);
        assert_eq!(second.body["issued_token_type"], ACCESS_TOKEN);
        assert_eq!(second.body["token_type"], "Bearer");
        assert_eq!(second.body["expires_in"], 600);
        assert_eq!(second.header("cache-control"), "no-store");
        let (old, new) = (claims(&first.access()), claims(&second.access()));
        for same in ["iss", "sub", "aud", "sid", "auth_time", "client_id", "scope"] {
            assert_eq!(old[same], new[same], "{same}");
        }
        assert_eq!(new["exp"].as_i64().unwrap() - old["exp"].as_i64().unwrap(), 540);
        assert_ne!(old["jti"], new["jti"]);
        assert!(new["act"].is_null(), "nobody acts for anybody: {new}");
        for token in [first.access(), second.access()] {
            assert!(server.is_active(&app, &token).await, "the old one lives on until it expires");
        }

        let renewed = server.audit("token_renewed").await;
        assert_eq!(renewed.len(), 1);
        assert_eq!(renewed[0]["sid"], old["sid"]);
        assert_eq!(renewed[0]["detail"]["jti"], old["jti"], "the trail says which token it was");
    });
}

#[test]
fn the_successor_is_signed_by_the_key_that_is_active_now() {
    on_each_database(async |server: Server| {
        let app = resigner(&server, json!({ "lifetimes": { "access_ttl": "1h" } })).await;
        let first = server.login(&app).await;
        server.clock.advance(30 * MINUTE);
        server.admin_post("/admin/v1/keys/rotate", json!({ "alg": "ES256", "mode": "now" })).await.is(200);
        let second = server.exchange(&app, &first.access(), &[]).await;
        second.is(200);
        assert_ne!(header(&first.access())["kid"], header(&second.access())["kid"]);
    });
}

#[test]
fn a_session_that_is_renewed_in_time_lasts_to_its_absolute_limit_and_no_token_outlives_it() {
    on_each_database(async |server: Server| {
        let app = resigner(
            &server,
            json!({ "lifetimes": { "access_ttl": "24h", "refresh_idle": "60h", "refresh_absolute": "60h" } }),
        )
        .await;
        let mut latest = server.login(&app).await;
        let started = server.clock_seconds();
        assert_eq!(latest.body["session_expires_at"], started + 86_400, "unless it is renewed before");
        for _ in 0..2 {
            server.clock.advance(DAY - MINUTE);
            latest = server.exchange(&app, &latest.access(), &[]).await;
            latest.is(200);
        }
        // 60 hours after the login: the last token is shorter than the others.
        let limit = started + 216_000;
        assert_eq!(claims(&latest.access())["exp"], limit);
        assert_eq!(latest.body["expires_in"].as_i64(), Some(limit - server.clock_seconds()));
        assert_eq!(latest.body["session_expires_at"], limit);
        server.clock.advance(Duration::from_secs(u64::try_from(limit - server.clock_seconds() - 1).unwrap()));
        server.exchange(&app, &latest.access(), &[]).await.is(200);
        server.clock.advance(Duration::from_secs(1));
        server.exchange(&app, &latest.access(), &[]).await.is_refused_exchange("token_inactive");
    });
}

#[test]
fn a_session_whose_limit_was_shortened_ends_there() {
    on_each_database(async |server: Server| {
        let app = resigner(&server, json!({})).await;
        let first = server.login(&app).await;
        let patch = json!({ "lifetimes": { "refresh_absolute": "300s", "refresh_idle": "300s" } });
        server.admin_patch("/admin/v1/clients/web", patch).await.is(200);
        server.clock.advance(5 * MINUTE);
        server.exchange(&app, &first.access(), &[]).await.is_refused_exchange("absolute_expired");
    });
}

#[test]
fn an_expired_token_is_taken_within_the_leeway_alone() {
    on_each_database_with(
        |settings| settings.tokens.exchange_leeway = Duration::from_secs(30),
        async |server: Server| {
            let app = resigner(&server, json!({})).await;
            let first = server.login(&app).await;
            server.clock.advance(10 * MINUTE + Duration::from_secs(29));
            assert!(!server.is_active(&app, &first.access()).await, "for everyone else it has expired");
            let second = server.exchange(&app, &first.access(), &[]).await;
            second.is(200);
            server.clock.advance(Duration::from_secs(1));
            server.exchange(&app, &first.access(), &[]).await.is_refused_exchange("token_inactive");
            // Revoked is revoked, also between expiry and the end of the leeway.
            server.revoke(&app, &second.access()).await.is(200);
            server.clock.advance(9 * MINUTE + Duration::from_secs(50));
            server.exchange(&app, &second.access(), &[]).await.is_refused_exchange("token_inactive");
        },
    );
}

#[test]
fn without_leeway_an_expired_token_is_gone_and_its_session_with_it() {
    on_each_database(async |server: Server| {
        let app = resigner(&server, json!({})).await;
        let first = server.login(&app).await;
        server.clock.advance(10 * MINUTE);
        server.exchange(&app, &first.access(), &[]).await.is_refused_exchange("token_inactive");
        assert_eq!(server.session_of(&first).await["state"], "expired");
    });
}

#[test]
fn whatever_ended_the_session_ends_re_signing() {
    on_each_database(async |server: Server| {
        let app = resigner(&server, json!({})).await;
        let ended = server.login(&app).await;
        let sid = claims(&ended.access())["sid"].as_str().unwrap().to_owned();
        server.admin_delete(&format!("/admin/v1/sessions/{sid}")).await.is(204);
        server.exchange(&app, &ended.access(), &[]).await.is_refused_exchange("token_inactive");

        let disabled = server.login(&app).await;
        let sub = server.sub_of(&disabled);
        server.admin_patch(&format!("/admin/v1/users/{sub}"), json!({ "disabled": true })).await.is(200);
        server.exchange(&app, &disabled.access(), &[]).await.is_refused_exchange("token_inactive");
        server.admin_patch(&format!("/admin/v1/users/{sub}"), json!({ "disabled": false })).await.is(200);

        // Whoever logs out has one token at hand, and its session may have others.
        let first = server.login(&app).await;
        let second = server.exchange(&app, &first.access(), &[]).await;
        server.revoke(&app, &second.access()).await.is(200);
        for token in [first.access(), second.access()] {
            server.exchange(&app, &token, &[]).await.is_refused_exchange("token_inactive");
        }

        let compromised = server.login(&app).await;
        server.clock.advance(Duration::from_secs(11 * 60));
        server.admin_post("/admin/v1/keys/rotate", json!({ "alg": "ES256", "mode": "compromise" })).await.is(200);
        server.exchange(&app, &compromised.access(), &[]).await.is_refused_exchange("token_inactive");
    });
}

#[test]
fn nothing_is_widened() {
    on_each_database(async |server: Server| {
        let audience = json!(["https://a.example", "https://b.example"]);
        let app = resigner(&server, json!({ "audience": audience })).await;
        let first = server.login(&app).await;
        let narrow =
            server.exchange(&app, &first.access(), &[("scope", "read"), ("resource", "https://a.example")]).await;
        narrow.is(200);
        assert_eq!(narrow.body["scope"], "read");
        assert_eq!(claims(&narrow.access())["aud"], "https://a.example");

        server.exchange(&app, &narrow.access(), &[("scope", "write")]).await.is_error(400, "invalid_scope");
        server.exchange(&app, &narrow.access(), &[("scope", "admin")]).await.is_error(400, "invalid_scope");
        for parameter in ["resource", "audience"] {
            let wider = server.exchange(&app, &narrow.access(), &[(parameter, "https://b.example")]).await;
            wider.is_error(400, "invalid_target");
        }
        let again = server.exchange(&app, &narrow.access(), &[]).await;
        assert_eq!(again.body["scope"], "read");
        assert_eq!(claims(&again.access())["aud"], "https://a.example");

        // What the client has lost since, its next token has lost too.
        server.admin_patch("/admin/v1/clients/web", json!({ "scope": "write" })).await.is(200);
        let less = server.exchange(&app, &first.access(), &[]).await;
        assert_eq!(less.body["scope"], "write");
    });
}

#[test]
fn it_is_off_until_a_client_is_registered_for_it() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        server.exchange(&app, &first.access(), &[]).await.is_error(400, "unauthorized_client");
    });
}

#[test]
fn a_request_that_makes_no_sense_says_why() {
    on_each_database(async |server: Server| {
        let app = resigner(&server, json!({})).await;
        let token = server.login(&app).await.access();
        let own = [("grant_type", "client_credentials")];
        let own = server.token(&app, &own).await.access();
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("subject_token_type", ACCESS_TOKEN)], "subject_token is missing"),
            (&[("subject_token", &token)], "subject_token_type is missing"),
            (&[("subject_token", &token), ("subject_token_type", "access_token")], "is not one of"),
            (
                &[("subject_token", &token), ("subject_token_type", ACCESS_TOKEN), ("actor_token", &token)],
                "the client that authenticates is the actor",
            ),
            (
                &[
                    ("subject_token", &token),
                    ("subject_token_type", ACCESS_TOKEN),
                    ("requested_token_type", "urn:ietf:params:oauth:token-type:saml2"),
                ],
                "requested_token_type",
            ),
            (&[("subject_token", &own), ("subject_token_type", ACCESS_TOKEN)], "client_credentials"),
            (&[("subject_token", "garbage"), ("subject_token_type", ACCESS_TOKEN)], "log in again"),
        ];
        for (form, said) in cases {
            let form = [&[("grant_type", EXCHANGE)], form].concat();
            let refused = server.token(&app, &form).await;
            refused.is_error(400, "invalid_request");
            let description = refused.body["error_description"].as_str().unwrap();
            assert!(description.contains(said), "{description:?} does not say {said:?}");
        }
    });
}

/// `web` calls `orders`, which calls `stock`, which calls `shelf`.
struct Chain {
    web: Registered,
    orders: Registered,
    stock: Registered,
}

async fn chain(server: &Server) -> Chain {
    let web = server.app(json!({ "audience": ["orders", "stock", "shelf"], "scope": "read write admin" })).await;
    let service = async |id: &str, audience: Value| {
        server
            .app(json!({
                "client_id": id, "grant_types": [EXCHANGE], "audience": audience, "scope": "read",
                "resource_identifiers": [format!("https://{id}.example")],
            }))
            .await
    };
    Chain {
        orders: service("orders", json!(["stock", "shelf"])).await,
        stock: service("stock", json!(["shelf"])).await,
        web,
    }
}

#[test]
fn a_service_calls_the_next_one_for_the_user() {
    on_each_database(async |server: Server| {
        let Chain { web, orders, stock } = chain(&server).await;
        let login = server.login(&web).await;
        server.clock.advance(MINUTE);
        let first = server.exchange(&orders, &login.access(), &[("audience", "stock"), ("audience", "shelf")]).await;
        first.is(200);
        let (user, told) = (claims(&login.access()), claims(&first.access()));
        for same in ["sub", "sid", "auth_time", "exp"] {
            assert_eq!(told[same], user[same], "{same}: it ends with the token it came from");
        }
        assert_eq!(told["client_id"], "orders");
        assert_eq!(told["aud"], json!(["stock", "shelf"]));
        assert_eq!(told["scope"], "read", "what both of them have");
        assert_eq!(told["act"], json!({ "sub": "orders" }));
        assert_eq!(first.body["expires_in"], 540);
        for absent in ["refresh_token", "refresh_in", "session_expires_at"] {
            assert!(first.body[absent].is_null(), "{absent} is none of a service's: {}", first.text);
        }
        let seen = server.introspect(&stock, &first.access()).await;
        assert_eq!(seen.body["act"], json!({ "sub": "orders" }));

        let second = server.exchange(&stock, &first.access(), &[]).await;
        second.is(200);
        let told = claims(&second.access());
        assert_eq!(told["aud"], "shelf");
        assert_eq!(told["act"], json!({ "sub": "stock", "act": { "sub": "orders" } }));

        let delegated = server.audit("token_delegated").await;
        assert_eq!(delegated.len(), 2);
        assert_eq!(delegated[1]["client_id"], "stock");
        assert_eq!(delegated[1]["detail"]["from_client_id"], "orders");

        // The session is the user's: its end ends every token that came of it.
        server.revoke(&web, &login.refresh()).await.is(200);
        for token in [first.access(), second.access()] {
            assert!(!server.is_active(&stock, &token).await);
        }
        server.exchange(&stock, &first.access(), &[]).await.is_refused_exchange("token_inactive");
    });
}

#[test]
fn delegation_never_renews_and_never_widens() {
    on_each_database(async |server: Server| {
        let Chain { web, orders, stock } = chain(&server).await;
        let login = server.login_with(&web, &[("resource", "urn:x"), ("scope", "read")]).await;
        login.is_error(400, "invalid_target");
        let login = server.login(&web).await;
        let first = server.exchange(&orders, &login.access(), &[("audience", "stock")]).await;
        first.is(200);
        // Its own token is no way to another life: it is not for the one that holds it.
        server.exchange(&orders, &first.access(), &[]).await.is_refused_exchange("token_inactive");
        // Whom neither the token nor the client names.
        server.exchange(&stock, &first.access(), &[]).await.is_error(400, "invalid_target");
        server.exchange(&orders, &login.access(), &[("audience", "web")]).await.is_error(400, "invalid_target");
        server.exchange(&orders, &login.access(), &[("scope", "write")]).await.is_error(400, "invalid_scope");
        // Whom the token is not for.
        let shelf = server
            .app(json!({ "client_id": "shelf2", "grant_types": [EXCHANGE], "audience": ["stock"], "scope": "read" }))
            .await;
        server.exchange(&shelf, &login.access(), &[]).await.is_refused_exchange("token_inactive");
        // Expired is expired: the leeway is for renewal.
        server.clock.advance(10 * MINUTE);
        server.exchange(&orders, &login.access(), &[]).await.is_refused_exchange("token_inactive");
    });
}

#[test]
fn a_right_to_administer_is_not_handed_on() {
    on_each_database(async |server: Server| {
        let web = server.app(json!({ "scope": "read admin:users" })).await;
        let sub = {
            let login = server.login_with(&web, &[("scope", "read")]).await;
            server.sub_of(&login)
        };
        let patch = json!({ "admin_scopes": ["admin:users"] });
        server.admin_patch(&format!("/admin/v1/users/{sub}"), patch).await.is(200);
        let login = server.login_with(&web, &[("scope", "read admin:users")]).await;
        login.is(200);
        let greedy = json!({ "client_id": "greedy", "grant_types": [EXCHANGE], "scope": "read admin:users",
            "resource_identifiers": ["https://greedy.example"] });
        let greedy = server.app(greedy).await;
        // A token that administers is for the issuer alone, so no service is ever called with one that it could use.
        server.exchange(&greedy, &login.access(), &[]).await.is_refused_exchange("token_inactive");
    });
}

#[test]
fn a_public_client_renews_and_never_acts() {
    on_each_database(async |server: Server| {
        let spa = json!({ "client_id": "spa", "token_endpoint_auth_method": "none", "grant_types": ["password", EXCHANGE],
            "audience": ["spa", "api"] });
        server.app(spa).await;
        let ask = async |form: &[(&str, &str)]| server.form("/oauth2/token", None, form).await;
        let password = crate::support::PASSWORD;
        let login =
            ask(&[("client_id", "spa"), ("grant_type", "password"), ("username", "alice"), ("password", password)])
                .await;
        login.is(200);
        let exchange = async |token: &str| {
            ask(&[
                ("client_id", "spa"),
                ("grant_type", EXCHANGE),
                ("subject_token", token),
                ("subject_token_type", ACCESS_TOKEN),
            ])
            .await
        };
        exchange(&login.access()).await.is(200);
        let web = server.app(json!({ "audience": ["spa"] })).await;
        let others = server.login(&web).await;
        exchange(&others.access()).await.is_error(400, "unauthorized_client");
    });
}
