//! What answers: the server under its issuer, and the database.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Finding;
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
    pub(super) async fn ask(settings: &Settings) -> Self {
        let issuer = &settings.server.issuer;
        let mut server = Self { seconds: None, is_ready: false, findings: Vec::new() };
        let http = match reqwest::Client::builder().timeout(PATIENCE).build() {
            Ok(http) => http,
            Err(error) => {
                server.findings.push(Finding::fail("issuer", format!("no HTTP client: {error}"), "mend OpenSSL"));
                return server;
            }
        };
        let url = metadata_url(issuer);
        let answer = match http.get(&url).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let what = format!("{issuer} does not answer: {}", innermost(&error));
                let mend = "start it with `latchkey serve`; if it runs, mend DNS, proxy or firewall in front of it";
                server.findings.push(Finding::warn("issuer", what, mend));
                return server;
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
            Err(error) => Finding::fail("ready", innermost(&error), "its log says why"),
        });
        server
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

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Is the database there? What a running server says of it counts more than a look from outside.
pub(super) async fn database(settings: &Settings, server: &Server) -> Vec<Finding> {
    let url = &settings.database.url;
    let shown = url.masked();
    let finding = match url.sqlite_path() {
        _ if server.is_ready => Finding::ok("database", format!("{shown} serves the running server")),
        Some(path) => sqlite(Path::new(path)),
        None => postgres(url.expose(), &shown).await,
    };
    vec![finding]
}

fn sqlite(path: &Path) -> Finding {
    let about = "database";
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !path.exists() {
        return if parent.is_dir() {
            Finding::ok(about, format!("{} is made at the first start", path.display()))
        } else {
            let mend = format!("mkdir -p {}", parent.display());
            Finding::fail(about, format!("there is no directory {}", parent.display()), mend)
        };
    }
    let lock = path.with_file_name(format!("{}.lock", path.file_name().unwrap_or_default().to_string_lossy()));
    let held = std::fs::File::open(&lock).is_ok_and(|lock| {
        // Closing the handle gives the lock back at once if it was free.
        matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
    });
    if held {
        let holder = std::fs::read_to_string(&lock).unwrap_or_default();
        return Finding::ok(about, format!("{} is in use by {}", path.display(), holder.trim()));
    }
    match magic(path) {
        Ok(true) => Finding::ok(about, format!("{} is there, and nobody holds it", path.display())),
        Ok(false) => Finding::fail(about, format!("{} is no SQLite file", path.display()), "mend database.url"),
        Err(error) => Finding::fail(about, format!("{}: {error}", path.display()), "mend its permissions"),
    }
}

/// Whether the file begins as SQLite files do, or is empty, which a first start mends.
fn magic(path: &Path) -> std::io::Result<bool> {
    use std::io::Read as _;
    std::fs::OpenOptions::new().write(true).open(path)?;
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(16).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == b"SQLite format 3\0")
}

async fn postgres(url: &str, shown: &str) -> Finding {
    let about = "database";
    let Some(address) = address_of(url) else {
        return Finding::ok(about, format!("{shown} is reached through a socket file; `latchkey migrate` tries it"));
    };
    match timeout(PATIENCE, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => Finding::ok(about, format!("{address} takes connections; `latchkey migrate` tries the login")),
        Ok(Err(error)) => Finding::fail(about, format!("{address}: {error}"), "start it, or mend database.url"),
        Err(_) => Finding::fail(about, format!("{address} does not answer"), "mend the network or database.url"),
    }
}

/// Host and port of a PostgreSQL URL; `None` where it names none.
fn address_of(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    let has_port =
        host.rsplit_once(':').is_some_and(|(before, port)| port.parse::<u16>().is_ok() && !before.ends_with(':'));
    Some(if has_port { host.to_owned() } else { format!("{host}:5432") })
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

    #[test]
    fn a_database_is_found_by_its_url() {
        assert_eq!(address_of("postgres://u:p@db/latchkey").as_deref(), Some("db:5432"));
        assert_eq!(address_of("postgres://db:6432").as_deref(), Some("db:6432"));
        assert_eq!(address_of("postgres://[::1]:6432/x").as_deref(), Some("[::1]:6432"));
        assert_eq!(address_of("postgres:///latchkey?host=/run/postgresql"), None);
    }

    #[test]
    fn a_file_that_is_no_database_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.db");
        assert_eq!(sqlite(&path).verdict, Verdict::Ok);
        std::fs::write(&path, "something else").unwrap();
        assert_eq!(sqlite(&path).verdict, Verdict::Fail);
        std::fs::write(&path, b"SQLite format 3\0...").unwrap();
        assert_eq!(sqlite(&path).verdict, Verdict::Ok);
        assert_eq!(sqlite(&place.path().join("none/x.db")).verdict, Verdict::Fail);
    }
}
