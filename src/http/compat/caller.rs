//! Who asks: every request to a compatibility path is one to the token endpoint, in the name of the client that the
//! operator gave the path. It goes through the same use cases, so it is throttled, counted and audited with all others.

use std::sync::Arc;

use crate::app::App;
use crate::client_auth::ClientClaim;
use crate::domain::answer_template::{AnswerTemplate, Filling};
use crate::domain::claim_rules::Subject;
use crate::domain::client::{Client, GrantType};
use crate::domain::error::{Code, OAuthError, Reason};
use crate::domain::ids::{ClientId, Sub};
use crate::domain::origin::Origin;
use crate::domain::scope::Scope;
use crate::domain::secret::SecretText;
use crate::domain::time::Timestamp;
use crate::flows::revoke::{RevokeRequest, revoke};
use crate::flows::standing::{self, AccessStanding, LegacyStanding, RefreshStanding};
use crate::grants::{self, ExchangeParameters, TokenRequest, TokenResponse, TokenType};
use crate::tokens::peek;
use crate::tokens::verify::Verified;

/// The client, with what its paths need of it.
pub struct Caller<'a> {
    app: &'a App,
    client: Arc<Client>,
    origin: Origin,
}

/// Why a token was not taken, as far as the standard endpoints tell it, the key set does, or the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Expired,
    /// Its session has come to its absolute limit.
    LimitReached,
    /// Revoked, or used up.
    Ended,
    UserDisabled,
    /// None that counts here.
    NotTaken,
}

/// What there is to tell of a token.
pub struct Told<'a> {
    pub token: &'a str,
    pub refresh: Option<&'a str>,
    pub expires_in: u64,
    /// `None` where a legacy token does not tell.
    pub issued_at: Option<Timestamp>,
    pub session_expires_at: Option<Timestamp>,
    pub sub: &'a str,
    pub scope: &'a Scope,
}

impl<'a> From<&'a TokenResponse> for Told<'a> {
    fn from(tokens: &'a TokenResponse) -> Self {
        Self {
            token: &tokens.access_token,
            refresh: tokens.refresh_token.as_ref().map(SecretText::expose),
            expires_in: tokens.expires_in,
            issued_at: Some(tokens.issued_at),
            session_expires_at: tokens.session_expires_at,
            sub: &tokens.sub,
            scope: &tokens.scope,
        }
    }
}

/// What keeps a client from serving a path that takes these grants; `None` where nothing does.
pub fn unfit(client: &Client, grants: &[GrantType]) -> Option<String> {
    if !client.is_public() {
        return Some("has a secret, which those who call this path do not bring".into());
    }
    let lacking: Vec<&str> =
        grants.iter().filter(|grant| !client.may_use(**grant)).map(|grant| grant.as_str()).collect();
    (!lacking.is_empty()).then(|| format!("is not registered for {}", lacking.join(" and ")))
}

impl<'a> Caller<'a> {
    /// # Errors
    /// The client is gone, disabled or unfit: nothing that whoever calls could mend.
    pub async fn new(
        app: &'a App,
        client_id: &ClientId,
        grants: &[GrantType],
        origin: Origin,
    ) -> Result<Self, OAuthError> {
        let refused = |fault: &str| {
            let text = format!("the client of this path {fault}; ask an administrator");
            OAuthError::new(Code::UnauthorizedClient, text)
        };
        let client = app.context.replica.client(client_id).await?;
        let client = client.ok_or_else(|| refused("is not registered any more"))?;
        if client.disabled {
            return Err(refused("is disabled"));
        }
        match unfit(&client, grants) {
            Some(fault) => Err(refused(&fault)),
            None => Ok(Self { app, client, origin }),
        }
    }

    pub fn may_use(&self, grant: GrantType) -> bool {
        self.client.may_use(grant)
    }

    pub fn now(&self) -> Timestamp {
        self.app.context.now()
    }

    fn claim(&self) -> ClientClaim {
        ClientClaim { client_id: Some(self.client.client_id.to_string()), ..ClientClaim::default() }
    }

    fn request(&self, grant: GrantType) -> TokenRequest {
        TokenRequest::of(grant.as_str(), self.claim(), self.origin)
    }

    async fn token(&self, request: TokenRequest) -> Result<TokenResponse, OAuthError> {
        let App { context, credentials, introspector, .. } = self.app;
        grants::token(context, credentials, introspector, request).await
    }

    /// # Errors
    /// Those of the grant `password`.
    pub async fn log_in(&self, username: &SecretText, password: SecretText) -> Result<TokenResponse, OAuthError> {
        let username = Some(username.expose().to_owned());
        self.token(TokenRequest { username, password: Some(password), ..self.request(GrantType::Password) }).await
    }

    /// # Errors
    /// Those of the grant `refresh_token`.
    pub async fn refresh(&self, token: &SecretText) -> Result<TokenResponse, OAuthError> {
        let refresh_token = Some(token.clone());
        self.token(TokenRequest { refresh_token, ..self.request(GrantType::RefreshToken) }).await
    }

