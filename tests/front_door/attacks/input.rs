//! Text that is to become markup, a header, a parameter or another host; and requests that no client sends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use html5gum::{Token, Tokenizer};
use serde_json::json;

use super::{MALFORMED, UNTRUSTED, stopped};
use crate::authorize::pages::ALLOW;
use crate::authorize::{ALICE, CALLBACK, answered, app, code_of, request, signed_in};
use crate::support::browser::{Browser, Page};
use crate::support::{PASSWORD, Server, on_each_database};

/// What would run, were it ever taken for markup.
const MARKUP: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><svg/onload=alert(1)>",
    "'\"></title></bdi><img/src=x/onerror=alert(1)>",
    "\" autofocus onfocus=\"alert(1)",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<!--",
];

/// Holds a page against the tags that the pages have, as a browser reads them.
#[track_caller]
fn is_plain(page: &Page) {
    const TAGS: [&str; 33] = [
        "html", "head", "meta", "title", "link", "body", "header", "img", "span", "main", "h1", "h2", "h3", "p", "bdi",
        "form", "input", "div", "label", "button", "ul", "li", "code", "a", "details", "summary", "script", "section",
        "time", "svg", "rect", "path", "circle",
    ];
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for token in Tokenizer::new(page.html.as_bytes()) {
        match token.unwrap() {
            Token::StartTag(tag) => {
                let name = text(&tag.name);
                assert!(TAGS.contains(&name.as_str()), "<{name}>: {}", page.html);
                for (attribute, value) in &tag.attributes {
                    let (attribute, value) = (text(attribute), text(&value.value));
                    assert!(!attribute.starts_with("on") && attribute != "style", "{attribute}: {}", page.html);
                    let is_address = ["href", "src", "action", "formaction"].contains(&attribute.as_str());
                    assert!(!is_address || !value.trim().starts_with("javascript"), "{value}: {}", page.html);
                }
            }
            Token::Comment(_) => panic!("{}", page.html),
            _ => {}
        }
    }
    let scripts = page.html.matches("<script").count();
    assert_eq!(scripts, page.html.matches("<script>document.forms[0].submit()</script>").count(), "{}", page.html);
}

#[test]
fn cross_site_scripting() {
    on_each_database(async |server| {
        for (at, markup) in MARKUP.into_iter().enumerate() {
            let id = format!("app-{at}{markup}");
            app(&server, json!({ "client_id": id, "client_name": markup, "scope": "openid email" })).await;
            // PRECIS takes no spaces.
            let username = format!("x{}", markup.replace(' ', ""));
            server.user(&username).await;
            let browser = Browser::new(&server);
            let own = [("client_id", id.as_str()), ("state", markup), ("nonce", markup)];
            let hinted = [&own[..], &[("login_hint", markup)]].concat();
            let login = browser.open(&request(&hinted)).await.is(200);
            is_plain(&login);
            let refused = browser.submit(&login, &[("username", markup), ("password", markup)]).await.is(400);
            is_plain(&refused);
            let consent = browser.submit(&login, &[("username", &username), ("password", PASSWORD)]).await.is(200);
            is_plain(&consent);
            let by_form = [&own[..], &[("response_mode", "form_post"), ("prompt", "none")]].concat();
            let posted = browser.open(&request(&by_form)).await;
            is_plain(&posted);
            assert_eq!(posted.posted_to(CALLBACK)["state"], markup);
            let back = browser.submit(&consent, &ALLOW).await.is(303).sent_to(CALLBACK);
            assert_eq!(back["state"], markup, "it comes back as it was");
            is_plain(&browser.get("/account").await.is(200));
            let leaving = reqwest::Url::parse_with_params("http://x/", [("client_id", id.as_str()), ("state", markup)]);
            let question = browser.get(&format!("/oauth2/logout?{}", leaving.unwrap().query().unwrap())).await.is(200);
            is_plain(&question);
            for name in
                ["scope", "prompt", "display", "max_age", "response_type", "response_mode", "claims", "resource"]
            {
                for mode in ["query", "form_post"] {
                    let changes = [("response_mode", mode), (name, markup)];
                    let changes = if name == "response_mode" { &changes[1..] } else { &changes[..] };
                    let page = browser.open(&request(&[&own[..], changes].concat())).await;
                    if page.location.is_none() {
                        is_plain(&page);
                        assert!(page.posted_to(CALLBACK).contains_key("error"), "{name}");
                    }
                }
            }
            for changes in [[("client_id", markup)], [("redirect_uri", markup)]] {
                let page = browser.get(&request(&changes)).await.shows_error(400, UNTRUSTED);
                is_plain(&page);
            }
            for path in ["/login?ticket=", "/consent?ticket=", "/login?"] {
                let url = reqwest::Url::parse_with_params("http://x/", [("v", markup)]).unwrap();
                let encoded = url.query().unwrap().strip_prefix("v=").unwrap();
                let page = browser.get(&format!("{path}{encoded}&{encoded}=1&{encoded}=2")).await.is(400);
                is_plain(&page);
            }
        }
    });
}

