//! An axum application whose users sign in at Latchkey, with `openidconnect`. It keeps the tokens of its one visitor.

use std::env;
use std::error::Error;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreTokenResponse, CoreUserInfoClaims};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndSessionUrl, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IssuerUrl, LogoutRequest, Nonce, NonceVerifier, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl, Scope,
    TokenResponse, reqwest,
};
use serde::Deserialize;
use serde_json::{Value, json};

type Discovered =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

struct App {
    client: Discovered,
    end_session: Option<EndSessionUrl>,
    http: reqwest::Client,
    here: String,
    scope: String,
    started: Mutex<Option<Started>>,
    kept: Mutex<Option<Kept>>,
    leaving: Mutex<Option<CsrfToken>>,
}

struct Started {
    state: CsrfToken,
    nonce: Nonce,
    pkce: PkceCodeVerifier,
}

#[derive(Clone)]
struct Kept {
    tokens: CoreTokenResponse,
    id_token: CoreIdToken,
}

#[derive(Deserialize)]
struct Callback {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// What was refused, with all its causes.
struct Refused(String);

impl<E: Error> From<E> for Refused {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self(text)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (StatusCode::UNAUTHORIZED, Json(json!({ "refused": self.0 }))).into_response()
    }
}

fn refused<T>(why: &str) -> Result<T, Refused> {
    Err(Refused(why.to_owned()))
}

type Answer = Result<Json<Value>, Refused>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let here = format!("http://127.0.0.1:{}", env::var("PORT")?);
    let http = reqwest::ClientBuilder::new().redirect(reqwest::redirect::Policy::none()).build()?;
    let metadata = ProviderMetadataWithLogout::discover_async(IssuerUrl::new(env::var("ISSUER")?)?, &http).await?;
    let end_session = metadata.additional_metadata().end_session_endpoint.clone();
    let secret = ClientSecret::new(env::var("CLIENT_SECRET")?);
    let client = CoreClient::from_provider_metadata(metadata, ClientId::new(env::var("CLIENT_ID")?), Some(secret))
        .set_redirect_uri(RedirectUrl::new(format!("{here}/callback"))?);
    let listener = tokio::net::TcpListener::bind(here.trim_start_matches("http://")).await?;
    let app = App {
        client,
        end_session,
        http,
        here,
        scope: env::var("SCOPE")?,
        started: Mutex::default(),
        kept: Mutex::default(),
        leaving: Mutex::default(),
    };
    let routes = Router::new()
        .route("/login", get(login))
        .route("/callback", get(callback))
        .route("/userinfo", get(userinfo))
        .route("/refresh", get(refresh))
        .route("/logout", get(logout))
        .route("/bye", get(bye));
    axum::serve(listener, routes.with_state(Arc::new(app))).await?;
    Ok(())
}

async fn login(State(app): State<Arc<App>>) -> Redirect {
    let (challenge, pkce) = PkceCodeChallenge::new_random_sha256();
    let (url, state, nonce) = app
        .client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scopes(app.scope.split(' ').map(|scope| Scope::new(scope.to_owned())))
        .set_pkce_challenge(challenge)
        .url();
    *app.started.lock().unwrap() = Some(Started { state, nonce, pkce });
    Redirect::to(url.as_str())
}

async fn callback(State(app): State<Arc<App>>, Query(callback): Query<Callback>) -> Answer {
    let Some(Started { state, nonce, pkce }) = app.started.lock().unwrap().take() else {
        return refused("nothing was started");
    };
    if callback.state.as_ref() != Some(state.secret()) {
        return refused("another state");
    }
    let Some(code) = callback.code else {
        return refused(&callback.error.unwrap_or_default());
    };
    let code = app.client.exchange_code(AuthorizationCode::new(code))?;
    let tokens = code.set_pkce_verifier(pkce).request_async(&app.http).await?;
    keep(&app, tokens, &nonce)
}

/// Takes tokens whose ID token is good.
fn keep(app: &App, tokens: CoreTokenResponse, nonce: impl NonceVerifier) -> Answer {
    let Some(id_token) = tokens.id_token().cloned() else {
        return refused("no ID token");
    };
    let verifier = app.client.id_token_verifier();
    let claims = id_token.claims(&verifier, nonce)?;
    if let Some(expected) = claims.access_token_hash() {
        let found = AccessTokenHash::from_token(
            tokens.access_token(),
            id_token.signing_alg()?,
            id_token.signing_key(&verifier)?,
        )?;
        if found != *expected {
            return refused("another access token");
        }
    }
    // All claims, also those that the library has no name for.
    let claims = id_token.to_string();
    *app.kept.lock().unwrap() = Some(Kept { tokens, id_token });
    Ok(Json(json!({ "id_token": claims })))
}

fn kept(app: &App) -> Result<Kept, Refused> {
    app.kept.lock().unwrap().clone().ok_or_else(|| Refused("nobody is signed in".into()))
}

async fn userinfo(State(app): State<Arc<App>>) -> Answer {
    let Kept { tokens, id_token } = kept(&app)?;
    let verifier = app.client.id_token_verifier();
    let subject = id_token.claims(&verifier, |_: Option<&Nonce>| Ok(()))?.subject().clone();
    let asked = app.client.user_info(tokens.access_token().clone(), Some(subject))?;
    let claims: CoreUserInfoClaims = asked.request_async(&app.http).await?;
    Ok(Json(json!({ "claims": claims })))
}

async fn refresh(State(app): State<Arc<App>>) -> Answer {
    let Kept { tokens, .. } = kept(&app)?;
    let Some(token) = tokens.refresh_token() else {
        return refused("no refresh token");
    };
    let renewed = app.client.exchange_refresh_token(token)?.request_async(&app.http).await?;
    keep(&app, renewed, |nonce: Option<&Nonce>| nonce.map_or(Ok(()), |_| Err("a nonce after a refresh".into())))
}

async fn logout(State(app): State<Arc<App>>) -> Result<Redirect, Refused> {
    let Some(end_session) = app.end_session.clone() else {
        return refused("no end_session_endpoint");
    };
    let leaving = CsrfToken::new_random();
    let url = LogoutRequest::from(end_session)
        .set_id_token_hint(&kept(&app)?.id_token)
        .set_post_logout_redirect_uri(PostLogoutRedirectUrl::new(format!("{}/bye", app.here))?)
        .set_state(leaving.clone())
        .http_get_url();
    *app.leaving.lock().unwrap() = Some(leaving);
    Ok(Redirect::to(url.as_str()))
}

async fn bye(State(app): State<Arc<App>>, Query(callback): Query<Callback>) -> Answer {
    let leaving = app.leaving.lock().unwrap().take();
    if leaving.is_none() || callback.state.as_ref() != leaving.as_ref().map(CsrfToken::secret) {
        return refused("another state");
    }
    *app.kept.lock().unwrap() = None;
    Ok(Json(json!({ "bye": true })))
}
