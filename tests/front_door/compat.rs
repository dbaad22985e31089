//! The endpoints in the manner of Django's packages: every recorded answer of the originals, and what they share with the
//! standard endpoints, on both databases.

mod legacy;
mod originals;

use std::collections::HashMap;
use std::time::Duration;

use latchkey::config::{CompatSettings, CompatStyle, Settings};
use latchkey::domain::sources::{Clock as _, SystemClock};
use serde_json::{Value, json};

use self::originals::{Row, Sent};
use crate::support::forge::segment;
use crate::support::people::claims;
use crate::support::{Registered, Reply, Server, on_each_database, on_each_database_with};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const SECRET: &str = "correct-horse-battery-staple";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

const OBTAIN: &str = "/api/token/";
const REFRESH: &str = "/api/token/refresh/";
const VERIFY: &str = "/api/token/verify/";
const BLACKLIST: &str = "/api/token/blacklist/";
const SLIDING: &str = "/api/sliding/";
const SLIDING_REFRESH: &str = "/api/sliding/refresh/";

fn compat(style: CompatStyle) -> CompatSettings {
    let path = |path: &str| Some(path.to_owned());
    let simple = style == CompatStyle::SimpleJwt;
    CompatSettings {
        style,
        client_id: "web".into(),
        obtain: path(OBTAIN),
        refresh: path(REFRESH),
        verify: path(VERIFY),
        blacklist: path(BLACKLIST).filter(|_| simple),
        sliding_obtain: path(SLIDING).filter(|_| simple),
        sliding_refresh: path(SLIDING_REFRESH).filter(|_| simple),
        ..CompatSettings::default()
    }
}

fn simplejwt(settings: &mut Settings) {
    settings.compat = vec![compat(CompatStyle::SimpleJwt)];
}

fn drf_jwt(settings: &mut Settings) {
    settings.compat = vec![compat(CompatStyle::DrfJwt)];
}

/// The public client that the paths act as, and its users.
async fn people(server: &Server, over: Value) -> Registered {
    let mut body = json!({
        "token_endpoint_auth_method": "none",
        "grant_types": ["password", "refresh_token", EXCHANGE],
        "lifetimes": { "access_ttl": "5m", "refresh_idle": "24h", "refresh_absolute": "24h" },
        "allowed_origins": ["https://app.example"],
    });
    for (name, value) in over.as_object().unwrap() {
        body[name] = value.clone();
    }
    for (name, password) in
        [("alice", SECRET), ("inactive", SECRET), ("leaver", SECRET), ("num", "1234567890"), ("fraction", "12345.75")]
    {
        let body = json!({
            "username": name, "password": password, "email": format!("{name}@example.com"), "external_id": format!("id-{name}"),
            "attributes": { "plan": "gold", "groups": ["a", "b"] },
        });
        server.admin_post("/admin/v1/users", body).await.is(201);
    }
    disable(server, "inactive").await;
    server.app(body).await
}

impl Server {
    async fn post(&self, path: &str, body: Value) -> Reply {
        Reply::of(self.http.post(format!("{}{path}", self.url)).json(&body).send().await.unwrap()).await
    }

    async fn send(&self, path: &str, sent: &Sent, tokens: &Tokens) -> Reply {
        let url = format!("{}{path}", self.url);
        let form = "application/x-www-form-urlencoded";
        let request = match sent {
            Sent::Json(text) => self.http.post(url).header("content-type", "application/json").body(tokens.fill(text)),
            Sent::Form(text) => self.http.post(url).header("content-type", form).body(tokens.fill(text)),
            Sent::Raw(kind, bytes) => {
                let bytes = match std::str::from_utf8(bytes) {
                    Ok(text) => tokens.fill(text).into_bytes(),
                    Err(_) => bytes.to_vec(),
                };
                let request = self.http.post(url).body(bytes);
                if kind.is_empty() { request } else { request.header("content-type", *kind) }
            }
            Sent::Parts(parts) => {
                let request = self.http.post(url).header("content-type", "multipart/form-data; boundary=cut");
                request.body(multipart(parts, tokens))
            }
            Sent::Method(method) => self.http.request(method.parse().unwrap(), url),
        };
        Reply::of(request.send().await.unwrap()).await
    }

    /// A login by a compatibility path.
    async fn obtain(&self, path: &str, username: &str) -> Value {
        self.obtain_as(path, username, SECRET).await
    }

    async fn obtain_as(&self, path: &str, username: &str, password: &str) -> Value {
        let reply = self.post(path, json!({ "username": username, "password": password })).await;
        reply.is_success();
        reply.body
    }
}

fn multipart(parts: &[(&str, &str)], tokens: &Tokens) -> String {
    let mut body = String::new();
    for (name, value) in parts {
        let (file, value) = match value.strip_prefix('@') {
            Some(content) => ("; filename=\"file.txt\"", content.to_owned()),
            None => ("", tokens.fill(value)),
        };
        body += &format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n");
    }
    body + "--cut--\r\n"
}

