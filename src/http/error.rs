//! What HTTP makes of an [`OAuthError`]: status, headers and JSON body (RFC 6749 section 5.2, RFC 6750 section 3,
//! RFC 9110 section 15). The only module that knows status codes.
//!
//! Operations return `Result<_, Failure<A>>`; `A` names the error answers that the OpenAPI document lists for them.
//! [`render`] turns every error, our own and the framework's, into an answer; the frame around all routes calls it.

use std::fmt::Write as _;
use std::marker::PhantomData;
use std::time::Duration;

use poem::error::{MethodNotAllowedError, NotFoundError, ParsePathError, ReadBodyError, ResponseError};
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Body, Response};
use poem_openapi::error as openapi;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;

use super::compat;
use super::pages::error::{ErrorKind, ErrorPage};
use super::pages::shown::Detail;
use super::pages::{Page as _, Shell};
use super::routes::Manner;
use crate::domain::error::{Code, OAuthError};

/// The body of every error.
#[derive(Debug, Serialize, Object)]
#[oai(skip_serializing_if_is_none, example)]
pub struct ErrorBody {
    /// A stable word for programs: RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 7591, RFC 8707.
    pub error: String,
    /// For people: what happened, with which value, what to do.
    pub error_description: String,
    /// Why a refresh or an exchange was refused, a stable word for programs: `reused_after_window`, `idle_expired`,
    /// `absolute_expired`, `revoked`, `user_disabled`, `client_disabled`, `unknown_session`, `token_inactive`,
    /// `cut_off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With `server_error`: what finds the cause in the log. The same as the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl poem_openapi::types::Example for ErrorBody {
    fn example() -> Self {
        Self {
            error: Code::InvalidRequest.as_str().to_owned(),
            error_description: "the parameter grant_type is missing".to_owned(),
            reason: None,
            request_id: None,
        }
    }
}

/// The error answers that the document lists for a kind of operation.
pub trait Answers: Send + Sync + 'static {
    /// Statuses, ascending.
    const STATUSES: &'static [u16];
}

macro_rules! answers {
    ($($(#[$doc:meta])* $marker:ident, $failure:ident: [$($status:literal),*];)*) => {
        $(
            #[doc = concat!("The error answers of [`", stringify!($failure), "`].")]
            #[derive(Debug)]
            pub enum $marker {}
            impl Answers for $marker {
                const STATUSES: &'static [u16] = &[$($status),*];
            }
            $(#[$doc])*
            pub type $failure = Failure<$marker>;
        )*
    };
}

answers! {
    /// Anything: where no narrower kind fits.
    AnyAnswers, OAuthFailure: [400, 401, 403, 404, 409, 413, 415, 429, 500, 503];
    /// A form from a client that authenticates: token, introspection, revocation.
    ClientAnswers, ClientFailure: [400, 401, 413, 415, 429, 500, 503];
    /// What a bearer of an access token asks, of userinfo by GET.
    BearerAnswers, BearerFailure: [400, 401, 403, 429, 500, 503];
    /// The same by POST.
    BearerFormAnswers, BearerFormFailure: [400, 401, 403, 413, 429, 500, 503];
    /// An open document.
    OpenAnswers, OpenFailure: [429, 500, 503];
    /// An administrative list.
    ListAnswers, ListFailure: [400, 401, 403, 429, 500, 503];
    /// A move of the test clock.
    TestClockAnswers, TestClockFailure: [400, 413, 415, 429, 500, 503];
    /// A probe.
    HealthAnswers, HealthFailure: [503];
    /// The metrics.
    MetricsAnswers, MetricsFailure: [401, 403, 429, 500, 503];
    /// One administrative thing, read or deleted.
    ItemAnswers, ItemFailure: [401, 403, 404, 429, 500, 503];
    /// An administrative thing made from a body.
    CreateAnswers, CreateFailure: [400, 401, 403, 409, 413, 415, 429, 500, 503];
    /// An administrative thing changed by a body.
    ChangeAnswers, ChangeFailure: [400, 401, 403, 404, 409, 413, 415, 429, 500, 503];
}

/// The `Err` of an operation. `?` makes it from an [`OAuthError`].
pub struct Failure<A>(OAuthError, PhantomData<fn() -> A>);

impl<A> std::fmt::Debug for Failure<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<A, E: Into<OAuthError>> From<E> for Failure<A> {
    fn from(error: E) -> Self {
        Self(error.into(), PhantomData)
    }
}

impl<A> From<Failure<A>> for poem::Error {
    fn from(failure: Failure<A>) -> Self {
        refusal(failure.0)
    }
}

impl<A: Answers> ApiResponse for Failure<A> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: A::STATUSES.iter().map(|status| documented(*status)).collect() }
    }

    fn register(registry: &mut Registry) {
        <ErrorBody as Type>::register(registry);
    }
}

