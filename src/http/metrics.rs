//! The metrics, for those who operate the service: everyone on the admin listener; on the public one a process of the
//! same machine, or a token with the scope `admin:metrics`.

use std::sync::Arc;

use poem::Request;
use poem_openapi::{ApiResponse, OpenApi};

use super::authorization::Bearer;
use super::document::Topic;
use super::error::MetricsFailure;
use super::payload::OpenMetrics;
use crate::admin;
use crate::app::App;
use crate::domain::origin::Origin;

/// What proxies add. A proxy on this machine makes every stranger's connection look local.
const SIGNS_OF_A_PROXY: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// The operation.
pub struct MetricsApi {
    pub app: Arc<App>,
    /// Whether this is the admin listener, whose network is the operators' own.
    pub open: bool,
}

/// What it answers.
#[derive(ApiResponse)]
pub enum MetricsAnswer {
    /// All metrics in the OpenMetrics text format
    #[oai(status = 200)]
    Told(OpenMetrics),
}

#[OpenApi(tag = "Topic::Monitoring")]
impl MetricsApi {
    /// Read the metrics
    ///
    /// In the OpenMetrics text format that Prometheus reads. Benign retries of refreshes and thefts are different
    /// counters.
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(
        &self,
        request: &Request,
        origin: Origin,
        #[oai(scope = "super::authorization::AdminScope::Metrics")] bearer: Bearer,
    ) -> Result<MetricsAnswer, MetricsFailure> {
        if !self.open && !is_local(request, &origin) {
            let App { context, introspector, .. } = &*self.app;
            admin::authorize(context, introspector, bearer.token(), "admin:metrics", &origin).await?;
        }
        Ok(MetricsAnswer::Told(OpenMetrics(self.app.metrics.render())))
    }
}

fn is_local(request: &Request, origin: &Origin) -> bool {
    let proxied = SIGNS_OF_A_PROXY.iter().any(|name| request.headers().contains_key(*name));
    origin.peer.is_loopback() && !proxied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_on_this_machine_does_not_make_strangers_local() {
        let here = Origin::direct("127.0.0.1".parse().unwrap());
        let there = Origin::direct("192.0.2.1".parse().unwrap());
        assert!(is_local(&Request::builder().finish(), &here));
        assert!(!is_local(&Request::builder().finish(), &there));
        for name in SIGNS_OF_A_PROXY {
            assert!(!is_local(&Request::builder().header(name, "x").finish(), &here), "{name}");
        }
    }
}