/// Tokens by the state that they are in.
#[derive(Default)]
struct Tokens(HashMap<&'static str, String>);

impl Tokens {
    fn keep(&mut self, name: &'static str, token: &Value) {
        self.0.insert(name, token.as_str().unwrap_or_else(|| panic!("{name}: {token}")).to_owned());
    }

    fn text(&mut self, name: &'static str, token: String) {
        self.0.insert(name, token);
    }

    fn get(&self, name: &str) -> &str {
        &self.0[name]
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.replace("$password", SECRET).replace("$PASSWORD", &SECRET.to_uppercase());
        let mut names: Vec<&&str> = self.0.keys().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        for name in names {
            text = text.replace(&format!("${name}"), &self.0[*name]);
        }
        assert!(!text.contains('$'), "no token for {text}");
        text
    }
}

/// Another last character but one, whose bits all count.
fn changed(token: &str) -> String {
    let mut bytes = token.as_bytes().to_vec();
    let at = bytes.len() - 5;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

/// JWTs that nobody here has signed.
fn foreign(header: &Value) -> String {
    let payload = json!({ "token_type": "refresh", "exp": 4_000_000_000_i64, "user_id": "1", "jti": "x" });
    format!("{}.{}.c2lnbmF0dXJl", segment(&header.to_string()), segment(&payload.to_string()))
}

/// The answer as the tables have it: tokens by what they are.
fn shape(text: &str) -> String {
    let mut shaped = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('"') {
        let (before, after) = rest.split_at(at + 1);
        shaped.push_str(before);
        let end = after.find('"').unwrap_or(after.len());
        let word = &after[..end];
        let is_token = word.starts_with("lkr_") || (word.starts_with("eyJ") && word.matches('.').count() == 2);
        shaped.push_str(if is_token { "<token>" } else { word });
        rest = &after[end..];
        if let Some(quote) = rest.strip_prefix('"') {
            shaped.push('"');
            rest = quote;
        }
    }
    shaped + rest
}

/// Holds one answer against what was recorded.
fn compare(place: &str, row: &Row, reply: &Reply, expected: &str) {
    let name = row.name;
    let status = reply.status;
    let expected = expected.replace("<iat>", &iat_of(reply));
    let shaped = shape(&reply.text);
    match expected.strip_suffix("...") {
        Some(beginning) => assert!(shaped.starts_with(beginning), "{place}, {name}: {shaped}"),
        None => assert_eq!(shaped, expected, "{place}, {name}"),
    }
    assert_eq!(reply.header("content-type"), "application/json", "{place}, {name}");
    assert_eq!(reply.header("cache-control"), "no-store", "{place}, {name}");
    let challenge = if status == 401 { "Bearer realm=\"api\"" } else { "" };
    assert_eq!(reply.header("www-authenticate"), challenge, "{place}, {name}");
    let allow = if status == 405 { "POST, OPTIONS" } else { "" };
    assert_eq!(reply.header("allow"), allow, "{place}, {name}");
}

fn iat_of(reply: &Reply) -> String {
    reply.body["token"].as_str().map_or_else(String::new, |token| claims(token)["iat"].to_string())
}

async fn all(server: &Server, path: &str, rows: &[Row], tokens: &Tokens) {
    for row in rows {
        let reply = server.send(path, &row.sent, tokens).await;
        assert_eq!(reply.status, row.status, "{path}, {}: {}", row.name, reply.text);
        compare(path, row, &reply, row.says);
    }
}

/// The rows that every endpoint has, and those of each of its texts; `right` is the rest of a request.
async fn everywhere(server: &Server, path: &str, fields: &[&str]) {
    all(server, path, originals::EVERYWHERE, &Tokens::default()).await;
    for field in fields {
        for (value, says) in originals::FIELD {
            let mut members: Vec<String> = fields.iter().map(|name| format!("{name:?}:\"x\"")).collect();
            members.retain(|member| !member.starts_with(&format!("{field:?}")));
            members.push(format!("{field:?}:{value}"));
            let body = format!("{{{}}}", members.join(","));
            let request = server.http.post(format!("{}{path}", server.url)).header("content-type", "application/json");
            let reply = Reply::of(request.body(body.clone()).send().await.unwrap()).await;
            assert_eq!(
                (reply.status, reply.text.as_str()),
                (400, json!({ *field: [says] }).to_string().as_str()),
                "{body}"
            );
        }
    }
}

/// The logins, with the style's own good and wrong answers.
async fn logins(server: &Server, path: &str, good: (u16, &str), wrong: (u16, &str)) {
    // What other logins failed before is forgotten.
    server.clock.advance(16 * MINUTE);
    for row in originals::LOGINS {
        let reply = server.send(path, &row.sent, &Tokens::default()).await;
        let (status, says) = if row.says == "<good>" { good } else { wrong };
        assert_eq!(reply.status, status, "{path}, {}: {}", row.name, reply.text);
        compare(path, row, &reply, says);
    }
}

/// What a token's path says when it gets none.
async fn missing_tokens(server: &Server, path: &str, field: &str) {
    for row in originals::MISSING_TOKENS {
        let reply = server.send(path, &row.sent, &Tokens::default()).await;
        assert_eq!(reply.status, row.status, "{path}, {}: {}", row.name, reply.text);
        compare(path, row, &reply, &row.says.replace("<field>", field));
    }
}

async fn sub_of(server: &Server, username: &str) -> String {
    let users = server.admin_get("/admin/v1/users?limit=100").await;
    let found = users.body["items"].as_array().unwrap().iter().find(|user| user["username"] == username);
    found.unwrap()["sub"].as_str().unwrap().to_owned()
}

async fn disable(server: &Server, username: &str) {
    let sub = sub_of(server, username).await;
    server.admin_patch(&format!("/admin/v1/users/{sub}"), json!({ "disabled": true })).await.is(200);
}

/// Tokens of simplejwt's kinds, in every state that the tables know.
async fn tokens_of_simplejwt(server: &Server) -> Tokens {
    let mut tokens = Tokens::default();
    let old = server.obtain(OBTAIN, "alice").await;
    tokens.keep("expired", &old["refresh"]);
    server.clock.advance(25 * HOUR);
    let rotated = server.obtain(OBTAIN, "alice").await["refresh"].clone();
    server.post(REFRESH, json!({ "refresh": rotated })).await.is(200);
    tokens.keep("rotated already", &rotated);
    tokens.keep("expired sliding", &server.obtain(SLIDING, "alice").await["token"]);
    tokens.keep("expired access", &server.obtain(OBTAIN, "alice").await["access"]);
    server.clock.advance(6 * MINUTE);
    let blacklisted = server.obtain(OBTAIN, "alice").await["refresh"].clone();
    server.post(BLACKLIST, json!({ "refresh": blacklisted })).await.is(200);
    tokens.keep("blacklisted", &blacklisted);
    tokens.keep("leaver", &server.obtain(OBTAIN, "leaver").await["refresh"]);
    disable(server, "leaver").await;
    for name in ["good", "good too", "good three"] {
        tokens.keep(name, &server.obtain(OBTAIN, "alice").await["refresh"]);
    }
    let pair = server.obtain(OBTAIN, "alice").await;
    tokens.keep("access", &pair["access"]);
    tokens.text("changed", changed(pair["refresh"].as_str().unwrap()));
    tokens.text("changed access", changed(pair["access"].as_str().unwrap()));
    tokens.keep("sliding", &server.obtain(SLIDING, "alice").await["token"]);
    tokens.text("foreign", foreign(&json!({ "alg": "HS256", "typ": "JWT" })));
    tokens.text("unsigned", foreign(&json!({ "alg": "none", "typ": "JWT" })));
    tokens
}

#[test]
fn every_recorded_answer_of_simplejwt_is_given() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let tokens = tokens_of_simplejwt(&server).await;
        for path in [OBTAIN, SLIDING] {
            everywhere(&server, path, &["username", "password"]).await;
            all(&server, path, originals::MISSING_LOGINS, &tokens).await;
        }
        for (path, field) in
            [(REFRESH, "refresh"), (VERIFY, "token"), (BLACKLIST, "refresh"), (SLIDING_REFRESH, "token")]
        {
            everywhere(&server, path, &[field]).await;
            missing_tokens(&server, path, field).await;
        }
        all(&server, VERIFY, originals::SIMPLEJWT_VERIFY, &tokens).await;
        all(&server, SLIDING_REFRESH, originals::SIMPLEJWT_SLIDING_REFRESH, &tokens).await;
        all(&server, REFRESH, originals::SIMPLEJWT_REFRESH, &tokens).await;
        // Their successors are out by now; the session is the same.
        all(&server, BLACKLIST, originals::SIMPLEJWT_BLACKLIST, &tokens).await;

        let wrong = (401, originals::SIMPLEJWT_WRONG);
        logins(&server, OBTAIN, (200, r#"{"refresh":"<token>","access":"<token>"}"#), wrong).await;
        logins(&server, SLIDING, (200, r#"{"token":"<token>"}"#), wrong).await;
    });
}

#[test]
fn a_client_that_does_not_rotate_keeps_its_refresh_token() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({ "rotate_refresh": false })).await;
        let mut tokens = Tokens::default();
        tokens.keep("expired", &server.obtain(OBTAIN, "alice").await["refresh"]);
        server.clock.advance(25 * HOUR);
        tokens.keep("good", &server.obtain(OBTAIN, "alice").await["refresh"]);
        all(&server, REFRESH, originals::SIMPLEJWT_REFRESH_WITHOUT_ROTATION, &tokens).await;
        server.clock.advance(23 * HOUR);
        let last = server.post(REFRESH, json!({ "refresh": tokens.get("good") })).await;
        assert_eq!(shape(&last.text), r#"{"access":"<token>"}"#, "to the end of its life");
        server.clock.advance(HOUR);
        server.post(REFRESH, json!({ "refresh": tokens.get("good") })).await.is(401);
    });
}

