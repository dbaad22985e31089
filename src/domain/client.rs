//! What a registered client is (RFC 7591 names).

use std::fmt;

use super::client_keys::ClientKeys;
use super::ids::ClientId;
use super::key::Alg;
use super::policy::Lifetimes;
use super::redirect_uri::{self, Kind};
use super::scope::Scope;
use super::time::Timestamp;

/// `token_endpoint_auth_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    ClientSecretBasic,
    ClientSecretPost,
    /// A JWT under the client's secret (OIDC Core section 9).
    ClientSecretJwt,
    /// A JWT under a key of the client's own.
    PrivateKeyJwt,
    /// A public client: it names itself and proves nothing.
    None,
}

impl AuthMethod {
    pub const ALL: [Self; 5] =
        [Self::ClientSecretBasic, Self::ClientSecretPost, Self::ClientSecretJwt, Self::PrivateKeyJwt, Self::None];

    /// The value on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::ClientSecretJwt => "client_secret_jwt",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::None => "none",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }

    /// Whether a client that proves itself so has a secret.
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost | Self::ClientSecretJwt)
    }
}

/// A grant a client may be registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    Password,
    RefreshToken,
    ClientCredentials,
    /// RFC 8693. Registering it is the client's opt-in to re-signing and to delegation.
    TokenExchange,
}

impl GrantType {
    pub const ALL: [Self; 5] =
        [Self::AuthorizationCode, Self::Password, Self::RefreshToken, Self::ClientCredentials, Self::TokenExchange];

    /// The `grant_type` value on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
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

/// How an authorization response comes back (OAuth 2.0 Multiple Response Types section 2.1, Form Post Response Mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    Query,
    FormPost,
}

impl ResponseMode {
    pub const ALL: [Self; 2] = [Self::Query, Self::FormPost];

    /// The `response_mode` value on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::FormPost => "form_post",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

/// How a client secret is kept. The one Latchkey drew has 256 random bits, so one SHA-256 is enough; one that a person
/// chose gets argon2id. Only what signs assertions (`client_secret_jwt`) must be read again, and is sealed.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretHash {
    Sha256([u8; 32]),
    /// A PHC string.
    Argon2id(String),
    /// Sealed under the master key.
    Sealed {
        sealed: Vec<u8>,
        /// Whether a person chose it, so that it may be guessed at.
        chosen: bool,
    },
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "Sha256(..)",
            Self::Argon2id(_) => "Argon2id(..)",
            Self::Sealed { .. } => "Sealed(..)",
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
    /// What it signs assertions with.
    #[serde(default)]
    pub keys: ClientKeys,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    // What a row of a client that was registered before it had these does not hold is their default.
    /// Where codes go, compared by [`redirect_uri::matches`].
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Where a browser may be sent after a logout.
    #[serde(default)]
    pub post_logout_redirect_uris: Vec<String>,
    /// Who is told when a sign-in ends (OpenID Connect Back-Channel Logout).
    #[serde(default)]
    pub backchannel_logout_uri: Option<String>,
    /// `false` only for confidential clients.
    #[serde(default = "require_pkce")]
    pub require_pkce: bool,
    /// Never empty.
    #[serde(default = "response_modes")]
    pub response_modes: Vec<ResponseMode>,
    #[serde(default = "id_token_alg")]
    pub id_token_alg: Alg,
    /// How userinfo is signed; `None` is plain JSON.
    #[serde(default)]
    pub userinfo_alg: Option<Alg>,
    /// A first-party client, whose users are not asked.
    #[serde(default)]
    pub skip_consent: bool,
    /// Pages about the client, its privacy policy and its terms: users find them where they are asked.
    #[serde(default)]
    pub client_uri: Option<String>,
    #[serde(default)]
    pub policy_uri: Option<String>,
    #[serde(default)]
    pub tos_uri: Option<String>,
    /// Grows with every change: a change made from an older reading is refused by the database.
    #[serde(default)]
    pub version: i64,
}

const fn require_pkce() -> bool {
    true
}

fn response_modes() -> Vec<ResponseMode> {
    ResponseMode::ALL.to_vec()
}

/// OpenID Connect Registration section 2.
const fn id_token_alg() -> Alg {
    Alg::RS256
}

