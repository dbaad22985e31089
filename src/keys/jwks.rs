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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::plan::{Mode, Request};
    use crate::keys::testing::{START, carry_out, table};

    const AGE: Duration = Duration::from_secs(600);

    fn kids(document: &JwksDocument) -> Vec<String> {
        let read: serde_json::Value = serde_json::from_str(&document.body).unwrap();
        let keys = read["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    fn rank_of(table: &KeyTable, kid: &str) -> &'static str {
        table.signing.iter().find(|key| key.kid.as_str() == kid).unwrap().state.as_str()
    }

    #[test]
    fn active_keys_come_first_then_standby_then_retiring() {
        let mut table = table();
        let later = START.plus(Duration::from_secs(3600));
        carry_out(&mut table, &Request::Rotate { alg: Alg::ES256, mode: Mode::Planned }, later);
        let document = JwksDocument::of(&table, AGE);
        let states: Vec<_> = kids(&document).iter().map(|kid| rank_of(&table, kid)).collect();
        assert_eq!(states, ["active", "active", "standby", "standby", "retiring"]);

        let later = later.plus(Duration::from_secs(3600));
        carry_out(&mut table, &Request::Compromise { alg: Alg::RS256, kid: None }, later);
        carry_out(&mut table, &Request::Tick, later);
        let states: Vec<_> = kids(&JwksDocument::of(&table, AGE)).iter().map(|kid| rank_of(&table, kid)).collect();
        assert_eq!(states, ["active", "active", "standby", "standby"]);
    }

    #[test]
    fn every_node_gives_the_same_bytes_and_only_public_ones() {
        let mut table = table();
        let document = JwksDocument::of(&table, AGE);
        table.signing.reverse();
        assert_eq!(JwksDocument::of(&table, AGE), document);
        assert!(document.etag.starts_with('"') && document.etag.ends_with('"') && document.etag.len() == 26);
        let read: serde_json::Value = serde_json::from_str(&document.body).unwrap();
        for key in read["keys"].as_array().unwrap() {
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(key.get(private).is_none());
            }
        }
    }

    #[test]
    fn a_max_age_that_is_not_recorded_is_not_served() {
        let table = table();
        assert_eq!(JwksDocument::of(&table, AGE).cache_control, "public, max-age=600");
        assert_eq!(JwksDocument::of(&table, AGE * 6).cache_control, "public, max-age=600");
        assert_eq!(JwksDocument::of(&table, AGE / 2).cache_control, "public, max-age=300");
        assert_eq!(JwksDocument::of(&KeyTable::default(), AGE).body, r#"{"keys":[]}"#);
    }
}
