//! Userinfo (OpenID Connect Core section 5.3): what a client may learn of the user that its access token speaks for.
//!
//! Any active access token of Latchkey's own will do that carries `openid`, whichever grant it came from and whomever it
//! names as audience. Its scope decides which standard claims are told, the session's claims request adds single ones, and
//! the operator's rules theirs. The answer is JSON, or a JWT for the one client where that is registered for it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::context::Context;
use crate::domain::claim_rules::{ClaimPlace, Subject};
use crate::domain::client::Client;
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, Sub};
use crate::domain::key::Alg;
use crate::domain::oidc_claims::{ClaimsRequest, for_userinfo};
use crate::introspection::Introspector;
use crate::keys::Typ;
use crate::replica::ReplicaError;
use crate::tokens::mint::sign;
use crate::tokens::verify::Verified;

/// How long a key is kept for whoever has to verify an answer that it signed: they do so as soon as they have it.
const SIGNED_ANSWER: Duration = Duration::from_secs(60);

/// An access token that is good, whatever it may be good for.
#[derive(Debug)]
pub struct Bearer(Verified);

impl Bearer {
    /// # Errors
    /// [`Code::NoToken`] or [`Code::InvalidToken`]: there is none, or it is not active. Unavailable: this node cannot
    /// vouch for what it knows.
    pub async fn check(ctx: &Context, introspector: &Introspector, token: Option<&str>) -> Result<Self, OAuthError> {
        let Some(token) = token else {
            return Err(OAuthError::new(
                Code::NoToken,
                "send Authorization: Bearer with an access token that has the scope openid",
            ));
        };
        introspector.check(ctx, token).await?.map(Self).ok_or_else(|| {
            invalid("the access token is not active: it is unknown, expired or revoked; ask for a new one")
        })
    }

    /// The client that it was issued to.
    pub fn client_id(&self) -> &ClientId {
        &self.0.claims.client_id
    }
}

/// What is told.
#[derive(Debug)]
pub enum Userinfo {
    Plain(Map<String, Value>),
    /// A JWT (section 5.3.2).
    Signed(String),
}

/// # Errors
/// [`Code::InsufficientScope`]: the token does not carry `openid`. [`Code::InvalidToken`]: there is no such user any
/// more. 503 where the database does not answer.
pub async fn userinfo(ctx: &Context, bearer: &Bearer) -> Result<Userinfo, OAuthError> {
    let claims = &bearer.0.claims;
    if !claims.scope.contains("openid") {
        return Err(OAuthError::new(
            Code::InsufficientScope,
            "this needs the scope openid, which the access token does not have",
        ));
    }
    // A client that acts for itself has a sub that is no user's.
    let user = ctx.store.user(&Sub::new(claims.sub.as_str())).await?.filter(|user| !user.disabled);
    let user = user.ok_or_else(|| invalid("the access token speaks for no user, or for one that is disabled"))?;
    let client = ctx.replica.client(&claims.client_id).await?;
    let client = client.ok_or_else(|| invalid("the client of the access token is gone"))?;
    let session = match claims.sid {
        Some(sid) => ctx.store.session(sid).await?,
        None => None,
    };
    let requested = session.as_ref().and_then(|session| ClaimsRequest::of(session, &client));

    let mut told = for_userinfo(&user, &claims.scope, requested.as_ref());
    let subject = Subject {
        client_id: &claims.client_id,
        scope: &claims.scope,
        sub: Some(&claims.sub),
        user: Some(&user),
        started_at: session.as_ref().map(|session| session.started_at),
        auth_time: claims.auth_time,
    };
    // What the operator has put in words stands above what is known anyway.
    told.extend(ctx.claims_in(ClaimPlace::Userinfo, &subject));
    told.insert("sub".into(), claims.sub.as_str().into());
    match client.userinfo_alg {
        None => Ok(Userinfo::Plain(told)),
        Some(alg) => signed(ctx, &client, alg, told).await.map(Userinfo::Signed),
    }
}

async fn signed(ctx: &Context, client: &Client, alg: Alg, mut told: Map<String, Value>) -> Result<String, OAuthError> {
    told.insert("iss".into(), (&*ctx.issuer).into());
    told.insert("aud".into(), client.client_id.as_str().into());
    let keys = ctx.replica.ensure_ttl(alg, SIGNED_ANSWER).await?;
    let slot = keys.active(alg).ok_or(ReplicaError::NoActiveKey(alg.as_str()))?;
    sign(slot, Typ::Jwt, &told).map_err(OAuthError::internal)
}

fn invalid(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidToken, description)
}
