//! What answers: the server under its issuer.

use std::time::Duration;

use serde_json::Value;

use super::Finding;
use crate::cli::failure::Result;
use crate::cli::remote::{Authority, Trouble, trouble};
use crate::config::Settings;

const PATIENCE: Duration = Duration::from_secs(5);

/// What the running server said, if there is one.
#[derive(Debug)]
pub(super) struct Server {
    /// Its `Date`, Unix seconds.
    pub seconds: Option<i64>,
    /// Whether `/health/ready` answered 200.
    pub is_ready: bool,
    pub findings: Vec<Finding>,
}

impl Server {
    /// Asks for the metadata under the issuer and whether it is ready.
    ///
    /// # Errors
    /// The file of certificate authorities does not read.
    pub(super) async fn ask(settings: &Settings, authority: &Authority) -> Result<Self> {
        let issuer = &settings.server.issuer;
        let mut server = Self { seconds: None, is_ready: false, findings: Vec::new() };
        let http = match authority.trusted(reqwest::Client::builder().timeout(PATIENCE))?.build() {
            Ok(http) => http,
            Err(error) => {
                server.findings.push(Finding::fail("issuer", format!("no HTTP client: {error}"), "mend OpenSSL"));
                return Ok(server);
            }
        };
        let url = metadata_url(issuer);
        let answer = match http.get(&url).send().await {
            Ok(answer) => answer,
            Err(error) => {
                server.findings.push(unanswered(issuer, &error));
                return Ok(server);
            }
        };
        server.seconds = date_of(&answer);
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        server.findings.push(judge(issuer, &url, status.as_u16(), &body));
        let ready = http.get(format!("{issuer}/health/ready")).send().await;
        server.is_ready = ready.as_ref().is_ok_and(|ready| ready.status().is_success());
        server.findings.push(match ready {
            Ok(ready) if ready.status().is_success() => Finding::ok("ready", "the server issues tokens"),
            Ok(ready) => Finding::fail("ready", format!("it answers {}", ready.status()), "its log says why"),
            Err(error) => Finding::fail("ready", trouble(&error).1, "its log says why"),
        });
        Ok(server)
    }
}

fn unanswered(issuer: &str, error: &reqwest::Error) -> Finding {
    match trouble(error) {
        (Trouble::Certificate, cause) => Finding::warn(
            "issuer",
            format!("{issuer} shows a certificate that this machine does not trust: {cause}"),
            "serve the certificate together with its issuers; for an authority of your own, name its file by --ca",
        ),
        (_, cause) => Finding::warn(
            "issuer",
            format!("{issuer} does not answer: {cause}"),
            "start it with `latchkey serve`; if it runs, mend DNS, proxy or firewall in front of it",
        ),
    }
}

/// RFC 8414 section 3.1 puts the well-known part before an issuer's path; Latchkey answers under it as well, and that is
/// where its own links point.
fn metadata_url(issuer: &str) -> String {
    format!("{issuer}/.well-known/oauth-authorization-server")
}

fn judge(issuer: &str, url: &str, status: u16, body: &Value) -> Finding {
    match body["issuer"].as_str() {
        Some(theirs) if theirs == issuer => Finding::ok("issuer", format!("{issuer} answers, and names itself so")),
        Some(theirs) => Finding::fail(
            "issuer",
            format!("{url} names the issuer {theirs}, this configuration {issuer}"),
            "every verifier compares the exact text: set server.issuer alike on all nodes",
        ),
        None => Finding::fail(
            "issuer",
            format!("{url} answers {status} and no metadata"),
            "something else listens there, or a proxy drops the path",
        ),
    }
}

fn date_of(answer: &reqwest::Response) -> Option<i64> {
    let text = answer.headers().get("date")?.to_str().ok()?;
    // RFC 9110 section 5.6.7: always GMT.
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    Some(time::PrimitiveDateTime::parse(text, format).ok()?.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn another_issuer_is_a_failure() {
        let body = serde_json::json!({ "issuer": "http://a" });
        assert_eq!(judge("http://a", "u", 200, &body).verdict, Verdict::Ok);
        assert_eq!(judge("http://b", "u", 200, &body).verdict, Verdict::Fail);
        assert_eq!(judge("http://b", "u", 404, &Value::Null).verdict, Verdict::Fail);
    }
}
