//! The cache of verified tokens: SHA-256 of the token to its claims. The only place that knows moka.
//!
//! It never decides whether a token is active, so nothing is ever invalidated in it: an entry may at worst be missing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use crate::domain::time::Timestamp;
use crate::tokens::verify::Verified;

struct Entry {
    verified: Arc<Verified>,
    /// How long the token had to live when it was verified.
    remaining: Duration,
}

/// Drops an entry about when its token expires. Expiry itself is checked on every hit, on the injected clock.
struct WithTheToken;

impl Expiry<[u8; 32], Arc<Entry>> for WithTheToken {
    fn expire_after_create(&self, _: &[u8; 32], entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.remaining)
    }
}

pub struct VerifiedTokens(Cache<[u8; 32], Arc<Entry>>);

impl VerifiedTokens {
    pub fn new(capacity: u64) -> Self {
        Self(Cache::builder().max_capacity(capacity).expire_after(WithTheToken).build())
    }

    pub fn get(&self, hash: &[u8; 32]) -> Option<Arc<Verified>> {
        self.0.get(hash).map(|entry| Arc::clone(&entry.verified))
    }

    pub fn insert(&self, hash: [u8; 32], verified: Arc<Verified>, now: Timestamp) {
        let remaining = verified.expires_at.since(now);
        self.0.insert(hash, Arc::new(Entry { verified, remaining }));
    }
}
