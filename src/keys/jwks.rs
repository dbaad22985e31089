//! The published key set (RFC 7517 section 5): which keys, in which order, with which `ETag` and `Cache-Control`.
//!
//! Every node gives the same bytes. Active keys come first, for many verifiers take the first of the right kind.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::ids::Kid;
use crate::domain::key::{Alg, KeyState, KeyTable, SigningKey};
use crate::domain::secret::sha256;
use crate::domain::time::Timestamp;

/// The key set as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksDocument {
    /// JSON; `application/jwk-set+json`.
    pub body: String,
    /// A strong entity tag (RFC 9110 section 8.8.3), with its quotes.
    pub etag: String,
    /// How long verifiers may keep it. Never above what is durably recorded for every key in it, so that no key is
    /// ever activated before a verifier that keeps an older set must have asked again.
    pub max_age: Duration,
    /// The `Cache-Control` header, on 304 too.
    pub cache_control: String,
}

impl JwksDocument {
    /// The key set of `table`, to be kept for `max_age` (`keys.jwks_max_age`) if the rows allow that.
    pub fn of(table: &KeyTable, max_age: Duration) -> Self {
        let mut keys: Vec<_> = table.signing.iter().filter(|key| key.state.is_published()).collect();
        keys.sort_by_cached_key(|key| order(key));
        let mut body = String::from(r#"{"keys":["#);
        for (at, key) in keys.iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            body.push_str(&key.public_jwk);
        }
        body.push_str("]}");
        let recorded = keys.iter().map(|key| key.longest_max_age).min().unwrap_or(Duration::ZERO);
        let max_age = max_age.min(recorded);
        Self {
            etag: format!("\"{}\"", URL_SAFE_NO_PAD.encode(&sha256(body.as_bytes())[..18])),
            cache_control: format!("public, max-age={}", max_age.as_secs()),
            max_age,
            body,
        }
    }
}

fn order(key: &SigningKey) -> (u8, Alg, Timestamp, Kid) {
    let rank = match key.state {
        KeyState::Active { .. } => 0,
        KeyState::Standby => 1,
        KeyState::Retiring { .. } | KeyState::Retired { .. } | KeyState::Compromised { .. } => 2,
    };
    (rank, key.alg, key.created_at, key.kid.clone())
}
