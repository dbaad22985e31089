//! The keys of other systems: which of them is one for which algorithm (RFC 8725 sections 3.1 and 3.2), and what it checks.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use josekit::jws::{ES256, ES384, ES512, JwsVerifier, PS256, PS384, PS512, RS256, RS384, RS512};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::domain::legacy::LegacyAlg;

/// What an issuer's signatures are checked with.
pub enum LegacyKey {
    Secret(Zeroizing<Vec<u8>>),
    /// A public key in PEM.
    Public(String),
}

impl fmt::Debug for LegacyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LegacyKey(..)")
    }
}

/// A key that is none for its algorithms.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegacyKeyFault {
    #[error("it is empty")]
    Empty,
    #[error("it is a PEM, which is no secret: a public key taken for one lets anybody sign")]
    PemAsSecret,
    #[error("{0} takes another kind of key")]
    WrongKind(&'static str),
    #[error("it is no public key for {alg} in PEM: {cause}")]
    NotAKey { alg: &'static str, cause: String },
}

/// One way to check a signature.
#[derive(Clone)]
pub(super) enum Check {
    Hs256(Hmac<Sha256>),
    Hs384(Hmac<Sha384>),
    Hs512(Hmac<Sha512>),
    Public(Arc<dyn JwsVerifier>),
}

impl Check {
    /// # Errors
    /// The key is none for the algorithm.
    pub(super) fn new(alg: LegacyAlg, key: &LegacyKey) -> Result<Self, LegacyKeyFault> {
        let wrong = || LegacyKeyFault::WrongKind(alg.as_str());
        match (alg.wanted_secret(), key) {
            (Some(_), LegacyKey::Secret(secret)) => Self::of_secret(alg, secret).ok_or_else(wrong),
            (None, LegacyKey::Public(pem)) => {
                let not_a_key =
                    |error: josekit::JoseError| LegacyKeyFault::NotAKey { alg: alg.as_str(), cause: error.to_string() };
                Ok(Self::Public(public(alg, pem.as_bytes()).ok_or_else(wrong)?.map_err(not_a_key)?))
            }
            _ => Err(wrong()),
        }
    }

    fn of_secret(alg: LegacyAlg, secret: &[u8]) -> Option<Self> {
        // HMAC takes keys of every length.
        match alg {
            LegacyAlg::Hs256 => Hmac::new_from_slice(secret).ok().map(Self::Hs256),
            LegacyAlg::Hs384 => Hmac::new_from_slice(secret).ok().map(Self::Hs384),
            LegacyAlg::Hs512 => Hmac::new_from_slice(secret).ok().map(Self::Hs512),
            _ => None,
        }
    }

    pub(super) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        fn mac_holds<M: Mac + Clone>(mac: &M, message: &[u8], signature: &[u8]) -> bool {
            mac.clone().chain_update(message).verify_slice(signature).is_ok()
        }
        match self {
            Self::Hs256(mac) => mac_holds(mac, message, signature),
            Self::Hs384(mac) => mac_holds(mac, message, signature),
            Self::Hs512(mac) => mac_holds(mac, message, signature),
            Self::Public(verifier) => verifier.verify(message, signature).is_ok(),
        }
    }
}

/// `None` where the algorithm takes a secret.
fn public(alg: LegacyAlg, pem: &[u8]) -> Option<Result<Arc<dyn JwsVerifier>, josekit::JoseError>> {
    fn shared<V: JwsVerifier + 'static>(
        verifier: Result<V, josekit::JoseError>,
    ) -> Option<Result<Arc<dyn JwsVerifier>, josekit::JoseError>> {
        Some(verifier.map(|verifier| Arc::new(verifier) as _))
    }
    match alg {
        LegacyAlg::Hs256 | LegacyAlg::Hs384 | LegacyAlg::Hs512 => None,
        LegacyAlg::Rs256 => shared(RS256.verifier_from_pem(pem)),
        LegacyAlg::Rs384 => shared(RS384.verifier_from_pem(pem)),
        LegacyAlg::Rs512 => shared(RS512.verifier_from_pem(pem)),
        // Of a PEM the library takes no plain RSA key, which is what people have.
        LegacyAlg::Ps256 => shared(PS256.verifier_from_der(der_of(pem))),
        LegacyAlg::Ps384 => shared(PS384.verifier_from_der(der_of(pem))),
        LegacyAlg::Ps512 => shared(PS512.verifier_from_der(der_of(pem))),
        LegacyAlg::Es256 => shared(ES256.verifier_from_pem(pem)),
        LegacyAlg::Es384 => shared(ES384.verifier_from_pem(pem)),
        LegacyAlg::Es512 => shared(ES512.verifier_from_pem(pem)),
    }
}

/// What is between the lines of dashes; nothing where that is no base64.
fn der_of(pem: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(pem);
    let body = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let body: String = body.take_while(|line| !line.starts_with("-----END")).collect();
    STANDARD.decode(body).unwrap_or_default()
}
