//! A copy of the database alone yields no usable token, secret or private key.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::support::{ADMIN_SECRET, PASSWORD, Server, on_each_database};

#[test]
fn a_live_database_holds_no_secret_the_test_ever_saw() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let mut secrets: Vec<(String, Vec<u8>)> = Vec::new();
        let mut saw = |what: &str, secret: &str| secrets.push((what.to_owned(), secret.as_bytes().to_vec()));
        saw("the administrator's secret", ADMIN_SECRET);
        saw("the password", PASSWORD);
        saw("a client secret", &app.secret);
        let mut raw = Vec::new();
        let mut token = server.login(&app).await;
        for _ in 0..5 {
            saw("an access token", &token.access());
            saw("a signature", token.access().rsplit('.').next().unwrap());
            saw("a refresh token", &token.refresh());
            raw.push(("a refresh token's bytes", token.refresh().trim_start_matches("lkr_").to_owned()));
            token = server.refresh(&app, &token.refresh()).await;
        }
        let rotated = server.admin_post(&format!("/admin/v1/clients/{}/secret", app.id), json!({})).await;
        saw("a second client secret", rotated.body["client_secret"].as_str().unwrap());
        let chosen = "a-secret-that-a-person-chose-0123456789";
        let body = json!({ "client_id": "chosen", "client_name": "chosen", "client_secret": chosen,
                           "grant_types": ["client_credentials"], "scope": "read" });
        server.admin_post("/admin/v1/clients", body).await.is(201);
        saw("a chosen client secret", chosen);
        let key = server.import_signing_key().await;
        let pem: String = key.pem().lines().filter(|line| !line.starts_with("-----")).collect();
        let master = std::fs::read_to_string(server.keys_directory().join("master.key")).unwrap();
        for (what, text) in raw {
            // The secret alone, without version, session, generation and tag.
            secrets.push((what.to_owned(), URL_SAFE_NO_PAD.decode(text).unwrap()[21..53].to_vec()));
        }
        secrets.push(("an imported key".to_owned(), STANDARD.decode(pem).unwrap()[36..68].to_vec()));
        let master = master.trim();
        let master = STANDARD.decode(master).or_else(|_| URL_SAFE_NO_PAD.decode(master)).unwrap();
        assert_eq!(master.len(), 32);
        secrets.push(("the master key".to_owned(), master));

        let dump = server.database().dump();
        assert!(contains(&dump, b"alice"), "the search itself works");
        for (what, secret) in secrets {
            assert!(secret.len() >= 16, "{what} is too short to search for");
            for (form, needle) in forms(&secret) {
                assert!(
                    !contains(&dump, &needle),
                    "{what} stands in the {} database as {form}",
                    server.database().name()
                );
            }
        }
    });
}

fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        ("raw bytes", secret.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("upper hex", hex.to_uppercase().into_bytes()),
        ("base64", STANDARD_NO_PAD.encode(secret).into_bytes()),
        ("base64url", URL_SAFE_NO_PAD.encode(secret).into_bytes()),
    ]
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| byte == first) {
        if haystack[from + at..].starts_with(needle) {
            return true;
        }
        from += at + 1;
    }
    false
}
