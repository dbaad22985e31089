//! The keys of clients, ready to verify: verifiers are built once per key and shared, for building one costs 2 to 7 times
//! as much as a verification.
//!
//! Configuration decides what a key may be used for, never the token: an RSA key verifies RS256 and PS256, an EC key
//! ES256, and none of them ever an HMAC (RFC 8725 section 3.1).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use josekit::JoseError;
use josekit::jwk::Jwk;
use josekit::jws::{ES256, JwsVerifier, PS256, RS256};
use serde_json::json;

use crate::domain::client::Client;
use crate::domain::client_keys::{AssertionAlg, ClientJwk, ClientJwks, PublicKey};

/// Where the keys of a client come from: memory, or its `jwks_uri`.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The keys of the client, as fresh as the source promises.
    ///
    /// # Errors
    /// They cannot be had.
    async fn keys_of(&self, client: &Client) -> Result<Arc<KeySet>, NoKeys>;

    /// The keys of the client after an assertion that none of `known` has signed: looked at anew where that may help and
    /// is not too soon, else the same again.
    ///
    /// # Errors
    /// They cannot be had.
    async fn keys_beyond(&self, client: &Client, known: &Arc<KeySet>) -> Result<Arc<KeySet>, NoKeys>;
}

/// Why there are no keys to verify with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct NoKeys {
    /// For the operator; the caller learns nothing of what answers where.
    pub cause: String,
    /// Whether another try may find them.
    pub passing: bool,
}

/// A key of a set that is none: a point that is not on its curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys[{0}]: its numbers are no key")]
pub struct UnusableKey(pub usize);

/// Why a signature is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// No key has the name, or none that could be meant has signed: the client may have a new one.
    UnknownKey,
    /// The key is there and is not for this algorithm.
    OtherAlg,
    Bad,
}

/// A client's keys.
pub struct KeySet {
    keys: Vec<Verifying>,
}

struct Verifying {
    kid: Option<String>,
    checks: Vec<(AssertionAlg, Arc<dyn JwsVerifier>)>,
}

/// What a signature is over, and what its header says of it.
pub(super) struct Signed<'a> {
    pub alg: AssertionAlg,
    pub kid: Option<&'a str>,
    pub message: &'a [u8],
    pub signature: &'a [u8],
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

impl KeySet {
    /// Every key of the set.
    ///
    /// # Errors
    /// One of them is none.
    pub fn of_all(jwks: &ClientJwks) -> Result<Self, UnusableKey> {
        let keys = jwks.keys.iter().enumerate().map(|(at, key)| Verifying::new(key).map_err(|_| UnusableKey(at)));
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    /// Those keys of the set that are any.
    pub fn of_usable(jwks: &ClientJwks) -> Self {
        Self { keys: jwks.keys.iter().filter_map(|key| Verifying::new(key).ok()).collect() }
    }

    /// Whether no key of the set is any.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether one of the keys has signed. A key without a `kid` may be meant by any.
    pub(super) fn check(&self, signed: &Signed<'_>) -> Result<(), SignatureFault> {
        let named = |key: &&Verifying| signed.kid.is_some() && key.kid.as_deref() == signed.kid;
        let by_name = self.keys.iter().any(|key| named(&key));
        let meant = |key: &&Verifying| if by_name { named(key) } else { signed.kid.is_none() || key.kid.is_none() };
        let checks: Vec<_> = self.keys.iter().filter(meant).filter_map(|key| key.check_of(signed.alg)).collect();
        if checks.iter().any(|check| check.verify(signed.message, signed.signature).is_ok()) {
            return Ok(());
        }
        Err(match (by_name, checks.is_empty()) {
            (true, true) => SignatureFault::OtherAlg,
            (true, false) => SignatureFault::Bad,
            (false, _) => SignatureFault::UnknownKey,
        })
    }
}

impl Verifying {
    fn new(key: &ClientJwk) -> Result<Self, JoseError> {
        // The numbers alone: a verifier that knows a kid refuses a token without one.
        let members = match &key.key {
            PublicKey::Ec { x, y, .. } => json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
            PublicKey::Rsa { n, e } => json!({ "kty": "RSA", "n": n, "e": e }),
        };
        let jwk = Jwk::from_bytes(members.to_string())?;
        let algs = key.key.algs().iter().filter(|alg| key.alg.is_none_or(|only| only == **alg));
        let mut checks: Vec<(AssertionAlg, Arc<dyn JwsVerifier>)> = Vec::new();
        for alg in algs {
            match alg {
                AssertionAlg::RS256 => checks.push((*alg, Arc::new(RS256.verifier_from_jwk(&jwk)?))),
                AssertionAlg::PS256 => checks.push((*alg, Arc::new(PS256.verifier_from_jwk(&jwk)?))),
                AssertionAlg::ES256 => checks.push((*alg, Arc::new(ES256.verifier_from_jwk(&jwk)?))),
                AssertionAlg::HS256 => {}
            }
        }
        Ok(Self { kid: key.kid.clone(), checks })
    }

    fn check_of(&self, alg: AssertionAlg) -> Option<&Arc<dyn JwsVerifier>> {
        self.checks.iter().find(|(known, _)| *known == alg).map(|(_, check)| check)
    }
}
