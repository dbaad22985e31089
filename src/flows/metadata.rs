//! What the server says of itself: RFC 8414 authorization server metadata and OpenID Connect Discovery section 3, one text
//! for both, made of what is really there. What is true today, and nothing that is not.

use serde::Serialize;

use crate::domain::client::{AuthMethod, GrantType};
use crate::domain::client_keys::AssertionAlg;
use crate::domain::key::Alg;
use crate::domain::oidc_claims::{CLAIMS_OF_LOGIN, CLAIMS_OF_SCOPES, PASSWORD_ACR};

/// What is served beside what always is. The one place that says so: routes, documents and metadata follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    /// `/oauth2/authorize`, and with it all of OpenID Connect.
    pub authorization: bool,
    /// `/oauth2/logout` (RP-Initiated Logout).
    pub end_session: bool,
    /// Logout tokens to clients (Back-Channel Logout).
    pub backchannel_logout: bool,
}

/// What this program serves.
pub const SERVED: Enabled = Enabled { authorization: true, end_session: true, backchannel_logout: true };

/// The document at `/.well-known/oauth-authorization-server`, and at `/.well-known/openid-configuration` where there is
/// an authorization endpoint. Every member is one of the IANA registry "OAuth Authorization Server Metadata".
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    pub issuer: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    pub userinfo_endpoint: String,
    pub introspection_endpoint: String,
    pub revocation_endpoint: String,
    pub grant_types_supported: Vec<&'static str>,
    /// Required by RFC 8414; empty where there is no authorization endpoint.
    pub response_types_supported: Vec<&'static str>,
    pub token_endpoint_auth_methods_supported: Vec<&'static str>,
    pub token_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    pub introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    pub revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    pub userinfo_signing_alg_values_supported: Vec<&'static str>,
    pub service_documentation: String,
    #[serde(flatten)]
    pub openid: Option<OpenIdMetadata>,
    #[serde(flatten)]
    pub logout: LogoutMetadata,
}

/// What there is to say once users can be sent here.
#[derive(Clone, Debug, Serialize)]
pub struct OpenIdMetadata {
    pub authorization_endpoint: String,
    pub scopes_supported: Vec<&'static str>,
    pub response_modes_supported: Vec<&'static str>,
    pub code_challenge_methods_supported: Vec<&'static str>,
    /// RFC 9207.
    pub authorization_response_iss_parameter_supported: bool,
    pub subject_types_supported: Vec<&'static str>,
    pub id_token_signing_alg_values_supported: Vec<&'static str>,
    pub acr_values_supported: Vec<&'static str>,
    pub claim_types_supported: Vec<&'static str>,
    pub claims_supported: Vec<&'static str>,
    pub claims_parameter_supported: bool,
    pub request_parameter_supported: bool,
    /// `true` where it is left out, so it is not.
    pub request_uri_parameter_supported: bool,
}

/// What there is to say of logouts.
#[derive(Clone, Debug, Serialize)]
pub struct LogoutMetadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_session_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_supported: Option<bool>,
    /// Whether logout tokens carry the `sid` of ID tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_session_supported: Option<bool>,
}

impl Metadata {
    pub fn new(issuer: &str, enabled: Enabled) -> Self {
        let at = |path: &str| format!("{issuer}{path}");
        let methods = |takes: fn(&AuthMethod) -> bool| {
            AuthMethod::ALL.into_iter().filter(takes).map(AuthMethod::as_str).collect::<Vec<_>>()
        };
        // A client that proves nothing may not ask about tokens.
        let proving = methods(|method| *method != AuthMethod::None);
        // Nobody has a code where nobody can be sent here for one.
        let is_served = |grant: &&str| enabled.authorization || *grant != "authorization_code";
        let assertion_algs = AssertionAlg::ALL.map(AssertionAlg::as_str).to_vec();
        let told = enabled.backchannel_logout.then_some(true);
        Self {
            issuer: issuer.to_owned(),
            token_endpoint: at("/oauth2/token"),
            jwks_uri: at("/.well-known/jwks.json"),
            userinfo_endpoint: at("/oauth2/userinfo"),
            introspection_endpoint: at("/oauth2/introspect"),
            revocation_endpoint: at("/oauth2/revoke"),
            grant_types_supported: GrantType::ALL.map(GrantType::as_str).into_iter().filter(is_served).collect(),
            response_types_supported: if enabled.authorization { vec!["code"] } else { Vec::new() },
            token_endpoint_auth_methods_supported: methods(|_| true),
            token_endpoint_auth_signing_alg_values_supported: assertion_algs.clone(),
            introspection_endpoint_auth_methods_supported: proving,
            introspection_endpoint_auth_signing_alg_values_supported: assertion_algs.clone(),
            revocation_endpoint_auth_methods_supported: methods(|_| true),
            revocation_endpoint_auth_signing_alg_values_supported: assertion_algs,
            userinfo_signing_alg_values_supported: algorithms(),
            service_documentation: at("/docs"),
            openid: enabled.authorization.then(|| OpenIdMetadata::new(at("/oauth2/authorize"))),
            logout: LogoutMetadata {
                end_session_endpoint: enabled.end_session.then(|| at("/oauth2/logout")),
                backchannel_logout_supported: told,
                backchannel_logout_session_supported: told,
            },
        }
    }
}

