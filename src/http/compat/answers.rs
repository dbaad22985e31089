//! Answers as Django REST framework gives them, and the refusals of the packages that this stands in for. Their status
//! codes are part of what their clients know, so this module and [`crate::http::error`] are the ones that name any.

use std::borrow::Cow;

use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Response};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::domain::error::{Code, OAuthError};
use crate::http::error::refusal;

/// What a path here takes, in the framework's order.
pub const ALLOW: &str = "POST, OPTIONS";

/// The challenge of simplejwt's 401.
const CHALLENGE: &str = "Bearer realm=\"api\"";

/// An answer that is decided.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

/// Why a request is not answered as it asks.
pub enum Refused {
    /// In words of the originals.
    Said(Answer),
    /// In general ones; see [`described`].
    Failed(poem::Error),
}

impl From<Answer> for Refused {
    fn from(answer: Answer) -> Self {
        Self::Said(answer)
    }
}

impl From<poem::Error> for Refused {
    fn from(error: poem::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<OAuthError> for Refused {
    fn from(error: OAuthError) -> Self {
        Self::Failed(refusal(error))
    }
}

impl Answer {
    /// # Errors
    /// The body cannot be written, which only a defect makes happen.
    pub fn ok(body: &impl Serialize) -> Result<Self, Refused> {
        Self::good(StatusCode::OK, body)
    }

    /// drf-jwt's way to say that all is well.
    ///
    /// # Errors
    /// As [`Answer::ok`].
    pub fn created(body: &impl Serialize) -> Result<Self, Refused> {
        Self::good(StatusCode::CREATED, body)
    }

    fn good(status: StatusCode, body: &impl Serialize) -> Result<Self, Refused> {
        let body = serde_json::to_vec(body).map_err(OAuthError::internal)?;
        Ok(Self { status, body })
    }

    fn refused(status: StatusCode, body: &impl Serialize) -> Self {
        // Texts by texts: nothing in them can fail to be written.
        Self { status, body: serde_json::to_vec(body).unwrap_or_default() }
    }

    /// What is wrong with members of the request, by their names.
    pub fn fields(faults: &[(&str, &str)]) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, &Lists(faults))
    }

    /// What is wrong with the request, and with no single member of it.
    pub fn general(text: &str) -> Self {
        Self::fields(&[("non_field_errors", text)])
    }

    /// The body cannot be read.
    pub fn malformed(text: &str) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, &json!({ "detail": text }))
    }

    pub fn unsupported_media_type(given: &str) -> Self {
        let text = format!("Unsupported media type \"{given}\" in request.");
        Self::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!({ "detail": text }))
    }

    pub fn method_not_allowed(method: &Method) -> Self {
        let text = format!("Method \"{method}\" not allowed.");
        Self::refused(StatusCode::METHOD_NOT_ALLOWED, &json!({ "detail": text }))
    }

    /// simplejwt's refusal of a login or of a user.
    pub fn unauthorized(text: &str) -> Self {
        Self::refused(StatusCode::UNAUTHORIZED, &json!({ "detail": text }))
    }

    /// simplejwt's refusal of a token.
    pub fn token_not_valid(text: &'static str) -> Self {
        #[derive(Serialize)]
        struct Refusal {
            detail: &'static str,
            code: &'static str,
        }
        Self::refused(StatusCode::UNAUTHORIZED, &Refusal { detail: text, code: "token_not_valid" })
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let mut response = Self::builder()
            .status(answer.status)
            .header(header::CACHE_CONTROL, "no-store")
            .content_type("application/json")
            .body(Body::from(answer.body));
        let header = match answer.status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, CHALLENGE)),
            StatusCode::METHOD_NOT_ALLOWED => Some((header::ALLOW, ALLOW)),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// One text for each name, each in a list, in their order.
struct Lists<'a>(&'a [(&'a str, &'a str)]);

impl Serialize for Lists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, text) in self.0 {
            map.serialize_entry(name, &[text])?;
        }
        map.end()
    }
}

/// Status and body of an error that the originals do not know, or know as the framework's own.
pub fn described(error: &OAuthError, status: StatusCode, seconds: Option<u64>) -> (StatusCode, Vec<u8>) {
    let (status, text): (_, Cow<'_, str>) = match error.code {
        Code::TooManyRequests => (status, throttled(seconds).into()),
        Code::TemporarilyUnavailable => (status, "Service temporarily unavailable, try again later.".into()),
        Code::ServerError => (status, "A server error occurred.".into()),
        // Whoever calls has named no client, and has nothing to mend.
        Code::InvalidClient => {
            (StatusCode::FORBIDDEN, "the client of this path is not registered any more; ask an administrator".into())
        }
        Code::UnauthorizedClient => (StatusCode::FORBIDDEN, error.description.as_ref().into()),
        _ => (status, error.description.as_ref().into()),
    };
    (status, serde_json::to_vec(&json!({ "detail": text })).unwrap_or_default())
}

fn throttled(seconds: Option<u64>) -> String {
    let wait = match seconds {
        Some(1) => " Expected available in 1 second.".to_owned(),
        Some(seconds) => format!(" Expected available in {seconds} seconds."),
        None => String::new(),
    };
    format!("Request was throttled.{wait}")
}
