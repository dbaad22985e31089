//! Signing keys over HTTP: published before they are needed, rotated by plan, gone when the last token has expired.

use std::sync::Arc;
use std::time::Duration;

use latchkey::domain::key::RefreshKeyState;
use latchkey::keys::plan::{Request, SealedKeys, apply, plan};
use latchkey::storage::{KeyCommit, KeyWrite};
use serde_json::{Value, json};

use crate::support::people::header;
use crate::support::{Server, on_each_database};

impl Server {
    async fn jwks(&self) -> Vec<String> {
        let reply = self.get("/.well-known/jwks.json").await;
        reply.is(200);
        reply.body["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    async fn key(&self, alg: &str, state: &str) -> Value {
        let listed = self.admin_get("/admin/v1/keys").await;
        let keys = listed.body["items"].as_array().unwrap();
        let found = keys.iter().find(|key| key["alg"] == alg && key["state"] == state);
        found.unwrap_or_else(|| panic!("no {state} {alg} key in {}", listed.text)).clone()
    }

    async fn rotate(&self, alg: &str, mode: &str, more: Value) -> crate::support::Reply {
        let mut body = json!({ "alg": alg, "mode": mode });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.admin_post("/admin/v1/keys/rotate", body).await
    }
}

#[test]
fn the_key_set_lists_active_keys_first_and_answers_304() {
    on_each_database(async |server: Server| {
        let reply = server.get("/.well-known/jwks.json").await;
        reply.is(200);
        assert_eq!(reply.header("cache-control"), "public, max-age=600");
        let kids = server.jwks().await;
        let active = [server.key("ES256", "active").await, server.key("RS256", "active").await];
        assert_eq!(kids[..2], active.map(|key| key["kid"].as_str().unwrap().to_owned()));
        assert_eq!(kids.len(), 4, "two active, two standby");
        for key in reply.body["keys"].as_array().unwrap() {
            assert!(key.get("d").is_none() && key.get("p").is_none(), "public members only");
            assert_eq!(key["use"], "sig");
        }

        let etag = reply.header("etag").to_owned();
        let request = server.http.get(format!("{}/.well-known/jwks.json", server.url)).header("if-none-match", &etag);
        let again = crate::support::Reply::of(request.send().await.unwrap()).await;
        again.is(304);
        assert_eq!((again.header("etag"), again.header("cache-control")), (&*etag, "public, max-age=600"));
        assert_eq!(again.text, "");
        assert_eq!(server.get("/.well-known/jwks.json").await.text, reply.text, "the same bytes");
    });
}

#[test]
fn one_service_signs_both_algorithms_by_client() {
    on_each_database(async |server: Server| {
        let es = server.web_app().await;
        let rs = server.app(json!({ "client_id": "rs", "access_token_signed_response_alg": "RS256" })).await;
        for (client, alg) in [(&es, "ES256"), (&rs, "RS256")] {
            let login = server.login(client).await;
            let header = header(&login.access());
            assert_eq!((&header["alg"], &header["typ"]), (&json!(alg), &json!("at+jwt")));
            assert_eq!(header["kid"], server.key(alg, "active").await["kid"]);
            assert!(server.is_active(client, &login.access()).await);
        }
    });
}

#[test]
fn a_planned_rotation_waits_until_every_verifier_has_the_new_key() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let (old, standby) = (server.key("ES256", "active").await, server.key("ES256", "standby").await);
        let planned = server.rotate("ES256", "planned", json!({})).await;
        planned.is(202);
        server.rotate("ES256", "now", json!({})).await.is_error(409, "conflict");
        server.clock.advance(Duration::from_secs(659));
        server.tick_keys().await;
        let before = server.login(&app).await;
        assert_eq!(header(&before.access())["kid"], old["kid"], "a second before it is ripe");
        server.clock.advance(Duration::from_secs(1));
        server.tick_keys().await;
        let after = server.login(&app).await;
        assert_eq!(header(&after.access())["kid"], standby["kid"]);
        assert!(server.is_active(&app, &before.access()).await, "the old key's tokens still verify");
        assert!(server.jwks().await.contains(&old["kid"].as_str().unwrap().to_owned()));

