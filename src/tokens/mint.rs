//! Signing what Latchkey says: JWS compact serialization (RFC 7515 section 7.1) under a prebuilt signer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use serde::Serialize;

use super::claims::AccessClaims;
use crate::domain::time::Timestamp;
use crate::keys::{KeyError, SigningSlot, Typ};

/// Why no token was minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Verification would refuse it everywhere, and the key could leave the key set while it is still valid: record
    /// the lifetime in the store, then in the keyring, then mint.
    #[error("a lifetime of {seconds} s was not recorded for this key before its use")]
    LifetimeNotRecorded { seconds: i64 },
    #[error("the claims are no JSON: {0}")]
    Claims(#[from] serde_json::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Makes an access token of `claims`.
///
/// # Errors
/// `exp - iat` is above the key's [`SigningSlot::longest_ttl`], or the library refuses, which means a defect.
pub fn mint(slot: &SigningSlot, claims: &AccessClaims) -> Result<String, MintError> {
    check_lifetime(slot, claims.iat, claims.exp)?;
    sign(slot, Typ::AccessToken, claims)
}

/// Whether the key is kept for as long as a token of this life may be looked at.
pub(super) fn check_lifetime(slot: &SigningSlot, iat: Timestamp, exp: Timestamp) -> Result<(), MintError> {
    let seconds = exp.seconds().saturating_sub(iat.seconds());
    let recorded = u64::try_from(seconds).is_ok_and(|seconds| seconds <= slot.longest_ttl().as_secs());
    if recorded { Ok(()) } else { Err(MintError::LifetimeNotRecorded { seconds }) }
}

/// Signs `claims` with the key of `slot`. For what has no `exp`; a token's life is held against its key's first.
///
/// # Errors
/// The library refuses, which means a defect.
pub fn sign<T: Serialize>(slot: &SigningSlot, typ: Typ, claims: &T) -> Result<String, MintError> {
    let mut token = signing_input(slot, typ, claims)?;
    let signature = slot.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
    Ok(token)
}

/// What is signed (the JWS Signing Input of RFC 7515 section 2), with room for the signature behind it.
///
/// # Errors
/// The claims have no form in JSON.
pub fn signing_input<T: Serialize>(slot: &SigningSlot, typ: Typ, claims: &T) -> Result<String, serde_json::Error> {
    let header = slot.header(typ);
    let payload = serde_json::to_vec(claims)?;
    // Header, payload, an RSA signature of 2048 bits, two dots: one allocation for nearly every token.
    let mut token = String::with_capacity(header.len() + payload.len().div_ceil(3) * 4 + 344 + 2);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::key::Alg;
    use crate::keys::testing::{START, TTL, snapshot};
    use crate::tokens::testing::claims;

    #[test]
    fn another_library_verifies_an_es256_token() {
        use p256::ecdsa::signature::Verifier as _;
        let keys = snapshot();
        let slot = keys.active(Alg::ES256).unwrap();
        let token = mint(slot, &claims()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();

        let row = keys.table().signing.iter().find(|key| key.kid == *slot.kid()).unwrap();
        let jwk: serde_json::Value = serde_json::from_str(&row.public_jwk).unwrap();
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
        verifier.verify(message.as_bytes(), &p256::ecdsa::Signature::from_slice(&signature).unwrap()).unwrap();
    }

    #[test]
    fn the_header_is_that_of_an_access_token() {
        let keys = snapshot();
        for alg in Alg::ALL {
            let slot = keys.active(alg).unwrap();
            let token = mint(slot, &claims()).unwrap();
            let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
            let expected = format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{}"}}"#, slot.kid());
            assert_eq!(String::from_utf8(header).unwrap(), expected);
        }
    }

    #[test]
    fn a_lifetime_that_was_not_recorded_is_not_minted() {
        let keys = snapshot();
        let slot = keys.active(Alg::ES256).unwrap();
        let longer = AccessClaims { exp: START.plus(TTL + Duration::from_secs(1)), ..claims() };
        assert!(matches!(mint(slot, &longer).unwrap_err(), MintError::LifetimeNotRecorded { seconds: 601 }));
        let backwards = AccessClaims { exp: START.minus(TTL), ..claims() };
        assert!(mint(slot, &backwards).is_err());
    }
}
