//! What the endpoints that clients call answer, when nothing is refused.

use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::flows::introspect::ActiveToken;
use crate::grants;
use crate::http::payload::Written;
use crate::tokens::claims::Act;

/// The token response of RFC 6749 section 5.1.
#[derive(Debug, Serialize, Object)]
#[oai(skip_serializing_if_is_none, example)]
pub struct TokenBody {
    /// A JWT of RFC 9068; verify it with the keys of `/.well-known/jwks.json`, or ask introspection.
    pub access_token: String,
    /// Who logged in, as a JWT for the client alone (OpenID Connect Core section 2), where a sign-in in the browser opened
    /// the session and `openid` is in its scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// What `access_token` is, where it came of an exchange (RFC 8693 section 2.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<String>,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// The next refresh token; the one it came from counts no longer, but for retries within the retry window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Seconds until the client should renew: before the access token expires, and drawn anew for every answer, so that
    /// clients do not come all at once. Where there is a refresh token, or the client may exchange its access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_in: Option<u64>,
    /// When the session ends if it is not renewed any more, Unix seconds: the earlier of its idle and its absolute
    /// limit. A renewal moves the idle one. Absent where a client acts for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_expires_at: Option<i64>,
    /// What the access token may do, space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl Example for TokenBody {
    fn example() -> Self {
        Self {
            access_token: "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Ii4uLiJ9.eyJpc3MiOiIuLi4ifQ.c2lnbmF0dXJl"
                .into(),
            id_token: None,
            issued_token_type: None,
            token_type: "Bearer".into(),
            expires_in: 600,
            refresh_token: Some("lkr_AQ...".into()),
            refresh_in: Some(418),
            session_expires_at: Some(1_794_104_800),
            scope: Some("read write".into()),
        }
    }
}

/// A token answer is never kept by any cache.
#[derive(ApiResponse)]
pub enum TokenAnswer {
    /// The tokens
    #[oai(status = 200)]
    Issued(
        Written<TokenBody>,
        /// `no-store`
        #[oai(header = "Cache-Control")]
        String,
        /// `no-cache`
        #[oai(header = "Pragma")]
        String,
    ),
}

impl From<grants::TokenResponse> for TokenAnswer {
    fn from(response: grants::TokenResponse) -> Self {
        let body = TokenBody {
            access_token: response.access_token,
            id_token: response.id_token,
            issued_token_type: response.issued_token_type.map(|kind| kind.as_str().to_owned()),
            token_type: "Bearer".into(),
            expires_in: response.expires_in,
            refresh_token: response.refresh_token.map(|token| token.expose().to_owned()),
            refresh_in: response.refresh_in,
            session_expires_at: response.session_expires_at.map(Timestamp::seconds),
            scope: named(&response.scope),
        };
        Self::Issued(Written(body), "no-store".into(), "no-cache".into())
    }
}

/// `scope` is one token or more; an empty one is left out.
fn named(scope: &Scope) -> Option<String> {
    (!scope.is_empty()).then(|| scope.to_string())
}

/// The introspection response of RFC 7662 section 2.2. Of a token that is not active, or none of the caller's
/// business, nothing but `active` is said. Claims of the operator's own stand beside these members, as in the token.
#[derive(Debug, Default, Serialize, Object)]
#[oai(skip_serializing_if_is_none, example)]
pub struct IntrospectionBody {
    /// Whether the token counts now.
    pub active: bool,
    /// Whom it speaks for: a user, or the client itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The client it was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What it may do, space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// For whom it is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<Vec<String>>,
    /// Who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// `Bearer` or `refresh_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// When it expires, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When it was issued, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// The access token's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The session it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// When the user logged in, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// Who acts for the subject (RFC 8693 section 4.1); absent where the client it was issued to was logged in at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<ActorBody>,
    #[oai(skip)]
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A client that acts for a user, and the one that acted before it.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Actor", skip_serializing_if_is_none)]
pub struct ActorBody {
    /// A `client_id`.
    pub sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<ActorBody>>,
}

impl From<Act> for ActorBody {
    fn from(act: Act) -> Self {
        Self { sub: act.sub, act: act.act.map(|earlier| Box::new((*earlier).into())) }
    }
}

impl Example for IntrospectionBody {
    fn example() -> Self {
        Self {
            active: true,
            sub: Some("usr_9vXkPpGeS0G1wX0y4hC1Ag".into()),
            client_id: Some("web".into()),
            scope: Some("read write".into()),
            aud: Some(vec!["https://api.example".into()]),
            iss: Some("https://id.example".into()),
            token_type: Some("Bearer".into()),
            exp: Some(1_793_500_600),
            iat: Some(1_793_500_000),
            jti: Some("AZ9xkW4q0bF8mJZ3Yd2nVw".into()),
            sid: Some("q83vASNFZ4mrze8BI0Vniw".into()),
            auth_time: Some(1_793_499_000),
            act: None,
            extra: Map::new(),
        }
    }
}

impl From<Option<ActiveToken>> for IntrospectionBody {
    fn from(token: Option<ActiveToken>) -> Self {
        let Some(token) = token else { return Self::default() };
        let mut extra = token.extra.members().clone();
        // Of the members of an answer, this is the one that an operator's claim may have the name of.
        extra.remove("token_type");
        Self {
            active: true,
            sub: Some(token.sub),
            client_id: Some(token.client_id.to_string()),
            scope: named(&token.scope),
            aud: Some(token.aud),
            iss: Some(token.iss),
            token_type: Some(token.token_type.into()),
            exp: Some(token.exp.seconds()),
            iat: Some(token.iat.seconds()),
            jti: token.jti.map(|jti| jti.to_string()),
            sid: token.sid.map(|sid| sid.to_string()),
            auth_time: token.auth_time.map(Timestamp::seconds),
            act: token.act.map(Into::into),
            extra,
        }
    }
}

/// What introspection answers.
#[derive(ApiResponse)]
pub enum IntrospectionAnswer {
    /// What may be said of the token
    #[oai(status = 200)]
    Told(
        Written<IntrospectionBody>,
        /// `no-store`
        #[oai(header = "Cache-Control")]
        String,
    ),
}

/// What revocation answers.
#[derive(ApiResponse)]
pub enum RevocationAnswer {
    /// The token does not count any more, or never did (RFC 7009 section 2.2)
    #[oai(status = 200)]
    Done,
}
