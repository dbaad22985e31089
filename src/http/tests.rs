//! The whole of HTTP but the socket, on a program of the test's own.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, StatusCode};
use poem::{Addr, Endpoint as _, Request};
use serde_json::Value;

use super::*;
use crate::app::Sources;
use crate::config::{CompatSettings, CompatStyle, DatabaseUrl, Settings};
use crate::flows::metadata::{Enabled, Metadata};

const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";
const PEOPLE: &str = r#"{
    "clients": [
        {"client_id": "web", "client_secret": "a-secret-of-more-than-thirty-two-bytes", "scope": "read write",
         "grant_types": ["password", "refresh_token", "client_credentials"]},
        {"client_id": "spa", "token_endpoint_auth_method": "none", "scope": "read", "client_name": "SPA",
         "grant_types": ["password", "refresh_token"], "allowed_origins": ["https://spa.example"]}
    ],
    "users": [{"username": "ada", "password": "correct horse battery staple"}]
}"#;

struct Program {
    app: Arc<App>,
    _folder: tempfile::TempDir,
}

impl Program {
    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.database.url =
            DatabaseUrl::parse(&format!("sqlite://{}", folder.path().join("db").display())).unwrap();
        settings.keys.directory = folder.path().to_owned();
        let people = folder.path().join("people.json");
        std::fs::write(&people, PEOPLE).unwrap();
        settings.bootstrap.file = Some(people);
        settings.passwords.memory_kib = 64;
        settings.passwords.iterations = 1;
        change(&mut settings);
        let app = App::start(settings, Sources::default()).await.unwrap();
        Self { app, _folder: folder }
    }

    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn ask(&self, request: poem::RequestBuilder) -> Answer {
        self.ask_with(request, "").await
    }

    async fn ask_with(&self, request: poem::RequestBuilder, body: &str) -> Answer {
        Answer::of(Site::new(&self.app).shared().call(request.body(body.to_owned())).await.unwrap()).await
    }

    async fn token(&self, form: &str) -> Answer {
        self.ask_with(post("/oauth2/token").header("authorization", basic("web", SECRET)), form).await
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    async fn of(mut response: Response) -> Self {
        let body = response.take_body().into_vec().await.unwrap();
        Self { status: response.status(), headers: response.headers().clone(), body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    fn is_error(&self, status: u16, error: &str) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.json()["error"], error);
        assert!(self.json()["error_description"].is_string());
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("content-type"), "application/json");
        assert!(!self.header("x-request-id").is_empty());
    }
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn get(path: &str) -> poem::RequestBuilder {
    Request::builder().method(Method::GET).uri_str(path)
}

fn post(path: &str) -> poem::RequestBuilder {
    Request::builder().method(Method::POST).uri_str(path).content_type("application/x-www-form-urlencoded")
}

#[tokio::test]
async fn a_login_is_answered_renewed_introspected_and_revoked() {
    let site = Program::new().await;
    let login = site.token("grant_type=password&username=ada&password=correct+horse+battery+staple").await;
    assert_eq!(login.status, 200, "{}", String::from_utf8_lossy(&login.body));
    assert_eq!((login.header("cache-control"), login.header("pragma")), ("no-store", "no-cache"));
    assert_eq!(login.header("content-type"), "application/json");
    let body = login.json();
    assert_eq!((body["token_type"].as_str(), body["scope"].as_str()), (Some("Bearer"), Some("read write")));

    let refresh = body["refresh_token"].as_str().unwrap();
    let renewed = site.token(&format!("grant_type=refresh_token&refresh_token={refresh}")).await;
    assert_eq!(renewed.status, 200);
    let access = renewed.json()["access_token"].as_str().unwrap().to_owned();
    let question = format!("token={access}");
    let about = |path| site.ask_with(post(path).header("authorization", basic("web", SECRET)), &question);
    let told = about("/oauth2/introspect").await;
    assert_eq!((told.status.as_u16(), &told.json()["active"]), (200, &Value::Bool(true)));
    assert_eq!(told.json()["client_id"], "web");
    assert_eq!(told.header("cache-control"), "no-store");
    let revoked = about("/oauth2/revoke").await;
    assert_eq!((revoked.status.as_u16(), revoked.body.len()), (200, 0));
    assert_eq!(String::from_utf8(about("/oauth2/introspect").await.body).unwrap(), "{\"active\":false}");
}