/// Tokens of drf-jwt's kind, in every state that the tables know.
async fn tokens_of_drf_jwt(server: &Server) -> Tokens {
    let mut tokens = Tokens::default();
    tokens.keep("expired", &server.obtain(OBTAIN, "alice").await["token"]);
    server.clock.advance(5 * MINUTE);
    let gone = server.obtain(OBTAIN, "alice").await["token"].clone();
    let gone = gone.as_str().unwrap();
    let web = Registered { id: "web".into(), secret: String::new() };
    server.form("/oauth2/revoke", None, &[("client_id", &web.id), ("token", gone)]).await.is(200);
    tokens.text("blacklisted", gone.to_owned());
    let good = server.obtain(OBTAIN, "alice").await["token"].clone();
    tokens.text("changed", changed(good.as_str().unwrap()));
    tokens.keep("good", &good);
    tokens.text("foreign", foreign(&json!({ "alg": "HS256", "typ": "JWT" })));
    tokens
}

/// A client of drf-jwt's kind: its token is all it has.
fn resigning() -> Value {
    json!({ "grant_types": ["password", EXCHANGE] })
}

#[test]
fn every_recorded_answer_of_drf_jwt_is_given() {
    on_each_database_with(drf_jwt, async |server: Server| {
        people(&server, resigning()).await;
        let tokens = tokens_of_drf_jwt(&server).await;
        everywhere(&server, OBTAIN, &["username", "password"]).await;
        all(&server, OBTAIN, originals::MISSING_LOGINS_OF_DRF_JWT, &tokens).await;
        for path in [REFRESH, VERIFY] {
            everywhere(&server, path, &["token"]).await;
            missing_tokens(&server, path, "token").await;
            all(&server, path, originals::DRF_JWT_TOKENS, &tokens).await;
        }
        let good = (201, r#"{"pk":<iat>,"token":"<token>"}"#);
        logins(&server, OBTAIN, good, (400, originals::DRF_WRONG)).await;
    });
}

#[test]
fn every_recorded_answer_of_djangorestframework_jwt_is_given() {
    let settings = |settings: &mut Settings| settings.compat = vec![compat(CompatStyle::RestFrameworkJwt)];
    on_each_database_with(settings, async |server: Server| {
        people(&server, resigning()).await;
        let tokens = tokens_of_drf_jwt(&server).await;
        everywhere(&server, OBTAIN, &["username", "password"]).await;
        all(&server, OBTAIN, originals::MISSING_LOGINS, &tokens).await;
        for path in [REFRESH, VERIFY] {
            everywhere(&server, path, &["token"]).await;
            missing_tokens(&server, path, "token").await;
            all(&server, path, originals::REST_FRAMEWORK_JWT_TOKENS, &tokens).await;
        }
        logins(&server, OBTAIN, (200, r#"{"token":"<token>"}"#), (400, originals::DRF_WRONG)).await;
    });
}

#[test]
fn renewal_rotates_and_a_lost_answer_is_given_again() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let first = server.obtain(OBTAIN, "alice").await["refresh"].clone();
        let second = server.post(REFRESH, json!({ "refresh": first })).await;
        second.is(200);
        let again = server.post(REFRESH, json!({ "refresh": first })).await;
        assert_eq!(again.body["refresh"], second.body["refresh"], "the very same successor");
        // The standard endpoint goes on where this one left off: it is the same token.
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "web"),
            ("refresh_token", second.body["refresh"].as_str().unwrap()),
        ];
        let third = server.form("/oauth2/token", None, &form).await;
        third.is(200);
        server.clock.advance(2 * MINUTE);
        let replayed = server.post(REFRESH, json!({ "refresh": first })).await;
        assert_eq!((replayed.status, replayed.body["detail"].as_str()), (401, Some("Token is blacklisted")));
        let after = server.post(REFRESH, json!({ "refresh": third.refresh() })).await;
        assert_eq!(
            (after.status, after.body["detail"].as_str()),
            (401, Some("Token is blacklisted")),
            "the session ended"
        );
        assert_eq!(server.audit("refresh_reused").await.len(), 1);
    });
}

