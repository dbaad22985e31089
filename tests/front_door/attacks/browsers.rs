//! What another site, a sub-domain or a borrowed browser could do to somebody who signs in here.

use serde_json::json;

use super::{OUT_OF_DATE, stopped};
use crate::authorize::pages::{ALLOW, BOB};
use crate::authorize::{ALICE, CALLBACK, answered, app, request, signed_in};
use crate::support::browser::{Browser, Page};
use crate::support::{Server, on_each_database, on_each_database_with};

/// The value of a form's hidden field.
fn hidden(page: &Page, name: &str) -> String {
    page.hidden().into_iter().find(|(known, _)| known == name).unwrap().1
}

async fn silent(browser: &Browser<'_>) -> String {
    let parameters = answered(&browser.get(&request(&[("prompt", "none")])).await.is(303));
    parameters.get("error").cloned().unwrap_or_default()
}

/// The victim's browser is to be signed in as somebody else, who reads later what the victim leaves there.
#[test]
fn csrf_on_login() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        server.user("bob").await;
        let attacker = Browser::new(&server);
        let of_attacker = attacker.open(&request(&[])).await.is(200);
        let signed = Browser::new(&server);
        let consent = signed.submit(&signed.open(&request(&[])).await, &ALICE).await.is(200);
        let before = server.audit("sign_in_began").await.len();
        let check = async |browser: &Browser<'_>, page: &Page, csrf: &str, what: &str| {
            let sent = browser.send_form(page, &[BOB[0], BOB[1], ("csrf", csrf)]).await.is(400);
            assert!(sent.html.contains("This page was open for too long."), "{what}: {}", sent.html);
            assert!(!sent.html.contains("bob"), "{what}");
            assert_eq!((sent.location.as_deref(), browser.cookie("latchkey")), (None, None), "{what}");
        };
        let own = hidden(&of_attacker, "csrf");
        let fresh = || Browser::new(&server);
        check(&fresh(), &of_attacker, "", "no cookie and no token").await;
        check(&fresh(), &of_attacker, &own, "the attacker's token without its cookie").await;
        let victim = fresh();
        let login = victim.open(&request(&[("state", "victim")])).await.is(200);
        check(&victim, &of_attacker, &own, "the attacker's token beside the victim's cookie").await;
        check(&victim, &login, &own, "the attacker's token for the victim's ticket").await;
        check(&victim, &of_attacker, &hidden(&login, "csrf"), "the token of another ticket").await;
        check(&victim, &login, &hidden(&consent, "csrf"), "the token of another form").await;
        let bare = victim.open("/login").await.is(200);
        check(&victim, &login, &hidden(&bare, "csrf"), "the token of a sign-in without a request").await;
        check(&victim, &bare, &hidden(&login, "csrf"), "the token of a sign-in with one").await;
        check(&victim, &login, &own[1..], "half a token").await;
        let garbled: String = hidden(&login, "csrf").chars().rev().collect();
        check(&victim, &login, &garbled, "a garbled token").await;
        assert_eq!(server.audit("sign_in_began").await.len(), before);
        assert!(server.audit("login_failed").await.is_empty(), "no password was looked at");
        // The address alone signs nobody in either.
        let in_url = format!("{}&csrf={own}&username=bob&password=x", of_attacker.path);
        attacker.get(&in_url).await.is(200);
        victim.submit(&login, &ALICE).await.is(200);
    });
}

/// The victim is signed in, and the attacker's client is to be allowed.
#[test]
fn csrf_on_consent() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        server.user("bob").await;
        let victim = Browser::new(&server);
        let consent = victim.submit(&victim.open(&request(&[])).await, &ALICE).await.is(200);
        let other = victim.open(&request(&[("state", "other")])).await.is(200);
        let login = victim.open(&request(&[("prompt", "login")])).await.is(200);
        let attacker = Browser::new(&server);
        let of_attacker = attacker.submit(&attacker.open(&request(&[])).await, &BOB).await.is(200);
        // The same request, so that nothing but the person differs.
        let same = attacker.get(&consent.path).await.is(200);
        assert_eq!(hidden(&same, "ticket"), hidden(&consent, "ticket"));
        for (page, csrf, what) in [
            (&consent, String::new(), "no token"),
            (&consent, hidden(&same, "csrf"), "the attacker's token for the same ticket"),
            (&of_attacker, hidden(&of_attacker, "csrf"), "the attacker's whole form"),
            (&consent, hidden(&other, "csrf"), "the token of another ticket"),
            (&consent, hidden(&login, "csrf"), "the token of another form"),
            (&consent, "A".repeat(43), "a token out of thin air"),
        ] {
            for decision in ["allow", "deny"] {
                let sent = victim.send_form(page, &[("decision", decision), ("csrf", &csrf)]).await;
                println!("{what}");
                stopped(sent.shows_error(400, OUT_OF_DATE), what);
            }
        }
        let without_visit = Browser::new(&server);
        without_visit.set_cookie("latchkey", &victim.cookie("latchkey").unwrap());
        stopped(without_visit.send_form(&consent, &ALLOW).await, "signed in without a visit");
        let without_sign_in = Browser::new(&server);
        without_sign_in.set_cookie("latchkey-visit", &victim.cookie("latchkey-visit").unwrap());
        stopped(without_sign_in.send_form(&consent, &ALLOW).await, "a visit without a sign-in");
        let by_address = format!("{}&decision=allow&csrf={}", consent.path, hidden(&consent, "csrf"));
        assert!(victim.get(&by_address).await.is(200).html.contains("id=\"allow\""));
        assert!(server.audit("consent_granted").await.is_empty());
        assert_eq!(silent(&victim).await, "consent_required");
    });
}

