//! The log goes to standard error: standard output belongs to results.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Sends the log to standard error: for people where that is a terminal, as one JSON object a line where it is not.
///
/// `RUST_LOG` chooses what is logged (for example `latchkey=debug`); where it is unset or does not read, `default`
/// does. A second call changes nothing.
pub fn install(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // The only error is that somebody has set the subscriber before, in a test: theirs stays.
    let _ = if stderr().is_terminal() {
        tracing::subscriber::set_global_default(log.with_target(false).finish())
    } else {
        tracing::subscriber::set_global_default(log.json().flatten_event(true).with_current_span(true).finish())
    };
}
