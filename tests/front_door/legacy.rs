//! Tokens of another system, honoured once: exchanged for a session that keeps the start of the old login, on both
//! databases, through every refusal and every lost answer.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use latchkey::config::Settings;
use latchkey::domain::meter::Count;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::forge::{SigningKeyAbroad, segment};
use crate::support::people::claims;
use crate::support::victim::{self, Victim};
use crate::support::{Database, PASSWORD, Registered, Server, configured, on_each_database_with};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";
const SECRET: &str = "the secret that Django signs with, long enough for its hash";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The tests begin on 2027-01-15; the cut-off is 45 days later.
const ISSUERS: &str = "
[[legacy_issuers]]
name = 'django'
algorithms = ['HS256']
secret = 'the secret that Django signs with, long enough for its hash'
user_claim = 'user_id'
started_claim = 'orig_iat'
clients = ['web', 'other', 'phone']
cut_off = 2027-03-01T00:00:00Z

[[legacy_issuers]]
name = 'sliding'
algorithms = ['HS256']
secret = 'another secret, of the sliding tokens, long enough too'
user_claim = 'sub'
user_by = 'username'
ends_claim = 'refresh_exp'
require = { token_type = 'sliding' }
clients = ['web']
leeway = '30s'
cut_off = 2027-03-01T00:00:00Z

[[claims]]
claim = 'orig_iat'
attribute = 'session.started_at'

[[claims]]
claim = 'user_id'
attribute = 'external_id'
as = 'integer'
";

fn issuers(settings: &mut Settings) {
    let configured = configured(ISSUERS);
    settings.legacy_issuers = configured.legacy_issuers;
    settings.claims = configured.claims;
}

fn on_each(test: impl AsyncFn(Server)) {
    on_each_database_with(issuers, test);
}

/// A client of the application that moves in, and its user, who is 42 there.
async fn app(server: &Server, over: Value) -> Registered {
    let mut body = json!({ "grant_types": ["password", "refresh_token", EXCHANGE] });
    for (name, value) in over.as_object().unwrap() {
        body[name] = value.clone();
    }
    let app = server.app(body).await;
    let sub = alice(server).await;
    server.admin_patch(&format!("/admin/v1/users/{sub}"), json!({ "external_id": "42" })).await.is(200);
    app
}

async fn alice(server: &Server) -> String {
    let found = server.admin_get("/admin/v1/users?username=alice").await;
    found.body["items"][0]["sub"].as_str().unwrap().to_owned()
}

