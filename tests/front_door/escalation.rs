//! Nobody gets more than they were given.

use std::time::Duration;

use serde_json::json;

use crate::support::{Server, on_each_database, on_each_database_with};

#[test]
fn a_client_whose_scope_names_admin_makes_no_admins_of_its_users() {
    on_each_database(async |server: Server| {
        let app = server.app(json!({ "client_id": "console", "scope": "read admin admin:users" })).await;
        let login = server.login(&app).await;
        assert_eq!(login.body["scope"], "read", "no admin scope without being asked for");
        let asked = server.login_with(&app, &[("scope", "read admin")]).await;
        asked.is_error(400, "invalid_scope");

        let sub = server.sub_of(&login);
        server.admin_patch(&format!("/admin/v1/users/{sub}"), json!({ "admin_scopes": ["admin:users"] })).await.is(200);
        let granted = server.login_with(&app, &[("scope", "admin:users")]).await;
        granted.is(200);
        assert_eq!(server.get_as(&granted.access(), "/admin/v1/users").await.status, 200);
        server.get_as(&granted.access(), "/admin/v1/clients").await.is_error(403, "insufficient_scope");
        server.login_with(&app, &[("scope", "admin")]).await.is_error(400, "invalid_scope");
        assert_eq!(server.login(&app).await.body["scope"], "read", "and only when the request names it");
    });
}

#[test]
fn an_admin_of_clients_grants_only_what_it_holds() {
    on_each_database(async |server: Server| {
        let token = server.admin_with("admin:clients").await;
        let more = json!({ "client_name": "more", "grant_types": ["client_credentials"], "scope": "admin" });
        server.post_as(&token, "/admin/v1/clients", more).await.is_error(403, "insufficient_scope");
        let keys = json!({ "client_name": "more", "grant_types": ["client_credentials"], "scope": "admin:keys" });
        server.post_as(&token, "/admin/v1/clients", keys).await.is_error(403, "insufficient_scope");
        let itself = server.patch_as(&token, "/admin/v1/clients/limited-admin", json!({ "scope": "admin" })).await;
        itself.is_error(403, "insufficient_scope");
        let same =
            json!({ "client_name": "same", "grant_types": ["client_credentials"], "scope": "admin:clients:read" });
        server.post_as(&token, "/admin/v1/clients", same).await.is(201);
    });
}

#[test]
fn nobody_resets_the_secret_of_someone_stronger() {
    on_each_database(async |server: Server| {
        let clients = server.admin_with("admin:clients").await;
        for (method, path) in [("POST", "/secret"), ("DELETE", ""), ("PATCH", "")] {
            let path = format!("/admin/v1/clients/latchkey-admin{path}");
            let answer = server.call_as(&clients, method, &path, json!({})).await;
            answer.is_error(403, "insufficient_scope");
        }
        let users = server.admin_with("admin:users").await;
        let boss = json!({ "username": "boss", "password": "a strong enough one", "admin_scopes": ["admin"] });
        server.post_as(&users, "/admin/v1/users", boss.clone()).await.is_error(403, "insufficient_scope");
        let made = server.admin_post("/admin/v1/users", boss).await;
        made.is(201);
        let path = format!("/admin/v1/users/{}", made.body["sub"].as_str().unwrap());
        let change = json!({ "password": "taken over at last" });
        server.call_as(&users, "PUT", &format!("{path}/password"), change).await.is_error(403, "insufficient_scope");
        server.call_as(&users, "PATCH", &path, json!({ "disabled": true })).await.is_error(403, "insufficient_scope");
        server.call_as(&users, "DELETE", &path, json!({})).await.is_error(403, "insufficient_scope");
        assert!(!server.audit("admin_denied").await.is_empty());
    });
}

#[test]
fn the_last_full_admin_stays() {
    on_each_database(async |server: Server| {
        let path = "/admin/v1/clients/latchkey-admin";
        server.admin_delete(path).await.is_error(409, "conflict");
        server.admin_patch(path, json!({ "disabled": true })).await.is_error(409, "conflict");
        server.admin_patch(path, json!({ "scope": "admin:keys" })).await.is_error(409, "conflict");
    });
}

#[test]
fn a_client_id_never_equals_a_sub() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let sub = server.sub_of(&server.login(&app).await);
        let twin = json!({ "client_id": sub, "client_name": "twin", "grant_types": ["client_credentials"] });
        server.admin_post("/admin/v1/clients", twin).await.is_error(400, "invalid_client_metadata");
    });
}

#[test]
fn a_users_token_is_no_admin_token_for_another_audience() {
    on_each_database(async |server: Server| {
        let app = server.app(json!({ "client_id": "elsewhere", "audience": ["https://api.example"] })).await;
        let login = server.login(&app).await;
        server.get_as(&login.access(), "/admin/v1/users").await.is_status_in(&[401, 403]);
        server.get_as("not a token", "/admin/v1/users").await.is_error(401, "invalid_token");
    });
}

#[test]
fn a_right_that_is_taken_away_while_the_secret_is_checked_is_not_given() {
    // Slow enough that the change comes in between.
    on_each_database_with(
        |settings| settings.passwords.iterations = 64,
        async |server: Server| {
            let admin = server.admin().await;
            let secret = "a secret that somebody chose for the clerk";
            let body = json!({ "client_id": "clerk", "client_name": "Clerk", "client_secret": secret,
                               "grant_types": ["client_credentials"], "scope": "read admin:audit:read" });
            server.post_as(&admin, "/admin/v1/clients", body).await.is(201);
            let form = [("grant_type", "client_credentials"), ("scope", "admin:audit:read")];
            let asked = server.form("/oauth2/token", Some(("clerk", secret)), &form);
            let change = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                server.patch_as(&admin, "/admin/v1/clients/clerk", json!({ "scope": "read" })).await.is(200);
            };
            let (asked, ()) = tokio::join!(asked, change);
            asked.is_error(400, "invalid_scope");
        },
    );
}

#[test]
fn nobody_fills_the_trail_by_knocking() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let user = server.login(&app).await.access();
        for _ in 0..3 {
            server.get_as(&user, "/admin/v1/users").await.is_error(403, "insufficient_scope");
        }
        assert!(server.audit("admin_denied").await.is_empty());
        let limited = server.admin_with("admin:clients").await;
        server.get_as(&limited, "/admin/v1/users").await.is_error(403, "insufficient_scope");
        assert_eq!(server.audit("admin_denied").await.len(), 1, "an administrator who wants more is news");
    });
}
