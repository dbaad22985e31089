//! Metrics by prometheus-client. What honest clients do and what thieves do are never added up in one number.

use std::borrow::Cow;
use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::domain::client::GrantType;
use crate::domain::error::Reason;
use crate::domain::meter::{Count, Meter};
use crate::domain::time::Timestamp;

/// A finished request, by route and not by path: paths carry identifiers, and every one would become a series.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    pub method: &'a str,
    /// The route's pattern, such as `/admin/v1/users/{sub}`; `other` where no route was met.
    pub route: &'a str,
    pub status: u16,
    pub took: Duration,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByGrant {
    grant_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByRequest {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByRoute {
    method: String,
    route: String,
}

type Histograms = Family<ByRoute, Histogram, fn() -> Histogram>;

/// Every metric of one process. Cheap to write from anywhere; there is no global.
pub struct Metrics {
    registry: RwLock<Registry>,
    issued: Family<ByGrant, Counter>,
    refused: Family<ByGrant, Counter>,
    claims_left_out: Counter,
    refreshes: Family<ByOutcome, Counter>,
    refresh_refusals: Family<ByReason, Counter>,
    retry_patterns: Counter,
    legacy_tokens: Family<ByOutcome, Counter>,
    legacy_refusals: Family<ByReason, Counter>,
    login_failures: Family<ByReason, Counter>,
    client_auth_failures: Counter,
    password_queue_full: Counter,
    introspections: Family<ByOutcome, Counter>,
    tokens_revoked: Counter,
    sessions_revoked: Counter,
    logout_tokens: Family<ByOutcome, Counter>,
    keys_activated: Counter,
    keys_compromised: Counter,
    requests: Family<ByRequest, Counter>,
    durations: Histograms,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

/// From a cached introspection to a queued password check.
fn latencies() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl Metrics {
    /// All at zero. `started` is when the process started, for uptime and resets.
    pub fn new(started: Timestamp) -> Self {
        let metrics = Self {
            registry: RwLock::new(Registry::with_prefix("latchkey")),
            issued: Family::default(),
            refused: Family::default(),
            claims_left_out: Counter::default(),
            refreshes: Family::default(),
            refresh_refusals: Family::default(),
            retry_patterns: Counter::default(),
            legacy_tokens: Family::default(),
            legacy_refusals: Family::default(),
            login_failures: Family::default(),
            client_auth_failures: Counter::default(),
            password_queue_full: Counter::default(),
            introspections: Family::default(),
            tokens_revoked: Counter::default(),
            sessions_revoked: Counter::default(),
            logout_tokens: Family::default(),
            keys_activated: Counter::default(),
            keys_compromised: Counter::default(),
            requests: Family::default(),
            durations: Histograms::new_with_constructor(latencies),
        };
        metrics.show_zeros();
        metrics.register();
        metrics.watch("start_time_seconds", "When the process started, Unix seconds", move || started.seconds());
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What is running", build);
        registry.register("tokens_issued", "Token answers, by grant", self.issued.clone());
        registry.register("tokens_refused", "Refused token requests, by grant", self.refused.clone());
        let help = "Claims of the operator's own that were left out, because the token would have been too large";
        registry.register("claims_left_out", help, self.claims_left_out.clone());
        let help = "Presented refresh tokens that decided something: retried ones are benign, reused ones are thefts";
        registry.register("refreshes", help, self.refreshes.clone());
        let help = "Refused refreshes, by the reason that the client was told";
        registry.register("refresh_refusals", help, self.refresh_refusals.clone());
        let help = "Sessions whose retries looked like two parties sharing a token";
        registry.register("refresh_retry_patterns", help, self.retry_patterns.clone());
        let help = "Presented tokens of legacy issuers: retried ones are benign, replayed ones are thefts";
        registry.register("legacy_tokens", help, self.legacy_tokens.clone());
        let help = "Refused tokens of legacy issuers, by the reason that the client was told";
        registry.register("legacy_refusals", help, self.legacy_refusals.clone());
        registry.register("login_failures", "Failed or throttled logins", self.login_failures.clone());
        let help = "Clients that did not prove who they are";
        registry.register("client_auth_failures", help, self.client_auth_failures.clone());
        let help = "Password checks refused because the queue was full";
        registry.register("password_queue_full", help, self.password_queue_full.clone());
        let help = "Introspected access tokens: hit and miss of the verified-token cache, unvouched when the database \
                    was asked about revocation";
        registry.register("introspections", help, self.introspections.clone());
        registry.register("tokens_revoked", "Access tokens revoked one by one", self.tokens_revoked.clone());
        registry.register("sessions_revoked", "Sessions ended before their time", self.sessions_revoked.clone());
        let help = "Logout tokens that clients took, will be sent again, or did not take within an hour";
        registry.register("logout_tokens", help, self.logout_tokens.clone());
        registry.register("keys_activated", "Signing keys that began to sign", self.keys_activated.clone());
        registry.register("keys_compromised", "Signing keys declared compromised", self.keys_compromised.clone());
        registry.register("http_requests", "Finished requests", self.requests.clone());
        let help = "Time from the request to its answer, in seconds";
        registry.register("http_request_duration_seconds", help, self.durations.clone());
    }

    /// A series that begins at its first event hides that event from `rate()`: all known ones begin at zero.
    fn show_zeros(&self) {
        for grant in GrantType::ALL {
            drop(self.issued.get_or_create(&ByGrant { grant_type: grant.as_str() }));
            drop(self.refused.get_or_create(&ByGrant { grant_type: grant.as_str() }));
        }
        for outcome in ["rotated", "kept", "retried", "retried_late", "reused", "healed"] {
            drop(self.refreshes.get_or_create(&ByOutcome { outcome }));
        }
        for reason in Reason::ALL {
            drop(self.refresh_refusals.get_or_create(&ByReason { reason: reason.as_str() }));
            drop(self.legacy_refusals.get_or_create(&ByReason { reason: reason.as_str() }));
        }
        for outcome in ["exchanged", "retried", "retried_late", "replayed"] {
            drop(self.legacy_tokens.get_or_create(&ByOutcome { outcome }));
        }
        for outcome in ["delivered", "retried", "undeliverable"] {
            drop(self.logout_tokens.get_or_create(&ByOutcome { outcome }));
        }
        for reason in ["wrong", "throttled"] {
            drop(self.login_failures.get_or_create(&ByReason { reason }));
        }
        for outcome in ["hit", "miss", "unvouched"] {
            drop(self.introspections.get_or_create(&ByOutcome { outcome }));
        }
    }

    /// Adds a gauge that is read when somebody scrapes: `read` must be quick and must not block.
    pub fn watch(&self, name: &'static str, help: &'static str, read: impl Fn() -> i64 + Send + Sync + 'static) {
        let watched = Watched { name, help, read: Box::new(read) };
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(watched));
    }

    /// Counts a finished request.
    pub fn http(&self, request: HttpRequest<'_>) {
        let HttpRequest { method, route, status, took } = request;
        let (method, route) = (method.to_owned(), route.to_owned());
        self.durations
            .get_or_create(&ByRoute { method: method.clone(), route: route.clone() })
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&ByRequest { method, route, status }).inc();
    }

    /// All metrics in the OpenMetrics text format, `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(8 << 10);
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        match encode(&mut text, &registry) {
            Ok(()) => text,
            // Writing to a String does not fail; a watched gauge might, and must not take the others with it.
            Err(fmt::Error) => String::from("# EOF\n"),
        }
    }
}

