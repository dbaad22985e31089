//! Verifying an access token as a third party would: the published key set and the p256 crate, none of Latchkey's own
//! signing code.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use serde_json::Value;

use crate::domain::time::Timestamp;

/// A token whose signature, issuer and expiry were checked.
#[derive(Debug)]
pub(super) struct Checked {
    pub kid: String,
    pub claims: Value,
}

/// Verifies an ES256 access token (RFC 7515, RFC 9068) by a key set (RFC 7517).
///
/// # Errors
/// What is wrong with the token, or that the set does not hold its key.
pub(super) fn verify(token: &str, jwks: &Value, issuer: &str, now: Timestamp) -> Result<Checked> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        bail!("a JWT has three parts")
    };
    let signed = &token[..header.len() + 1 + payload.len()];
    let (header, claims) = (json(header).context("the header")?, json(payload).context("the claims")?);
    ensure!(header["alg"] == "ES256", "the algorithm is {}, not ES256", header["alg"]);
    ensure!(header["typ"] == "at+jwt", "the type is {}, not at+jwt", header["typ"]);
    let kid = header["kid"].as_str().context("the header names no kid")?;
    let keys = jwks["keys"].as_array().context("the key set has no keys")?;
    let key = keys.iter().find(|key| key["kid"] == kid).with_context(|| format!("the key set holds no kid {kid}"))?;
    let signature = Signature::from_slice(&bytes(signature)?).context("the signature is not two 32-byte numbers")?;
    verifying_key(key)?.verify(signed.as_bytes(), &signature).context("the signature does not match")?;
    ensure!(claims["iss"] == issuer, "the issuer is {}, not {issuer}", claims["iss"]);
    let expires = claims["exp"].as_i64().context("there is no exp")?;
    ensure!(now.seconds() < expires, "it has expired");
    Ok(Checked { kid: kid.to_owned(), claims })
}

/// The public key of an EC JWK on P-256 (RFC 7518 section 6.2).
fn verifying_key(key: &Value) -> Result<VerifyingKey> {
    ensure!(key["kty"] == "EC" && key["crv"] == "P-256", "the key is not on P-256");
    let coordinate = |name: &str| bytes(key[name].as_str().unwrap_or_default());
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    VerifyingKey::from_sec1_bytes(&point).context("the key is no point of the curve")
}

fn json(part: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&bytes(part)?)?)
}

fn bytes(part: &str) -> Result<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(part)?)
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_good_token_passes_and_every_change_is_seen() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = |header: Value, claims: Value| {
            let signed = format!("{}.{}", encode(&header), encode(&claims));
            let signature: Signature = key.sign(signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
        };
        let point = key.verifying_key().to_sec1_point(false);
        let coordinate = |at: usize| URL_SAFE_NO_PAD.encode(&point.as_bytes()[at..at + 32]);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": coordinate(1), "y": coordinate(33)});
        let jwks = json!({ "keys": [jwk] });
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k"});
        let claims = json!({"iss": "http://here", "exp": 2_000});
        let good = token(header.clone(), claims.clone());
        let check = |token: &str, at: i64| verify(token, &jwks, "http://here", Timestamp::from_seconds(at));
        assert_eq!(check(&good, 1_999).unwrap().kid, "k");
        assert!(check(&good, 2_000).unwrap_err().to_string().contains("expired"));
        let mut forged = good.clone().into_bytes();
        let at = good.find('.').unwrap() + 3;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert!(check(&String::from_utf8(forged).unwrap(), 1).is_err());
        let other = token(json!({"alg": "ES256", "typ": "at+jwt", "kid": "lost"}), claims.clone());
        assert!(check(&other, 1).unwrap_err().to_string().contains("no kid lost"));
        let other = token(json!({"alg": "none", "typ": "at+jwt", "kid": "k"}), claims);
        assert!(check(&other, 1).unwrap_err().to_string().contains("not ES256"));
        let other = token(header, json!({"iss": "http://there", "exp": 2_000}));
        assert!(check(&other, 1).unwrap_err().to_string().contains("not http://here"));
    }
}
