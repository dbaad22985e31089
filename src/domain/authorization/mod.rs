//! Authorization requests (RFC 6749 section 4.1.1, RFC 7636, RFC 8707, OpenID Connect Core section 3.1.2): what one asks for
//! once all of it has been judged, and what a browser must go through before it gets its code.
//!
//! [`checks`] judges a request by a table, [`steps`] says what comes next. Both are pure: who is signed in, and what they
//! have allowed, is brought along.

pub mod checks;
pub mod parameters;
pub mod steps;

use serde::{Deserialize, Serialize};

use super::client::{Client, ResponseMode};
use super::ids::{ClientId, Sub};
use super::oidc_claims::ClaimsRequest;
use super::scope::Scope;
use super::time::Timestamp;

/// A request that may be answered by a redirect. It is carried through the pages as it stands here, authenticated, and any
/// node reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    pub client_id: ClientId,
    /// As it was given: for a native app its port is not the registered one's.
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub scope: Scope,
    /// The `aud` of the access tokens.
    pub audience: Vec<String>,
    pub state: Option<String>,
    pub nonce: Option<String>,
    /// Of the method `S256`.
    pub code_challenge: Option<String>,
    pub prompt: Prompt,
    /// Seconds.
    pub max_age: Option<u32>,
    /// Whose name the sign-in page begins with.
    pub login_hint: Option<String>,
    /// Who it must be: the user of an `id_token_hint`.
    pub sub: Option<Sub>,
    pub ui_locales: Option<String>,
    /// The parameter `claims`, as it was given.
    pub claims: Option<String>,
    /// What the ID token is to say of how the user was authenticated.
    pub acr: Option<String>,
    /// When it arrived: what was done later was done for it.
    pub started_at: Timestamp,
}

/// The parameter `prompt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// No page may be shown.
    pub none: bool,
    /// The user signs in anew. Choosing an account is done by that too.
    pub login: bool,
    /// The user is asked for consent anew.
    pub consent: bool,
}

/// Where the answer to a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub state: Option<String>,
}

impl AuthorizationRequest {
    /// What the parameter `claims` asks for. It was read when the request arrived, so it can be read again.
    pub fn claims_request(&self) -> Option<ClaimsRequest> {
        self.claims.as_deref().and_then(|text| ClaimsRequest::parse(text).ok())
    }

    /// What the user is asked to allow: the scope, and the scopes of the claims that `claims` names beside it.
    pub fn asked(&self, client: &Client) -> Scope {
        let claims = self.claims_request().map(|claims| claims.within(&client.scope));
        let named = claims.map(|claims| claims.scopes().join(" ")).unwrap_or_default();
        // Names of our own are a scope.
        Scope::parse(&named).map_or_else(|_| self.scope.clone(), |named| self.scope.union(&named))
    }

    pub fn destination(&self) -> Destination {
        Destination {
            redirect_uri: self.redirect_uri.clone(),
            response_mode: self.response_mode,
            state: self.state.clone(),
        }
    }
}
