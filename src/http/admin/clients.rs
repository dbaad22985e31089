//! `/admin/v1/clients`

use std::sync::Arc;

use poem_openapi::param::{Path, Query};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::client_keys::ClientJwkSet;
use super::{Gone, RemovalFailure, Topic, caller, location};
use crate::admin::clients::{self, Registered, SecretRotation};
use crate::app::App;
use crate::domain::client::{Client as Registration, GrantType, ResponseMode};
use crate::domain::key::Alg;
use crate::domain::origin::Origin;
use crate::domain::policy::Lifetimes as OwnLifetimes;
use crate::domain::secret::SecretText;
use crate::domain::units::show_duration;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::error::{ChangeFailure, CreateFailure, ItemFailure, ListFailure};
use crate::http::json::{Answer, JsonBody};
use crate::http::moment::Moment;

/// A client's own lifetimes, each a span such as `30s`, `10m`, `7d`. What is absent follows the operator's `tokens.*`.
#[derive(Debug, Default, Object)]
#[oai(skip_serializing_if_is_none, nullable_all)]
struct Lifetimes {
    /// How long an access token is valid, at most `24h`.
    access_ttl: Option<String>,
    /// How long a session lives unused.
    refresh_idle: Option<String>,
    /// How long a session lives at all.
    refresh_absolute: Option<String>,
    /// How long a refresh whose answer got lost may be repeated and gets the very same refresh token again. Inside it,
    /// a thief and a retry look alike.
    refresh_retry_window: Option<String>,
    /// A retry later than this is late. Five generations in a row that saw one shorten the window to it.
    late_retry: Option<String>,
}

/// What a client is registered with (RFC 7591). A patch keeps what it leaves out; `null` is the default.
#[derive(Debug, Default, Object)]
#[oai(skip_serializing_if_is_none, nullable_all, example)]
struct ClientMetadata {
    /// For people.
    client_name: Option<String>,
    /// `authorization_code`, `password` (for first-party clients only), `refresh_token`, `client_credentials`,
    /// `urn:ietf:params:oauth:grant-type:token-exchange`. A client with none is an API that only introspects.
    grant_types: Option<Vec<String>>,
    /// What its tokens may carry, separated by spaces. Names that begin with `admin` are reserved: a client's own
    /// count for `client_credentials` alone, and nobody grants one they lack.
    scope: Option<String>,
    /// `client_secret_basic` (the default), `client_secret_post`, `client_secret_jwt`, `private_key_jwt`, or `none` for a
    /// public client. A change to or from `client_secret_jwt` makes a new secret.
    token_endpoint_auth_method: Option<String>,
    /// The only algorithm that its assertions are signed by: `RS256`, `PS256` or `ES256` with `private_key_jwt`, `HS256`
    /// with `client_secret_jwt`. Every one that suits the method where it is left out.
    token_endpoint_auth_signing_alg: Option<String>,
    /// For `private_key_jwt`: its public keys. Either this or `jwks_uri`.
    jwks: Option<ClientJwkSet>,
    /// For `private_key_jwt`: where it publishes its keys, https, or http on loopback.
    jwks_uri: Option<String>,
    /// `ES256` (the default) or `RS256`.
    access_token_signed_response_alg: Option<String>,
    /// What its access tokens name as `aud`; the issuer by default.
    audience: Option<Vec<String>>,
    /// Names under which this client, as an API, is an audience: it may introspect tokens that carry one.
    resource_identifiers: Option<Vec<String>>,
    /// Exact browser origins that may call token, revocation and userinfo for it.
    allowed_origins: Option<Vec<String>>,
    /// Its own lifetimes.
    lifetimes: Option<Lifetimes>,
    /// `false` keeps the refresh token the same at every refresh.
    rotate_refresh: Option<bool>,
    /// A disabled client gets no tokens, and those it has are inactive for good.
    disabled: Option<bool>,
    /// Where codes go; needed by `authorization_code`. Each one whole: `https`, `http` on loopback, or for public clients
    /// a private-use scheme with a dot (RFC 8252 section 7.1). A request names one of them exactly; only the port of
    /// `http://127.0.0.1` and `http://[::1]` is free.
    redirect_uris: Option<Vec<String>>,
    /// Where a browser may be sent after a logout. As `redirect_uris`.
    post_logout_redirect_uris: Option<Vec<String>>,
    /// Where Latchkey posts a logout token when a sign-in ends: `https`, or `http` on loopback, without a fragment.
    backchannel_logout_uri: Option<String>,
    /// `true` (the default): a code needs PKCE with S256. `false` only for a client that proves who it is.
    require_pkce: Option<bool>,
    /// `code` is the only one, and goes without saying.
    response_types: Option<Vec<String>>,
    /// `query` and `form_post`; both by default.
    response_modes: Option<Vec<String>>,
    /// `RS256` (the default) or `ES256`.
    id_token_signed_response_alg: Option<String>,
    /// `RS256` or `ES256`; without one, userinfo is plain JSON.
    userinfo_signed_response_alg: Option<String>,
    /// `true` for a first-party client: its users are not asked. Not for a public client whose codes go to an app or a
    /// port on the user's machine.
    skip_consent: Option<bool>,
    /// Its home page, shown where its users are asked; `https`.
    client_uri: Option<String>,
    /// Its privacy policy, shown there, too; `https`.
    policy_uri: Option<String>,
    /// Its terms of service, shown there, too; `https`.
    tos_uri: Option<String>,
}