fn signed(secret: &str, claims: &Value) -> String {
    let message = format!("{}.{}", segment(r#"{"alg":"HS256","typ":"JWT"}"#), segment(&claims.to_string()));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let signature = mac.chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature))
}

/// A token of Django's, whose login was an hour ago; `over` replaces claims.
fn token(server: &Server, over: Value) -> String {
    let now = server.clock_seconds();
    let mut claims = json!({ "user_id": 42, "orig_iat": now - 3600, "iat": now - 60, "exp": now + 300, "jti": "a" });
    for (name, value) in over.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signed(SECRET, &claims)
}

#[test]
fn a_legacy_token_becomes_a_session_that_began_with_the_old_login() {
    on_each(async |server: Server| {
        let app = app(&server, json!({ "audience": ["https://api.example"] })).await;
        let began = server.clock_seconds() - 3600;
        let first = server.redeem(&app, &token(&server, json!({})), &[]).await;
        first.is(200);
        assert_eq!(first.body["issued_token_type"], ACCESS_TOKEN);
        assert_eq!(first.body["expires_in"], 600);
        assert_eq!(first.body["scope"], "read write");
        assert_eq!(first.header("cache-control"), "no-store");
        assert_eq!(first.body["session_expires_at"], server.clock_seconds() + 7 * 86_400, "the idle limit comes first");
        let said = claims(&first.access());
        assert_eq!(
            (&said["auth_time"], &said["orig_iat"], &said["user_id"]),
            (&json!(began), &json!(began), &json!(42))
        );
        assert_eq!((&said["aud"], &said["sub"]), (&json!("https://api.example"), &json!(alice(&server).await)));
        assert!(server.is_active(&app, &first.access()).await);

        let exchanged = server.audit("legacy_exchanged").await;
        assert_eq!(exchanged.len(), 1);
        assert_eq!(exchanged[0]["sid"], said["sid"]);
        assert_eq!(exchanged[0]["detail"]["issuer"], "django");

        let next = server.refresh(&app, &first.refresh()).await;
        next.is(200);
        assert_eq!(claims(&next.access())["orig_iat"], began, "the session goes on as what it was");
        let shown = server.session_of(&next).await;
        assert!(shown["started_at"].as_str().unwrap().starts_with("2027-01-15T07:00:01"), "{shown}");
    });
}

#[test]
fn an_old_login_ends_when_it_was_promised_to() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let now = server.clock_seconds();
        let month = 30 * 86_400;
        // Ten minutes are left of thirty days, then five, then none.
        let nearly =
            server.redeem(&app, &token(&server, json!({ "orig_iat": now - month + 300, "jti": "b" })), &[]).await;
        nearly.is(200);
        assert_eq!(nearly.body["expires_in"], 300, "no token outlives the session");
        assert_eq!(nearly.body["session_expires_at"], now + 300);
        for left in [1, 0, -1] {
            let reply = server.redeem(&app, &token(&server, json!({ "orig_iat": now - month + left })), &[]).await;
            if left > 0 {
                assert_eq!(reply.body["expires_in"], 1, "{}", reply.text);
            } else {
                reply.is_refused_exchange("absolute_expired");
            }
        }
        server.clock.advance(5 * MINUTE);
        server.refresh(&app, &nearly.refresh()).await.is_refused("absolute_expired");

        // A sliding token says itself when its chain ends.
        let now = server.clock_seconds();
        let claims = |left: i64| json!({ "sub": "Alice", "token_type": "sliding", "iat": now, "exp": now + 60, "refresh_exp": now + left });
        let secret = "another secret, of the sliding tokens, long enough too";
        let sliding = server.redeem(&app, &signed(secret, &claims(86_400)), &[]).await;
        sliding.is(200);
        assert_eq!(sliding.body["session_expires_at"], now + 86_400);
        server.redeem(&app, &signed(secret, &claims(0)), &[]).await.is_refused_exchange("absolute_expired");
        server.clock.advance(DAY);
        server.refresh(&app, &sliding.refresh()).await.is_refused("absolute_expired");
    });
}

#[test]
fn a_lost_answer_is_given_again_and_after_its_use_the_token_is_a_replay() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let legacy = token(&server, json!({}));
        let first = server.redeem(&app, &legacy, &[]).await;
        first.is(200);
        for seconds in [1, 14, 40] {
            server.clock.advance(Duration::from_secs(seconds));
            let again = server.redeem(&app, &legacy, &[]).await;
            again.is(200);
            assert_eq!(again.refresh(), first.refresh(), "the very same refresh token");
            let (old, new) = (claims(&first.access()), claims(&again.access()));
            assert_eq!(old["sid"], new["sid"]);
            assert_ne!(old["jti"], new["jti"], "a fresh access token");
            assert_eq!(new["exp"].as_i64().unwrap(), server.clock_seconds() + 600);
        }
        assert_eq!(server.audit("legacy_exchanged").await.len(), 1);
        let metrics = server.admin_get("/metrics").await.text;
        for line in [
            "latchkey_legacy_tokens_total{outcome=\"exchanged\"} 1",
            "latchkey_legacy_tokens_total{outcome=\"retried\"} 2",
            "latchkey_legacy_tokens_total{outcome=\"retried_late\"} 1",
            "latchkey_legacy_tokens_total{outcome=\"replayed\"} 0",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
        }

        let second = server.refresh(&app, &first.refresh()).await;
        second.is(200);
        server.redeem(&app, &legacy, &[]).await.is_refused_exchange("reused_after_window");
        for access in [first.access(), second.access()] {
            assert!(!server.is_active(&app, &access).await, "whoever came first is out");
        }
        server.refresh(&app, &second.refresh()).await.is_refused("reused_after_window");
        server.redeem(&app, &legacy, &[]).await.is_refused_exchange("reused_after_window");
        let replayed = server.audit("legacy_replayed").await;
        assert_eq!(replayed.len(), 1);
        assert_eq!(replayed[0]["sid"], claims(&first.access())["sid"]);
        assert_eq!(server.session_of(&first).await["state"], "ended");
    });
}

