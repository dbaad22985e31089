//! Making keys: RSA-2048 and P-256 pairs (FIPS 186-5), and the chain and tag keys of refresh tokens.
//!
//! An RSA pair takes 50 to 100 ms of one core: call from a blocking thread, ahead of need.

use std::convert::Infallible;
use std::fmt;

use p256::pkcs8::EncodePrivateKey as _;
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use super::error::KeyError;
use super::jwk::PublicJwk;
use crate::domain::ids::Kid;
use crate::domain::key::Alg;
use crate::domain::sources::Entropy;

/// The size of generated RSA keys, and the least that an imported one may have.
pub const RSA_BITS: usize = 2048;

/// A key pair that is not sealed yet.
pub struct GeneratedKey {
    /// The RFC 7638 thumbprint of the public half.
    pub kid: Kid,
    pub alg: Alg,
    /// The public half as it is published.
    pub public_jwk: String,
    /// The private half, PKCS#8 DER (RFC 5958).
    pub private_der: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for GeneratedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedKey").field("kid", &self.kid).field("alg", &self.alg).finish_non_exhaustive()
    }
}

/// Makes a new key pair for `alg`.
///
/// # Errors
/// The library made none, which means a defect.
pub fn generate(alg: Alg, entropy: &dyn Entropy) -> Result<GeneratedKey, KeyError> {
    let mut rng = EntropyRng(entropy);
    match alg {
        Alg::ES256 => {
            use p256::elliptic_curve::Generate as _;
            let key = p256::SecretKey::generate_from_rng(&mut rng);
            of_p256(&key).map_err(|cause| KeyError::Generation { what: "P-256 key", cause })
        }
        Alg::RS256 => rsa::PrivateKey::new(&mut rng, RSA_BITS)
            .map_err(|error| error.to_string())
            .and_then(|key| of_rsa(&key))
            .map_err(|cause| KeyError::Generation { what: "RSA key", cause }),
    }
}

/// Makes the keys of a new refresh version: the chain key, then the tag key.
pub fn generate_refresh(entropy: &dyn Entropy) -> Zeroizing<[u8; 64]> {
    let mut keys = Zeroizing::new([0; 64]);
    entropy.fill(keys.as_mut_slice());
    keys
}

pub(super) fn of_p256(key: &p256::SecretKey) -> Result<GeneratedKey, String> {
    let public = PublicJwk::of_p256(&key.public_key()).ok_or("its public half is the point at infinity")?;
    let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
    Ok(of_parts(&public, der.as_bytes()))
}

pub(super) fn of_rsa(key: &rsa::PrivateKey) -> Result<GeneratedKey, String> {
    let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
    Ok(of_parts(&PublicJwk::of_rsa(key.as_public_key()), der.as_bytes()))
}

fn of_parts(public: &PublicJwk, der: &[u8]) -> GeneratedKey {
    GeneratedKey {
        kid: public.thumbprint(),
        alg: public.alg(),
        public_jwk: public.to_json(),
        private_der: Zeroizing::new(der.to_vec()),
    }
}

/// The injected entropy, as the key libraries want it.
pub(super) struct EntropyRng<'a>(pub(super) &'a dyn Entropy);

impl TryRng for EntropyRng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for EntropyRng<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sources::SystemEntropy;

    #[test]
    fn generated_keys_are_what_they_say() {
        for alg in Alg::ALL {
            let key = generate(alg, &SystemEntropy).unwrap();
            assert_eq!(key.alg, alg);
            assert!(key.public_jwk.contains(key.kid.as_str()));
            assert!(!format!("{key:?}").contains("private"));
            assert_ne!(key.kid, generate(alg, &SystemEntropy).unwrap().kid);
        }
    }
}
