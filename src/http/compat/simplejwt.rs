//! The endpoints of djangorestframework-simplejwt: a pair of tokens, or one that slides.

use serde::Serialize;

use super::answers::{Answer, Refused};
use super::body::Body;
use super::caller::{Caller, Told, Why};
use super::{Operation, Styled};
use crate::domain::client::GrantType;
use crate::domain::error::{Code, OAuthError};
use crate::domain::secret::SecretText;
use crate::flows::standing::{AccessStanding, LegacyStanding, RefreshStanding};
use crate::grants::TokenResponse;
use crate::tokens::peek::looks_like_access_token;
use crate::tokens::refresh::looks_like_refresh_token;

const NO_ACCOUNT: &str = "No active account found with the given credentials";
const NO_ACCOUNT_OF_TOKEN: &str = "No active account found for the given token.";
const EXPIRED: &str = "Token is expired";
const SLIDING_EXPIRED: &str = "Token 'refresh_exp' claim has expired";
const BLACKLISTED: &str = "Token is blacklisted";
const INVALID: &str = "Token is invalid";
const WRONG_TYPE: &str = "Token has wrong type";

/// # Errors
/// What the original refuses, in its words; what it does not know, in general ones.
pub async fn answer(style: &Styled, operation: Operation, caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    match operation {
        Operation::Obtain => obtain(style, caller, body).await,
        Operation::Refresh => refresh(caller, body).await,
        Operation::Verify => verify(caller, body).await,
        Operation::Blacklist => blacklist(caller, body).await,
        Operation::SlidingObtain => sliding_obtain(style, caller, body).await,
        Operation::SlidingRefresh => sliding_refresh(caller, body).await,
    }
}

async fn log_in(style: &Styled, caller: &Caller<'_>, body: Body) -> Result<TokenResponse, Refused> {
    let [username, password] = body.texts([&style.username_field, "password"])?;
    caller.log_in(&username, password).await.map_err(|error| match error.code {
        Code::InvalidGrant => Answer::unauthorized(NO_ACCOUNT).into(),
        _ => error.into(),
    })
}

async fn obtain(style: &Styled, caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Pair<'a> {
        refresh: Option<&'a str>,
        access: &'a str,
    }
    let tokens = log_in(style, caller, body).await?;
    let told = Told::from(&tokens);
    match &style.response {
        Some(template) => Answer::ok(&caller.filled(template, told).await?),
        None => Answer::ok(&Pair { refresh: told.refresh, access: told.token }),
    }
}

/// `refresh` is in the answer where it is another one than was brought: a client that does not rotate keeps its own.
async fn refresh(caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Renewed<'a> {
        access: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        refresh: Option<&'a str>,
    }
    let [token] = body.texts(["refresh"])?;
    let tokens = if looks_like_refresh_token(token.expose()) {
        used(caller.refresh(&token).await, caller, &token).await?
    } else {
        brought(caller, &token).await?
    };
    let refresh = tokens.refresh_token.as_ref().filter(|next| **next != token).map(SecretText::expose);
    Answer::ok(&Renewed { access: &tokens.access_token, refresh })
}

/// Takes in a refresh token that is none of Latchkey's: one that a legacy issuer gave is worth a session.
async fn brought(caller: &Caller<'_>, token: &SecretText) -> Result<TokenResponse, Refused> {
    if looks_like_access_token(token.expose()) {
        return Err(match caller.access_standing(token).await? {
            AccessStanding::Active(_) | AccessStanding::Ended => Answer::token_not_valid(WRONG_TYPE),
            AccessStanding::Expired { .. } => Answer::token_not_valid(EXPIRED),
            AccessStanding::Unknown => Answer::token_not_valid(INVALID),
        }
        .into());
    }
    if !caller.may_use(GrantType::TokenExchange) {
        return Err(Answer::token_not_valid(INVALID).into());
    }
    used(caller.exchange(token).await, caller, token).await
}

