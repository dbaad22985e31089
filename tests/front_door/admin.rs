//! The admin API: what operators do, and the trail it leaves.

use std::time::Duration;

use serde_json::json;

use crate::support::{Registered, Server, on_each_database, on_each_database_with};

#[test]
fn a_client_lives_from_creation_to_deletion() {
    on_each_database(async |server: Server| {
        let body = json!({ "client_name": "shop", "grant_types": ["client_credentials"], "scope": "read" });
        let made = server.admin_post("/admin/v1/clients", body).await;
        made.is(201);
        let id = made.body["client_id"].as_str().unwrap().to_owned();
        let path = format!("/admin/v1/clients/{id}");
        assert!(made.header("location").ends_with(&path), "{:?}", made.headers);
        let shown = server.admin_get(&path).await;
        assert!(shown.body.get("client_secret").is_none_or(serde_json::Value::is_null), "a secret is shown once");
        assert_eq!(shown.body["audience"], json!(["http://127.0.0.1:8420"]), "the issuer by default");
        server
            .admin_post("/admin/v1/clients", json!({ "client_id": id, "client_name": "again" }))
            .await
            .is_error(409, "conflict");

        server
            .admin_patch(&path, json!({ "client_name": "shop 2", "lifetimes": { "access_ttl": "5m" } }))
            .await
            .is(200);
        let secret = made.body["client_secret"].as_str().unwrap().to_owned();
        let client = Registered { id: id.clone(), secret };
        let token = server.token(&client, &[("grant_type", "client_credentials")]).await;
        assert_eq!(token.body["expires_in"], 300);
        let deleted = server.admin_delete(&path).await;
        deleted.is_success();
        server.admin_delete(&path).await.is_error(404, "not_found");
        server.token(&client, &[("grant_type", "client_credentials")]).await.is_error(401, "invalid_client");
        for kind in ["client_created", "client_updated", "client_deleted"] {
            let events = server.audit(kind).await;
            let event = events
                .iter()
                .find(|event| event["client_id"] == id.as_str())
                .unwrap_or_else(|| panic!("{kind}: {events:?}"));
            assert_eq!((&event["actor"], &event["address"]), (&json!("latchkey-admin"), &json!("127.0.0.1")));
        }
    });
}

#[test]
fn a_rotated_secret_overlaps_and_then_ends() {
    on_each_database(async |server: Server| {
        let old = server.web_app().await;
        let rotated = server.admin_post("/admin/v1/clients/web/secret", json!({ "overlap": "1h" })).await;
        rotated.is_success();
        let new = Registered { id: old.id.clone(), secret: rotated.body["client_secret"].as_str().unwrap().to_owned() };
        let form = [("grant_type", "client_credentials")];
        server.token(&old, &form).await.is(200);
        server.token(&new, &form).await.is(200);
        server.clock.advance(Duration::from_secs(3600));
        server.token(&old, &form).await.is_error(401, "invalid_client");
        server.token(&new, &form).await.is(200);
    });
}

#[test]
fn unsafe_and_unknown_metadata_is_refused_with_a_reason() {
    on_each_database(async |server: Server| {
        for (body, word) in [
            (json!({ "client_name": "x", "grant_types": ["implicit"] }), "implicit"),
            (json!({ "client_name": "x", "token_endpoint_auth_method": "private_key_jwt" }), "private_key_jwt"),
            (json!({ "client_name": "x", "scope": "admin:everything" }), "admin:everything"),
            (json!({ "client_name": "x", "allowed_origins": ["https://*.example"] }), "*"),
            (json!({ "client_name": "x", "allowed_origins": ["https://a.example/path"] }), "path"),
            (json!({ "client_name": "x", "resource_identifiers": ["http://127.0.0.1:8420"] }), "issuer"),
            (
                json!({ "client_name": "x", "lifetimes": { "refresh_idle": "9d", "refresh_absolute": "1d" } }),
                "refresh_idle",
            ),
            (json!({ "client_name": "x", "client_secret": "short" }), "32"),
            (
                json!({ "client_name": "x", "token_endpoint_auth_method": "none", "grant_types": ["client_credentials"] }),
                "client_credentials",
            ),
        ] {
            let refused = server.admin_post("/admin/v1/clients", body).await;
            refused.is_error(400, "invalid_client_metadata");
            assert!(refused.body["error_description"].as_str().unwrap().contains(word), "{word}: {}", refused.text);
        }
    });
}