        server.clock.advance(Duration::from_secs(661));
        server.tick_keys().await;
        assert!(!server.jwks().await.contains(&old["kid"].as_str().unwrap().to_owned()), "its last token has expired");
        assert!(server.jwks().await.contains(&standby["kid"].as_str().unwrap().to_owned()));
    });
}

#[test]
fn a_standby_waits_until_every_node_has_loaded_it() {
    on_each_database(async |server: Server| {
        // A file has one node.
        if server.database().file().is_some() {
            return;
        }
        let standby = server.key("ES256", "standby").await["kid"].clone();
        let mut other = server.another_node().await;
        server.rotate("ES256", "planned", json!({})).await.is(202);
        server.clock.advance(Duration::from_secs(660));
        server.tick_keys().await;
        let waiting = server.key("ES256", "standby").await;
        assert_eq!(waiting["kid"], standby, "the other node does not know of the latest change");
        assert_eq!(waiting["reason"], "It is not ripe: one node has yet to load it.");
        assert_eq!(waiting["activates_at"], Value::Null);

        other.app.context.replica.catch_up().await.unwrap();
        latchkey::jobs::report(Arc::clone(&other.app)).await.unwrap();
        server.tick_keys().await;
        assert_eq!(server.key("ES256", "active").await["kid"], standby);

        // A node that has stopped in order holds nothing up.
        server.rotate("ES256", "planned", json!({})).await.is(202);
        let next = server.key("ES256", "standby").await["kid"].clone();
        other.halt().await;
        server.clock.advance(Duration::from_secs(660));
        server.tick_keys().await;
        assert_eq!(server.key("ES256", "active").await["kid"], next);
    });
}

#[test]
fn a_longer_token_keeps_its_key_published_through_restarts_and_lowered_settings() {
    on_each_database(async |server: Server| {
        let long = server.app(json!({ "client_id": "long", "lifetimes": { "access_ttl": "4h" } })).await;
        let login = server.login(&long).await;
        let kid = server.key("ES256", "active").await["kid"].as_str().unwrap().to_owned();
        server.admin_patch("/admin/v1/clients/long", json!({ "lifetimes": { "access_ttl": "5m" } })).await.is(200);
        server.clock.advance(Duration::from_secs(700));
        server.rotate("ES256", "now", json!({})).await.is(200);
        let server = server.restart().await;
        server.clock.advance(Duration::from_secs(3 * 60 * 60));
        server.tick_keys().await;
        assert!(server.jwks().await.contains(&kid));
        assert!(server.is_active(&long, &login.access()).await);
        server.clock.advance(Duration::from_secs(62 * 60));
        server.tick_keys().await;
        assert!(!server.jwks().await.contains(&kid));
    });
}

#[test]
fn a_dry_run_tells_the_plan_and_changes_nothing() {
    on_each_database(async |server: Server| {
        let before = server.admin_get("/admin/v1/keys").await.body;
        for mode in ["planned", "compromise"] {
            let told = server.rotate("ES256", mode, json!({ "dry_run": true })).await;
            told.is_success();
            assert!(!told.body["actions"].as_array().unwrap().is_empty() || mode == "planned", "{}", told.text);
        }
        server.rotate("ES256", "now", json!({ "dry_run": true, "force": true })).await.is(200);
        assert_eq!(server.admin_get("/admin/v1/keys").await.body, before);
        assert!(server.audit("key_activated").await.iter().all(|event| event["actor"] == "system"));
    });
}

