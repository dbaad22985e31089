//! The keys that clients prove themselves with (OIDC Core section 9, RFC 7523): a JWK Set (RFC 7517) as it is registered
//! or fetched, judged before anything is believed of it.
//!
//! Of a key only the public members are kept that a verifier needs. What a client registers is refused as a whole where
//! one key is of no use; of what it publishes by itself only the keys of use are taken (RFC 7517 section 5), and nothing
//! that its private half was published of.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Keys in a set, at most: an assertion that names no `kid` is tried with all of them.
pub const MOST_KEYS: usize = 20;

/// Bits of an RSA modulus. A longer one makes every verification costly.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Bytes of an RSA exponent at most; it is 65537 nearly everywhere.
const LONGEST_EXPONENT: usize = 4;

/// Bytes of a `kid` at most.
const LONGEST_KID: usize = 255;

/// Members that say more than a public key does (RFC 7518 sections 6.2.2 and 6.3.2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// How a client signs its assertions (RFC 7518 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AssertionAlg {
    RS256,
    PS256,
    ES256,
    /// With the client's secret.
    HS256,
}

impl AssertionAlg {
    pub const ALL: [Self; 4] = [Self::RS256, Self::PS256, Self::ES256, Self::HS256];

    /// Those of `private_key_jwt`.
    pub const WITH_A_KEY: [Self; 3] = [Self::RS256, Self::PS256, Self::ES256];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::HS256 => "HS256",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.as_str() == text)
    }
}

impl fmt::Display for AssertionAlg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a client signs with, and how: its `jwks`, `jwks_uri` and `token_endpoint_auth_signing_alg`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKeys {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<ClientJwks>,
    /// Where its keys are published instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The only algorithm that it signs with; every one that suits its method where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_alg: Option<AssertionAlg>,
}

/// A set of public keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientJwks {
    pub keys: Vec<ClientJwk>,
}

/// One public key, its numbers in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientJwk {
    #[serde(flatten)]
    pub key: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The only algorithm that it is for, where it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<AssertionAlg>,
}

/// The members of RFC 7518 sections 6.2.1 and 6.3.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub enum PublicKey {
    #[serde(rename = "EC")]
    Ec { crv: P256, x: String, y: String },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
}

/// The one curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum P256 {
    #[serde(rename = "P-256")]
    P256,
}

impl PublicKey {
    /// What a key of this kind signs with.
    pub const fn algs(&self) -> &'static [AssertionAlg] {
        match self {
            Self::Ec { .. } => &[AssertionAlg::ES256],
            Self::Rsa { .. } => &[AssertionAlg::RS256, AssertionAlg::PS256],
        }
    }
}

/// Why a key is of no use here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("it is no JSON object")]
    NotAnObject,
    #[error("its {0} is missing or no text")]
    Missing(&'static str),
    #[error(
        "it is symmetric (kty \"oct\"): a secret does not belong into a key set; client_secret_jwt signs with the client's secret"
    )]
    Symmetric,
    #[error(
        "it has the private member {0:?}: make a new key, for this one has been seen, and give its public half alone"
    )]
    Private(&'static str),
    #[error("its kty {0:?} is not supported; give an RSA key or an EC key on P-256")]
    UnknownKind(String),
    #[error("its crv {0:?} is not supported; give an EC key on P-256")]
    UnknownCurve(String),
    #[error("it is not for signatures (use, key_ops); leave it out")]
    OtherUse,
    #[error(
        "its alg {0:?} is not one that it can be used with here; RSA keys are for RS256 and PS256, EC keys for ES256"
    )]
    OtherAlg(String),
    #[error("its kid is no text of 1 to {LONGEST_KID} bytes")]
    Kid,
    #[error("its {0} is not what RFC 7518 section 6 says: base64url without padding, of the right length")]
    Number(&'static str),
    #[error("its modulus has {0} bits; give an RSA key of {least} to {most}", least = MODULUS_BITS.start(), most = MODULUS_BITS.end())]
    Modulus(usize),
}

