//! Answers that are to end up elsewhere: by the redirect URI, or by the ticket that carries it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::domain::time::Timestamp;
use latchkey::tokens::ticket::Purpose;
use serde_json::{Value, json};

use super::{MALFORMED, UNTRUSTED, stopped};
use crate::authorize::pages::ALLOW;
use crate::authorize::{ALICE, CALLBACK, answered, app, request, signed_in};
use crate::support::browser::Browser;
use crate::support::{Server, on_each_database};

/// What differs from `https://app.example/callback` in what some reader overlooks.
const TRICKS: [&str; 46] = [
    // The host.
    "https://evil.example/callback",
    "https://app.example@evil.example/callback",
    "https://app.example:443@evil.example/callback",
    "https://user@app.example/callback",
    "https://app.example%40evil.example/callback",
    "https://app.example\\@evil.example/callback",
    "https://app.example\\.evil.example/callback",
    "https://evil.example#@app.example/callback",
    "https://evil.example\\#@app.example/callback",
    "https://evil.example?@app.example/callback",
    "https://app.example.evil.example/callback",
    "https://app.example./callback",
    "https://APP.example/callback",
    "https://app.example%00.evil.example/callback",
    "https://app.example:443/callback",
    "https://app.example:8443/callback",
    "https://app.example:/callback",
    "https://xapp.example/callback",
    "https://\u{430}pp.example/callback",
    "https://app\u{ff0e}example/callback",
    "https://app\u{3002}example/callback",
    // The scheme.
    "http://app.example/callback",
    "HTTPS://app.example/callback",
    "//app.example/callback",
    "https:app.example/callback",
    "https:///app.example/callback",
    "javascript:alert(1)//https://app.example/callback",
    "data:text/html,<script>alert(1)</script>",
    " https://app.example/callback",
    "https://app.example/callback ",
    // The path.
    "https://app.example/callback/",
    "https://app.example/Callback",
    "https://app.example/callback/../evil",
    "https://app.example/evil/../callback",
    "https://app.example/callback/%2e%2e/evil",
    "https://app.example/./callback",
    "https://app.example//callback",
    "https://app.example%2Fcallback",
    "https://app.example/%63allback",
    "https://app.example/callback%2f..%2fevil",
    "https://app.example/callback;evil",
    "https://app.example/callback\u{200b}",
    // What comes after it.
    "https://app.example/callback?",
    "https://app.example/callback?next=https://evil.example",
    "https://app.example/callback#",
    "https://app.example/callback#fragment",
];

/// The same for `http://127.0.0.1/callback`, whose port is free and nothing else.
const LOOPBACK_TRICKS: [&str; 14] = [
    "http://127.0.0.1:80@evil.example/callback",
    "http://127.0.0.1.evil.example/callback",
    "http://127.0.0.1:8000.evil.example/callback",
    "http://127.0.0.1:/callback",
    "http://127.0.0.1:0/callback",
    "http://127.0.0.1:65536/callback",
    "http://127.0.0.1:8000x/callback",
    "http://127.0.0.1:+80/callback",
    "http://127.0.0.2:8000/callback",
    "http://localhost:8000/callback",
    "http://[::1]:8000/callback",
    "http://2130706433:8000/callback",
    "https://127.0.0.1:8000/callback",
    "http://127.0.0.1:8000/callback?",
];

#[test]
fn redirect_uri_tricks() {
    on_each_database(async |server| {
        app(&server, json!({ "redirect_uris": [CALLBACK, "http://127.0.0.1/callback"] })).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        for trick in TRICKS.into_iter().chain(LOOPBACK_TRICKS) {
            for more in [("state", "x"), ("prompt", "none"), ("response_type", "token"), ("response_mode", "form_post")]
            {
                let page = browser.get(&request(&[("redirect_uri", trick), more])).await;
                let page = page.shows_error(400, UNTRUSTED);
                assert!(page.html.contains("redirect_uri is none of the client&#39;s"), "{trick}: {}", page.html);
                assert!(!page.html.contains("evil"), "{trick} is not repeated to people");
            }
            let posted = browser.post("/oauth2/authorize", &[("client_id", "web"), ("redirect_uri", trick)]).await;
            browser.follow(posted).await.shows_error(400, UNTRUSTED);
        }
        let twice = |one, two| request(&[("redirect_uri", one), ("redirect_uri", two)]);
        for path in [twice(CALLBACK, CALLBACK), twice(CALLBACK, TRICKS[0]), twice(TRICKS[0], CALLBACK)] {
            browser.get(&path).await.shows_error(400, MALFORMED);
        }
        let none = request(&[("redirect_uri", "")]);
        browser.get(&none).await.shows_error(400, UNTRUSTED);
        // As it is registered, it still does.
        answered(&browser.get(&request(&[])).await.is(303));
    });
}

