//! Looking at refresh sessions, and ending them.

use super::{AdminCaller, not_found, page};
use crate::context::Context;
use crate::domain::audit::{AuditRecord, AuditType};
use crate::domain::error::OAuthError;
use crate::domain::ids::{ClientId, SessionId, Sub};
use crate::domain::meter::Count;
use crate::domain::session::{EndReason, Session};
use crate::storage::{AuditFilter, EndOutcome, EndSession, Listed, Page, SessionFilter};

/// Events of its trail that a session is shown with; older ones are in the audit trail under its `sid`.
const EVENTS_SHOWN: u32 = 100;

/// Which sessions a list is of, as it came in.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    pub sub: Option<String>,
    pub client_id: Option<String>,
    pub after: Option<String>,
    pub limit: Option<u32>,
}

/// A session with what happened to it, oldest event first.
#[derive(Clone, Debug)]
pub struct SessionStory {
    pub session: Session,
    pub events: Vec<AuditRecord>,
}

/// One page of sessions, newest first, ended ones included until they are swept.
///
/// # Errors
/// [`InvalidRequest`](crate::domain::error::Code::InvalidRequest): the limit is none. The database does not answer.
pub async fn list(ctx: &Context, query: SessionQuery) -> Result<Listed<Session>, OAuthError> {
    let page = page(query.after, query.limit)?;
    let filter = SessionFilter { sub: query.sub.map(Sub::new), client_id: query.client_id.map(ClientId::new) };
    Ok(ctx.store.sessions(filter, page).await?)
}

/// One session with its events.
///
/// # Errors
/// [`NotFound`](crate::domain::error::Code::NotFound). The database does not answer.
pub async fn show(ctx: &Context, sid: &str) -> Result<SessionStory, OAuthError> {
    let id = parse(sid)?;
    let session = ctx.store.session(id).await?.ok_or_else(|| not_found("session"))?;
    let filter = AuditFilter { sid: Some(id), newest_first: true, ..AuditFilter::default() };
    let mut events = ctx.store.audit(filter, Page { after: None, limit: EVENTS_SHOWN }).await?.items;
    events.reverse();
    Ok(SessionStory { session, events })
}

/// Ends a session and makes its access tokens inactive. Ending an ended one again changes nothing.
///
/// # Errors
/// [`NotFound`](crate::domain::error::Code::NotFound). The database does not answer.
pub async fn end(ctx: &Context, caller: &AdminCaller, sid: &str) -> Result<(), OAuthError> {
    let id = parse(sid)?;
    let session = ctx.store.session(id).await?.ok_or_else(|| not_found("session"))?;
    let audit = ctx
        .audit(AuditType::SessionRevoked, caller.actor.clone())
        .about_session(id)
        .about_user(&session.sub)
        .about_client(&session.client_id)
        .detail(serde_json::json!({ "reason": EndReason::RevokedByAdmin.as_str() }));
    let end = EndSession {
        id,
        of_client: None,
        reason: EndReason::RevokedByAdmin,
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit,
    };
    match ctx.store.end_session(end).await? {
        EndOutcome::Ended => {
            ctx.meter.count(Count::SessionRevoked);
            Ok(())
        }
        EndOutcome::EndedBefore => Ok(()),
        // Swept since it was read.
        EndOutcome::NotFound => Err(not_found("session")),
    }
}

fn parse(sid: &str) -> Result<SessionId, OAuthError> {
    sid.parse().map_err(|_| not_found("session"))
}
