//! What the unit tests of this layer sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::{AccessClaims, ExtraClaims};
use crate::domain::ids::{ClientId, Jti, SessionId};
use crate::domain::scope::Scope;
use crate::keys::SigningSlot;
use crate::keys::testing::{START, TTL};

pub(crate) const ISSUER: &str = "https://id.example";

pub(crate) fn claims() -> AccessClaims {
    AccessClaims {
        iss: ISSUER.to_owned(),
        sub: "usr_1".to_owned(),
        aud: vec!["https://api.example".to_owned()],
        exp: START.plus(TTL),
        iat: START,
        jti: Jti::new("jti"),
        client_id: ClientId::new("cli_1"),
        scope: Scope::parse("read write").unwrap(),
        sid: Some(SessionId::from_bytes([1; 16])),
        auth_time: Some(START),
        act: None,
        extra: ExtraClaims::default(),
    }
}

/// Any header and payload, properly signed.
pub(crate) fn sign(slot: &SigningSlot, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = slot.sign(message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
