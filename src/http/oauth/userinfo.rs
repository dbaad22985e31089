//! Userinfo over HTTP (OpenID Connect Core section 5.3): the access token in the header or, by POST, in a form (RFC 6750
//! sections 2.1 and 2.2), never in the URL, which ends up in logs.

use std::sync::Arc;

use poem::Request;
use poem_openapi::{ApiResponse, Object, OpenApi, ResponseContent};

use super::forms::TokenInForm;
use crate::app::App;
use crate::domain::error::{Code, OAuthError};
use crate::flows::userinfo::{Bearer as Active, Userinfo, userinfo};
use crate::http::admin::Address;
use crate::http::authorization::Bearer;
use crate::http::cors::Serving;
use crate::http::document::Topic;
use crate::http::error::{BearerFailure, BearerFormFailure};
use crate::http::form::OAuthForm;
use crate::http::payload::{MediaType, PlainJson, Prepared};

/// The operations.
pub struct UserinfoApi {
    pub app: Arc<App>,
}

/// What is told of a user: the claims of the token's scope that are known, those that were asked for by name, and the
/// operator's own beside them (OpenID Connect Core section 5.1).
#[derive(Debug, Object)]
#[oai(rename = "UserInfo", skip_serializing_if_is_none)]
pub struct UserinfoBody {
    /// The user, as in every token.
    pub sub: String,
    /// With `profile`, as all until `updated_at`.
    pub name: Option<String>,
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    pub middle_name: Option<String>,
    pub nickname: Option<String>,
    /// The username, where the user has none of their choice.
    pub preferred_username: Option<String>,
    pub profile: Option<String>,
    pub picture: Option<String>,
    pub website: Option<String>,
    pub gender: Option<String>,
    pub birthdate: Option<String>,
    pub zoneinfo: Option<String>,
    pub locale: Option<String>,
    /// Unix seconds.
    pub updated_at: Option<i64>,
    /// With `email`.
    pub email: Option<String>,
    pub email_verified: Option<bool>,
    /// With `address`.
    pub address: Option<Address>,
    /// With `phone`.
    pub phone_number: Option<String>,
    pub phone_number_verified: Option<bool>,
}

/// `application/jwt` (OpenID Connect Core section 5.3.2).
#[derive(Debug)]
pub enum Jwt {}

impl MediaType for Jwt {
    const NAME: &'static str = "application/jwt";
}

/// Plain or signed.
#[derive(ResponseContent)]
pub enum UserinfoContent {
    Plain(Prepared<UserinfoBody, PlainJson>),
    Signed(Prepared<String, Jwt>),
}

/// What userinfo answers.
#[derive(ApiResponse)]
pub enum UserinfoAnswer {
    /// What is known of the user; as a JWT with `iss` and `aud`, where the client is registered for that
    #[oai(status = 200)]
    Told(UserinfoContent),
}

impl UserinfoAnswer {
    fn new(told: Userinfo) -> Result<Self, OAuthError> {
        Ok(Self::Told(match told {
            Userinfo::Plain(claims) => {
                let json = serde_json::to_vec(&claims).map_err(OAuthError::internal)?;
                UserinfoContent::Plain(Prepared::new(json.into()))
            }
            Userinfo::Signed(jwt) => UserinfoContent::Signed(Prepared::new(jwt.into())),
        }))
    }
}

#[OpenApi(prefix_path = "/oauth2", tag = "Topic::OpenId")]
impl UserinfoApi {
    /// Ask who the user is
    ///
    /// With an access token that has the scope `openid`. `profile`, `email`, `address` and `phone` decide what else is
    /// told beside `sub`.
    #[oai(path = "/userinfo", method = "get", operation_id = "userinfo")]
    async fn userinfo(
        &self,
        request: &Request,
        bearer: Bearer,
        serving: Serving,
    ) -> Result<UserinfoAnswer, BearerFailure> {
        Ok(self.tell(request, bearer.token(), &serving).await?)
    }

    /// Ask who the user is, by POST
    ///
    /// As by GET; the access token may be in the form instead of the header, never in both.
    #[oai(path = "/userinfo", method = "post", operation_id = "userinfoPost")]
    async fn userinfo_post(
        &self,
        request: &Request,
        bearer: Bearer,
        serving: Serving,
        form: OAuthForm<TokenInForm>,
    ) -> Result<UserinfoAnswer, BearerFormFailure> {
        let in_form = form.0.access_token;
        if bearer.token().is_some() && in_form.is_some() {
            return Err(refused("the access token is in the header and in the form; send it once").into());
        }
        let token = bearer.token().or(in_form.as_ref().map(|token| token.expose()));
        Ok(self.tell(request, token, &serving).await?)
    }

    async fn tell(
        &self,
        request: &Request,
        token: Option<&str>,
        serving: &Serving,
    ) -> Result<UserinfoAnswer, OAuthError> {
        let query = request.uri().query().unwrap_or_default();
        if query.split('&').any(|pair| pair.split('=').next() == Some("access_token")) {
            return Err(refused("an access token in the URL ends up in logs; send it in the header Authorization"));
        }
        let App { context, introspector, .. } = &*self.app;
        let bearer = Active::check(context, introspector, token).await?;
        serving.note(Some(bearer.client_id().as_str()));
        UserinfoAnswer::new(userinfo(context, &bearer).await?)
    }
}

/// RFC 6750 section 3.1: more than one way to send a token, or none that is taken.
fn refused(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, description)
}
