//! The only doors to time and randomness. `clippy.toml` bans every other one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::time::Timestamp;

/// Where the program learns what time it is.
pub trait Clock: Send + Sync {
    /// The wall clock. It may jump, in both directions.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment, never going back and counting the time the machine was suspended: what a
    /// promise about staleness is measured by.
    fn uptime(&self) -> Duration;

    /// What the time means here that another machine's clock tells, a database's.
    fn offset(&self) -> Offset {
        Offset::Ahead(Duration::ZERO)
    }
}

/// How a clock stands to those of other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// It has been made to run ahead of them.
    Ahead(Duration),
    /// It stands still, whatever they do.
    Still(Timestamp),
}

impl Offset {
    /// The time here at a moment that another clock has told.
    pub fn apply(self, told: Timestamp) -> Timestamp {
        match self {
            Self::Ahead(span) => told.plus(span),
            Self::Still(now) => now,
        }
    }
}

/// Where the program gets unpredictable bytes.
pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

/// `N` unpredictable bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The machine's own clocks.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp::from_millis(0).plus(since),
            Err(before) => Timestamp::from_millis(0).minus(before.duration()),
        }
    }

    fn uptime(&self) -> Duration {
        let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), u32::try_from(at.tv_nsec).unwrap_or(0))
    }
}

/// The operating system's random generator.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// When the operating system has no randomness to give: nothing safe can follow.
    #[expect(clippy::disallowed_methods, clippy::expect_used, reason = "the one place that asks the system")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    uptime: AtomicI64,
}

impl ManualClock {
    pub fn starting_at(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.millis()), uptime: AtomicI64::new(0) }
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.now.fetch_add(millis, Ordering::SeqCst);
        self.uptime.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.uptime.load(Ordering::SeqCst)).unwrap_or(0))
    }

    fn offset(&self) -> Offset {
        Offset::Still(self.now())
    }
}

/// The machine's clocks, some span ahead: time passes by itself, and can be made to pass. For integrators who test what
/// happens in days, never for a service with users.
#[derive(Debug, Default)]
pub struct AdvancedClock {
    system: SystemClock,
    /// Milliseconds, never less than before.
    ahead: AtomicI64,
}

impl AdvancedClock {
    /// Lets time pass, on both clocks.
    pub fn advance(&self, span: Duration) {
        self.ahead.fetch_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// How far it is ahead of the machine's clocks.
    pub fn ahead(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.ahead.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

impl Clock for AdvancedClock {
    fn now(&self) -> Timestamp {
        self.system.now().plus(self.ahead())
    }

    fn uptime(&self) -> Duration {
        self.system.uptime().saturating_add(self.ahead())
    }

    fn offset(&self) -> Offset {
        Offset::Ahead(self.ahead())
    }
}
