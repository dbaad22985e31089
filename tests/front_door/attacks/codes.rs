//! Codes that are stolen, mixed up, injected, replayed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::authorize::pages::ALLOW;
use crate::authorize::{
    ALICE, CALLBACK, CHALLENGE, ISSUER, VERIFIER, answered, app, code_of, exchange, request, signed_in,
};
use crate::support::browser::Browser;
use crate::support::people::claims;
use crate::support::{Reply, Server, on_each_database};

/// Another verifier, and its challenge.
const OTHER_VERIFIER: &str = "an-attacker-chose-this-one-and-knows-its-challenge-well";

#[track_caller]
fn is_refused(reply: &Reply, why: &str) {
    reply.is_error(400, "invalid_grant");
    assert!(reply.body["error_description"].as_str().unwrap().contains(why), "{}", reply.text);
}

/// RFC 9207: a client of several servers knows whose answer it is, whatever it is.
#[test]
fn mix_up() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let login = browser.open(&request(&[])).await;
        let consent = browser.submit(&login, &ALICE).await;
        answered(&browser.submit(&consent, &[("decision", "deny")]).await);
        answered(&browser.submit(&consent, &ALLOW).await);
        for changes in [
            ("prompt", "none"),
            ("response_type", "token"),
            ("response_type", ""),
            ("request", "e30.e30."),
            ("request_uri", "https://app.example/r"),
            ("registration", "{}"),
            ("code_challenge", "x"),
            ("scope", "sudo"),
            ("resource", "https://elsewhere.example"),
            ("prompt", "none login"),
            ("max_age", "x"),
            ("display", "x"),
            ("claims", "x"),
            ("id_token_hint", "x"),
            ("response_mode", "x"),
            ("state", "\0"),
        ] {
            answered(&browser.open(&request(&[changes])).await);
            if changes.0 != "response_mode" {
                let page = browser.open(&request(&[changes, ("response_mode", "form_post")])).await;
                assert_eq!(page.posted_to(CALLBACK)["iss"], ISSUER, "{changes:?}");
            }
        }
        let told = server.get("/.well-known/openid-configuration").await;
        assert_eq!(told.body["authorization_response_iss_parameter_supported"], true);
        assert_eq!(told.body["issuer"], ISSUER);
    });
}

/// RFC 9700 section 4.5: a stolen code is put into an attacker's own login at the same client.
#[test]
fn code_injection() {
    on_each_database(async |server| {
        let web = app(&server, json!({})).await;
        let plain = app(&server, json!({ "client_id": "plain", "require_pkce": false })).await;
        let victim = Browser::new(&server);
        let stolen = code_of(&signed_in(&victim, &request(&[])).await);
        let injected = exchange(&server, &web, &stolen, &[("code_verifier", OTHER_VERIFIER)]).await;
        is_refused(&injected, "does not match");
        is_refused(&exchange(&server, &web, &stolen, &[("code_verifier", "")]).await, "is missing");
        is_refused(&exchange(&server, &web, &stolen, &[("code_verifier", CHALLENGE)]).await, "does not match");
        // That costs its owner nothing.
        exchange(&server, &web, &stolen, &[]).await.is(200);

        // A client without PKCE has the nonce: that of the stolen login, so the client finds that it is not its own.
        let bare = [("client_id", "plain"), ("code_challenge", ""), ("code_challenge_method", "")];
        let of_victim = [&bare[..], &[("nonce", "of-the-victim")]].concat();
        let consent = victim.open(&request(&of_victim)).await.is(200);
        let stolen = code_of(&victim.submit(&consent, &ALLOW).await);
        let tokens = exchange(&server, &plain, &stolen, &[("code_verifier", "")]).await;
        tokens.is(200);
        assert_eq!(claims(tokens.body["id_token"].as_str().unwrap())["nonce"], "of-the-victim");
    });
}

/// RFC 9700 section 2.1.1: the challenge is taken out of the request, and the client is none the wiser.
#[test]
fn pkce_downgrade() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        let plain = app(&server, json!({ "client_id": "plain", "require_pkce": false })).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[("client_id", "plain")])).await.is(303);
        for changes in [
            &[("code_challenge", ""), ("code_challenge_method", "")][..],
            &[("code_challenge", "")],
            &[("code_challenge_method", "")],
            &[("code_challenge_method", "plain")],
            &[("code_challenge_method", "s256")],
            &[("code_challenge", VERIFIER), ("code_challenge_method", "plain")],
            &[("code_challenge", "too-short")],
        ] {
            let refused = answered(&browser.open(&request(changes)).await.is(303));
            assert_eq!(refused["error"], "invalid_request", "{changes:?}");
            // Where PKCE is left to the client, no other kind of it is taken either.
            if changes.len() == 1 {
                let refused = browser.open(&request(&[changes, &[("client_id", "plain")]].concat())).await;
                assert_eq!(answered(&refused)["error"], "invalid_request", "{changes:?}");
            }
        }
        let bare = [("client_id", "plain"), ("code_challenge", ""), ("code_challenge_method", "")];
        let code = code_of(&browser.open(&request(&bare)).await.is(303));
        is_refused(&exchange(&server, &plain, &code, &[]).await, "had no code_challenge");
        let code = code_of(&browser.open(&request(&[("client_id", "plain")])).await);
        is_refused(&exchange(&server, &plain, &code, &[("code_verifier", "")]).await, "is missing");
        exchange(&server, &plain, &code, &[]).await.is(200);
    });
}

