//! What the unit tests of this layer sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

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

/// A JSON value as an attacker would sign it: numbers beyond every type, and lists and objects (of one `member`) in the
/// place of anything.
pub(crate) fn json_text(member: &'static str) -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("1e30".to_owned()),
        Just("-1".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("1e999".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:e}")),
    ];
    let leaf = prop_oneof![number, Just("null".to_owned()), Just("true".to_owned()), Just(r#""x""#.to_owned())];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            inner.prop_map(move |value| format!(r#"{{"{member}":{value}}}"#)),
        ]
    })
}
