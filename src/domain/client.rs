//! What a registered client is (RFC 7591 names).

use std::fmt;

use super::ids::ClientId;
use super::key::Alg;
use super::policy::Lifetimes;
use super::scope::Scope;
use super::time::Timestamp;

/// `token_endpoint_auth_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    ClientSecretBasic,
    ClientSecretPost,
    /// A public client: it names itself and proves nothing.
    None,
}

/// A grant a client may be registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    Password,
    RefreshToken,
    ClientCredentials,
    /// RFC 8693. Registering it is the client's opt-in to re-signing and to delegation.
    TokenExchange,
}

impl GrantType {
    pub const ALL: [Self; 4] = [Self::Password, Self::RefreshToken, Self::ClientCredentials, Self::TokenExchange];

    /// The `grant_type` value on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }
}

/// How a client secret is kept. The one Latchkey drew has 256 random bits, so one SHA-256 is enough; one that a person
/// chose gets argon2id.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretHash {
    Sha256([u8; 32]),
    /// A PHC string.
    Argon2id(String),
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "Sha256(..)",
            Self::Argon2id(_) => "Argon2id(..)",
        })
    }
}

/// One secret of a client. While secrets overlap, the newest comes first and has no end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClientSecret {
    pub hash: SecretHash,
    pub created_at: Timestamp,
    /// When it stops being accepted; `None` for the current one.
    pub expires_at: Option<Timestamp>,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Client {
    pub client_id: ClientId,
    pub client_name: String,
    pub auth_method: AuthMethod,
    pub grant_types: Vec<GrantType>,
    pub scope: Scope,
    pub access_token_alg: Alg,
    /// What its access tokens name as `aud`; empty means the issuer.
    pub audience: Vec<String>,
    /// Names under which this client, as an API, is an audience: it may introspect tokens that carry one.
    pub resource_identifiers: Vec<String>,
    /// Browser origins that may call token, revoke and userinfo for it.
    pub allowed_origins: Vec<String>,
    pub lifetimes: Lifetimes,
    pub rotate_refresh: Option<bool>,
    pub disabled: bool,
    pub secrets: Vec<ClientSecret>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Grows with every change: a change made from an older reading is refused by the database.
    #[serde(default)]
    pub version: i64,
}

impl Client {
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    pub fn is_public(&self) -> bool {
        self.auth_method == AuthMethod::None
    }

    /// Secrets that still count, newest first.
    pub fn live_secrets(&self, now: Timestamp) -> impl Iterator<Item = &ClientSecret> {
        self.secrets.iter().filter(move |secret| secret.expires_at.is_none_or(|end| now < end))
    }

    /// What a permission has that names no scope: all of the client's but `admin*`. `None` where the client has nothing
    /// but what must be named.
    pub fn unnamed_scope(&self) -> Option<Scope> {
        let all = self.scope.without_admin();
        (!all.is_empty() || self.scope.is_empty()).then_some(all)
    }

    /// What its tokens name as `aud` when the request names no `resource`.
    pub fn audience_or<'a>(&'a self, issuer: &'a str) -> Vec<&'a str> {
        if self.audience.is_empty() { vec![issuer] } else { self.audience.iter().map(String::as_str).collect() }
    }

    /// Whether it is one of those that a token with this `aud` is for.
    pub fn is_audience(&self, aud: &[String]) -> bool {
        aud.iter().any(|aud| {
            aud == self.client_id.as_str() || self.resource_identifiers.iter().any(|identifier| identifier == aud)
        })
    }

    /// A full admin that can act with nobody's help: what must never be the last one removed.
    pub fn is_full_admin(&self) -> bool {
        !self.disabled && self.scope.contains("admin") && self.may_use(GrantType::ClientCredentials)
    }
}
