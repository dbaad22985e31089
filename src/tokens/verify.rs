//! Verifying what Latchkey signed, access tokens above all (RFC 7515 section 5.2, RFC 8725, RFC 9068 section 4).
//!
//! The key decides the algorithm, never the token (RFC 8725 section 3.1); key material or references in a header
//! (`jwk`, `jku`, `x5u`, `x5c`) are not looked at; nothing of the payload is believed before the signature holds.

use std::borrow::Borrow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};

use super::claims::AccessClaims;
use crate::domain::ids::Kid;
use crate::domain::key::Alg;
use crate::domain::time::Timestamp;
use crate::keys::{Snapshot, VerifierSlot};

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
}

impl Verified {
    pub fn expires_at(&self) -> Timestamp {
        self.claims.exp
    }
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
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Verifies `token` as an access token of `issuer` with the keys of `snapshot`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(snapshot: &Snapshot, issuer: &str, token: &str, now: Timestamp) -> Result<Verified, TokenFault> {
    verify_within(snapshot, issuer, token, now, Duration::ZERO)
}

/// The same, up to `leeway` after the token's `exp`. Beyond [`CLOCK_SKEW`] its key may be gone and its revocation
/// forgotten.
///
/// # Errors
/// As [`verify`].
pub fn verify_within(
    snapshot: &Snapshot,
    issuer: &str,
    token: &str,
    now: Timestamp,
    leeway: Duration,
) -> Result<Verified, TokenFault> {
    let Opened { key, typ, payload } = open(token, |kid| snapshot.verifier(kid))?;
    if !typ.as_deref().is_some_and(is_access_token_type) {
        return Err(TokenFault::WrongType);
    }
    let claims = AccessClaims::parse(&payload).map_err(|_| TokenFault::Malformed)?;
    check_claims(&claims, issuer, key.longest_ttl(), Moment { now, leeway })?;
    Ok(Verified { claims, kid: key.kid().clone(), alg: key.alg() })
}

/// A text whose signature holds. What it is, its type tells.
pub(super) struct Opened<K> {
    /// The key that signed it.
    pub key: K,
    pub typ: Option<String>,
    pub payload: Vec<u8>,
}

/// Opens a compact JWS that a key of ours signed; `key` finds it by its name.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn open<K: Borrow<VerifierSlot>>(
    token: &str,
    key: impl FnOnce(&str) -> Option<K>,
) -> Result<Opened<K>, TokenFault> {
    if token.len() > LONGEST_TOKEN {
        return Err(TokenFault::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed)?;
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenFault::Malformed)?;
    if header.crit || header.b64 || header.kid.len() > LONGEST_KID {
        return Err(TokenFault::Malformed);
    }
    let Some(key) = key(&header.kid) else {
        return Err(TokenFault::UnknownKid(Kid::new(header.kid)));
    };
    if header.alg != key.borrow().alg().as_str() {
        return Err(TokenFault::WrongAlg);
    }
    // A payload with a dot in it is no base64url.
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    if !key.borrow().verify(message.as_bytes(), &signature) {
        return Err(TokenFault::BadSignature);
    }
    Ok(Opened { key, typ: header.typ, payload })
}

/// When a token is looked at, and how long after its end it counts.
struct Moment {
    now: Timestamp,
    leeway: Duration,
}

