//! `/admin/v1/sessions`

use std::sync::Arc;

use poem_openapi::param::{Path, Query};
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::audit::Event;
use super::{Gone, Topic, caller};
use crate::admin::sessions::{self, SessionQuery, SessionStory};
use crate::app::App;
use crate::domain::origin::Origin;
use crate::domain::session::{RetrySeen, Session as Permission};
use crate::domain::time::Timestamp;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::error::{ItemFailure, ListFailure};
use crate::http::json::Answer;
use crate::http::moment::Moment;

/// One client's standing permission from one login of one user.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct Session {
    sid: String,
    sub: String,
    client_id: String,
    /// The sign-in that opened it through an authorization code; absent where no browser was in between.
    sign_in: Option<String>,
    /// `active`, `expired` or `ended`.
    state: String,
    scope: String,
    audience: Vec<String>,
    /// When the user logged in.
    auth_time: Moment,
    started_at: Moment,
    last_used_at: Moment,
    /// When it ends if nobody uses it again.
    expires_at: Moment,
    /// When it ends at the latest.
    absolute_expires_at: Moment,
    /// How often its refresh token was renewed; absent where it has none.
    generation: Option<u32>,
    /// When the current refresh token was made.
    rotated_at: Option<Moment>,
    /// Whether the refresh token before the current one was presented again: `none`, `prompt` (a lost answer, several
    /// tabs) or `late`.
    retry_seen: Option<String>,
    /// How many of the latest generations in a row saw a late retry.
    late_retries: Option<u8>,
    /// Whether that was a pattern, so that its retry window is short from then on.
    retry_pattern: Option<bool>,
    ended_at: Option<Moment>,
    /// `reused`, `revoked_by_client`, `revoked_by_admin`, `password_changed`, `user_disabled`, `user_deleted`,
    /// `client_deleted`, `logged_out`, `code_reused`, `consent_revoked`.
    end_reason: Option<String>,
    /// The latest events of its trail, oldest first; only where one session is asked for.
    timeline: Option<Vec<Event>>,
}

impl Example for Session {
    fn example() -> Self {
        Self {
            sid: "c2Vzc2lvbiBpZCAxNiBieQ".into(),
            sub: "usr_2Yx1mQ0fT7aV9sKcJb3RdA".into(),
            client_id: "web-shop".into(),
            sign_in: Some("c2lnbi1pbiAxNiBieXRlcw".into()),
            state: "active".into(),
            scope: "openid profile".into(),
            audience: vec!["https://api.example.com".into()],
            auth_time: Moment::example("2026-01-31T09:30:00Z"),
            started_at: Moment::example("2026-01-31T09:30:00Z"),
            last_used_at: Moment::example("2026-01-31T10:05:12.25Z"),
            expires_at: Moment::example("2026-02-07T10:05:12.25Z"),
            absolute_expires_at: Moment::example("2026-03-02T09:30:00Z"),
            generation: Some(3),
            rotated_at: Some(Moment::example("2026-01-31T10:05:12.25Z")),
            retry_seen: Some("none".into()),
            late_retries: Some(0),
            retry_pattern: Some(false),
            ended_at: None,
            end_reason: None,
            timeline: None,
        }
    }
}

impl Session {
    fn of(session: &Permission, now: Timestamp) -> Self {
        let state = match session.ended {
            Some(_) => "ended",
            None if now < session.expires_at() => "active",
            None => "expired",
        };
        let chain = session.chain.as_ref();
        Self {
            sid: session.id.to_string(),
            sub: session.sub.to_string(),
            client_id: session.client_id.to_string(),
            sign_in: session.sign_in.map(|id| id.to_string()),
            state: state.into(),
            scope: session.scope.to_string(),
            audience: session.audience.clone(),
            auth_time: session.auth_time.into(),
            started_at: session.started_at.into(),
            last_used_at: session.last_used_at.into(),
            expires_at: session.expires_at().into(),
            absolute_expires_at: session.absolute_expires_at.into(),
            generation: chain.map(|chain| chain.generation),
            rotated_at: chain.map(|chain| chain.rotated_at.into()),
            retry_seen: chain.map(|chain| retry_name(chain.retry_seen).to_owned()),
            late_retries: chain.map(|chain| chain.late_streak),
            retry_pattern: chain.map(|chain| chain.narrowed),
            ended_at: session.ended.map(|(at, _)| at.into()),
            end_reason: session.ended.map(|(_, reason)| reason.as_str().to_owned()),
            timeline: None,
        }
    }

