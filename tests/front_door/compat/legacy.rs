//! The tokens that clients hold when they move in: brought to a compatibility path, as they always were.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::*;
use crate::support::configured;
use crate::support::people::header;

const DJANGO: &str = "the secret that Django signs with, long enough for its hash";

/// The tests begin on 2027-01-15.
const ISSUERS: &str = "
[[legacy_issuers]]
name = 'drf-jwt'
algorithms = ['HS256']
secret = 'the secret that Django signs with, long enough for its hash'
user_claim = 'username'
user_by = 'username'
started_claim = 'orig_iat'
clients = ['web']
cut_off = 2027-03-01T00:00:00Z

[[legacy_issuers]]
name = 'simplejwt'
algorithms = ['HS256']
secret = 'the secret that Django signs with, long enough for its hash'
user_claim = 'user_id'
require = { token_type = 'refresh' }
clients = ['web']
cut_off = 2027-03-01T00:00:00Z

[[legacy_issuers]]
name = 'sliding'
algorithms = ['HS256']
secret = 'the secret that Django signs with, long enough for its hash'
user_claim = 'user_id'
require = { token_type = 'sliding' }
ends_claim = 'refresh_exp'
clients = ['web']
cut_off = 2027-03-01T00:00:00Z
";

fn moving_in(style: CompatStyle, issuer: &'static str) -> impl Fn(&mut Settings) {
    move |settings: &mut Settings| {
        let mut issuers = configured(ISSUERS).legacy_issuers;
        issuers.retain(|known| known.name == issuer);
        settings.legacy_issuers = issuers;
        settings.compat = vec![compat(style)];
    }
}

fn signed(claims: &Value) -> String {
    let message = format!("{}.{}", segment(r#"{"alg":"HS256","typ":"JWT"}"#), segment(&claims.to_string()));
    let mac = Hmac::<Sha256>::new_from_slice(DJANGO.as_bytes()).unwrap();
    let signature = mac.chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature))
}

