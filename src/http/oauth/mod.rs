//! What clients call: token (RFC 6749), introspection (RFC 7662), revocation (RFC 7009), userinfo (OpenID Connect Core).

mod answers;
pub mod forms;
pub mod userinfo;

use std::sync::Arc;

use poem_openapi::OpenApi;

use self::answers::{IntrospectionAnswer, RevocationAnswer, TokenAnswer};
use self::forms::{TokenForm, TokenInQuestion};
use super::authorization::ClientAuthorization;
use super::cors::Serving;
use super::document::Topic;
use super::error::ClientFailure;
use super::form::OAuthForm;
use super::payload::Written;
use crate::app::App;
use crate::domain::origin::Origin;
use crate::flows::introspect::{IntrospectRequest, introspect};
use crate::flows::revoke::{RevokeRequest, revoke};
use crate::grants;

/// The operations.
pub struct OAuthApi {
    pub app: Arc<App>,
}

#[OpenApi(prefix_path = "/oauth2", tag = "Topic::Tokens")]
impl OAuthApi {
    /// Get tokens
    ///
    /// Log in, renew, exchange, or act in the client's own name: `grant_type` decides. The client authenticates by HTTP Basic,
    /// by `client_id` and `client_secret` in the form, by a signed `client_assertion`, or, as a public client, by its
    /// `client_id` alone. A refresh whose answer got lost is repeated with the same refresh token and gets the same successor again.
    #[oai(path = "/token", method = "post", operation_id = "token")]
    async fn token(
        &self,
        authorization: ClientAuthorization,
        origin: Origin,
        serving: Serving,
        form: OAuthForm<TokenForm>,
    ) -> Result<TokenAnswer, ClientFailure> {
        let form = form.0;
        serving.note(form.client.client_id.as_deref());
        let request = grants::TokenRequest {
            grant_type: form.grant_type,
            client: form.client.claim(authorization),
            username: form.username,
            password: form.password,
            refresh_token: form.refresh_token,
            scope: form.scope,
            resource: form.resource,
            code: form.code,
            exchange: form.exchange,
            origin,
        };
        let App { context, credentials, introspector, .. } = &*self.app;
        let response = grants::token(context, credentials, introspector, request).await?;
        Ok(response.into())
    }

    /// Ask whether a token counts
    ///
    /// For clients with a secret or a key. A client learns of tokens that were issued to it, or that name it (or one of its
    /// `resource_identifiers`) as audience; of all others it is told `{"active":false}`. A revoked token is inactive
    /// at the very next call.
    #[oai(path = "/introspect", method = "post", operation_id = "introspect")]
    async fn introspect(
        &self,
        authorization: ClientAuthorization,
        origin: Origin,
        form: OAuthForm<TokenInQuestion>,
    ) -> Result<IntrospectionAnswer, ClientFailure> {
        let TokenInQuestion { client, token } = form.0;
        let request = IntrospectRequest { client: client.claim(authorization), token, origin };
        let App { context, credentials, introspector, .. } = &*self.app;
        let told = introspect(context, credentials, introspector, request).await?;
        Ok(IntrospectionAnswer::Told(Written(told.into()), "no-store".into()))
    }

    /// Revoke a token
    ///
    /// A refresh token ends its session and all access tokens of it; an access token ends alone, or, where its session has
    /// no refresh token, with its session. Only the client that
    /// a token was issued to may revoke it. Unknown and expired tokens answer 200: there is nothing left to do.
    #[oai(path = "/revoke", method = "post", operation_id = "revoke")]
    async fn revoke(
        &self,
        authorization: ClientAuthorization,
        origin: Origin,
        serving: Serving,
        form: OAuthForm<TokenInQuestion>,
    ) -> Result<RevocationAnswer, ClientFailure> {
        let TokenInQuestion { client, token } = form.0;
        serving.note(client.client_id.as_deref());
        let request = RevokeRequest { client: client.claim(authorization), token, origin };
        let App { context, credentials, introspector, .. } = &*self.app;
        revoke(context, credentials, introspector, request).await?;
        Ok(RevocationAnswer::Done)
    }
}