/// Why a key set is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksFault {
    #[error("it is no JSON object with an array \"keys\" (RFC 7517 section 5)")]
    NotASet,
    #[error("it holds no key that an assertion could be signed with")]
    Empty,
    #[error("it holds {0} keys; at most {MOST_KEYS} are taken")]
    TooMany(usize),
    #[error("keys[{at}]: {fault}")]
    Key { at: usize, fault: KeyFault },
    #[error("two of its keys have the kid {0:?}; give every key one of its own")]
    SameKid(String),
}

impl ClientJwks {
    /// A set that is registered: every key must be of use.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn registered(set: &Value) -> Result<Self, JwksFault> {
        let listed = listed(set)?;
        if listed.is_empty() {
            return Err(JwksFault::Empty);
        }
        if listed.len() > MOST_KEYS {
            return Err(JwksFault::TooMany(listed.len()));
        }
        let keys = listed.iter().enumerate().map(|(at, key)| read(key).map_err(|fault| JwksFault::Key { at, fault }));
        let keys: Vec<ClientJwk> = keys.collect::<Result<_, _>>()?;
        for (at, key) in keys.iter().enumerate() {
            if let Some(kid) = &key.kid
                && keys[..at].iter().any(|earlier| earlier.kid.as_ref() == Some(kid))
            {
                return Err(JwksFault::SameKid(shown(kid)));
            }
        }
        Ok(Self { keys })
    }

    /// A set that a client publishes: the keys that are of use, beside whatever else it needs them for.
    ///
    /// # Errors
    /// It is no set, or holds none, or too many.
    pub fn fetched(set: &Value) -> Result<Self, JwksFault> {
        let keys: Vec<ClientJwk> = listed(set)?.iter().filter_map(|key| read(key).ok()).collect();
        match keys.len() {
            0 => Err(JwksFault::Empty),
            count if count > MOST_KEYS => Err(JwksFault::TooMany(count)),
            _ => Ok(Self { keys }),
        }
    }
}

fn listed(set: &Value) -> Result<&Vec<Value>, JwksFault> {
    set.get("keys").and_then(Value::as_array).ok_or(JwksFault::NotASet)
}

fn read(key: &Value) -> Result<ClientJwk, KeyFault> {
    let members = key.as_object().ok_or(KeyFault::NotAnObject)?;
    let kty = text(members, "kty")?;
    if kty == "oct" {
        return Err(KeyFault::Symmetric);
    }
    if let Some(name) = PRIVATE_MEMBERS.into_iter().find(|name| members.contains_key(*name)) {
        return Err(KeyFault::Private(name));
    }
    let key = match kty {
        "EC" => ec(members)?,
        "RSA" => rsa(members)?,
        other => return Err(KeyFault::UnknownKind(shown(other))),
    };
    if !is_for_signatures(members) {
        return Err(KeyFault::OtherUse);
    }
    let alg = match members.get("alg") {
        None => None,
        Some(alg) => {
            let name = alg.as_str().unwrap_or_default();
            let known = AssertionAlg::parse(name).filter(|alg| key.algs().contains(alg));
            Some(known.ok_or_else(|| KeyFault::OtherAlg(shown(name)))?)
        }
    };
    let kid = match members.get("kid") {
        None => None,
        Some(Value::String(kid)) if (1..=LONGEST_KID).contains(&kid.len()) => Some(kid.clone()),
        Some(_) => return Err(KeyFault::Kid),
    };
    Ok(ClientJwk { key, kid, alg })
}

/// RFC 7517 sections 4.2 and 4.3: absent members permit everything.
fn is_for_signatures(members: &Map<String, Value>) -> bool {
    let used = members.get("use").is_none_or(|used| used == "sig");
    let verifies = |ops: &Value| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"));
    used && members.get("key_ops").is_none_or(verifies)
}

