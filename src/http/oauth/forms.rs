//! The forms of the endpoints that clients call, as they are read and as they are documented.

use poem_openapi::{Enum, Object};

use crate::client_auth::ClientClaim;
use crate::domain::error::OAuthError;
use crate::domain::secret::SecretText;
use crate::grants::{CodeParameters, ExchangeParameters};
use crate::http::authorization::ClientAuthorization;
use crate::http::form::{Fields, FormRequest};

/// What the form says of who the client is.
pub struct NamedClient {
    pub client_id: Option<String>,
    client_secret: Option<SecretText>,
    client_assertion: Option<SecretText>,
    client_assertion_type: Option<String>,
}

impl NamedClient {
    fn read(fields: &mut Fields) -> Self {
        Self {
            client_id: fields.take_text("client_id"),
            client_secret: fields.take("client_secret"),
            client_assertion: fields.take("client_assertion"),
            client_assertion_type: fields.take_text("client_assertion_type"),
        }
    }

    /// Everything the request says of who the client is; whether that is enough is `client_auth`'s business.
    pub fn claim(self, authorization: ClientAuthorization) -> ClientClaim {
        ClientClaim {
            authorization: authorization.0.map(|value| value.expose().to_owned()),
            client_id: self.client_id,
            client_secret: self.client_secret,
            client_assertion: self.client_assertion,
            client_assertion_type: self.client_assertion_type,
        }
    }
}

/// The token request as it is read.
pub struct TokenForm {
    pub grant_type: String,
    pub client: NamedClient,
    pub username: Option<String>,
    pub password: Option<SecretText>,
    pub refresh_token: Option<SecretText>,
    pub scope: Option<String>,
    pub resource: Vec<String>,
    pub code: CodeParameters,
    pub exchange: ExchangeParameters,
}

impl FormRequest for TokenForm {
    type Document = TokenRequest;

    const REPEATABLE: &'static [&'static str] = &["resource", "audience"];

    fn read(mut fields: Fields) -> Result<Self, OAuthError> {
        Ok(Self {
            grant_type: fields.require("grant_type")?.expose().to_owned(),
            client: NamedClient::read(&mut fields),
            username: fields.take_text("username"),
            password: fields.take("password"),
            refresh_token: fields.take("refresh_token"),
            scope: fields.take_text("scope"),
            resource: fields.take_all("resource"),
            code: CodeParameters {
                code: fields.take("code"),
                redirect_uri: fields.take_text("redirect_uri"),
                code_verifier: fields.take("code_verifier"),
            },
            exchange: ExchangeParameters {
                subject_token: fields.take("subject_token"),
                subject_token_type: fields.take_text("subject_token_type"),
                requested_token_type: fields.take_text("requested_token_type"),
                audience: fields.take_all("audience"),
                actor_token: fields.take("actor_token"),
            },
        })
    }
}

/// What introspection and revocation take.
pub struct TokenInQuestion {
    pub client: NamedClient,
    pub token: SecretText,
}

impl FormRequest for TokenInQuestion {
    type Document = TokenQuestion;

    fn read(mut fields: Fields) -> Result<Self, OAuthError> {
        Ok(Self { client: NamedClient::read(&mut fields), token: fields.require("token")? })
    }
}

/// What userinfo takes beside the header.
pub struct TokenInForm {
    pub access_token: Option<SecretText>,
}

impl FormRequest for TokenInForm {
    type Document = UserinfoRequest;

    const REQUIRED: bool = false;

    fn read(mut fields: Fields) -> Result<Self, OAuthError> {
        Ok(Self { access_token: fields.take("access_token") })
    }
}

/// How the token is asked for.
#[derive(Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum GrantTypeName {
    /// With a code from the authorization endpoint.
    AuthorizationCode,
    /// With a user's name and password; for first-party clients that are registered for it.
    Password,
    /// With a refresh token.
    RefreshToken,
    /// In the client's own name.
    ClientCredentials,
    /// With another access token (RFC 8693); for clients that are registered for it.
    #[oai(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

/// The token request of RFC 6749 sections 4.1.3, 4.3.2, 4.4.2 and 6 and RFC 8693 section 2.1, as one flat form: which fields count depends on
/// `grant_type`. An empty field counts as absent, an unknown one is ignored, a repeated one is refused.
#[derive(Debug, Object)]
pub struct TokenRequest {
    /// Decides which of the other fields count.
    pub grant_type: GrantTypeName,
    /// The code, for `authorization_code`. It is good once, for a minute.
    pub code: Option<String>,
    /// With `code`: the same as in the authorization request.
    pub redirect_uri: Option<String>,
    /// With `code`: what the `code_challenge` of the authorization request was made of (RFC 7636).
    pub code_verifier: Option<String>,
    /// The user's name, for `password`.
    pub username: Option<String>,
    /// The user's password, for `password`.
    #[oai(validator(max_length = 1024))]
    pub password: Option<String>,
    /// The refresh token, for `refresh_token`. A retry with the same one within the retry window gets the same answer.
    pub refresh_token: Option<String>,
    /// Space-separated; all scopes of the client where it is left out, `admin*` excepted. On a refresh it narrows
    /// this one access token.
    pub scope: Option<String>,
    /// RFC 8707: for whom the access token is meant, within the client's `audience`. May come more than once.
    pub resource: Option<Vec<String>>,
    /// The token to exchange, for `token-exchange`: the client's own access token for its successor, one that the
    /// client was called with for a narrower one, or one of a legacy issuer for a session.
    pub subject_token: Option<String>,
    /// What `subject_token` is (RFC 8693 section 3): `urn:ietf:params:oauth:token-type:access_token`, or
    /// `urn:ietf:params:oauth:token-type:jwt` of a legacy issuer.
    pub subject_token_type: Option<String>,
    /// Taken and not needed: an access token is what there is.
    pub requested_token_type: Option<String>,
    /// RFC 8693: like `resource`, for names that are no URIs. May come more than once.
    pub audience: Option<Vec<String>>,
    /// For public clients and `client_secret_post`.
    pub client_id: Option<String>,
    /// For `client_secret_post`.
    pub client_secret: Option<String>,
    /// For `private_key_jwt` and `client_secret_jwt`: a JWT that says who the client is (RFC 7523), good for one request.
    pub client_assertion: Option<String>,
    /// With `client_assertion`, always `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    pub client_assertion_type: Option<String>,
}

/// The request of RFC 7662 section 2.1 and RFC 7009 section 2.1.
#[derive(Debug, Object)]
pub struct TokenQuestion {
    /// An access token or a refresh token.
    pub token: String,
    /// Taken and not needed: the two kinds look different.
    pub token_type_hint: Option<String>,
    /// For public clients and `client_secret_post`.
    pub client_id: Option<String>,
    /// For `client_secret_post`.
    pub client_secret: Option<String>,
    /// For `private_key_jwt` and `client_secret_jwt`: a JWT that says who the client is (RFC 7523), good for one request.
    pub client_assertion: Option<String>,
    /// With `client_assertion`, always `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    pub client_assertion_type: Option<String>,
}

/// The request of RFC 6750 section 2.2.
#[derive(Debug, Object)]
pub struct UserinfoRequest {
    /// The access token, where it is not in the header `Authorization`.
    pub access_token: Option<String>,
}
