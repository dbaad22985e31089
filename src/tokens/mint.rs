//! Minting access tokens: JWS compact serialization (RFC 7515 section 7.1) under a prebuilt signer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::AccessClaims;
use crate::keys::{KeyError, SigningSlot};

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

/// Signs `claims` with the key of `slot`.
///
/// # Errors
/// `exp - iat` is above the key's [`SigningSlot::longest_ttl`], or the library refuses, which means a defect.
pub fn mint(slot: &SigningSlot, claims: &AccessClaims) -> Result<String, MintError> {
    let seconds = claims.exp.seconds().saturating_sub(claims.iat.seconds());
    if u64::try_from(seconds).map_or(true, |seconds| seconds > slot.longest_ttl().as_secs()) {
        return Err(MintError::LifetimeNotRecorded { seconds });
    }
    let payload = serde_json::to_vec(claims)?;
    // Header, payload, an RSA signature of 2048 bits, two dots: one allocation for nearly every token.
    let mut token = String::with_capacity(slot.header().len() + payload.len().div_ceil(3) * 4 + 344 + 2);
    token.push_str(slot.header());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
    let signature = slot.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
    Ok(token)
}