fn check_claims(
    claims: &AccessClaims,
    issuer: &str,
    longest_ttl: Duration,
    Moment { now, leeway }: Moment,
) -> Result<(), TokenFault> {
    if claims.iss != issuer {
        return Err(TokenFault::WrongIssuer);
    }
    if now >= claims.exp.plus(leeway) {
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
pub(super) fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::SigningSlot;
    use crate::keys::plan::Request;
    use crate::keys::testing::{START, TTL, carry_out, masters, snapshot, table};
    use crate::tokens::mint::mint;
    use crate::tokens::testing::{ISSUER, claims, json_text, sign};

    fn header(slot: &SigningSlot) -> String {
        format!(r#"{{"alg":"{}","typ":"at+jwt","kid":"{}"}}"#, slot.alg(), slot.kid())
    }

    fn fault(keys: &Snapshot, token: &str) -> TokenFault {
        verify(keys, ISSUER, token, START).unwrap_err()
    }

    /// What a signed token with this header is refused for.
    fn header_fault(change: impl Fn(String) -> String) -> TokenFault {
        let keys = snapshot();
        let slot = keys.active(Alg::ES256).unwrap();
        let payload = serde_json::to_string(&claims()).unwrap();
        fault(&keys, &sign(slot, &change(header(slot)), &payload))
    }

    fn claims_fault(claims: AccessClaims) -> TokenFault {
        let keys = snapshot();
        let slot = keys.active(Alg::ES256).unwrap();
        fault(&keys, &sign(slot, &header(slot), &serde_json::to_string(&claims).unwrap()))
    }

    #[test]
    fn what_was_minted_verifies() {
        let keys = snapshot();
        for alg in Alg::ALL {
            let slot = keys.active(alg).unwrap();
            let token = mint(slot, &claims()).unwrap();
            let verified = verify(&keys, ISSUER, &token, START).unwrap();
            assert_eq!(verified, Verified { claims: claims(), kid: slot.kid().clone(), alg });
            assert_eq!(verified.expires_at(), START.plus(TTL));
        }
    }

    #[test]
    fn times_are_checked_to_the_millisecond() {
        let keys = snapshot();
        let token = mint(keys.active(Alg::ES256).unwrap(), &claims()).unwrap();
        let at = |now| verify(&keys, ISSUER, &token, now).map(|_| ());
        let second = Duration::from_millis(1);
        assert_eq!(at(START.plus(TTL).minus(second)), Ok(()));
        assert_eq!(at(START.plus(TTL)), Err(TokenFault::Expired));
        assert_eq!(at(START.minus(CLOCK_SKEW)), Ok(()));
        assert_eq!(at(START.minus(CLOCK_SKEW).minus(second)), Err(TokenFault::NotYet));
    }

    #[test]
    fn a_forged_long_life_gains_nothing() {
        let decade = Duration::from_secs(10 * 365 * 86_400);
        assert_eq!(claims_fault(AccessClaims { exp: START.plus(decade), ..claims() }), TokenFault::TooLong);
        let future = AccessClaims { iat: START.plus(decade), exp: START.plus(decade).plus(TTL), ..claims() };
        assert_eq!(claims_fault(future), TokenFault::NotYet);
    }

    #[test]
    fn another_issuer_and_another_type_are_refused() {
        assert_eq!(claims_fault(AccessClaims { iss: format!("{ISSUER}/"), ..claims() }), TokenFault::WrongIssuer);
        assert_eq!(header_fault(|header| header.replace("at+jwt", "JWT")), TokenFault::WrongType);
        assert_eq!(header_fault(|header| header.replace(r#""typ":"at+jwt","#, "")), TokenFault::WrongType);
        let keys = snapshot();
        let slot = keys.active(Alg::ES256).unwrap();
        let long = header(slot).replace("at+jwt", "application/AT+JWT");
        assert!(verify(&keys, ISSUER, &sign(slot, &long, &serde_json::to_string(&claims()).unwrap()), START).is_ok());
    }

    #[test]
    fn the_key_decides_the_algorithm() {
        for alg in ["none", "None", "HS256", "RS256", "ES384", ""] {
            assert_eq!(header_fault(|header| header.replace("ES256", alg)), TokenFault::WrongAlg, "{alg}");
        }
        // HS256 keyed with the public key, and no signature at all.
        let keys = snapshot();
        let slot = keys.active(Alg::RS256).unwrap();
        let token = mint(slot, &claims()).unwrap();
        let unsigned = &token[..=token.rfind('.').unwrap()];
        assert_eq!(fault(&keys, unsigned), TokenFault::BadSignature);
        assert_eq!(fault(&keys, unsigned.trim_end_matches('.')), TokenFault::Malformed);
    }

    #[test]
    fn games_with_kid_and_key_headers_lead_nowhere() {
        assert_eq!(
            header_fault(|header| header.replace(r#""kid":""#, r#""kid":"../../"#)),
            TokenFault::UnknownKid(Kid::new(format!("../../{}", snapshot_kid())))
        );
        assert_eq!(header_fault(|header| header.replace(r#","kid""#, r#","kid":"x","kid""#)), TokenFault::Malformed);
        assert_eq!(header_fault(|header| header.replace(r#","kid""#, r#","x""#)), TokenFault::Malformed);
        let long = "k".repeat(LONGEST_KID);
        assert_eq!(
            header_fault(|header| header.replace(r#""kid":""#, &format!(r#""kid":"{long}"#))),
            TokenFault::Malformed
        );
        for member in [r#""crit":[]"#, r#""crit":null"#, r#""crit":["exp"]"#, r#""b64":false"#] {
            assert_eq!(header_fault(|header| header.replace('}', &format!(",{member}}}"))), TokenFault::Malformed);
        }

        // A key in the header is not looked at: the signature is checked with the one that `kid` names.
        let keys = snapshot();
        let (ours, theirs) =
            (keys.active(Alg::ES256).unwrap(), Snapshot::build(&other_table(), &masters(), TTL).unwrap());
        let own_key = &theirs.table().signing[0].public_jwk;
        let payload = serde_json::to_string(&claims()).unwrap();
        let forged = header(ours).replace('}', &format!(r#","jwk":{own_key},"jku":"https://evil.example"}}"#));
        let token = sign(theirs.active(Alg::ES256).unwrap(), &forged, &payload);
        assert_eq!(fault(&keys, &token), TokenFault::BadSignature);
    }

    fn snapshot_kid() -> Kid {
        snapshot().active(Alg::ES256).unwrap().kid().clone()
    }

    fn other_table() -> crate::domain::key::KeyTable {
        let mut table = crate::domain::key::KeyTable::default();
        carry_out(&mut table, &Request::Tick, START);
        table
    }

    #[test]
    fn tokens_of_a_compromised_key_are_refused() {
        let token = mint(snapshot().active(Alg::ES256).unwrap(), &claims()).unwrap();
        let mut lost = table();
        carry_out(&mut lost, &Request::Compromise { alg: Alg::ES256, kid: None }, START);
        let keys = Snapshot::build(&lost, &masters(), TTL).unwrap();
        assert_eq!(fault(&keys, &token), TokenFault::UnknownKid(snapshot_kid()));
        assert!(keys.is_compromised(snapshot_kid().as_str()));
    }

    #[test]
    fn odd_signatures_are_refused_without_a_panic() {
        let keys = snapshot();
        for alg in Alg::ALL {
            let token = mint(keys.active(alg).unwrap(), &claims()).unwrap();
            let message = &token[..token.rfind('.').unwrap()];
            for length in [0, 1, 2, 63, 64, 65, 255, 256, 257] {
                for byte in [0, 1, 255] {
                    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(vec![byte; length]));
                    assert_eq!(fault(&keys, &token), TokenFault::BadSignature, "{alg} {length} {byte}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let keys = snapshot();
        let token = mint(keys.active(Alg::ES256).unwrap(), &claims()).unwrap();
        for text in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            "lkr_AAAA",
            &format!("{token}."),
            &format!("{token}="),
            &format!(" {token}"),
        ] {
            assert_eq!(fault(&keys, text), TokenFault::Malformed, "{text}");
        }
        assert_eq!(fault(&keys, &token.replacen('.', "..", 1)), TokenFault::Malformed);
        assert_eq!(fault(&keys, &"a".repeat(LONGEST_TOKEN + 1)), TokenFault::Malformed);
        // 64 bytes leave two bits of the last character over, which have to be zero.
        let (last, rest) = (token.chars().next_back().unwrap(), &token[..token.len() - 1]);
        let stray = char::from(u8::try_from(last).unwrap() + 1);
        assert_eq!(fault(&keys, &format!("{rest}{stray}")), TokenFault::Malformed);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn signed_nonsense_never_panics(exp in json_text("exp"), iat in json_text("exp"), aud in json_text("exp"), scope in json_text("exp"), whole in json_text("exp")) {
            let keys = snapshot();
            let slot = keys.active(Alg::ES256).unwrap();
            let payload = format!(
                r#"{{"iss":"{ISSUER}","sub":"s","aud":{aud},"exp":{exp},"iat":{iat},"jti":"j","client_id":"c","scope":{scope}}}"#
            );
            for payload in [payload, whole] {
                prop_assert!(verify(&keys, ISSUER, &sign(slot, &header(slot), &payload), START).is_err());
            }
        }

        #[test]
        fn any_flipped_bit_is_refused(at in 0..4096_usize, bit in 0..8_u32) {
            let keys = snapshot();
            let token = mint(keys.active(Alg::ES256).unwrap(), &claims()).unwrap();
            let mut bytes = token.into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(verify(&keys, ISSUER, &text, START).is_err());
            }
        }
    }
}
