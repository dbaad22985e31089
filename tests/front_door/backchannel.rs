//! Logout tokens to clients: who is told what, and until when (OpenID Connect Back-Channel Logout 1.0).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::authorize::ALICE;
use crate::logout::{id_token, leaving, tokens};
use crate::site::{Reply as Answer, Site};
use crate::support::browser::Browser;
use crate::support::people::{claims, header};
use crate::support::{Registered, Server, on_each_database};

impl Server {
    async fn deliver_logouts(&self) {
        latchkey::jobs::deliver_logouts(Arc::clone(&self.app)).await.unwrap();
    }
}

async fn listening(answer: Answer, server: &Server, over: Value) -> (Site, Registered) {
    let site = Site::open(answer).await;
    let mut body = json!({ "backchannel_logout_uri": site.url() });
    for (name, value) in over.as_object().unwrap() {
        body[name] = value.clone();
    }
    let client = leaving(server, body).await;
    (site, client)
}

fn good() -> Answer {
    Answer::with("204 No Content", "", "")
}

fn bad() -> Answer {
    Answer::with("503 Service Unavailable", "", "")
}

/// The logout token that a site has heard last.
fn heard(site: &Site) -> String {
    let heard = site.heard();
    assert!(heard.starts_with("POST ") && heard.contains("application/x-www-form-urlencoded"), "{heard}");
    heard.split_once("logout_token=").unwrap().1.to_owned()
}

/// Logs out as the client asks.
async fn log_out(browser: &Browser<'_>, hint: &str) {
    browser.open(&format!("/oauth2/logout?id_token_hint={hint}")).await.is(200);
}

#[test]
fn a_client_hears_which_session_of_whom_has_ended() {
    on_each_database(async |server| {
        for alg in ["RS256", "ES256"] {
            let over = json!({ "client_id": alg, "id_token_signed_response_alg": alg });
            let (site, client) = listening(good(), &server, over).await;
            let browser = Browser::new(&server);
            let online = tokens(&browser, &server, &client, "openid email").await;
            let offline = tokens(&browser, &server, &client, "openid offline_access").await;
            log_out(&browser, &id_token(&offline)).await;
            assert_eq!(site.hits(), 0, "nobody at the browser waits for a client");
            server.deliver_logouts().await;
            server.deliver_logouts().await;
            assert_eq!(site.hits(), 1, "not of the session that goes on");

            let token = heard(&site);
            let (told, id_token) = (claims(&token), claims(&id_token(&online)));
            assert_eq!((&header(&token)["typ"], &header(&token)["alg"]), (&json!("logout+jwt"), &json!(alg)));
            for name in ["iss", "aud", "sub", "sid"] {
                assert_eq!(told[name], id_token[name], "{name}");
            }
            assert_eq!(told["events"], json!({ "http://schemas.openid.net/event/backchannel-logout": {} }));
            let now = server.clock_seconds();
            assert_eq!((&told["iat"], &told["exp"]), (&json!(now), &json!(now + 120)));
            assert!(told["jti"].as_str().is_some_and(|jti| jti.len() > 15) && told.get("nonce").is_none(), "{told}");
            let keys = server.app.context.replica.keys();
            let verifier = keys.past_verifier(header(&token)["kid"].as_str().unwrap()).unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            assert!(verifier.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()));

            // It is worth nothing anywhere else.
            let hinted = browser.open(&format!("/oauth2/logout?id_token_hint={token}")).await.is(200);
            assert!(hinted.html.contains("signed out"));
            server.get_as(&token, "/oauth2/userinfo").await.is(401);
            let audit = server.audit("logout_delivered").await;
            let last = audit.last().unwrap();
            assert_eq!((&last["client_id"], &last["sid"]), (&json!(alg), &id_token["sid"]), "{audit:?}");
        }
    });
}

#[test]
fn a_client_that_is_down_hears_of_it_later() {
    on_each_database(async |server| {
        let (site, client) = listening(bad(), &server, json!({})).await;
        let browser = Browser::new(&server);
        let hint = id_token(&tokens(&browser, &server, &client, "openid email").await);
        log_out(&browser, &hint).await;
        drop(browser);
        server.deliver_logouts().await;
        server.deliver_logouts().await;
        assert_eq!(site.hits(), 1, "not again at once");
        let first = claims(&heard(&site));
        server.clock.advance(Duration::from_secs(5));
        server.deliver_logouts().await;
        assert_eq!(site.hits(), 2);
        assert_ne!(claims(&heard(&site))["jti"], first["jti"], "each attempt has a token of its own");

        let server = server.restart().await;
        server.clock.advance(Duration::from_secs(14));
        server.deliver_logouts().await;
        assert_eq!(site.hits(), 2, "the wait outlives a restart");
        site.says(Answer::with("200 OK", "", "ignored"));
        server.clock.advance(Duration::from_secs(1));
        server.deliver_logouts().await;
        assert_eq!(site.hits(), 3);
        let told = claims(&heard(&site));
        assert_eq!((&told["sid"], &told["iat"]), (&first["sid"], &json!(server.clock_seconds())));
        server.clock.advance(Duration::from_secs(3600));
        server.deliver_logouts().await;
        assert_eq!(site.hits(), 3);
        let audit = server.audit("logout_delivered").await;
        assert_eq!((audit.len(), &audit[0]["detail"]["attempts"]), (1, &json!(3)), "{audit:?}");
    });
}

