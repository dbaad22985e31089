//! Whether the process lives, and whether it can really issue tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;

use super::document::Topic;
use super::error::HealthFailure;
use super::payload::Written;
use crate::app::App;
use crate::domain::error::OAuthError;
use crate::domain::key::Alg;

/// How long a good answer of the database counts: probes by many must not become load.
const PING_COUNTS_FOR: Duration = Duration::from_secs(1);

/// How long the database may take to answer.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// The operations.
pub struct HealthApi {
    app: Arc<App>,
    /// When the database answered last, in milliseconds of uptime, plus one; 0 for never.
    answered_at: AtomicU64,
}

impl HealthApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app, answered_at: AtomicU64::new(0) }
    }

    /// # Errors
    /// What a token request would fail for now.
    async fn can_issue(&self) -> Result<(), OAuthError> {
        let keys = self.app.context.replica.keys();
        if let Some(alg) = Alg::ALL.into_iter().find(|alg| keys.active(*alg).is_none()) {
            return Err(OAuthError::unavailable(format!("there is no active {alg} key yet")));
        }
        let now = u64::try_from(self.app.context.clock.uptime().as_millis()).unwrap_or(u64::MAX - 1);
        let answered_at = self.answered_at.load(Ordering::Relaxed);
        if answered_at > 0 && u128::from(now + 1 - answered_at.min(now + 1)) < PING_COUNTS_FOR.as_millis() {
            return Ok(());
        }
        match tokio::time::timeout(PING_LIMIT, self.app.context.store.ping()).await {
            Ok(answer) => answer?,
            Err(_) => return Err(OAuthError::unavailable("the database does not answer")),
        }
        self.answered_at.store(now + 1, Ordering::Relaxed);
        Ok(())
    }
}

/// What a probe is told.
#[derive(Debug, Serialize, Object)]
#[oai(example)]
pub struct HealthBody {
    /// `live` or `ready`.
    pub status: String,
}

impl poem_openapi::types::Example for HealthBody {
    fn example() -> Self {
        Self { status: "ready".into() }
    }
}

/// What a probe is answered.
#[derive(ApiResponse)]
pub enum HealthAnswer {
    /// Yes
    #[oai(status = 200)]
    Well(Written<HealthBody>),
}

#[OpenApi(prefix_path = "/health", tag = "Topic::Monitoring")]
impl HealthApi {
    /// Ask whether the process lives
    ///
    /// Asks nothing else: restart the process only when this does not answer.
    #[oai(path = "/live", method = "get", operation_id = "healthLive")]
    async fn live(&self) -> HealthAnswer {
        HealthAnswer::Well(Written(HealthBody { status: "live".into() }))
    }

    /// Ask whether tokens can be issued
    ///
    /// 200 once there is an active key for every algorithm and the database answers; else 503, which says what is
    /// missing. Send users here only while it answers 200.
    #[oai(path = "/ready", method = "get", operation_id = "healthReady")]
    async fn ready(&self) -> Result<HealthAnswer, HealthFailure> {
        self.can_issue().await?;
        Ok(HealthAnswer::Well(Written(HealthBody { status: "ready".into() })))
    }
}