fn ec(members: &Map<String, Value>) -> Result<PublicKey, KeyFault> {
    let crv = text(members, "crv")?;
    if crv != "P-256" {
        return Err(KeyFault::UnknownCurve(shown(crv)));
    }
    let coordinate = |name: &'static str| {
        let number = text(members, name)?;
        // RFC 7518 section 6.2.1.2: the full 32 bytes, leading zeros included.
        (decoded(number, name)?.len() == 32).then(|| number.to_owned()).ok_or(KeyFault::Number(name))
    };
    Ok(PublicKey::Ec { crv: P256::P256, x: coordinate("x")?, y: coordinate("y")? })
}

fn rsa(members: &Map<String, Value>) -> Result<PublicKey, KeyFault> {
    let number = |name: &'static str| {
        let bytes = decoded(text(members, name)?, name)?;
        let first = bytes.iter().position(|byte| *byte != 0).ok_or(KeyFault::Number(name))?;
        Ok(bytes[first..].to_vec())
    };
    let (n, e) = (number("n")?, number("e")?);
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !MODULUS_BITS.contains(&bits) {
        return Err(KeyFault::Modulus(bits));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(&n) {
        return Err(KeyFault::Number("n"));
    }
    // With the exponent 1 a signature is the message itself.
    if !is_odd(&e) || e == [1] || e.len() > LONGEST_EXPONENT {
        return Err(KeyFault::Number("e"));
    }
    Ok(PublicKey::Rsa { n: URL_SAFE_NO_PAD.encode(n), e: URL_SAFE_NO_PAD.encode(e) })
}

fn text<'m>(members: &'m Map<String, Value>, name: &'static str) -> Result<&'m str, KeyFault> {
    members.get(name).and_then(Value::as_str).ok_or(KeyFault::Missing(name))
}

fn decoded(number: &str, name: &'static str) -> Result<Vec<u8>, KeyFault> {
    URL_SAFE_NO_PAD.decode(number).map_err(|_| KeyFault::Number(name))
}