#[test]
fn after_the_window_a_token_is_a_replay_though_nobody_used_its_successor() {
    on_each(async |server: Server| {
        let app = app(&server, json!({ "lifetimes": { "refresh_retry_window": "120s" } })).await;
        let legacy = token(&server, json!({}));
        let first = server.redeem(&app, &legacy, &[]).await;
        server.clock.advance(2 * MINUTE);
        server.redeem(&app, &legacy, &[]).await.is(200);
        server.clock.advance(Duration::from_millis(1));
        server.redeem(&app, &legacy, &[]).await.is_refused_exchange("reused_after_window");
        server.refresh(&app, &first.refresh()).await.is_refused("reused_after_window");
    });
}

#[test]
fn after_the_cut_off_nothing_is_taken_and_a_replay_is_known_still() {
    on_each(async |server: Server| {
        let app = app(&server, json!({ "lifetimes": { "refresh_idle": "60d", "refresh_absolute": "60d" } })).await;
        let far = json!({ "exp": server.clock_seconds() + 60 * 86_400 });
        let with = |jti: &str| {
            let mut claims = far.clone();
            claims["jti"] = jti.into();
            claims
        };
        let (stolen, unused) = (token(&server, with("stolen")), token(&server, with("unused")));
        let thief = server.redeem(&app, &stolen, &[]).await;
        thief.is(200);
        let thief = server.refresh(&app, &thief.refresh()).await;
        server.clock.advance(46 * DAY);
        latchkey::jobs::sweep(Arc::clone(&server.app)).await.unwrap();
        for _ in 0..5 {
            server.redeem(&app, &unused, &[]).await.is_refused_exchange("cut_off");
        }
        server.redeem(&app, &stolen, &[]).await.is_refused_exchange("reused_after_window");
        server.refresh(&app, &thief.refresh()).await.is_refused("reused_after_window");
        let refused = server.audit("legacy_refused").await;
        assert_eq!(refused.len(), 1, "told once, however often it is tried");
        assert_eq!(refused[0]["detail"], json!({ "issuer": "django", "reason": "cut_off", "cause": "cut_off" }));
        assert_eq!(server.audit("legacy_replayed").await.len(), 1);
    });
}

#[test]
fn neither_a_restart_nor_a_restore_makes_a_token_new() {
    on_each(async |mut server: Server| {
        let app = app(&server, json!({ "lifetimes": { "refresh_retry_window": "1h" } })).await;
        let legacy = token(&server, json!({ "exp": server.clock_seconds() + 86_400 }));
        server.halt().await;
        let older = server.database().copy();
        let server = server.restart().await;
        let first = server.redeem(&app, &legacy, &[]).await;
        let server = server.restart().await;
        let again = server.redeem(&app, &legacy, &[]).await;
        assert_eq!(again.refresh(), first.refresh(), "derived, not drawn: {}", again.text);

        let mut newest = server.refresh(&app, &first.refresh()).await;
        newest = server.refresh(&app, &newest.refresh()).await;
        let server = server.restart_after(|database: &Database| database.restore(&older)).await;
        server.refresh(&app, &newest.refresh()).await.is_refused("unknown_session");
        let restored = server.redeem(&app, &legacy, &[]).await;
        restored.is(200);
        assert_eq!(restored.refresh(), first.refresh(), "the same session as before the loss");
        let healed = server.refresh(&app, &newest.refresh()).await;
        healed.is(200);
        server.redeem(&app, &legacy, &[]).await.is_refused_exchange("reused_after_window");
        server.refresh(&app, &healed.refresh()).await.is_refused("reused_after_window");
    });
}

#[test]
fn sixty_four_at_once_get_one_session_and_one_answer() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let legacy = token(&server, json!({}));
        let answers = server.at_once(64, async |server| server.redeem(&app, &legacy, &[]).await).await;
        let tokens: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.refresh()).collect();
        let sids: std::collections::BTreeSet<_> =
            answers.iter().map(|answer| claims(&answer.access())["sid"].to_string()).collect();
        assert_eq!((answers.len(), tokens.len(), sids.len()), (64, 1, 1));
        assert_eq!(server.audit("legacy_exchanged").await.len(), 1);
        assert!(server.audit("legacy_replayed").await.is_empty());
    });
}

