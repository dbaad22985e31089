//! Guessing passwords: slowed down per account and per address, while the right password from a known address gets in.

use std::time::Duration;

use serde_json::json;

use crate::support::{PASSWORD, Registered, Reply, Server, on_each_database, on_each_database_with};

async fn login_from(server: &Server, client: &Registered, address: &str, username: &str, password: &str) -> Reply {
    let form = [("grant_type", "password"), ("username", username), ("password", password)];
    let mut request = server.http.post(format!("{}/oauth2/token", server.url)).header("x-forwarded-for", address);
    request = request.basic_auth(&client.id, Some(&client.secret)).form(&form);
    Reply::of(request.send().await.unwrap()).await
}

fn trusting(settings: &mut latchkey::config::Settings) {
    settings.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

#[test]
fn the_sixth_failure_of_an_account_waits_and_a_known_address_does_not() {
    on_each_database_with(trusting, async |server: Server| {
        let app = server.web_app().await;
        login_from(&server, &app, "203.0.113.7", "alice", PASSWORD).await.is(200);
        for _ in 0..5 {
            login_from(&server, &app, "198.51.100.9", "alice", "wrong").await.is_error(400, "invalid_grant");
        }
        let slowed = login_from(&server, &app, "198.51.100.9", "alice", PASSWORD).await;
        slowed.is_error(429, "temporarily_unavailable");
        let wait: u64 = slowed.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
        login_from(&server, &app, "203.0.113.7", "alice", PASSWORD).await.is(200);
    });
}

#[test]
fn an_unknown_account_is_slowed_down_like_a_known_one() {
    on_each_database_with(trusting, async |server: Server| {
        let app = server.web_app().await;
        for name in ["alice", "nobody"] {
            for _ in 0..5 {
                let refused = login_from(&server, &app, "198.51.100.9", name, "wrong").await;
                refused.is_error(400, "invalid_grant");
                assert_eq!(refused.body["error_description"], login_text(&server, &app).await);
            }
            login_from(&server, &app, "198.51.100.9", name, "wrong").await.is_error(429, "temporarily_unavailable");
        }
    });
}

/// What any refused login says.
async fn login_text(server: &Server, app: &Registered) -> serde_json::Value {
    let unique: [u8; 8] = latchkey::domain::sources::random(&latchkey::domain::sources::SystemEntropy);
    let name = format!("user{:x}", u64::from_be_bytes(unique));
    login_from(server, app, "192.0.2.200", &name, "x").await.body["error_description"].clone()
}

#[test]
fn parallel_guesses_get_no_more_tries_than_serial_ones() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let answers = server.at_once(40, async |server| server.try_login(&app, "alice", "wrong").await.status).await;
        let tried = answers.iter().filter(|status| **status == 400).count();
        assert!(tried <= 5, "{tried} guesses were checked: {answers:?}");
        assert!(answers.iter().all(|status| [400, 429, 503].contains(status)), "{answers:?}");
    });
}

#[test]
fn a_spoofed_forwarding_header_buys_nothing() {
    on_each_database(async |server: Server| {
        let public = server
            .app(json!({ "client_id": "spa", "token_endpoint_auth_method": "none",
                                        "grant_types": ["password", "refresh_token"] }))
            .await;
        let mut refused = 0;
        for n in 0..30 {
            let form = [
                ("grant_type", "password"),
                ("client_id", &public.id),
                ("username", &format!("user{n}")),
                ("password", "x"),
            ];
            let request = server.http.post(format!("{}/oauth2/token", server.url));
            let request = request.header("x-forwarded-for", format!("203.0.113.{n}")).form(&form);
            refused += usize::from(Reply::of(request.send().await.unwrap()).await.status == 429);
        }
        assert_eq!(refused, 10, "20 free failures for the one address behind all those headers");
        let events = server.audit("login_failed").await;
        assert!(events.iter().all(|event| event["address"] == "127.0.0.1"), "{events:?}");
    });
}

#[test]
fn a_backend_is_not_limited_by_its_own_address() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        for n in 0..30 {
            server.try_login(&app, &format!("user{n}"), "x").await.is_error(400, "invalid_grant");
        }
        server.try_login(&app, "alice", PASSWORD).await.is(200);
    });
}

#[test]
fn waiting_and_success_clear_an_account() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        for _ in 0..5 {
            server.try_login(&app, "alice", "wrong").await.is(400);
        }
        server.try_login(&app, "alice", PASSWORD).await.is(429);
        server.clock.advance(Duration::from_secs(31));
        server.try_login(&app, "alice", PASSWORD).await.is(200);
        for _ in 0..5 {
            server.try_login(&app, "alice", "wrong").await.is(400);
        }
    });
}
