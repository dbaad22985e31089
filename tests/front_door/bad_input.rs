//! Bad input, each answered with the RFC's error, in JSON, and without a word of the secret.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::forge::{Forged, SigningKeyAbroad, forge, segment};
use crate::support::people::header;
use crate::support::{Reply, Server, on_each_database};

const FORM: &str = "application/x-www-form-urlencoded";

impl Server {
    async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Reply {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request.body(body).send().await.unwrap()).await
    }

    async fn token_form(&self, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Reply {
        let headers: Vec<_> = [("content-type", FORM)].into_iter().chain(headers.iter().copied()).collect();
        self.raw("POST", "/oauth2/token", &headers, body).await
    }
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[test]
fn parameters_are_taken_once_and_empty_ones_not_at_all() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let auth = basic(&app.id, &app.secret);
        let auth = [("authorization", auth.as_str())];
        let twice = server.token_form(&auth, "grant_type=client_credentials&scope=read&scope=write").await;
        twice.is_error(400, "invalid_request");
        assert!(twice.body["error_description"].as_str().unwrap().contains("scope"));
        server
            .token_form(&auth, "grant_type=client_credentials&grant_type=password")
            .await
            .is_error(400, "invalid_request");

        let empty = server.token_form(&auth, "grant_type=client_credentials&scope=&resource=").await;
        empty.is(200);
        assert_eq!(empty.body["scope"], "read write");
        server.token_form(&auth, "grant_type=").await.is_error(400, "invalid_request");
        server.token_form(&auth, "").await.is_error(400, "invalid_request");
        server.token_form(&auth, "grant_type=client_credentials&colour=blue").await.is(200);
        server.token_form(&auth, "grant_type=password&username=alice").await.is_error(400, "invalid_request");
        server.token_form(&auth, "grant_type=refresh_token").await.is_error(400, "invalid_request");
        server.token_form(&auth, "grant_type=implicit").await.is_error(400, "unsupported_grant_type");
        server.token_form(&auth, "grant_type=client_credentials&scope=sudo").await.is_error(400, "invalid_scope");
        let foreign = "grant_type=client_credentials&resource=https%3A%2F%2Felsewhere.example";
        server.token_form(&auth, foreign).await.is_error(400, "invalid_target");
    });
}

#[test]
fn bodies_of_the_wrong_kind_are_refused() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let auth = basic(&app.id, &app.secret);
        let json_body = server
            .raw(
                "POST",
                "/oauth2/token",
                &[("content-type", "application/json"), ("authorization", &auth)],
                r#"{"grant_type":"client_credentials"}"#,
            )
            .await;
        json_body.is_error(415, "unsupported_media_type");
        let none =
            server.raw("POST", "/oauth2/token", &[("authorization", &auth)], "grant_type=client_credentials").await;
        none.is_error(415, "unsupported_media_type");
        let large = format!("grant_type=client_credentials&scope={}", "a".repeat(70 * 1024));
        server.token_form(&[("authorization", &auth)], large).await.is_error(413, "payload_too_large");
        for body in ["grant_type=client_credentials&scope=%ff%fe", "grant_type=client_credentials&scope=%zz"] {
            server.token_form(&[("authorization", &auth)], body).await.is_error(400, "invalid_request");
        }
        let bytes: &[u8] = b"grant_type=client_credentials&scope=\xff\xfe";
        server.token_form(&[("authorization", &auth)], bytes).await.is_error(400, "invalid_request");

        let admin = format!("Bearer {}", server.admin().await);
        let headers = [("authorization", admin.as_str()), ("content-type", "application/json")];
        for body in ["", "{", "[]", r#"{"client_name":7}"#, r#"{"client_name":"x","colour":"blue"}"#] {
            let refused = server.raw("POST", "/admin/v1/clients", &headers, body).await;
            assert_eq!(refused.status, 400, "{body}: {}", refused.text);
            assert!(
                refused.body["error"].is_string() && refused.header("cache-control") == "no-store",
                "{}",
                refused.text
            );
        }
    });
}

#[test]
fn client_authentication_never_falls_through() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let body = "grant_type=client_credentials";
        for header in [
            "Basic @@@",
            "Basic",
            "Basic bm8tY29sb24",
            "Bearer abc",
            "Negotiate x",
            &basic("web", "wrong"),
            &basic("nobody", "x"),
        ] {
            let refused = server.token_form(&[("authorization", header)], body).await;
            refused.is_error(401, "invalid_client");
            assert!(refused.header("www-authenticate").starts_with("Basic"), "{header}");
        }
        server.token_form(&[], body).await.is_status_in(&[400, 401]);
        let posted = format!("{body}&client_id={}&client_secret=wrong", app.id);
        server.token_form(&[], posted).await.is_error(401, "invalid_client");
        let both = format!("{body}&client_id={}&client_secret={}", app.id, app.secret);
        server
            .token_form(&[("authorization", &basic(&app.id, &app.secret))], both)
            .await
            .is_error(400, "invalid_request");
        let named = server.token_form(&[], format!("{body}&client_id={}", app.id)).await;
        named.is_error(401, "invalid_client");

        // RFC 6749 section 2.3.1: id and secret are form-encoded inside the header.
        let odd = "per%cent+plus:colon and space, thirty-two bytes";
        let made = json!({ "client_id": "odd", "client_name": "odd", "client_secret": odd, "scope": "read",
                           "grant_types": ["client_credentials"] });
        server.admin_post("/admin/v1/clients", made).await.is(201);
        let encoded = "per%25cent%2Bplus%3Acolon+and+space%2C+thirty-two+bytes";
        server.token_form(&[("authorization", &basic("odd", encoded))], body).await.is(200);
        server.token_form(&[("authorization", &basic("odd", odd))], body).await.is_error(401, "invalid_client");
    });
}