impl Meter for Metrics {
    fn count(&self, what: Count) {
        let refresh = |outcome| self.refreshes.get_or_create(&ByOutcome { outcome }).inc();
        let logout = |outcome| self.logout_tokens.get_or_create(&ByOutcome { outcome }).inc();
        let legacy = |outcome| self.legacy_tokens.get_or_create(&ByOutcome { outcome }).inc();
        let introspection = |outcome| self.introspections.get_or_create(&ByOutcome { outcome }).inc();
        match what {
            Count::TokenIssued(grant) => self.issued.get_or_create(&ByGrant { grant_type: grant.as_str() }).inc(),
            Count::TokenRefused(grant) => self.refused.get_or_create(&ByGrant { grant_type: grant.as_str() }).inc(),
            Count::ClaimLeftOut => self.claims_left_out.inc(),
            Count::RefreshRotated => refresh("rotated"),
            Count::RefreshKept => refresh("kept"),
            Count::RefreshRetried { late: false } => refresh("retried"),
            Count::RefreshRetried { late: true } => refresh("retried_late"),
            Count::RefreshReused => refresh("reused"),
            Count::RefreshHealed => refresh("healed"),
            Count::RefreshRefused(reason) => {
                self.refresh_refusals.get_or_create(&ByReason { reason: reason.as_str() }).inc()
            }
            Count::RetryPattern => self.retry_patterns.inc(),
            Count::LegacyExchanged => legacy("exchanged"),
            Count::LegacyRetried { late: false } => legacy("retried"),
            Count::LegacyRetried { late: true } => legacy("retried_late"),
            Count::LegacyReplayed => legacy("replayed"),
            Count::LegacyRefused(reason) => {
                self.legacy_refusals.get_or_create(&ByReason { reason: reason.as_str() }).inc()
            }
            Count::LoginFailed => self.login_failures.get_or_create(&ByReason { reason: "wrong" }).inc(),
            Count::LoginThrottled => self.login_failures.get_or_create(&ByReason { reason: "throttled" }).inc(),
            Count::ClientAuthFailed => self.client_auth_failures.inc(),
            Count::PasswordQueueFull => self.password_queue_full.inc(),
            Count::IntrospectionHit => introspection("hit"),
            Count::IntrospectionMiss => introspection("miss"),
            Count::IntrospectionUnvouched => introspection("unvouched"),
            Count::TokenRevoked => self.tokens_revoked.inc(),
            Count::SessionRevoked => self.sessions_revoked.inc(),
            Count::LogoutDelivered => logout("delivered"),
            Count::LogoutRetried => logout("retried"),
            Count::LogoutUndeliverable => logout("undeliverable"),
            Count::KeyActivated => self.keys_activated.inc(),
            Count::KeyCompromised => self.keys_compromised.inc(),
        };
    }
}