#[test]
fn asking_of_a_refresh_token_neither_uses_it_nor_tells_whether_it_is_the_current_one() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let old = server.obtain(OBTAIN, "alice").await["refresh"].clone();
        let new = server.post(REFRESH, json!({ "refresh": old })).await.body["refresh"].clone();
        server.clock.advance(2 * MINUTE);
        let session = server.admin_get("/admin/v1/sessions").await.text;
        for token in [&old, &new] {
            let asked = server.post(VERIFY, json!({ "token": token })).await;
            assert_eq!((asked.status, asked.text.as_str()), (200, "{}"));
        }
        assert_eq!(server.admin_get("/admin/v1/sessions").await.text, session, "as it was");
        server.post(REFRESH, json!({ "refresh": new })).await.is(200);
    });
}

#[test]
fn logging_out_ends_the_session_and_its_access_tokens() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let pair = server.obtain(OBTAIN, "alice").await;
        let renewed = server.post(REFRESH, json!({ "refresh": pair["refresh"] })).await.body;
        // Any token of the session will do, as at /oauth2/revoke.
        server.post(BLACKLIST, json!({ "refresh": pair["refresh"] })).await.is(200);
        for token in [&pair["access"], &renewed["access"], &renewed["refresh"]] {
            let asked = server.post(VERIFY, json!({ "token": token })).await;
            assert_eq!(asked.text, r#"{"non_field_errors":["Token is blacklisted"]}"#);
        }
        let audit = server.audit("session_revoked").await;
        assert_eq!(audit.len(), 1);
        assert_eq!(audit[0]["detail"]["reason"], "revoked_by_client");
    });
}

