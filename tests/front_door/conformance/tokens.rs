//! Modules of codes that come again, and of refresh tokens.

use std::time::Duration;

use super::{Run, entropy, module};

/// A second use of a code is refused, and what the first one got is worth nothing any more.
async fn reused(run: &Run<'_>, later: Duration) {
    let client = run.client("client");
    let code = run.code(&run.visit(&run.request(&[])).await);
    let done = run.done(&client, run.exchange(&client, &code).await, "nonce-of-the-suite").await;
    run.userinfo(&done).await;
    run.server.clock.advance(later);
    run.exchange(&client, &code).await.is_error(400, "invalid_grant");
    run.server.get_as(&done.tokens.access(), "/oauth2/userinfo").await.is_error(401, "invalid_token");
}

#[test]
fn oidcc_codereuse() {
    module("oidcc-codereuse", async |run| reused(&run, Duration::ZERO).await);
}

#[test]
fn oidcc_codereuse_30seconds() {
    module("oidcc-codereuse-30seconds", async |run| reused(&run, Duration::from_secs(30)).await);
}

#[test]
fn oidcc_refresh_token() {
    module("oidcc-refresh-token", async |run| {
        let client = run.client("client");
        let offline = [("scope", "openid offline_access"), ("prompt", "consent")];
        let first = run.happy(&offline).await;
        assert!(entropy(&first.tokens.refresh()) >= 96.0);
        run.server.clock.advance(Duration::from_secs(1));
        let renewed = run.server.refresh(&client, &first.tokens.refresh()).await;
        let second = run.done(&client, renewed, "").await;
        for same in ["iss", "sub", "aud", "auth_time"] {
            assert_eq!(second.id_token.1[same], first.id_token.1[same], "{same}");
        }
        assert!(second.id_token.1["iat"].as_i64() > first.id_token.1["iat"].as_i64());
        assert_ne!(second.tokens.access(), first.tokens.access());
        run.userinfo(&second).await;

        // The second client has a login of its own, and no use for the first one's token.
        let other = run.client("client2");
        let elsewhere = run.elsewhere();
        let path = elsewhere.request(&[offline[0], offline[1], ("client_id", &other.id)]);
        let code = elsewhere.code(&elsewhere.visit(&path).await);
        let third = elsewhere.done(&other, elsewhere.exchange(&other, &code).await, "nonce-of-the-suite").await;
        let stolen = run.server.refresh(&other, &second.tokens.refresh()).await;
        stolen.is_error(400, "invalid_grant");
        run.server.refresh(&other, &third.tokens.refresh()).await.is(200);
        run.server.refresh(&client, &second.tokens.refresh()).await.is(200);
    });
}
