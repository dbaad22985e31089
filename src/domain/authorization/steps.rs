//! What a browser must go through before its request gets a code (OpenID Connect Core sections 3.1.2.3 and 3.1.2.4).
//!
//! Nothing is remembered between the steps but the request: that somebody has signed in or consented *for it* is told by
//! the times of both, which are later than its own. So any node takes the next step, a page may be loaded twice, and two
//! tabs do not know each other.

use std::time::Duration;

use super::AuthorizationRequest;
use crate::domain::client::Client;
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::Sub;
use crate::domain::redirect_uri::{self, Kind};
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;

/// Who is signed in at this browser.
#[derive(Clone, Copy, Debug)]
pub struct SignedIn<'a> {
    pub sub: &'a Sub,
    /// When the password was typed.
    pub auth_time: Timestamp,
}

/// What the user has allowed the client before.
#[derive(Clone, Copy, Debug)]
pub struct Consented<'a> {
    pub scope: &'a Scope,
    /// When last.
    pub at: Timestamp,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    SignIn,
    Consent,
    Code,
}

/// Whether the sign-in is by the right user and fresh enough for the request.
pub fn serves(request: &AuthorizationRequest, signed_in: SignedIn<'_>, now: Timestamp) -> bool {
    let is_another = request.sub.as_ref().is_some_and(|sub| sub != signed_in.sub);
    if is_another || request.claims_request().is_some_and(|claims| !claims.admits(signed_in.sub.as_str())) {
        return false;
    }
    if signed_in.auth_time >= request.started_at {
        return true;
    }
    let young = |age: u32| now.since(signed_in.auth_time) <= Duration::from_secs(u64::from(age));
    !request.prompt.login && request.max_age.is_none_or(young)
}

/// What comes next for whoever is signed in.
///
/// # Errors
/// A page would have to be shown, and `prompt=none` forbids it: `login_required` or `consent_required`.
pub fn next(
    request: &AuthorizationRequest,
    client: &Client,
    signed_in: Option<SignedIn<'_>>,
    consented: Option<Consented<'_>>,
    now: Timestamp,
) -> Result<Step, OAuthError> {
    let step = match signed_in {
        Some(signed_in) if serves(request, signed_in, now) => {
            if is_consented(request, client, consented) {
                Step::Code
            } else {
                Step::Consent
            }
        }
        _ => Step::SignIn,
    };
    match step {
        Step::SignIn if request.prompt.none => {
            Err(OAuthError::new(Code::LoginRequired, "the user must sign in, and prompt=none forbids the page"))
        }
        Step::Consent if request.prompt.none => {
            Err(OAuthError::new(Code::ConsentRequired, "the user must consent, and prompt=none forbids the page"))
        }
        step => Ok(step),
    }
}

fn is_consented(request: &AuthorizationRequest, client: &Client, consented: Option<Consented<'_>>) -> bool {
    if client.skip_consent && !request.prompt.consent {
        return true;
    }
    let asked = request.asked(client);
    let Some(consented) = consented.filter(|it| asked.first_outside(it.scope).is_none()) else { return false };
    let asked_for_it = consented.at >= request.started_at;
    let may_remember = !request.prompt.consent && !could_be_anybody(request, client);
    asked_for_it || may_remember
}