/// Many at once bring the same code: one gets tokens, and since the others are thieves or have met one, its session ends.
#[test]
fn code_replay_by_racers() {
    on_each_database(async |server| {
        let app = app(&server, json!({})).await;
        let browser = Browser::new(&server);
        signed_in(&browser, &request(&[])).await.is(303);
        for nodes in 1..=2 {
            let other = match nodes {
                2 if server.database().file().is_none() => Some(server.another_node().await),
                2 => continue,
                _ => None,
            };
            let code = code_of(&browser.open(&request(&[])).await);
            let turn = std::sync::atomic::AtomicUsize::new(0);
            let answers = server
                .at_once(64, async |server| {
                    let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let node = other.as_ref().filter(|_| turn % 2 == 1).unwrap_or(server);
                    exchange(node, &app, &code, &[]).await
                })
                .await;
            let (won, lost): (Vec<Reply>, Vec<Reply>) = answers.into_iter().partition(|reply| reply.status == 200);
            assert_eq!((won.len(), lost.len()), (1, 63));
            lost.iter().for_each(|reply| reply.is_error(400, "invalid_grant"));
            let tokens = &won[0];
            // A node remembers revocations for a moment before it looks again.
            for node in [Some(&server), other.as_ref()].into_iter().flatten() {
                node.clock.advance(Duration::from_secs(2));
            }
            for node in [Some(&server), other.as_ref()].into_iter().flatten() {
                assert!(!node.is_active(&app, &tokens.access()).await, "{nodes} nodes");
                node.refresh(&app, &tokens.refresh()).await.is_refused("revoked");
                node.get_as(&tokens.access(), "/oauth2/userinfo").await.is_error(401, "invalid_token");
            }
            assert_eq!(server.session_of(tokens).await["end_reason"], "code_reused");
            assert_eq!(server.audit("code_redeemed").await.len(), nodes);
            assert!(!server.audit("code_replayed").await.is_empty());
        }
    });
}

/// A code is noticed to be replayed for as long as its row is kept, and by whoever proves to have begun the login alone.
#[test]
fn code_replay_by_somebody_else() {
    on_each_database(async |server| {
        let web = app(&server, json!({})).await;
        let other = app(&server, json!({ "client_id": "other" })).await;
        let code = code_of(&signed_in(&Browser::new(&server), &request(&[])).await);
        let tokens = exchange(&server, &web, &code, &[]).await;
        tokens.is(200);
        is_refused(&exchange(&server, &other, &code, &[]).await, "no such code");
        is_refused(&exchange(&server, &web, &code, &[("code_verifier", OTHER_VERIFIER)]).await, "does not match");
        assert!(server.is_active(&web, &tokens.access()).await, "a leaked code ends nobody's session");
        server.clock.advance(Duration::from_secs(300));
        is_refused(&exchange(&server, &web, &code, &[]).await, "exchanged before");
        assert!(!server.is_active(&web, &tokens.access()).await);
    });
}

/// RFC 6749 section 4.1.3: the code goes to the client that it was made for, as the browser was sent there.
#[test]
fn code_of_another_client_and_for_another_address() {
    on_each_database(async |server| {
        let second = "https://app.example/second";
        let web = app(&server, json!({ "redirect_uris": [CALLBACK, second] })).await;
        let other = app(&server, json!({ "client_id": "other", "redirect_uris": [CALLBACK] })).await;
        let code = code_of(&signed_in(&Browser::new(&server), &request(&[])).await);
        is_refused(&exchange(&server, &other, &code, &[]).await, "no such code");
        let unknown = "A".repeat(43);
        let strange = exchange(&server, &other, &unknown, &[]).await;
        let foreign = exchange(&server, &other, &code, &[]).await;
        assert_eq!(foreign.body["error"], strange.body["error"], "a wrong client learns nothing");
        assert_eq!(foreign.body["error_description"], strange.body["error_description"]);
        for address in
            [second, "https://app.example/callback/", "https://APP.example/callback", "https://evil.example", ""]
        {
            is_refused(&exchange(&server, &web, &code, &[("redirect_uri", address)]).await, "redirect_uri is not");
        }
        for text in ["", "A", &code[1..], &format!("{code}A"), &code.to_lowercase(), &format!("{code}="), "\0"] {
            let reply = exchange(&server, &web, text, &[]).await;
            assert!(
                matches!(reply.body["error"].as_str(), Some("invalid_grant" | "invalid_request")),
                "{}",
                reply.text
            );
            assert_eq!(reply.status, 400, "{}", reply.text);
        }
        server.clock.advance(Duration::from_millis(59_900));
        exchange(&server, &web, &code, &[]).await.is(200);
        let browser = Browser::new(&server);
        let code = code_of(&browser.submit(&browser.open(&request(&[])).await, &ALICE).await.is(303));
        server.clock.advance(Duration::from_secs(60));
        is_refused(&exchange(&server, &web, &code, &[]).await, "has expired");
    });
}

/// Codes and the secrets of sign-ins are worth nothing to whoever reads the database.
#[test]
fn codes_and_cookies_from_the_database() {
    on_each_database(async |server: Server| {
        app(&server, json!({})).await;
        let browser = Browser::new(&server);
        let code = code_of(&signed_in(&browser, &request(&[])).await);
        let secret = browser.cookie("latchkey").unwrap();
        let visit = browser.cookie("latchkey-visit").unwrap();
        let mut server = server;
        server.halt().await;
        let dump = server.database().dump();
        let holds = |text: &[u8]| dump.windows(text.len()).any(|window| window == text);
        assert!(holds(b"sign_in_began"), "the dump holds what there is");
        for secret in [&code, &secret, &visit] {
            use base64::Engine as _;
            let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(secret).unwrap();
            let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!holds(secret.as_bytes()) && !holds(&raw) && !holds(hex.as_bytes()));
        }
        assert_ne!(Value::from(code), Value::Null);
    });
}
