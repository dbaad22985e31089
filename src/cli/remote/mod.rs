//! The admin API of a running server, as the shell commands call it: a token by `client_credentials` with the narrowest
//! scope that will do, then the call, then what came back or why not.

mod answer;
mod authority;
mod base;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use reqwest::{Method, Url};
use serde_json::Value;

use super::Globals;
use super::failure::{Failure, Result};
use super::input;
use super::output::{Style, line, note};
use super::table;
use crate::domain::ids::BUILT_IN_ADMIN;
use crate::domain::scope::is_admin;
use crate::domain::secret::SecretText;
use answer::Refused;
pub use answer::{Trouble, trouble};
pub use authority::Authority;
use base::Base;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Every right there is.
const FULL: &str = "admin";

/// How many seconds long work waits for a busy server, all together.
const LONGEST_WAITING: u64 = 120;

/// The largest page the admin API gives.
const PAGE: usize = 1000;

/// Which server, and who calls.
#[derive(Clone, Debug, clap::Args)]
pub struct RemoteArgs {
    /// Base URL of the running server; of its admin listener, where it has one [default: from the configuration]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    server: Option<String>,

    /// The client to act as [default: LATCHKEY_CLIENT_ID, else latchkey-admin]
    #[arg(long = "as", value_name = "CLIENT_ID", help_heading = "Server")]
    acting: Option<String>,

    /// File holding the client's secret [default: LATCHKEY_CLIENT_SECRET, else a prompt]
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    secret_file: Option<PathBuf>,

    #[command(flatten)]
    authority: Authority,

    /// Print the JSON of the admin API instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// A page of a list as far as it was followed.
#[derive(Debug)]
pub struct Items {
    pub items: Vec<Value>,
    /// Where the rest begins, if a limit cut the list.
    pub next: Option<String>,
}

/// A server, and a token for it.
#[derive(Debug)]
pub struct Remote {
    http: reqwest::Client,
    server: String,
    client_id: String,
    secret: SecretText,
    token: SecretText,
    /// The scope that the token was asked for with.
    carried: String,
}

impl Remote {
    /// Gets a token that carries `scope` and nothing else.
    ///
    /// # Errors
    /// There is no secret, no server, or the server refuses; 2 or 1 as exit status.
    pub async fn connect(args: &RemoteArgs, globals: &Globals, scope: &str) -> Result<Self> {
        let Base { url: server, pinned } = base::of(args.server.as_deref(), || Ok(globals.load()?.settings))?;
        let client_id = args.acting.clone().or_else(|| std::env::var("LATCHKEY_CLIENT_ID").ok());
        let client_id = client_id.unwrap_or_else(|| BUILT_IN_ADMIN.to_owned());
        let secret = match (&args.secret_file, std::env::var("LATCHKEY_CLIENT_SECRET")) {
            (Some(path), _) => input::secret_from(path)?,
            (None, Ok(text)) if !text.is_empty() => SecretText::new(text),
            _ => input::secret(&format!("secret of {client_id}"))?,
        };
        let agent = concat!("latchkey/", env!("CARGO_PKG_VERSION"));
        // A redirect would carry the secret elsewhere; the server never sends one here.
        let mut http =
            reqwest::Client::builder().timeout(TIMEOUT).user_agent(agent).redirect(reqwest::redirect::Policy::none());
        if let Some((host, address)) = pinned {
            http = http.resolve(&host, address);
        }
        let http = args.authority.trusted(http)?.build().map_err(Failure::failed)?;
        let mut remote = Self { http, server, client_id, secret, token: SecretText::default(), carried: String::new() };
        remote.renew(scope, scope).await?;
        Ok(remote)
    }

    async fn token(&self, scope: &str) -> std::result::Result<SecretText, Refused> {
        let url = format!("{}/oauth2/token", self.server);
        let request = self
            .http
            .post(&url)
            .header("authorization", basic(&self.client_id, &self.secret))
            .form(&[("grant_type", "client_credentials"), ("scope", scope)]);
        let answer = answer::read(request, &url).await?;
        let token = answer.get("access_token").and_then(Value::as_str);
        token.map(SecretText::new).ok_or_else(|| {
            Failure::because(format_args!("{url} gave no access_token")).hint("is --server a Latchkey server?").into()
        })
    }