/// Whether any program on the user's machine could have sent the request and would get the answer: a public client behind
/// a scheme or a port that anybody may take. Its user is asked each time (RFC 8252 section 8.6).
fn could_be_anybody(request: &AuthorizationRequest, client: &Client) -> bool {
    client.is_public() && redirect_uri::kind_of(&request.redirect_uri) != Ok(Kind::Web)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::authorization::Prompt;
    use crate::domain::client::{AuthMethod, ResponseMode};
    use crate::domain::ids::ClientId;

    const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn request() -> AuthorizationRequest {
        AuthorizationRequest {
            client_id: ClientId::new("web"),
            redirect_uri: "https://app.example/callback".into(),
            response_mode: ResponseMode::Query,
            scope: scope("openid email"),
            audience: Vec::new(),
            state: None,
            nonce: None,
            code_challenge: None,
            prompt: Prompt::default(),
            max_age: None,
            login_hint: None,
            sub: None,
            ui_locales: None,
            claims: None,
            acr: None,
            started_at: START,
        }
    }

    fn client() -> Client {
        Client::blank(ClientId::new("web"), START)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(START.seconds() + seconds)
    }

    /// What comes next when somebody signed in and consented so many seconds after the request; before it, where negative.
    fn after(
        request: &AuthorizationRequest,
        client: &Client,
        signed_in: Option<i64>,
        consented: Option<i64>,
    ) -> Result<Step, Code> {
        let (sub, allowed) = (Sub::new("usr_1"), scope("openid email phone"));
        let now = at(signed_in.unwrap_or(0).max(consented.unwrap_or(0)).max(0));
        let signed_in = signed_in.map(|seconds| SignedIn { sub: &sub, auth_time: at(seconds) });
        let consented = consented.map(|seconds| Consented { scope: &allowed, at: at(seconds) });
        next(request, client, signed_in, consented, now).map_err(|error| error.code)
    }

    #[test]
    fn whoever_is_signed_in_and_has_consented_goes_on() {
        let web = client();
        assert_eq!(after(&request(), &web, None, None), Ok(Step::SignIn));
        assert_eq!(after(&request(), &web, Some(-3600), None), Ok(Step::Consent));
        assert_eq!(after(&request(), &web, Some(-3600), Some(-3600)), Ok(Step::Code));
        let more = AuthorizationRequest { scope: scope("openid address"), ..request() };
        assert_eq!(after(&more, &web, Some(-3600), Some(-3600)), Ok(Step::Consent), "more than was allowed");
    }

    #[test]
    fn claims_are_asked_for_like_their_scopes() {
        let web = Client { scope: scope("openid email address"), ..client() };
        let claims = |name: &str| AuthorizationRequest {
            claims: Some(format!(r#"{{"userinfo":{{"{name}":null}}}}"#)),
            ..request()
        };
        assert_eq!(after(&claims("email"), &web, Some(-1), Some(-1)), Ok(Step::Code));
        assert_eq!(after(&claims("address"), &web, Some(-1), Some(-1)), Ok(Step::Consent));
        assert_eq!(after(&claims("birthdate"), &web, Some(-1), Some(-1)), Ok(Step::Code), "the client never gets it");
    }

    #[test]
    fn a_prompt_is_met_by_what_is_done_after_it() {
        let web = client();
        let login = AuthorizationRequest { prompt: Prompt { login: true, ..Prompt::default() }, ..request() };
        assert_eq!(after(&login, &web, Some(-1), Some(-1)), Ok(Step::SignIn));
        assert_eq!(after(&login, &web, Some(5), Some(-1)), Ok(Step::Code));
        let consent = AuthorizationRequest { prompt: Prompt { consent: true, ..Prompt::default() }, ..request() };
        assert_eq!(after(&consent, &web, Some(-1), Some(-1)), Ok(Step::Consent));
        assert_eq!(after(&consent, &web, Some(-1), Some(5)), Ok(Step::Code));
        let skipping = Client { skip_consent: true, ..web };
        assert_eq!(after(&request(), &skipping, Some(-1), None), Ok(Step::Code));
        assert_eq!(after(&consent, &skipping, Some(-1), None), Ok(Step::Consent), "it was asked for");
    }

    #[test]
    fn max_age_is_counted_from_the_password() {
        let web = client();
        let young = AuthorizationRequest { max_age: Some(10), ..request() };
        assert_eq!(after(&young, &web, Some(-10), Some(-10)), Ok(Step::Code));
        assert_eq!(after(&young, &web, Some(-11), Some(-11)), Ok(Step::SignIn));
        let now = AuthorizationRequest { max_age: Some(0), ..request() };
        assert_eq!(after(&now, &web, Some(-1), Some(-1)), Ok(Step::SignIn));
        assert_eq!(after(&now, &web, Some(30), Some(300)), Ok(Step::Code), "however long the page stood there");
    }

    #[test]
    fn nobody_else_will_do() {
        let web = client();
        let other = AuthorizationRequest { sub: Some(Sub::new("usr_2")), ..request() };
        assert_eq!(after(&other, &web, Some(-1), Some(-1)), Ok(Step::SignIn));
        assert_eq!(after(&other, &web, Some(1), Some(-1)), Ok(Step::SignIn), "signed in for it, as somebody else");
        let same = AuthorizationRequest { sub: Some(Sub::new("usr_1")), ..request() };
        assert_eq!(after(&same, &web, Some(-1), Some(-1)), Ok(Step::Code));
        for (sub, step) in [("usr_1", Step::Code), ("usr_2", Step::SignIn)] {
            let claims = Some(format!(r#"{{"id_token":{{"sub":{{"value":"{sub}"}}}}}}"#));
            let insisting = AuthorizationRequest { claims, ..request() };
            assert_eq!(after(&insisting, &web, Some(-1), Some(-1)), Ok(step));
        }
    }

    #[test]
    fn a_program_that_could_be_anybody_asks_each_time() {
        let confidential = client();
        let public = Client { auth_method: AuthMethod::None, ..client() };
        for (uri, expected) in [
            ("https://app.example/callback", Step::Code),
            ("http://127.0.0.1:4711/callback", Step::Consent),
            ("http://[::1]/callback", Step::Consent),
            ("com.example.app:/callback", Step::Consent),
        ] {
            let request = AuthorizationRequest { redirect_uri: uri.into(), ..request() };
            assert_eq!(after(&request, &public, Some(-9), Some(-9)), Ok(expected), "{uri}");
            assert_eq!(after(&request, &public, Some(-9), Some(0)), Ok(Step::Code), "asked for {uri}");
            assert_eq!(after(&request, &confidential, Some(-9), Some(-9)), Ok(Step::Code), "it has a secret");
        }
    }

    proptest! {
        #[test]
        fn no_code_without_a_sign_in_and_no_page_where_none_may_be(
            (none, login, consent, skip_consent) in any::<(bool, bool, bool, bool)>(),
            max_age in prop::option::of(0..5000_u32),
            signed_in in prop::option::of(-5000..5000_i64),
            consented in prop::option::of(-5000..5000_i64),
        ) {
            let prompt = Prompt { none, login: login && !none, consent: consent && !none };
            let request = AuthorizationRequest { prompt, max_age, ..request() };
            let client = Client { skip_consent, ..client() };
            let now = signed_in.unwrap_or(0).max(consented.unwrap_or(0)).max(0);
            match after(&request, &client, signed_in, consented) {
                Ok(Step::Code) => {
                    let auth_time = signed_in.unwrap();
                    prop_assert!(skip_consent || consented.is_some());
                    prop_assert!(!prompt.login || auth_time >= 0);
                    prop_assert!(!prompt.consent || consented.unwrap() >= 0);
                    prop_assert!(max_age.is_none_or(|age| auth_time >= 0 || now - auth_time <= i64::from(age)));
                }
                Ok(Step::SignIn | Step::Consent) => prop_assert!(!none),
                Err(code) => prop_assert!(none && matches!(code, Code::LoginRequired | Code::ConsentRequired)),
            }
        }
    }
}
