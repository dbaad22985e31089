//! Introspection and revocation (RFC 7662, RFC 7009) on one node: fast, and never stale.

use std::time::Duration;

use latchkey::domain::audit::{Actor, AuditType};
use latchkey::domain::ids::ClientId;
use latchkey::storage::{ChangeOutcome, ClientEffects};
use serde_json::json;

use crate::support::forge::{Forged, forge};
use crate::support::{Cluster, Registered, Reply, Server, block_on, on_each_database};

#[test]
fn revoked_means_inactive_on_the_very_next_call() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let login = server.login(&app).await;
        let other = server.refresh(&app, &login.refresh()).await;
        for _ in 0..3 {
            assert!(server.is_active(&app, &login.access()).await);
        }
        server.revoke(&app, &login.access()).await.is(200);
        assert!(!server.is_active(&app, &login.access()).await);
        assert!(server.is_active(&app, &other.access()).await, "the other access token of the session lives on");
        server.revoke(&app, &other.refresh()).await.is(200);
        assert!(!server.is_active(&app, &other.access()).await);
    });
}

#[test]
fn a_cached_token_turns_inactive_at_its_exp() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let login = server.login(&app).await;
        assert!(server.is_active(&app, &login.access()).await);
        server.clock.advance(Duration::from_secs(599));
        assert!(server.is_active(&app, &login.access()).await);
        server.clock.advance(Duration::from_secs(1));
        assert!(!server.is_active(&app, &login.access()).await);
    });
}

#[test]
fn a_restart_forgets_no_revocation() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let (kept, single, session) = (server.login(&app).await, server.login(&app).await, server.login(&app).await);
        server.revoke(&app, &single.access()).await.is(200);
        server.revoke(&app, &session.refresh()).await.is(200);
        let server = server.restart().await;
        assert!(server.is_active(&app, &kept.access()).await);
        assert!(!server.is_active(&app, &single.access()).await);
        assert!(!server.is_active(&app, &session.access()).await);
    });
}

#[test]
fn a_client_sees_its_own_tokens_and_those_meant_for_it() {
    on_each_database(async |server: Server| {
        let app = server.app(json!({ "client_id": "shop", "audience": ["https://api.example"] })).await;
        let api = server.app(json!({ "client_id": "api", "resource_identifiers": ["https://api.example"] })).await;
        let stranger = server.app(json!({ "client_id": "stranger" })).await;
        let login = server.login(&app).await;
        assert!(server.is_active(&app, &login.access()).await);
        assert!(server.is_active(&api, &login.access()).await);
        let hidden = server.introspect(&stranger, &login.access()).await;
        assert_eq!(hidden.body, json!({ "active": false }));

        let refresh = server.introspect(&app, &login.refresh()).await;
        assert_eq!(refresh.body["active"], true, "{}", refresh.body);
        assert!(!server.is_active(&api, &login.refresh()).await, "a refresh token is its own client's business");
        let next = server.refresh(&app, &login.refresh()).await;
        assert!(!server.is_active(&app, &login.refresh()).await, "only the current generation is active");
        assert!(server.is_active(&app, &next.refresh()).await);
        assert_eq!(server.session_of(&login).await["generation"], 1, "asking never rotates nor counts as reuse");

        server.revoke(&stranger, &login.access()).await.is_error(400, "unauthorized_client");
        assert!(server.is_active(&app, &login.access()).await);
    });
}

#[test]
fn a_refresh_token_that_would_be_refused_is_not_active() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let login = server.login(&app).await;
        server.clock.advance(Duration::from_secs(3_600));
        assert!(server.is_active(&app, &login.refresh()).await);
        for (change, active) in [
            (json!({ "lifetimes": { "refresh_absolute": "30m" } }), false),
            (json!({ "lifetimes": { "refresh_absolute": null } }), true),
            (json!({ "grant_types": ["client_credentials"] }), false),
        ] {
            server.admin_patch("/admin/v1/clients/web", change.clone()).await.is(200);
            assert_eq!(server.is_active(&app, &login.refresh()).await, active, "{change}");
        }
    });
}

