//! Verifies Latchkey's access tokens with jsonwebtoken, by the key set that Latchkey publishes.

use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::Mutex;

/// How long a key set is used, and how long after a fetch an unknown key may cause the next.
const LIFESPAN: Duration = Duration::from_secs(300);
const COOLDOWN: Duration = Duration::from_secs(30);

/// What is used of a token. A claim without a default has to be there.
#[derive(Debug, Deserialize)]
pub struct Claims {
    pub sub: String,
    #[allow(dead_code)]
    pub client_id: String,
    #[allow(dead_code)]
    pub iat: u64,
    #[serde(default)]
    pub scope: String,
}

#[derive(Debug)]
pub enum Refusal {
    NoToken,
    BadToken,
    NoScope(&'static str),
    /// Latchkey does not answer: nobody's token is at fault.
    NoKeys,
}

impl Refusal {
    pub fn status(&self) -> u16 {
        match self {
            Self::NoToken | Self::BadToken => 401,
            Self::NoScope(_) => 403,
            Self::NoKeys => 503,
        }
    }

    /// The value of `WWW-Authenticate`.
    pub fn challenge(&self) -> Option<String> {
        match self {
            Self::NoToken => Some("Bearer".into()),
            Self::BadToken => Some(r#"Bearer error="invalid_token""#.into()),
            Self::NoScope(scope) => Some(format!(r#"Bearer error="insufficient_scope", scope="{scope}""#)),
            Self::NoKeys => None,
        }
    }
}

/// Made once, when the service starts: it holds the keys.
pub struct Verifier {
    issuer: String,
    audience: String,
    http: reqwest::Client,
    held: Mutex<(JwkSet, Option<Instant>)>,
}

impl Verifier {
    pub fn new(issuer: String, audience: String) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(Self { issuer, audience, http, held: Mutex::new((JwkSet { keys: Vec::new() }, None)) })
    }

    /// The claims behind an `Authorization` header.
    pub async fn caller(&self, authorization: Option<&str>) -> Result<Claims, Refusal> {
        match authorization.and_then(|value| value.split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.verify(token.trim()).await,
            _ => Err(Refusal::NoToken),
        }
    }

    async fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        let header = decode_header(token).map_err(|_| Refusal::BadToken)?;
        if header.typ.as_deref() != Some("at+jwt") || !matches!(header.alg, Algorithm::ES256 | Algorithm::RS256) {
            return Err(Refusal::BadToken);
        }
        let key = self.key(&header.kid.ok_or(Refusal::BadToken)?).await?;
        let mut rules = Validation::new(header.alg);
        rules.leeway = 30;
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        decode(token, &key, &rules).map(|token| token.claims).map_err(|_| Refusal::BadToken)
    }

    async fn key(&self, kid: &str) -> Result<DecodingKey, Refusal> {
        let mut held = self.held.lock().await; // one fetch at a time
        let (keys, tried) = &mut *held;
        let patience = if keys.find(kid).is_some() { LIFESPAN } else { COOLDOWN };
        if keys.keys.is_empty() || tried.is_none_or(|tried| tried.elapsed() > patience) {
            *tried = Some(Instant::now());
            match self.fetch().await {
                Ok(fetched) => *keys = fetched,
                Err(_) if keys.keys.is_empty() => return Err(Refusal::NoKeys),
                Err(_) => {} // what it has still verifies
            }
        }
        let key = keys.find(kid).ok_or(Refusal::BadToken)?;
        DecodingKey::from_jwk(key).map_err(|_| Refusal::BadToken)
    }

    async fn fetch(&self) -> reqwest::Result<JwkSet> {
        let address = format!("{}/.well-known/jwks.json", self.issuer);
        self.http.get(address).send().await?.error_for_status()?.json().await
    }
}

impl Claims {
    pub fn needs(&self, scope: &'static str) -> Result<(), Refusal> {
        if self.scope.split(' ').any(|each| each == scope) { Ok(()) } else { Err(Refusal::NoScope(scope)) }
    }
}
