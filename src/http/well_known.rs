//! Public documents: the key set (RFC 7517) and the server's metadata (RFC 8414, OpenID Connect Discovery), handed out as
//! they lie in memory.

use std::sync::Arc;

use hyper::body::Bytes;
use poem_openapi::param::Header;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::document::Topic;
use super::error::OpenFailure;
use super::payload::{JwkSetJson, PlainJson, Prepared};
use crate::app::App;
use crate::domain::secret::sha256;
use crate::flows::metadata::{Metadata, SERVED};
use crate::keys::Snapshot;

/// Metadata changes with a release or a setting, and clients read it at their start.
pub const METADATA_CACHE: &str = "public, max-age=600";

/// The operations.
pub struct WellKnownApi {
    app: Arc<App>,
    metadata: Bytes,
}

impl WellKnownApi {
    pub fn new(app: Arc<App>) -> Self {
        let metadata = metadata_json(&app);
        Self { app, metadata }
    }
}

/// The metadata document, which stays the same while the program runs.
pub fn metadata_json(app: &App) -> Bytes {
    // Strings and lists of strings always have a JSON form.
    serde_json::to_vec(&Metadata::new(&app.context.issuer, SERVED)).unwrap_or_default().into()
}

/// A key as RFC 7517 section 4 and RFC 7518 section 6 write it.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Jwk {
    /// `EC` or `RSA`.
    pub kty: String,
    /// What a token's header names it by: its RFC 7638 thumbprint.
    pub kid: String,
    /// `ES256` or `RS256`.
    pub alg: String,
    /// Always `sig`.
    #[oai(rename = "use")]
    pub used_for: String,
    /// `P-256`, of an EC key.
    pub crv: Option<String>,
    /// Of an EC key.
    pub x: Option<String>,
    /// Of an EC key.
    pub y: Option<String>,
    /// The modulus of an RSA key.
    pub n: Option<String>,
    /// The exponent of an RSA key.
    pub e: Option<String>,
}

/// The key set of RFC 7517 section 5. Active keys come first; then those that will sign, then those that did.
#[derive(Debug, Object)]
#[oai(rename = "JwkSet")]
pub struct JwkSet {
    /// Public halves alone.
    pub keys: Vec<Jwk>,
}

/// What is true of this server, of the members of RFC 8414 section 2 and OpenID Connect Discovery section 3.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AuthorizationServerMetadata {
    /// The exact `iss` of every token.
    pub issuer: String,
    /// Where users are sent to log in.
    pub authorization_endpoint: Option<String>,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// Where the public keys are.
    pub jwks_uri: String,
    /// OpenID Connect Core section 5.3.
    pub userinfo_endpoint: String,
    /// RFC 7662.
    pub introspection_endpoint: String,
    /// RFC 7009.
    pub revocation_endpoint: String,
    /// Where users are sent to log out.
    pub end_session_endpoint: Option<String>,
    /// What `grant_type` may be.
    pub grant_types_supported: Vec<String>,
    /// What `response_type` may be; empty where there is no authorization endpoint.
    pub response_types_supported: Vec<String>,
    /// How the answer to an authorization request may come.
    pub response_modes_supported: Option<Vec<String>>,
    /// Scopes that mean something here.
    pub scopes_supported: Option<Vec<String>>,
    /// How clients authenticate for tokens.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// How assertions for tokens may be signed: HS256 with the secret, the others with a key.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// How clients authenticate for introspection.
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    /// The same for introspection.
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// How clients authenticate for revocation.
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    /// The same for revocation.
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// RFC 7636.
    pub code_challenge_methods_supported: Option<Vec<String>>,
    /// RFC 9207: whether answers to authorization requests name the issuer.
    pub authorization_response_iss_parameter_supported: Option<bool>,
    /// Always `public`: a user has the same `sub` everywhere.
    pub subject_types_supported: Option<Vec<String>>,
    /// How ID tokens may be signed.
    pub id_token_signing_alg_values_supported: Option<Vec<String>>,
    /// How userinfo may be signed.
    pub userinfo_signing_alg_values_supported: Vec<String>,
    /// What a login may count as.
    pub acr_values_supported: Option<Vec<String>>,
    /// Always `normal`.
    pub claim_types_supported: Option<Vec<String>>,
    /// What ID tokens and userinfo may tell.
    pub claims_supported: Option<Vec<String>>,
    /// Whether `claims` is read.
    pub claims_parameter_supported: Option<bool>,
    /// Whether `request` is read.
    pub request_parameter_supported: Option<bool>,
    /// Whether `request_uri` is read.
    pub request_uri_parameter_supported: Option<bool>,
    /// Whether clients are told of logouts.
    pub backchannel_logout_supported: Option<bool>,
    /// Whether they are told the `sid`.
    pub backchannel_logout_session_supported: Option<bool>,
    /// For people.
    pub service_documentation: String,
}