#[test]
fn a_token_of_a_lost_key_is_inactive_for_ever_whatever_its_exp() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let key = server.import_signing_key().await;
        server
            .admin_post("/admin/v1/keys/rotate", json!({ "alg": "ES256", "mode": "now", "force": true }))
            .await
            .is(200);
        let login = server.login(&app).await;
        let good = forge(&key, &server.claims_like(&login), Forged::Faithful);
        assert!(server.is_active(&app, &good).await, "the forger holds the key, so the token verifies");

        let ten_years = forge(&key, &server.claims_like(&login), Forged::Lives(Duration::from_secs(315_360_000)));
        assert!(!server.is_active(&app, &ten_years).await, "no key ever signed for that long");

        let body = json!({ "alg": "ES256", "mode": "compromise", "kid": key.kid });
        server.admin_post("/admin/v1/keys/rotate", body).await.is(200);
        for token in [&good, &ten_years, &login.access()] {
            assert!(!server.is_active(&app, token).await);
        }
        let renewed = server.refresh(&app, &login.refresh()).await;
        assert_eq!(renewed.status, 200, "the session lives on: nobody logs in again");
        assert!(server.is_active(&app, &renewed.access()).await);
        let server = server.restart().await;
        server.clock.advance(Duration::from_secs(400 * 24 * 60 * 60));
        assert!(!server.is_active(&app, &ten_years).await);
    });
}

/// The login's access token is in the node's memory.
async fn logged_in_on(cluster: &Cluster) -> (Server, Registered, Reply) {
    let server = Server::on_cluster(cluster).await;
    let app = server.web_app().await;
    let login = server.login(&app).await;
    assert!(server.is_active(&app, &login.access()).await);
    (server, app, login)
}

#[test]
fn with_the_database_stopped_cached_tokens_obey_the_staleness_bound() {
    let Some(cluster) = Cluster::start() else { return };
    block_on(async {
        let (server, app, login) = logged_in_on(&cluster).await;
        cluster.stop();
        server.clock.advance(Duration::from_millis(1_500));
        assert!(server.is_active(&app, &login.access()).await, "within the bound memory may answer");
        server.clock.advance(Duration::from_millis(600));
        let stale = server.introspect(&app, &login.access()).await;
        stale.is_error(503, "temporarily_unavailable");
        assert!(stale.headers.contains_key("retry-after"));
        cluster.start_again();
        assert!(server.is_active(&app, &login.access()).await, "and it recovers by itself");
    });
}

#[test]
fn a_standby_is_not_believed_until_it_is_promoted() {
    let Some(cluster) = Cluster::start() else { return };
    block_on(async {
        let (server, app, login) = logged_in_on(&cluster).await;
        cluster.stop();
        cluster.start_as_standby();
        server.clock.advance(Duration::from_secs(3));
        server.introspect(&app, &login.access()).await.is_error(503, "temporarily_unavailable");
        server.refresh(&app, &login.refresh()).await.is_error(503, "temporarily_unavailable");
        cluster.promote();
        assert!(server.is_active(&app, &login.access()).await, "and it recovers by itself");
        server.refresh(&app, &login.refresh()).await.is(200);
    });
}

#[test]
fn a_change_whose_caller_hung_up_counts_too() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let login = server.login(&app).await;
        assert!(server.is_active(&app, &login.access()).await);

        // What the writer commits when nobody waits for it any more: the node's memory is not told.
        let context = &server.app.context;
        let mut client = context.store.client(&ClientId::new("web")).await.unwrap().unwrap();
        client.disabled = true;
        let now = context.now();
        let audit = context.audit(AuditType::ClientUpdated, Actor::system());
        let effects = ClientEffects { revoke_tokens_before: None, now, horizon: context.horizon(), audit };
        assert_eq!(context.store.change_client(client, effects).await.unwrap(), ChangeOutcome::Changed);

        let _jobs = latchkey::jobs::start(&server.app);
        let form = [("grant_type", "client_credentials")];
        for _ in 0..100 {
            if server.token(&app, &form).await.status != 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.token(&app, &form).await.is_error(400, "unauthorized_client");
        server.refresh(&app, &login.refresh()).await.is_refused("client_disabled");
    });
}
