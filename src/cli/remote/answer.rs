//! What a server's answer means to someone at a shell.

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::cli::failure::Failure;

/// Why there is no answer to work with.
#[derive(Debug)]
pub struct Refused {
    /// The `error` on the wire; empty where the server did not answer as Latchkey does.
    pub code: String,
    /// Seconds after which the server says it is worth trying again.
    pub retry_after: Option<u64>,
    pub failure: Failure,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { code: String::new(), retry_after: None, failure }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        refused.failure
    }
}

/// Sends a request and reads its answer: the JSON of a success, `Null` where it has no body.
///
/// # Errors
/// The server does not answer, answers with something else, or refuses: its `error`, `error_description`, and a hint.
pub async fn read(request: RequestBuilder, url: &str) -> Result<Value, Refused> {
    let answer = request.send().await.map_err(|error| unreachable(&error, url))?;
    let status = answer.status();
    if status.is_success() {
        let body = answer.bytes().await.map_err(|error| unreachable(&error, url))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_slice(&body).map_err(|_| {
            Failure::because(format_args!("{url} answered {status} with something that is not JSON"))
                .hint("is --server the base URL of a Latchkey server?")
                .into()
        });
    }
    Err(refused(answer, url).await)
}

/// How a request came to have no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    NobodyListens,
    /// Its certificate is not one to trust.
    Certificate,
    /// It does not speak TLS, or not as we do.
    Tls,
    Late,
    Broken,
}

/// What it was, and what there is to say of it. reqwest's own text repeats the URL and hides the cause.
pub fn trouble(error: &reqwest::Error) -> (Trouble, String) {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| cause.source());
    let mut innermost = String::new();
    for cause in causes {
        innermost = cause.to_string();
        // Of OpenSSL there is nothing but text here. What it ends with in parentheses is why it does not trust.
        if innermost.contains("certificate verify failed") {
            let why = innermost.rsplit_once('(').map_or(innermost.as_str(), |(_, why)| why.trim_end_matches(')'));
            return (Trouble::Certificate, why.to_owned());
        }
    }
    let trouble = match innermost.contains("SSL routines") {
        true => Trouble::Tls,
        false if error.is_connect() => Trouble::NobodyListens,
        false if error.is_timeout() => Trouble::Late,
        false => Trouble::Broken,
    };
    (trouble, innermost)
}

fn unreachable(error: &reqwest::Error, url: &str) -> Failure {
    let start = "start it with `latchkey serve`, or name another with --server URL";
    let (trouble, cause) = trouble(error);
    let (why, hint) = match trouble {
        Trouble::NobodyListens => ("nothing listens there", start),
        Trouble::Certificate => (
            "its certificate is not one to trust",
            "name the file of your own certificate authority by --ca, or the host that the certificate is for by --server",
        ),
        Trouble::Tls => ("no TLS handshake", "does it speak plain http? Then so must --server"),
        Trouble::Late => ("it did not answer in time", start),
        Trouble::Broken => ("the connection broke", start),
    };
    Failure::because(format_args!("{url} cannot be reached: {why} ({cause})")).hint(hint)
}

async fn refused(answer: Response, url: &str) -> Refused {
    let status = answer.status();
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (request_id, retry_after) = (header("x-request-id"), header("retry-after"));
    let body: Value = answer.json().await.unwrap_or_default();
    let member = |name: &str| body.get(name).and_then(Value::as_str);
    let Some(error) = member("error") else {
        return Failure::because(format_args!("{url} answered {status}"))
            .hint("is --server the base URL of a Latchkey server?")
            .into();
    };
    let mut text = error.to_owned();
    for (before, part) in [(": ", member("error_description")), (", reason ", member("reason"))] {
        if let Some(part) = part {
            text.push_str(before);
            text.push_str(part);
        }
    }
    if let Some(id) = request_id.filter(|_| status.is_server_error()) {
        text.push_str(&format!(" (request {id})"));
    }
    let failure = Failure::because(text);
    let failure = match hint(status, error, retry_after.as_deref()) {
        Some(hint) => failure.hint(hint),
        None => failure,
    };
    let retry_after = retry_after.and_then(|seconds| seconds.parse().ok());
    Refused { code: error.to_owned(), retry_after, failure }
}

fn hint(status: StatusCode, error: &str, retry_after: Option<&str>) -> Option<String> {
    let hint = match error {
        "invalid_client" => {
            "check LATCHKEY_CLIENT_ID and LATCHKEY_CLIENT_SECRET; a lost admin secret is replaced by `latchkey admin \
             recover` (on SQLite with the server stopped)"
        }
        "invalid_scope" | "insufficient_scope" => {
            "this command needs an admin scope that the client does not have; `latchkey client show` lists its scope"
        }
        "unauthorized_client" => "the client needs the grant type client_credentials",
        "invalid_token" => "the token died on the way, perhaps by a key compromise: run the command again",
        "not_found" => "the `list` command shows what there is",
        _ => match (status, retry_after) {
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(seconds)) => {
                return Some(format!("try again in {seconds} s"));
            }
            _ => return None,
        },
    };
    Some(hint.into())
}