#[test]
fn whatever_is_wrong_with_a_token_opens_nothing() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let now = server.clock_seconds();
        let good = token(&server, json!({}));
        let respelled = format!("{good}=");
        for (text, reason) in [
            (signed("another secret", &json!({ "user_id": 42, "iat": now, "exp": now + 60 })), "token_inactive"),
            (respelled, "token_inactive"),
            ("nonsense".to_owned(), "token_inactive"),
            (
                good.replacen(&segment(r#"{"alg":"HS256","typ":"JWT"}"#), &segment(r#"{"alg":"none"}"#), 1),
                "token_inactive",
            ),
            (token(&server, json!({ "exp": now })), "token_inactive"),
            (token(&server, json!({ "exp": null })), "token_inactive"),
            (token(&server, json!({ "exp": 1e30 })), "token_inactive"),
            (token(&server, json!({ "nbf": now + 120 })), "token_inactive"),
            (token(&server, json!({ "orig_iat": null })), "token_inactive"),
            (token(&server, json!({ "user_id": 7 })), "token_inactive"),
            (token(&server, json!({ "user_id": "alice" })), "token_inactive"),
        ] {
            server.redeem(&app, &text, &[]).await.is_refused_exchange(reason);
        }
        let refused = server.audit("legacy_refused").await;
        let causes: Vec<_> = refused.iter().map(|entry| entry["detail"]["cause"].as_str().unwrap()).collect();
        let expected = ["expired", "exp", "exp", "not_yet", "session_claims", "unknown_user", "unknown_user"];
        assert_eq!(causes, expected, "what bears no good signature leaves no trace");
        assert!(server.audit("legacy_exchanged").await.is_empty());
        let sessions = server.admin_get("/admin/v1/sessions").await;
        assert_eq!(sessions.body["items"], json!([]), "{}", sessions.text);
        server.redeem(&app, &good, &[]).await.is(200);
    });
}

#[test]
fn the_user_must_be_one_who_may_log_in_and_was_not_logged_out_since() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let sub = alice(&server).await;
        let user = format!("/admin/v1/users/{sub}");
        let legacy = token(&server, json!({}));
        server.admin_patch(&user, json!({ "disabled": true })).await.is(200);
        server.redeem(&app, &legacy, &[]).await.is_refused_exchange("user_disabled");
        server.admin_patch(&user, json!({ "disabled": false })).await.is(200);
        // Disabling ends all sessions of the user, those that are still elsewhere as well.
        server.redeem(&app, &legacy, &[]).await.is_refused_exchange("revoked");

        server.clock.advance(MINUTE);
        let now = server.clock_seconds();
        let since = |jti: &str| token(&server, json!({ "orig_iat": now, "iat": now, "jti": jti }));
        server.redeem(&app, &since("b"), &[]).await.is(200);
        server.clock.advance(MINUTE);
        let body = json!({ "password": "a new and better one" });
        server.admin_put(&format!("{user}/password"), body).await.is_success();
        server.redeem(&app, &since("c"), &[]).await.is_refused_exchange("revoked");
        let causes: Vec<_> =
            server.audit("legacy_refused").await.iter().map(|entry| entry["detail"]["cause"].clone()).collect();
        assert_eq!(causes, ["user_disabled", "logged_out", "logged_out"]);
        assert_eq!(server.audit("legacy_refused").await[0]["sub"], sub);
    });
}

