//! What Latchkey itself asks of others over HTTP: bounded in time and size, and kept away from the inside of the network it
//! runs in.
//!
//! Whoever registers a client names the URLs, and so decides where this machine connects to. So every address is judged
//! by [`guard`] after its name was resolved, and the connection goes to just that address: a name that means another thing
//! a moment later leads nowhere. Redirects are not followed, proxies of the environment are not used, and no answer is
//! handed on to whoever caused the request.

pub mod guard;
pub mod key_sets;
#[cfg(test)]
#[path = "../../tests/support/site.rs"]
mod testing;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;
use tokio::sync::OnceCell;

use guard::{Guard, Names, Refused, SystemNames, is_loopback_host, literal};

/// No answer is read further, in bytes.
pub const LONGEST_ANSWER: usize = 64 << 10;

/// The operator's `server.outbound_*` settings.
#[derive(Clone, Debug)]
pub struct OutboundSettings {
    /// Networks that are connected to although they are internal.
    pub allow: Vec<IpNet>,
    /// Whether this machine itself is: only where the service is for this machine.
    pub loopback: bool,
    /// From the first look-up to the last byte of the answer.
    pub timeout: Duration,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("{0:?} is no URL that is asked: https, or http on loopback, without user and password")]
    Url(String),
    #[error(transparent)]
    Internal(#[from] Refused),
    #[error("it answers {0}, and redirects are not followed: name the place itself")]
    Redirect(u16),
    #[error("it answers {0}")]
    Status(u16),
    #[error("its answer is longer than {} KiB", LONGEST_ANSWER >> 10)]
    TooLong,
    #[error("its answer is no JSON")]
    NotJson,
    #[error("it did not answer in time")]
    TimedOut,
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
}

impl OutboundError {
    /// Whether the same request may come to something later.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Status(status) => *status >= 500 || *status == 429,
            Self::TimedOut | Self::Unreachable(_) => true,
            Self::Url(_) | Self::Internal(_) | Self::Redirect(_) | Self::TooLong | Self::NotJson => false,
        }
    }
}

/// JSON that somebody published.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    pub json: Value,
    /// How long it may be kept, as far as it says.
    pub max_age: Option<Duration>,
}

/// Asks others; shared by all.
pub struct Outbound {
    /// Made at the first request: reading the machine's root certificates takes longer than all else at a start, and
    /// most services never ask anybody.
    http: OnceCell<Client>,
    timeout: Duration,
    guard: Arc<Guard>,
}

impl Outbound {
    pub fn new(settings: OutboundSettings) -> Self {
        Self::with_names(settings, Arc::new(SystemNames))
    }

    /// With names of the caller's own.
    pub fn with_names(settings: OutboundSettings, names: Arc<dyn Names>) -> Self {
        let guard = Arc::new(Guard::new(settings.allow, settings.loopback, names));
        Self { http: OnceCell::new(), timeout: settings.timeout, guard }
    }

    async fn http(&self) -> Result<&Client, OutboundError> {
        self.http.get_or_try_init(|| client(self.timeout, Arc::clone(&self.guard))).await
    }

    /// JSON from a URL.
    ///
    /// # Errors
    /// It is refused, does not answer in time, or answers with something else.
    pub async fn get_json(&self, url: &str) -> Result<Published, OutboundError> {
        let url = self.judged(url)?;
        let answer = self.send(self.http().await?.get(url).header(ACCEPT, "application/json")).await?;
        let max_age = max_age(answer.headers());
        let json = serde_json::from_slice(&read(answer).await?).map_err(|_| OutboundError::NotJson)?;
        Ok(Published { json, max_age })
    }

    /// Posts a form, and looks at nothing of the answer but that it is a good one.
    ///
    /// # Errors
    /// It is refused, does not answer in time, or answers with something else.
    pub async fn post_form(&self, url: &str, form: &[(&str, &str)]) -> Result<(), OutboundError> {
        let url = self.judged(url)?;
        self.send(self.http().await?.post(url).form(form)).await.map(|_| ())
    }

