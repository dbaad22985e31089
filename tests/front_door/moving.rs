//! Users who come from another system: their password hashes work as they are, once.

use serde_json::json;

use crate::support::{Server, on_each_database, on_each_database_with};

/// What Django 5.2, PHP 8.2 and OpenLDAP 2.5 made of [`WORD`]; `tests/hashes/` has all families.
const MADE: [&str; 4] = [
    "pbkdf2_sha256$10000$N8JXEa2blpqpW36GgSlBqe$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=",
    "bcrypt_sha256$$2b$05$/w/CJkO4fXQo83FiGQQMce23HZkdGdk3iaVBeHBTqWsJwus1KXs5W",
    "$2y$05$YLRi7nlVxCK51E6M2ryrbeHKhXzsJ467hdzMMLUVm/ABVzbNthpcC",
    "{ldap}{SSHA}FqFHaKN8pK2gFZJYXsExmd5QYSMZ8ST8I+P2Dw==",
];
const WORD: &str = "correct horse battery staple";

async fn schemes(server: &Server) -> Vec<(Option<String>, u64)> {
    server.app.context.store.password_schemes().await.unwrap()
}

#[test]
fn a_hash_of_another_system_works_and_is_replaced_at_the_first_login() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let ours = (Some("argon2id".to_owned()), 1);
        assert_eq!(schemes(&server).await, std::slice::from_ref(&ours), "alice");
        for (n, hash) in MADE.into_iter().enumerate() {
            let name = format!("user{n}");
            let body = json!({ "username": name, "password_hash": hash });
            server.admin_post("/admin/v1/users", body).await.is(201);
            let wrong = server.try_login(&app, &name, "correct horse").await;
            wrong.is_error(400, "invalid_grant");
            assert_eq!(schemes(&server).await.len(), 2, "a wrong password replaces nothing");
            let login = server.try_login(&app, &name, WORD).await;
            login.is(200);
            let moved = 2 + u64::try_from(n).unwrap();
            assert_eq!(schemes(&server).await, [(ours.0.clone(), moved)], "{hash}");
            server.try_login(&app, &name, WORD).await.is(200);
            server.try_login(&app, &name, "correct horse").await.is_error(400, "invalid_grant");
            // The upgrade is no change of the password: what it opened lives on.
            server.refresh(&app, &login.refresh()).await.is(200);
        }
    });
}

#[test]
fn a_hash_that_is_set_later_is_judged_alike() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let made = server.admin_get("/admin/v1/users?username=alice").await;
        let path = format!("/admin/v1/users/{}/password", made.body["items"][0]["sub"].as_str().unwrap());
        server.admin_put(&path, json!({ "password_hash": MADE[2] })).await.is(204);
        server.try_login(&app, "alice", WORD).await.is(200);
        for (hash, word) in [
            ("plain", "bcrypt_sha256$"),
            ("{noop}plain", "{SSHA512}"),
            ("!unusable", "pbkdf2_sha1$"),
            ("pbkdf2_sha256$1$x", "begins like a hash of PBKDF2"),
            ("pbkdf2_sha256$10000001$a$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=", "ceiling_pbkdf2 is 10000000"),
            ("$2y$17$YLRi7nlVxCK51E6M2ryrbeHKhXzsJ467hdzMMLUVm/ABVzbNthpcC", "cost 17"),
            (
                "$argon2id$v=19$m=262145,t=1,p=1$LNlgfvAQ1I/v/gXZmTl5pg$s4jZezV2rB/qhllTQAqOWEi6j0puyqDuvdf+Xi1AfEo",
                "262145 KiB",
            ),
        ] {
            let refused = server.admin_put(&path, json!({ "password_hash": hash })).await;
            refused.is_error(400, "invalid_request");
            let told = refused.body["error_description"].as_str().unwrap();
            assert!(told.starts_with("password_hash: ") && told.contains(word), "{hash}: {told}");
            assert!(!told.contains("kNKXP9Ay") && !told.contains("YLRi7nl"), "it repeats the hash: {told}");
            let body = json!({ "username": "new", "password_hash": hash });
            server.admin_post("/admin/v1/users", body).await.is_error(400, "invalid_request");
        }
    });
}

#[test]
fn a_lowered_ceiling_holds_for_what_was_taken_in_before() {
    on_each_database_with(
        |settings| settings.passwords.ceiling_pbkdf2 = 10_000,
        async |server: Server| {
            let app = server.web_app().await;
            for (name, hash) in [("ada", MADE[0]), ("bob", MADE[0])] {
                let body = json!({ "username": name, "password_hash": hash });
                server.admin_post("/admin/v1/users", body).await.is(201);
            }
            server.try_login(&app, "ada", WORD).await.is(200);
            let server = server.restart_with(|settings| settings.passwords.ceiling_pbkdf2 = 9_999).await;
            let body = json!({ "username": "eve", "password_hash": MADE[0] });
            server.admin_post("/admin/v1/users", body).await.is_error(400, "invalid_request");
            server.try_login(&app, "bob", WORD).await.is_error(400, "invalid_grant");
            server.try_login(&app, "ada", WORD).await.is(200);
            let server = server.restart_with(|settings| settings.passwords.ceiling_pbkdf2 = 10_000).await;
            server.try_login(&app, "bob", WORD).await.is(200);
        },
    );
}

/// Django of `tab<TAB>here`: RFC 8265 lets nobody choose it, and who has it gets in.
#[test]
fn a_password_that_nobody_can_choose_here_still_opens() {
    const HASH: &str = "pbkdf2_sha256$1$salt$QcHS2s9396aY1Rw2k7s0hSsMjJI5aGy6E+V3yna4R6U=";
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let body = json!({ "username": "ada", "password_hash": HASH });
        server.admin_post("/admin/v1/users", body).await.is(201);
        server.admin_post("/admin/v1/users", json!({ "username": "bob", "password": "tab\there" })).await.is(400);
        for _ in 0..2 {
            server.try_login(&app, "ada", "tab\there").await.is(200);
        }
        assert_eq!(schemes(&server).await, [(Some("argon2id".to_owned()), 2)]);
        let mut told = Vec::new();
        for name in ["ada", "alice", "nobody"] {
            let refused = server.try_login(&app, name, "tab\tthere").await;
            refused.is_error(400, "invalid_grant");
            told.push(refused.body["error_description"].clone());
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
    });
}
