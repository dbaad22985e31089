//! Renewal (design: refresh sessions): every row of the outcome table, on both databases, over HTTP.

use std::time::Duration;

use serde_json::json;

use crate::support::{Database, Server, on_each_database};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn sixty_four_presentations_at_once_leave_one_step_and_one_answer() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        let answers = server.at_once(64, async |server| server.refresh(&app, &first.refresh()).await).await;
        let successor = answers[0].refresh();
        assert_ne!(successor, first.refresh());
        for answer in &answers {
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.refresh(), successor, "every 200 carries the same refresh token");
        }
        let session = server.session_of(&first).await;
        assert_eq!(session["generation"], 1, "{session}");
    });
}

#[test]
fn a_lost_answer_is_given_again_within_the_window() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        let lost = server.refresh(&app, &first.refresh()).await;
        server.clock.advance(Duration::from_secs(59));
        let again = server.refresh(&app, &first.refresh()).await;
        assert_eq!(again.refresh(), lost.refresh());
        assert_ne!(again.access(), lost.access(), "the access token is a fresh one");
        assert!(server.is_active(&app, &again.access()).await);
        assert_eq!(server.refresh(&app, &again.refresh()).await.status, 200);
    });
}

#[test]
fn the_parent_after_the_window_ends_the_session_and_its_access_tokens() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        let second = server.refresh(&app, &first.refresh()).await;
        assert!(server.is_active(&app, &second.access()).await);
        server.clock.advance(Duration::from_secs(61));
        server.refresh(&app, &first.refresh()).await.is_refused("reused_after_window");
        assert!(!server.is_active(&app, &second.access()).await, "access tokens of the session are inactive at once");
        server.refresh(&app, &second.refresh()).await.is_refused("reused_after_window");
        assert_eq!(server.audit("refresh_reused").await.len(), 1);
    });
}

#[test]
fn the_grandparent_inside_the_window_is_a_replay() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        let second = server.refresh(&app, &first.refresh()).await;
        let third = server.refresh(&app, &second.refresh()).await;
        server.clock.advance(Duration::from_secs(1));
        server.refresh(&app, &first.refresh()).await.is_refused("reused_after_window");
        server.refresh(&app, &third.refresh()).await.is_refused("reused_after_window");
    });
}

#[test]
fn a_wrong_client_changes_nothing_and_learns_nothing() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let other = server.other_app().await;
        let first = server.login(&app).await;
        let stolen = server.refresh(&other, &first.refresh()).await;
        stolen.is_refused("unknown_session");
        assert_eq!(server.session_of(&first).await["generation"], 0);
        assert_eq!(server.refresh(&app, &first.refresh()).await.status, 200, "its own client never noticed");
    });
}

#[test]
fn scope_narrows_one_access_token_and_not_the_session() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        assert_eq!(first.body["scope"], "read write");
        let narrowed = server.refresh_with(&app, &first.refresh(), &[("scope", "read")]).await;
        assert_eq!(narrowed.body["scope"], "read");
        let wide = server.refresh(&app, &narrowed.refresh()).await;
        assert_eq!(wide.body["scope"], "read write", "the refresh token keeps its scope");

        let wider = server.refresh_with(&app, &wide.refresh(), &[("scope", "read admin")]).await;
        wider.is_error(400, "invalid_scope");
        assert_eq!(server.refresh(&app, &wide.refresh()).await.status, 200, "a refused scope costs nobody the session");
    });
}

#[test]
fn both_limits_end_a_session_with_their_reason() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let idle = server.login(&app).await;
        server.clock.advance(7 * DAY);
        server.refresh(&app, &idle.refresh()).await.is_refused("idle_expired");

        let mut token = server.login(&app).await.refresh();
        for _ in 0..5 {
            server.clock.advance(6 * DAY - MINUTE);
            token = server.refresh(&app, &token).await.refresh();
        }
        server.clock.advance(5 * MINUTE);
        server.refresh(&app, &token).await.is_refused("absolute_expired");
    });
}

#[test]
fn a_refused_or_repeated_request_never_extends_the_idle_limit() {
    on_each_database(async |server: Server| {
        let app = server.app(json!({ "client_id": "mobile", "lifetimes": { "refresh_retry_window": "7d" } })).await;
        let first = server.login(&app).await;
        let second = server.refresh(&app, &first.refresh()).await;
        server.clock.advance(6 * DAY);
        assert_eq!(server.refresh(&app, &first.refresh()).await.refresh(), second.refresh(), "a retry after six days");
        server.clock.advance(DAY);
        server.refresh(&app, &second.refresh()).await.is_refused("idle_expired");
    });
}

#[test]
fn a_disabled_user_and_a_disabled_client_are_told_so() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        let sub = server.sub_of(&first);
        server.admin_patch(&format!("/admin/v1/users/{sub}"), json!({ "disabled": true })).await.is(200);
        server.refresh(&app, &first.refresh()).await.is_refused("user_disabled");
        assert!(!server.is_active(&app, &first.access()).await);
        server.admin_patch(&format!("/admin/v1/users/{sub}"), json!({ "disabled": false })).await.is(200);

        let second = server.login(&app).await;
        server.admin_patch(&format!("/admin/v1/clients/{}", app.id), json!({ "disabled": true })).await.is(200);
        server.refresh(&app, &second.refresh()).await.is_refused("client_disabled");
        server.admin_patch(&format!("/admin/v1/clients/{}", app.id), json!({ "disabled": false })).await.is(200);
        assert!(!server.is_active(&app, &second.access()).await, "tokens from before stay inactive");
        assert_eq!(server.refresh(&app, &second.refresh()).await.status, 200, "its sessions go on");
    });
}

