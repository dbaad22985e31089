//! RFC 8414 authorization server metadata: what is true today, and nothing that is not.

use serde::Serialize;

use crate::context::Context;
use crate::domain::client::GrantType;
use crate::domain::key::Alg;

/// The document at `/.well-known/oauth-authorization-server`.
#[derive(Clone, Debug, Serialize)]
pub struct AuthorizationServerMetadata {
    pub issuer: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    pub introspection_endpoint: String,
    pub revocation_endpoint: String,
    pub grant_types_supported: Vec<&'static str>,
    /// Required by RFC 8414; empty, for there is no authorization endpoint yet.
    pub response_types_supported: Vec<&'static str>,
    pub token_endpoint_auth_methods_supported: Vec<&'static str>,
    pub introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    pub revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    /// Not a registered member, but what service owners look for: how access tokens are signed (RFC 9068).
    pub access_token_signing_alg_values_supported: Vec<&'static str>,
    pub service_documentation: String,
}

pub fn authorization_server(ctx: &Context) -> AuthorizationServerMetadata {
    let issuer = &ctx.issuer;
    let with_secret = vec!["client_secret_basic", "client_secret_post"];
    let all_methods = vec!["client_secret_basic", "client_secret_post", "none"];
    AuthorizationServerMetadata {
        issuer: issuer.to_string(),
        token_endpoint: format!("{issuer}/oauth2/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        introspection_endpoint: format!("{issuer}/oauth2/introspect"),
        revocation_endpoint: format!("{issuer}/oauth2/revoke"),
        grant_types_supported: GrantType::SERVED.map(GrantType::as_str).to_vec(),
        response_types_supported: Vec::new(),
        token_endpoint_auth_methods_supported: all_methods.clone(),
        introspection_endpoint_auth_methods_supported: with_secret,
        revocation_endpoint_auth_methods_supported: all_methods,
        access_token_signing_alg_values_supported: Alg::ALL.map(Alg::as_str).to_vec(),
        service_documentation: format!("{issuer}/docs"),
    }
}
