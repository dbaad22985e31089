//! Verifying the tokens of other systems (RFC 7515 section 5.2, RFC 7519 section 7.2, RFC 8725), and deriving what each
//! of them becomes.
//!
//! Configuration decides algorithm and key, never the token: a secret is no PEM and a PEM no secret, and no key is tried
//! with an algorithm of another kind. Claims are read leniently where the libraries that made them are lenient (fractions
//! of seconds), and refused where nothing else is safe (no `exp`, a moment outside of the calendar).

mod judge;
mod key;

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::Sha256;

use self::judge::judge;
pub(super) use self::judge::moment;
pub use self::judge::{LegacyRefusal, denied_of};
use self::key::Check;
pub use self::key::{LegacyKey, LegacyKeyFault};
use super::verify::{LONGEST_TOKEN, is_access_token_type, present};
use crate::domain::error::Reason;
use crate::domain::ids::{ClientId, SessionId};
use crate::domain::legacy::{LegacyAlg, LegacyIssuer};
use crate::domain::secret::{Secret32, sha256};
use crate::domain::time::Timestamp;

/// An issuer and what its signatures are checked with: built once, shared by all requests.
pub struct LegacyVerifier {
    issuer: LegacyIssuer,
    checks: HashMap<&'static str, Check>,
    weak: Option<WeakSecret>,
}

/// A secret that is shorter than the hash it goes into (RFC 7518 section 3.2): easier to guess than the hash is to break.
/// Real systems have such, and their tokens are taken until the cut-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeakSecret {
    pub alg: LegacyAlg,
    /// Bytes that there should be.
    pub wanted: usize,
    /// Bytes that there are.
    pub given: usize,
}

impl fmt::Debug for LegacyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegacyVerifier").field("issuer", &self.issuer.name).finish_non_exhaustive()
    }
}

/// A foreign token that names a user and may open a session, or could have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyToken {
    /// SHA-256 of what the signature protects. Not of the text: who knows a token can spell its signature in more than
    /// one way (ECDSA has two for every message, some decoders take padding), and a copy is no second token.
    pub hash: [u8; 32],
    /// What its issuer calls the user.
    pub user: String,
    /// Its `iat`.
    pub issued_at: Option<Timestamp>,
    /// When the session began, as far as the token tells.
    pub started_at: Option<Timestamp>,
    /// When the session ends at the latest, where the token tells.
    pub ends_at: Option<Timestamp>,
    /// When it expires, leeway included.
    pub expires_at: Timestamp,
    /// Why it opens no session any more.
    pub lapsed: Option<Reason>,
}

/// What a text turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Examined<'a> {
    /// No issuer's signature is good, or it is no JWT at all: nothing of it is believed.
    Nobodys,
    /// Some issuer's, and not taken.
    Refused {
        issuer: &'a LegacyIssuer,
        hash: [u8; 32],
        refusal: LegacyRefusal,
    },
    Taken {
        issuer: &'a LegacyIssuer,
        token: LegacyToken,
    },
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<Value>,
    #[serde(default)]
    kid: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
}

/// What tells Latchkey's own tokens from the former system's, whose imported key signs them by now.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// Latchkey's `iss`, which may be the former system's as well.
    pub issuer: &'a str,
    /// Whether a key of that name is or was Latchkey's.
    pub knows: &'a dyn Fn(&str) -> bool,
}

impl Own<'_> {
    /// An access token by its type; whatever else we sign by the key that it names and the issuer in it.
    fn wrote(&self, header: &Header, claims: &Map<String, Value>) -> bool {
        let named = header.kid.as_ref().and_then(Value::as_str);
        header.typ.as_ref().and_then(Value::as_str).is_some_and(is_access_token_type)
            || (named.is_some_and(self.knows) && claims.get("iss").and_then(Value::as_str) == Some(self.issuer))
    }
}

/// Every issuer, and the key that sessions are derived with.
pub struct LegacyIssuers {
    issuers: Vec<LegacyVerifier>,
    key: Secret32,
}