/// What the key set's path answers.
#[derive(ApiResponse)]
pub enum JwksAnswer {
    /// The key set
    #[oai(status = 200)]
    Whole(
        Prepared<JwkSet, JwkSetJson>,
        /// Names these very bytes.
        #[oai(header = "ETag")]
        String,
        /// How long the key set may be kept.
        #[oai(header = "Cache-Control")]
        String,
    ),
    /// The key set is still the one that `If-None-Match` names; keep it as long again
    #[oai(status = 304)]
    Unchanged(
        /// Names the bytes that the caller has.
        #[oai(header = "ETag")]
        String,
        /// How long the key set may be kept.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

/// What the metadata's path answers.
#[derive(ApiResponse)]
pub enum MetadataAnswer {
    /// The metadata
    #[oai(status = 200)]
    Whole(
        Prepared<AuthorizationServerMetadata, PlainJson>,
        /// How long the metadata may be kept.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[OpenApi(prefix_path = "/.well-known", tag = "Topic::Discovery")]
impl WellKnownApi {
    /// Get the public keys
    ///
    /// Every key that a valid access token may be signed with, and the next ones long before they sign. Keep it as
    /// long as `Cache-Control` says, and ask again when a token names a `kid` that is not in it.
    #[oai(path = "/jwks.json", method = "get", operation_id = "jwks")]
    async fn jwks(
        &self,
        /// The `ETag` of the key set that the caller has.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<JwksAnswer, OpenFailure> {
        let keys = self.app.context.replica.keys();
        let (etag, cache_control) = (keys.jwks().etag.clone(), keys.jwks().cache_control.clone());
        if if_none_match.0.is_some_and(|known| names(&known, &etag)) {
            return Ok(JwksAnswer::Unchanged(etag, cache_control));
        }
        Ok(JwksAnswer::Whole(Prepared::shared(KeySetBytes(keys)), etag, cache_control))
    }

    /// Get the server's metadata
    ///
    /// Where the endpoints are and what they can do (RFC 8414). Where the issuer has a path, the same document is at
    /// `/.well-known/oauth-authorization-server` followed by that path, as section 3.1 says.
    #[oai(path = "/oauth-authorization-server", method = "get", operation_id = "authorizationServerMetadata")]
    async fn metadata(&self) -> Result<MetadataAnswer, OpenFailure> {
        Ok(self.whole())
    }

    /// Get the provider's configuration
    ///
    /// The same document where OpenID Connect Discovery looks for it. Where the issuer has a path, it is below that path, as
    /// section 4.1 says, and, as RFC 8414 section 5 has it, before the path as well.
    #[oai(path = "/openid-configuration", method = "get", operation_id = "openidConfiguration")]
    async fn openid_configuration(&self) -> Result<MetadataAnswer, OpenFailure> {
        Ok(self.whole())
    }

    fn whole(&self) -> MetadataAnswer {
        MetadataAnswer::Whole(Prepared::new(self.metadata.clone()), METADATA_CACHE.into())
    }
}

/// The key set's bytes, kept alive by the snapshot that they belong to.
struct KeySetBytes(Arc<Snapshot>);

impl AsRef<[u8]> for KeySetBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.jwks().body.as_bytes()
    }
}

/// RFC 9110 section 13.1.2: a list of tags, compared weakly, or `*`.
pub fn names(if_none_match: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if_none_match.split(',').map(opaque).any(|tag| tag == "*" || tag == opaque(etag))
}

/// A strong entity tag of a document that is made once.
pub fn etag_of(bytes: &[u8]) -> String {
    let hash: String = sha256(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hash}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_weakly_in_a_list() {
        for known in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*", " \"b\" ,W/\"a\" "] {
            assert!(names(known, "\"a\""), "{known}");
        }
        for unknown in ["\"b\"", "a", ""] {
            assert!(!names(unknown, "\"a\""), "{unknown}");
        }
    }
}