    fn told(story: &SessionStory, now: Timestamp) -> Self {
        let timeline = Some(story.events.iter().map(Event::from).collect());
        Self { timeline, ..Self::of(&story.session, now) }
    }
}

const fn retry_name(seen: RetrySeen) -> &'static str {
    match seen {
        RetrySeen::None => "none",
        RetrySeen::Prompt => "prompt",
        RetrySeen::Late => "late",
    }
}

/// A page of sessions, newest first.
#[derive(Debug, Object)]
#[oai(example)]
struct SessionList {
    items: Vec<Session>,
    /// What to pass as `after` for the next page.
    #[oai(nullable)]
    next: Option<String>,
}

impl Example for SessionList {
    fn example() -> Self {
        Self { items: vec![Example::example()], next: None }
    }
}

/// The operations on sessions.
pub struct SessionsApi {
    app: Arc<App>,
}

impl SessionsApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Sessions")]
impl SessionsApi {
    /// List sessions
    ///
    /// Ended and expired ones are listed until they are swept.
    #[oai(path = "/sessions", method = "get", operation_id = "listSessions")]
    async fn list(
        &self,
        #[oai(scope = "AdminScope::SessionsRead")] bearer: Bearer,
        origin: Origin,
        /// Only this user's.
        sub: Query<Option<String>>,
        /// Only this client's.
        client_id: Query<Option<String>>,
        /// The `next` of the page before.
        after: Query<Option<String>>,
        /// Items on this page, 1 to 1,000; 100 by default.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
    ) -> Result<Answer<SessionList>, ListFailure> {
        caller(&self.app, &bearer, "admin:sessions:read", &origin).await?;
        let ctx = &self.app.context;
        let query = SessionQuery { sub: sub.0, client_id: client_id.0, after: after.0, limit: limit.0 };
        let page = sessions::list(ctx, query).await?;
        let items = page.items.iter().map(|session| Session::of(session, ctx.now())).collect();
        Ok(Answer(SessionList { items, next: page.next }))
    }

    /// Show a session with its timeline
    #[oai(path = "/sessions/:sid", method = "get", operation_id = "getSession")]
    async fn show(
        &self,
        #[oai(scope = "AdminScope::SessionsRead")] bearer: Bearer,
        origin: Origin,
        /// The session.
        sid: Path<String>,
    ) -> Result<Answer<Session>, ItemFailure> {
        caller(&self.app, &bearer, "admin:sessions:read", &origin).await?;
        let story = sessions::show(&self.app.context, &sid).await?;
        Ok(Answer(Session::told(&story, self.app.context.now())))
    }

    /// End a session
    ///
    /// Its refresh token is refused and its access tokens are inactive from the next introspection on. Ending an ended
    /// session again answers the same.
    #[oai(path = "/sessions/:sid", method = "delete", operation_id = "endSession")]
    async fn end(
        &self,
        #[oai(scope = "AdminScope::Sessions")] bearer: Bearer,
        origin: Origin,
        /// The session.
        sid: Path<String>,
    ) -> Result<Gone, ItemFailure> {
        let caller = caller(&self.app, &bearer, "admin:sessions", &origin).await?;
        sessions::end(&self.app.context, &caller, &sid).await?;
        Ok(Gone::Gone)
    }
}