#[test]
fn a_client_that_is_not_there() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        server.app(json!({ "client_id": "machine" })).await;
        let browser = Browser::new(&server);
        for (client_id, title) in [
            ("nobody", UNTRUSTED),
            ("WEB", UNTRUSTED),
            ("web ", UNTRUSTED),
            ("web\0", UNTRUSTED),
            ("machine", UNTRUSTED),
            ("latchkey-admin", UNTRUSTED),
            ("", MALFORMED),
        ] {
            let page = browser.get(&request(&[("client_id", client_id)])).await;
            page.shows_error(400, title);
        }
        let two = request(&[("client_id", "web"), ("client_id", "machine")]);
        browser.get(&two).await.shows_error(400, MALFORMED);
    });
}

/// What the ticket carries with another address in it, under a tag that does not hold.
fn altered(ticket: &str, change: impl Fn(&mut Value)) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(ticket).unwrap();
    let (head, rest) = bytes.split_at(9);
    let (body, tag) = rest.split_at(rest.len() - 32);
    let mut body: Value = serde_json::from_slice(body).unwrap();
    change(&mut body);
    let body = serde_json::to_vec(&body).unwrap();
    URL_SAFE_NO_PAD.encode([head, &body, tag].concat())
}

#[test]
fn open_redirect_by_a_forged_ticket() {
    on_each_database(async |server: Server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await.is(200);
        let consent = browser.submit(&login, &ALICE).await.is(200);
        let ticket = consent.path.split_once("ticket=").unwrap().1.to_owned();
        let end = Timestamp::from_seconds(server.clock_seconds() + 600);
        let tickets = &server.app.context.tickets;
        let elsewhere = Server::sqlite().await;
        app(&elsewhere, json!({ "redirect_uris": ["https://evil.example/"] })).await;
        let of_another = Browser::new(&elsewhere).open(&request(&[("redirect_uri", "https://evil.example/")])).await;
        let of_another = of_another.path.split_once("ticket=").unwrap().1.to_owned();
        let mut forged = vec![
            altered(&ticket, |body| body["redirect_uri"] = json!("https://evil.example/")),
            altered(&ticket, |body| body["scope"] = json!("openid profile email offline_access read")),
            altered(&ticket, |body| body["code_challenge"] = Value::Null),
            altered(&ticket, |_| {}) + "A",
            of_another,
            tickets.issue(Purpose::Logout, &json!({ "redirect_uri": "https://evil.example/" }), end).unwrap(),
            tickets.issue(Purpose::Authorization, &json!({ "redirect_uri": "https://evil.example/" }), end).unwrap(),
            "https://evil.example/".into(),
            "..".into(),
            "A".repeat(70_000),
            format!("{ticket}="),
            format!("{ticket}%00"),
        ];
        let decoded = URL_SAFE_NO_PAD.decode(&ticket).unwrap();
        for at in (0..decoded.len()).step_by(decoded.len() / 24) {
            let mut garbled = decoded.clone();
            garbled[at] ^= 1;
            forged.push(URL_SAFE_NO_PAD.encode(&garbled));
            forged.extend((at > 0).then(|| URL_SAFE_NO_PAD.encode(&decoded[..at])));
        }
        for ticket in &forged {
            let what = &ticket[..ticket.len().min(40)];
            if ticket.len() < 60_000 {
                stopped(browser.get(&format!("/login?ticket={ticket}")).await, what);
                stopped(browser.get(&format!("/login?another=1&ticket={ticket}")).await, what);
                stopped(browser.get(&format!("/consent?ticket={ticket}")).await, what);
            }
            stopped(browser.send_form(&login, &[ALICE[0], ALICE[1], ("ticket", ticket)]).await, what);
            stopped(browser.send_form(&consent, &[ALLOW[0], ("ticket", ticket)]).await, what);
        }
        stopped(browser.get(&format!("/consent?ticket={ticket}&ticket={ticket}")).await, "twice");
        stopped(browser.get("/consent").await, "no ticket");
        stopped(browser.get("/consent?ticket=").await, "no ticket");
        // Without a ticket, signing in leads to the user's own account, whatever else the address says.
        for path in ["/login?next=https://evil.example", "/login?ticket=&return_to=//evil.example"] {
            let visitor = Browser::new(&server);
            let login = visitor.get(path).await.is(200);
            assert!(!login.html.contains("evil"), "{}", login.html);
            let entered = visitor.send_form(&login, &ALICE).await.is(303);
            assert_eq!(entered.location.as_deref(), Some("/account"));
        }
        assert_eq!(server.audit("consent_granted").await.len(), 0);
        answered(&browser.submit(&consent, &ALLOW).await.is(303));
    });
}
