//! The token endpoint (RFC 6749 sections 4.3, 4.4, 5 and 6, RFC 8693): a pipeline that owns the phases which all grants share, and
//! a file per grant that fills in only its own.
//!
//! Is the grant known? Who is the client? May it use the grant? What does the request ask for, and may the client have
//! it? Then the grant authorises, and the pipeline issues: no grant can forget a phase.

mod authorization_code;
mod begin;
mod client_credentials;
mod id_token;
mod issue;
mod password;
mod refresh_token;
mod still_allowed;
mod token_exchange;

use std::fmt;
use std::sync::Arc;

use crate::client_auth::{ClientClaim, Endpoint, authenticate};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::client::{Client, GrantType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::meter::Count;
use crate::domain::origin::Origin;
use crate::domain::scope::{Scope, is_admin};
use crate::domain::secret::SecretText;
use crate::domain::time::Timestamp;
use crate::domain::wish::Wish;
use crate::introspection::Introspector;
pub use authorization_code::CodeParameters;
use issue::Permit;
pub use token_exchange::{ExchangeParameters, TokenType};

/// A token request as it came in, each parameter at most once and never empty.
pub struct TokenRequest {
    /// Empty where the request has none.
    pub grant_type: String,
    pub client: ClientClaim,
    pub username: Option<String>,
    pub password: Option<SecretText>,
    pub refresh_token: Option<SecretText>,
    pub scope: Option<String>,
    /// RFC 8707; may be repeated.
    pub resource: Vec<String>,
    pub code: CodeParameters,
    pub exchange: ExchangeParameters,
    pub origin: Origin,
}

impl TokenRequest {
    /// A request of this grant by this client, with no other parameters yet.
    pub fn of(grant_type: &str, client: ClientClaim, origin: Origin) -> Self {
        Self {
            grant_type: grant_type.to_owned(),
            client,
            username: None,
            password: None,
            refresh_token: None,
            scope: None,
            resource: Vec::new(),
            code: CodeParameters::default(),
            exchange: ExchangeParameters::default(),
            origin,
        }
    }
}

/// The answer of RFC 6749 section 5.1; its `token_type` is always `Bearer`.
pub struct TokenResponse {
    pub access_token: String,
    /// Where a sign-in opened the session, and `openid` is in the scope.
    pub id_token: Option<String>,
    /// The `sub` and `iat` of the access token, for whoever answers with more than the RFC's members.
    pub sub: String,
    pub issued_at: Timestamp,
    /// What `access_token` is; told where a token was exchanged for it (RFC 8693 section 2.2.1).
    pub issued_token_type: Option<TokenType>,
    /// Seconds: exactly `exp` less `iat` of the access token.
    pub expires_in: u64,
    /// Where the session can be renewed.
    pub refresh_token: Option<SecretText>,
    /// Seconds until the client should renew; where it can.
    pub refresh_in: Option<u64>,
    /// When the session ends if nobody uses it again; where there is one of this client's.
    pub session_expires_at: Option<Timestamp>,
    /// What the access token is good for, told even where it is just what was asked for.
    pub scope: Scope,
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("expires_in", &self.expires_in)
            .field("refresh_token", &self.refresh_token)
            .field("session_expires_at", &self.session_expires_at)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// What a grant works with: the shared phases have judged all of it.
struct Asked<'a> {
    ctx: &'a Context,
    credentials: &'a Credentials,
    introspector: &'a Introspector,
    client: Arc<Client>,
    wish: Wish,
    request: &'a TokenRequest,
}

/// Answers a token request.
///
/// # Errors
/// Those of RFC 6749 section 5.2 and `invalid_target` of RFC 8707; 429 after too many failed logins; 503 with
/// `Retry-After` where the service is overloaded or the database does not answer. A refused refresh carries its reason.
pub async fn token(
    ctx: &Context,
    credentials: &Credentials,
    introspector: &Introspector,
    request: TokenRequest,
) -> Result<TokenResponse, OAuthError> {
    let grant = known_grant(&request.grant_type)?;
    let outcome = serve(ctx, credentials, introspector, grant, &request).await;
    ctx.meter.count(match outcome {
        Ok(_) => Count::TokenIssued(grant),
        Err(_) => Count::TokenRefused(grant),
    });
    outcome
}

async fn serve(
    ctx: &Context,
    credentials: &Credentials,
    introspector: &Introspector,
    grant: GrantType,
    request: &TokenRequest,
) -> Result<TokenResponse, OAuthError> {
    let client = authenticate(ctx, credentials, &request.client, &request.origin, Endpoint::Token).await?.client;
    if client.disabled {
        return Err(match grant {
            GrantType::RefreshToken => refresh_token::client_disabled(ctx, credentials, &client, request).await,
            GrantType::AuthorizationCode
            | GrantType::Password
            | GrantType::ClientCredentials
            | GrantType::TokenExchange => client_disabled(),
        });
    }
    if !client.may_use(grant) {
        return Err(OAuthError::new(
            Code::UnauthorizedClient,
            format!("the client is not registered for the grant type {}", grant.as_str()),
        ));
    }
    let wish = Wish::read(request.scope.as_deref(), request.resource.iter().map(String::as_str), &client)?;
    let asked = Asked { ctx, credentials, introspector, client, wish, request };
    let permit = match grant {
        GrantType::AuthorizationCode => authorization_code::authorise(&asked).await?,
        GrantType::Password => password::authorise(&asked).await?,
        GrantType::RefreshToken => refresh_token::authorise(&asked).await?,
        GrantType::ClientCredentials => client_credentials::authorise(&asked).await?,
        GrantType::TokenExchange => token_exchange::authorise(&asked).await?,
    };
    still_permitted(ctx, &asked.client, &permit).await?;
    issue::issue(ctx, &asked.client, permit).await
}

/// What was authorised may have waited long enough for its commit that somebody has disabled the client, or taken a right
/// to administer from it: the tokens it had then were made inactive, and this one would not be.
async fn still_permitted(ctx: &Context, client: &Client, permit: &Permit) -> Result<(), OAuthError> {
    let Some(now) = ctx.replica.client(&client.client_id).await?.filter(|now| !now.disabled) else {
        return Err(client_disabled());
    };
    if permit.scope.iter().all(|token| !is_admin(token) || now.scope.gives(token)) {
        return Ok(());
    }
    Err(OAuthError::unavailable("the client's scope has just been changed; try again"))
}

fn known_grant(name: &str) -> Result<GrantType, OAuthError> {
    if name.is_empty() {
        return Err(OAuthError::new(Code::InvalidRequest, "grant_type is missing"));
    }
    GrantType::ALL.into_iter().find(|grant| grant.as_str() == name).ok_or_else(|| unsupported(name))
}

fn unsupported(name: &str) -> OAuthError {
    let shown: String = name.chars().take(64).collect();
    let known = GrantType::ALL.map(GrantType::as_str).join(", ");
    OAuthError::new(Code::UnsupportedGrantType, format!("grant_type {shown:?} is not one of {known}"))
}

fn client_disabled() -> OAuthError {
    OAuthError::new(Code::UnauthorizedClient, "the client is disabled; ask an administrator")
}

/// What is used up by asking is not carried out by a node that has just been suspended.
fn waking() -> OAuthError {
    OAuthError::unavailable(
        "this node was suspended, and what you ask may have been answered by another one; try again",
    )
}

fn missing(parameter: &str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, format!("{parameter} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_grant_is_named_and_a_missing_one_is_no_grant() {
        assert_eq!(known_grant("password").ok(), Some(GrantType::Password));
        assert_eq!(known_grant("").unwrap_err().code, Code::InvalidRequest);
        let unknown = known_grant(&format!("implicit\n{}", "x".repeat(1000))).unwrap_err();
        assert_eq!(unknown.code, Code::UnsupportedGrantType);
        assert!(unknown.description.len() < 250 && !unknown.description.contains('\n'), "{}", unknown.description);
    }
}