#[tokio::test]
async fn errors_are_json_whoever_finds_them() {
    let site = Program::new().await;
    site.ask(get("/nowhere")).await.is_error(404, "not_found");
    let wrong = site.ask(get("/oauth2/token")).await;
    wrong.is_error(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), "OPTIONS, POST");
    site.token("").await.is_error(400, "invalid_request");
    site.token("grant_type=password&grant_type=password").await.is_error(400, "invalid_request");
    site.token("grant_type=client_credentials&scope=%ff").await.is_error(400, "invalid_request");
    site.token(&"x".repeat(70_000)).await.is_error(413, "payload_too_large");
    let json = Request::builder().method(Method::POST).uri_str("/oauth2/token").content_type("application/json");
    site.ask_with(json, "{}").await.is_error(415, "unsupported_media_type");
    let nameless = Request::builder().method(Method::POST).uri_str("/oauth2/token");
    site.ask_with(nameless, "grant_type=x").await.is_error(415, "unsupported_media_type");
    for header in ["Basic @@@", "Basic", "Bearer x", &basic("web", "wrong")] {
        let refused =
            site.ask_with(post("/oauth2/token").header("authorization", header), "grant_type=client_credentials").await;
        refused.is_error(401, "invalid_client");
        assert!(refused.header("www-authenticate").starts_with("Basic realm=\"latchkey\""), "{header}");
    }
    let named = site.ask_with(post("/oauth2/token"), "grant_type=client_credentials&client_id=web").await;
    named.is_error(401, "invalid_client");
    assert_eq!(named.header("www-authenticate"), "");
    let charset = Request::builder()
        .method(Method::POST)
        .uri_str("/oauth2/token")
        .content_type("application/x-www-form-urlencoded; charset=UTF-8")
        .header("authorization", basic("web", SECRET));
    assert_eq!(site.ask_with(charset, "grant_type=client_credentials").await.status, 200);
}

