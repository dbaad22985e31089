//! Whether this node has just been suspended (a machine that is moved, a process that is stopped).
//!
//! A client that waits in vain asks another node, and goes on from there. What it had asked here must not be carried out
//! when the node wakes: a refresh token that its session has left two steps behind counts as stolen and ends it, and so
//! does a code that was redeemed elsewhere. So for a moment a waking node carries out neither; whoever still waits asks
//! again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::millis;
use crate::domain::sources::{Clock as _, SystemClock};

/// How often the node beats.
pub const PACE: Duration = Duration::from_millis(250);

/// A longer time without a beat was a suspension. Clients wait at least as long before they ask elsewhere.
const SUSPENDED: Duration = Duration::from_secs(2);

/// How long it takes to be through with what has waited.
const WAKING: Duration = Duration::from_secs(1);

/// Beats while the node runs. By the machine's clock, which no test moves: this is about the process, not about its users.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Milliseconds of uptime at the latest beat; 0 before the first.
    beat: AtomicU64,
    waking_until: AtomicU64,
}

impl Pulse {
    pub fn beat(&self) {
        self.beat_at(millis(SystemClock.uptime()));
    }

    /// Whether what is carried out now may have waited through a suspension. Never, where nothing beats.
    pub fn is_waking(&self) -> bool {
        self.is_waking_at(millis(SystemClock.uptime()))
    }

    fn beat_at(&self, now: u64) {
        if self.has_slept(now) {
            self.waking_until.store(now + millis(WAKING), Ordering::Release);
        }
        self.beat.store(now.max(1), Ordering::Release);
    }

    fn is_waking_at(&self, now: u64) -> bool {
        // It may be asked before it beats again.
        self.has_slept(now) || now < self.waking_until.load(Ordering::Acquire)
    }

    fn has_slept(&self, now: u64) -> bool {
        match self.beat.load(Ordering::Acquire) {
            0 => false,
            beat => now.saturating_sub(beat) > millis(SUSPENDED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_slept_is_waking_for_a_second() {
        let pulse = Pulse::default();
        assert!(!pulse.is_waking_at(1_000_000), "nothing beats");
        pulse.beat_at(1_000);
        pulse.beat_at(3_000);
        assert!(!pulse.is_waking_at(5_000));
        assert!(pulse.is_waking_at(5_001), "asked before the beat");
        pulse.beat_at(23_000);
        pulse.beat_at(23_250);
        assert!(pulse.is_waking_at(23_999));
        assert!(!pulse.is_waking_at(24_000));
    }
}