    /// Changes something: as [`Remote::call`], and where the narrow token is refused because the principal to be
    /// changed holds more than it carries, once more with all that an administrator has.
    ///
    /// # Errors
    /// Those of [`Remote::call`].
    pub async fn change(&self, method: Method, segments: &[&str], body: Option<&Value>) -> Result<Value> {
        let url = self.url(segments)?;
        let refused = match self.send(method.clone(), url.clone(), body, &self.token).await {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        if refused.code != "insufficient_scope" {
            return Err(refused.failure);
        }
        match self.token(FULL).await {
            Ok(token) => Ok(self.send(method, url, body, &token).await?),
            // Who is no full administrator learns what was missing, not that there is no more to be had.
            Err(_) => Err(refused.failure),
        }
    }

    /// Posts JSON lines in the course of long work, and answers what came back: gets another token when the one at hand
    /// has run out or does not carry what this call hands out, and waits where the server asks for it.
    ///
    /// `scopes` are the one that would do for everything, and the one to make do with where the client may not have it:
    /// the server then refuses what is beyond it, and takes the rest.
    ///
    /// # Errors
    /// Those of [`Remote::call`].
    pub async fn send_lines(
        &mut self,
        segments: &[&str],
        query: &[(&str, &str)],
        lines: String,
        scopes: [&str; 2],
    ) -> Result<Value> {
        let mut url = self.url(segments)?;
        url.query_pairs_mut().extend_pairs(query);
        let mut waits = 0;
        let mut renewals = 0;
        let [whole, narrow] = scopes;
        if self.carried != whole {
            self.renew(whole, narrow).await?;
        }
        loop {
            let request = self.http.post(url.clone()).bearer_auth(self.token.expose());
            let request = request.header("content-type", "application/x-ndjson").body(lines.clone());
            let refused = match answer::read(request, url.as_str()).await {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            match (refused.code.as_str(), refused.retry_after) {
                ("invalid_token", _) if renewals == 0 => {
                    renewals += 1;
                    self.renew(whole, narrow).await?;
                }
                (_, Some(seconds)) if waits < LONGEST_WAITING => {
                    let pause = seconds.clamp(1, 30);
                    waits += pause;
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
                _ => return Err(refused.failure),
            }
        }
    }

    async fn renew(&mut self, whole: &str, narrow: &str) -> Result<()> {
        self.token = match self.token(whole).await {
            Err(refused) if refused.code == "invalid_scope" && whole != narrow => self.token(narrow).await?,
            token => token?,
        };
        whole.clone_into(&mut self.carried);
        Ok(())
    }

    /// Calls `/admin/v1` followed by the segments, each of which is encoded. `Null` where the answer has no body.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn call(&self, method: Method, segments: &[&str], body: Option<&Value>) -> Result<Value> {
        Ok(self.send(method, self.url(segments)?, body, &self.token).await?)
    }

    /// Follows a list to its end, or to `limit` items.
    ///
    /// # Errors
    /// Those of [`Remote::call`].
    pub async fn list(&self, segments: &[&str], query: &[(&str, Option<&str>)], limit: Option<usize>) -> Result<Items> {
        self.list_after(segments, query, limit, None).await
    }

    /// As [`Remote::list`], from a cursor on.
    ///
    /// # Errors
    /// Those of [`Remote::call`].
    pub async fn list_after(
        &self,
        segments: &[&str],
        query: &[(&str, Option<&str>)],
        limit: Option<usize>,
        mut after: Option<String>,
    ) -> Result<Items> {
        let given = || query.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let mut items = Vec::new();
        loop {
            let page = limit.map_or(PAGE, |limit| (limit - items.len()).min(PAGE));
            let mut url = self.url(segments)?;
            url.query_pairs_mut().extend_pairs(given()).append_pair("limit", &page.to_string());
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let mut answer = self.send(Method::GET, url, None, &self.token).await?;
            match answer.get_mut("items").map(Value::take) {
                Some(Value::Array(more)) => items.extend(more),
                _ => return Err(Failure::because("the server answered with something that is no list")),
            }
            let next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
            let is_enough = limit.is_some_and(|limit| items.len() >= limit);
            if next.is_none() || next == after || is_enough {
                return Ok(Items { items, next });
            }
            after = next;
        }
    }

    fn url(&self, segments: &[&str]) -> Result<Url> {
        let mut url = Url::parse(&format!("{}/admin/v1", self.server)).map_err(Failure::failed)?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        Ok(url)
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        token: &SecretText,
    ) -> std::result::Result<Value, Refused> {
        let shown = url.to_string();
        let mut request = self.http.request(method, url).bearer_auth(token.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        answer::read(request, &shown).await
    }
}

/// The scope that `right` needs when it also hands out others: nobody grants an `admin*` scope that their own token
/// does not carry.
pub fn granting<'a>(right: &str, handed_out: impl IntoIterator<Item = &'a str>) -> String {
    let mut scope = vec![right];
    for token in handed_out {
        if is_admin(token) && !scope.contains(&token) {
            scope.push(token);
        }
    }
    scope.join(" ")
}

/// Prints what was listed: a table, or the JSON of the admin API.
///
/// # Errors
/// Standard output is closed.
pub fn print_list(listed: Items, columns: &[table::Column], args: &RemoteArgs) -> Result<()> {
    if args.json {
        let whole = serde_json::json!({ "items": listed.items, "next": listed.next });
        return print_json(&whole);
    }
    if listed.items.is_empty() {
        note("there are none");
        return Ok(());
    }
    line(table::list(columns, &listed.items, Style::stdout()))?;
    if let Some(next) = listed.next {
        note(format_args!("there are more: raise --limit, or go on with --after {next}"));
    }
    Ok(())
}

/// Prints one object: a member a line, or its JSON.
///
/// # Errors
/// Standard output is closed.
pub fn print_object(value: &Value, args: &RemoteArgs) -> Result<()> {
    if args.json { print_json(value) } else { Ok(line(table::object(value, Style::stdout()))?) }
}

fn print_json(value: &Value) -> Result<()> {
    Ok(line(serde_json::to_string_pretty(value).map_err(Failure::failed)?)?)
}

/// `client_secret_basic`: both parts form-encoded first (RFC 6749 section 2.3.1).
pub fn basic(client_id: &str, secret: &SecretText) -> String {
    let encode = |text: &str| form_encode(text);
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret.expose()))))
}

/// `application/x-www-form-urlencoded`.
pub fn form_encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else if byte == b' ' {
            out.push('+');
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_encodes_before_it_joins() {
        assert_eq!(form_encode("a b:c+é*"), "a+b%3Ac%2B%C3%A9*");
        assert_eq!(basic("a:b", &SecretText::new("c")), format!("Basic {}", STANDARD.encode("a%3Ab:c")));
    }

    #[test]
    fn who_hands_out_rights_asks_for_them_first() {
        assert_eq!(granting("admin:clients", ["read", "write"]), "admin:clients");
        assert_eq!(granting("admin:clients", ["read", "admin:keys", "admin:clients"]), "admin:clients admin:keys");
    }
}