#[test]
fn only_the_clients_of_an_issuer_exchange_its_tokens_and_each_token_is_its_redeemers() {
    on_each(async |server: Server| {
        let web = app(&server, json!({})).await;
        let other = app(&server, json!({ "client_id": "other" })).await;
        let stranger = app(&server, json!({ "client_id": "stranger" })).await;
        let plain = app(&server, json!({ "client_id": "phone", "grant_types": ["password", "refresh_token"] })).await;
        let legacy = token(&server, json!({}));
        server.redeem(&stranger, &legacy, &[]).await.is_refused_exchange("token_inactive");
        server.redeem(&plain, &legacy, &[]).await.is_error(400, "unauthorized_client");
        let first = server.redeem(&web, &legacy, &[]).await;
        first.is(200);
        for _ in 0..3 {
            server.redeem(&other, &legacy, &[]).await.is_refused_exchange("token_inactive");
        }
        server.clock.advance(2 * MINUTE);
        server.redeem(&other, &legacy, &[]).await.is_refused_exchange("token_inactive");
        server.refresh(&web, &first.refresh()).await.is(200);
        let entries = server.audit("legacy_refused").await;
        let causes: Vec<_> = entries.iter().map(|entry| entry["detail"]["cause"].as_str().unwrap()).collect();
        assert_eq!(causes, ["client", "wrong_client"]);
    });
}

#[test]
fn a_session_gets_what_a_password_login_of_the_client_would_and_no_administration() {
    on_each(async |server: Server| {
        let over = json!({ "scope": "read write admin:users", "audience": ["https://a.example", "https://b.example"] });
        let app = app(&server, over).await;
        let sub = alice(&server).await;
        server.admin_patch(&format!("/admin/v1/users/{sub}"), json!({ "admin_scopes": ["admin:users"] })).await.is(200);
        let legacy = token(&server, json!({}));
        server.redeem(&app, &legacy, &[("scope", "admin:users")]).await.is_error(400, "invalid_scope");
        server.redeem(&app, &legacy, &[("scope", "other")]).await.is_error(400, "invalid_scope");
        server.redeem(&app, &legacy, &[("audience", "https://c.example")]).await.is_error(400, "invalid_target");
        let narrow = [("scope", "read"), ("resource", "https://a.example")];
        let first = server.redeem(&app, &legacy, &narrow).await;
        first.is(200);
        assert_eq!(first.body["scope"], "read");
        assert_eq!(claims(&first.access())["aud"], "https://a.example");
        // A retry names no more than the session has.
        server.redeem(&app, &legacy, &[("scope", "write")]).await.is_error(400, "invalid_scope");
        let again = server.redeem(&app, &legacy, &[]).await;
        assert_eq!((&again.body["scope"], again.refresh()), (&json!("read"), first.refresh()));

        let whole = server.redeem(&app, &token(&server, json!({ "jti": "b" })), &[]).await;
        assert_eq!(whole.body["scope"], "read write", "what must be named is not given unasked");
    });
}

#[test]
fn the_types_of_an_exchange_are_checked() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let bare = app_without_refresh(&server).await;
        let legacy = token(&server, json!({}));
        for (client, more) in [
            (&app, ("requested_token_type", "urn:ietf:params:oauth:token-type:saml2")),
            (&app, ("actor_token", "x")),
            (&bare, ("requested_token_type", REFRESH_TOKEN)),
        ] {
            server.redeem(client, &legacy, &[more]).await.is_error(400, "invalid_request");
        }
        for requested in [REFRESH_TOKEN, ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt"] {
            let reply = server.redeem(&app, &legacy, &[("requested_token_type", requested)]).await;
            reply.is(200);
            assert_eq!(reply.body["issued_token_type"], ACCESS_TOKEN, "what access_token is");
        }
        let own = server.login(&app).await;
        let form = [("requested_token_type", REFRESH_TOKEN)];
        server.exchange(&app, &own.access(), &form).await.is_error(400, "invalid_request");
    });
}

async fn app_without_refresh(server: &Server) -> Registered {
    app(server, json!({ "client_id": "other", "grant_types": ["password", EXCHANGE] })).await
}

#[test]
fn a_client_that_renews_by_its_access_token_gets_its_lost_answer_too() {
    on_each(async |server: Server| {
        let app = app_without_refresh(&server).await;
        let legacy = token(&server, json!({}));
        let first = server.redeem(&app, &legacy, &[]).await;
        first.is(200);
        assert!(first.body["refresh_token"].is_null() && first.body["refresh_in"].is_u64(), "{}", first.text);
        assert_eq!(first.body["session_expires_at"], server.clock_seconds() + 600);
        server.clock.advance(Duration::from_secs(10));
        let again = server.redeem(&app, &legacy, &[]).await;
        assert_eq!(claims(&again.access())["sid"], claims(&first.access())["sid"]);
        let renewed = server.exchange(&app, &again.access(), &[]).await;
        renewed.is(200);
        server.redeem(&app, &legacy, &[]).await.is_refused_exchange("reused_after_window");
        assert!(!server.is_active(&app, &renewed.access()).await);
    });
}

