//! What operators see and end of users' browsers, and of what users have allowed clients.

use serde_json::{Value, json};

use crate::authorize::{ALICE, app, request};
use crate::logout::tokens;
use crate::support::browser::Browser;
use crate::support::{Server, on_each_database};

async fn listed(server: &Server, query: &str) -> Vec<Value> {
    let reply = server.admin_get(&format!("/admin/v1/sign-ins?{query}")).await;
    reply.is(200);
    reply.body["items"].as_array().unwrap().clone()
}

async fn signed_in<'a>(server: &'a Server, fields: &[(&str, &str)]) -> Browser<'a> {
    let browser = Browser::new(server);
    let login = browser.open("/login").await.is(200);
    browser.submit(&login, fields).await.is(200);
    server.clock.advance(std::time::Duration::from_secs(1));
    browser
}

#[test]
fn an_operator_sees_the_browsers_and_signs_one_out() {
    on_each_database(async |server| {
        let client = app(&server, json!({})).await;
        server.user("bob").await;
        let desk = signed_in(&server, &ALICE).await;
        let phone = signed_in(&server, &ALICE).await;
        signed_in(&server, &[("username", "bob"), ALICE[1]]).await;
        let online = tokens(&desk, &server, &client, "openid email").await;
        let offline = tokens(&desk, &server, &client, "openid offline_access").await;
        let sub = server.sub_of(&online);

        let (all, alices) = (listed(&server, "").await, listed(&server, &format!("sub={sub}")).await);
        assert_eq!((all.len(), alices.len()), (3, 2), "{all:?}");
        assert!(alices[0]["started_at"].as_str() > alices[1]["started_at"].as_str(), "newest first");
        let of_desk = &alices[1];
        let id = of_desk["id"].as_str().unwrap();
        assert_eq!((&of_desk["sub"], &of_desk["state"]), (&json!(sub), &json!("active")));
        assert_eq!(of_desk["address"], "127.0.0.1");
        assert_eq!(server.session_of(&online).await["sign_in"], id, "how the two lists are one");
        let mut paged = Vec::new();
        let mut query = "limit=1".to_owned();
        loop {
            let page = server.admin_get(&format!("/admin/v1/sign-ins?{query}")).await;
            paged.extend(page.body["items"].as_array().unwrap().clone());
            let Some(next) = page.body["next"].as_str() else { break };
            query = format!("limit=1&after={next}");
        }
        assert_eq!(paged, all);

        let path = format!("/admin/v1/sign-ins/{id}");
        server.admin_delete(&path).await.is(204);
        server.admin_delete(&path).await.is(204);
        let shown = server.admin_get(&path).await;
        assert_eq!((&shown.body["state"], &shown.body["end_reason"]), (&json!("ended"), &json!("revoked_by_admin")));
        desk.get("/account").await.is(303);
        phone.get("/account").await.is(200);
        server.refresh(&client, &online.refresh()).await.is_refused("revoked");
        server.refresh(&client, &offline.refresh()).await.is(200);
        assert_eq!(listed(&server, &format!("sub={sub}")).await.len(), 2);
        assert_eq!(listed(&server, &format!("sub={sub}&live=true")).await.len(), 1);
        let audit = server.audit("sign_in_ended").await;
        assert_eq!((audit.len(), &audit[0]["actor"]), (1, &json!("latchkey-admin")), "{audit:?}");

        server.clock.advance(std::time::Duration::from_secs(25 * 60 * 60));
        assert!(listed(&server, "live=true").await.is_empty());
        let states: Vec<Value> = listed(&server, "").await.into_iter().map(|mut it| it["state"].take()).collect();
        assert_eq!(states, ["expired", "expired", "ended"]);
        for unknown in ["AAAAAAAAAAAAAAAAAAAAAA", "x", "usr_1"] {
            let path = format!("/admin/v1/sign-ins/{unknown}");
            server.admin_get(&path).await.is_error(404, "not_found");
            server.admin_delete(&path).await.is_error(404, "not_found");
        }
        server.admin_get("/admin/v1/sign-ins?limit=0").await.is_error(400, "invalid_request");
        server.admin_get("/admin/v1/sign-ins?after=x").await.is_error(400, "invalid_request");
    });
}

#[test]
fn an_operator_takes_back_what_a_user_has_allowed() {
    on_each_database(async |server| {
        let client = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let tokens = tokens(&browser, &server, &client, "openid offline_access").await;
        let path = format!("/admin/v1/users/{}/consents", server.sub_of(&tokens));
        let consents = server.admin_get(&path).await;
        consents.is(200);
        let items = consents.body["items"].as_array().unwrap();
        assert_eq!((items.len(), &items[0]["client_id"]), (1, &json!("web")), "{}", consents.text);
        assert_eq!(items[0]["scope"], "openid offline_access");

        server.admin_delete(&format!("{path}/other")).await.is_error(404, "not_found");
        server.admin_delete(&format!("{path}/web")).await.is(204);
        server.admin_delete(&format!("{path}/web")).await.is_error(404, "not_found");
        assert_eq!(server.admin_get(&path).await.body["items"], json!([]));
        server.refresh(&client, &tokens.refresh()).await.is_refused("revoked");
        assert!(browser.open(&request(&[])).await.is(200).html.contains("id=\"allow\""));
        server.admin_get("/admin/v1/users/usr_nobody/consents").await.is_error(404, "not_found");
    });
}

#[test]
fn it_takes_the_right_to_sessions() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let reader = server.admin_with("admin:sessions:read").await;
        let stranger = server.admin_with("admin:clients").await;
        let id = "AAAAAAAAAAAAAAAAAAAAAA";
        for path in ["/admin/v1/sign-ins".to_owned(), format!("/admin/v1/sign-ins/{id}")] {
            server.get_as(&reader, &path).await.is_status_in(&[200, 404]);
            server.get_as(&stranger, &path).await.is_error(403, "insufficient_scope");
            server.get(&path).await.is_error(401, "invalid_token");
        }
        server.get_as(&reader, "/admin/v1/users/usr_1/consents").await.is_error(404, "not_found");
        server.get_as(&stranger, "/admin/v1/users/usr_1/consents").await.is_error(403, "insufficient_scope");
        for path in [format!("/admin/v1/sign-ins/{id}"), "/admin/v1/users/usr_1/consents/web".to_owned()] {
            for token in [&reader, &stranger] {
                server.call_as(token, "DELETE", &path, Value::Null).await.is_error(403, "insufficient_scope");
            }
        }
    });
}