#[tokio::test]
async fn the_key_set_is_cached_and_confirmed() {
    let site = Program::new().await;
    let keys = site.ask(get("/.well-known/jwks.json")).await;
    assert_eq!((keys.status.as_u16(), keys.header("content-type")), (200, "application/jwk-set+json"));
    assert_eq!(keys.header("cache-control"), "public, max-age=600");
    assert!(keys.json()["keys"].as_array().unwrap().len() >= 2);
    let again = get("/.well-known/jwks.json").header("if-none-match", keys.header("etag").to_owned());
    let again = site.ask(again).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.header("cache-control"), keys.header("cache-control"));
    assert_eq!(again.header("etag"), keys.header("etag"));
    let head = Request::builder().method(Method::HEAD).uri_str("/.well-known/jwks.json");
    assert_eq!(site.ask(head).await.status, 200);
    let page = site.ask(get("/.well-known/jwks.json").header("origin", "https://anyone.example")).await;
    assert_eq!(page.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn metadata_says_what_its_schema_says() {
    let site = Program::new().await;
    let metadata = site.ask(get("/.well-known/oauth-authorization-server")).await;
    assert_eq!((metadata.status.as_u16(), metadata.header("cache-control")), (200, METADATA_CACHE));
    let [(_, document), _] = documents("http://127.0.0.1:8420");
    let document: Value = serde_json::from_str(&document.json()).unwrap();
    let schema = &document["components"]["schemas"]["AuthorizationServerMetadata"];
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let required = schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let told = names(&metadata.json());
    assert!(required.collect::<BTreeSet<_>>().is_subset(&told), "{told:?}");
    let all = Enabled { authorization: true, end_session: true, backchannel_logout: true };
    let all = serde_json::to_value(Metadata::new("http://127.0.0.1:8420", all)).unwrap();
    assert_eq!(names(&all), names(&schema["properties"]));
}

#[tokio::test]
async fn everything_that_the_metadata_names_is_there() {
    let site = Program::new().await;
    let metadata = site.ask(get("/.well-known/oauth-authorization-server")).await.json();
    let issuer = metadata["issuer"].as_str().unwrap();
    let urls = metadata.as_object().unwrap().values().filter_map(|value| value.as_str()?.strip_prefix(issuer));
    let mut seen = 0;
    for path in urls.filter(|path| !path.is_empty()) {
        let answer = site.ask(Request::builder().method(Method::OPTIONS).uri_str(path)).await;
        assert_eq!(answer.status, 204, "{path}");
        seen += 1;
    }
    assert!(seen >= 6, "{metadata}");
    // One document for both, and neither before it is true.
    let openid = site.ask(get("/.well-known/openid-configuration")).await;
    let can_log_in = site.ask(get("/oauth2/authorize")).await.status != 404;
    assert_eq!((can_log_in, openid.status == 200), (SERVED.authorization, SERVED.authorization));
    if SERVED.authorization {
        assert_eq!(openid.json(), metadata);
    } else {
        openid.is_error(404, "not_found");
    }
}

#[tokio::test]
async fn an_issuers_path_moves_every_route() {
    let site = Program::with(|settings| settings.server.issuer = "http://127.0.0.1:8420/auth".into()).await;
    let form = "grant_type=client_credentials";
    let token = post("/auth/oauth2/token").header("authorization", basic("web", SECRET));
    assert_eq!(site.ask_with(token, form).await.status, 200);
    for path in [
        "/auth/.well-known/jwks.json",
        "/auth/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/auth",
        "/auth/docs",
        "/auth/openapi.json",
        "/auth/admin/openapi.json",
        "/auth/health/ready",
    ] {
        assert_eq!(site.ask(get(path)).await.status, 200, "{path}");
    }
    for path in ["/oauth2/token", "/docs", "/.well-known/oauth-authorization-server", "/auth"] {
        site.ask(get(path)).await.is_error(404, "not_found");
    }
}

#[tokio::test]
async fn the_paths_of_compat_are_whole_and_for_the_public_listener() {
    let site = Program::with(|settings| {
        settings.server.issuer = "http://127.0.0.1:8420/auth".into();
        settings.compat = vec![CompatSettings {
            style: CompatStyle::SimpleJwt,
            client_id: "spa".into(),
            obtain: Some("/api/token/".into()),
            ..CompatSettings::default()
        }];
    })
    .await;
    let form = "username=ada&password=correct+horse+battery+staple";
    let login = site.ask_with(post("/api/token/"), form).await;
    assert_eq!(login.status, 200, "{}", String::from_utf8_lossy(&login.body));
    assert!(login.json()["refresh"].as_str().is_some_and(|token| token.starts_with("lkr_")));
    site.ask_with(post("/auth/api/token/"), form).await.is_error(404, "not_found");
    let document = site.ask(get("/auth/openapi.json")).await.json();
    assert_eq!(document["paths"]["/api/token/"]["servers"][0]["url"], "http://127.0.0.1:8420");
    let operators = Site::new(&site.app).admin().call(post("/api/token/").body(form)).await.unwrap();
    assert_eq!(operators.status(), 404);
}

#[tokio::test]
async fn pages_of_a_clients_own_origin_may_read_its_tokens() {
    let site = Program::new().await;
    let ask = async |origin: &'static str| {
        let form = "grant_type=password&username=ada&password=wrong&client_id=spa";
        site.ask_with(post("/oauth2/token").header("origin", origin), form).await
    };
    let own = ask("https://spa.example").await;
    own.is_error(400, "invalid_grant");
    assert_eq!(own.header("access-control-allow-origin"), "https://spa.example");
    assert_eq!(ask("https://evil.example").await.header("access-control-allow-origin"), "");
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri_str("/oauth2/token")
        .header("origin", "https://spa.example")
        .header("access-control-request-method", "POST");
    let preflight = site.ask(preflight).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "https://spa.example");
    assert_eq!(preflight.header("allow"), "OPTIONS, POST");
}

#[tokio::test]
async fn the_documentation_is_whole_and_keeps_its_policy() {
    let site = Program::new().await;
    let page = site.ask(get("/docs")).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let html = String::from_utf8(page.body.clone()).unwrap();
    let files: Vec<_> = html.split('"').filter(|text| text.starts_with("docs/")).collect();
    assert_eq!(files.len(), 4, "{html}");
    for file in files {
        let asset = site.ask(get(&format!("/{file}"))).await;
        assert_eq!(asset.status, 200, "{file}");
        assert!(asset.header("cache-control").contains("immutable"));
        assert!(asset.body.len() > 100, "{file}");
    }
    site.ask(get("/docs/other.js")).await.is_error(404, "not_found");
    let moved = site.ask(get("/docs/")).await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, "/docs"));
}