#[test]
fn a_token_that_renews_itself_does_so_up_to_the_limit_of_its_session() {
    let lifetimes = json!({ "access_ttl": "5m", "refresh_idle": "12m", "refresh_absolute": "12m" });
    for style in [CompatStyle::DrfJwt, CompatStyle::SimpleJwt] {
        let settings = move |settings: &mut Settings| settings.compat = vec![compat(style)];
        let lifetimes = lifetimes.clone();
        on_each_database_with(settings, async |server: Server| {
            let client =
                people(&server, json!({ "grant_types": ["password", EXCHANGE], "lifetimes": lifetimes })).await;
            // sliding needs no refresh token, and the rest of simplejwt is not asked here
            let (obtain, refresh) =
                if style == CompatStyle::DrfJwt { (OBTAIN, REFRESH) } else { (SLIDING, SLIDING_REFRESH) };
            let first = server.obtain(obtain, "alice").await["token"].clone();
            let mut token = first.clone();
            let started = server.clock_seconds();
            for _ in 0..2 {
                server.clock.advance(4 * MINUTE);
                let renewed = server.post(refresh, json!({ "token": token })).await;
                renewed.is_success();
                token = renewed.body["token"].clone();
            }
            let (old, new) = (claims(first.as_str().unwrap()), claims(token.as_str().unwrap()));
            assert_eq!(old["sid"], new["sid"]);
            assert_eq!(new["exp"], started + 720, "no token outlives the session");
            server.clock.advance(4 * MINUTE);
            let refused = server.post(refresh, json!({ "token": token })).await;
            match style {
                CompatStyle::SimpleJwt => {
                    assert_eq!(refused.body["detail"], "Token 'refresh_exp' claim has expired");
                    assert_eq!(refused.status, 401);
                }
                _ => {
                    assert_eq!(refused.text, r#"{"non_field_errors":["Refresh has expired."]}"#);
                    assert_eq!(refused.status, 400);
                }
            }
            assert_eq!(server.audit("token_renewed").await.len(), 2);
            drop(client);
        });
    }
}

#[test]
fn the_leeway_of_the_settings_holds_here_too() {
    let settings = |settings: &mut Settings| {
        drf_jwt(settings);
        settings.tokens.exchange_leeway = Duration::from_secs(30);
    };
    on_each_database_with(settings, async |server: Server| {
        people(&server, resigning()).await;
        let token = server.obtain(OBTAIN, "alice").await["token"].clone();
        server.clock.advance(5 * MINUTE + Duration::from_secs(29));
        server.post(REFRESH, json!({ "token": token })).await.is(201);
        server.clock.advance(Duration::from_secs(1));
        let late = server.post(REFRESH, json!({ "token": token })).await;
        assert_eq!(late.text, r#"{"non_field_errors":["Token has expired."]}"#);
    });
}

#[test]
fn failures_are_counted_with_those_at_the_token_endpoint() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let standard = async |password: &str| {
            let form =
                [("grant_type", "password"), ("client_id", "web"), ("username", "alice"), ("password", password)];
            server.form("/oauth2/token", None, &form).await
        };
        for _ in 0..3 {
            standard("wrong").await.is_error(400, "invalid_grant");
        }
        for path in [OBTAIN, SLIDING] {
            server.post(path, json!({ "username": "Alice", "password": "wrong" })).await.is(401);
        }
        let slowed = server.post(OBTAIN, json!({ "username": "alice", "password": SECRET })).await;
        slowed.is(429);
        let wait: u64 = slowed.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
        let expected = format!("Request was throttled. Expected available in {wait} seconds.");
        assert_eq!(slowed.body, json!({ "detail": expected.replace(" 1 seconds", " 1 second") }));
        assert_eq!(slowed.header("cache-control"), "no-store");
        standard(SECRET).await.is_error(429, "temporarily_unavailable");
        // A success here clears the account there, and makes the address a known one, with five tries of its own.
        server.clock.advance(Duration::from_secs(31));
        server.post(OBTAIN, json!({ "username": "alice", "password": SECRET })).await.is(200);
        for _ in 0..10 {
            standard("wrong").await.is_error(400, "invalid_grant");
        }
        standard("wrong").await.is_error(429, "temporarily_unavailable");
    });
}

#[test]
fn the_failures_of_an_address_are_counted_together_too() {
    on_each_database_with(drf_jwt, async |server: Server| {
        people(&server, resigning()).await;
        for n in 0..20 {
            let name = format!("user{n}");
            if n % 2 == 0 {
                server.post(OBTAIN, json!({ "username": name, "password": "x" })).await.is(400);
            } else {
                let form = [("grant_type", "password"), ("client_id", "web"), ("username", &name), ("password", "x")];
                server.form("/oauth2/token", None, &form).await.is(400);
            }
        }
        server.post(OBTAIN, json!({ "username": "another", "password": "x" })).await.is(429);
    });
}

#[test]
fn no_login_tells_who_exists() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let mut answers = Vec::new();
        for (username, password) in [
            ("alice", "wrong"),
            ("nobody", "wrong"),
            ("inactive", SECRET),
            ("a\u{200b}", "wrong"),
            ("alice", &*"x".repeat(2000)),
        ] {
            let reply = server.post(OBTAIN, json!({ "username": username, "password": password })).await;
            let mut headers = reply.headers.clone();
            for varying in ["date", "x-request-id"] {
                headers.remove(varying);
            }
            answers.push((reply.status, headers, reply.text));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        // Each that could be a login was one: throttled, hashed, and on record.
        let reasons: Vec<Value> =
            server.audit("login_failed").await.into_iter().map(|event| event["detail"]["reason"].clone()).collect();
        assert_eq!(reasons, ["wrong_password", "unknown_user", "user_disabled"]);
    });
}

#[test]
fn an_unknown_user_costs_as_much_as_a_wrong_password() {
    let slow = |settings: &mut Settings| {
        drf_jwt(settings);
        settings.passwords.iterations = 20;
    };
    on_each_database_with(slow, async |server: Server| {
        people(&server, resigning()).await;
        let mut took = [Duration::ZERO; 2];
        for _ in 0..4 {
            for (which, name) in ["alice", "nobody"].into_iter().enumerate() {
                let began = SystemClock.uptime();
                server.post(OBTAIN, json!({ "username": name, "password": "wrong" })).await.is(400);
                took[which] += SystemClock.uptime().saturating_sub(began);
            }
        }
        assert!(took[0] < took[1] * 3 && took[1] < took[0] * 3, "{took:?}");
    });
}

