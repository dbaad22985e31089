//! An axum service that takes Latchkey's access tokens. cargo run

mod latchkey;

use std::env::var;
use std::error::Error;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use latchkey::{Claims, Refusal, Verifier};

/// Whose good access token a request carries: what a handler takes to be protected.
struct Caller(Claims);

impl FromRequestParts<Arc<Verifier>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, verifier: &Arc<Verifier>) -> Result<Self, Refusal> {
        let authorization = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        verifier.caller(authorization).await.map(Self)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(challenge) = self.challenge().and_then(|text| text.parse().ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        (StatusCode::from_u16(self.status()).unwrap_or(StatusCode::UNAUTHORIZED), headers).into_response()
    }
}

async fn me(Caller(claims): Caller) -> Result<Json<Value>, Refusal> {
    claims.needs("read")?;
    Ok(Json(json!({ "sub": claims.sub, "scope": claims.scope })))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = var("ISSUER").unwrap_or("http://127.0.0.1:8420".into());
    let audience = var("AUDIENCE").unwrap_or("https://api.example.com".into());
    let address = format!("127.0.0.1:{}", var("PORT").unwrap_or("8000".into()));
    let app = Router::new().route("/me", get(me)).with_state(Arc::new(Verifier::new(issuer, audience)?));
    axum::serve(tokio::net::TcpListener::bind(address).await?, app).await?;
    Ok(())
}
