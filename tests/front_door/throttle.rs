//! Guessing passwords: slowed down per account and per address, while the right password from a known address gets in.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::time::Duration;

use latchkey::credentials::login::{Login, check};
use latchkey::domain::origin::Origin;
use latchkey::domain::secret::SecretText;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::support::{PASSWORD, Registered, Reply, Server, on_each_database, on_each_database_with, on_two_nodes};

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

#[test]
fn nodes_of_one_service_count_together() {
    on_two_nodes(trusting, async |[one, other]| {
        let app = one.web_app().await;
        let home = "203.0.113.7";
        login_from(&one, &app, home, "alice", PASSWORD).await.is(200);
        for n in 0..5 {
            let node = if n % 2 == 0 { &one } else { &other };
            login_from(node, &app, "198.51.100.9", "alice", "wrong").await.is_error(400, "invalid_grant");
        }
        for node in [&one, &other] {
            let slowed = login_from(node, &app, "198.51.100.10", "alice", PASSWORD).await;
            slowed.is_error(429, "temporarily_unavailable");
            assert_eq!(slowed.header("retry-after"), "1");
        }
        assert_eq!(one.audit("login_throttled").await.len(), 1, "one door was closed, once");
        login_from(&other, &app, home, "alice", PASSWORD).await.is(200);

        one.clock.advance(Duration::from_secs(1));
        login_from(&other, &app, "198.51.100.9", "alice", PASSWORD).await.is(200);
        for n in 0..5 {
            let node = if n % 2 == 0 { &one } else { &other };
            login_from(node, &app, "198.51.100.9", "alice", "wrong").await.is_error(400, "invalid_grant");
        }
    });
}

#[test]
fn parallel_guesses_on_two_nodes_get_the_tries_of_one() {
    on_two_nodes(
        |_| {},
        async |[one, other]| {
            let app = one.web_app().await;
            let guess = async |server: &Server| server.try_login(&app, "alice", "wrong").await.status;
            let (mut answers, more) = tokio::join!(one.at_once(10, guess), other.at_once(10, guess));
            answers.extend(more);
            let tried = answers.iter().filter(|status| **status == 400).count();
            assert!(tried <= 5, "{tried} guesses were checked: {answers:?}");
            assert!(answers.iter().all(|status| [400, 429, 503].contains(status)), "{answers:?}");
        },
    );
}

#[test]
fn a_door_that_is_known_to_be_closed_is_not_asked_for() {
    on_two_nodes(
        |_| {},
        async |[one, other]| {
            let app = one.web_app().await;
            for _ in 0..5 {
                one.try_login(&app, "alice", "wrong").await.is(400);
            }
            let url = one.database().url();
            for node in [&one, &other] {
                node.try_login(&app, "alice", "wrong").await.is(429);
                // Nobody is answered from the table now.
                let mut raw = PgConnection::connect(&url).await.unwrap();
                raw.execute("BEGIN; LOCK TABLE login_failures IN ACCESS EXCLUSIVE MODE").await.unwrap();
                for _ in 0..20 {
                    node.try_login(&app, "alice", "wrong").await.is(429);
                }
            }
        },
    );
}

#[test]
fn who_hangs_up_leaves_nothing_under_way() {
    on_two_nodes(
        |_| {},
        async |[one, other]| {
            let app = one.web_app().await;
            let origin = Origin::direct(IpAddr::from(Ipv4Addr::LOCALHOST));
            let password = SecretText::new("wrong");
            for _ in 0..5 {
                let login = Login {
                    username: "alice",
                    password: &password,
                    client_id: None,
                    user_address: None,
                    origin: &origin,
                };
                let mut asking = pin!(check(&one.app.context, &one.app.credentials, login));
                let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(asking.as_mut().poll(cx))).await;
                assert!(begun.is_pending());
            }
            // Were they under way, this would wait for their outcomes for as long as the clock stands still.
            let login = tokio::time::timeout(Duration::from_secs(20), other.try_login(&app, "alice", PASSWORD));
            login.await.unwrap().is(200);
        },
    );
}