#[test]
fn tokens_of_other_clients_are_none() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let other = server
            .app(json!({ "client_id": "other", "token_endpoint_auth_method": "none",
                         "grant_types": ["password", "refresh_token", EXCHANGE] }))
            .await;
        let form = [("grant_type", "password"), ("client_id", &*other.id), ("username", "alice"), ("password", SECRET)];
        let theirs = server.form("/oauth2/token", None, &form).await;
        theirs.is(200);
        let invalid = r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
        for (path, field, token) in [
            (REFRESH, "refresh", theirs.refresh()),
            (REFRESH, "refresh", theirs.access()),
            (VERIFY, "token", theirs.refresh()),
            (VERIFY, "token", theirs.access()),
            (BLACKLIST, "refresh", theirs.refresh()),
            (BLACKLIST, "refresh", theirs.access()),
            (SLIDING_REFRESH, "token", theirs.access()),
        ] {
            let reply = server.post(path, json!({ field: token })).await;
            assert_eq!((reply.status, reply.text.as_str()), (401, invalid), "{path}");
        }
        let form = [("grant_type", "refresh_token"), ("client_id", &*other.id), ("refresh_token", &theirs.refresh())];
        server.form("/oauth2/token", None, &form).await.is(200);
    });
}

#[test]
fn pages_of_the_clients_own_origins_may_read_the_answers() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        server.app(json!({ "client_id": "other", "allowed_origins": ["https://other.example"] })).await;
        let ask = async |method: &str, origin: &str| {
            let request = server.http.request(method.parse().unwrap(), format!("{}{OBTAIN}", server.url));
            let request = request.header("origin", origin).header("access-control-request-method", "POST");
            Reply::of(request.json(&json!({ "username": "nobody", "password": "x" })).send().await.unwrap()).await
        };
        let allowed = |reply: &Reply| reply.header("access-control-allow-origin").to_owned();
        assert_eq!(allowed(&ask("POST", "https://app.example").await), "https://app.example");
        assert_eq!(allowed(&ask("POST", "https://other.example").await), "");
        assert_eq!(allowed(&ask("POST", "https://evil.example").await), "");
        let preflight = ask("OPTIONS", "https://app.example").await;
        assert_eq!((preflight.status, preflight.header("allow")), (204, "POST, OPTIONS"));
        assert_eq!(allowed(&preflight), "https://app.example");
        assert_eq!(preflight.header("access-control-allow-headers"), "Authorization, Content-Type, If-None-Match");
        assert_eq!(allowed(&ask("OPTIONS", "https://evil.example").await), "");
    });
}

#[test]
fn bad_input_is_refused_in_the_same_manner() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let send = async |sent: Sent| server.send(OBTAIN, &sent, &Tokens::default()).await;
        let twice = r#"{"username":["This field may be given only once."]}"#;
        for sent in [
            Sent::Json(r#"{"username":"nobody","username":"alice","password":"$password"}"#),
            Sent::Json(r#"{"username":null,"username":"alice","password":"$password"}"#),
            Sent::Form("username=nobody&username=alice&password=$password"),
            Sent::Form("username=alice&user%6eame=alice&password=$password"),
            Sent::Parts(&[("username", "nobody"), ("username", "alice"), ("password", "$password")]),
        ] {
            let reply = send(sent).await;
            assert_eq!((reply.status, reply.text.as_str()), (400, twice));
        }
        // What nobody reads may come as it likes.
        let deep = format!(
            r#"{{"a":{}{},"a":1,"username":"alice","password":"{SECRET}"}}"#,
            "[".repeat(9000),
            "]".repeat(9000)
        );
        let request = server.http.post(format!("{}{OBTAIN}", server.url)).header("content-type", "application/json");
        Reply::of(request.body(deep).send().await.unwrap()).await.is(200);

        for sent in [
            Sent::Json(r#"{"username":"a\ud800","password":"x"}"#),
            Sent::Raw("multipart/form-data", b"--x\r\nrubbish"),
            Sent::Raw("multipart/form-data; boundary=x", b"--x\r\nrubbish"),
        ] {
            let reply = send(sent).await;
            assert_eq!(reply.status, 400, "{}", reply.text);
            assert!(reply.body["detail"].as_str().unwrap().contains(" parse error - "), "{}", reply.text);
        }
        let huge = json!({ "username": "alice", "password": "x".repeat(70 << 10) });
        let reply = server.post(OBTAIN, huge).await;
        assert_eq!((reply.status, reply.body), (413, json!({ "detail": "the body is too large" })));
        for (field, path) in
            [("refresh", REFRESH), ("token", VERIFY), ("token", SLIDING_REFRESH), ("refresh", BLACKLIST)]
        {
            let long = server.post(path, json!({ field: format!("lkr_{}", "A".repeat(50_000)) })).await;
            assert_eq!(long.status, 401, "{path}");
            let long = server.post(path, json!({ field: format!("eyJ.{}.x", "A".repeat(50_000)) })).await;
            assert_eq!(long.body["detail"], "Token is invalid", "{path}");
        }
        let head = server.http.head(format!("{}{OBTAIN}", server.url)).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.headers()["allow"].to_str().unwrap()), (405, "POST, OPTIONS"));
        server.get("/api/token").await.is_error(404, "not_found");
    });
}

#[test]
fn too_many_requests_are_told_in_the_same_manner() {
    let settings = |settings: &mut Settings| {
        simplejwt(settings);
        settings.server.rate_limit = latchkey::config::RateLimit::parse("1000/m");
    };
    on_each_database_with(settings, async |server: Server| {
        let replies = server.at_once(1100, async |server| server.get(OBTAIN).await).await;
        let slowed = replies.iter().find(|reply| reply.status == 429).expect("one too many");
        assert!(slowed.body["detail"].as_str().unwrap().starts_with("Request was throttled. Expected available in "));
        assert!(!slowed.header("retry-after").is_empty());
    });
}

