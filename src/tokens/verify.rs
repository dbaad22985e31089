//! Verifying access tokens (RFC 7515 section 5.2, RFC 8725, RFC 9068 section 4).
//!
//! The key decides the algorithm, never the token (RFC 8725 section 3.1); key material or references in a header
//! (`jwk`, `jku`, `x5u`, `x5c`) are not looked at; nothing of the payload is believed before the signature holds.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};

use super::claims::AccessClaims;
use crate::domain::ids::Kid;
use crate::domain::key::Alg;
use crate::domain::time::Timestamp;
use crate::keys::Snapshot;

/// The longest token looked at, in bytes.
pub const LONGEST_TOKEN: usize = 16 * 1024;

/// How far ahead of this node's clock an `iat` may be.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// A thumbprint has 43 characters; a `kid` far beyond that is nobody's.
const LONGEST_KID: usize = 128;

/// A token whose signature holds and whose time has come and not passed. Whether it was revoked is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub claims: AccessClaims,
    pub kid: Kid,
    pub alg: Alg,
    pub expires_at: Timestamp,
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("not an access token of RFC 9068")]
    Malformed,
    /// No standby, active or retiring key of this revision: look the key up in the database before answering.
    #[error("no key {0:?}")]
    UnknownKid(Kid),
    #[error("another algorithm than its key's")]
    WrongAlg,
    #[error("the signature does not hold")]
    BadSignature,
    /// Signed by us, and something else than an access token (RFC 8725 section 3.11).
    #[error("the type is not at+jwt")]
    WrongType,
    #[error("another issuer's")]
    WrongIssuer,
    #[error("expired")]
    Expired,
    /// It lives longer than any token its key was recorded to sign. Another node may have recorded more since.
    #[error("a longer lifetime than its key was used with")]
    TooLong,
    #[error("issued in the future")]
    NotYet,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    typ: Option<String>,
    /// RFC 7515 section 4.1.11: an extension that must be understood; none is.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    /// RFC 7797: an unencoded payload; not taken.
    #[serde(default, deserialize_with = "present")]
    b64: bool,
}

/// True where the member is there at all, whatever its value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Verifies `token` as an access token of `issuer` with the keys of `snapshot`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(snapshot: &Snapshot, issuer: &str, token: &str, now: Timestamp) -> Result<Verified, TokenFault> {
    if token.len() > LONGEST_TOKEN {
        return Err(TokenFault::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed)?;
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenFault::Malformed)?;
    if header.crit || header.b64 || header.kid.len() > LONGEST_KID {
        return Err(TokenFault::Malformed);
    }
    let Some(key) = snapshot.verifier(&header.kid) else {
        return Err(TokenFault::UnknownKid(Kid::new(header.kid)));
    };
    if header.alg != key.alg().as_str() {
        return Err(TokenFault::WrongAlg);
    }
    // A payload with a dot in it is no base64url.
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    if !key.verify(message.as_bytes(), &signature) {
        return Err(TokenFault::BadSignature);
    }

    if !header.typ.as_deref().is_some_and(is_access_token_type) {
        return Err(TokenFault::WrongType);
    }
    let claims = AccessClaims::parse(&payload).map_err(|_| TokenFault::Malformed)?;
    check_claims(&claims, issuer, key.longest_ttl(), now)?;
    Ok(Verified { expires_at: claims.exp, claims, kid: key.kid().clone(), alg: key.alg() })
}

fn check_claims(claims: &AccessClaims, issuer: &str, longest_ttl: Duration, now: Timestamp) -> Result<(), TokenFault> {
    if claims.iss != issuer {
        return Err(TokenFault::WrongIssuer);
    }
    if now >= claims.exp {
        return Err(TokenFault::Expired);
    }
    if claims.exp > claims.iat.plus(longest_ttl) {
        return Err(TokenFault::TooLong);
    }
    if claims.iat > now.plus(CLOCK_SKEW) {
        return Err(TokenFault::NotYet);
    }
    Ok(())
}

/// Strict base64url: no padding, no white space, no stray trailing bits.
fn decode(segment: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenFault::Malformed)
}

/// RFC 9068 section 2.1, with or without the `application/` that RFC 7515 section 4.1.9 lets out.
fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}