fn with(mut claims: Value, over: Value) -> Value {
    for (name, value) in over.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// drf-jwt's, of a login an hour ago.
fn renewing(server: &Server, over: Value) -> String {
    let now = server.clock_seconds();
    let claims = json!({ "username": "alice", "user_id": 1, "email": "alice@example.com", "orig_iat": now - 3600,
                         "iat": now - 60, "exp": now + 240, "jti": "a74a6909" });
    signed(&with(claims, over))
}

/// simplejwt's, of a login an hour ago.
fn refreshing(server: &Server, over: Value) -> String {
    let now = server.clock_seconds();
    let claims = json!({ "token_type": "refresh", "exp": now + 82_800, "iat": now - 3600, "jti": "5c7d75b5",
                         "user_id": "id-alice" });
    signed(&with(claims, over))
}

#[test]
fn the_next_renewal_of_a_drf_jwt_client_moves_it_in() {
    on_each_database_with(moving_in(CompatStyle::DrfJwt, "drf-jwt"), async |server: Server| {
        people(
            &server,
            json!({ "grant_types": ["password", EXCHANGE], "lifetimes": {
            "access_ttl": "5m", "refresh_idle": "7d", "refresh_absolute": "7d" } }),
        )
        .await;
        let legacy = renewing(&server, json!({}));
        let began = server.clock_seconds() - 3600;
        let moved = server.post(REFRESH, json!({ "token": legacy })).await;
        assert_eq!(
            (moved.status, shape(&moved.text)),
            (201, format!(r#"{{"pk":{},"token":"<token>"}}"#, began + 3600))
        );
        let token = moved.body["token"].as_str().unwrap();
        assert_eq!(header(token)["alg"], "ES256");
        let said = claims(token);
        assert_eq!(said["auth_time"], began, "the login is as old as it was");
        let again = server.post(REFRESH, json!({ "token": legacy })).await;
        assert_eq!(claims(again.body["token"].as_str().unwrap())["sid"], said["sid"], "the answer may have got lost");

        server.clock.advance(2 * MINUTE);
        let next = server.post(REFRESH, json!({ "token": token })).await;
        next.is(201);
        server.post(VERIFY, json!({ "token": next.body["token"] })).await.is(201);
        // Whoever brings it after that has stolen it.
        let stolen = server.post(REFRESH, json!({ "token": legacy })).await;
        assert_eq!((stolen.status, stolen.text.as_str()), (400, r#"{"non_field_errors":["Token is blacklisted."]}"#));
        let ended = server.post(REFRESH, json!({ "token": next.body["token"] })).await;
        assert_eq!(ended.text, r#"{"non_field_errors":["Token is blacklisted."]}"#);
        assert_eq!(server.audit("legacy_exchanged").await.len(), 1);
        assert_eq!(server.audit("legacy_replayed").await.len(), 1);
    });
}

#[test]
fn what_drf_jwt_would_have_refused_is_refused_in_its_words() {
    on_each_database_with(moving_in(CompatStyle::DrfJwt, "drf-jwt"), async |server: Server| {
        people(&server, resigning()).await;
        let now = server.clock_seconds();
        disable(&server, "leaver").await;
        for (over, says) in [
            (json!({ "exp": now - 1 }), "Token has expired."),
            (json!({ "orig_iat": now - 86_400 - 5 }), "Refresh has expired."),
            (json!({ "username": "leaver" }), "User account is disabled."),
            (json!({ "username": null }), "Error decoding token."),
            (json!({ "username": "nobody" }), "Error decoding token."),
        ] {
            let refused = server.post(REFRESH, json!({ "token": renewing(&server, over.clone()) })).await;
            assert_eq!(refused.text, json!({ "non_field_errors": [says] }).to_string(), "{over}");
            assert_eq!(refused.status, 400);
        }
        let forged = changed(&renewing(&server, json!({})));
        let refused = server.post(REFRESH, json!({ "token": forged })).await;
        assert_eq!(refused.text, r#"{"non_field_errors":["Error decoding token."]}"#);

        server.clock.advance(60 * 24 * HOUR);
        let late = server.post(REFRESH, json!({ "token": renewing(&server, json!({})) })).await;
        assert_eq!(late.text, r#"{"non_field_errors":["Token has expired."]}"#, "after the cut-off");
        let refused = server.audit("legacy_refused").await;
        assert!(refused.iter().any(|event| event["detail"]["reason"] == "cut_off"), "{refused:?}");
    });
}

#[test]
fn a_refresh_token_of_simplejwt_moves_in_once() {
    on_each_database_with(moving_in(CompatStyle::SimpleJwt, "simplejwt"), async |server: Server| {
        people(&server, json!({})).await;
        let legacy = refreshing(&server, json!({}));
        let moved = server.post(REFRESH, json!({ "refresh": legacy })).await;
        assert_eq!((moved.status, shape(&moved.text).as_str()), (200, r#"{"access":"<token>","refresh":"<token>"}"#));
        assert!(moved.body["refresh"].as_str().unwrap().starts_with("lkr_"));
        let again = server.post(REFRESH, json!({ "refresh": legacy })).await;
        assert_eq!(again.body["refresh"], moved.body["refresh"], "the very same one");
        server.post(REFRESH, json!({ "refresh": moved.body["refresh"] })).await.is(200);
        let stolen = server.post(REFRESH, json!({ "refresh": legacy })).await;
        assert_eq!(stolen.text, r#"{"detail":"Token is blacklisted","code":"token_not_valid"}"#);

        let now = server.clock_seconds();
        disable(&server, "leaver").await;
        let invalid = json!({ "detail": "Token is invalid", "code": "token_not_valid" });
        for (over, says) in [
            (json!({ "exp": now - 1, "jti": "2" }), json!({ "detail": "Token is expired", "code": "token_not_valid" })),
            (json!({ "user_id": "id-leaver" }), json!({ "detail": "No active account found for the given token." })),
            (json!({ "token_type": "access" }), invalid.clone()),
            (json!({ "user_id": "id-nobody" }), invalid.clone()),
        ] {
            for path in [REFRESH, BLACKLIST] {
                let refused = server.post(path, json!({ "refresh": refreshing(&server, over.clone()) })).await;
                assert_eq!((refused.status, &refused.body), (401, &says), "{path}: {over}");
            }
        }
    });
}

/// Everything that a question could have changed: sessions, redeemed tokens, the trail.
async fn written(server: &Server) -> [String; 3] {
    let mut all = ["sessions?limit=1000", "migration", "audit?limit=1000"].map(str::to_owned);
    for text in &mut all {
        let reply = server.admin_get(&format!("/admin/v1/{text}")).await;
        reply.is(200);
        *text = reply.text;
    }
    all
}

/// What `verify` says of a token, after it was held to writing nothing.
async fn asked(server: &Server, token: &str) -> (u16, String) {
    let before = written(server).await;
    let reply = server.post(VERIFY, json!({ "token": token })).await;
    assert_eq!(written(server).await, before, "asking changes nothing: {}", reply.text);
    (reply.status, shape(&reply.text))
}

fn drf_refusal(text: &str) -> (u16, String) {
    (400, json!({ "non_field_errors": [text] }).to_string())
}

#[test]
fn an_old_token_is_good_while_it_could_be_exchanged() {
    on_each_database_with(moving_in(CompatStyle::DrfJwt, "drf-jwt"), async |server: Server| {
        people(&server, resigning()).await;
        let legacy = renewing(&server, json!({}));
        let good = (201, format!(r#"{{"pk":{},"token":"<token>"}}"#, server.clock_seconds() - 60));
        for _ in 0..2 {
            assert_eq!(asked(&server, &legacy).await, good);
        }
        let same = server.post(VERIFY, json!({ "token": legacy })).await;
        assert_eq!(same.body["token"], legacy.as_str());
        assert_eq!(asked(&server, &changed(&legacy)).await, drf_refusal("Error decoding token."));

        let moved = server.post(REFRESH, json!({ "token": legacy })).await;
        moved.is(201);
        assert_eq!(server.audit("legacy_exchanged").await.len(), 1);
        for wait in [0, 60] {
            server.clock.advance(Duration::from_secs(wait));
            assert_eq!(asked(&server, &legacy).await, good, "the answer may have got lost");
        }
        server.clock.advance(Duration::from_millis(1));
        assert_eq!(asked(&server, &legacy).await, drf_refusal("Token is blacklisted."), "after the retry window");
        let next = server.post(REFRESH, json!({ "token": moved.body["token"] })).await;
        next.is(201);
        assert_eq!(asked(&server, &legacy).await, drf_refusal("Token is blacklisted."), "asking ends no session");

        let used = renewing(&server, json!({ "jti": "used" }));
        let moved = server.post(REFRESH, json!({ "token": used })).await;
        server.clock.advance(Duration::from_secs(1));
        server.post(REFRESH, json!({ "token": moved.body["token"] })).await.is(201);
        assert_eq!(asked(&server, &used).await, drf_refusal("Token is blacklisted."), "its successor is in use");
    });
}

#[test]
fn what_could_not_be_exchanged_is_refused_as_the_exchange_would() {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "denied\n").unwrap();
    let settings = |settings: &mut Settings| {
        moving_in(CompatStyle::DrfJwt, "drf-jwt")(settings);
        let mut others = settings.legacy_issuers[0].clone();
        settings.legacy_issuers[0].issuer = Some("ours".into());
        settings.legacy_issuers[0].denied_file = Some(list.path().to_owned());
        (others.name, others.issuer, others.clients) = ("others".into(), Some("theirs".into()), vec!["other".into()]);
        settings.legacy_issuers.push(others);
    };
    on_each_database_with(settings, async |server: Server| {
        people(&server, resigning()).await;
        disable(&server, "leaver").await;
        let now = server.clock_seconds();
        let ours = |over: Value| renewing(&server, with(json!({ "iss": "ours" }), over));
        assert_eq!(asked(&server, &ours(json!({}))).await.0, 201);
        for (over, says, at_refresh) in [
            (json!({ "exp": now }), "Token has expired.", None),
            (json!({ "orig_iat": now - 86_400 }), "Token has expired.", Some("Refresh has expired.")),
            (json!({ "jti": "denied" }), "Token is blacklisted.", None),
            (json!({ "username": "leaver" }), "User account is disabled.", None),
            (json!({ "username": "nobody" }), "Error decoding token.", None),
            (json!({ "username": null }), "Error decoding token.", None),
            (json!({ "username": null, "exp": now }), "Token has expired.", None),
            (json!({ "iss": "theirs" }), "Error decoding token.", None),
        ] {
            let token = ours(over.clone());
            assert_eq!(asked(&server, &token).await, drf_refusal(says), "{over}");
            let refused = server.post(REFRESH, json!({ "token": token })).await;
            assert_eq!((refused.status, refused.text), drf_refusal(at_refresh.unwrap_or(says)), "{over}");
        }

        let (moved, unmoved) = (ours(json!({ "jti": "moved" })), ours(json!({ "jti": "unmoved" })));
        server.post(REFRESH, json!({ "token": moved })).await.is(201);
        let alice = sub_of(&server, "alice").await;
        server.admin_post(&format!("/admin/v1/users/{alice}/logout"), Value::Null).await.is_success();
        for token in [&moved, &unmoved] {
            assert_eq!(asked(&server, token).await, drf_refusal("Token is blacklisted."), "after the logout");
        }
        server.clock.advance(MINUTE);
        assert_eq!(asked(&server, &ours(json!({ "orig_iat": now + 1 }))).await.0, 201, "a login after it");

        server.clock.advance(60 * 24 * HOUR);
        assert_eq!(asked(&server, &ours(json!({}))).await, drf_refusal("Token has expired."), "after the cut-off");
    });
}

#[test]
fn a_token_that_expired_with_its_answer_lost_is_good_as_long_as_the_retry_is() {
    on_each_database_with(moving_in(CompatStyle::DrfJwt, "drf-jwt"), async |server: Server| {
        people(&server, resigning()).await;
        let legacy = renewing(&server, json!({ "exp": server.clock_seconds() + 1 }));
        server.post(REFRESH, json!({ "token": legacy })).await.is(201);
        server.clock.advance(Duration::from_secs(15));
        assert_eq!(asked(&server, &legacy).await.0, 201);
        server.clock.advance(Duration::from_secs(1));
        assert_eq!(asked(&server, &legacy).await, drf_refusal("Token has expired."));
        server.clock.advance(Duration::from_secs(45));
        assert_eq!(asked(&server, &legacy).await, drf_refusal("Token is blacklisted."), "by now it is a replay");
    });
}

#[test]
fn a_token_is_known_as_used_up_after_its_session_was_swept() {
    on_each_database_with(moving_in(CompatStyle::DrfJwt, "drf-jwt"), async |server: Server| {
        people(&server, resigning()).await;
        let legacy = renewing(&server, json!({ "exp": server.clock_seconds() + 30 * 86_400 }));
        server.post(REFRESH, json!({ "token": legacy })).await.is(201);
        server.clock.advance(20 * 24 * HOUR);
        latchkey::jobs::sweep(std::sync::Arc::clone(&server.app)).await.unwrap();
        let sessions = server.admin_get("/admin/v1/sessions").await.body;
        assert_eq!(sessions["items"], json!([]));
        assert_eq!(asked(&server, &legacy).await, drf_refusal("Token is blacklisted."));
    });
}

#[test]
fn a_token_that_another_client_has_exchanged_is_none_of_this_ones() {
    let shared = |settings: &mut Settings| {
        moving_in(CompatStyle::DrfJwt, "drf-jwt")(settings);
        settings.legacy_issuers[0].clients.push("other".into());
    };
    on_each_database_with(shared, async |server: Server| {
        people(&server, resigning()).await;
        let other = json!({ "client_id": "other", "grant_types": ["password", EXCHANGE],
                            "lifetimes": { "refresh_absolute": "24h" } });
        let other = server.app(other).await;
        let legacy = renewing(&server, json!({ "exp": server.clock_seconds() + 30 * 86_400 }));
        assert_eq!(asked(&server, &legacy).await.0, 201);
        server.redeem(&other, &legacy, &[]).await.is(200);
        let refused = drf_refusal("Error decoding token.");
        assert_eq!(asked(&server, &legacy).await, refused);
        let at_refresh = server.post(REFRESH, json!({ "token": legacy })).await;
        assert_eq!((at_refresh.status, at_refresh.text.as_str()), (refused.0, refused.1.as_str()));
        server.clock.advance(20 * 24 * HOUR);
        latchkey::jobs::sweep(std::sync::Arc::clone(&server.app)).await.unwrap();
        assert_eq!(asked(&server, &legacy).await, refused, "nor that there was a session once");
    });
}

#[test]
fn a_client_without_the_exchange_is_told_no() {
    let verify_alone = |settings: &mut Settings| {
        moving_in(CompatStyle::DrfJwt, "drf-jwt")(settings);
        settings.compat[0].refresh = None;
    };
    on_each_database_with(verify_alone, async |server: Server| {
        people(&server, json!({ "grant_types": ["password"] })).await;
        let refused = drf_refusal("Error decoding token.");
        assert_eq!(asked(&server, &renewing(&server, json!({}))).await, refused);
    });
}

#[test]
fn the_answer_of_the_operator_is_filled_from_an_old_token_too() {
    let settings = |settings: &mut Settings| {
        moving_in(CompatStyle::DrfJwt, "drf-jwt")(settings);
        settings.compat[0].response = Some(json!({
            "token": "{token}", "refresh": "{refresh}", "ttl": "{expires_in}", "pk": "{issued_at}",
            "until": "{session_expires_at}", "user": { "id": "{external_id}", "sub": "{sub}" },
        }));
    };
    on_each_database_with(settings, async |server: Server| {
        people(&server, resigning()).await;
        let (now, alice) = (server.clock_seconds(), sub_of(&server, "alice").await);
        let told = |token: &str, ttl: i64, pk: Value, until: i64| {
            json!({ "token": token, "refresh": null, "ttl": ttl, "pk": pk, "until": until,
                    "user": { "id": "id-alice", "sub": alice } })
        };
        let verified = async |token: &str| server.post(VERIFY, json!({ "token": token })).await.body;
        let plain = renewing(&server, json!({}));
        assert_eq!(verified(&plain).await, told(&plain, 240, json!(now - 60), now + 240));
        // The first of these packages wrote no `iat`.
        let undated = signed(&json!({ "username": "alice", "orig_iat": now - 3600, "exp": now + 240 }));
        assert_eq!(verified(&undated).await, told(&undated, 240, Value::Null, now + 240));
        let ending = renewing(&server, json!({ "orig_iat": now - 86_400 + 9 }));
        assert_eq!(verified(&ending).await, told(&ending, 9, json!(now - 60), now + 9), "its session ends before it");

        server.post(REFRESH, json!({ "token": plain })).await.is(201);
        server.clock.advance(Duration::from_secs(10));
        let session_ends = now + 300;
        assert_eq!(verified(&plain).await, told(&plain, 230, json!(now - 60), session_ends));
    });
}

#[test]
fn simplejwt_answers_for_old_tokens_in_its_words() {
    on_each_database_with(moving_in(CompatStyle::SimpleJwt, "simplejwt"), async |server: Server| {
        people(&server, json!({})).await;
        disable(&server, "leaver").await;
        let now = server.clock_seconds();
        let legacy = refreshing(&server, json!({}));
        for _ in 0..2 {
            assert_eq!(asked(&server, &legacy).await, (200, "{}".to_owned()));
        }
        let not_valid = |text: &str| (401, format!(r#"{{"detail":"{text}","code":"token_not_valid"}}"#));
        let no_account = (401, r#"{"detail":"No active account found for the given token."}"#.to_owned());
        for (over, says) in [
            (json!({ "exp": now }), not_valid("Token is expired")),
            (json!({ "token_type": "access" }), not_valid("Token is invalid")),
            (json!({ "token_type": "access", "exp": now }), not_valid("Token is expired")),
            (json!({ "user_id": "id-nobody" }), not_valid("Token is invalid")),
            (json!({ "user_id": "id-leaver" }), no_account),
        ] {
            assert_eq!(asked(&server, &refreshing(&server, over.clone())).await, says, "{over}");
        }
        let moved = server.post(REFRESH, json!({ "refresh": legacy })).await;
        moved.is(200);
        server.post(BLACKLIST, json!({ "refresh": moved.body["refresh"] })).await.is(200);
        let blacklisted = (400, r#"{"non_field_errors":["Token is blacklisted"]}"#.to_owned());
        assert_eq!(asked(&server, &legacy).await, blacklisted);
        assert_eq!(server.audit("legacy_exchanged").await.len(), 1);
    });
}

#[test]
fn logging_out_with_a_legacy_token_uses_it_up() {
    on_each_database_with(moving_in(CompatStyle::SimpleJwt, "simplejwt"), async |server: Server| {
        people(&server, json!({})).await;
        let legacy = refreshing(&server, json!({}));
        let out = server.post(BLACKLIST, json!({ "refresh": legacy })).await;
        assert_eq!((out.status, out.text.as_str()), (200, "{}"));
        let blacklisted = r#"{"detail":"Token is blacklisted","code":"token_not_valid"}"#;
        for path in [REFRESH, BLACKLIST] {
            let refused = server.post(path, json!({ "refresh": legacy })).await;
            assert_eq!((refused.status, refused.text.as_str()), (401, blacklisted), "{path}");
        }
        let sessions = server.admin_get("/admin/v1/sessions").await.body;
        let states: Vec<&Value> =
            sessions["items"].as_array().unwrap().iter().map(|session| &session["state"]).collect();
        assert_eq!(states, ["ended"]);
    });
}

#[test]
fn a_client_that_does_not_rotate_may_bring_its_legacy_token_as_long_as_it_lives() {
    on_each_database_with(moving_in(CompatStyle::SimpleJwt, "simplejwt"), async |server: Server| {
        people(
            &server,
            json!({ "rotate_refresh": false, "lifetimes": { "access_ttl": "5m", "refresh_idle": "24h",
            "refresh_absolute": "24h", "refresh_retry_window": "24h" } }),
        )
        .await;
        let legacy = refreshing(&server, json!({}));
        for _ in 0..22 {
            let renewed = server.post(REFRESH, json!({ "refresh": legacy })).await;
            renewed.is(200);
            server.post(VERIFY, json!({ "token": renewed.body["access"] })).await.is(200);
            server.clock.advance(HOUR);
        }
        server.clock.advance(HOUR);
        let over = server.post(REFRESH, json!({ "refresh": legacy })).await;
        assert_eq!(over.body["detail"], "Token is expired");
    });
}

#[test]
fn a_sliding_token_moves_in_and_ends_when_it_was_to() {
    on_each_database_with(moving_in(CompatStyle::SimpleJwt, "sliding"), async |server: Server| {
        people(&server, json!({ "grant_types": ["password", EXCHANGE] })).await;
        let now = server.clock_seconds();
        let claims_then = json!({ "token_type": "sliding", "exp": now + 60, "iat": now - 240, "jti": "119f2524",
                                  "refresh_exp": now + 400, "user_id": "id-alice" });
        let moved = server.post(SLIDING_REFRESH, json!({ "token": signed(&claims_then) })).await;
        assert_eq!((moved.status, shape(&moved.text).as_str()), (200, r#"{"token":"<token>"}"#));
        server.clock.advance(4 * MINUTE);
        let next = server.post(SLIDING_REFRESH, json!({ "token": moved.body["token"] })).await;
        next.is(200);
        assert_eq!(claims(next.body["token"].as_str().unwrap())["exp"], now + 400);
        server.clock.advance(3 * MINUTE);
        let over = server.post(SLIDING_REFRESH, json!({ "token": next.body["token"] })).await;
        assert_eq!(over.body["detail"], "Token 'refresh_exp' claim has expired");
    });
}

#[test]
fn a_client_that_cannot_take_legacy_tokens_in_is_told_at_the_start() {
    // Nothing but the legacy tokens asks for the grant.
    let pairs_alone = |settings: &mut Settings| {
        moving_in(CompatStyle::SimpleJwt, "simplejwt")(settings);
        settings.compat[0].sliding_refresh = None;
    };
    on_each_database_with(pairs_alone, async |server: Server| {
        server.app(json!({ "token_endpoint_auth_method": "none", "grant_types": ["password", "refresh_token"] })).await;
        let faults = latchkey::http::compat_faults(&server.app).await.unwrap();
        assert!(faults.len() == 1 && faults[0].contains(EXCHANGE), "{faults:?}");
    });
}
