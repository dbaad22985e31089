//! The endpoints of djangorestframework-jwt and of drf-jwt, its fork: an access token that renews itself. They differ in
//! their words, their default answer, and the status that says that all is well.

use serde::Serialize;
use serde_json::Value;

use super::answers::{Answer, Refused};
use super::body::Body;
use super::caller::{Caller, Told, Why};
use super::{Operation, Styled};
use crate::domain::error::Code;
use crate::domain::secret::SecretText;
use crate::domain::time::Timestamp;
use crate::flows::standing::{AccessStanding, LegacyStanding};
use crate::tokens::peek::looks_like_access_token;

/// What tells the two apart.
pub struct Words {
    /// Whether a good answer is a 201.
    creates: bool,
    /// Whether the default answer has `pk`, the `iat` of the token.
    has_pk: bool,
    /// Whether a missing password is told before a missing name.
    password_first: bool,
    expired: &'static str,
    limit_reached: &'static str,
    ended: &'static str,
    user_disabled: &'static str,
    not_taken: &'static str,
}

/// drf-jwt 1.19.
pub const FORK: Words = Words {
    creates: true,
    has_pk: true,
    password_first: true,
    expired: "Token has expired.",
    limit_reached: "Refresh has expired.",
    ended: "Token is blacklisted.",
    user_disabled: "User account is disabled.",
    not_taken: "Error decoding token.",
};

/// djangorestframework-jwt 1.11. It could not blacklist: a token that is authentic and does not count has an invalid
/// payload.
pub const FIRST: Words = Words {
    creates: false,
    has_pk: false,
    password_first: false,
    expired: "Signature has expired.",
    limit_reached: "Refresh has expired.",
    ended: "Invalid payload.",
    user_disabled: "User account is disabled.",
    not_taken: "Error decoding signature.",
};

const NO_LOGIN: &str = "Unable to log in with provided credentials.";

/// # Errors
/// What the original refuses, in its words; what it does not know, in general ones.
pub async fn answer(
    words: &Words,
    style: &Styled,
    operation: Operation,
    caller: &Caller<'_>,
    body: Body,
) -> Result<Answer, Refused> {
    match operation {
        Operation::Obtain => obtain(words, style, caller, body).await,
        Operation::Refresh => refresh(words, style, caller, body).await,
        Operation::Verify => verify(words, style, caller, body).await,
        Operation::Blacklist | Operation::SlidingObtain | Operation::SlidingRefresh => {
            Err(Answer::general("there is no such endpoint").into())
        }
    }
}

async fn obtain(words: &Words, style: &Styled, caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    let name = style.username_field.as_str();
    let (username, password) = if words.password_first {
        let [password, username] = body.texts(["password", name])?;
        (username, password)
    } else {
        let [username, password] = body.texts([name, "password"])?;
        (username, password)
    };
    let tokens = caller.log_in(&username, password).await.map_err(|error| match error.code {
        Code::InvalidGrant => Answer::general(NO_LOGIN).into(),
        _ => Refused::from(error),
    })?;
    good(words, style, caller, Told::from(&tokens)).await
}

/// A token of Latchkey's own is signed anew; one of a legacy issuer opens the session that it stands for.
async fn refresh(words: &Words, style: &Styled, caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    let [token] = body.texts(["token"])?;
    match caller.exchange(&token).await {
        Ok(tokens) => good(words, style, caller, Told::from(&tokens)).await,
        Err(error) => Err(words.refusal(caller.why(error, &token).await?).into()),
    }
}

/// The answer to a good token has the same one in it, as in the original. One of a legacy issuer is good while [`refresh`]
/// would take it.
async fn verify(words: &Words, style: &Styled, caller: &Caller<'_>, body: Body) -> Result<Answer, Refused> {
    let [token] = body.texts(["token"])?;
    if !looks_like_access_token(token.expose()) {
        return verify_legacy(words, style, caller, &token).await;
    }
    let verified = match caller.access_standing(&token).await? {
        AccessStanding::Active(verified) => verified,
        AccessStanding::Expired { .. } => return Err(words.refusal(Why::Expired).into()),
        AccessStanding::Ended => return Err(words.refusal(Why::Ended).into()),
        AccessStanding::Unknown => return Err(words.refusal(Why::NotTaken).into()),
    };
    let session_expires_at = match &style.response {
        Some(template) if template.needs_session() => caller.session_end(&verified).await?,
        _ => None,
    };
    let claims = &verified.claims;
    let told = Told {
        token: token.expose(),
        refresh: None,
        expires_in: verified.expires_at().since(caller.now()).as_secs(),
        issued_at: Some(claims.iat),
        session_expires_at,
        sub: &claims.sub,
        scope: &claims.scope,
    };
    good(words, style, caller, told).await
}

async fn verify_legacy(
    words: &Words,
    style: &Styled,
    caller: &Caller<'_>,
    token: &SecretText,
) -> Result<Answer, Refused> {
    let found = match caller.legacy_standing(token).await? {
        LegacyStanding::Exchangeable(found) => found,
        LegacyStanding::Expired => return Err(words.refusal(Why::Expired).into()),
        LegacyStanding::Ended => return Err(words.refusal(Why::Ended).into()),
        LegacyStanding::UserDisabled => return Err(words.refusal(Why::UserDisabled).into()),
        LegacyStanding::Unknown => return Err(words.refusal(Why::NotTaken).into()),
    };
    let told = Told {
        token: token.expose(),
        refresh: None,
        expires_in: found.expires_at.since(caller.now()).as_secs(),
        issued_at: found.issued_at,
        session_expires_at: Some(found.session_expires_at),
        sub: found.sub.as_str(),
        scope: &found.scope,
    };
    good(words, style, caller, told).await
}

async fn good(words: &Words, style: &Styled, caller: &Caller<'_>, told: Told<'_>) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Plain<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        pk: Option<Value>,
        token: &'a str,
    }
    match &style.response {
        Some(template) => words.good(&caller.filled(template, told).await?),
        None => {
            let pk = words.has_pk.then(|| told.issued_at.map(Timestamp::seconds).into());
            words.good(&Plain { pk, token: told.token })
        }
    }
}

impl Words {
    fn good(&self, body: &impl Serialize) -> Result<Answer, Refused> {
        if self.creates { Answer::created(body) } else { Answer::ok(body) }
    }

    fn refusal(&self, why: Why) -> Answer {
        Answer::general(match why {
            Why::Expired => self.expired,
            Why::LimitReached => self.limit_reached,
            Why::Ended => self.ended,
            Why::UserDisabled => self.user_disabled,
            Why::NotTaken => self.not_taken,
        })
    }
}