#[test]
fn response_splitting_by_the_state() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        let splitting = "x\r\nSet-Cookie: latchkey=planted\r\n\r\n<script>alert(1)</script>\u{85}\u{2028}";
        let back = browser.open(&request(&[("state", splitting)])).await.is(303);
        assert!(!back.headers.contains_key("set-cookie"), "{:?}", back.headers);
        let location = back.location.as_deref().unwrap();
        assert!(location.bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{location}");
        assert_eq!(answered(&back)["state"], splitting);
        let form = [("client_id", "web"), ("redirect_uri", CALLBACK), ("state", splitting), (splitting, splitting)];
        let again = browser.post("/oauth2/authorize", &form).await.is(303);
        assert!(!again.headers.contains_key("set-cookie"), "{:?}", again.headers);
        let posted = browser.open(&request(&[("state", splitting), ("response_mode", "form_post")])).await;
        assert!(!posted.headers.contains_key("set-cookie"), "{:?}", posted.headers);
        is_plain(&posted);
        let refused = answered(&browser.open(&request(&[("scope", splitting)])).await);
        let described = &refused["error_description"];
        assert!(described.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\'));
    });
}

#[test]
fn oversized_requests() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        // What is taken comes back whole, whatever it is made of.
        for state in ["s".repeat(7000), "\u{1}".repeat(7000), "\u{fe0f}".repeat(2300), "\"\\".repeat(3500)] {
            let back = browser.open(&request(&[("state", &state)])).await.is(303);
            assert_eq!(answered(&back)["state"], state);
            let login = browser.open(&request(&[("state", &state), ("prompt", "login")])).await.is(200);
            let back = browser.submit(&login, &ALICE).await.is(303);
            assert_eq!(answered(&back)["state"], state, "through the pages too");
        }
        let large = "s".repeat(8 << 10);
        browser.open(&request(&[("state", &large)])).await.shows_error(400, MALFORMED);
        let posted = browser.post("/oauth2/authorize", &[("client_id", "web"), ("state", &large)]).await;
        posted.shows_error(400, MALFORMED);
        for (name, length) in [("nonce", 1025), ("login_hint", 1025), ("ui_locales", 1025), ("claims", 4097)] {
            let refused = browser.open(&request(&[(name, &"x".repeat(length))])).await;
            assert_eq!(answered(&refused)["error"], "invalid_request", "{name}");
        }
        for path in ["/oauth2/authorize", "/login", "/consent"] {
            stopped(browser.post(path, &[("x", &"x".repeat(100_000))]).await, path);
        }
        let many = "&a=b".repeat(5000);
        browser.open(&format!("{}{many}", request(&[]))).await.is(303);
        // What no server reads to its end.
        let huge = server.http.get(format!("{}/oauth2/authorize?x={}", server.url, "x".repeat(600_000))).send().await;
        assert!(huge.is_err() || huge.unwrap().status().is_client_error());
        answered(&browser.open(&request(&[])).await.is(303));
    });
}

#[test]
fn parameter_pollution() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        for (name, value) in [
            ("response_type", "token"),
            ("response_mode", "form_post"),
            ("scope", "openid"),
            ("state", "other"),
            ("nonce", "other"),
            ("code_challenge", "other"),
            ("code_challenge_method", "plain"),
            ("prompt", "none"),
            ("max_age", "1"),
            ("login_hint", "x"),
            ("id_token_hint", "x"),
            ("display", "page"),
            ("ui_locales", "en"),
            ("claims", "{}"),
            ("acr_values", "1"),
            ("request", "x"),
            ("request_uri", "x"),
        ] {
            let twice = format!("{}&{name}={value}&{name}={value}", request(&[(name, "")]));
            let page = browser.open(&twice).await;
            let refused = if page.location.is_some() { answered(&page) } else { page.posted_to(CALLBACK) };
            assert_eq!(refused["error"], "invalid_request", "{name}");
            assert!(refused["error_description"].contains(name), "{refused:?}");
            assert_eq!(refused.get("state").map(String::as_str), (name != "state").then_some("s t&a=te"), "{name}");
        }
        // What only other readers would take for the same parameter.
        for beside in ["client_id[]=evil", "redirect_uri[0]=https://evil.example", "Redirect_Uri=x", "x;client_id=evil"]
        {
            code_of(&browser.open(&format!("{}&{beside}", request(&[]))).await.is(303));
        }
        // By POST, the address of the form counts for nothing.
        let in_address = format!("{}&redirect_uri=https://evil.example", request(&[]));
        browser.follow(browser.post(&in_address, &[("client_id", "web")]).await).await.shows_error(400, UNTRUSTED);
        let login = browser.open(&request(&[("prompt", "login")])).await.is(200);
        let fields = login.hidden();
        for name in ["ticket", "csrf", "username", "password"] {
            let all: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let all = [&all[..], &ALICE, &[(name, "again")]].concat();
            stopped(browser.post("/login", &all).await.shows_error(400, MALFORMED), name);
        }
    });
}