impl OpenIdMetadata {
    fn new(authorization_endpoint: String) -> Self {
        let scopes = CLAIMS_OF_SCOPES.iter().map(|(scope, _)| *scope);
        let claims = CLAIMS_OF_SCOPES.iter().flat_map(|(_, claims)| claims.iter().copied());
        Self {
            authorization_endpoint,
            scopes_supported: ["openid"].into_iter().chain(scopes).chain(["offline_access"]).collect(),
            response_modes_supported: vec!["query", "form_post"],
            code_challenge_methods_supported: vec!["S256"],
            authorization_response_iss_parameter_supported: true,
            subject_types_supported: vec!["public"],
            id_token_signing_alg_values_supported: algorithms(),
            acr_values_supported: vec![PASSWORD_ACR],
            claim_types_supported: vec!["normal"],
            claims_supported: CLAIMS_OF_LOGIN.into_iter().chain(claims).collect(),
            claims_parameter_supported: true,
            request_parameter_supported: false,
            request_uri_parameter_supported: false,
        }
    }
}

fn algorithms() -> Vec<&'static str> {
    Alg::ALL.map(Alg::as_str).to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://id.example/auth";
    const ALL: Enabled = Enabled { authorization: true, end_session: true, backchannel_logout: true };

    /// The members that RFC 8414 section 2 defines.
    const RFC_8414: [&str; 22] = [
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "registration_endpoint",
        "scopes_supported",
        "response_types_supported",
        "response_modes_supported",
        "grant_types_supported",
        "token_endpoint_auth_methods_supported",
        "token_endpoint_auth_signing_alg_values_supported",
        "service_documentation",
        "ui_locales_supported",
        "op_policy_uri",
        "op_tos_uri",
        "revocation_endpoint",
        "revocation_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_signing_alg_values_supported",
        "introspection_endpoint",
        "introspection_endpoint_auth_methods_supported",
        "introspection_endpoint_auth_signing_alg_values_supported",
        "code_challenge_methods_supported",
    ];

    /// What OpenID Connect Discovery section 3 and the logout specifications define beside these, and RFC 9207.
    const OPENID: [&str; 25] = [
        "userinfo_endpoint",
        "acr_values_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        "id_token_encryption_alg_values_supported",
        "id_token_encryption_enc_values_supported",
        "userinfo_signing_alg_values_supported",
        "userinfo_encryption_alg_values_supported",
        "userinfo_encryption_enc_values_supported",
        "request_object_signing_alg_values_supported",
        "request_object_encryption_alg_values_supported",
        "request_object_encryption_enc_values_supported",
        "display_values_supported",
        "claim_types_supported",
        "claims_supported",
        "claims_locales_supported",
        "claims_parameter_supported",
        "request_parameter_supported",
        "request_uri_parameter_supported",
        "require_request_uri_registration",
        "end_session_endpoint",
        "backchannel_logout_supported",
        "backchannel_logout_session_supported",
        "prompt_values_supported",
        "authorization_response_iss_parameter_supported",
    ];

    fn text(enabled: Enabled) -> Value {
        serde_json::to_value(Metadata::new(ISSUER, enabled)).unwrap()
    }

    fn members(text: &Value) -> BTreeSet<&str> {
        text.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn every_member_is_a_registered_one() {
        let known: BTreeSet<&str> = RFC_8414.into_iter().chain(OPENID).collect();
        for enabled in [SERVED, Enabled::default(), ALL] {
            let text = text(enabled);
            let unknown: Vec<_> = members(&text).difference(&known).copied().collect();
            assert!(unknown.is_empty(), "{enabled:?}: {unknown:?}");
            assert!(text.as_object().unwrap().values().all(|value| !value.is_null()), "{text}");
        }
    }

    #[test]
    fn what_is_required_is_there() {
        for name in ["issuer", "token_endpoint", "response_types_supported"] {
            assert!(members(&text(Enabled::default())).contains(name), "RFC 8414: {name}");
        }
        let whole = text(ALL);
        for name in [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "response_types_supported",
            "subject_types_supported",
            "id_token_signing_alg_values_supported",
        ] {
            assert!(members(&whole).contains(name), "OpenID Connect Discovery: {name}");
        }
        let lists = |name: &str, value: &str| whole[name].as_array().unwrap().contains(&json!(value));
        assert!(lists("id_token_signing_alg_values_supported", "RS256"));
        assert!(lists("scopes_supported", "openid") && lists("claims_supported", "sub"));
        assert!(lists("response_types_supported", "code"));
        assert_eq!(whole["request_uri_parameter_supported"], false, "the default is true");
        let endpoints = whole.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_endpoint"));
        for (name, url) in endpoints.chain([(&"jwks_uri".to_owned(), &whole["jwks_uri"])]) {
            assert!(url.as_str().unwrap().starts_with(&format!("{ISSUER}/")), "{name}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_is_not_served() {
        let bare = text(Enabled::default());
        for name in ["authorization_endpoint", "scopes_supported", "claims_supported", "end_session_endpoint"] {
            assert!(!members(&bare).contains(name), "{name}");
        }
        assert_eq!(bare["response_types_supported"], json!([]));
        assert!(!bare["grant_types_supported"].as_array().unwrap().contains(&json!("authorization_code")));
        let no_logout = text(Enabled { authorization: true, ..Enabled::default() });
        assert!(!members(&no_logout).iter().any(|name| name.contains("logout") || name.contains("end_session")));
    }

    #[test]
    fn what_clients_prove_themselves_with_is_what_can_be_registered() {
        let whole = text(ALL);
        let named = |name: &str| whole[name].as_array().unwrap().len();
        assert_eq!(named("token_endpoint_auth_methods_supported"), AuthMethod::ALL.len());
        assert_eq!(named("introspection_endpoint_auth_methods_supported"), AuthMethod::ALL.len() - 1);
        for method in AuthMethod::ALL {
            let registered = serde_json::to_value(method).unwrap();
            assert_eq!(registered, method.as_str(), "the name in the registry is the one in the metadata");
        }
    }
}