#[test]
fn users_sessions_and_pages() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        for n in 0..5 {
            server.user(&format!("user{n}")).await;
        }
        let mut seen = Vec::new();
        let mut path = "/admin/v1/users?limit=2".to_owned();
        loop {
            let page = server.admin_get(&path).await;
            page.is(200);
            seen.extend(
                page.body["items"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page.body["next"].as_str() else { break };
            path = format!("/admin/v1/users?limit=2&after={next}");
        }
        seen.sort();
        assert_eq!(seen, ["alice", "user0", "user1", "user2", "user3", "user4"]);
        for limit in ["0", "1001", "x"] {
            server.admin_get(&format!("/admin/v1/users?limit={limit}")).await.is_error(400, "invalid_request");
        }

        let again = json!({ "username": "ALICE", "password": "another long enough" });
        server.admin_post("/admin/v1/users", again).await.is_error(409, "conflict");
        let login = server.login(&app).await;
        let sub = server.sub_of(&login);
        let sessions = server.admin_get(&format!("/admin/v1/sessions?sub={sub}")).await;
        assert_eq!(sessions.body["items"].as_array().unwrap().len(), 1, "{}", sessions.text);
        let sid = sessions.body["items"][0]["sid"].as_str().unwrap().to_owned();
        server.admin_delete(&format!("/admin/v1/sessions/{sid}")).await.is(204);
        server.admin_delete(&format!("/admin/v1/sessions/{sid}")).await.is(204);
        server.admin_delete("/admin/v1/sessions/AAAAAAAAAAAAAAAAAAAAAA").await.is_error(404, "not_found");
        server.refresh(&app, &login.refresh()).await.is_refused("revoked");

        let second = server.login(&app).await;
        server.admin_post(&format!("/admin/v1/users/{sub}/logout"), serde_json::Value::Null).await.is_success();
        server.refresh(&app, &second.refresh()).await.is_refused("revoked");
        server.admin_delete(&format!("/admin/v1/users/{sub}")).await.is(204);
        server.admin_get(&format!("/admin/v1/users/{sub}")).await.is_error(404, "not_found");
    });
}

#[test]
fn users_keep_the_id_and_attributes_they_came_with() {
    on_each_database(async |server: Server| {
        let attributes = json!({ "tenant": 7, "plan": { "name": "gold", "paid": true } });
        let body = json!({ "username": "ada", "external_id": "42", "attributes": attributes });
        let made = server.admin_post("/admin/v1/users", body).await;
        made.is(201);
        assert_eq!((&made.body["external_id"], &made.body["attributes"]), (&json!("42"), &attributes));
        let plain = server.admin_post("/admin/v1/users", json!({ "username": "bob" })).await;
        assert_eq!((plain.body.get("external_id"), &plain.body["attributes"]), (None, &json!({})));

        for (query, found) in [
            ("external_id=42", 1),
            ("external_id=4", 0),
            ("external_id=42&username=ADA", 1),
            ("external_id=42&username=bob", 0),
        ] {
            let listed = server.admin_get(&format!("/admin/v1/users?{query}")).await;
            assert_eq!(listed.body["items"].as_array().unwrap().len(), found, "{query}");
        }

        let path = format!("/admin/v1/users/{}", made.body["sub"].as_str().unwrap());
        let patch = json!({ "attributes": { "tenant": null, "plan": { "paid": false }, "x": [1, null] } });
        let patched = server.admin_patch(&path, patch).await;
        patched.is(200);
        assert_eq!(patched.body["attributes"], json!({ "plan": { "name": "gold", "paid": false }, "x": [1, null] }));
        let none = server.admin_patch(&path, json!({ "attributes": null })).await;
        assert_eq!((&none.body["external_id"], &none.body["attributes"]), (&json!("42"), &json!({})));

        let taken = |reply: crate::support::Reply, name: &str, other: &str| {
            reply.is_error(409, "conflict");
            let told = reply.body["error_description"].as_str().unwrap();
            assert!(told.contains(name) && !told.contains(other), "{told}");
        };
        let again = json!({ "username": "eve", "external_id": "42" });
        taken(server.admin_post("/admin/v1/users", again).await, "external_id '42'", "username");
        let again = json!({ "username": "ada", "external_id": "43" });
        taken(server.admin_post("/admin/v1/users", again).await, "username 'ada'", "external_id");
        let bob = format!("/admin/v1/users/{}", plain.body["sub"].as_str().unwrap());
        taken(server.admin_patch(&bob, json!({ "external_id": "42" })).await, "external_id '42'", "username");
        taken(server.admin_patch(&bob, json!({ "username": "ada" })).await, "username 'ada'", "external_id");
        server.admin_patch(&path, json!({ "external_id": null })).await.is(200);
        server.admin_patch(&bob, json!({ "external_id": "42" })).await.is(200);

        let events = server.audit("user_updated").await;
        let changes: Vec<_> = events.iter().map(|event| event["detail"]["changed"].clone()).collect();
        assert!(changes.contains(&json!(["external_id"])) && changes.contains(&json!(["attributes"])), "{changes:?}");

        let large = json!({ "username": "kim", "attributes": { "a": "x".repeat(9000) } });
        for (body, word) in [
            (json!({ "username": "kim", "external_id": "" }), "external_id"),
            (json!({ "username": "kim", "external_id": 42 }), "string"),
            (json!({ "username": "kim", "attributes": [] }), "map"),
            (large, "8192"),
        ] {
            let refused = server.admin_post("/admin/v1/users", body).await;
            refused.is_error(400, "invalid_request");
            assert!(refused.body["error_description"].as_str().unwrap().contains(word), "{word}: {}", refused.text);
        }
    });
}