/// An [`OAuthError`] on its way through the framework to [`render`].
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct Refusal {
    #[source]
    error: OAuthError,
    /// What a page says of it, where that is more than its code tells.
    kind: Option<ErrorKind>,
}

impl ResponseError for Refusal {
    fn status(&self) -> StatusCode {
        status_of(self.error.code)
    }
}

/// For code outside of operations: extractors and plain endpoints.
pub fn refusal(error: OAuthError) -> poem::Error {
    Refusal { error, kind: None }.into()
}

/// The same, for a page that knows what to tell people.
pub fn page_refusal(kind: ErrorKind, error: OAuthError) -> poem::Error {
    Refusal { error, kind: Some(kind) }.into()
}

/// The client took longer to send its body than it may.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive within {} seconds", .0.as_secs())]
pub struct BodyTooSlow(pub Duration);

impl ResponseError for BodyTooSlow {
    fn status(&self) -> StatusCode {
        StatusCode::REQUEST_TIMEOUT
    }
}

const fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest
        | Code::InvalidGrant
        | Code::UnauthorizedClient
        | Code::UnsupportedGrantType
        | Code::UnsupportedTokenType
        | Code::InvalidScope
        | Code::InvalidTarget
        | Code::InvalidClientMetadata
        | Code::AccessDenied
        | Code::UnsupportedResponseType
        | Code::LoginRequired
        | Code::ConsentRequired
        | Code::RequestNotSupported
        | Code::RequestUriNotSupported
        | Code::RegistrationNotSupported
        | Code::UnmetAuthenticationRequirements => StatusCode::BAD_REQUEST,
        Code::InvalidClient | Code::NoToken | Code::InvalidToken => StatusCode::UNAUTHORIZED,
        Code::InsufficientScope => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::Conflict => StatusCode::CONFLICT,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Code::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What an answer needs to know of the request.
#[derive(Debug)]
pub struct Asked<'a> {
    pub request_id: &'a str,
    /// Whether it carried an `Authorization` header: then the answer challenges by that scheme.
    pub with_authorization: bool,
    /// The methods of its path, for 405.
    pub allow: Option<&'a str>,
    /// How whoever calls this path is spoken to.
    pub manner: Manner,
    /// What a page is made with, where that is the manner.
    pub shell: Shell<'a>,
}

/// The answer to any error.
pub fn render(error: poem::Error, asked: &Asked<'_>) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let (status, error, kind) = recognise(error);
    log(&error, status, asked.request_id);
    let wait = error.seconds_to_wait();
    let mut response = match asked.manner {
        Manner::OAuth => json(status, standard(&error, status, asked.request_id)),
        Manner::RestFramework => {
            let (status, body) = compat::described(&error, status, wait);
            json(status, body)
        }
        Manner::Page => page(&error, kind, (status, wait), asked),
    };
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    if asked.manner == Manner::OAuth
        && let Some(challenge) = challenge(error.code, &printable(&error.description), asked.with_authorization)
    {
        set(header::WWW_AUTHENTICATE, &challenge);
    }
    if let Some(seconds) = wait {
        set(header::RETRY_AFTER, &seconds.to_string());
    }
    if let (Code::MethodNotAllowed, Some(allow)) = (error.code, asked.allow) {
        set(header::ALLOW, allow);
    }
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    Response::builder()
        .status(status)
        .header(header::CACHE_CONTROL, "no-store")
        .content_type("application/json")
        .body(Body::from(body))
}

