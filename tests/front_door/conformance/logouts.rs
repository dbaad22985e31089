//! The modules of the plan *RP-Initiated Logout*.

use serde_json::{Value, json};

use super::plan::{Plan, settings};
use super::{Run, module_of};
use crate::support::assertions::ClientKey;
use crate::support::browser::Page;
use crate::support::forge::segment;
use crate::support::people::{claims, header};
use crate::support::{Server, on_each_database_with};

/// The parameters of a request to log out.
type Parameters = Vec<(&'static str, String)>;

/// As long as the suite's.
fn state() -> String {
    "state-of-128-characters-".chars().cycle().take(128).collect()
}

/// What a good request says, with the ID token of the login.
fn good(plan: &Plan, id_token: &str) -> Parameters {
    let hint = ("id_token_hint", id_token.to_owned());
    vec![hint, ("post_logout_redirect_uri", plan.after_logout()), ("state", state())]
}

/// The same with another value of one parameter, or without it.
fn with(plan: &Plan, id_token: &str, name: &str, value: Option<String>) -> Parameters {
    let all = good(plan, id_token).into_iter();
    all.filter_map(|(own, given)| if own == name { Some((own, value.clone()?)) } else { Some((own, given)) }).collect()
}

/// Runs a module: a login, then the logout that it asks for, then a look at where the browser is and whether anybody is
/// still signed in there.
fn logout(name: &str, parameters: impl Fn(&Plan, &str) -> Parameters, ends: impl Fn(&Run<'_>, &Page) -> bool) {
    module_of(&[false], name, async |run: Run<'_>| {
        let done = run.happy(&[]).await;
        let parameters = parameters(run.plan, &done.id_token.0);
        let url = reqwest::Url::parse_with_params("http://x/", parameters).unwrap();
        let page = run.visit(&format!("/oauth2/logout?{}", url.query().unwrap_or_default())).await;
        let signed_in = ends(&run, &page);
        let silent = run.browser.open(&run.request(&[("prompt", "none")])).await;
        if signed_in {
            run.code(&silent);
        } else {
            assert_eq!(run.error(&silent), "login_required");
        }
    });
}

/// Nobody is redirected: there is an error page, or the user is asked.
#[track_caller]
fn stays(run: &Run<'_>, page: &Page) -> bool {
    assert!(run.address(page).starts_with(&format!("{}/oauth2/logout?", run.plan.issuer())), "{page:?}");
    let is_error = page.status == 400 && page.html.contains("<h1>We don’t know where this came from</h1>");
    let is_question = page.status == 200 && page.html.contains("id=\"confirm\"");
    assert!(is_error || is_question, "{page:?}");
    true
}

/// The user is told to be signed out.
#[track_caller]
fn is_told(run: &Run<'_>, page: &Page) -> bool {
    assert!(run.address(page).starts_with(run.plan.issuer()), "{page:?}");
    assert!(page.status == 200 && page.html.contains("signed out</h1>"), "{page:?}");
    false
}

/// The browser is back at the client.
#[track_caller]
fn is_back(run: &Run<'_>, page: &Page, state: Option<String>) -> bool {
    assert_eq!(page.sent_to(&run.plan.after_logout()).get("state"), state.as_ref());
    false
}

#[test]
fn oidcc_rp_initiated_logout_discovery_endpoint_verification() {
    let plan = Plan::read();
    on_each_database_with(settings, async |server: Server| {
        let metadata = server.get("/.well-known/openid-configuration").await.body;
        let endpoint = metadata["end_session_endpoint"].as_str().unwrap();
        assert_eq!(endpoint, format!("{}/oauth2/logout", plan.issuer()));
    });
}

#[test]
fn oidcc_rp_initiated_logout() {
    logout("oidcc-rp-initiated-logout", good, |run, page| is_back(run, page, Some(state())));
}

#[test]
fn oidcc_rp_initiated_logout_no_state() {
    let without = |plan: &Plan, id_token: &str| with(plan, id_token, "state", None);
    logout("oidcc-rp-initiated-logout-no-state", without, |run, page| is_back(run, page, None));
}

#[test]
fn oidcc_rp_initiated_logout_bad_post_logout_redirect_uri() {
    let other = |plan: &Plan, id_token: &str| {
        let uri = plan.after_logout().replace("post_logout_redirect", "unregistered");
        with(plan, id_token, "post_logout_redirect_uri", Some(uri))
    };
    logout("oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", other, stays);
}

#[test]
fn oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri() {
    let added = |plan: &Plan, id_token: &str| {
        with(plan, id_token, "post_logout_redirect_uri", Some(plan.after_logout() + "?foo=bar"))
    };
    logout("oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", added, stays);
}

#[test]
fn oidcc_rp_initiated_logout_modified_id_token_hint() {
    let unsigned = |plan: &Plan, id_token: &str| {
        let head = segment(&json!({ "alg": "none" }).to_string());
        let hint = format!("{head}.{}.", id_token.split('.').nth(1).unwrap());
        with(plan, id_token, "id_token_hint", Some(hint))
    };
    logout("oidcc-rp-initiated-logout-modified-id-token-hint", unsigned, stays);
}

#[test]
fn oidcc_rp_initiated_logout_bad_id_token_hint() {
    let key = ClientKey::rsa("somebody else's");
    let foreign = |plan: &Plan, id_token: &str| {
        let (head, said): (Value, Value) = (header(id_token), claims(id_token));
        with(plan, id_token, "id_token_hint", Some(key.sign_as(&head, "RS256", &said)))
    };
    logout("oidcc-rp-initiated-logout-bad-id-token-hint", foreign, stays);
}

#[test]
fn oidcc_rp_initiated_logout_no_id_token_hint() {
    let without = |plan: &Plan, id_token: &str| with(plan, id_token, "id_token_hint", None);
    logout("oidcc-rp-initiated-logout-no-id-token-hint", without, stays);
}

#[test]
fn oidcc_rp_initiated_logout_no_params() {
    logout("oidcc-rp-initiated-logout-no-params", |_, _| Vec::new(), is_told);
}

#[test]
fn oidcc_rp_initiated_logout_no_post_logout_redirect_uri() {
    let without = |plan: &Plan, id_token: &str| with(plan, id_token, "post_logout_redirect_uri", None);
    logout("oidcc-rp-initiated-logout-no-post-logout-redirect-uri", without, is_told);
}

#[test]
fn oidcc_rp_initiated_logout_only_state() {
    logout("oidcc-rp-initiated-logout-only-state", |_, _| vec![("state", state())], is_told);
}