/// As much of a refused value as an answer repeats.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ec_key() -> Value {
        let coordinate = URL_SAFE_NO_PAD.encode([7; 32]);
        json!({ "kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate, "kid": "e" })
    }

    fn rsa_key(bytes: usize) -> Value {
        json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(vec![255; bytes]), "e": "AQAB", "kid": "r" })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn fault(key: Value) -> KeyFault {
        match ClientJwks::registered(&json!({ "keys": [key] })) {
            Err(JwksFault::Key { at: 0, fault }) => fault,
            other => panic!("{key}: {other:?}"),
        }
    }

    #[test]
    fn public_keys_for_signatures_are_taken_and_nothing_else_of_them_is_kept() {
        let extra = with(with(ec_key(), "x5c", json!(["MII"])), "key_ops", json!(["verify"]));
        let rsa = with(with(rsa_key(256), "use", json!("sig")), "alg", json!("PS256"));
        let taken = ClientJwks::registered(&json!({ "keys": [extra, rsa], "more": 1 })).unwrap();
        let stored = serde_json::to_value(&taken).unwrap();
        assert_eq!(stored["keys"][0], ec_key());
        assert_eq!(stored["keys"][1], with(rsa_key(256), "alg", json!("PS256")));
        assert_eq!(serde_json::from_value::<ClientJwks>(stored).unwrap(), taken);
    }

    #[test]
    fn a_key_that_is_of_no_use_is_refused_with_its_reason() {
        for name in PRIVATE_MEMBERS {
            assert_eq!(fault(with(rsa_key(256), name, json!("AQAB"))), KeyFault::Private(name));
        }
        for (key, expected) in [
            (json!("key"), KeyFault::NotAnObject),
            (json!({}), KeyFault::Missing("kty")),
            (json!({ "kty": "oct", "k": "c2VjcmV0" }), KeyFault::Symmetric),
            (json!({ "kty": "OKP", "crv": "Ed25519" }), KeyFault::UnknownKind("OKP".into())),
            (with(ec_key(), "crv", json!("P-384")), KeyFault::UnknownCurve("P-384".into())),
            (with(ec_key(), "use", json!("enc")), KeyFault::OtherUse),
            (with(ec_key(), "key_ops", json!(["sign"])), KeyFault::OtherUse),
            (with(ec_key(), "alg", json!("RS256")), KeyFault::OtherAlg("RS256".into())),
            (with(rsa_key(256), "alg", json!("HS256")), KeyFault::OtherAlg("HS256".into())),
            (with(rsa_key(256), "alg", json!("none")), KeyFault::OtherAlg("none".into())),
            (with(ec_key(), "kid", json!("")), KeyFault::Kid),
            (with(ec_key(), "kid", json!(7)), KeyFault::Kid),
            (with(ec_key(), "x", json!("AQAB")), KeyFault::Number("x")),
            (with(ec_key(), "y", json!("not base64!")), KeyFault::Number("y")),
            (with(rsa_key(256), "n", json!("AAAA")), KeyFault::Number("n")),
            (with(rsa_key(256), "e", json!("AQ")), KeyFault::Number("e")),
            (with(rsa_key(256), "e", json!("AAA")), KeyFault::Number("e")),
            (with(rsa_key(256), "e", json!("Ag")), KeyFault::Number("e")),
            (rsa_key(255), KeyFault::Modulus(2040)),
            (rsa_key(1025), KeyFault::Modulus(8200)),
        ] {
            assert_eq!(fault(key.clone()), expected, "{key}");
        }
    }

    #[test]
    fn a_modulus_counts_without_its_leading_zeros() {
        let padded = [vec![0; 256], vec![255; 128]].concat();
        let key = with(rsa_key(256), "n", json!(URL_SAFE_NO_PAD.encode(padded)));
        assert_eq!(fault(key), KeyFault::Modulus(1024));
    }

    #[test]
    fn a_set_is_a_set_of_some_keys_of_different_names() {
        for (set, expected) in [
            (json!([]), JwksFault::NotASet),
            (json!({ "keys": {} }), JwksFault::NotASet),
            (json!({ "keys": [] }), JwksFault::Empty),
            (json!({ "keys": vec![ec_key(); 21] }), JwksFault::TooMany(21)),
            (json!({ "keys": [ec_key(), rsa_key(256), ec_key()] }), JwksFault::SameKid("e".into())),
        ] {
            assert_eq!(ClientJwks::registered(&set).unwrap_err(), expected, "{set}");
        }
    }

    #[test]
    fn of_a_published_set_the_keys_of_use_are_taken() {
        let others =
            json!([{ "kty": "OKP" }, with(rsa_key(256), "d", json!("AQ")), with(ec_key(), "use", json!("enc")), 7]);
        let mut keys = others.as_array().unwrap().clone();
        assert_eq!(ClientJwks::fetched(&json!({ "keys": keys.clone() })), Err(JwksFault::Empty));
        keys.push(rsa_key(256));
        assert_eq!(ClientJwks::fetched(&json!({ "keys": keys })).unwrap().keys.len(), 1);
        let many = ClientJwks::fetched(&json!({ "keys": vec![ec_key(); 21] }));
        assert_eq!(many, Err(JwksFault::TooMany(21)));
    }

    proptest! {
        #[test]
        fn no_set_makes_it_panic(n in ".{0,20}", e in ".{0,8}", kind in "EC|RSA|oct|.{0,3}", kid in ".{0,4}") {
            let key = json!({ "kty": kind, "crv": "P-256", "n": n, "e": e, "x": n, "y": e, "kid": kid, "alg": e });
            let _ = ClientJwks::registered(&json!({ "keys": [key.clone()] }));
            let _ = ClientJwks::fetched(&json!({ "keys": [key] }));
        }
    }
}