impl Client {
    /// A client of which nothing has been said yet.
    pub fn blank(client_id: ClientId, created_at: Timestamp) -> Self {
        Self {
            client_id,
            client_name: String::new(),
            auth_method: AuthMethod::ClientSecretBasic,
            grant_types: Vec::new(),
            scope: Scope::default(),
            access_token_alg: Alg::ES256,
            audience: Vec::new(),
            resource_identifiers: Vec::new(),
            allowed_origins: Vec::new(),
            lifetimes: Lifetimes::default(),
            rotate_refresh: None,
            disabled: false,
            secrets: Vec::new(),
            keys: ClientKeys::default(),
            created_at,
            updated_at: created_at,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
            require_pkce: require_pkce(),
            response_modes: response_modes(),
            id_token_alg: id_token_alg(),
            userinfo_alg: None,
            skip_consent: false,
            client_uri: None,
            policy_uri: None,
            tos_uri: None,
            version: 0,
        }
    }

    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    pub fn is_public(&self) -> bool {
        self.auth_method == AuthMethod::None
    }

    /// What people know it by.
    pub fn shown_name(&self) -> &str {
        if self.client_name.is_empty() { self.client_id.as_str() } else { &self.client_name }
    }

    /// Whether another program on a user's machine can pass for it: it proves nothing, and its codes go to whatever
    /// listens there (RFC 8252 section 8.6).
    pub fn can_be_impersonated(&self) -> bool {
        self.is_public() && self.redirect_uris.iter().any(|uri| redirect_uri::kind_of(uri) != Ok(Kind::Web))
    }

    /// What is sealed of it, live or not.
    pub fn sealed_secrets(&self) -> impl Iterator<Item = &[u8]> {
        self.secrets.iter().filter_map(|secret| match &secret.hash {
            SecretHash::Sealed { sealed, .. } => Some(sealed.as_slice()),
            SecretHash::Sha256(_) | SecretHash::Argon2id(_) => None,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_from_before_the_code_flow_reads_as_a_client_of_the_defaults() {
        let body = r#"{"client_id":"web","client_name":"Web","auth_method":"client_secret_basic",
            "grant_types":["password","refresh_token"],"scope":"read","access_token_alg":"ES256",
            "audience":["https://api.example.com"],"resource_identifiers":[],"allowed_origins":[],
            "lifetimes":{"access_ttl":300,"refresh_idle":null,"refresh_absolute":null,"refresh_retry_window":null,
            "late_retry":null},"rotate_refresh":null,"disabled":false,"secrets":[],"created_at":1000,
            "updated_at":1000,"version":3}"#;
        let read: Client = serde_json::from_str(body).unwrap();
        let expected = Client {
            client_name: "Web".into(),
            grant_types: vec![GrantType::Password, GrantType::RefreshToken],
            scope: Scope::parse("read").unwrap(),
            audience: vec!["https://api.example.com".into()],
            lifetimes: Lifetimes { access_ttl: Some(300), ..Lifetimes::default() },
            version: 3,
            ..Client::blank(ClientId::new("web"), Timestamp::from_seconds(1))
        };
        assert_eq!(read, expected);
        assert!(read.require_pkce && !read.skip_consent);
        assert_eq!((read.response_modes, read.id_token_alg), (ResponseMode::ALL.to_vec(), Alg::RS256));
    }

    #[test]
    fn what_is_registered_survives_its_row() {
        let client = Client {
            redirect_uris: vec!["https://app.example.com/callback".into()],
            post_logout_redirect_uris: vec!["https://app.example.com/".into()],
            backchannel_logout_uri: Some("https://app.example.com/logout".into()),
            require_pkce: false,
            response_modes: vec![ResponseMode::FormPost],
            id_token_alg: Alg::ES256,
            userinfo_alg: Some(Alg::RS256),
            skip_consent: true,
            client_uri: Some("https://app.example.com".into()),
            policy_uri: Some("https://app.example.com/privacy".into()),
            tos_uri: Some("https://app.example.com/terms".into()),
            ..Client::blank(ClientId::new("web"), Timestamp::from_seconds(1))
        };
        let row = serde_json::to_string(&client).unwrap();
        assert_eq!(serde_json::from_str::<Client>(&row).unwrap(), client);
    }

    #[test]
    fn only_what_proves_nothing_and_answers_on_the_users_machine_can_be_impersonated() {
        for (auth_method, uri, can) in [
            (AuthMethod::None, "https://app.example.com/callback", false),
            (AuthMethod::None, "http://127.0.0.1/callback", true),
            (AuthMethod::None, "http://localhost:3000/callback", true),
            (AuthMethod::None, "com.example.app:/callback", true),
            (AuthMethod::ClientSecretBasic, "http://127.0.0.1/callback", false),
        ] {
            let redirect_uris = vec!["https://app.example.com/".into(), uri.into()];
            let blank = Client::blank(ClientId::new("app"), Timestamp::from_seconds(1));
            let client = Client { auth_method, redirect_uris, ..blank };
            assert_eq!(client.can_be_impersonated(), can, "{auth_method:?} {uri}");
        }
    }
}