#[test]
fn nul_characters_and_bytes_that_are_no_text() {
    on_each_database(async |server: Server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        for name in
            ["state", "nonce", "scope", "login_hint", "claims", "acr_values", "resource", "ui_locales", "prompt"]
        {
            let refused = answered(&browser.open(&request(&[(name, "a\0b")])).await.is(303));
            assert_eq!(refused["error"], "invalid_request", "{name}");
        }
        for name in ["client_id", "redirect_uri"] {
            browser
                .open(&request(&[(name, &format!("{}\0", if name == "client_id" { "web" } else { CALLBACK }))]))
                .await
                .shows_error(400, UNTRUSTED);
        }
        let login = browser.open(&request(&[("prompt", "login")])).await.is(200);
        browser.submit(&login, &[("username", "alice\0"), ("password", PASSWORD)]).await.is(400);
        browser.submit(&login, &[("username", "alice"), ("password", "\0")]).await.is(400);
        for encoded in ["%ff", "%c3", "%zz", "%", "%u0041", "%ed%a0%80"] {
            for path in [format!("{}&x={encoded}", request(&[])), format!("{}&{encoded}=x", request(&[]))] {
                browser.get(&path).await.shows_error(400, MALFORMED);
            }
            for path in ["/login?ticket=", "/consent?ticket="] {
                browser.get(&format!("{path}{encoded}")).await.shows_error(400, MALFORMED);
            }
            for path in ["/oauth2/authorize", "/login", "/consent"] {
                let body = format!("ticket=x&username={encoded}");
                let sent = server.http.post(format!("{}{path}", server.url)).body(body).send().await.unwrap();
                assert_eq!(sent.status(), 400, "{path} {encoded}");
            }
        }
        for raw in [&b"/oauth2/authorize?client_id=web&state=\xff"[..], b"/login?ticket=\xc3\xa4\0", b"/login?\xe4"] {
            let answer = raw_get(&server, raw, b"").await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
        let sent =
            server.http.post(format!("{}/login", server.url)).body(&b"ticket=\xff\xfe"[..]).send().await.unwrap();
        assert_eq!(sent.status(), 400);
        answered(&browser.open(&request(&[])).await.is(303));
    });
}

/// A request as no client library sends it.
async fn raw_get(server: &Server, target: &[u8], headers: &[u8]) -> String {
    let address = server.url.trim_start_matches("http://").to_owned();
    let request = [b"GET ", target, b" HTTP/1.1\r\nConnection: close\r\n", headers, b"\r\n"].concat();
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(&address).unwrap();
        socket.write_all(&request).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    answer.await.unwrap()
}

/// Whatever host a request says that it is for: nobody is sent there, and no page or answer names it.
#[test]
fn host_headers() {
    on_each_database(async |server: Server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let headers = [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=evil.example;proto=https"),
            ("x-original-url", "/admin/v1/users"),
            ("x-rewrite-url", "https://evil.example/"),
            ("origin", "https://evil.example"),
            ("referer", "https://evil.example/"),
        ];
        let sent = browser.get_with(&request(&[]), &headers).await.is(303);
        let location = sent.location.unwrap();
        assert!(location.starts_with("/login?ticket="), "{location}");
        let login = browser.get_with(&location, &headers).await.is(200);
        assert!(!login.html.contains("evil") && login.html.contains("action=\"/login\""), "{}", login.html);
        let silent = browser.get_with(&request(&[("prompt", "none")]), &headers).await;
        assert_eq!(answered(&silent)["error"], "login_required");
        let told = browser.get_with("/.well-known/openid-configuration", &headers).await.is(200);
        assert!(!told.html.contains("evil"), "{}", told.html);
        let absolute = format!("http://evil.example{}", request(&[]));
        let answer = raw_get(&server, absolute.as_bytes(), b"Host: evil.example\r\n").await.to_lowercase();
        assert!(answer.starts_with("http/1.1 303") && answer.contains("location: /login?ticket="), "{answer}");
        assert!(!answer.contains("evil"), "{answer}");
    });
}
