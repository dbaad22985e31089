//! What a run comes to: rate, latencies, processor time.

use super::generator::Costs;
use super::process;

/// One load of one run.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Answers a second.
    pub rate: f64,
    pub latency: Latency,
    /// Processor microseconds for each answer, over all loads of the run.
    pub server_us: f64,
    pub client_us: f64,
    /// Those of the database server, where it is a process of its own on this machine.
    pub database_us: Option<f64>,
    /// The client's share of all the machine's cores.
    pub client_share: f64,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub longest: f64,
}

impl Measured {
    /// `latencies` are in microseconds, `answers` those of all loads.
    pub fn of(mut latencies: Vec<u32>, answers: usize, costs: Costs) -> Self {
        latencies.sort_unstable();
        let count = answers.max(1) as f64;
        Self {
            rate: latencies.len() as f64 / costs.seconds,
            latency: Latency::of(&latencies),
            server_us: costs.server * 1e6 / count,
            client_us: costs.client * 1e6 / count,
            database_us: costs.database.map(|seconds| seconds * 1e6 / count),
            client_share: costs.client / (costs.seconds * process::cores() as f64),
        }
    }
}

impl Latency {
    /// Of sorted microseconds.
    fn of(sorted: &[u32]) -> Self {
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).map_or(0.0, |micros| f64::from(*micros) / 1e3)
        };
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), longest: at(1.0) }
    }
}

/// The run in the middle: all its figures belong together.
pub fn median<T>(mut runs: Vec<T>, key: impl Fn(&T) -> f64) -> Option<T> {
    runs.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let middle = runs.len() / 2;
    runs.into_iter().nth(middle)
}
