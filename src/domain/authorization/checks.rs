//! The table that an authorization request is judged by: one named check per rule, in the order in which faults are told.
//!
//! Before the table comes what decides whether there is anybody to answer. Faults there are told on a page, for a redirect
//! to an address that nobody registered is what an attacker wants. All others go to the client.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::parameters::{LARGEST_REQUEST, Parameters};
use super::{AuthorizationRequest, Destination, Prompt};
use crate::domain::client::{Client, GrantType, ResponseMode};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, Sub};
use crate::domain::oidc_claims::{ClaimsRequest, acr};
use crate::domain::redirect_uri;
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::domain::wish::Wish;

/// The longest `nonce`, `login_hint` and `ui_locales`, in bytes.
const LONGEST: usize = 1 << 10;

/// Why nobody is answered by a redirect: told to the person at the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// More than [`LARGEST_REQUEST`] bytes.
    TooLarge,
    /// It comes more than once.
    Repeated(&'static str),
    ClientMissing,
    ClientUnknown,
    ClientDisabled,
    /// The client is not registered for the code flow.
    NoCodeFlow,
    RedirectMissing,
    /// It is none of the client's.
    RedirectUnknown,
}

/// What came of a request.
#[derive(Debug)]
pub enum Judged {
    Good(Box<AuthorizationRequest>),
    /// The client is told.
    Refused {
        destination: Destination,
        error: OAuthError,
    },
    /// The person is told.
    Unanswerable(Unanswerable),
}

/// What is known beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub issuer: &'a str,
    /// The user of the `id_token_hint`, where there is one; `Some(None)` where it is no ID token of this client's.
    pub hint: Option<Option<&'a Sub>>,
    pub now: Timestamp,
}

/// What the checks work on.
struct Draft<'a> {
    parameters: &'a Parameters,
    client: &'a Client,
    known: Known<'a>,
    request: AuthorizationRequest,
}

type Check = fn(&mut Draft<'_>) -> Result<(), OAuthError>;

/// Every check whose fault goes to the client.
const TABLE: [(&str, Check); 16] = [
    ("no parameter comes twice", repeated),
    ("no parameter has a NUL", nul),
    ("there is no request object", request_object),
    ("response_type is code", response_type),
    ("response_mode is one of the client's", response_mode),
    ("there is a code_challenge where it must be, by S256", pkce),
    ("scope is within the client's", scope),
    ("resource is within its audience", resource),
    ("prompt makes sense", prompt),
    ("max_age is a number of seconds", max_age),
    ("nonce is not too long", nonce),
    ("login_hint and ui_locales are not too long", hints),
    ("display is known", display),
    ("claims can be read", claims),
    ("acr can be met where it must", authentication_context),
    ("id_token_hint is one of ours", id_token_hint),
];

/// Whose request it is, before anything is looked up.
///
/// # Errors
/// Nobody is named, or more than one.
pub fn client_id(parameters: &Parameters) -> Result<ClientId, Unanswerable> {
    if parameters.size() > LARGEST_REQUEST {
        return Err(Unanswerable::TooLarge);
    }
    if parameters.repeats("client_id") {
        return Err(Unanswerable::Repeated("client_id"));
    }
    parameters.get("client_id").map(ClientId::new).ok_or(Unanswerable::ClientMissing)
}

/// Judges a request of `client`, the one that [`client_id`] names.
pub fn judge(parameters: &Parameters, client: Option<&Client>, known: Known<'_>) -> Judged {
    let (client, redirect_uri) = match addressee(parameters, client) {
        Ok(addressee) => addressee,
        Err(fault) => return Judged::Unanswerable(fault),
    };
    let mut draft = Draft { parameters, client, known, request: blank(client, redirect_uri, known.now) };
    draft.request.state = parameters.get("state").map(str::to_owned);
    // A fault that comes before the check of the mode is told in the mode that was asked for too.
    draft.request.response_mode = draft.wanted_mode().unwrap_or(ResponseMode::Query);
    for (_, check) in TABLE {
        if let Err(error) = check(&mut draft) {
            return Judged::Refused { destination: draft.request.destination(), error };
        }
    }
    Judged::Good(Box::new(draft.request))
}

/// The client, and an address of its own.
fn addressee<'a>(parameters: &Parameters, client: Option<&'a Client>) -> Result<(&'a Client, String), Unanswerable> {
    let client = client.ok_or(Unanswerable::ClientUnknown)?;
    if client.disabled {
        return Err(Unanswerable::ClientDisabled);
    }
    if !client.may_use(GrantType::AuthorizationCode) {
        return Err(Unanswerable::NoCodeFlow);
    }
    if parameters.repeats("redirect_uri") {
        return Err(Unanswerable::Repeated("redirect_uri"));
    }
    // RFC 6749 lets a client with one address leave it out. OpenID Connect does not.
    let given = parameters.get("redirect_uri").ok_or(Unanswerable::RedirectMissing)?;
    if !client.redirect_uris.iter().any(|registered| redirect_uri::matches(registered, given)) {
        return Err(Unanswerable::RedirectUnknown);
    }
    Ok((client, given.to_owned()))
}