/// What came of a token, a refusal in the original's words.
async fn used(
    outcome: Result<TokenResponse, OAuthError>,
    caller: &Caller<'_>,
    token: &SecretText,
) -> Result<TokenResponse, Refused> {
    let error = match outcome {
        Ok(tokens) => return Ok(tokens),
        Err(error) => error,
    };
    Err(match caller.why(error, token).await? {
        Why::Expired | Why::LimitReached => Answer::token_not_valid(EXPIRED),
        Why::Ended => Answer::token_not_valid(BLACKLISTED),
        Why::UserDisabled => Answer::unauthorized(NO_ACCOUNT_OF_TOKEN),
        Why::NotTaken => Answer::token_not_valid(INVALID),
    }
    .into())
}

/// A token of either kind, of this client; or of a legacy issuer, while an exchange would take it.
async fn verify(caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    let [token] = body.texts(["token"])?;
    let refused = if looks_like_refresh_token(token.expose()) {
        match caller.refresh_standing(&token).await? {
            RefreshStanding::Alive => return nothing(),
            RefreshStanding::Ended => Answer::general(BLACKLISTED),
            RefreshStanding::Expired => Answer::token_not_valid(EXPIRED),
            RefreshStanding::Unknown => Answer::token_not_valid(INVALID),
        }
    } else if looks_like_access_token(token.expose()) {
        match caller.access_standing(&token).await? {
            AccessStanding::Active(_) => return nothing(),
            AccessStanding::Ended => Answer::general(BLACKLISTED),
            AccessStanding::Expired { .. } => Answer::token_not_valid(EXPIRED),
            AccessStanding::Unknown => Answer::token_not_valid(INVALID),
        }
    } else {
        match caller.legacy_standing(&token).await? {
            LegacyStanding::Exchangeable(_) => return nothing(),
            LegacyStanding::Ended => Answer::general(BLACKLISTED),
            LegacyStanding::Expired => Answer::token_not_valid(EXPIRED),
            LegacyStanding::UserDisabled => Answer::unauthorized(NO_ACCOUNT_OF_TOKEN),
            LegacyStanding::Unknown => Answer::token_not_valid(INVALID),
        }
    };
    Err(refused.into())
}

/// Logs out. A token of a legacy issuer is used up first, or else a copy of it could still be exchanged.
async fn blacklist(caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    let [token] = body.texts(["refresh"])?;
    if !looks_like_refresh_token(token.expose()) {
        let opened = brought(caller, &token).await?.refresh_token;
        let opened = opened.ok_or_else(|| OAuthError::internal("the client of a blacklist has no refresh tokens"))?;
        caller.revoke(&opened).await?;
        return nothing();
    }
    match caller.refresh_standing(&token).await? {
        RefreshStanding::Alive => {}
        RefreshStanding::Ended => return Err(Answer::token_not_valid(BLACKLISTED).into()),
        RefreshStanding::Expired => return Err(Answer::token_not_valid(EXPIRED).into()),
        RefreshStanding::Unknown => return Err(Answer::token_not_valid(INVALID).into()),
    }
    caller.revoke(&token).await?;
    nothing()
}

async fn sliding_obtain(style: &Styled, caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    let tokens = log_in(style, caller, body).await?;
    let told = Told::from(&tokens);
    match &style.response {
        Some(template) => Answer::ok(&caller.filled(template, told).await?),
        None => slid(told.token),
    }
}

async fn sliding_refresh(caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    let [token] = body.texts(["token"])?;
    if looks_like_refresh_token(token.expose()) {
        return Err(Answer::token_not_valid(WRONG_TYPE).into());
    }
    let error = match caller.exchange(&token).await {
        Ok(tokens) => return slid(&tokens.access_token),
        Err(error) => error,
    };
    Err(Answer::token_not_valid(match caller.why(error, &token).await? {
        Why::Expired => EXPIRED,
        Why::LimitReached => SLIDING_EXPIRED,
        Why::Ended | Why::UserDisabled => BLACKLISTED,
        Why::NotTaken => INVALID,
    })
    .into())
}

fn slid(token: &str) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Sliding<'a> {
        token: &'a str,
    }
    Answer::ok(&Sliding { token })
}

fn nothing() -> Result<Answer, Refused> {
    Answer::ok(&serde_json::Map::new())
}