#[test]
fn bootstrap_creates_what_is_missing_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap.json");
    let secret = "a bootstrap secret of thirty-two bytes or more";
    let body = json!({
        "clients": [{ "client_id": "web", "client_name": "Web", "client_secret": secret, "scope": "read",
                      "grant_types": ["password", "refresh_token"] }],
        "users": [{ "username": "alice", "password": crate::support::PASSWORD, "external_id": "7",
                    "attributes": { "plan": "gold" } }],
    });
    std::fs::write(&file, body.to_string()).unwrap();
    on_each_database_with(
        |settings| settings.bootstrap.file = Some(file.clone()),
        async |server: Server| {
            let client = Registered { id: "web".into(), secret: secret.into() };
            let login = server.login(&client).await;
            server.admin_patch("/admin/v1/clients/web", json!({ "client_name": "changed" })).await.is(200);
            let server = server.restart().await;
            assert_eq!(server.admin_get("/admin/v1/clients/web").await.body["client_name"], "changed");
            assert_eq!(server.refresh(&client, &login.refresh()).await.status, 200);
            let users = server.admin_get("/admin/v1/users").await;
            assert_eq!(users.body["items"].as_array().unwrap().len(), 1);
            let alice = &users.body["items"][0];
            assert_eq!((&alice["external_id"], &alice["attributes"]["plan"]), (&json!("7"), &json!("gold")));
        },
    );
}

#[test]
fn health_and_metrics_tell_the_truth() {
    on_each_database(async |server: Server| {
        server.get("/health/live").await.is(200);
        server.get("/health/ready").await.is(200);
        let app = server.web_app().await;
        let login = server.login(&app).await;
        server.refresh(&app, &login.refresh()).await.is(200);
        server.refresh(&app, &login.refresh()).await.is(200);
        server.clock.advance(Duration::from_secs(61));
        server.refresh(&app, &login.refresh()).await.is(400);
        let metrics = server.get("/metrics").await;
        metrics.is(200);
        for (outcome, many) in [("rotated", 1), ("retried", 1), ("retried_late", 0), ("reused", 1), ("healed", 0)] {
            let line = format!("latchkey_refreshes_total{{outcome=\"{outcome}\"}} {many}");
            assert!(metrics.text.contains(&line), "{line}: {}", metrics.text);
        }
        assert!(metrics.text.contains("latchkey_revocations 1"), "{}", metrics.text);
        // A proxy on this machine would open the metrics to everyone.
        let behind = server.http.get(format!("{}/metrics", server.url)).header("x-forwarded-for", "203.0.113.7");
        crate::support::Reply::of(behind.send().await.unwrap()).await.is_error(401, "invalid_token");
    });
}
