//! Modules of second logins: asked for, forbidden, too old.

use std::time::Duration;

use super::{Done, module};

fn auth_time(done: &Done) -> i64 {
    done.id_token.1["auth_time"].as_i64().unwrap()
}

#[test]
fn oidcc_prompt_login() {
    module("oidcc-prompt-login", async |run| {
        let first = run.happy(&[]).await;
        run.server.clock.advance(Duration::from_secs(1));
        let path = run.request(&[("prompt", "login")]);
        let asked = run.browser.open(&path).await.is(200);
        assert!(asked.html.contains("id=\"sign-in\""), "{}", asked.html);
        let second = run.happy(&[("prompt", "login")]).await;
        assert_eq!(second.id_token.1["sub"], first.id_token.1["sub"]);
        assert!(auth_time(&second) > auth_time(&first));
    });
}

#[test]
fn oidcc_prompt_none_not_logged_in() {
    module("oidcc-prompt-none-not-logged-in", async |run| {
        let page = run.visit(&run.request(&[("prompt", "none")])).await;
        assert_eq!(run.error(&page), "login_required");
    });
}

#[test]
fn oidcc_prompt_none_logged_in() {
    module("oidcc-prompt-none-logged-in", async |run| {
        let first = run.happy(&[]).await;
        run.server.clock.advance(Duration::from_secs(1));
        let second = run.happy(&[("prompt", "none")]).await;
        assert_eq!(second.id_token.1["sub"], first.id_token.1["sub"]);
        assert_eq!(auth_time(&second), auth_time(&first));
    });
}

#[test]
fn oidcc_max_age_1() {
    module("oidcc-max-age-1", async |run| {
        let first = run.happy(&[]).await;
        run.server.clock.advance(Duration::from_secs(2));
        let asked = run.browser.open(&run.request(&[("max_age", "1")])).await.is(200);
        assert!(asked.html.contains("id=\"sign-in\""), "{}", asked.html);
        let second = run.happy(&[("max_age", "1")]).await;
        assert_eq!(second.id_token.1["sub"], first.id_token.1["sub"]);
        assert!(auth_time(&second) > auth_time(&first));
        assert!(run.server.clock_seconds() - auth_time(&second) <= 1);
    });
}

#[test]
fn oidcc_max_age_10000() {
    module("oidcc-max-age-10000", async |run| {
        let first = run.happy(&[]).await;
        run.server.clock.advance(Duration::from_secs(2));
        // No page comes in between.
        let page = run.browser.open(&run.request(&[("max_age", "10000")])).await;
        run.code(&page);
        let second = run.happy(&[("max_age", "10000")]).await;
        assert_eq!((auth_time(&second), &second.id_token.1["sub"]), (auth_time(&first), &first.id_token.1["sub"]));
    });
}

#[test]
fn oidcc_id_token_hint() {
    module("oidcc-id-token-hint", async |run| {
        let first = run.happy(&[]).await;
        let second = run.happy(&[("prompt", "none"), ("id_token_hint", &first.id_token.0)]).await;
        assert_eq!(second.id_token.1["sub"], first.id_token.1["sub"]);
        assert_eq!(auth_time(&second), auth_time(&first));
    });
}
