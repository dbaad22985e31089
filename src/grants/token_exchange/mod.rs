//! `urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): one token for another.
//!
//! Whose the subject token is decides what comes of it. A client that brings back its own access token gets its
//! successor ([`renewal`]); one that was called with somebody else's gets a narrower one, to call on for the user
//! ([`delegation`]). Nothing is ever widened, and whoever authenticates as the client is the actor. A token of another
//! system is taken once, for a session ([`legacy`]).

mod delegation;
mod legacy;
mod renewal;

use std::fmt;

use super::issue::Permit;
use super::{Asked, missing};
use crate::domain::client::GrantType;
use crate::domain::error::{Code, OAuthError, Reason};
use crate::domain::secret::SecretText;

/// A token type identifier of RFC 8693 section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// An access token of Latchkey's own.
    AccessToken,
    /// A JWT of somebody's.
    Jwt,
    /// What a legacy token may be exchanged for, beside the access token that every answer has.
    RefreshToken,
}

impl TokenType {
    const ALL: [Self; 3] = [Self::AccessToken, Self::Jwt, Self::RefreshToken];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
            Self::RefreshToken => "urn:ietf:params:oauth:token-type:refresh_token",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// What an exchange has beside the other parameters of a token request (RFC 8693 section 2.1).
#[derive(Default)]
pub struct ExchangeParameters {
    pub subject_token: Option<SecretText>,
    pub subject_token_type: Option<String>,
    pub requested_token_type: Option<String>,
    /// May be repeated.
    pub audience: Vec<String>,
    pub actor_token: Option<SecretText>,
}

impl fmt::Debug for ExchangeParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeParameters")
            .field("subject_token_type", &self.subject_token_type)
            .field("requested_token_type", &self.requested_token_type)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// # Errors
/// `invalid_request` for a subject token that is not taken (RFC 8693 section 2.2.2), with the reason; `invalid_scope` or
/// `invalid_target` for more than it has; 503.
pub(super) async fn authorise(asked: &Asked<'_>) -> Result<Permit, OAuthError> {
    let parameters = &asked.request.exchange;
    let subject_token = parameters.subject_token.as_ref().ok_or_else(|| missing("subject_token"))?.expose();
    let subject_type = parameters.subject_token_type.as_deref().ok_or_else(|| missing("subject_token_type"))?;
    if parameters.actor_token.is_some() {
        let text = "actor_token is not taken: the client that authenticates is the actor; leave it out";
        return Err(OAuthError::new(Code::InvalidRequest, text));
    }
    let wanted = match &parameters.requested_token_type {
        Some(wanted) => Some(known_type("requested_token_type", wanted)?),
        None => None,
    };
    let subject_type = known_type("subject_token_type", subject_type)?;
    if wanted == Some(TokenType::RefreshToken)
        && (subject_type != TokenType::Jwt || !asked.client.may_use(GrantType::RefreshToken))
    {
        let text =
            "a refresh token is given for a token of a legacy issuer, to a client that has the grant refresh_token";
        return Err(OAuthError::new(Code::InvalidRequest, text));
    }
    match subject_type {
        TokenType::AccessToken => own(asked, subject_token).await,
        TokenType::Jwt => {
            let wish = asked.wish.clone().naming(&parameters.audience);
            legacy::authorise(asked, &wish, subject_token).await
        }
        TokenType::RefreshToken => {
            let text = "a refresh token is not exchanged; bring it with the grant type refresh_token";
            Err(OAuthError::new(Code::InvalidRequest, text))
        }
    }
}

/// Takes an access token of Latchkey's own.
async fn own(asked: &Asked<'_>, token: &str) -> Result<Permit, OAuthError> {
    let Asked { ctx, introspector, client, request, .. } = asked;
    let leeway = ctx.policy.exchange_leeway;
    let inactive = || OAuthError::refused_exchange(Reason::TokenInactive);
    let subject = introspector.check_within(ctx, token, leeway).await?.ok_or_else(inactive)?;
    let wish = asked.wish.clone().naming(&request.exchange.audience);
    if subject.claims.client_id == client.client_id && subject.claims.act.is_none() {
        renewal::authorise(asked, &wish, &subject.claims).await
    } else if ctx.now() < subject.expires_at() {
        delegation::authorise(asked, &wish, &subject.claims).await
    } else {
        Err(inactive())
    }
}

fn known_type(parameter: &str, text: &str) -> Result<TokenType, OAuthError> {
    TokenType::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        let known = TokenType::ALL.map(TokenType::as_str).join(", ");
        OAuthError::new(Code::InvalidRequest, format!("{parameter} {shown:?} is not one of {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_type_is_known_by_its_whole_name() {
        assert_eq!(known_type("x", "urn:ietf:params:oauth:token-type:jwt").ok(), Some(TokenType::Jwt));
        let error = known_type("subject_token_type", "access_token").unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(error.description.contains("subject_token_type") && error.description.contains("access_token"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let parameters = ExchangeParameters {
            subject_token: Some(SecretText::new("hunter2")),
            actor_token: Some(SecretText::new("hunter2")),
            ..ExchangeParameters::default()
        };
        assert!(!format!("{parameters:?}").contains("hunter2"));
    }
}