/// What people are told. A defect of the page itself leaves its status, which browsers put into words of their own.
fn page(
    error: &OAuthError,
    kind: Option<ErrorKind>,
    (status, retry_after): (StatusCode, Option<u64>),
    asked: &Asked<'_>,
) -> Response {
    let description = printable(&error.description);
    let page = ErrorPage {
        shell: asked.shell,
        kind: kind.unwrap_or(ErrorKind::of(error)),
        detail: Some((error.code.as_str(), Detail(&description))),
        retry_after,
        request_id: asked.request_id,
    };
    page.rendered().map_or_else(|_| Response::builder().status(status).finish(), |page| page.respond(status))
}

/// The body that RFC 6749 section 5.2 wants.
fn standard(error: &OAuthError, status: StatusCode, request_id: &str) -> Vec<u8> {
    let body = ErrorBody {
        error: error.code.as_str().to_owned(),
        error_description: printable(&error.description),
        reason: error.reason.map(|reason| reason.as_str().to_owned()),
        request_id: status.is_server_error().then(|| request_id.to_owned()),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// RFC 6749 section 5.2 for clients, RFC 6750 section 3 for bearer tokens: a request that carried no credentials is
/// told the scheme and no error.
fn challenge(code: Code, description: &str, with_authorization: bool) -> Option<String> {
    match (code, with_authorization) {
        (Code::InvalidClient, true) => Some("Basic realm=\"latchkey\", charset=\"UTF-8\"".to_owned()),
        (Code::NoToken, false) => Some("Bearer realm=\"latchkey\"".to_owned()),
        (Code::NoToken | Code::InvalidToken | Code::InsufficientScope, _) => {
            Some(format!("Bearer realm=\"latchkey\", error=\"{}\", error_description=\"{description}\"", code.as_str()))
        }
        _ => None,
    }
}

/// Our own errors as they are; the framework's by kind, so that none of its texts reaches anyone unread.
fn recognise(error: poem::Error) -> (StatusCode, OAuthError, Option<ErrorKind>) {
    let error = match error.downcast::<Refusal>() {
        Ok(Refusal { error, kind }) => return (status_of(error.code), error, kind),
        Err(other) => other,
    };
    if let Some(slow) = error.downcast_ref::<BodyTooSlow>() {
        return (slow.status(), OAuthError::new(Code::InvalidRequest, slow.to_string()), None);
    }
    let own = framework_error(error);
    (status_of(own.code), own, None)
}

fn framework_error(error: poem::Error) -> OAuthError {
    if let Some(fault) = error.downcast_ref::<openapi::ParseRequestPayloadError>() {
        return OAuthError::new(Code::InvalidRequest, format!("the body is refused: {}", without_value(&fault.reason)));
    }
    if let Some(fault) = error.downcast_ref::<openapi::ParseParamError>() {
        let reason = without_value(&fault.reason);
        return OAuthError::new(Code::InvalidRequest, format!("the parameter {} is refused: {reason}", fault.name));
    }
    if error.is::<openapi::AuthorizationError>() {
        return OAuthError::new(Code::NoToken, "this needs an access token: Authorization: Bearer ...");
    }
    // A path parameter that cannot be read names nothing that exists.
    if error.is::<NotFoundError>() || error.is::<openapi::ParsePathError>() || error.is::<ParsePathError>() {
        return OAuthError::new(Code::NotFound, "nothing is here; /docs lists what there is");
    }
    if error.is::<MethodNotAllowedError>() {
        return OAuthError::new(Code::MethodNotAllowed, "this path does not take this method; see the header Allow");
    }
    if let Some(fault) = error.downcast_ref::<openapi::ContentTypeError>() {
        return OAuthError::new(Code::UnsupportedMediaType, media_type_fault(fault));
    }
    match error.downcast_ref::<ReadBodyError>() {
        Some(ReadBodyError::PayloadTooLarge) => OAuthError::new(Code::PayloadTooLarge, "the body is too large"),
        Some(ReadBodyError::Io(_)) => OAuthError::new(Code::InvalidRequest, "the body ended before its end"),
        Some(ReadBodyError::Utf8(_)) => OAuthError::new(Code::InvalidRequest, "the body is not UTF-8"),
        Some(ReadBodyError::BodyHasBeenTaken) => OAuthError::internal(error),
        None if error.status().is_client_error() => {
            OAuthError::new(Code::InvalidRequest, "the request is malformed").cause(error)
        }
        None => OAuthError::internal(error),
    }
}

fn media_type_fault(fault: &openapi::ContentTypeError) -> &'static str {
    match fault {
        openapi::ContentTypeError::NotSupported { .. } => {
            "the content type is not one that this operation takes; /docs names it"
        }
        openapi::ContentTypeError::ExpectContentType => "the header Content-Type is missing; /docs names its value",
    }
}

/// The framework quotes the value it met, which may be a password.
fn without_value(reason: &str) -> String {
    let quoted = |text: &str| text.find(", found ").unwrap_or(text.len());
    reason[..quoted(reason)].replace('\n', " ")
}

/// The characters that RFC 6749 section 5.2 and a quoted header value allow in `error_description`.
fn printable(text: &str) -> String {
    let legal = |c: char| match c {
        '"' => '\'',
        '\\' => '/',
        ' '..='~' => c,
        _ => '?',
    };
    text.chars().map(legal).collect()
}

/// Defects loudly with their cause; refusals, which any stranger can cause, quietly.
fn log(error: &OAuthError, status: StatusCode, request_id: &str) {
    if status.is_server_error() {
        let cause = causes(error);
        tracing::error!(request_id, error = error.code.as_str(), description = %error.description, cause, "failed");
    } else {
        let cause = causes(error);
        tracing::debug!(request_id, error = error.code.as_str(), description = %error.description, cause, "refused");
    }
}

fn causes(error: &OAuthError) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let separator = if text.is_empty() { "" } else { ": " };
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}{cause}");
        next = cause.source();
    }
    text
}

