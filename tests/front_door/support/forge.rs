//! Tokens that others made: with a key that left the house, or with none at all.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};

/// An ES256 key that somebody else holds as well.
pub struct SigningKeyAbroad {
    pub kid: String,
    key: SigningKey,
}

impl SigningKeyAbroad {
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        latchkey::domain::sources::Entropy::fill(&latchkey::domain::sources::SystemEntropy, &mut bytes);
        Self { kid: String::new(), key: SigningKey::from_slice(&bytes).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    }

    pub fn public_pem(&self) -> String {
        self.key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()
    }

    /// A compact JWS over any header and payload.
    pub fn sign(&self, header: &Value, payload: &str) -> String {
        let message = format!("{}.{}", segment(&header.to_string()), segment(payload));
        let signature: Signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

pub enum Forged {
    /// Exactly like a real one.
    Faithful,
    /// With an `exp` of the forger's choice.
    Lives(Duration),
}

pub fn forge(key: &SigningKeyAbroad, claims: &Value, how: Forged) -> String {
    let mut claims = claims.clone();
    claims["jti"] = json!(latchkey::domain::ids::Jti::generate(
        &latchkey::domain::sources::SystemClock,
        &latchkey::domain::sources::SystemEntropy
    ));
    if let Forged::Lives(span) = how {
        claims["exp"] = json!(claims["iat"].as_u64().unwrap() + span.as_secs());
    }
    key.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.kid }), &claims.to_string())
}

pub fn segment(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}
