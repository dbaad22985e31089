//! The demo's client: every step goes through real HTTP, as any other program's would.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::cli::remote::basic;
use crate::domain::ids::BUILT_IN_ADMIN;
use crate::domain::secret::SecretText;

/// The client that the demo registers.
pub(super) const CLIENT: &str = "demo-app";
/// The user that the demo creates.
pub(super) const USER: &str = "alice";
/// Not a secret: it opens a database that dies with the demo.
pub(super) const PASSWORD: &str = "down-the-rabbit-hole";

/// Where the demo's service is, and the secrets of its two clients.
#[derive(Debug)]
pub(super) struct Caller {
    pub base: String,
    pub client_secret: SecretText,
    pub admin_secret: SecretText,
    http: reqwest::Client,
}

/// What a token answer carries.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    pub access: String,
    pub refresh: String,
    pub expires_in: u64,
}

impl Caller {
    pub(super) fn new(base: String, client_secret: SecretText, admin_secret: SecretText) -> Result<Self> {
        // Whatever proxy the environment names, the demo is on this very machine.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().build()?;
        Ok(Self { base, client_secret, admin_secret, http })
    }

    pub(super) async fn login(&self) -> Result<Tokens> {
        tokens(self.token(&[("grant_type", "password"), ("username", USER), ("password", PASSWORD)]).await?)
    }

    pub(super) async fn refresh(&self, token: &str) -> Result<Tokens> {
        tokens(self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await?)
    }

    async fn token(&self, form: &[(&str, &str)]) -> Result<Value> {
        self.post("/oauth2/token", form).await
    }

    pub(super) async fn introspect(&self, token: &str) -> Result<Value> {
        self.post("/oauth2/introspect", &[("token", token)]).await
    }

    pub(super) async fn revoke(&self, token: &str) -> Result<Value> {
        self.post("/oauth2/revoke", &[("token", token)]).await
    }

    pub(super) async fn jwks(&self) -> Result<Value> {
        self.send(self.http.get(format!("{}/.well-known/jwks.json", self.base))).await
    }

    /// Rotates the ES256 keys as the built-in administrator.
    pub(super) async fn rotate(&self, is_dry_run: bool) -> Result<Value> {
        let request = self
            .http
            .post(format!("{}/oauth2/token", self.base))
            .header("authorization", basic(BUILT_IN_ADMIN, &self.admin_secret))
            .form(&[("grant_type", "client_credentials"), ("scope", "admin:keys")]);
        let answer = self.send(request).await.context("a token for the administrator")?;
        let token = answer["access_token"].as_str().context("the answer holds no access_token")?;
        let body = json!({ "alg": "ES256", "mode": "now", "force": true, "dry_run": is_dry_run });
        let request = self.http.post(format!("{}/admin/v1/keys/rotate", self.base)).bearer_auth(token).json(&body);
        self.send(request).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Value> {
        let request = self.http.post(format!("{}{path}", self.base));
        self.send(request.header("authorization", basic(CLIENT, &self.client_secret)).form(form)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if !status.is_success() {
            bail!("the service answered {status}: {}", String::from_utf8_lossy(&body));
        }
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&body)?) }
    }
}

fn tokens(answer: Value) -> Result<Tokens> {
    let text = |name: &str| {
        let value = answer[name].as_str().map(str::to_owned);
        value.with_context(|| format!("the answer holds no {name}"))
    };
    let expires_in = answer["expires_in"].as_u64().context("the answer holds no expires_in")?;
    Ok(Tokens { access: text("access_token")?, refresh: text("refresh_token")?, expires_in })
}

/// Enough of a token to tell it from another.
pub(super) fn short(token: &str) -> String {
    let count = token.chars().count();
    if count <= 24 {
        return token.to_owned();
    }
    let head: String = token.chars().take(12).collect();
    let tail: String = token.chars().skip(count - 8).collect();
    format!("{head}…{tail}")
}
