//! Logout tokens (OpenID Connect Back-Channel Logout 1.0 section 2.4): what a client is told of a session that has ended.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::claims::numeric_date;
use super::mint::{MintError, check_lifetime, sign};
use crate::domain::ids::{ClientId, Jti, SessionId, Sub};
use crate::domain::time::Timestamp;
use crate::keys::{SigningSlot, Typ};

/// How long one is good for: section 4 has it short, and every attempt makes its own.
pub const LIFETIME: Duration = Duration::from_secs(120);

/// The one event that it tells of.
const BACKCHANNEL_LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a logout token says. There is no `nonce`, so that none is taken for an ID token.
#[derive(Clone, Debug, Serialize)]
pub struct LogoutClaims {
    pub iss: String,
    pub aud: ClientId,
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    pub jti: Jti,
    pub sub: Sub,
    pub sid: SessionId,
    events: Value,
}

impl LogoutClaims {
    pub fn new(iss: &str, aud: &ClientId, (sub, sid): (&Sub, SessionId), jti: Jti, now: Timestamp) -> Self {
        let iat = Timestamp::from_seconds(now.seconds());
        Self {
            iss: iss.to_owned(),
            aud: aud.clone(),
            iat,
            exp: iat.plus(LIFETIME),
            jti,
            sub: sub.clone(),
            sid,
            events: json!({ BACKCHANNEL_LOGOUT: {} }),
        }
    }
}

/// Makes a logout token of `claims`.
///
/// # Errors
/// As [`super::mint()`].
pub fn mint_logout_token(slot: &SigningSlot, claims: &LogoutClaims) -> Result<String, MintError> {
    check_lifetime(slot, claims.iat, claims.exp)?;
    sign(slot, Typ::LogoutToken, claims)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::domain::key::Alg;
    use crate::keys::testing::{START, snapshot};
    use crate::tokens::id_token::read_hint;
    use crate::tokens::testing::ISSUER;
    use crate::tokens::{TokenFault, verify};

    #[test]
    fn it_says_what_the_specification_names_and_passes_for_nothing_else() {
        let keys = snapshot();
        let (sub, sid) = (Sub::new("usr_1"), SessionId::from_bytes([1; 16]));
        for alg in Alg::ALL {
            let slot = keys.active(alg).unwrap();
            let claims = LogoutClaims::new(ISSUER, &ClientId::new("web"), (&sub, sid), Jti::new("j"), START);
            let token = mint_logout_token(slot, &claims).unwrap();
            let part = |index: usize| -> Value {
                let part = token.split('.').nth(index).unwrap();
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            };
            assert_eq!(part(0), json!({ "alg": alg.as_str(), "typ": "logout+jwt", "kid": slot.kid().as_str() }));
            assert_eq!(
                part(1),
                json!({
                    "iss": ISSUER, "aud": "web", "iat": START.seconds(), "exp": START.seconds() + 120, "jti": "j",
                    "sub": "usr_1", "sid": "AQEBAQEBAQEBAQEBAQEBAQ",
                    "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
                })
            );
            assert_eq!(read_hint(&keys, ISSUER, &token), Err(TokenFault::WrongType));
            assert_eq!(verify(&keys, ISSUER, &token, START).err(), Some(TokenFault::WrongType));
        }
    }
}