fn blank(client: &Client, redirect_uri: String, now: Timestamp) -> AuthorizationRequest {
    AuthorizationRequest {
        client_id: client.client_id.clone(),
        redirect_uri,
        response_mode: ResponseMode::Query,
        scope: Scope::default(),
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
        started_at: now,
    }
}

impl Draft<'_> {
    fn wanted_mode(&self) -> Result<ResponseMode, OAuthError> {
        let given = self.parameters.get("response_mode").unwrap_or("query");
        let own = &self.client.response_modes;
        ResponseMode::parse(given).filter(|mode| own.contains(mode)).ok_or_else(|| {
            let own: Vec<&str> = own.iter().map(|mode| mode.as_str()).collect();
            refused(format!("response_mode {:?} is none of the client's; these are: {}", clip(given), own.join(", ")))
        })
    }

    fn wish(&self) -> Result<Wish, OAuthError> {
        Wish::read(self.parameters.get("scope"), self.parameters.all("resource"), self.client)
    }

    fn short(&self, name: &str) -> Result<Option<String>, OAuthError> {
        match self.parameters.get(name) {
            Some(value) if value.len() > LONGEST => {
                Err(refused(format!("{name} has {} bytes; at most {LONGEST} are taken", value.len())))
            }
            value => Ok(value.map(str::to_owned)),
        }
    }
}

fn repeated(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let Some(name) = draft.parameters.repeated() else { return Ok(()) };
    if name == "state" {
        // Which of them to send back is anybody's guess.
        draft.request.state = None;
    }
    Err(refused(format!("the parameter {name} comes more than once")))
}

/// What no database keeps and no client needs.
fn nul(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    match draft.parameters.with_nul() {
        Some(name) => Err(refused(format!("the parameter {name} has a NUL character"))),
        None => Ok(()),
    }
}

fn request_object(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let (code, text) = if let Some(object) = draft.parameters.get("request") {
        // A client that asks for its mode inside the object alone may take no other, so it is told there.
        if let Some(mode) = mode_inside(object).filter(|mode| draft.client.response_modes.contains(mode)) {
            draft.request.response_mode = mode;
        }
        (Code::RequestNotSupported, "request objects are not taken; send the parameters themselves")
    } else if draft.parameters.get("request_uri").is_some() {
        (Code::RequestUriNotSupported, "request_uri is not taken; send the parameters themselves")
    } else if draft.parameters.get("registration").is_some() {
        (Code::RegistrationNotSupported, "registration is not taken; an operator registers clients")
    } else {
        return Ok(());
    };
    Err(OAuthError::new(code, text))
}