/// None, and so nothing to derive from.
impl Default for LegacyIssuers {
    fn default() -> Self {
        Self { issuers: Vec::new(), key: Secret32::new([0; 32]) }
    }
}

impl fmt::Debug for LegacyIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LegacyIssuers").field(&self.issuers).finish()
    }
}

impl LegacyVerifier {
    /// # Errors
    /// The key is none for one of the issuer's algorithms.
    pub fn new(issuer: LegacyIssuer, key: &LegacyKey) -> Result<Self, LegacyKeyFault> {
        if let LegacyKey::Secret(secret) = key {
            if secret.is_empty() {
                return Err(LegacyKeyFault::Empty);
            }
            if secret.windows(10).any(|window| window == b"-----BEGIN") {
                return Err(LegacyKeyFault::PemAsSecret);
            }
        }
        let checks = issuer.algorithms.iter().map(|alg| Ok((alg.as_str(), Check::new(*alg, key)?)));
        let checks = checks.collect::<Result<_, _>>()?;
        let weak = match key {
            LegacyKey::Secret(secret) => issuer.algorithms.iter().find_map(|alg| {
                let wanted = alg.wanted_secret().filter(|wanted| secret.len() < *wanted)?;
                Some(WeakSecret { alg: *alg, wanted, given: secret.len() })
            }),
            LegacyKey::Public(_) => None,
        };
        Ok(Self { issuer, checks, weak })
    }

    pub const fn weak_secret(&self) -> Option<WeakSecret> {
        self.weak
    }

    pub const fn issuer(&self) -> &LegacyIssuer {
        &self.issuer
    }
}

impl LegacyIssuers {
    /// `key` is the same after a restart and on every node.
    pub fn new(issuers: Vec<LegacyVerifier>, key: Secret32) -> Self {
        Self { issuers, key }
    }

    pub fn iter(&self) -> impl Iterator<Item = &LegacyIssuer> {
        self.issuers.iter().map(LegacyVerifier::issuer)
    }

    /// The id of the session that a token opens, and that session's first refresh secret.
    pub fn derive(&self, hash: &[u8; 32]) -> (SessionId, Secret32) {
        let mut id = [0; 16];
        id.copy_from_slice(&derived(&self.key, b"session", hash)[..16]);
        (SessionId::from_bytes(id), Secret32::new(derived(&self.key, b"secret", hash)))
    }

    /// Finds out whose the token is. Where several issuers share a key, the first that takes it has it.
    pub fn examine(&self, own: Own<'_>, client_id: &ClientId, token: &str, now: Timestamp) -> Examined<'_> {
        let Some(parsed) = Parsed::of(token) else { return Examined::Nobodys };
        let mut refused = None;
        for LegacyVerifier { issuer, checks, .. } in &self.issuers {
            let check = checks.get(parsed.header.alg.as_str());
            if !check.is_some_and(|check| check.holds(parsed.message.as_bytes(), &parsed.signature)) {
                continue;
            }
            match judge(issuer, own, client_id, &parsed, now) {
                Ok(token) => return Examined::Taken { issuer, token },
                // One whose conditions it fails may come before the one that it is meant for.
                Err(refusal) => {
                    let hash = sha256(parsed.message.as_bytes());
                    refused = refused.or(Some(Examined::Refused { issuer, hash, refusal }));
                }
            }
        }
        refused.unwrap_or(Examined::Nobodys)
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn derived(key: &Secret32, label: &[u8], hash: &[u8; 32]) -> [u8; 32] {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose()).expect("HMAC takes keys of every length");
    mac.chain_update(label).chain_update(hash).finalize().into_bytes().into()
}

/// A token taken apart, its signature not yet checked.
struct Parsed<'t> {
    header: Header,
    message: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Parsed<'t> {
    fn of(token: &'t str) -> Option<Self> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let decode = |segment: &str| URL_SAFE_NO_PAD.decode(segment).ok();
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit || header.b64 {
            return None;
        }
        Some(Self { header, message, payload: decode(payload)?, signature: decode(signature)? })
    }
}

#[cfg(test)]
mod tests;
