//! A Poem service that takes Latchkey's access tokens. cargo run

mod latchkey;

use std::env::var;
use std::error::Error;
use std::sync::Arc;

use poem::http::StatusCode;
use poem::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use poem::listener::TcpListener;
use poem::middleware::AddData;
use poem::web::Json;
use poem::{EndpointExt, FromRequest, Request, RequestBody, Response, Route, Server, get, handler};
use serde_json::{Value, json};

use latchkey::{Claims, Refusal, Verifier};

/// Whose good access token a request carries: what a handler takes to be protected.
struct Caller(Claims);

impl<'a> FromRequest<'a> for Caller {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let Some(verifier) = request.data::<Arc<Verifier>>() else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into());
        };
        Ok(Self(verifier.caller(request.header(AUTHORIZATION)).await?))
    }
}

impl From<Refusal> for poem::Error {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let response = Response::builder().status(status);
        Self::from_response(match refusal.challenge() {
            Some(challenge) => response.header(WWW_AUTHENTICATE, challenge).finish(),
            None => response.finish(),
        })
    }
}

#[handler]
fn me(Caller(claims): Caller) -> poem::Result<Json<Value>> {
    claims.needs("read")?;
    Ok(Json(json!({ "sub": claims.sub, "scope": claims.scope })))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = var("ISSUER").unwrap_or("http://127.0.0.1:8420".into());
    let audience = var("AUDIENCE").unwrap_or("https://api.example.com".into());
    let address = format!("127.0.0.1:{}", var("PORT").unwrap_or("8000".into()));
    let app = Route::new().at("/me", get(me)).with(AddData::new(Arc::new(Verifier::new(issuer, audience)?)));
    Server::new(TcpListener::bind(address)).run(app).await?;
    Ok(())
}