/// The `response_mode` in a request object (RFC 9101), signed or not: it binds no more than the one in the query would.
fn mode_inside(object: &str) -> Option<ResponseMode> {
    let claims = URL_SAFE_NO_PAD.decode(object.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    ResponseMode::parse(claims.get("response_mode")?.as_str()?)
}

fn response_type(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    match draft.parameters.get("response_type") {
        Some("code") => Ok(()),
        Some(other) => Err(OAuthError::new(
            Code::UnsupportedResponseType,
            format!("response_type {:?} is not supported; code is", clip(other)),
        )),
        None => Err(refused("response_type is missing; code is supported")),
    }
}

fn response_mode(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    draft.request.response_mode = draft.wanted_mode()?;
    Ok(())
}

/// RFC 7636 section 4.4.1, without `plain`, which protects from nobody who can read the request.
fn pkce(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let method = draft.parameters.get("code_challenge_method");
    let Some(challenge) = draft.parameters.get("code_challenge") else {
        if method.is_some() {
            return Err(refused("code_challenge_method comes without a code_challenge"));
        }
        if draft.client.require_pkce || draft.client.is_public() {
            return Err(refused("code_challenge is missing: this client must use PKCE with S256 (RFC 7636)"));
        }
        return Ok(());
    };
    if method != Some("S256") {
        let given = clip(method.unwrap_or("plain"));
        return Err(refused(format!("code_challenge_method {given:?} is not supported; S256 is")));
    }
    let is_hash =
        challenge.len() == 43 && challenge.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !is_hash {
        return Err(refused("code_challenge is no SHA-256 in base64url without padding, which has 43 characters"));
    }
    draft.request.code_challenge = Some(challenge.to_owned());
    Ok(())
}

fn scope(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    draft.request.scope = draft.wish()?.scope_for(draft.client)?;
    Ok(())
}

fn resource(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let audience = draft.wish()?.audience_for(&draft.request.scope, draft.client, draft.known.issuer)?;
    draft.request.audience = audience;
    Ok(())
}

fn prompt(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let mut prompt = Prompt::default();
    for name in draft.parameters.get("prompt").unwrap_or_default().split(' ').filter(|name| !name.is_empty()) {
        match name {
            "none" => prompt.none = true,
            "login" | "select_account" => prompt.login = true,
            "consent" => prompt.consent = true,
            other => {
                let other = clip(other);
                return Err(refused(format!(
                    "prompt {other:?} is not supported; none, login, consent and select_account are"
                )));
            }
        }
    }
    if prompt.none && (prompt.login || prompt.consent) {
        return Err(refused("prompt=none forbids every page, and another value beside it asks for one"));
    }
    draft.request.prompt = prompt;
    Ok(())
}

fn max_age(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let Some(given) = draft.parameters.get("max_age") else { return Ok(()) };
    let is_number = given.bytes().all(|b| b.is_ascii_digit());
    let seconds = given.parse().ok().filter(|_| is_number);
    let seconds = seconds.ok_or_else(|| refused(format!("max_age {:?} is no number of seconds", clip(given))))?;
    draft.request.max_age = Some(seconds);
    Ok(())
}

fn nonce(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    draft.request.nonce = draft.short("nonce")?;
    Ok(())
}

fn hints(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    draft.request.login_hint = draft.short("login_hint")?;
    draft.request.ui_locales = draft.short("ui_locales")?;
    Ok(())
}

/// The pages have one look, which fits them all.
fn display(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    match draft.parameters.get("display") {
        None | Some("page" | "popup" | "touch" | "wap") => Ok(()),
        Some(other) => {
            Err(refused(format!("display {:?} is not supported; page, popup, touch and wap are", clip(other))))
        }
    }
}

fn claims(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let Some(text) = draft.parameters.get("claims") else { return Ok(()) };
    ClaimsRequest::parse(text).map_err(|fault| refused(fault.to_string()))?;
    draft.request.claims = Some(text.to_owned());
    Ok(())
}

/// `acr_values` is voluntary (OpenID Connect Core section 3.1.2.1) and keeps nobody out; an essential `acr` does.
fn authentication_context(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let wanted = acr(draft.parameters.get("acr_values"), draft.request.claims_request().as_ref())
        .map_err(|unmet| OAuthError::new(Code::UnmetAuthenticationRequirements, unmet.to_string()))?;
    draft.request.acr = wanted.map(str::to_owned);
    Ok(())
}

fn id_token_hint(draft: &mut Draft<'_>) -> Result<(), OAuthError> {
    let Some(hint) = draft.known.hint else { return Ok(()) };
    let sub = hint.ok_or_else(|| refused("id_token_hint is no ID token that this client was given here"))?;
    draft.request.sub = Some(sub.clone());
    Ok(())
}

fn refused(text: impl Into<Cow<'static, str>>) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, text)
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::client::AuthMethod;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const ISSUER: &str = "https://id.example";
    const CALLBACK: &str = "https://app.example/callback";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn client() -> Client {
        Client {
            redirect_uris: vec![CALLBACK.into()],
            scope: Scope::parse("openid email admin").unwrap(),
            grant_types: vec![GrantType::AuthorizationCode],
            ..Client::blank(ClientId::new("web"), NOW)
        }
    }

    fn good() -> Vec<(&'static str, &'static str)> {
        vec![
            ("client_id", "web"),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid"),
            ("state", "s"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]
    }

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    /// The good request with some parameters set, or taken away where the value is empty.
    fn with(changes: &[(&'static str, &'static str)]) -> Parameters {
        let kept = good().into_iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        parameters(&kept.chain(changes.iter().copied()).collect::<Vec<_>>())
    }

    fn known() -> Known<'static> {
        Known { issuer: ISSUER, hint: None, now: NOW }
    }

    fn taken(client: &Client, parameters: &Parameters) -> AuthorizationRequest {
        match judge(parameters, Some(client), known()) {
            Judged::Good(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn refused_with(client: &Client, parameters: &Parameters) -> (Code, String, Destination) {
        match judge(parameters, Some(client), known()) {
            Judged::Refused { destination, error } => (error.code, error.description.into_owned(), destination),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_good_request_is_read_whole() {
        let request = taken(
            &client(),
            &with(&[
                ("nonce", "n"),
                ("prompt", "login consent"),
                ("max_age", "0"),
                ("login_hint", "ada"),
                ("ui_locales", "zh-CN en"),
                ("acr_values", "9 1"),
                ("display", "popup"),
                ("response_mode", "form_post"),
                ("unknown", "x"),
            ]),
        );
        assert_eq!(request.redirect_uri, CALLBACK);
        assert_eq!(request.response_mode, ResponseMode::FormPost);
        assert_eq!((request.state.as_deref(), request.nonce.as_deref()), (Some("s"), Some("n")));
        assert_eq!(request.prompt, Prompt { none: false, login: true, consent: true });
        assert_eq!((request.max_age, request.acr.as_deref(), request.started_at), (Some(0), Some("1"), NOW));
        assert_eq!((request.scope.to_string().as_str(), request.audience.as_slice()), ("openid", &[ISSUER.into()][..]));
        assert_eq!(request.code_challenge.as_deref(), Some(CHALLENGE));
    }

    #[test]
    fn without_an_address_of_the_client_nobody_is_redirected() {
        let registered = client();
        let unanswerable = |client: Option<&Client>, changes: &[(&'static str, &'static str)]| match judge(
            &with(changes),
            client,
            known(),
        ) {
            Judged::Unanswerable(fault) => fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(unanswerable(None, &[]), Unanswerable::ClientUnknown);
        let disabled = Client { disabled: true, ..client() };
        assert_eq!(unanswerable(Some(&disabled), &[]), Unanswerable::ClientDisabled);
        let other = Client { grant_types: vec![GrantType::Password], ..client() };
        assert_eq!(unanswerable(Some(&other), &[]), Unanswerable::NoCodeFlow);
        assert_eq!(unanswerable(Some(&registered), &[("redirect_uri", "")]), Unanswerable::RedirectMissing);
        let elsewhere = [("redirect_uri", "https://evil.example/callback")];
        assert_eq!(unanswerable(Some(&registered), &elsewhere), Unanswerable::RedirectUnknown);
        let twice = [("redirect_uri", CALLBACK), ("redirect_uri", CALLBACK)];
        assert_eq!(unanswerable(Some(&registered), &twice), Unanswerable::Repeated("redirect_uri"));
        assert_eq!(client_id(&with(&[("client_id", "")])), Err(Unanswerable::ClientMissing));
        let two = with(&[("client_id", "web"), ("client_id", "web")]);
        assert_eq!(client_id(&two), Err(Unanswerable::Repeated("client_id")));
        let large = parameters(&[("client_id", "web"), ("state", &"s".repeat(LARGEST_REQUEST))]);
        assert_eq!(client_id(&large), Err(Unanswerable::TooLarge));
    }

    #[test]
    fn every_other_fault_goes_to_the_client_with_its_state() {
        let claims_acr = r#"{"id_token":{"acr":{"essential":true,"values":["9"]}}}"#;
        for (changes, code, named) in [
            (&[("response_type", "")][..], Code::InvalidRequest, "response_type"),
            (&[("response_type", "token")], Code::UnsupportedResponseType, "token"),
            (&[("response_type", "code id_token")], Code::UnsupportedResponseType, "code id_token"),
            (&[("response_mode", "fragment")], Code::InvalidRequest, "fragment"),
            (&[("request", "e30.e30.")], Code::RequestNotSupported, "request"),
            (&[("request_uri", "https://app.example/r")], Code::RequestUriNotSupported, "request_uri"),
            (&[("registration", "{}")], Code::RegistrationNotSupported, "registration"),
            (&[("code_challenge", "")], Code::InvalidRequest, "code_challenge"),
            (&[("code_challenge", ""), ("code_challenge_method", "")], Code::InvalidRequest, "PKCE"),
            (&[("code_challenge_method", "plain")], Code::InvalidRequest, "plain"),
            (&[("code_challenge_method", "")], Code::InvalidRequest, "plain"),
            (&[("code_challenge", "short")], Code::InvalidRequest, "43"),
            (&[("scope", "openid phone")], Code::InvalidScope, "phone"),
            (&[("resource", "https://other.example")], Code::InvalidTarget, "https://other.example"),
            (&[("prompt", "none login")], Code::InvalidRequest, "none"),
            (&[("prompt", "create")], Code::InvalidRequest, "create"),
            (&[("max_age", "-1")], Code::InvalidRequest, "-1"),
            (&[("max_age", "+1")], Code::InvalidRequest, "+1"),
            (&[("max_age", "99999999999")], Code::InvalidRequest, "99999999999"),
            (&[("display", "hologram")], Code::InvalidRequest, "hologram"),
            (&[("claims", "[]")], Code::InvalidRequest, "claims"),
            (&[("claims", claims_acr)], Code::UnmetAuthenticationRequirements, "acr"),
            (&[("nonce", "a"), ("nonce", "a")], Code::InvalidRequest, "nonce"),
            (&[("nonce", "a\0")], Code::InvalidRequest, "nonce"),
        ] {
            let (given, text, destination) = refused_with(&client(), &with(changes));
            assert_eq!(given, code, "{changes:?}: {text}");
            assert!(text.contains(named), "{changes:?}: {text}");
            assert_eq!((destination.redirect_uri.as_str(), destination.state.as_deref()), (CALLBACK, Some("s")));
        }
        let (_, _, destination) = refused_with(&client(), &with(&[("state", "a"), ("state", "b")]));
        assert_eq!(destination.state, None);
        let (_, _, destination) = refused_with(&client(), &with(&[("response_mode", "form_post"), ("scope", "x")]));
        assert_eq!(destination.response_mode, ResponseMode::FormPost);
    }

    #[test]
    fn a_request_object_is_refused_in_the_mode_that_it_asks_for() {
        let query_alone = Client { response_modes: vec![ResponseMode::Query], ..client() };
        // {"response_mode":"form_post"}
        let form_post = "e30.eyJyZXNwb25zZV9tb2RlIjoiZm9ybV9wb3N0In0.";
        for (client, request, mode) in [
            (&client(), form_post, ResponseMode::FormPost),
            (&query_alone, form_post, ResponseMode::Query),
            // {"response_mode":"fragment"}, {"response_mode":1}, [], {}
            (&client(), "e30.eyJyZXNwb25zZV9tb2RlIjoiZnJhZ21lbnQifQ.", ResponseMode::Query),
            (&client(), "e30.eyJyZXNwb25zZV9tb2RlIjoxfQ.", ResponseMode::Query),
            (&client(), "e30.W10.", ResponseMode::Query),
            (&client(), "e30.e30.", ResponseMode::Query),
            (&client(), "e30.!.", ResponseMode::Query),
            (&client(), "e30", ResponseMode::Query),
        ] {
            let (code, _, destination) = refused_with(client, &with(&[("request", request)]));
            assert_eq!((code, destination.response_mode), (Code::RequestNotSupported, mode), "{request}");
        }
    }

    #[test]
    fn pkce_is_waived_for_confidential_clients_alone() {
        let bare = with(&[("code_challenge", ""), ("code_challenge_method", "")]);
        let waived = Client { require_pkce: false, ..client() };
        assert_eq!(taken(&waived, &bare).code_challenge, None);
        let public = Client { auth_method: AuthMethod::None, ..waived };
        assert_eq!(refused_with(&public, &bare).0, Code::InvalidRequest);
    }

    #[test]
    fn a_hint_names_the_user() {
        let ada = Sub::new("usr_ada");
        let judged = |hint| match judge(&with(&[]), Some(&client()), Known { hint, ..known() }) {
            Judged::Good(request) => Ok(request.sub),
            Judged::Refused { error, .. } => Err(error.code),
            other => panic!("{other:?}"),
        };
        assert_eq!(judged(None), Ok(None));
        assert_eq!(judged(Some(Some(&ada))), Ok(Some(ada.clone())));
        assert_eq!(judged(Some(None)), Err(Code::InvalidRequest), "another client's, or nobody's");
    }

    proptest! {
        /// Whatever is asked: an answer goes to an address of the client's or nowhere.
        #[test]
        fn no_answer_leaves_the_registered_addresses(
            pairs in prop::collection::vec(
                (prop::sample::select(vec!["redirect_uri", "state", "scope", "prompt", "claims", "response_mode", "x"]),
                 prop::sample::select(vec![CALLBACK, "https://app.example/callback/", "https://evil.example", "a", "{}"])),
                0..6,
            ),
        ) {
            let base = good().into_iter().filter(|(name, _)| *name != "redirect_uri");
            let all: Vec<_> = base.chain(pairs).collect();
            match judge(&parameters(&all), Some(&client()), known()) {
                Judged::Good(request) => prop_assert_eq!(request.redirect_uri, CALLBACK),
                Judged::Refused { destination, .. } => prop_assert_eq!(destination.redirect_uri, CALLBACK),
                Judged::Unanswerable(_) => {}
            }
        }
    }
}