fn documented(status: u16) -> MetaResponse {
    let header = |name: &str, description: &str| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: false,
        deprecated: false,
        schema: <String as Type>::schema_ref(),
    };
    let headers = match status {
        401 | 403 => vec![header("WWW-Authenticate", "The scheme to authenticate by")],
        429 | 503 => vec![header("Retry-After", "Seconds to wait before the next attempt")],
        500 => vec![header("X-Request-Id", "What finds the cause in the log")],
        _ => Vec::new(),
    };
    MetaResponse {
        description: description_of(status),
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType { content_type: "application/json", schema: ErrorBody::schema_ref() }],
        headers,
    }
}

const fn description_of(status: u16) -> &'static str {
    match status {
        400 => "The request is refused: `error` says by which rule, `error_description` what to do",
        401 => "The client or the access token is not accepted: `invalid_client` or `invalid_token`",
        403 => "The access token is good and its scope is too small: `insufficient_scope`",
        404 => "No such thing: `not_found`",
        409 => "It exists already, or was changed meanwhile: `conflict`",
        413 => "The body is larger than `server.max_body`: `payload_too_large`",
        415 => "Another content type is expected: `unsupported_media_type`",
        429 => "Too many failures or requests; wait: `temporarily_unavailable`",
        500 => "A defect; the request id finds its cause in the log: `server_error`",
        _ => "Overloaded, or the database does not answer; try again: `temporarily_unavailable`",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::config::PageSettings;
    use crate::domain::error::Reason;
    use crate::http::pages::{Language, Pages};

    static PAGES: LazyLock<Pages> = LazyLock::new(|| Pages::new(&PageSettings::default(), None, ""));

    fn asked(with_authorization: bool) -> Asked<'static> {
        Asked {
            request_id: "r-1",
            with_authorization,
            allow: Some("GET, HEAD"),
            manner: Manner::OAuth,
            shell: Shell::new(&PAGES, Language::English),
        }
    }

    async fn answer(error: poem::Error, asked: &Asked<'_>) -> (Response, serde_json::Value) {
        let mut response = render(error, asked);
        let body = response.take_body().into_json().await.unwrap();
        (response, body)
    }

    #[tokio::test]
    async fn a_refused_refresh_carries_its_reason_and_is_never_cached() {
        let (response, body) = answer(refusal(OAuthError::refused(Reason::IdleExpired)), &asked(false)).await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(body["error"], "invalid_grant");
        assert_eq!(body["reason"], "idle_expired");
        assert_eq!(body.get("request_id"), None);
    }

    #[tokio::test]
    async fn challenges_follow_what_the_request_carried() {
        let header = |code, with| {
            let response = render(refusal(OAuthError::new(code, "a \"b\"")), &asked(with));
            response.header("www-authenticate").map(str::to_owned)
        };
        assert_eq!(header(Code::InvalidClient, false), None);
        assert!(header(Code::InvalidClient, true).unwrap().starts_with("Basic realm=\"latchkey\""));
        assert_eq!(header(Code::NoToken, false).as_deref(), Some("Bearer realm=\"latchkey\""));
        // A header that is no bearer token; a token in the header; one in a form.
        for (code, with) in [(Code::NoToken, true), (Code::InvalidToken, true), (Code::InvalidToken, false)] {
            let challenge = header(code, with).unwrap();
            assert!(challenge.ends_with("error=\"invalid_token\", error_description=\"a 'b'\""), "{challenge}");
        }
        assert!(header(Code::InsufficientScope, true).unwrap().contains("error=\"insufficient_scope\""));
    }

    #[tokio::test]
    async fn a_defect_tells_its_request_id_and_nothing_else() {
        let error = poem::Error::from_string("secret detail", StatusCode::INTERNAL_SERVER_ERROR);
        let (response, body) = answer(error, &asked(false)).await;
        assert_eq!(response.status(), 500);
        assert_eq!(body["request_id"], "r-1");
        assert_eq!(body["error"], "server_error");
        assert!(!body.to_string().contains("secret detail"));
    }

    #[tokio::test]
    async fn waiting_is_told_in_whole_seconds() {
        let error = OAuthError::new(Code::TooManyRequests, "slow").retry_after(Duration::from_millis(1200));
        let (response, body) = answer(refusal(error), &asked(false)).await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.header("retry-after"), Some("2"));
        assert_eq!(body["error"], "temporarily_unavailable");
        let (response, _) = answer(refusal(OAuthError::unavailable("x")), &asked(false)).await;
        assert_eq!(response.status(), 503);
    }

    #[tokio::test]
    async fn people_are_told_in_a_page() {
        let asked = Asked { manner: Manner::Page, ..asked(false) };
        let error = OAuthError::new(Code::TooManyRequests, "<b>slow</b>").retry_after(Duration::from_secs(3));
        let mut response = render(refusal(error), &asked);
        assert_eq!((response.status().as_u16(), response.header("retry-after")), (429, Some("3")));
        assert_eq!(response.content_type(), Some("text/html; charset=utf-8"));
        let body = response.take_body().into_string().await.unwrap();
        assert!(body.contains("Try again in 3 seconds.") && body.contains("r-1"), "{body}");
        assert!(!body.contains("<b>"), "{body}");
        let response = render(MethodNotAllowedError.into(), &asked);
        assert_eq!((response.status().as_u16(), response.header("allow")), (405, Some("GET, HEAD")));
    }

    #[tokio::test]
    async fn framework_errors_become_ours() {
        let (response, body) = answer(MethodNotAllowedError.into(), &asked(false)).await;
        assert_eq!((response.status().as_u16(), response.header("allow")), (405, Some("GET, HEAD")));
        assert_eq!(body["error"], "method_not_allowed");
        let reason = "failed to parse \"string\": Expected input type \"string\", found 12345.".to_owned();
        let (response, body) = answer(openapi::ParseRequestPayloadError { reason }.into(), &asked(false)).await;
        assert_eq!(response.status(), 400);
        assert!(!body.to_string().contains("12345"), "{body}");
        let (response, _) = answer(BodyTooSlow(Duration::from_secs(1)).into(), &asked(false)).await;
        assert_eq!(response.status(), 408);
        let (response, _) = answer(ReadBodyError::PayloadTooLarge.into(), &asked(false)).await;
        assert_eq!(response.status(), 413);
        let (response, _) = answer(openapi::ContentTypeError::ExpectContentType.into(), &asked(false)).await;
        assert_eq!(response.status(), 415);
        let (response, _) = answer(openapi::AuthorizationError.into(), &asked(false)).await;
        assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"latchkey\""));
    }
}
