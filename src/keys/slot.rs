//! One key, ready for use: signers and verifiers are built once and shared, for building one costs 4 to 20 times as
//! much as a signature.
//!
//! josekit (OpenSSL) computes the signatures of RFC 7518 sections 3.3 and 3.4; no other part of it is used here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use josekit::jwk::Jwk;
use josekit::jws::{ES256, JwsSigner, JwsVerifier, RS256};
use sha2::Sha256;

use super::error::KeyError;
use crate::domain::ids::{Kid, SessionId};
use crate::domain::key::{Alg, SigningKey};
use crate::domain::secret::Secret32;

/// What a signed text says that it is, in `typ` (RFC 8725 section 3.11): no kind is ever taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typ {
    /// RFC 9068 section 2.1.
    AccessToken,
    /// An ID token or a signed userinfo answer, for which OpenID Connect names no type of their own.
    Jwt,
    /// Back-Channel Logout section 2.4.
    LogoutToken,
}

impl Typ {
    /// In the order of their declaration.
    const ALL: [Self; 3] = [Self::AccessToken, Self::Jwt, Self::LogoutToken];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "at+jwt",
            Self::Jwt => "JWT",
            Self::LogoutToken => "logout+jwt",
        }
    }
}

/// What takes time to build, shared by all snapshots that hold the key.
#[derive(Clone)]
pub(super) struct Material {
    pub(super) verifier: Arc<dyn JwsVerifier>,
    /// Only while the key signs or is about to.
    pub(super) signer: Option<Signer>,
}

#[derive(Clone)]
pub(super) struct Signer {
    signer: Arc<dyn JwsSigner>,
    /// The JOSE header of each [`Typ`], in base64url.
    headers: [Arc<str>; Typ::ALL.len()],
}

/// A key that signs.
#[derive(Clone)]
pub struct SigningSlot {
    kid: Kid,
    alg: Alg,
    signer: Signer,
    longest_ttl: Duration,
}

/// A key that verifies.
#[derive(Clone)]
pub struct VerifierSlot {
    kid: Kid,
    alg: Alg,
    verifier: Arc<dyn JwsVerifier>,
    longest_ttl: Duration,
}

/// One version of the refresh keys, opened.
pub(super) struct RefreshSlot {
    chain: Secret32,
    tag: Secret32,
}

impl SigningSlot {
    pub(super) fn new(key: &SigningKey, material: &Material) -> Option<Self> {
        let signer = material.signer.clone()?;
        Some(Self { kid: key.kid.clone(), alg: key.alg, signer, longest_ttl: key.longest_ttl })
    }

    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// The JOSE header of what it signs, in base64url.
    pub fn header(&self, typ: Typ) -> &str {
        &self.signer.headers[typ as usize]
    }

    /// The longest lifetime that was durably recorded for its tokens. A longer one is raised in the store and then in
    /// the keyring ([`super::Keyring::raise_ttl`]) before a token has it.
    pub fn longest_ttl(&self) -> Duration {
        self.longest_ttl
    }

    /// The signature of `message` as RFC 7515 wants it.
    ///
    /// # Errors
    /// The library refuses, which means a defect.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.signer
            .signer
            .sign(message)
            .map_err(|error| KeyError::Signature { kid: self.kid.to_string(), cause: error.to_string() })
    }
}

impl fmt::Debug for SigningSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningSlot").field("kid", &self.kid).field("alg", &self.alg).finish_non_exhaustive()
    }
}

impl VerifierSlot {
    pub(super) fn new(key: &SigningKey, material: &Material) -> Self {
        Self {
            kid: key.kid.clone(),
            alg: key.alg,
            verifier: Arc::clone(&material.verifier),
            longest_ttl: key.longest_ttl,
        }
    }

    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The only algorithm that its signatures are checked with, whatever a token says.
    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// The longest lifetime of any token it signed.
    pub fn longest_ttl(&self) -> Duration {
        self.longest_ttl
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verify(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifierSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierSlot").field("kid", &self.kid).field("alg", &self.alg).finish_non_exhaustive()
    }
}

impl Material {
    pub(super) fn verifier_of(key: &SigningKey) -> Result<Arc<dyn JwsVerifier>, KeyError> {
        let unusable = |error| KeyError::unusable(format!("the public half of {} key {}", key.alg, key.kid), error);
        let jwk = Jwk::from_bytes(&key.public_jwk).map_err(unusable)?;
        Ok(match key.alg {
            Alg::ES256 => Arc::new(ES256.verifier_from_jwk(&jwk).map_err(unusable)?),
            Alg::RS256 => Arc::new(RS256.verifier_from_jwk(&jwk).map_err(unusable)?),
        })
    }
}

impl Signer {
    pub(super) fn new(kid: &Kid, alg: Alg, private_der: &[u8]) -> Result<Self, KeyError> {
        let unusable = |error| KeyError::unusable(format!("the private half of {alg} key {kid}"), error);
        let signer: Arc<dyn JwsSigner> = match alg {
            Alg::ES256 => Arc::new(ES256.signer_from_der(private_der).map_err(unusable)?),
            Alg::RS256 => Arc::new(RS256.signer_from_der(private_der).map_err(unusable)?),
        };
        // A kid is a thumbprint, 43 characters of base64url: nothing in it needs escaping.
        let headers = Typ::ALL.map(|typ| {
            let json = format!(r#"{{"alg":"{alg}","typ":"{}","kid":"{kid}"}}"#, typ.as_str());
            URL_SAFE_NO_PAD.encode(json).into()
        });
        Ok(Self { signer, headers })
    }
}

impl RefreshSlot {
    /// Takes the chain key and the tag key, 32 bytes each; `None` where that is not what they are.
    pub(super) fn new(keys: &[u8]) -> Option<Self> {
        let keys: &[u8; 64] = keys.try_into().ok()?;
        let (chain, tag) = keys.split_at(32);
        Some(Self { chain: Secret32::new(chain.try_into().ok()?), tag: Secret32::new(tag.try_into().ok()?) })
    }

    /// HMAC-SHA256(chain key, session id | generation, big endian | secret).
    pub(super) fn successor(&self, session: SessionId, generation: u32, secret: &Secret32) -> Secret32 {
        let mut mac = keyed(&self.chain);
        mac.update(session.as_bytes());
        mac.update(&generation.to_be_bytes());
        mac.update(secret.expose());
        Secret32::new(mac.finalize().into_bytes().into())
    }

    /// HMAC-SHA256(tag key, body), truncated to 16 bytes.
    pub(super) fn tag(&self, body: &[u8]) -> [u8; 16] {
        let mut mac = keyed(&self.tag);
        mac.update(body);
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut tag = [0; 16];
        tag.copy_from_slice(&whole[..16]);
        tag
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn keyed(key: &Secret32) -> Hmac<Sha256> {
    Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of every length")
}
