//! Keys that clients publish themselves: fetched within limits, kept for a while, and never from the inside of a network.

use std::time::Duration;

use latchkey::config::Settings;
use serde_json::{Value, json};

use crate::site::{Reply as Answer, Site};
use crate::support::assertions::{ClientKey, key_set};
use crate::support::{Reply, Server, on_each_database, on_each_database_with};

fn publishing(keys: &[&ClientKey]) -> Answer {
    Answer::json("cache-control: max-age=600\r\n", &key_set(keys).to_string())
}

async fn token_signed_by(server: &Server, key: &ClientKey) -> Reply {
    server.token_by(&key.sign("ES256", &server.claims_of("web"))).await
}

async fn cause(server: &Server) -> Value {
    let reply = server.admin_get("/admin/v1/audit?type=client_auth_failed&order=desc&limit=1").await;
    reply.body["items"][0]["detail"]["cause"].clone()
}

#[test]
fn a_client_rotates_its_keys_by_itself() {
    on_each_database(async |server: Server| {
        let (first, second, third) = (ClientKey::ec("1"), ClientKey::ec("2"), ClientKey::ec("3"));
        let site = Site::open(publishing(&[&first])).await;
        server.signing_app("web", json!({ "jwks_uri": site.url() })).await;
        for _ in 0..3 {
            token_signed_by(&server, &first).await.is(200);
        }
        assert_eq!(site.hits(), 1, "fetched once, and kept");

        site.says(publishing(&[&second, &first]));
        token_signed_by(&server, &second).await.is(200);
        token_signed_by(&server, &first).await.is(200);
        assert_eq!(site.hits(), 2, "an unknown kid is looked for at once");

        site.says(publishing(&[&third]));
        token_signed_by(&server, &third).await.is_error(401, "invalid_client");
        assert_eq!(site.hits(), 2, "but not again within 30 seconds");
        token_signed_by(&server, &second).await.is(200);
        server.clock.advance(Duration::from_secs(30));
        token_signed_by(&server, &third).await.is(200);
        token_signed_by(&server, &second).await.is_error(401, "invalid_client");
        assert_eq!(site.hits(), 3);

        server.clock.advance(Duration::from_secs(600));
        site.says(Answer::with("503 Service Unavailable", "", ""));
        token_signed_by(&server, &third).await.is(200);
        assert_eq!(site.hits(), 4, "the old set serves while there is no new one");
        server.clock.advance(Duration::from_secs(3600));
        token_signed_by(&server, &third).await.is_error(503, "temporarily_unavailable");
        site.says(publishing(&[&third]));
        server.clock.advance(Duration::from_secs(5));
        token_signed_by(&server, &third).await.is(200);
    });
}

#[test]
fn what_is_no_key_set_is_refused_and_the_trail_says_why() {
    on_each_database(async |server: Server| {
        let key = ClientKey::ec("1");
        let elsewhere = Site::open(publishing(&[&key])).await;
        let redirect = format!("location: {}\r\n", elsewhere.url());
        for (answer, why) in [
            (Answer::json("", &format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(64 << 10))), "64 KiB"),
            (Answer::with("302 Found", &redirect, ""), "redirects"),
            (Answer::with("404 Not Found", "", ""), "404"),
            (Answer::json("", "<html>"), "no JSON"),
            (Answer::json("", &json!({ "keys": [key.private()] }).to_string()), "signed with"),
        ] {
            let site = Site::open(answer).await;
            let client = server.admin_get("/admin/v1/clients/web").await;
            if client.status == 404 {
                server.signing_app("web", json!({ "jwks_uri": site.url() })).await;
            } else {
                server.admin_patch("/admin/v1/clients/web", json!({ "jwks_uri": site.url() })).await.is(200);
            }
            let refused = token_signed_by(&server, &key).await;
            refused.is_error(401, "invalid_client");
            assert!(refused.text.contains("jwks_uri") && !refused.text.contains(why), "{}", refused.text);
            assert!(cause(&server).await.as_str().unwrap().contains(why), "{why}");
        }
        assert_eq!(elsewhere.hits(), 0, "redirects lead nowhere");
    });
}

fn impatient(settings: &mut Settings) {
    settings.server.outbound_timeout = Duration::from_millis(100);
}

#[test]
fn a_place_that_never_answers_is_given_up() {
    on_each_database_with(impatient, async |server: Server| {
        let key = ClientKey::ec("1");
        let site = Site::open(Answer::Silence).await;
        server.signing_app("web", json!({ "jwks_uri": site.url() })).await;
        for _ in 0..3 {
            let refused = token_signed_by(&server, &key).await;
            refused.is_error(503, "temporarily_unavailable");
            assert!(!refused.header("retry-after").is_empty());
        }
        assert_eq!(site.hits(), 1, "the others did not wait for it again");
        assert_eq!(cause(&server).await, "it did not answer in time");
        site.says(publishing(&[&key]));
        server.clock.advance(Duration::from_secs(5));
        token_signed_by(&server, &key).await.is(200);
    });
}

#[test]
fn internal_addresses_are_never_asked() {
    on_each_database(async |server: Server| {
        let key = ClientKey::ec("1");
        server.signing_app("web", json!({ "jwks_uri": "https://10.0.0.1/jwks.json" })).await;
        for uri in [
            "https://10.0.0.1/jwks.json",
            "https://169.254.169.254/latest/meta-data/",
            "https://[fd00::1]/jwks.json",
            "https://[::ffff:192.168.0.1]/jwks.json",
            "https://0xa.1/jwks.json",
        ] {
            server.admin_patch("/admin/v1/clients/web", json!({ "jwks_uri": uri })).await.is(200);
            let refused = token_signed_by(&server, &key).await;
            refused.is_error(401, "invalid_client");
            assert!(!refused.text.contains("outbound_allow"), "the inside is nobody's business: {}", refused.text);
            assert!(cause(&server).await.as_str().unwrap().contains("server.outbound_allow"), "{uri}");
        }
        let far = json!({ "jwks_uri": "http://app.example.com/jwks.json" });
        server.admin_patch("/admin/v1/clients/web", far).await.is_error(400, "invalid_client_metadata");
    });
}