impl Example for ClientMetadata {
    fn example() -> Self {
        Self {
            client_name: Some("Web shop".into()),
            grant_types: Some(vec!["authorization_code".into(), "refresh_token".into()]),
            scope: Some("openid profile orders:read".into()),
            audience: Some(vec!["https://api.example.com".into()]),
            lifetimes: Some(Lifetimes { access_ttl: Some("5m".into()), ..Lifetimes::default() }),
            redirect_uris: Some(vec!["https://shop.example.com/callback".into()]),
            post_logout_redirect_uris: Some(vec!["https://shop.example.com/".into()]),
            backchannel_logout_uri: Some("https://shop.example.com/logout".into()),
            ..Self::default()
        }
    }
}

/// A client to register.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct NewClient {
    /// Made where it is left out. Printable ASCII; never begins with `usr_`, as users' `sub`s do.
    client_id: Option<String>,
    /// Drawn where it is left out, which is better. At least 32 characters of printable ASCII.
    client_secret: Option<String>,
    #[oai(flatten)]
    metadata: ClientMetadata,
}

impl Example for NewClient {
    fn example() -> Self {
        Self { client_id: Some("web-shop".into()), client_secret: None, metadata: Example::example() }
    }
}

/// A secret to rotate to.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct NewSecret {
    /// Drawn where it is left out, which is better. At least 32 characters of printable ASCII.
    client_secret: Option<String>,
    /// How long the secrets there are stay valid: a span up to `30d`, `24h` by default; `0s` ends them at once.
    overlap: Option<String>,
}

impl Example for NewSecret {
    fn example() -> Self {
        Self { client_secret: None, overlap: Some("24h".into()) }
    }
}

/// One secret of a client, which nobody can read any more.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Secret {
    created_at: Moment,
    /// When it stops being accepted; the current one has no end.
    expires_at: Option<Moment>,
}

/// A registered client.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct Client {
    client_id: String,
    /// Only in the answer to the call that drew it. Nobody can read it later.
    client_secret: Option<String>,
    client_name: String,
    grant_types: Vec<String>,
    scope: String,
    token_endpoint_auth_method: String,
    token_endpoint_auth_signing_alg: Option<String>,
    /// Of each key the public members that a verifier needs.
    jwks: Option<ClientJwkSet>,
    jwks_uri: Option<String>,
    access_token_signed_response_alg: String,
    audience: Vec<String>,
    resource_identifiers: Vec<String>,
    allowed_origins: Vec<String>,
    lifetimes: Lifetimes,
    rotate_refresh: Option<bool>,
    disabled: bool,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    backchannel_logout_uri: Option<String>,
    require_pkce: bool,
    response_modes: Vec<String>,
    id_token_signed_response_alg: String,
    /// How userinfo is signed; absent for plain JSON.
    userinfo_signed_response_alg: Option<String>,
    skip_consent: bool,
    client_uri: Option<String>,
    policy_uri: Option<String>,
    tos_uri: Option<String>,
    /// Its secrets that count, newest first.
    secrets: Vec<Secret>,
    created_at: Moment,
    updated_at: Moment,
}

impl Example for Client {
    fn example() -> Self {
        let created_at = Moment::example("2026-01-31T09:30:00Z");
        Self {
            client_id: "web-shop".into(),
            client_secret: None,
            client_name: "Web shop".into(),
            grant_types: vec!["authorization_code".into(), "refresh_token".into()],
            scope: "openid profile orders:read".into(),
            token_endpoint_auth_method: "client_secret_basic".into(),
            token_endpoint_auth_signing_alg: None,
            jwks: None,
            jwks_uri: None,
            access_token_signed_response_alg: "ES256".into(),
            audience: vec!["https://api.example.com".into()],
            resource_identifiers: Vec::new(),
            allowed_origins: Vec::new(),
            lifetimes: Lifetimes { access_ttl: Some("5m".into()), ..Lifetimes::default() },
            rotate_refresh: None,
            disabled: false,
            redirect_uris: vec!["https://shop.example.com/callback".into()],
            post_logout_redirect_uris: vec!["https://shop.example.com/".into()],
            backchannel_logout_uri: Some("https://shop.example.com/logout".into()),
            require_pkce: true,
            response_modes: vec!["query".into(), "form_post".into()],
            id_token_signed_response_alg: "RS256".into(),
            userinfo_signed_response_alg: None,
            skip_consent: false,
            client_uri: None,
            policy_uri: None,
            tos_uri: None,
            secrets: vec![Secret { created_at, expires_at: None }],
            updated_at: created_at,
            created_at,
        }
    }
}

