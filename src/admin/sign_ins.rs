//! Looking at the browsers that users are signed in with, and ending a sign-in.

use serde_json::json;

use super::{AdminCaller, not_found, page};
use crate::context::Context;
use crate::domain::audit::AuditType;
use crate::domain::error::OAuthError;
use crate::domain::ids::{SignInId, Sub};
use crate::domain::sign_in::{SignIn, SignInEnd};
use crate::storage::{EndOutcome, EndSignIn, Listed, SignInFilter};

/// Which sign-ins a list is of, as it came in.
#[derive(Clone, Debug, Default)]
pub struct SignInQuery {
    pub sub: Option<String>,
    /// Only those that have neither ended nor expired.
    pub live: bool,
    pub after: Option<String>,
    pub limit: Option<u32>,
}

/// One page of sign-ins, newest first, ended ones included until they are swept.
///
/// # Errors
/// [`InvalidRequest`](crate::domain::error::Code::InvalidRequest): the limit is none. The database does not answer.
pub async fn list(ctx: &Context, query: SignInQuery) -> Result<Listed<SignIn>, OAuthError> {
    let page = page(query.after, query.limit)?;
    let filter = SignInFilter { sub: query.sub.map(Sub::new), live_at: query.live.then(|| ctx.now()) };
    Ok(ctx.store.sign_ins(filter, page).await?)
}

/// One sign-in.
///
/// # Errors
/// [`NotFound`](crate::domain::error::Code::NotFound). The database does not answer.
pub async fn show(ctx: &Context, id: &str) -> Result<SignIn, OAuthError> {
    ctx.store.sign_in(parse(id)?).await?.ok_or_else(|| not_found("sign-in"))
}

/// Signs a browser out, and ends the sessions that came from it but for those with `offline_access`. Ending an ended one
/// again changes nothing.
///
/// # Errors
/// [`NotFound`](crate::domain::error::Code::NotFound). The database does not answer.
pub async fn end(ctx: &Context, caller: &AdminCaller, id: &str) -> Result<(), OAuthError> {
    let (id, reason) = (parse(id)?, SignInEnd::RevokedByAdmin);
    let detail = json!({ "sign_in": id, "reason": reason.as_str() });
    let end = EndSignIn {
        id,
        of_user: None,
        reason,
        end_sessions: true,
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit: ctx.audit(AuditType::SignInEnded, caller.actor.clone()).detail(detail),
    };
    match ctx.store.end_sign_in(end).await?.outcome {
        EndOutcome::Ended | EndOutcome::EndedBefore => Ok(()),
        EndOutcome::NotFound => Err(not_found("sign-in")),
    }
}

fn parse(id: &str) -> Result<SignInId, OAuthError> {
    id.parse().map_err(|_| not_found("sign-in"))
}
