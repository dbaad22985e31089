//! How long things last: the operator's defaults, and what one client has instead.

use std::time::Duration;

use super::client::Client;
use super::time::Timestamp;

/// The operator's `tokens.*` settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPolicy {
    pub access_ttl: Duration,
    /// How long an ID token says that it is good for.
    pub id_token_ttl: Duration,
    pub refresh_idle: Duration,
    pub refresh_absolute: Duration,
    pub refresh_retry_window: Duration,
    pub late_retry: Duration,
    pub rotate_refresh: bool,
    pub refresh_heal: bool,
    /// How long after its `exp` an access token may still be exchanged for its successor. At most the clock skew that
    /// keys and revocations outlast their tokens by.
    pub exchange_leeway: Duration,
}

impl Default for TokenPolicy {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            access_ttl: Duration::from_secs(600),
            id_token_ttl: Duration::from_secs(60 * 60),
            refresh_idle: Duration::from_secs(7 * DAY),
            refresh_absolute: Duration::from_secs(30 * DAY),
            refresh_retry_window: Duration::from_secs(60),
            late_retry: Duration::from_secs(15),
            rotate_refresh: true,
            refresh_heal: true,
            exchange_leeway: Duration::ZERO,
        }
    }
}

/// A client's own values, in whole seconds; what is absent follows the operator's.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Lifetimes {
    pub access_ttl: Option<u64>,
    pub refresh_idle: Option<u64>,
    pub refresh_absolute: Option<u64>,
    pub refresh_retry_window: Option<u64>,
    pub late_retry: Option<u64>,
}

impl TokenPolicy {
    /// The policy as it holds for one client.
    pub fn of(&self, client: &Client) -> Self {
        let own = &client.lifetimes;
        let seconds = |own: Option<u64>, default| own.map_or(default, Duration::from_secs);
        Self {
            access_ttl: seconds(own.access_ttl, self.access_ttl),
            id_token_ttl: self.id_token_ttl,
            refresh_idle: seconds(own.refresh_idle, self.refresh_idle),
            refresh_absolute: seconds(own.refresh_absolute, self.refresh_absolute),
            refresh_retry_window: seconds(own.refresh_retry_window, self.refresh_retry_window),
            late_retry: seconds(own.late_retry, self.late_retry),
            rotate_refresh: client.rotate_refresh.unwrap_or(self.rotate_refresh),
            refresh_heal: self.refresh_heal,
            exchange_leeway: self.exchange_leeway,
        }
    }

    /// When a session that began then ends at the latest, where it has been promised an end of its own as well.
    pub fn limit_of(&self, started_at: Timestamp, ends_at: Option<Timestamp>) -> Timestamp {
        started_at.plus(self.refresh_absolute).min(ends_at.unwrap_or(Timestamp::MAX))
    }
}