/// Every page, whatever it says, stays out of frames, and runs nothing but the one script that posts an answer.
#[test]
fn clickjacking() {
    on_each_database_with(
        |settings| settings.pages.support = None,
        async |server: Server| {
            app(&server, json!({})).await;
            let browser = Browser::new(&server);
            let login = browser.open(&request(&[])).await.is(200);
            let refused = browser.send_form(&login, &[("username", "alice"), ("password", "x")]).await.is(400);
            let stale = browser.send_form(&login, &[ALICE[0], ALICE[1], ("csrf", "x")]).await.is(400);
            let consent = browser.submit(&login, &ALICE).await.is(200);
            let again = browser.open(&request(&[("prompt", "login")])).await.is(200);
            let stale_consent = browser.send_form(&consent, &[("csrf", "x")]).await.is(400);
            let posted = browser.open(&request(&[("response_mode", "form_post"), ("prompt", "none")])).await.is(200);
            let untrusted = browser.get(&request(&[("redirect_uri", "https://evil.example")])).await.is(400);
            let malformed = browser.get("/consent").await.is(400);
            let account = browser.get("/account").await.is(200);
            let question = browser.get("/oauth2/logout").await.is(200);
            let signed_out = browser.get("/logged-out").await.is(200);
            let bare_login = Browser::new(&server).get("/login").await.is(200);
            let missing = browser.get("/pages/nothing").await.is(404);
            let large = browser.post("/login", &[("ticket", &"x".repeat(100_000))]).await.is(413);
            let put = server.http.put(format!("{}/consent", server.url)).send().await.unwrap();
            assert_eq!(put.status(), 405);
            let put = put.headers().clone();
            let pages = [
                &login,
                &refused,
                &stale,
                &consent,
                &again,
                &stale_consent,
                &posted,
                &untrusted,
                &malformed,
                &missing,
                &large,
                &account,
                &question,
                &signed_out,
                &bare_login,
            ];
            for headers in pages.iter().map(|page| &page.headers).chain([&put]) {
                let is = |name: &str, value: &str| assert_eq!(headers[name], value, "{headers:?}");
                is("x-frame-options", "DENY");
                is("x-content-type-options", "nosniff");
                is("referrer-policy", "same-origin");
                is("cache-control", "no-store");
                is("content-type", "text/html; charset=utf-8");
                let policy = headers["content-security-policy"].to_str().unwrap();
                let directives: Vec<&str> = policy.split("; ").collect();
                for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
                    assert!(directives.contains(&directive), "{policy}");
                }
                assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
                assert!(!headers.contains_key("access-control-allow-origin"), "{headers:?}");
            }
            let scripts =
                |page: &Page| page.headers["content-security-policy"].to_str().unwrap().contains("script-src");
            assert!(scripts(&posted) && pages.iter().filter(|page| scripts(page)).count() == 1);
            // Redirects carry tickets and codes: nobody keeps them.
            let on_the_way = browser.get(&request(&[("prompt", "login")])).await.is(303);
            assert_eq!(on_the_way.headers["cache-control"], "no-store");
            server.clock.advance(std::time::Duration::from_secs(31 * 60));
            let expired = browser.get(&login.path).await.is(400);
            assert_eq!(expired.headers["x-frame-options"], "DENY");
        },
    );
}