#[test]
fn a_public_client_moves_in_as_well() {
    on_each(async |server: Server| {
        app(&server, json!({ "client_id": "phone", "token_endpoint_auth_method": "none" })).await;
        let legacy = token(&server, json!({}));
        let form = [
            ("grant_type", EXCHANGE),
            ("client_id", "phone"),
            ("subject_token", &*legacy),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ];
        let first = server.form("/oauth2/token", None, &form).await;
        first.is(200);
        let again = server.form("/oauth2/token", None, &form).await;
        assert_eq!(again.refresh(), first.refresh());
    });
}

#[test]
fn an_access_token_is_no_login_though_the_former_key_signs_latchkeys_tokens_now() {
    let former = SigningKeyAbroad::generate();
    let public = former.public_pem();
    let with_key = |settings: &mut Settings| {
        let toml = format!(
            "[[legacy_issuers]]\nname = 'spring'\nalgorithms = ['ES256']\npublic_key = '''{public}'''\n\
             user_claim = 'sub'\nuser_by = 'sub'\nclients = ['web']\ncut_off = 2027-03-01T00:00:00Z"
        );
        settings.legacy_issuers = configured(&toml).legacy_issuers;
    };
    on_each_database_with(with_key, async |server: Server| {
        let app = app(&server, json!({})).await;
        let (now, sub) = (server.clock_seconds(), alice(&server).await);
        server.admin_post("/admin/v1/keys/import", json!({ "pem": former.pem() })).await.is(201);
        server.clock.advance(20 * MINUTE);
        let mut login = server.login(&app).await;
        for _ in 0..3 {
            // The imported key stands by; rotating makes it sign.
            server.admin_post("/admin/v1/keys/rotate", json!({ "alg": "ES256", "mode": "now", "force": true })).await;
            login = server.login(&app).await;
            if server.redeem(&app, &login.access(), &[]).await.body["reason"] == "token_inactive"
                && server.audit("legacy_refused").await.len() == 1
            {
                break;
            }
        }
        let refused = server.audit("legacy_refused").await;
        assert_eq!(refused.len(), 1, "one of these was signed by the former key");
        assert_eq!(refused[0]["detail"]["cause"], "type");
        assert!(server.is_active(&app, &login.access()).await, "and counts for what it is");

        let old =
            former.sign(&json!({ "alg": "ES256" }), &json!({ "sub": sub, "iat": now, "exp": now + 9000 }).to_string());
        server.redeem(&app, &old, &[]).await.is(200);
    });
}

#[test]
fn an_id_token_opens_nothing_anywhere() {
    let former = SigningKeyAbroad::generate();
    let public = former.public_pem();
    let with_key = |settings: &mut Settings| {
        let toml = format!(
            "[[legacy_issuers]]\nname = 'spring'\nalgorithms = ['ES256']\npublic_key = '''{public}'''\n\
             user_claim = 'sub'\nuser_by = 'sub'\nclients = ['web']\ncut_off = 2027-03-01T00:00:00Z"
        );
        settings.legacy_issuers = configured(&toml).legacy_issuers;
    };
    on_each_database_with(with_key, async |server: Server| {
        let app = app(&server, json!({ "scope": "openid read" })).await;
        let (now, sub) = (server.clock_seconds(), alice(&server).await);
        let imported = server.admin_post("/admin/v1/keys/import", json!({ "pem": former.pem() })).await;
        imported.is(201);
        let login = server.login(&app).await;
        let sid = claims(&login.access())["sid"].clone();
        // As Latchkey makes them, with the claims of an access token for good measure.
        let id_token = json!({
            "iss": "http://127.0.0.1:8420", "sub": sub, "aud": "web", "iat": now, "exp": now + 600, "auth_time": now,
            "nonce": "n", "amr": ["pwd"], "sid": sid, "jti": "j", "client_id": "web", "scope": "openid read admin",
        });
        let id_token =
            former.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": imported.body["kid"] }), &id_token.to_string());

        server.redeem(&app, &id_token, &[]).await.is_refused_exchange("token_inactive");
        assert_eq!(server.audit("legacy_refused").await[0]["detail"]["cause"], "type", "the signature was good");
        server.exchange(&app, &id_token, &[]).await.is_refused_exchange("token_inactive");
        assert!(!server.is_active(&app, &id_token).await);
        server.get_as(&id_token, "/oauth2/userinfo").await.is_error(401, "invalid_token");
        server.get_as(&id_token, "/admin/v1/clients").await.is_error(401, "invalid_token");
        server.revoke(&app, &id_token).await.is(200);
        assert!(server.is_active(&app, &login.access()).await, "revoking it ends nothing either");

        // The former system's own tokens are taken as before, though it had the name that Latchkey has now.
        let old = json!({ "iss": "http://127.0.0.1:8420", "sub": sub, "iat": now, "exp": now + 9000 });
        let old = former.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": "main" }), &old.to_string());
        server.redeem(&app, &old, &[]).await.is(200);
    });
}