/// A gauge whose value lives elsewhere.
struct Watched {
    name: &'static str,
    help: &'static str,
    read: Box<dyn Fn() -> i64 + Send + Sync>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({})", self.name)
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new((self.read)());
        let help = Cow::Borrowed(self.help);
        gauge.encode(encoder.encode_descriptor(self.name, &help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_and_thefts_are_different_series() {
        let metrics = Metrics::new(Timestamp::from_seconds(1_700_000_000));
        metrics.count(Count::RefreshRetried { late: false });
        metrics.count(Count::RefreshRetried { late: false });
        metrics.count(Count::RefreshReused);
        metrics.count(Count::TokenIssued(GrantType::RefreshToken));
        metrics.watch("answer", "Read at every scrape", || 42);
        let route = "/oauth2/token";
        metrics.http(HttpRequest { method: "POST", route, status: 200, took: Duration::from_millis(3) });
        let text = metrics.render();
        for line in [
            "latchkey_refreshes_total{outcome=\"retried\"} 2",
            "latchkey_refreshes_total{outcome=\"reused\"} 1",
            "latchkey_refreshes_total{outcome=\"healed\"} 0",
            "latchkey_tokens_issued_total{grant_type=\"refresh_token\"} 1",
            "latchkey_answer 42",
            "latchkey_start_time_seconds 1700000000",
            "latchkey_http_requests_total{method=\"POST\",route=\"/oauth2/token\",status=\"200\"} 1",
            "latchkey_http_request_duration_seconds_bucket{le=\"0.005\",method=\"POST\",route=\"/oauth2/token\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("latchkey_build_info{version="), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