    /// The URL, if its scheme and, where it names an address, that address are taken: no resolver is asked about one.
    fn judged(&self, text: &str) -> Result<Url, OutboundError> {
        let unusable = || OutboundError::Url(text.chars().take(120).collect());
        let url = Url::parse(text).map_err(|_| unusable())?;
        let host = url.host_str().ok_or_else(unusable)?;
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback_host(host));
        if !is_safe || !url.username().is_empty() || url.password().is_some() {
            return Err(unusable());
        }
        if let Some(address) = literal(host) {
            self.guard.judge(host, address)?;
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, OutboundError> {
        let answer = request.send().await.map_err(explain)?;
        let status = answer.status();
        if status.is_success() {
            Ok(answer)
        } else if status.is_redirection() {
            Err(OutboundError::Redirect(status.as_u16()))
        } else {
            Err(OutboundError::Status(status.as_u16()))
        }
    }
}

/// # Errors
/// The machine has no TLS to offer.
async fn client(timeout: Duration, guard: Arc<Guard>) -> Result<Client, OutboundError> {
    let make = move || {
        Client::builder()
            .user_agent(concat!("latchkey/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(guard)
            // A connection that waits for the next request would spare it the judgement.
            .pool_max_idle_per_host(0)
            .build()
    };
    match tokio::task::spawn_blocking(make).await {
        Ok(made) => made.map_err(|error| OutboundError::Unreachable(innermost(&error))),
        Err(error) => Err(OutboundError::Unreachable(error.to_string())),
    }
}

async fn read(mut answer: Response) -> Result<Vec<u8>, OutboundError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(explain)? {
        if bytes.len() + chunk.len() > LONGEST_ANSWER {
            return Err(OutboundError::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn explain(error: reqwest::Error) -> OutboundError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return OutboundError::Internal(refused.clone());
        }
        cause = inner.source();
    }
    if error.is_timeout() { OutboundError::TimedOut } else { OutboundError::Unreachable(innermost(&error)) }
}

/// What really happened: the layers around it only say that it did.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// `max-age` of RFC 9111 section 5.2.2.1; none at all where the answer is not to be kept.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives: Vec<String> =
        lines.flat_map(|line| line.split(',')).map(|directive| directive.trim().to_ascii_lowercase()).collect();
    if directives.iter().any(|directive| directive == "no-store" || directive == "no-cache") {
        return Some(Duration::ZERO);
    }
    let seconds = directives.iter().find_map(|directive| directive.strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::testing::{Reply, Site};
    use super::*;

    fn settings() -> OutboundSettings {
        OutboundSettings { allow: Vec::new(), loopback: true, timeout: Duration::from_secs(5) }
    }

    async fn asked(site: &Site) -> Result<Published, OutboundError> {
        Outbound::new(settings()).get_json(&site.url()).await
    }

    #[tokio::test]
    async fn json_comes_with_its_age() {
        for (header, age) in [
            ("", None),
            ("cache-control: public, max-age=300\r\n", Some(300)),
            ("cache-control: Max-Age=\"5\"\r\n", Some(5)),
            ("cache-control: max-age=300\r\ncache-control: no-cache\r\n", Some(0)),
            ("cache-control: no-store\r\n", Some(0)),
            ("cache-control: max-age=-1\r\n", None),
        ] {
            let site = Site::open(Reply::json(header, r#"{"keys":[]}"#)).await;
            let found = asked(&site).await.unwrap();
            assert_eq!(found.json, serde_json::json!({ "keys": [] }));
            assert_eq!(found.max_age, age.map(Duration::from_secs), "{header}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_named() {
        let site = Site::open(Reply::json("", "not json")).await;
        assert!(matches!(asked(&site).await, Err(OutboundError::NotJson)));
        site.says(Reply::with("404 Not Found", "", "{}"));
        assert!(matches!(asked(&site).await, Err(OutboundError::Status(404))));
        site.says(Reply::json("", &format!("[\"{}\"]", "x".repeat(LONGEST_ANSWER))));
        assert!(matches!(asked(&site).await, Err(OutboundError::TooLong)));
        // Chunked, without an end that could be known beforehand.
        let endless = format!("10000\r\n{}\r\n10000\r\n{}\r\n", " ".repeat(0x10000), " ".repeat(0x10000));
        site.says(Reply::Text(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{endless}")));
        assert!(matches!(asked(&site).await, Err(OutboundError::TooLong)));
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let elsewhere = Site::open(Reply::json("", "{}")).await;
        let site = Site::open(Reply::with("302 Found", &format!("location: {}\r\n", elsewhere.url()), "")).await;
        assert!(matches!(asked(&site).await, Err(OutboundError::Redirect(302))));
        assert_eq!(elsewhere.hits(), 0);
    }

    #[tokio::test]
    async fn silence_ends_with_the_time_that_was_given() {
        let site = Site::open(Reply::Silence).await;
        let short = OutboundSettings { timeout: Duration::from_millis(100), ..settings() };
        let error = Outbound::new(short.clone()).get_json(&site.url()).await.unwrap_err();
        assert!(matches!(error, OutboundError::TimedOut) && error.is_passing(), "{error:?}");
        let beginning = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{";
        site.says(Reply::Stalled(beginning.into()));
        let error = Outbound::new(short.clone()).get_json(&site.url()).await.unwrap_err();
        assert!(matches!(error, OutboundError::TimedOut), "{error:?}");
        site.says(Reply::Text(beginning.into()));
        let error = Outbound::new(short).get_json(&site.url()).await.unwrap_err();
        assert!(matches!(error, OutboundError::Unreachable(_)) && error.is_passing(), "{error:?}");
    }

    #[tokio::test]
    async fn internal_addresses_are_not_asked() {
        let strict = Outbound::new(OutboundSettings { loopback: false, ..settings() });
        let site = Site::open(Reply::json("", "{}")).await;
        for url in [
            site.url(),
            site.url().replace("127.0.0.1", "localhost"),
            site.url().replace("127.0.0.1", "[::ffff:127.0.0.1]"),
            site.url().replace("127.0.0.1", "2130706433"),
            site.url().replace("127.0.0.1", "0x7f.1"),
            "https://169.254.169.254/latest/meta-data".into(),
            "https://[fd00:ec2::254]/".into(),
            "https://10.0.0.1/jwks".into(),
        ] {
            let error = strict.get_json(&url).await.unwrap_err();
            assert!(matches!(error, OutboundError::Internal(_)) && !error.is_passing(), "{url}: {error:?}");
            assert!(error.to_string().contains("server.outbound_allow"), "{error}");
        }
        assert_eq!(site.hits(), 0);
        let allowed = OutboundSettings { allow: vec!["127.0.0.0/8".parse().unwrap()], loopback: false, ..settings() };
        assert!(Outbound::new(allowed).get_json(&site.url()).await.is_ok());
    }

    #[tokio::test]
    async fn only_safe_urls_are_asked() {
        for url in [
            "http://app.example.com/jwks",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "https://user@app.example.com/",
            "https://user:pass@127.0.0.1/",
            "jwks.json",
            "",
        ] {
            let error = Outbound::new(settings()).get_json(url).await.unwrap_err();
            assert!(matches!(error, OutboundError::Url(_)), "{url}: {error:?}");
        }
    }

    /// One answer after the other.
    struct Rebinding(Mutex<Vec<Vec<IpAddr>>>);

    #[async_trait]
    impl Names for Rebinding {
        async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            let mut answers = self.0.lock().unwrap();
            Ok(if answers.is_empty() { Vec::new() } else { answers.remove(0) })
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_and_connected_to_as_it_was_judged() {
        let site = Site::open(Reply::json("", "{}")).await;
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (here, metadata) = (address("127.0.0.1"), address("169.254.169.254"));
        let names = Arc::new(Rebinding(Mutex::new(vec![vec![here], vec![metadata], vec![here, metadata]])));
        let settings = OutboundSettings { allow: vec!["127.0.0.1/32".parse().unwrap()], loopback: false, ..settings() };
        let outbound = Outbound::with_names(settings, Arc::clone(&names) as _);
        let url = site.url().replace("127.0.0.1", "localhost");
        assert!(outbound.get_json(&url).await.is_ok());
        assert_eq!(names.0.lock().unwrap().len(), 2, "looked up once, between judgement and connection not again");
        for _ in 0..2 {
            let error = outbound.get_json(&url).await.unwrap_err();
            assert!(matches!(&error, OutboundError::Internal(it) if it.address == metadata), "{error:?}");
        }
        let error = outbound.get_json(&url).await.unwrap_err();
        assert!(matches!(error, OutboundError::Unreachable(_)), "{error:?}");
        assert_eq!(site.hits(), 1);
    }

    #[tokio::test]
    async fn a_form_is_posted_under_the_same_guard() {
        let site = Site::open(Reply::with("204 No Content", "", "")).await;
        let form = [("logout_token", "a.b.c")];
        Outbound::new(settings()).post_form(&site.url(), &form).await.unwrap();
        assert!(site.heard().starts_with("POST /jwks.json") && site.heard().ends_with("logout_token=a.b.c"));
        let strict = Outbound::new(OutboundSettings { loopback: false, ..settings() });
        assert!(matches!(strict.post_form(&site.url(), &form).await, Err(OutboundError::Internal(_))));
        site.says(Reply::with("500 Internal Server Error", "", ""));
        let error = Outbound::new(settings()).post_form(&site.url(), &form).await.unwrap_err();
        assert!(matches!(error, OutboundError::Status(500)) && error.is_passing());
        drop(site);
    }
}