#[test]
fn what_the_former_system_had_blacklisted_stays_dead() {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "# of the blacklist app\nlogged-out\n").unwrap();
    let with_list = |settings: &mut Settings| {
        issuers(settings);
        settings.legacy_issuers[0].denied_file = Some(list.path().to_owned());
    };
    on_each_database_with(with_list, async |server: Server| {
        let app = app(&server, json!({})).await;
        server.redeem(&app, &token(&server, json!({ "jti": "logged-out" })), &[]).await.is_refused_exchange("revoked");
        server.redeem(&app, &token(&server, json!({ "jti": "alive" })), &[]).await.is(200);
    });
}

#[test]
fn nobody_fills_the_trail_with_tokens_that_are_not_taken() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let expired = token(&server, json!({ "exp": server.clock_seconds() - 1 }));
        for _ in 0..10 {
            server.redeem(&app, &expired, &[]).await.is_refused_exchange("token_inactive");
        }
        assert_eq!(server.audit("legacy_refused").await.len(), 1);
        for jti in 0..120 {
            let text = token(&server, json!({ "exp": server.clock_seconds() - 1, "jti": jti }));
            server.redeem(&app, &text, &[]).await.is_refused_exchange("token_inactive");
        }
        let reply = server.admin_get("/admin/v1/audit?type=legacy_refused&limit=1000").await;
        assert_eq!(reply.body["items"].as_array().unwrap().len(), 100, "an issuer has so many in a while");
    });
}

#[test]
fn a_replay_is_known_until_the_cut_off_though_the_token_has_expired() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let (stolen, unused) = (token(&server, json!({})), token(&server, json!({ "jti": "b" })));
        let thief = server.redeem(&app, &stolen, &[]).await;
        server.clock.advance(6 * DAY);
        latchkey::jobs::sweep(Arc::clone(&server.app)).await.unwrap();
        server.redeem(&app, &unused, &[]).await.is_refused_exchange("token_inactive");
        server.redeem(&app, &stolen, &[]).await.is_refused_exchange("reused_after_window");
        server.refresh(&app, &thief.refresh()).await.is_refused("reused_after_window");

        server.clock.advance(40 * DAY);
        latchkey::jobs::sweep(Arc::clone(&server.app)).await.unwrap();
        server.redeem(&app, &stolen, &[]).await.is_refused_exchange("cut_off");
    });
}

#[test]
fn a_token_expires_between_the_lost_answer_and_its_retry() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let legacy = token(&server, json!({ "exp": server.clock_seconds() + 2 }));
        let first = server.redeem(&app, &legacy, &[]).await;
        first.is(200);
        server.clock.advance(Duration::from_secs(10));
        let again = server.redeem(&app, &legacy, &[]).await;
        assert_eq!(again.refresh(), first.refresh(), "a client that tries again at once");
        server.clock.advance(Duration::from_secs(10));
        server.redeem(&app, &legacy, &[]).await.is_refused_exchange("token_inactive");
        server.refresh(&app, &first.refresh()).await.is(200);
    });
}