#[tokio::test]
async fn operators_paths_move_to_their_own_listener() {
    let site = Program::new().await;
    let (public, admin) = (Site::new(&site.app).public(), Site::new(&site.app).admin());
    let status = async |frame: &Frame<Route>, path: &str| {
        let request = Request::builder().method(Method::GET).uri_str(path).finish();
        frame.call(request).await.unwrap().status().as_u16()
    };
    for path in ["/metrics", "/admin/openapi.json"] {
        assert_eq!((status(&public, path).await, status(&admin, path).await), (404, 200), "{path}");
    }
    for path in ["/docs", "/health/live", "/health/ready"] {
        assert_eq!((status(&public, path).await, status(&admin, path).await), (200, 200), "{path}");
    }
    for path in ["/openapi.json", "/.well-known/jwks.json"] {
        assert_eq!((status(&public, path).await, status(&admin, path).await), (200, 404), "{path}");
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_or_a_token() {
    let site = Program::new().await;
    site.ask(get("/metrics")).await.is_error(401, "invalid_token");
    let (hyper_parts, ()) = hyper::Request::get("/metrics").body(()).unwrap().into_parts();
    let from = |address: &str| {
        let remote = poem::web::RemoteAddr(Addr::SocketAddr(address.parse().unwrap()));
        let parts =
            poem::RequestParts::from((hyper_parts.clone(), poem::web::LocalAddr::default(), remote, Scheme::HTTP));
        Request::from_parts(parts, poem::Body::empty())
    };
    let frame = Site::new(&site.app).shared();
    let local = Answer::of(frame.call(from("127.0.0.1:4711")).await.unwrap()).await;
    assert_eq!(local.status, 200);
    assert!(local.header("content-type").starts_with("application/openmetrics-text"));
    Answer::of(frame.call(from("192.0.2.1:4711")).await.unwrap()).await.is_error(401, "invalid_token");
}

#[test]
fn the_issuers_path_is_what_follows_its_host() {
    for (issuer, path) in [
        ("https://id.example", ""),
        ("https://id.example/", ""),
        ("https://id.example/tenants/a", "/tenants/a"),
        ("http://127.0.0.1:8420/auth/", "/auth"),
    ] {
        assert_eq!(path_of(issuer), path);
    }
}

#[test]
fn the_documents_describe_every_operation_and_its_real_answers() {
    for (name, document) in documents("https://id.example/auth") {
        let document: Value = serde_json::from_str(&document.json()).unwrap();
        assert_eq!(document["servers"][0]["url"], "https://id.example/auth");
        assert!(document.get("webhooks").is_none());
        for part in [&document["paths"], &document["components"]["securitySchemes"]] {
            assert!(!part.to_string().contains(":null"), "{name}: readers stumble over null members");
        }
        let mut ids = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let place = format!("{name}: {method} {path}");
                for member in ["operationId", "summary"] {
                    assert!(operation[member].as_str().is_some_and(|text| !text.is_empty()), "{place}: {member}");
                }
                assert!(!operation["tags"].as_array().unwrap().is_empty(), "{place}");
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{place}");
                let answers = operation["responses"].as_object().unwrap();
                assert!(answers.values().all(|answer| answer["description"].as_str() != Some("")), "{place}");
            }
        }
        let flow = &document["components"]["securitySchemes"]["latchkey"]["flows"]["password"];
        assert_eq!(flow["tokenUrl"], "https://id.example/auth/oauth2/token");
    }
}

#[test]
fn no_two_operations_share_a_path_and_a_method() {
    let mut seen = BTreeSet::new();
    for path in <(PublicApi, AdminApi)>::meta().into_iter().flat_map(|api| api.paths) {
        for operation in path.operations {
            assert!(seen.insert((path.path.clone(), operation.method.to_string())), "{}", path.path);
        }
    }
}

#[test]
fn the_token_request_is_one_flat_form_with_an_example_per_grant() {
    let [(_, document), _] = documents("https://id.example");
    let document: Value = serde_json::from_str(&document.json()).unwrap();
    let form =
        &document["paths"]["/oauth2/token"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"];
    assert!(form["schema"]["$ref"].is_string(), "{form}");
    for grant in crate::domain::client::GrantType::ALL {
        assert_eq!(form["examples"][grant.as_str()]["value"]["grant_type"], grant.as_str());
    }
    let request = &document["components"]["schemas"]["TokenRequest"];
    assert!(request["properties"]["resource"]["items"].is_object());
    assert_eq!(request["required"], serde_json::json!(["grant_type"]));
}