#[test]
fn a_database_that_is_away_is_told_in_the_same_manner() {
    let Some(cluster) = crate::support::Cluster::start() else { return };
    crate::support::block_on(async {
        let server = Server::start_with(cluster.database().await, simplejwt).await;
        people(&server, json!({})).await;
        cluster.stop();
        let reply = server.post(OBTAIN, json!({ "username": "alice", "password": SECRET })).await;
        let expected = json!({ "detail": "Service temporarily unavailable, try again later." });
        assert_eq!((reply.status, reply.body), (503, expected));
        assert!(!reply.headers["retry-after"].is_empty());
        cluster.start_again();
    });
}

#[test]
fn the_operators_answer_takes_the_place_of_the_originals() {
    let template = json!({
        "token": "{token}", "prefixed": "JWT {access}", "refresh": "{refresh}", "ttl": "{expires_in}", "pk": "{issued_at}",
        "until": "{session_expires_at}", "version": 2,
        "user": { "id": "{external_id}", "sub": "{sub}", "name": "{username}", "mail": "<{email}>",
                  "groups": "{attributes.groups}", "phone": "{phone_number}" },
    });
    let response = Some(template);
    let settings = |settings: &mut Settings| {
        settings.compat = vec![CompatSettings { response: response.clone(), ..compat(CompatStyle::DrfJwt) }];
    };
    on_each_database_with(settings, async |server: Server| {
        people(&server, resigning()).await;
        let login = server.post(OBTAIN, json!({ "username": "alice", "password": SECRET })).await;
        login.is(201);
        let now = server.clock_seconds();
        let expected = |token: &Value, issued_at: i64, left: i64, until: i64| {
            let text = token.as_str().unwrap();
            json!({
                "token": text, "prefixed": format!("JWT {text}"), "refresh": null, "ttl": left, "pk": issued_at,
                "until": until, "version": 2,
                "user": { "id": "id-alice", "sub": claims(text)["sub"], "name": "alice", "mail": "<alice@example.com>",
                          "groups": ["a", "b"], "phone": null },
            })
        };
        assert_eq!(login.body, expected(&login.body["token"], now, 300, now + 300));
        server.clock.advance(MINUTE);
        let token = &login.body["token"];
        let same = server.post(VERIFY, json!({ "token": token })).await;
        assert_eq!((same.status, &same.body), (201, &expected(token, now, 240, now + 300)), "the same token");
        let renewed = server.post(REFRESH, json!({ "token": token })).await;
        assert_ne!(&renewed.body["token"], token);
        assert_eq!(renewed.body, expected(&renewed.body["token"], now + 60, 300, now + 360));
    });
}