#[test]
fn a_client_that_never_listens_is_given_up_after_an_hour() {
    on_each_database(async |server| {
        let (site, client) = listening(Answer::with("400 Bad Request", "", ""), &server, json!({})).await;
        let browser = Browser::new(&server);
        let hint = id_token(&tokens(&browser, &server, &client, "openid email").await);
        log_out(&browser, &hint).await;
        for _ in 0..80 {
            server.deliver_logouts().await;
            server.clock.advance(Duration::from_secs(60));
        }
        assert_eq!(site.hits(), 8);
        let audit = server.audit("logout_undeliverable").await;
        assert_eq!((audit.len(), &audit[0]["detail"]["attempts"]), (1, &json!(8)), "{audit:?}");
        assert!(audit[0]["detail"]["error"].as_str().unwrap().contains("400"), "{audit:?}");
        let metrics = server.admin_get("/metrics").await;
        for line in ["{outcome=\"retried\"} 7", "{outcome=\"undeliverable\"} 1", "{outcome=\"delivered\"} 0"] {
            assert!(metrics.text.contains(&format!("latchkey_logout_tokens_total{line}")), "{}", metrics.text);
        }
    });
}

#[test]
fn whoever_ends_a_session_its_client_hears_of_it() {
    on_each_database(async |server| {
        let (site, client) = listening(good(), &server, json!({})).await;
        let mut hits = 0;
        let begin = async || {
            let browser = Browser::new(&server);
            let tokens = tokens(&browser, &server, &client, "openid offline_access").await;
            (server.sub_of(&tokens), claims(&tokens.access())["sid"].as_str().unwrap().to_owned(), tokens)
        };
        for act in ["session", "logout", "disable", "client"] {
            let (sub, sid, tokens) = begin().await;
            match act {
                "session" => server.admin_delete(&format!("/admin/v1/sessions/{sid}")).await.is(204),
                "logout" => server.admin_post(&format!("/admin/v1/users/{sub}/logout"), json!({})).await.is_success(),
                "disable" => {
                    let path = format!("/admin/v1/users/{sub}");
                    server.admin_patch(&path, json!({ "disabled": true })).await.is(200);
                    server.admin_patch(&path, json!({ "disabled": false })).await.is(200);
                }
                _ => server.revoke(&client, &tokens.refresh()).await.is(200),
            }
            server.deliver_logouts().await;
            if act == "client" {
                assert_eq!(site.hits(), hits, "its own doing");
            } else {
                hits += 1;
                assert_eq!((site.hits(), &claims(&heard(&site))["sid"]), (hits, &json!(sid)), "{act}");
            }
        }
    });
}

#[test]
fn another_users_sign_in_in_the_same_browser_ends_the_first() {
    on_each_database(async |server| {
        let (site, client) = listening(good(), &server, json!({})).await;
        server.user("bob").await;
        let browser = Browser::new(&server);
        let alices = tokens(&browser, &server, &client, "openid email").await;
        let login = browser.open("/login?another=1").await.is(200);
        browser.submit(&login, &[("username", "bob"), ALICE[1]]).await.is(200);
        server.deliver_logouts().await;
        assert_eq!((site.hits(), &claims(&heard(&site))["sub"]), (1, &json!(server.sub_of(&alices))));
    });
}

#[test]
fn a_place_inside_the_network_is_told_nothing() {
    on_each_database(async |server| {
        let (_, client) = listening(good(), &server, json!({})).await;
        let inside = json!({ "backchannel_logout_uri": "https://169.254.169.254/logout" });
        server.admin_patch("/admin/v1/clients/web", inside).await.is(200);
        let browser = Browser::new(&server);
        let hint = id_token(&tokens(&browser, &server, &client, "openid email").await);
        log_out(&browser, &hint).await;
        for _ in 0..70 {
            server.deliver_logouts().await;
            server.clock.advance(Duration::from_secs(60));
        }
        let audit = server.audit("logout_undeliverable").await;
        assert!(audit[0]["detail"]["error"].as_str().unwrap().contains("169.254.169.254"), "{audit:?}");
    });
}

#[test]
fn two_nodes_tell_it_once() {
    on_each_database(async |server| {
        if server.database().file().is_some() {
            return;
        }
        let (site, client) = listening(good(), &server, json!({})).await;
        let other = server.another_node().await;
        for round in 1..=5 {
            let browser = Browser::new(&server);
            let hint = id_token(&tokens(&browser, &server, &client, "openid email").await);
            log_out(&browser, &hint).await;
            tokio::join!(server.deliver_logouts(), other.deliver_logouts());
            server.deliver_logouts().await;
            assert_eq!(site.hits(), round);
        }
    });
}