#[test]
fn a_login_by_password_and_one_by_token_are_two_sessions() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        let login = server.try_login(&app, "alice", PASSWORD).await;
        let moved = server.redeem(&app, &token(&server, json!({})), &[]).await;
        assert_ne!(claims(&login.access())["sid"], claims(&moved.access())["sid"]);
        server.revoke(&app, &moved.refresh()).await.is(200);
        server.redeem(&app, &token(&server, json!({})), &[]).await.is_refused_exchange("revoked");
        server.refresh(&app, &login.refresh()).await.is(200);
    });
}

#[test]
fn the_report_says_who_has_moved_and_who_is_left() {
    on_each(async |server: Server| {
        let app = app(&server, json!({})).await;
        for (name, id, hash) in [
            ("bob", "43", "pbkdf2_sha256$1000$salt$EDwhKQ3i7TqZ+TqhuCDk1oDe+jcPrZ5tRKkL0XmQ0Ls="),
            ("carol", "44", "pbkdf2_sha256$1000$salt$EDwhKQ3i7TqZ+TqhuCDk1oDe+jcPrZ5tRKkL0XmQ0Ls="),
        ] {
            let body = json!({ "username": name, "external_id": id, "password_hash": hash });
            server.admin_post("/admin/v1/users", body).await.is(201);
        }
        server.admin_post("/admin/v1/users", json!({ "username": "dave" })).await.is(201);
        let report = server.admin_get("/admin/v1/migration").await;
        report.is(200);
        let issuer = |name: &str| json!({ "name": name, "cut_off": "2027-03-01T00:00:00Z", "tokens": 0, "users": 0 });
        assert_eq!(
            report.body,
            json!({
                "users": 4, "moved": 1, "left": 3,
                "password_hashes": { "argon2id": 1, "none": 1, "pbkdf2_sha256": 2 },
                "legacy_issuers": [issuer("django"), issuer("sliding")],
            })
        );

        for (user, jti) in [(43, "a"), (43, "b"), (42, "c")] {
            let legacy = token(&server, json!({ "user_id": user, "jti": jti }));
            server.redeem(&app, &legacy, &[]).await.is(200);
            server.clock.advance(Duration::from_secs(1));
        }
        let report = server.admin_get("/admin/v1/migration").await.body;
        assert_eq!((&report["moved"], &report["left"]), (&json!(2), &json!(2)), "{report}");
        let django = &report["legacy_issuers"][0];
        assert_eq!((&django["tokens"], &django["users"]), (&json!(3), &json!(2)), "{django}");
        assert_eq!(django["latest"], "2027-01-15T08:00:03Z");

        let limited = server.admin_with("admin:clients").await;
        server.get_as(&limited, "/admin/v1/migration").await.is_error(403, "insufficient_scope");
        let reader = server.admin_with("admin:users:read").await;
        server.get_as(&reader, "/admin/v1/migration").await.is(200);
        server.get("/admin/v1/migration").await.is_error(401, "invalid_token");
    });
}

/// Not a test of its own: the process that the next one kills.
#[test]
fn victim() {
    let mut settings = Settings::default();
    issuers(&mut settings);
    victim::serve_until(Count::LegacyExchanged, settings);
}

#[test]
fn killed_between_commit_and_answer_the_retry_gets_the_session() {
    on_each(async |mut server: Server| {
        let app = app(&server, json!({})).await;
        let legacy = token(&server, json!({}));
        server.halt().await;
        let victim = Victim::start(&server, "legacy::victim");
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", &*legacy),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ];
        let request = server.http.post(format!("{}/oauth2/token", victim.url)).basic_auth(&app.id, Some(&app.secret));
        assert!(request.form(&form).send().await.is_err(), "the answer never left");
        victim.was_killed();

        let server = server.restart().await;
        let opened = server.audit("legacy_exchanged").await;
        assert_eq!(opened.len(), 1, "it was durable");
        let again = server.redeem(&app, &legacy, &[]).await;
        again.is(200);
        assert_eq!(claims(&again.access())["sid"], opened[0]["sid"], "the lost answer, not another session");
        assert_eq!(server.audit("legacy_exchanged").await.len(), 1);
        server.refresh(&app, &again.refresh()).await.is(200);
    });
}
