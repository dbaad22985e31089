//! What the service says of itself: a log on standard error, and metrics in the OpenMetrics text format.

mod log;
mod metrics;

pub use log::install;
pub use metrics::{HttpRequest, Metrics};
