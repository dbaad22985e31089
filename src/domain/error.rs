//! The one error that leaves the use cases: an RFC code, a public text, a private cause. What HTTP makes of it is
//! `http::error`'s business.

use std::borrow::Cow;
use std::time::Duration;

/// The `error` of RFC 6749 section 5.2, RFC 6750, RFC 7591, RFC 8707, and what the admin API adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedTokenType,
    InvalidScope,
    InvalidTarget,
    InvalidClientMetadata,
    /// The authorization endpoint's (RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6): they travel in
    /// redirects, where there is no status.
    AccessDenied,
    UnsupportedResponseType,
    LoginRequired,
    ConsentRequired,
    RequestNotSupported,
    RequestUriNotSupported,
    RegistrationNotSupported,
    /// OpenID Connect Core Error Code unmet_authentication_requirements.
    UnmetAuthenticationRequirements,
    /// There is no bearer token: `invalid_token` on the wire, and no error in the challenge (RFC 6750 section 3.1).
    NoToken,
    /// The bearer token is expired or revoked, or was never one.
    InvalidToken,
    InsufficientScope,
    NotFound,
    MethodNotAllowed,
    Conflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    /// Too many failures or requests: `temporarily_unavailable` on the wire, with `Retry-After`.
    TooManyRequests,
    /// Overloaded, or the database does not answer: `temporarily_unavailable` on the wire, with `Retry-After`.
    TemporarilyUnavailable,
    ServerError,
}

impl Code {
    /// The value on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::NoToken | Self::InvalidToken => "invalid_token",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
            Self::InsufficientScope => "insufficient_scope",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::TooManyRequests | Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

/// Why a refresh was refused: a stable word for programs, beside the text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    ReusedAfterWindow,
    IdleExpired,
    AbsoluteExpired,
    Revoked,
    UserDisabled,
    ClientDisabled,
    UnknownSession,
    /// A token that was to be exchanged has expired, was revoked, or is none of Latchkey's.
    TokenInactive,
    /// A token of another system, whose tokens are not taken any more.
    CutOff,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::ReusedAfterWindow,
        Self::IdleExpired,
        Self::AbsoluteExpired,
        Self::Revoked,
        Self::UserDisabled,
        Self::ClientDisabled,
        Self::UnknownSession,
        Self::TokenInactive,
        Self::CutOff,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReusedAfterWindow => "reused_after_window",
            Self::IdleExpired => "idle_expired",
            Self::AbsoluteExpired => "absolute_expired",
            Self::Revoked => "revoked",
            Self::UserDisabled => "user_disabled",
            Self::ClientDisabled => "client_disabled",
            Self::UnknownSession => "unknown_session",
            Self::TokenInactive => "token_inactive",
            Self::CutOff => "cut_off",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }

    /// What to tell the person who reads the answer: what happened and what to do.
    pub const fn text(self) -> &'static str {
        match self {
            Self::ReusedAfterWindow => {
                "a token that this session came from was used again after its retry window, so the session was ended; \
                 log in again"
            }
            Self::IdleExpired => "the session was not used for longer than its idle limit; log in again",
            Self::AbsoluteExpired => "the session has reached its absolute limit; log in again",
            Self::Revoked => "the session was revoked; log in again",
            Self::UserDisabled => "the user is disabled; ask an administrator",
            Self::ClientDisabled => "the client is disabled; ask an administrator",
            Self::UnknownSession => "no such session for this client; log in again",
            Self::TokenInactive => {
                "the subject token has expired, was revoked, or is none that can be exchanged here; log in again"
            }
            Self::CutOff => "tokens of the former system are not taken any more; log in again",
        }
    }
}

/// The error that leaves a use case.
#[derive(Debug, thiserror::Error)]
#[error("{}: {description}", code.as_str())]
pub struct OAuthError {
    pub code: Code,
    /// For the person who reads the answer: what happened, with which value, what to do. Never a secret.
    pub description: Cow<'static, str>,
    pub reason: Option<Reason>,
    pub retry_after: Option<Duration>,
    /// For the log alone.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl OAuthError {
    pub fn new(code: Code, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), reason: None, retry_after: None, cause: None }
    }

    pub fn refused(reason: Reason) -> Self {
        Self { reason: Some(reason), ..Self::new(Code::InvalidGrant, reason.text()) }
    }

    /// A refused exchange: RFC 8693 section 2.2.2 wants `invalid_request` for whatever is wrong with a subject token.
    pub fn refused_exchange(reason: Reason) -> Self {
        Self { code: Code::InvalidRequest, ..Self::refused(reason) }
    }

    /// Try again: overloaded, or the database does not answer.
    pub fn unavailable(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::TemporarilyUnavailable, description).retry_after(Duration::from_secs(1))
    }

    /// A defect or a broken environment. The public text never says more than that.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Code::ServerError, "something went wrong here; the request id finds it in the log").cause(cause)
    }

    pub fn retry_after(self, span: Duration) -> Self {
        Self { retry_after: Some(span), ..self }
    }

    /// How long to wait, as it is told: in whole seconds, never less than it takes and never none.
    pub fn seconds_to_wait(&self) -> Option<u64> {
        self.retry_after.map(|span| (span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1))
    }

    pub fn cause(self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }
}
