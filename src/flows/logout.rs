//! Logouts that clients ask for (OpenID Connect RP-Initiated Logout 1.0).
//!
//! A request that carries an ID token of just this sign-in comes from a client that the user is signed in to: it is obeyed.
//! Anything else anybody could have put behind a link, so the user is asked.

use std::sync::Arc;
use std::time::Duration;

use super::hint;
use super::sign_in::{self, Visitor};
use crate::context::Context;
use crate::domain::authorization::parameters::Parameters;
use crate::domain::client::Client;
use crate::domain::error::OAuthError;
use crate::domain::logout::{self, Hinted, LogoutFault, LogoutRequest};
use crate::domain::sign_in::SignIn;
use crate::domain::user::User;
use crate::tokens::id_token::Hint;

/// How long the question may stand.
pub const LONGEST: Duration = Duration::from_secs(30 * 60);

/// What a browser is shown, or where it is sent.
#[derive(Debug)]
pub enum Turn {
    /// There is an error to tell.
    Unanswerable(LogoutFault),
    /// The user is asked.
    Ask(Box<Question>),
    /// Nobody is signed in here any more.
    SignedOut(LogoutRequest),
}

/// Who is asked, and on whose behalf.
#[derive(Debug)]
pub struct Question {
    pub request: LogoutRequest,
    pub client: Option<Arc<Client>>,
    pub user: User,
    pub sign_in: SignIn,
}

/// Takes a request in.
///
/// # Errors
/// The database does not answer: whoever is at the browser may load the page again.
pub async fn begin(ctx: &Context, visitor: &Visitor, parameters: &Parameters) -> Result<Turn, OAuthError> {
    let hint = match parameters.get("id_token_hint") {
        Some(token) => Some(hint::read(ctx, token).await?),
        None => None,
    };
    let hinted = match &hint {
        None => Hinted::Absent,
        Some(None) => Hinted::Bad,
        Some(Some(hint)) => Hinted::Good(&hint.aud),
    };
    let client = match logout::client_id(parameters, hinted) {
        Ok(Some(client_id)) => ctx.replica.client(&client_id).await?,
        Ok(None) => None,
        Err(fault) => return Ok(Turn::Unanswerable(fault)),
    };
    let request = match logout::judge(parameters, hinted, client.as_deref()) {
        Ok(request) => request,
        Err(fault) => return Ok(Turn::Unanswerable(fault)),
    };
    let Some(sign_in) = of_browser(ctx, visitor).await? else { return Ok(Turn::SignedOut(request)) };
    if let Some(hint) = hint.flatten()
        && is_of(ctx, &hint, &sign_in).await?
    {
        return leave(ctx, visitor, &sign_in, request).await;
    }
    match signed_in(ctx, sign_in).await? {
        Some((sign_in, user)) => Ok(Turn::Ask(Box::new(Question { request, client, user, sign_in }))),
        None => Ok(Turn::SignedOut(request)),
    }
}

/// The user wants it. Nobody is asked twice: where nobody is signed in any more, it has happened.
///
/// # Errors
/// The database does not answer.
pub async fn confirm(ctx: &Context, visitor: &Visitor, request: LogoutRequest) -> Result<Turn, OAuthError> {
    let request = still_good(ctx, request).await?;
    match of_browser(ctx, visitor).await? {
        Some(sign_in) => leave(ctx, visitor, &sign_in, request).await,
        None => Ok(Turn::SignedOut(request)),
    }
}

/// A client may have lost its place since the user was asked.
async fn still_good(ctx: &Context, request: LogoutRequest) -> Result<LogoutRequest, OAuthError> {
    let (Some(client_id), Some(uri)) = (&request.client_id, &request.redirect_uri) else { return Ok(request) };
    let client = ctx.replica.client(client_id).await?;
    let goes_on = client.is_some_and(|client| !client.disabled && logout::is_its_own(&client, uri));
    Ok(if goes_on { request } else { LogoutRequest { redirect_uri: None, state: None, ..request } })
}

async fn leave(ctx: &Context, visitor: &Visitor, sign_in: &SignIn, request: LogoutRequest) -> Result<Turn, OAuthError> {
    sign_in::end(ctx, visitor, sign_in, sign_in.id, request.client_id.as_ref()).await?;
    Ok(Turn::SignedOut(request))
}

/// The sign-in of the browser that has not been ended. One that has expired still has sessions to end.
async fn of_browser(ctx: &Context, visitor: &Visitor) -> Result<Option<SignIn>, OAuthError> {
    let Some(hash) = visitor.secret_hash() else { return Ok(None) };
    Ok(ctx.store.sign_in_by_secret(&hash).await?.filter(|sign_in| sign_in.ended.is_none()))
}

/// Whether the ID token was issued to a session of this sign-in.
async fn is_of(ctx: &Context, hint: &Hint, sign_in: &SignIn) -> Result<bool, OAuthError> {
    if hint.sub != sign_in.sub.as_str() {
        return Ok(false);
    }
    let session = ctx.store.session(hint.sid).await?;
    Ok(session.is_some_and(|session| session.sign_in == Some(sign_in.id)))
}

/// Somebody who can be asked: signed in, and not gone meanwhile.
async fn signed_in(ctx: &Context, sign_in: SignIn) -> Result<Option<(SignIn, User)>, OAuthError> {
    if !sign_in.is_live(&ctx.sign_ins, ctx.now()) {
        return Ok(None);
    }
    Ok(ctx.store.user(&sign_in.sub).await?.map(|user| (sign_in, user)))
}