#[test]
fn a_compromised_key_leaves_at_once_and_sessions_live_on() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let login = server.login(&app).await;
        let lost = server.key("ES256", "active").await["kid"].as_str().unwrap().to_owned();
        let told = server.rotate("ES256", "compromise", json!({})).await;
        told.is(200);
        assert!(
            !told.body["notes"].as_array().unwrap().is_empty(),
            "it says what offline verifiers meet: {}",
            told.text
        );
        assert!(!server.jwks().await.contains(&lost));
        assert!(!server.is_active(&app, &login.access()).await);
        let renewed = server.refresh(&app, &login.refresh()).await;
        assert_ne!(header(&renewed.access())["kid"], lost.as_str());
        assert!(server.is_active(&app, &renewed.access()).await);
        server.rotate("ES256", "compromise", json!({ "kid": "no-such-key" })).await.is_error(404, "not_found");
    });
}

#[test]
fn import_takes_a_private_key_and_nothing_else() {
    on_each_database(async |server: Server| {
        let key = server.import_signing_key().await;
        let again = server.admin_post("/admin/v1/keys/import", json!({ "pem": key.pem() })).await;
        again.is_error(409, "conflict");
        assert!(server.jwks().await.contains(&key.kid));
        for pem in ["", "not a key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            server.admin_post("/admin/v1/keys/import", json!({ "pem": pem })).await.is_error(400, "invalid_request");
        }
        server.rotate("PS256", "now", json!({})).await.is_error(400, "invalid_request");
    });
}

#[test]
fn the_metadata_says_what_is_true_today() {
    on_each_database(async |server: Server| {
        let reply = server.get("/.well-known/oauth-authorization-server").await;
        reply.is(200);
        assert_eq!(reply.body["issuer"], "http://127.0.0.1:8420");
        for (name, value) in reply.body.as_object().unwrap() {
            let endpoint = name.ends_with("_endpoint") || name == "jwks_uri" || name == "service_documentation";
            let Some(path) = value.as_str().and_then(|url| url.strip_prefix("http://127.0.0.1:8420")) else { continue };
            if endpoint && !path.is_empty() {
                let there = server.get(path).await;
                // 401 asks for the access token that userinfo wants, 400 for the client that asks for a login.
                assert!([200, 400, 401, 405].contains(&there.status), "{name} at {path}: {}", there.status);
            }
        }
    });
}

#[test]
fn without_its_master_key_it_does_not_start_and_makes_no_other() {
    on_each_database(async |mut server: Server| {
        server.halt().await;
        let id = server.app.context.masters.current.id();
        let file = server.keys_directory().join("master.key");
        let kept = std::fs::read(&file).unwrap();

        std::fs::remove_file(&file).unwrap();
        let refused = server.start_error().await;
        assert!(refused.contains(&id), "it names the key it needs: {refused}");
        assert!(!file.exists(), "a new master key would open nothing");

        let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        std::fs::write(&file, other).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let refused = server.start_error().await;
        assert!(refused.contains(&id) && !refused.contains(other), "{refused}");

        std::fs::write(&file, kept).unwrap();
        server.restart().await.get("/health/ready").await.is(200);
    });
}

#[test]
fn a_rotation_in_between_loses_no_longer_session() {
    on_each_database(async |server: Server| {
        // As another rotation commits it, of which this node's memory has not heard.
        let context = &server.app.context;
        let before = context.store.keys().await.unwrap();
        let mut after = before.clone();
        let request = Request::RotateRefresh;
        let plan = plan(context.now(), &before, &context.key_policy, &[], &request).unwrap();
        apply(&mut after, &plan, &mut SealedKeys::new(&context.masters, &*context.entropy), context.now()).unwrap();
        let [old, new] = &after.refresh[..] else { panic!("{after:?}") };
        let writes = vec![KeyWrite::UpdateRefresh(old.clone()), KeyWrite::InsertRefresh(new.clone())];
        let committed = context.store.commit_keys(before.revision, writes, Vec::new()).await.unwrap();
        assert!(matches!(committed, KeyCommit::Committed(_)));

        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let keys = context.replica.ensure_absolute(year).await.unwrap();
        let active = keys.table().refresh.iter().find(|key| key.state == RefreshKeyState::Active).unwrap();
        assert_eq!((active.version, active.longest_absolute), (2, year), "its tokens are known for as long");
    });
}
