//! Users who come from another system: their password hashes work as they are, once.

use serde_json::json;

use crate::support::{Reply, Server, on_each_database, on_each_database_with};

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

async fn import(server: &Server, token: &str, query: &str, media_type: &str, body: String) -> Reply {
    let request = server.http.post(format!("{}/admin/v1/users/import{query}", server.url)).bearer_auth(token);
    Reply::of(request.header("content-type", media_type).body(body).send().await.unwrap()).await
}

fn lines(rows: &[serde_json::Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

const LINES: &str = "application/x-ndjson";

#[test]
fn users_come_in_together_and_each_has_an_outcome() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let token = server.admin().await;
        let body = lines(&[
            json!({ "username": "ada", "external_id": "1", "password_hash": MADE[0], "email": "ada@example.com",
                    "attributes": { "tenant": 7 } }),
            json!({ "username": "bob smith", "external_id": "2" }),
            json!({ "username": "ADA", "external_id": "3" }),
            json!({ "username": "eve", "external_id": "4", "password": "a plain password", "disabled": true }),
            json!({ "username": "kim", "password_hash": "{noop}kim" }),
            json!({ "username": "alice" }),
            json!({ "username": "new", "external_id": "1" }),
            json!({ "username": "kim", "unknown": 1 }),
            json!([]),
            json!({ "username": "kim", "admin_scopes": ["admin:users"] }),
        ]);
        let rehearsed = import(&server, &token, "?dry_run=true", LINES, body.clone()).await;
        assert_eq!(server.admin_get("/admin/v1/users").await.body["items"].as_array().unwrap().len(), 1);
        let done = import(&server, &token, "", LINES, body.clone()).await;
        done.is(200);
        assert_eq!((&rehearsed.body["dry_run"], &done.body["dry_run"]), (&json!(true), &json!(false)));
        for reply in [&rehearsed, &done] {
            let rows: Vec<_> = reply.body["rows"].as_array().unwrap().iter().map(|row| &row["outcome"]).collect();
            let wanted = [
                "created", "refused", "refused", "created", "refused", "exists", "exists", "refused", "refused",
                "created",
            ];
            assert_eq!(rows, wanted, "{}", reply.text);
            assert_eq!(
                (&reply.body["created"], &reply.body["exists"], &reply.body["refused"]),
                (&3.into(), &2.into(), &5.into())
            );
            for (row, word) in [(1, "U+0020"), (2, "ADA"), (4, "bcrypt"), (7, "unknown"), (8, "object")] {
                let told = reply.body["rows"][row]["error_description"].as_str().unwrap();
                assert!(told.contains(word), "{row}: {told}");
            }
        }
        assert_eq!(done.body["rows"][6]["sub"], done.body["rows"][0]["sub"], "the same external_id, the same person");
        let ada = server.admin_get("/admin/v1/users?external_id=1").await;
        let ada = &ada.body["items"][0];
        assert_eq!(
            (&ada["username"], &ada["attributes"]["tenant"], &ada["email"]),
            (&json!("ada"), &json!(7), &json!("ada@example.com"))
        );
        server.try_login(&app, "ada", WORD).await.is(200);
        server.try_login(&app, "eve", "a plain password").await.is_error(400, "invalid_grant");

        let again = import(&server, &token, "", LINES, body).await;
        assert_eq!((&again.body["created"], &again.body["exists"]), (&json!(0), &json!(5)));
        let array = json!([{ "username": "zoe" }, { "username": "ada" }, 7]).to_string();
        let listed = import(&server, &token, "", "application/json", array).await;
        let counted = (&listed.body["created"], &listed.body["exists"], &listed.body["refused"]);
        assert_eq!(counted, (&json!(1), &json!(1), &json!(1)));

        let events = server.audit("users_imported").await;
        assert_eq!(events.len(), 2, "what wrote nothing is not in the trail: {events:?}");
        assert_eq!(events.iter().filter(|event| event["detail"]["created"] == 3).count(), 1, "{events:?}");
        let rights: Vec<_> = server.audit("user_created").await;
        let kim =
            rights.iter().find(|event| event["detail"]["username"] == "kim").expect("rights are an entry of their own");
        assert_eq!(kim["detail"]["admin_scopes"], json!("admin:users"));
        assert!(!rights.iter().any(|event| event["detail"]["username"] == "ada"), "{rights:?}");
    });
}

#[test]
fn an_import_is_for_who_may_and_stays_within_its_limits() {
    on_each_database_with(
        |settings| settings.server.max_body = 2048,
        async |server: Server| {
            let large = json!({ "username": "large", "attributes": { "a": "x".repeat(8000) } });
            let many = |n: usize| lines(&(0..n).map(|n| json!({ "username": format!("u{n}") })).collect::<Vec<_>>());
            let other = server.admin_with("admin:clients").await;
            for token in ["nonsense", other.as_str()] {
                let refused = import(&server, token, "", LINES, lines(&vec![large.clone(); 200])).await;
                refused.is_status_in(&[401, 403]);
            }
            let token = server.admin_with("admin:users").await;
            import(&server, &token, "", LINES, lines(&vec![large.clone(); 200])).await.is(200);
            server.admin_post("/admin/v1/users", large.clone()).await.is_error(413, "payload_too_large");
            let too_much = import(&server, &token, "", LINES, lines(&vec![large; 1100])).await;
            too_much.is_error(413, "payload_too_large");
            assert!(too_much.text.contains("8MiB"), "{}", too_much.text);
            import(&server, &token, "", LINES, many(1001)).await.is_error(400, "invalid_request");
            import(&server, &token, "", LINES, many(1000)).await.is(200);
            import(&server, &token, "", LINES, String::new()).await.is_error(400, "invalid_request");
            import(&server, &token, "", "application/json", "[{".into()).await.is_error(400, "invalid_request");
            import(&server, &token, "", "text/csv", many(1)).await.is_error(415, "unsupported_media_type");
            let clear: Vec<_> = (0..101).map(|n| json!({ "username": format!("c{n}"), "password": "x" })).collect();
            let refused = import(&server, &token, "", LINES, lines(&clear)).await;
            refused.is_error(400, "invalid_request");
            assert!(refused.text.contains("101 rows"), "{}", refused.text);

            let grand = [json!({ "username": "boss", "admin_scopes": ["admin"] }), json!({ "username": "clerk" })];
            let partly = import(&server, &token, "", LINES, lines(&vec![grand.to_vec(); 2].concat())).await;
            assert_eq!((&partly.body["created"], &partly.body["refused"]), (&json!(1), &json!(2)), "{}", partly.text);
            assert_eq!(partly.body["rows"][0]["error"], "insufficient_scope");
            assert_eq!(server.audit("admin_denied").await.len(), 2, "one of this and one of the wrong right");
            let listed = server.admin_get("/admin/v1/users?username=boss").await;
            assert_eq!(listed.body["items"].as_array().unwrap().len(), 0);
        },
    );
}