#[test]
fn a_token_renews_itself_beside_a_refresh_token_too() {
    let settings = |settings: &mut Settings| {
        let response = Some(json!({ "token": "{token}", "refresh": "{refresh}" }));
        settings.compat = vec![CompatSettings { response, ..compat(CompatStyle::RestFrameworkJwt) }];
    };
    on_each_database_with(settings, async |server: Server| {
        people(&server, json!({})).await;
        let login = server.post(OBTAIN, json!({ "username": "alice", "password": SECRET })).await;
        assert_eq!(shape(&login.text), r#"{"token":"<token>","refresh":"<token>"}"#);
        let renewed = server.post(REFRESH, json!({ "token": login.body["token"] })).await;
        assert_eq!(shape(&renewed.text), r#"{"token":"<token>","refresh":null}"#, "it has one already");
        let refused = server.post(REFRESH, json!({ "token": login.body["refresh"] })).await;
        assert_eq!(refused.text, r#"{"non_field_errors":["Error decoding signature."]}"#);
    });
}

#[test]
fn simplejwt_answers_logins_by_the_template_and_the_rest_as_ever() {
    let settings = |settings: &mut Settings| {
        let response = Some(json!({ "access": "{access}", "refresh": "{refresh}", "name": "{username}" }));
        settings.compat = vec![CompatSettings { response, ..compat(CompatStyle::SimpleJwt) }];
    };
    on_each_database_with(settings, async |server: Server| {
        people(&server, json!({})).await;
        let login = server.post(OBTAIN, json!({ "username": "alice", "password": SECRET })).await;
        let shaped: Value = serde_json::from_str(&shape(&login.text)).unwrap();
        assert_eq!(shaped, json!({ "access": "<token>", "refresh": "<token>", "name": "alice" }));
        let renewed = server.post(REFRESH, json!({ "refresh": login.body["refresh"] })).await;
        assert_eq!(shape(&renewed.text), r#"{"access":"<token>","refresh":"<token>"}"#);
        server.post(VERIFY, json!({ "token": login.body["access"] })).await.is(200);
    });
}

#[test]
fn the_name_goes_by_what_the_requests_call_it() {
    for style in [CompatStyle::SimpleJwt, CompatStyle::DrfJwt] {
        let settings = move |settings: &mut Settings| {
            settings.compat = vec![CompatSettings { username_field: "email".into(), ..compat(style) }];
        };
        on_each_database_with(settings, async |server: Server| {
            people(&server, json!({})).await;
            server.post(OBTAIN, json!({ "email": "alice", "password": SECRET })).await.is_success();
            let missing = server.post(OBTAIN, json!({ "username": "alice", "password": SECRET })).await;
            assert_eq!(missing.text, r#"{"email":["This field is required."]}"#);
        });
    }
}

#[test]
fn a_client_that_cannot_serve_is_told_at_the_start_and_later() {
    on_each_database_with(simplejwt, async |server: Server| {
        let faults = async || latchkey::http::compat_faults(&server.app).await.unwrap();
        let told = faults().await;
        assert!(
            told.len() == 1
                && told[0].contains("compat[0].client_id names \"web\"")
                && told[0].contains("bootstrap.file")
        );
        let login = async || server.post(OBTAIN, json!({ "username": "alice", "password": SECRET })).await;
        let refused = async |part: &str| {
            let reply = login().await;
            assert_eq!(reply.status, 403, "{}", reply.text);
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.contains(part) && reply.body.as_object().unwrap().len() == 1, "{detail}");
        };
        refused("is not registered any more").await;

        people(&server, json!({ "grant_types": ["password"] })).await;
        let told = faults().await;
        assert!(
            told.len() == 1 && told[0].contains(&format!("is not registered for refresh_token and {EXCHANGE}")),
            "{told:?}"
        );
        refused("is not registered for refresh_token").await;

        let patch = async |body: Value| server.admin_patch("/admin/v1/clients/web", body).await.is(200);
        patch(json!({ "grant_types": ["password", "refresh_token", EXCHANGE] })).await;
        assert_eq!(faults().await, Vec::<String>::new());
        login().await.is(200);
        patch(json!({ "disabled": true })).await;
        assert_eq!(faults().await, Vec::<String>::new(), "whoever disabled it meant to");
        for (path, field) in
            [(REFRESH, "refresh"), (VERIFY, "token"), (BLACKLIST, "refresh"), (SLIDING_REFRESH, "token")]
        {
            let reply = server.post(path, json!({ field: "x" })).await;
            assert_eq!(reply.status, 403, "{path}");
        }
        refused("is disabled").await;
        patch(json!({ "disabled": false })).await;
        login().await.is(200);
        server.admin_delete("/admin/v1/clients/web").await.is(204);
        refused("is not registered any more").await;

        server.app(json!({ "client_id": "web", "grant_types": ["password", "refresh_token", EXCHANGE] })).await;
        assert!(faults().await[0].contains("has a secret"));
        refused("has a secret").await;
    });
}

#[test]
fn of_a_user_who_left_an_access_token_tells_no_more_than_that_it_is_over() {
    on_each_database_with(drf_jwt, async |server: Server| {
        people(&server, resigning()).await;
        let token = server.obtain(OBTAIN, "leaver").await["token"].clone();
        disable(&server, "leaver").await;
        let gone = server.obtain_as(OBTAIN, "num", "1234567890").await["token"].clone();
        let sub = sub_of(&server, "num").await;
        server.admin_delete(&format!("/admin/v1/users/{sub}")).await.is(204);
        for (path, token) in [(REFRESH, &token), (VERIFY, &token), (REFRESH, &gone), (VERIFY, &gone)] {
            let refused = server.post(path, json!({ "token": token })).await;
            assert_eq!(refused.text, r#"{"non_field_errors":["Token is blacklisted."]}"#, "{path}");
        }
    });
}

#[test]
fn a_refresh_token_of_a_user_who_is_gone_is_refused_and_no_defect() {
    on_each_database_with(simplejwt, async |server: Server| {
        people(&server, json!({})).await;
        let token = server.obtain(OBTAIN, "leaver").await["refresh"].clone();
        let sub = sub_of(&server, "leaver").await;
        server.admin_delete(&format!("/admin/v1/users/{sub}")).await.is(204);
        let refused = server.post(REFRESH, json!({ "refresh": token })).await;
        assert_eq!(refused.text, r#"{"detail":"No active account found for the given token."}"#);
        assert_eq!(refused.status, 401);
    });
}

#[test]
fn the_paths_are_in_the_served_document() {
    on_each_database_with(simplejwt, async |server: Server| {
        let document = server.get("/openapi.json").await.body;
        for path in [OBTAIN, REFRESH, VERIFY, BLACKLIST, SLIDING, SLIDING_REFRESH] {
            let operation = &document["paths"][path]["post"];
            assert!(operation["requestBody"]["content"]["multipart/form-data"].is_object(), "{path}: {operation}");
            assert!(operation["responses"]["200"].is_object(), "{path}");
        }
        let required =
            &document["paths"][OBTAIN]["post"]["requestBody"]["content"]["application/json"]["schema"]["required"];
        assert_eq!(required, &json!(["username", "password"]));
        let plain = latchkey::http::documents("https://id.example");
        assert!(!plain[0].1.json().contains("Compatibility"), "the committed ones have none of it");
    });
}

#[test]
fn no_secret_is_logged_on_the_way() {
    on_each_database(async |server: Server| {
        drop(server);
        let server = Server::start_with(crate::support::Database::sqlite(), simplejwt).await;
        people(&server, json!({})).await;
        let unique = "this-password-is-in-no-other-test";
        let pair = server.obtain(OBTAIN, "alice").await;
        for body in
            [json!({ "username": "alice", "password": unique }), json!({ "username": [unique], "password": unique })]
        {
            server.post(OBTAIN, body).await;
        }
        for path in [REFRESH, BLACKLIST, VERIFY, SLIDING_REFRESH] {
            server.post(path, json!({ "refresh": pair["refresh"], "token": pair["access"] })).await;
        }
        let log = crate::support::log::so_far();
        for secret in [unique, pair["refresh"].as_str().unwrap(), pair["access"].as_str().unwrap()] {
            assert!(!log.contains(secret), "logged: {secret}");
        }
    });
}
