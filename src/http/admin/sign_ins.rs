//! `/admin/v1/sign-ins`

use std::sync::Arc;

use poem_openapi::param::{Path, Query};
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::{Gone, Topic, caller};
use crate::admin::sign_ins::{self, SignInQuery};
use crate::app::App;
use crate::domain::origin::Origin;
use crate::domain::sign_in::{SignIn as Login, SignInLimits};
use crate::domain::time::Timestamp;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::error::{ItemFailure, ListFailure};
use crate::http::json::Answer;
use crate::http::moment::Moment;

/// One user signed in in one browser.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct SignIn {
    id: String,
    sub: String,
    /// `active`, `expired` or `ended`.
    state: String,
    /// When the password was last typed.
    auth_time: Moment,
    started_at: Moment,
    /// Up to a minute behind the last use.
    last_used_at: Moment,
    /// When it ends if nobody uses it again.
    expires_at: Moment,
    /// When it ends at the latest.
    absolute_expires_at: Moment,
    /// The browser's name for itself, when the password was last typed.
    user_agent: String,
    /// The browser's address then.
    address: String,
    ended_at: Option<Moment>,
    /// `logged_out`, `replaced`, `revoked_by_admin`, `password_changed`, `user_disabled`, `user_deleted`.
    end_reason: Option<String>,
}

impl Example for SignIn {
    fn example() -> Self {
        Self {
            id: "c2lnbi1pbiAxNiBieXRlcw".into(),
            sub: "usr_2Yx1mQ0fT7aV9sKcJb3RdA".into(),
            state: "active".into(),
            auth_time: Moment::example("2026-01-31T09:30:00Z"),
            started_at: Moment::example("2026-01-31T09:30:00Z"),
            last_used_at: Moment::example("2026-01-31T10:05:12.25Z"),
            expires_at: Moment::example("2026-02-01T10:05:12.25Z"),
            absolute_expires_at: Moment::example("2026-02-14T09:30:00Z"),
            user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".into(),
            address: "192.0.2.7".into(),
            ended_at: None,
            end_reason: None,
        }
    }
}

impl SignIn {
    fn of(login: &Login, limits: &SignInLimits, now: Timestamp) -> Self {
        let state = match login.ended {
            Some(_) => "ended",
            None if login.is_live(limits, now) => "active",
            None => "expired",
        };
        Self {
            id: login.id.to_string(),
            sub: login.sub.to_string(),
            state: state.into(),
            auth_time: login.auth_time.into(),
            started_at: login.started_at.into(),
            last_used_at: login.last_used_at.into(),
            expires_at: login.expires_under(limits).into(),
            absolute_expires_at: login.absolute_expires_at.into(),
            user_agent: login.browser.user_agent.clone(),
            address: login.browser.address.clone(),
            ended_at: login.ended.map(|(at, _)| at.into()),
            end_reason: login.ended.map(|(_, reason)| reason.as_str().to_owned()),
        }
    }
}

/// A page of sign-ins, newest first.
#[derive(Debug, Object)]
#[oai(example)]
struct SignInList {
    items: Vec<SignIn>,
    /// What to pass as `after` for the next page.
    #[oai(nullable)]
    next: Option<String>,
}

impl Example for SignInList {
    fn example() -> Self {
        Self { items: vec![Example::example()], next: None }
    }
}

/// The operations on sign-ins.
pub struct SignInsApi {
    app: Arc<App>,
}

impl SignInsApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Sessions")]
impl SignInsApi {
    /// List sign-ins
    ///
    /// Ended and expired ones are listed until they are swept.
    #[oai(path = "/sign-ins", method = "get", operation_id = "listSignIns")]
    async fn list(
        &self,
        #[oai(scope = "AdminScope::SessionsRead")] bearer: Bearer,
        origin: Origin,
        /// Only this user's.
        sub: Query<Option<String>>,
        /// Only those that have neither ended nor expired.
        live: Query<Option<bool>>,
        /// The `next` of the page before.
        after: Query<Option<String>>,
        /// Items on this page, 1 to 1,000; 100 by default.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
    ) -> Result<Answer<SignInList>, ListFailure> {
        caller(&self.app, &bearer, "admin:sessions:read", &origin).await?;
        let ctx = &self.app.context;
        let query = SignInQuery { sub: sub.0, live: live.0.unwrap_or(false), after: after.0, limit: limit.0 };
        let page = sign_ins::list(ctx, query).await?;
        let items = page.items.iter().map(|login| SignIn::of(login, &ctx.sign_ins, ctx.now())).collect();
        Ok(Answer(SignInList { items, next: page.next }))
    }

    /// Show a sign-in
    #[oai(path = "/sign-ins/:id", method = "get", operation_id = "getSignIn")]
    async fn show(
        &self,
        #[oai(scope = "AdminScope::SessionsRead")] bearer: Bearer,
        origin: Origin,
        /// The sign-in.
        id: Path<String>,
    ) -> Result<Answer<SignIn>, ItemFailure> {
        caller(&self.app, &bearer, "admin:sessions:read", &origin).await?;
        let ctx = &self.app.context;
        let login = sign_ins::show(ctx, &id).await?;
        Ok(Answer(SignIn::of(&login, &ctx.sign_ins, ctx.now())))
    }

    /// End a sign-in
    ///
    /// The browser is signed out, and the sessions that came from it end, but for those with `offline_access`. Ending an
    /// ended one again answers the same.
    #[oai(path = "/sign-ins/:id", method = "delete", operation_id = "endSignIn")]
    async fn end(
        &self,
        #[oai(scope = "AdminScope::Sessions")] bearer: Bearer,
        origin: Origin,
        /// The sign-in.
        id: Path<String>,
    ) -> Result<Gone, ItemFailure> {
        let caller = caller(&self.app, &bearer, "admin:sessions", &origin).await?;
        sign_ins::end(&self.app.context, &caller, &id).await?;
        Ok(Gone::Gone)
    }
}
