//! The key set of a client, as bodies have it (RFC 7517 section 5).

use poem_openapi::Object;

use crate::domain::client_keys::{ClientJwk as Key, ClientJwks, PublicKey};

/// A set of public keys, at most 20, no two of them with the same `kid`.
#[derive(Debug, Object)]
pub(super) struct ClientJwkSet {
    keys: Vec<ClientJwk>,
}

/// A public key that signatures are verified with: RSA of 2048 bits and more, or EC on P-256. Members beside these are
/// ignored, but private ones are refused.
#[derive(Debug, Default, Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct ClientJwk {
    /// `RSA` or `EC`.
    kty: String,
    /// What the header of an assertion names the key by.
    kid: Option<String>,
    /// The only algorithm that the key is for.
    alg: Option<String>,
    /// `sig`, where it is there.
    #[oai(rename = "use")]
    used_for: Option<String>,
    /// `P-256`, of an EC key.
    crv: Option<String>,
    /// Of an EC key.
    x: Option<String>,
    /// Of an EC key.
    y: Option<String>,
    /// The modulus of an RSA key.
    n: Option<String>,
    /// The exponent of an RSA key.
    e: Option<String>,
}

impl ClientJwkSet {
    pub(super) fn of(jwks: &ClientJwks) -> Self {
        Self { keys: jwks.keys.iter().map(ClientJwk::of).collect() }
    }
}

impl ClientJwk {
    fn of(key: &Key) -> Self {
        let named = Self { kid: key.kid.clone(), alg: key.alg.map(|alg| alg.to_string()), ..Self::default() };
        match &key.key {
            PublicKey::Ec { x, y, .. } => {
                Self { kty: "EC".into(), crv: Some("P-256".into()), x: Some(x.clone()), y: Some(y.clone()), ..named }
            }
            PublicKey::Rsa { n, e } => Self { kty: "RSA".into(), n: Some(n.clone()), e: Some(e.clone()), ..named },
        }
    }
}
