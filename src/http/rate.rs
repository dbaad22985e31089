//! `server.rate_limit`: how many requests one address may make. Off by default; per node.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::config::RateLimit;
use crate::domain::error::{Code, OAuthError};

/// After how many requests addresses that have been quiet are forgotten.
const FORGET_EVERY: u32 = 4096;

/// The gate.
#[derive(Debug)]
pub struct Gate {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    passed: AtomicU32,
}

impl Gate {
    /// `None` where the limit allows nothing at all, which configuration refuses earlier.
    pub fn new(limit: &RateLimit) -> Option<Self> {
        let quota = Quota::with_period(limit.replenish_interval())?.allow_burst(limit.burst);
        let limiter = DefaultKeyedRateLimiter::keyed(quota);
        Some(Self { limiter, clock: DefaultClock::default(), passed: AtomicU32::new(0) })
    }

    /// # Errors
    /// The address has made too many; with the time after which it may go on.
    pub fn pass(&self, address: IpAddr) -> Result<(), OAuthError> {
        if self.passed.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&one_subscriber(address)).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(self.clock.now()).max(Duration::from_secs(1));
            OAuthError::new(Code::TooManyRequests, "too many requests from this address").retry_after(wait)
        })
    }
}

/// A subscriber of IPv6 has a whole /64 to send from.
fn one_subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_past_its_limit_waits_and_others_do_not() {
        let gate = Gate::new(&RateLimit::parse("2/h").unwrap()).unwrap();
        let address = |text: &str| text.parse().unwrap();
        assert!(gate.pass(address("2001:db8::1")).is_ok());
        assert!(gate.pass(address("2001:db8::2")).is_ok());
        let refused = gate.pass(address("2001:db8::3")).unwrap_err();
        assert_eq!(refused.code, Code::TooManyRequests);
        assert!(refused.retry_after.unwrap() > Duration::from_secs(1000));
        assert!(gate.pass(address("192.0.2.1")).is_ok());
    }
}