    /// Exchanges a JWT: Latchkey's own for its successor, another one for the session that it stands for.
    ///
    /// # Errors
    /// Those of token exchange.
    pub async fn exchange(&self, token: &SecretText) -> Result<TokenResponse, OAuthError> {
        let is_own = peek::looks_like_access_token(token.expose());
        let kind = if is_own { TokenType::AccessToken } else { TokenType::Jwt };
        let exchange = ExchangeParameters {
            subject_token: Some(token.clone()),
            subject_token_type: Some(kind.as_str().to_owned()),
            ..ExchangeParameters::default()
        };
        self.token(TokenRequest { exchange, ..self.request(GrantType::TokenExchange) }).await
    }

    /// # Errors
    /// Those of revocation.
    pub async fn revoke(&self, token: &SecretText) -> Result<(), OAuthError> {
        let App { context, credentials, introspector, .. } = self.app;
        let request = RevokeRequest { client: self.claim(), token: token.clone(), origin: self.origin };
        revoke(context, credentials, introspector, request).await
    }

    /// # Errors
    /// 503.
    pub async fn access_standing(&self, token: &SecretText) -> Result<AccessStanding, OAuthError> {
        let App { context, introspector, .. } = self.app;
        standing::of_access_token(context, introspector, &self.client, token.expose()).await
    }

    /// # Errors
    /// 503.
    pub async fn refresh_standing(&self, token: &SecretText) -> Result<RefreshStanding, OAuthError> {
        standing::of_refresh_token(&self.app.context, &self.client, token.expose()).await
    }

    /// # Errors
    /// 503.
    pub async fn legacy_standing(&self, token: &SecretText) -> Result<LegacyStanding, OAuthError> {
        standing::of_legacy_token(&self.app.context, &self.client, token.expose()).await
    }

    /// Why `token` was refused with `error`.
    ///
    /// # Errors
    /// The same error, where it is not the token's fault.
    pub async fn why(&self, error: OAuthError, token: &SecretText) -> Result<Why, OAuthError> {
        match error.code {
            Code::InvalidGrant | Code::InvalidRequest => {}
            // It may be another client's, which is no more than none to this one.
            Code::UnauthorizedClient if self.why_inactive(token).await? == Why::NotTaken => return Ok(Why::NotTaken),
            _ => return Err(error),
        }
        Ok(match error.reason {
            Some(Reason::IdleExpired | Reason::CutOff) => Why::Expired,
            Some(Reason::AbsoluteExpired) => Why::LimitReached,
            Some(Reason::Revoked | Reason::ReusedAfterWindow) => Why::Ended,
            Some(Reason::UserDisabled) => Why::UserDisabled,
            Some(Reason::ClientDisabled) => return Err(OAuthError { code: Code::UnauthorizedClient, ..error }),
            Some(Reason::UnknownSession) => Why::NotTaken,
            Some(Reason::TokenInactive) | None => self.why_inactive(token).await?,
        })
    }

    async fn why_inactive(&self, token: &SecretText) -> Result<Why, OAuthError> {
        if !peek::looks_like_access_token(token.expose()) {
            let expired = peek::says_it_expired(token.expose(), self.now());
            return Ok(if expired { Why::Expired } else { Why::NotTaken });
        }
        Ok(match self.access_standing(token).await? {
            AccessStanding::Expired { for_good: true } => Why::LimitReached,
            AccessStanding::Expired { for_good: false } => Why::Expired,
            // Active it was not a moment ago.
            AccessStanding::Ended | AccessStanding::Active(_) => Why::Ended,
            AccessStanding::Unknown => Why::NotTaken,
        })
    }

    /// The operator's answer.
    ///
    /// # Errors
    /// 503.
    pub async fn filled(&self, template: &AnswerTemplate, told: Told<'_>) -> Result<serde_json::Value, OAuthError> {
        let user = match template.needs_user() {
            true => self.app.context.store.user(&Sub::new(told.sub)).await?,
            false => None,
        };
        Ok(template.fill(&Filling {
            token: told.token,
            refresh: told.refresh,
            expires_in: told.expires_in,
            issued_at: told.issued_at,
            session_expires_at: told.session_expires_at,
            subject: Subject {
                client_id: &self.client.client_id,
                scope: told.scope,
                sub: Some(told.sub),
                user: user.as_ref(),
                started_at: None,
                auth_time: None,
            },
        }))
    }

    /// When the session of an access token ends if nobody uses it again.
    ///
    /// # Errors
    /// 503.
    pub async fn session_end(&self, token: &Verified) -> Result<Option<Timestamp>, OAuthError> {
        let Some(sid) = token.claims.sid else { return Ok(None) };
        let ctx = &self.app.context;
        let session = ctx.store.session(sid).await?;
        Ok(session.map(|session| session.expires_under(&ctx.policy.of(&self.client))))
    }
}
