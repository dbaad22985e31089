//! What is asked of Latchkey, one operation at a time, and how each answer is checked.

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use latchkey::domain::key::Alg;

use super::forge::Forge;
use super::generator::{Answer, Caller, Exchange, once};
use super::goals::Operation;
use super::place::{PASSWORD, Place, Registered, USERNAME};

/// Callers of an operation, ready for `connections` connections. The service must be running.
///
/// # Errors
/// What they need cannot be had.
pub fn callers(operation: Operation, place: &Place, connections: usize) -> anyhow::Result<Vec<Box<dyn Caller>>> {
    (0..connections).map(|_| caller(operation, place)).collect()
}

/// One caller.
pub fn caller(operation: Operation, place: &Place) -> anyhow::Result<Box<dyn Caller>> {
    let client = |alg| place.clients.of(alg);
    Ok(match operation {
        Operation::Refresh(alg) => Box::new(Refreshing::begin(place, alg)?),
        Operation::ClientCredentials(alg) => {
            let form = "grant_type=client_credentials&scope=read";
            Box::new(Fixed::new(post("/oauth2/token", client(alg), form), 200, r#"{"access_token":""#))
        }
        Operation::Introspection => {
            let form = format!("token={}", Login::of(place, Alg::ES256)?.access);
            Box::new(Fixed::new(post("/oauth2/introspect", client(Alg::ES256), &form), 200, r#"{"active":true,"#))
        }
        Operation::Jwks => Box::new(Fixed::new(get(JWKS, ""), 200, r#"{"keys":[{"#)),
        Operation::JwksNotModified => {
            let Exchange { head, .. } = once(place.address, &mut Fixed::new(get(JWKS, ""), 200, ""))?;
            let etag = header(&head, "etag").context("the key set has no ETag")?;
            Box::new(Fixed::new(get(JWKS, &format!("if-none-match: {etag}\r\n")), 304, ""))
        }
        Operation::Password => Box::new(Fixed::new(login_request(client(Alg::ES256)), 200, r#"{"access_token":""#)),
        Operation::Userinfo => {
            let authorization = format!("authorization: Bearer {}\r\n", Login::of(place, Alg::ES256)?.access);
            Box::new(Fixed::new(get("/oauth2/userinfo", &authorization), 200, r#"{"preferred_username":"alice","#))
        }
        Operation::Revoke => bail!("sessions to revoke are forged beforehand"),
    })
}

const JWKS: &str = "/.well-known/jwks.json";

pub fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

pub fn post(path: &str, client: &Registered, form: &str) -> Vec<u8> {
    let credentials = STANDARD.encode(format!("{}:{}", client.id, client.secret));
    let length = form.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {credentials}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{form}"
    )
    .into_bytes()
}

fn login_request(client: &Registered) -> Vec<u8> {
    let password = PASSWORD.replace(' ', "+");
    let form = format!("grant_type=password&scope=openid+profile+read&username={USERNAME}&password={password}");
    post("/oauth2/token", client, &form)
}

/// A header's value.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    lines.find_map(|line| {
        let (field, value) = line.split_once(": ")?;
        field.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The same request again and again, whose answers all begin alike.
pub struct Fixed {
    request: Vec<u8>,
    status: u16,
    begins: String,
}

impl Fixed {
    pub fn new(request: Vec<u8>, status: u16, begins: impl Into<String>) -> Self {
        Self { request, status, begins: begins.into() }
    }
}

impl Caller for Fixed {
    fn ask(&mut self, request: &mut Vec<u8>) -> bool {
        request.extend_from_slice(&self.request);
        true
    }

    fn hear(&mut self, answer: &Answer<'_>) -> anyhow::Result<()> {
        ensure!(answer.status == self.status, "{} was expected", self.status);
        ensure!(answer.body.starts_with(self.begins.as_bytes()), "it does not begin with {}", self.begins);
        Ok(())
    }
}

/// A user's login by password.
pub struct Login {
    pub access: String,
    pub refresh: String,
}

impl Login {
    pub fn of(place: &Place, alg: Alg) -> anyhow::Result<Self> {
        let request = login_request(place.clients.of(alg));
        let Exchange { body, .. } = once(place.address, &mut Fixed::new(request, 200, r#"{"access_token":""#))?;
        let body: serde_json::Value = serde_json::from_slice(&body)?;
        let text = |name: &str| body[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {body}"));
        Ok(Self { access: text("access_token")?, refresh: text("refresh_token")? })
    }
}

/// One session, refreshed again and again: each answer holds the token of the next request.
pub struct Refreshing {
    request: Vec<u8>,
    /// Where the token begins, which ends the request.
    token: usize,
}

impl Refreshing {
    pub fn begin(place: &Place, alg: Alg) -> anyhow::Result<Self> {
        Ok(Self::with(place.clients.of(alg), &Login::of(place, alg)?.refresh))
    }

    pub fn with(client: &Registered, token: &str) -> Self {
        let request = post("/oauth2/token", client, &format!("grant_type=refresh_token&refresh_token={token}"));
        Self { token: request.len() - token.len(), request }
    }
}

impl Caller for Refreshing {
    fn ask(&mut self, request: &mut Vec<u8>) -> bool {
        request.extend_from_slice(&self.request);
        true
    }

    fn hear(&mut self, answer: &Answer<'_>) -> anyhow::Result<()> {
        ensure!(answer.status == 200, "200 was expected");
        ensure!(answer.body.starts_with(br#"{"access_token":""#), "there is no access token");
        let next = refresh_token(answer.body).context("there is no refresh token")?;
        let current = &mut self.request[self.token..];
        ensure!(next.len() == current.len(), "the refresh token has another length");
        ensure!(next != current, "the refresh token is not a new one");
        current.copy_from_slice(next);
        Ok(())
    }
}

/// The refresh token in a token answer.
fn refresh_token(body: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = br#""refresh_token":""#;
    // It stands near the end.
    let at = body.windows(NAME.len()).rposition(|name| name == NAME)? + NAME.len();
    let rest = &body[at..];
    rest.get(..rest.iter().position(|byte| *byte == b'"')?)
}

/// Sessions that are ended one after the other, each by its refresh token.
pub struct Revoking {
    head: Vec<u8>,
    forge: Forge,
    next: u64,
    step: u64,
    end: u64,
}

impl Revoking {
    /// Every `step`th session from `first` on, below `end`.
    pub fn new(client: &Registered, forge: Forge, first: u64, step: u64, end: u64) -> anyhow::Result<Self> {
        let token = forge.token(first)?;
        let mut head = post("/oauth2/revoke", client, &format!("token={token}"));
        head.truncate(head.len() - token.len());
        Ok(Self { head, forge, next: first, step, end })
    }
}

impl Caller for Revoking {
    fn ask(&mut self, request: &mut Vec<u8>) -> bool {
        if self.next >= self.end {
            return false;
        }
        let Ok(token) = self.forge.token(self.next) else { return false };
        self.next += self.step;
        request.extend_from_slice(&self.head);
        request.extend_from_slice(token.as_bytes());
        true
    }

    fn hear(&mut self, answer: &Answer<'_>) -> anyhow::Result<()> {
        ensure!(answer.status == 200, "200 was expected");
        Ok(())
    }
}
