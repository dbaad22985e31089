//! Public keys as JWKs (RFC 7517, RFC 7518 section 6) and their thumbprints (RFC 7638).
//!
//! The members are written by hand, in the order that RFC 7638 section 3 wants for hashing and that every node gives
//! alike; a JSON library's order depends on features other crates turn on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::traits::PublicKeyParts as _;

use crate::domain::ids::Kid;
use crate::domain::key::Alg;
use crate::domain::secret::sha256;

/// The public half of a key, its members in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicJwk {
    /// On P-256.
    Ec {
        x: String,
        y: String,
    },
    Rsa {
        n: String,
        e: String,
    },
}

impl PublicJwk {
    pub(super) fn of_p256(key: &p256::PublicKey) -> Option<Self> {
        use p256::elliptic_curve::sec1::ToSec1Point as _;
        let point = key.to_sec1_point(false);
        Some(Self::Ec { x: URL_SAFE_NO_PAD.encode(point.x()?), y: URL_SAFE_NO_PAD.encode(point.y()?) })
    }

    pub(super) fn of_rsa(key: &rsa::PublicKey) -> Self {
        Self::Rsa { n: unsigned(&key.n_bytes()), e: unsigned(&key.e_bytes()) }
    }

    pub(super) fn alg(&self) -> Alg {
        match self {
            Self::Ec { .. } => Alg::ES256,
            Self::Rsa { .. } => Alg::RS256,
        }
    }

    /// RFC 7638 section 3: the required members alone, in lexicographic order, without white space.
    pub(super) fn thumbprint(&self) -> Kid {
        let canonical = match self {
            Self::Ec { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        Kid::new(URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes())))
    }

    /// The JWK as it is published.
    pub(super) fn to_json(&self) -> String {
        let (alg, kid) = (self.alg(), self.thumbprint());
        match self {
            Self::Ec { x, y } => {
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","kid":"{kid}","alg":"{alg}","use":"sig"}}"#)
            }
            Self::Rsa { n, e } => {
                format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}","kid":"{kid}","alg":"{alg}","use":"sig"}}"#)
            }
        }
    }
}

/// `Base64urlUInt` of RFC 7518 section 2: without leading zero bytes.
fn unsigned(big_endian: &[u8]) -> String {
    let first = big_endian.iter().position(|byte| *byte != 0).unwrap_or(big_endian.len());
    URL_SAFE_NO_PAD.encode(&big_endian[first..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_of_rfc_7638_section_3_1() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi\
                 FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb\
                 9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls\
                 1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let jwk = PublicJwk::Rsa { n: n.to_owned(), e: "AQAB".to_owned() };
        assert_eq!(jwk.thumbprint().as_str(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_published_jwk_is_json_with_public_members_only() {
        let jwk = PublicJwk::Ec { x: "AA".to_owned(), y: "BB".to_owned() };
        let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&jwk.to_json()).unwrap();
        let names: Vec<_> = read.keys().map(String::as_str).collect();
        assert_eq!(names, ["kty", "crv", "x", "y", "kid", "alg", "use"]);
        let jwk = PublicJwk::Rsa { n: "AA".to_owned(), e: "AQAB".to_owned() };
        let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&jwk.to_json()).unwrap();
        let names: Vec<_> = read.keys().map(String::as_str).collect();
        assert_eq!(names, ["kty", "n", "e", "kid", "alg", "use"]);
    }

    #[test]
    fn a_number_has_no_leading_zeros() {
        assert_eq!(unsigned(&[0, 0, 1, 0, 1]), "AQAB");
        assert_eq!(unsigned(&[1, 0, 1]), "AQAB");
    }
}