/// A cookie that somebody else knows is worth nothing once a password was typed.
#[test]
fn session_fixation() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        server.user("bob").await;
        // Out of thin air.
        let planted = "P".repeat(42) + "A";
        let victim = Browser::new(&server);
        victim.set_cookie("latchkey", &planted);
        signed_in(&victim, &request(&[])).await.is(303);
        let attacker = Browser::new(&server);
        attacker.set_cookie("latchkey", &planted);
        assert_eq!(silent(&attacker).await, "login_required");

        // The attacker's own sign-in.
        let attacker = Browser::new(&server);
        signed_in_as_bob(&attacker).await;
        let planted = attacker.cookie("latchkey").unwrap();
        let victim = Browser::new(&server);
        victim.set_cookie("latchkey", &planted);
        let login = victim.open(&request(&[("prompt", "login")])).await.is(200);
        victim.submit(&login, &ALICE).await.is(303);
        assert_ne!(victim.cookie("latchkey"), Some(planted));
        assert_eq!(silent(&attacker).await, "login_required", "its sign-in has ended");

        // The same user: every password that is typed draws a new secret, and the old one is nobody's.
        let mut secrets = vec![victim.cookie("latchkey").unwrap()];
        for _ in 0..3 {
            let login = victim.open(&request(&[("prompt", "login")])).await.is(200);
            victim.submit(&login, &ALICE).await.is(303);
            secrets.push(victim.cookie("latchkey").unwrap());
        }
        for old in &secrets[..3] {
            let thief = Browser::new(&server);
            thief.set_cookie("latchkey", old);
            assert_eq!(silent(&thief).await, "login_required");
        }
        secrets.sort();
        secrets.dedup();
        assert_eq!(secrets.len(), 4);
        assert_eq!(silent(&victim).await, "");
    });
}

async fn signed_in_as_bob(browser: &Browser<'_>) {
    let consent = browser.submit(&browser.open(&request(&[])).await, &BOB).await.is(200);
    browser.submit(&consent, &ALLOW).await.is(303);
}

/// A sub-domain has set a second cookie of the same name: which one is the browser's own cannot be told.
#[test]
fn cookie_tossing() {
    on_each_database(async |server| {
        app(&server, json!({})).await;
        server.user("bob").await;
        let (victim, attacker) = (Browser::new(&server), Browser::new(&server));
        signed_in(&victim, &request(&[])).await.is(303);
        signed_in_as_bob(&attacker).await;
        let path = request(&[("prompt", "none")]);
        let tossed = |browser: &Browser<'_>| format!("latchkey={}", browser.cookie("latchkey").unwrap());
        let both = format!("{}; {}", tossed(&attacker), tossed(&victim));
        for (browser, cookies, error) in [
            (&victim, tossed(&attacker), "login_required"),
            (&attacker, tossed(&victim), "login_required"),
            (&Browser::new(&server), both, "login_required"),
            (&victim, "latchkey=garbage".into(), "login_required"),
            (&victim, tossed(&victim), ""),
            (&victim, "other=x; latchkey-visit=y".into(), ""),
        ] {
            let answer = answered(&browser.get_with(&path, &[("cookie", &cookies)]).await.is(303));
            assert_eq!(answer.get("error").map_or("", String::as_str), error, "{cookies}");
        }
        // The same with the visit that forms are tied to.
        let login = victim.open(&request(&[("prompt", "login")])).await.is(200);
        let form: Vec<(String, String)> = [hidden(&login, "ticket"), hidden(&login, "csrf")]
            .into_iter()
            .zip(["ticket", "csrf"])
            .map(|(value, name)| (name.to_owned(), value))
            .chain(ALICE.map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect();
        let visits = [&victim, &attacker].map(|it| format!("latchkey-visit={}", it.cookie("latchkey-visit").unwrap()));
        let sent = server.http.post(format!("{}/login", server.url)).header("cookie", visits.join("; "));
        assert_eq!(sent.form(&form).send().await.unwrap().status(), 400);
    });
}

/// Over https neither a sub-domain nor plain http can set what counts.
#[test]
fn cookies_from_a_sibling_domain() {
    let issuer = "https://id.example";
    on_each_database_with(
        |settings| settings.server.issuer = issuer.into(),
        async |server: Server| {
            app(&server, json!({})).await;
            let browser = Browser::new(&server);
            let login = browser.open(&request(&[])).await.is(200);
            let set = login.headers["set-cookie"].to_str().unwrap();
            assert!(set.starts_with("__Host-latchkey-visit="), "{set}");
            assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{set}");
            let entered = browser.send_form(&login, &ALICE).await.is(303);
            let set = entered.headers["set-cookie"].to_str().unwrap();
            assert!(set.starts_with("__Host-latchkey="), "{set}");
            assert!(set.contains("; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age="), "{set}");
            let consent = browser.follow(entered).await.is(200);
            let back = browser.submit(&consent, &ALLOW).await.is(303).sent_to(CALLBACK);
            assert_eq!(back["iss"], issuer);
            let sibling = Browser::new(&server);
            sibling.set_cookie("latchkey", &browser.cookie("__Host-latchkey").unwrap());
            let silent = sibling.get(&request(&[("prompt", "none")])).await.is(303).sent_to(CALLBACK);
            assert_eq!(silent["error"], "login_required");
        },
    );
}
