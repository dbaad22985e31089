//! The `Authorization` header, taken as it is and judged by the use cases.
//!
//! The framework's own security schemes let a malformed `Basic` header pass as none and skip the form-decoding of
//! RFC 6749 section 2.3.1. These extractors only declare the scheme in the OpenAPI document and hand the header on.

use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaOAuthFlow, MetaOAuthFlows, MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, OAuthScopes};

use crate::domain::secret::SecretText;

/// A client's credentials, as the raw header value; `None` where the client names itself in the form instead.
#[derive(Debug)]
pub struct ClientAuthorization(pub Option<SecretText>);

/// The access token of RFC 6750 section 2.1; `None` where the header is missing or is not a bearer token.
#[derive(Debug)]
pub struct Bearer(Option<SecretText>);

impl Bearer {
    pub fn token(&self) -> Option<&str> {
        self.0.as_ref().map(SecretText::expose)
    }

    pub fn of(headers: &HeaderMap) -> Self {
        let token = header_value(headers).and_then(|value| {
            let (scheme, token) = value.expose().split_once(' ')?;
            let token = token.trim_matches(' ');
            let is_one_token = !token.is_empty() && !token.contains([' ', ',']);
            (scheme.eq_ignore_ascii_case("bearer") && is_one_token).then(|| SecretText::new(token))
        });
        Self(token)
    }
}

/// What an access token for administration may carry (`domain::scope::ADMIN_SCOPES`).
#[derive(OAuthScopes, Clone, Copy, Debug)]
pub enum AdminScope {
    /// Everything below.
    #[oai(rename = "admin")]
    Everything,
    /// Rotate, compromise and import keys. Importing a key equals full power.
    #[oai(rename = "admin:keys")]
    Keys,
    /// See keys.
    #[oai(rename = "admin:keys:read")]
    KeysRead,
    /// Manage clients.
    #[oai(rename = "admin:clients")]
    Clients,
    /// See clients.
    #[oai(rename = "admin:clients:read")]
    ClientsRead,
    /// Manage users.
    #[oai(rename = "admin:users")]
    Users,
    /// See users.
    #[oai(rename = "admin:users:read")]
    UsersRead,
    /// End sessions.
    #[oai(rename = "admin:sessions")]
    Sessions,
    /// See sessions.
    #[oai(rename = "admin:sessions:read")]
    SessionsRead,
    /// Everything about the audit trail.
    #[oai(rename = "admin:audit")]
    Audit,
    /// Read the audit trail.
    #[oai(rename = "admin:audit:read")]
    AuditRead,
    /// Read the metrics.
    #[oai(rename = "admin:metrics")]
    Metrics,
}

/// The one header; several of them are no header that anyone could mean, and are handed on as one that fails.
fn header_value(headers: &HeaderMap) -> Option<SecretText> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next()?;
    let text = if values.next().is_some() { "several".into() } else { String::from_utf8_lossy(first.as_bytes()) };
    Some(SecretText::new(text))
}

/// The names of the schemes in the documents.
const CLIENT_SCHEME: &str = "clientBasic";
const LOGIN_SCHEME: &str = "latchkey";
const TOKEN_SCHEME: &str = "accessToken";

/// Where the schemes get their tokens; the document's issuer is put in front of it.
pub const TOKEN_PATH: &str = "/oauth2/token";

const NO_SCHEME: MetaSecurityScheme = MetaSecurityScheme {
    ty: "",
    description: None,
    name: None,
    key_in: None,
    scheme: None,
    bearer_format: None,
    flows: None,
    openid_connect_url: None,
};

fn login_scheme() -> MetaSecurityScheme {
    let flow = || MetaOAuthFlow {
        authorization_url: None,
        token_url: Some(TOKEN_PATH),
        refresh_url: Some(TOKEN_PATH),
        scopes: AdminScope::meta(),
    };
    let flows = MetaOAuthFlows {
        implicit: None,
        password: Some(flow()),
        client_credentials: Some(flow()),
        authorization_code: None,
    };
    MetaSecurityScheme {
        ty: "oauth2",
        description: Some("An access token of Latchkey's own, by a client's or a user's login"),
        flows: Some(flows),
        ..NO_SCHEME
    }
}

impl<'a> ApiExtractor<'a> for ClientAuthorization {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "http",
            scheme: Some("basic"),
            description: Some("`client_id` and `client_secret`, each form-encoded first (RFC 6749 section 2.3.1)"),
            ..NO_SCHEME
        };
        registry.create_security_scheme(CLIENT_SCHEME, scheme);
        // So that a login can be tried from the documentation page.
        registry.create_security_scheme(LOGIN_SCHEME, login_scheme());
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![CLIENT_SCHEME]
    }

    /// In the document alone: a client may name itself in the form.
    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(header_value(request.headers())))
    }
}

impl<'a> ApiExtractor<'a> for Bearer {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "http",
            scheme: Some("bearer"),
            bearer_format: Some("JWT"),
            description: Some("An access token of Latchkey's own, pasted in"),
            ..NO_SCHEME
        };
        registry.create_security_scheme(LOGIN_SCHEME, login_scheme());
        registry.create_security_scheme(TOKEN_SCHEME, scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![LOGIN_SCHEME, TOKEN_SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self::of(request.headers()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::ADMIN_SCOPES;

    fn bearer(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        Bearer::of(&headers).token().map(str::to_owned)
    }

    #[test]
    fn a_bearer_token_is_one_token_of_that_scheme() {
        assert_eq!(bearer(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(bearer(&["bEARER  abc "]).as_deref(), Some("abc"));
        for bad in [&["Bearer "][..], &["Bearer"], &["Basic abc"], &["Bearer a b"], &["Bearer a", "Bearer a"], &[]] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_documented_scopes_are_the_real_ones() {
        assert_eq!(AdminScope::meta().iter().map(|scope| scope.name).collect::<Vec<_>>(), ADMIN_SCOPES);
    }
}