#[test]
fn refresh_tokens_that_are_no_refresh_tokens_never_reach_the_database() {
    let Some(cluster) = crate::support::Cluster::start() else { return };
    crate::support::block_on(async {
        let server = Server::on_cluster(&cluster).await;
        let app = server.web_app().await;
        let good = server.login(&app).await.refresh();
        let mut forged = good.clone().into_bytes();
        let last = forged.len() - 3;
        forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        let truncated = &good[..good.len() - 8];
        cluster.stop();
        for token in ["lkr_", "lkr_garbled!", "x", truncated, &forged, &format!("{good}AAAA")] {
            let refused = server.refresh(&app, token).await;
            refused.is_error(400, "invalid_grant");
            assert!(!refused.text.contains(token) || token.len() < 5, "the token is not echoed");
            assert!(!server.is_active(&app, token).await, "{token}");
        }
        let reached = server.refresh(&app, &good).await;
        reached.is_error(503, "temporarily_unavailable");
        assert!(!reached.header("retry-after").is_empty());
        cluster.start_again();
        server.refresh(&app, &good).await.is(200);
    });
}

#[test]
fn forged_access_tokens_are_inactive() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let login = server.login(&app).await;
        let (claims, kid) = (server.claims_like(&login), header(&login.access())["kid"].clone());
        let ours = server.import_signing_key().await;
        server
            .admin_post("/admin/v1/keys/rotate", json!({ "alg": "ES256", "mode": "now", "force": true }))
            .await
            .is(200);
        server.login(&app).await;
        let stranger = SigningKeyAbroad::generate();
        assert!(server.is_active(&app, &forge(&ours, &claims, Forged::Faithful)).await, "the forge works at all");

        let sign = |header: Value, payload: &Value| ours.sign(&header, &payload.to_string());
        let right = json!({ "alg": "ES256", "typ": "at+jwt", "kid": ours.kid });
        let with = |name: &str, value: Value| {
            let mut changed = claims.clone();
            changed[name] = value;
            changed
        };
        let parts: Vec<_> = login.access().split('.').map(str::to_owned).collect();
        let none = format!("{}.{}.", segment(r#"{"alg":"none","typ":"at+jwt"}"#), parts[1]);
        let none_kid = format!(
            "{}.{}.{}",
            segment(&json!({ "alg": "none", "typ": "at+jwt", "kid": kid }).to_string()),
            parts[1],
            parts[2]
        );
        let mut cases = vec![
            ("alg none".to_owned(), none),
            ("alg none with a kid and a signature".to_owned(), none_kid),
            ("HS256 with the public key".to_owned(), hs256_with_the_public_key(&server, &kid, &claims).await),
            (
                "a stranger's key under our kid".to_owned(),
                stranger.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }), &claims.to_string()),
            ),
            ("an unknown kid".to_owned(), sign(json!({ "alg": "ES256", "typ": "at+jwt", "kid": "nobody" }), &claims)),
            ("no kid".to_owned(), sign(json!({ "alg": "ES256", "typ": "at+jwt" }), &claims)),
            (
                "a kid that is a path".to_owned(),
                sign(json!({ "alg": "ES256", "typ": "at+jwt", "kid": "../../dev/null" }), &claims),
            ),
            ("a kid that is no string".to_owned(), sign(json!({ "alg": "ES256", "typ": "at+jwt", "kid": 7 }), &claims)),
            (
                "its own key in the header".to_owned(),
                stranger.sign(
                    &json!({ "alg": "ES256", "typ": "at+jwt", "jwk": {}, "jku": "http://127.0.0.1/" }),
                    &claims.to_string(),
                ),
            ),
            (
                "another alg than the key's".to_owned(),
                sign(json!({ "alg": "RS256", "typ": "at+jwt", "kid": ours.kid }), &claims),
            ),
            (
                "a critical header".to_owned(),
                sign(json!({ "alg": "ES256", "typ": "at+jwt", "kid": ours.kid, "crit": ["x"], "x": 1 }), &claims),
            ),
            ("another type".to_owned(), sign(json!({ "alg": "ES256", "typ": "JWT", "kid": ours.kid }), &claims)),
            ("another issuer".to_owned(), sign(right.clone(), &with("iss", json!("https://elsewhere.example")))),
            ("garbage".to_owned(), "not.a.token".to_owned()),
            ("two parts".to_owned(), parts[..2].join(".")),
            ("four parts".to_owned(), format!("{}.x", login.access())),
            ("a signature cut short".to_owned(), login.access()[..login.access().len() - 4].to_owned()),
            ("very long".to_owned(), "a".repeat(40_000)),
        ];
        for exp in [json!(1e30), json!(-1), json!("soon"), json!(null), json!(u64::MAX), json!(1.5), json!([])] {
            cases.push((format!("exp {exp}"), sign(right.clone(), &with("exp", exp))));
        }
        for (what, token) in cases {
            assert!(!server.is_active(&app, &token).await, "{what}");
            server.get_as(&token, "/admin/v1/keys").await.is_error(401, "invalid_token");
            server.revoke(&app, &token).await.is(200);
        }
        let elsewhere = server.sign_for_audience(&ours, &claims);
        server.get_as(&elsewhere, "/admin/v1/keys").await.is_status_in(&[401, 403]);
        assert!(server.is_active(&app, &login.access()).await);
    });
}