/// A page of clients.
#[derive(Debug, Object)]
#[oai(example)]
struct ClientList {
    items: Vec<Client>,
    /// What to pass as `after` for the next page.
    #[oai(nullable)]
    next: Option<String>,
}

impl Example for ClientList {
    fn example() -> Self {
        Self { items: vec![Example::example()], next: None }
    }
}

#[derive(ApiResponse)]
enum ClientMade {
    /// It is registered. A drawn secret is shown this once
    #[oai(status = 201)]
    Created(
        Answer<Client>,
        /// Where it is found
        #[oai(header = "Location")]
        String,
    ),
}

/// The operations on clients.
pub struct ClientsApi {
    app: Arc<App>,
}

impl ClientsApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    fn view(&self, client: &Registration, secret: Option<&SecretText>) -> Client {
        let ctx = &self.app.context;
        let secrets = client.live_secrets(ctx.now()).map(|secret| Secret {
            created_at: secret.created_at.into(),
            expires_at: secret.expires_at.map(Moment::from),
        });
        Client {
            client_id: client.client_id.to_string(),
            client_secret: secret.map(|secret| secret.expose().to_owned()),
            client_name: client.client_name.clone(),
            grant_types: client.grant_types.iter().map(|grant| GrantType::as_str(*grant).to_owned()).collect(),
            scope: client.scope.to_string(),
            token_endpoint_auth_method: client.auth_method.as_str().to_owned(),
            token_endpoint_auth_signing_alg: client.keys.signing_alg.map(|alg| alg.to_string()),
            jwks: client.keys.jwks.as_ref().map(ClientJwkSet::of),
            jwks_uri: client.keys.jwks_uri.clone(),
            access_token_signed_response_alg: client.access_token_alg.to_string(),
            audience: client.audience_or(&ctx.issuer).into_iter().map(str::to_owned).collect(),
            resource_identifiers: client.resource_identifiers.clone(),
            allowed_origins: client.allowed_origins.clone(),
            lifetimes: lifetimes(&client.lifetimes),
            rotate_refresh: client.rotate_refresh,
            disabled: client.disabled,
            redirect_uris: client.redirect_uris.clone(),
            post_logout_redirect_uris: client.post_logout_redirect_uris.clone(),
            backchannel_logout_uri: client.backchannel_logout_uri.clone(),
            require_pkce: client.require_pkce,
            response_modes: client.response_modes.iter().map(|mode| ResponseMode::as_str(*mode).to_owned()).collect(),
            id_token_signed_response_alg: client.id_token_alg.to_string(),
            userinfo_signed_response_alg: client.userinfo_alg.as_ref().map(Alg::to_string),
            skip_consent: client.skip_consent,
            client_uri: client.client_uri.clone(),
            policy_uri: client.policy_uri.clone(),
            tos_uri: client.tos_uri.clone(),
            secrets: secrets.collect(),
            created_at: client.created_at.into(),
            updated_at: client.updated_at.into(),
        }
    }

    fn registered(&self, registered: &Registered) -> Client {
        self.view(&registered.client, registered.secret.as_ref())
    }
}

