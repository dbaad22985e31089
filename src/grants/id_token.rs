//! The ID token beside an access token (OpenID Connect Core sections 3.1.3.3 and 12.2): who gets one, and what it says.
//!
//! There is one for a session that a browser's sign-in opened, with `openid` in the scope: at the exchange of its code,
//! and at its refreshes. The password grant issues none, for there Latchkey did not see the user.

use serde_json::Map;

use super::issue::Beside;
use crate::context::Context;
use crate::domain::claim_rules::{ClaimPlace, Subject};
use crate::domain::client::{Client, GrantType};
use crate::domain::code::Code;
use crate::domain::error::OAuthError;
use crate::domain::oidc_claims::{self, ClaimsRequest};
use crate::domain::scope::Scope;
use crate::domain::session::Session;
use crate::keys::SigningSlot;
use crate::tokens::claims::ExtraClaims;
use crate::tokens::id_token::{IdTokenClaims, at_hash, mint_id_token};

/// RFC 8176: how users prove themselves here.
const PASSWORD_AMR: &str = "pwd";

/// What an ID token is to say beside what every one says.
#[derive(Clone, Debug, Default)]
pub(super) struct IdTokenWish {
    /// As the authorization request had it, at the exchange of the code alone.
    pub nonce: Option<String>,
    /// What the login counts as, where the request asked ([`oidc_claims::acr`]).
    pub acr: Option<String>,
    /// The parameter `claims` of the authorization request.
    pub requested: Option<ClaimsRequest>,
}

impl IdTokenWish {
    /// What the exchange of a code gets.
    pub fn at_exchange(code: &Code, scope: &Scope) -> Option<Self> {
        scope.contains("openid").then(|| Self {
            nonce: code.nonce.clone(),
            acr: code.acr.clone(),
            requested: code.claims.as_deref().and_then(|text| ClaimsRequest::parse(text).ok()),
        })
    }

    /// What a refresh of this session, narrowed to `scope`, gets. It has the `auth_time` of the sign-in and no `nonce`
    /// (section 12.2).
    pub fn at_refresh(client: &Client, session: &Session, scope: &Scope) -> Option<Self> {
        let gets_one = may_have_one(client) && session.sign_in.is_some() && scope.contains("openid");
        gets_one.then(|| Self { requested: ClaimsRequest::of(session, client), ..Self::default() })
    }

    /// Whether the user has to be read for it.
    pub fn names_claims(&self) -> bool {
        self.requested.as_ref().is_some_and(|requested| !requested.id_token.is_empty())
    }
}

/// Whether any session of the client may get ID tokens, so that its refreshes are made ready for one before anything is
/// known of the session.
pub(super) fn may_have_one(client: &Client) -> bool {
    client.scope.contains("openid") && client.may_use(GrantType::AuthorizationCode)
}

/// # Errors
/// `server_error`: the library refuses, which only a defect makes happen.
pub(super) fn make(
    ctx: &Context,
    slot: &SigningSlot,
    client: &Client,
    wish: IdTokenWish,
    subject: &Subject<'_>,
    beside: Beside<'_>,
) -> Result<String, OAuthError> {
    let Beside { access_token, iat, session } = beside;
    let requested = wish.requested.map(|requested| requested.within(&client.scope));
    let mut extra = match subject.user {
        Some(user) => oidc_claims::for_id_token(user, requested.as_ref()),
        None => Map::new(),
    };
    // What the operator has put in words stands above what is known anyway.
    extra.extend(ctx.claims_in(ClaimPlace::IdToken, subject));
    let claims = IdTokenClaims {
        iss: ctx.issuer.to_string(),
        sub: subject.sub.unwrap_or_default().to_owned(),
        aud: client.client_id.clone(),
        exp: iat.plus(ctx.policy.id_token_ttl),
        iat,
        auth_time: session.auth_time.unwrap_or(session.started_at),
        nonce: wish.nonce,
        acr: wish.acr,
        amr: vec![PASSWORD_AMR],
        sid: session.sid,
        at_hash: at_hash(access_token),
        extra: ExtraClaims::new(extra),
    };
    mint_id_token(slot, &claims).map_err(OAuthError::internal)
}