impl Server {
    fn sign_for_audience(&self, key: &SigningKeyAbroad, claims: &Value) -> String {
        let mut claims = claims.clone();
        claims["aud"] = json!("https://api.example");
        claims["scope"] = json!("admin");
        forge(key, &claims, Forged::Faithful)
    }
}

async fn hs256_with_the_public_key(server: &Server, kid: &Value, claims: &Value) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let jwks = server.get("/.well-known/jwks.json").await;
    let key = jwks.body["keys"].as_array().unwrap().iter().find(|key| key["kid"] == *kid).unwrap().to_string();
    let header = segment(&json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid }).to_string());
    let message = format!("{header}.{}", segment(&claims.to_string()));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    let tag = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{message}.{tag}")
}

#[test]
fn wrong_paths_and_methods_are_answered_in_json_too() {
    on_each_database(async |server: Server| {
        for path in ["/", "/nowhere", "/oauth2", "/oauth2/token/x", "/admin/v1/nowhere", "/.well-known/nothing"] {
            let missing = server.get(path).await;
            if missing.status != 404 || path != "/" {
                missing.is_error(404, "not_found");
            }
        }
        let wrong = server.get("/oauth2/token").await;
        wrong.is_error(405, "method_not_allowed");
        assert!(wrong.header("allow").contains("POST"), "{:?}", wrong.headers);
        let wrong = server.raw("DELETE", "/.well-known/jwks.json", &[], "").await;
        wrong.is_error(405, "method_not_allowed");
        assert!(wrong.header("allow").contains("GET"), "{:?}", wrong.headers);
        let wrong = server.raw("PUT", "/admin/v1/keys", &[], "").await;
        wrong.is_error(405, "method_not_allowed");
        for path in ["/oauth2/token", "/.well-known/jwks.json", "/admin/v1/keys"] {
            let options = server.raw("OPTIONS", path, &[], "").await;
            options.is_status_in(&[200, 204]);
        }
        server.raw("HEAD", "/.well-known/jwks.json", &[], "").await.is(200);
    });
}

#[test]
fn browsers_of_allowed_origins_may_call_and_others_may_not() {
    on_each_database(async |server: Server| {
        let app = server.app(json!({ "client_id": "spa", "allowed_origins": ["https://spa.example"] })).await;
        let auth = basic(&app.id, &app.secret);
        for (origin, allowed) in [("https://spa.example", true), ("https://evil.example", false), ("null", false)] {
            let preflight = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization"),
            ];
            let asked = server.raw("OPTIONS", "/oauth2/token", &preflight, "").await;
            assert_eq!(asked.header("access-control-allow-origin") == origin, allowed, "{origin}: {:?}", asked.headers);
            let answer = server
                .token_form(&[("origin", origin), ("authorization", &auth)], "grant_type=client_credentials")
                .await;
            assert_eq!(
                answer.header("access-control-allow-origin") == origin,
                allowed,
                "{origin}: {:?}",
                answer.headers
            );
            assert_eq!(answer.header("access-control-allow-credentials"), "");
        }
        let keys = server.raw("GET", "/.well-known/jwks.json", &[("origin", "https://anyone.example")], "").await;
        assert_eq!(keys.header("access-control-allow-origin"), "*");
    });
}

#[test]
fn every_token_answer_says_no_store() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let login = server.login(&app).await;
        let refreshed = server.refresh(&app, &login.refresh()).await;
        let own = server.token(&app, &[("grant_type", "client_credentials")]).await;
        for answer in [login, refreshed, own] {
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.body["token_type"], "Bearer");
            assert_eq!(answer.body["expires_in"], 600);
        }
    });
}

/// What a client library would never send.
#[test]
fn broken_http_ends_the_connection_and_nothing_else() {
    crate::support::block_on(async {
        let server = Server::sqlite().await;
        let address = server.url.trim_start_matches("http://").to_owned();
        let answer = tokio::task::spawn_blocking(move || {
            let mut socket = TcpStream::connect(&address).unwrap();
            socket.write_all(b"POST /oauth2/token HTTP/1.1\r\nContent-Length: banana\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        });
        assert!(answer.await.unwrap().starts_with("HTTP/1.1 400"));
        server.get("/health/live").await.is(200);
    });
}
