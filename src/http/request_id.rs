//! A name for every request: in `X-Request-Id`, in the log, and in the body of a 500.
//!
//! None is accepted from outside, where it could forge the log. It is a hash of a counter under a secret of the
//! process, so that it costs no system call and tells nobody how many requests there were.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::secret::{Secret32, sha256};
use crate::domain::sources::{Entropy, random};

/// Where request ids come from.
#[derive(Debug)]
pub struct RequestIds {
    key: Secret32,
    next: AtomicU64,
}

impl RequestIds {
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self { key: Secret32::new(random(entropy)), next: AtomicU64::new(0) }
    }

    /// 16 characters of base64url.
    pub fn next(&self) -> String {
        let mut input = [0; 40];
        input[..32].copy_from_slice(self.key.expose());
        input[32..].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        URL_SAFE_NO_PAD.encode(&sha256(&input)[..12])
    }
}