fn lifetimes(own: &OwnLifetimes) -> Lifetimes {
    let show = |seconds: Option<u64>| seconds.map(std::time::Duration::from_secs).map(show_duration);
    Lifetimes {
        access_ttl: show(own.access_ttl),
        refresh_idle: show(own.refresh_idle),
        refresh_absolute: show(own.refresh_absolute),
        refresh_retry_window: show(own.refresh_retry_window),
        late_retry: show(own.late_retry),
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Clients")]
impl ClientsApi {
    /// List clients
    #[oai(path = "/clients", method = "get", operation_id = "listClients")]
    async fn list(
        &self,
        #[oai(scope = "AdminScope::ClientsRead")] bearer: Bearer,
        origin: Origin,
        /// The `next` of the page before.
        after: Query<Option<String>>,
        /// Items on this page, 1 to 1,000; 100 by default.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
    ) -> Result<Answer<ClientList>, ListFailure> {
        caller(&self.app, &bearer, "admin:clients:read", &origin).await?;
        let page = clients::list(&self.app.context, after.0, limit.0).await?;
        let items = page.items.iter().map(|client| self.view(client, None)).collect();
        Ok(Answer(ClientList { items, next: page.next }))
    }

    /// Register a client
    ///
    /// Its secret, where it needs one, is drawn and shown in this answer alone. A client with an `admin*` scope needs a caller who holds it.
    #[oai(path = "/clients", method = "post", operation_id = "createClient")]
    async fn create(
        &self,
        #[oai(scope = "AdminScope::Clients")] bearer: Bearer,
        origin: Origin,
        body: JsonBody<NewClient>,
    ) -> Result<ClientMade, CreateFailure> {
        let caller = caller(&self.app, &bearer, "admin:clients", &origin).await?;
        let (ctx, credentials) = (&self.app.context, &self.app.credentials);
        let registered = clients::create(ctx, credentials, &caller, &body.read()?).await?;
        let location = location(&self.app, "clients", registered.client.client_id.as_str());
        Ok(ClientMade::Created(Answer(self.registered(&registered)), location))
    }

    /// Show a client
    #[oai(path = "/clients/:client_id", method = "get", operation_id = "getClient")]
    async fn show(
        &self,
        #[oai(scope = "AdminScope::ClientsRead")] bearer: Bearer,
        origin: Origin,
        /// The client.
        client_id: Path<String>,
    ) -> Result<Answer<Client>, ItemFailure> {
        caller(&self.app, &bearer, "admin:clients:read", &origin).await?;
        let client = clients::show(&self.app.context, &client_id).await?;
        Ok(Answer(self.view(&client, None)))
    }

    /// Change a client
    ///
    /// A merge patch (RFC 7396): members that are left out stay, `null` is the default. Disabling a client makes its
    /// access tokens inactive. A client that had no secret and now needs one, or whose secret is kept in another way from now
    /// on (`client_secret_jwt`), gets a new one in this answer.
    #[oai(path = "/clients/:client_id", method = "patch", operation_id = "updateClient")]
    async fn update(
        &self,
        #[oai(scope = "AdminScope::Clients")] bearer: Bearer,
        origin: Origin,
        /// The client.
        client_id: Path<String>,
        body: JsonBody<ClientMetadata>,
    ) -> Result<Answer<Client>, ChangeFailure> {
        let caller = caller(&self.app, &bearer, "admin:clients", &origin).await?;
        let registered = clients::patch(&self.app.context, &caller, &client_id, &body.read()?).await?;
        Ok(Answer(self.registered(&registered)))
    }

    /// Delete a client
    ///
    /// Its sessions end and its access tokens turn inactive. The last full admin cannot be deleted (409).
    #[oai(path = "/clients/:client_id", method = "delete", operation_id = "deleteClient")]
    async fn delete(
        &self,
        #[oai(scope = "AdminScope::Clients")] bearer: Bearer,
        origin: Origin,
        /// The client.
        client_id: Path<String>,
    ) -> Result<Gone, RemovalFailure> {
        let caller = caller(&self.app, &bearer, "admin:clients", &origin).await?;
        clients::delete(&self.app.context, &caller, &client_id).await?;
        Ok(Gone::Gone)
    }

    /// Rotate a client's secret
    ///
    /// The new secret is shown in this answer alone. The old one stays valid for the overlap and is listed with its end.
    #[oai(path = "/clients/:client_id/secret", method = "post", operation_id = "rotateClientSecret")]
    async fn rotate_secret(
        &self,
        #[oai(scope = "AdminScope::Clients")] bearer: Bearer,
        origin: Origin,
        /// The client.
        client_id: Path<String>,
        body: JsonBody<Option<NewSecret>>,
    ) -> Result<Answer<Client>, ChangeFailure> {
        let caller = caller(&self.app, &bearer, "admin:clients", &origin).await?;
        let (ctx, credentials) = (&self.app.context, &self.app.credentials);
        let rotation: SecretRotation = body.read()?;
        let registered = clients::rotate_secret(ctx, credentials, &caller, &client_id, &rotation).await?;
        Ok(Answer(self.registered(&registered)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::clients::spec::ClientSpec;
    use crate::admin::lifetimes::LifetimesSpec;
    use crate::http::json::agreement;

    impl Example for Lifetimes {
        fn example() -> Self {
            Self { access_ttl: Some("5m".into()), ..Self::default() }
        }
    }

    #[test]
    fn what_is_documented_is_what_is_read() {
        agreement::check::<NewClient, ClientSpec>(&[]);
        agreement::check::<ClientMetadata, ClientSpec>(&["client_id", "client_secret"]);
        agreement::check::<NewSecret, SecretRotation>(&[]);
        agreement::check::<Lifetimes, LifetimesSpec>(&[]);
    }
}