#[test]
fn a_password_change_ends_every_session_of_the_user() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        let second = server.login(&app).await;
        let path = format!("/admin/v1/users/{}/password", server.sub_of(&first));
        server.admin_put(&path, json!({ "password": "a new and better one" })).await.is_success();
        for login in [&first, &second] {
            server.refresh(&app, &login.refresh()).await.is_refused("revoked");
            assert!(!server.is_active(&app, &login.access()).await);
        }
    });
}

#[test]
fn five_late_retries_in_a_row_make_the_window_short() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let mut parent = server.login(&app).await.refresh();
        for _ in 0..5 {
            let step = server.refresh(&app, &parent).await.refresh();
            server.clock.advance(Duration::from_secs(16));
            assert_eq!(server.refresh(&app, &parent).await.refresh(), step, "late, and still within the window");
            parent = step;
        }
        assert_eq!(server.audit("retry_pattern").await.len(), 1);
        let step = server.refresh(&app, &parent).await;
        assert_eq!(step.status, 200);
        server.clock.advance(Duration::from_secs(16));
        server.refresh(&app, &parent).await.is_refused("reused_after_window");
    });
}

#[test]
fn without_rotation_the_same_token_renews_and_moves_the_idle_limit() {
    on_each_database(async |server: Server| {
        let app = server.app(json!({ "client_id": "fixed", "rotate_refresh": false })).await;
        let first = server.login(&app).await;
        for _ in 0..3 {
            server.clock.advance(6 * DAY);
            let again = server.refresh(&app, &first.refresh()).await;
            assert_eq!(again.refresh(), first.refresh());
        }
        assert_eq!(server.session_of(&first).await["generation"], 0);
    });
}

#[test]
fn a_compromised_refresh_key_proves_nothing_but_what_the_row_proves() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let old = server.login(&app).await;
        let current = server.refresh(&app, &old.refresh()).await;
        let bystander = server.login(&app).await;
        let stale = server.refresh(&app, &bystander.refresh()).await;
        let newest = server.refresh(&app, &stale.refresh()).await;
        server.admin_post("/admin/v1/keys/rotate", json!({ "alg": "refresh", "mode": "compromise" })).await.is(200);

        let grandparent = server.refresh(&app, &bystander.refresh()).await;
        grandparent.is_refused("unknown_session");
        assert_eq!(server.refresh(&app, &newest.refresh()).await.status, 200, "an unproven token ended nothing");

        let lost = server.refresh(&app, &current.refresh()).await;
        assert_eq!(lost.status, 200, "the row's hash proves the current generation");
        assert_eq!(server.refresh(&app, &current.refresh()).await.refresh(), lost.refresh(), "and its parent");
    });
}

#[test]
fn revoking_any_generation_ends_the_session() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let first = server.login(&app).await;
        let second = server.refresh(&app, &first.refresh()).await;
        let third = server.refresh(&app, &second.refresh()).await;
        server.revoke(&app, &first.refresh()).await.is(200);
        assert!(!server.is_active(&app, &third.access()).await);
        server.refresh(&app, &third.refresh()).await.is_refused("revoked");
        server.revoke(&app, &third.refresh()).await.is(200);
    });
}

#[test]
fn an_answer_says_when_to_renew_and_when_the_session_ends() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let now = server.clock_seconds();
        let login = server.login(&app).await;
        assert_eq!(login.body["session_expires_at"], now + 7 * 86_400, "the idle limit comes first");
        server.clock.advance(6 * DAY);
        let mut renewed = server.refresh(&app, &login.refresh()).await;
        assert_eq!(renewed.body["session_expires_at"], now + 13 * 86_400, "a renewal moves it");
        for _ in 0..4 {
            let hint = renewed.body["refresh_in"].as_u64().unwrap();
            assert!((360..=480).contains(&hint), "{hint} of 600 s");
            server.clock.advance(6 * DAY - MINUTE);
            renewed = server.refresh(&app, &renewed.refresh()).await;
        }
        assert_eq!(renewed.body["session_expires_at"], now + 30 * 86_400, "and never past the absolute limit");

        let own = server.token(&app, &[("grant_type", "client_credentials")]).await;
        assert!(own.body.get("refresh_in").is_none() && own.body.get("session_expires_at").is_none(), "{}", own.text);
    });
}

#[test]
fn a_node_that_has_not_met_the_newest_refresh_keys_looks_for_them() {
    on_each_database(async |mut server: Server| {
        if matches!(server.database(), Database::Sqlite(_)) {
            return;
        }
        let app = server.web_app().await;
        let (mut asked_at, mut revoked_at) = (server.another_node().await, server.another_node().await);
        server.admin_post("/admin/v1/keys/rotate", json!({ "alg": "refresh", "mode": "now" })).await.is(200);
        // The clocks of the other nodes stand still: they have no reason to look again but the tokens themselves.
        let (asked, revoked) = (server.login(&app).await.refresh(), server.login(&app).await.refresh());
        assert!(asked_at.is_active(&app, &asked).await);
        revoked_at.revoke(&app, &revoked).await.is(200);
        server.refresh(&app, &revoked).await.is_refused("revoked");
        asked_at.halt().await;
        revoked_at.halt().await;
        server.halt().await;
    });
}
