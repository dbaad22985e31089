//! ID tokens (OpenID Connect Core sections 2 and 3.1.3.6): what a client is told of a login, and the same told back to us
//! as an `id_token_hint` (Core section 3.1.2.1, RP-Initiated Logout section 2).
//!
//! A client looks at an ID token once, when it gets it. To Latchkey it is worth nothing but the names in it: no endpoint
//! takes one as an access token, nor as a token of another system.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::claims::{ExtraClaims, audience, numeric_date};
use super::mint::{MintError, check_lifetime, sign};
use super::verify::{TokenFault, open};
use crate::domain::ids::{ClientId, SessionId};
use crate::domain::secret::sha256;
use crate::domain::time::Timestamp;
use crate::keys::{SigningSlot, Snapshot, Typ};

/// What an ID token says. Times are whole seconds on the wire; fractions are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdTokenClaims {
    pub iss: String,
    pub sub: String,
    /// The one client that it is for; so there is no `azp`.
    pub aud: ClientId,
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// When the user typed the password.
    #[serde(with = "numeric_date")]
    pub auth_time: Timestamp,
    /// As the authorization request had it; none after a refresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// RFC 8176.
    pub amr: Vec<&'static str>,
    pub sid: SessionId,
    pub at_hash: String,
    /// Standard claims that were asked for, and the operator's own.
    #[serde(flatten)]
    pub extra: ExtraClaims,
}

/// `at_hash`: the left half of the SHA-256 of the access token, for RS256 and ES256 alike (Core section 3.1.3.6).
pub fn at_hash(access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&sha256(access_token.as_bytes())[..16])
}

/// Makes an ID token of `claims`.
///
/// # Errors
/// As [`super::mint()`].
pub fn mint_id_token(slot: &SigningSlot, claims: &IdTokenClaims) -> Result<String, MintError> {
    check_lifetime(slot, claims.iat, claims.exp)?;
    sign(slot, Typ::Jwt, claims)
}

/// What an ID token that came back says: who it was about, and for whom it was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Hint {
    iss: String,
    pub sub: String,
    #[serde(with = "audience")]
    pub aud: Vec<String>,
    pub sid: SessionId,
    /// A signed userinfo answer has none. That it has passed does not matter: a hint is a reminder, and is kept for
    /// longer than the token was good for.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
}

impl Hint {
    /// Whether it was issued to this client.
    pub fn is_for(&self, client: &ClientId) -> bool {
        self.aud.iter().any(|aud| aud == client.as_str())
    }
}

/// Reads an `id_token_hint`: an ID token of `issuer`, expired or not, signed by any key of the table but a compromised
/// one.
///
/// # Errors
/// The first thing that is wrong with it. [`TokenFault::UnknownKid`] may be another node's news: look again.
pub fn read_hint(snapshot: &Snapshot, issuer: &str, token: &str) -> Result<Hint, TokenFault> {
    let opened = open(token, |kid| snapshot.past_verifier(kid))?;
    if !opened.typ.is_some_and(|typ| typ.eq_ignore_ascii_case(Typ::Jwt.as_str())) {
        return Err(TokenFault::WrongType);
    }
    let hint: Hint = serde_json::from_slice(&opened.payload).map_err(|_| TokenFault::Malformed)?;
    if hint.iss == issuer { Ok(hint) } else { Err(TokenFault::WrongIssuer) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use josekit::jwk::Jwk;
    use josekit::jws::{ES256, JwsVerifier, RS256};
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::ids::Jti;
    use crate::domain::key::{Alg, KeyState};
    use crate::domain::scope::Scope;
    use crate::keys::plan::Request;
    use crate::keys::testing::{START, TTL, carry_out, masters, snapshot, table};
    use crate::tokens::testing::{ISSUER, claims as access_claims, sign as sign_any};
    use crate::tokens::{mint, verify};

    fn claims() -> IdTokenClaims {
        IdTokenClaims {
            iss: ISSUER.to_owned(),
            sub: "usr_1".to_owned(),
            aud: ClientId::new("cli_1"),
            exp: START.plus(TTL),
            iat: START,
            auth_time: START,
            nonce: Some("n-0S6_WzA2Mj".to_owned()),
            acr: Some("1".to_owned()),
            amr: vec!["pwd"],
            sid: SessionId::from_bytes([1; 16]),
            at_hash: at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
            extra: ExtraClaims::default(),
        }
    }

    fn minted(keys: &Snapshot, alg: Alg) -> String {
        mint_id_token(keys.active(alg).unwrap(), &claims()).unwrap()
    }

    fn part(token: &str, index: usize) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
    }

    /// Verifies with nothing but the published key, as clients do.
    fn holds(jwk: &str, token: &str) -> bool {
        let jwk = Jwk::from_bytes(jwk).unwrap();
        let verifier: Box<dyn JwsVerifier> = match jwk.algorithm() {
            Some("ES256") => Box::new(ES256.verifier_from_jwk(&jwk).unwrap()),
            _ => Box::new(RS256.verifier_from_jwk(&jwk).unwrap()),
        };
        let (message, signature) = token.rsplit_once('.').unwrap();
        verifier.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_ok()
    }

    #[test]
    fn the_at_hash_of_openid_connect_core_appendix_a_is_reproduced() {
        assert_eq!(at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), "77QmUPtjPfzWtF2AnpK9RQ");
    }

    #[test]
    fn a_client_verifies_an_id_token_with_the_published_key() {
        use p256::ecdsa::signature::Verifier as _;
        let keys = snapshot();
        for alg in Alg::ALL {
            let token = minted(&keys, alg);
            let kid = keys.active(alg).unwrap().kid().clone();
            assert_eq!(part(&token, 0), json!({ "alg": alg.as_str(), "typ": "JWT", "kid": kid.as_str() }));
            let jwk = &keys.table().signing.iter().find(|key| key.kid == kid).unwrap().public_jwk;
            assert!(holds(jwk, &token), "{alg}");
        }

        let token = minted(&keys, Alg::ES256);
        let (message, signature) = token.rsplit_once('.').unwrap();
        let kid = keys.active(Alg::ES256).unwrap().kid();
        let row = keys.table().signing.iter().find(|key| key.kid == *kid).unwrap();
        let jwk: Value = serde_json::from_str(&row.public_jwk).unwrap();
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        verifier.verify(message.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn it_says_what_the_specification_names_and_leaves_out_what_there_is_not() {
        let keys = snapshot();
        let extra =
            json!({ "email": "ada@example.com", "nonce": "forged", "aud": "other" }).as_object().cloned().unwrap();
        let told = IdTokenClaims { extra: ExtraClaims::new(extra), ..claims() };
        let token = mint_id_token(keys.active(Alg::RS256).unwrap(), &told).unwrap();
        assert_eq!(
            part(&token, 1),
            json!({
                "iss": ISSUER, "sub": "usr_1", "aud": "cli_1", "exp": 1_800_000_600, "iat": 1_800_000_000,
                "auth_time": 1_800_000_000, "nonce": "n-0S6_WzA2Mj", "acr": "1", "amr": ["pwd"],
                "sid": "AQEBAQEBAQEBAQEBAQEBAQ", "at_hash": "77QmUPtjPfzWtF2AnpK9RQ", "email": "ada@example.com",
            })
        );
        let bare = IdTokenClaims { nonce: None, acr: None, ..claims() };
        let payload = part(&mint_id_token(keys.active(Alg::RS256).unwrap(), &bare).unwrap(), 1);
        assert!(payload.get("nonce").is_none() && payload.get("acr").is_none(), "{payload}");
    }

    #[test]
    fn a_life_that_was_not_recorded_for_the_key_is_not_minted() {
        let keys = snapshot();
        let longer = IdTokenClaims { exp: START.plus(TTL + Duration::from_secs(1)), ..claims() };
        let error = mint_id_token(keys.active(Alg::RS256).unwrap(), &longer).unwrap_err();
        assert!(matches!(error, MintError::LifetimeNotRecorded { seconds: 601 }));
    }

    #[test]
    fn neither_kind_of_token_is_taken_for_the_other() {
        let keys = snapshot();
        for alg in Alg::ALL {
            let (id_token, access_token) =
                (minted(&keys, alg), mint(keys.active(alg).unwrap(), &access_claims()).unwrap());
            assert_eq!(verify(&keys, ISSUER, &id_token, START), Err(TokenFault::WrongType));
            assert_eq!(read_hint(&keys, ISSUER, &access_token), Err(TokenFault::WrongType));
        }
        // Even with all the claims of an access token beside its own.
        let slot = keys.active(Alg::ES256).unwrap();
        let both = AccessTokenToo { jti: Jti::new("j"), client_id: ClientId::new("cli_1"), scope: Scope::default() };
        let mut payload = serde_json::to_value(claims()).unwrap();
        payload.as_object_mut().unwrap().extend(serde_json::to_value(both).unwrap().as_object().cloned().unwrap());
        let token = sign(slot, Typ::Jwt, &payload).unwrap();
        assert_eq!(verify(&keys, ISSUER, &token, START), Err(TokenFault::WrongType));
    }

    #[derive(Serialize)]
    struct AccessTokenToo {
        jti: Jti,
        client_id: ClientId,
        scope: Scope,
    }

    #[test]
    fn a_hint_is_read_whatever_became_of_its_key_unless_somebody_else_has_it() {
        let token = minted(&snapshot(), Alg::RS256);
        let expected = |hint: Hint| {
            assert_eq!((hint.sub.as_str(), hint.aud.as_slice()), ("usr_1", &["cli_1".to_owned()][..]));
            assert_eq!((hint.sid, hint.exp), (SessionId::from_bytes([1; 16]), START.plus(TTL)));
            assert!(hint.is_for(&ClientId::new("cli_1")) && !hint.is_for(&ClientId::new("cli_2")));
        };
        expected(read_hint(&snapshot(), ISSUER, &token).unwrap());

        let kid = snapshot().active(Alg::RS256).unwrap().kid().clone();
        let with = |state: KeyState| {
            let mut table = table();
            let key = table.signing.iter_mut().find(|key| key.kid == kid).unwrap();
            (key.state, key.sealed_private) = (state, None);
            Snapshot::build(&table, &masters(), TTL).unwrap()
        };
        for state in [KeyState::Retiring { since: START }, KeyState::Retired { since: START }] {
            expected(read_hint(&with(state), ISSUER, &token).unwrap());
        }
        let unknown = Err(TokenFault::UnknownKid(kid.clone()));
        assert_eq!(read_hint(&with(KeyState::Compromised { since: START }), ISSUER, &token), unknown);
        let mut other = crate::domain::key::KeyTable::default();
        carry_out(&mut other, &Request::Tick, START);
        assert_eq!(read_hint(&Snapshot::build(&other, &masters(), TTL).unwrap(), ISSUER, &token), unknown);
    }

    #[test]
    fn what_is_no_id_token_of_ours_is_no_hint() {
        let keys = snapshot();
        let slot = keys.active(Alg::ES256).unwrap();
        let header = |alg: &str, typ: &str| format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{}"}}"#, slot.kid());
        let good = json!({
            "iss": ISSUER, "sub": "s", "aud": ["a", "b"], "sid": "AQEBAQEBAQEBAQEBAQEBAQ", "exp": 2, "iat": 1,
        });
        let read = |header: &str, payload: &Value| {
            read_hint(&keys, ISSUER, &sign_any(slot, header, &payload.to_string())).err()
        };
        assert_eq!(read(&header("ES256", "jwt"), &good), None, "years after its end");
        assert_eq!(read(&header("ES256", "logout+jwt"), &good), Some(TokenFault::WrongType));
        assert_eq!(read(&header("none", "JWT"), &good), Some(TokenFault::WrongAlg));
        let mut other = good.clone();
        other["iss"] = json!(format!("{ISSUER}/"));
        assert_eq!(read(&header("ES256", "JWT"), &other), Some(TokenFault::WrongIssuer));
        for name in ["sub", "aud", "sid", "exp", "iat"] {
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(name);
            assert_eq!(read(&header("ES256", "JWT"), &without), Some(TokenFault::Malformed), "{name}");
        }
        let token = sign_any(slot, &header("ES256", "JWT"), &good.to_string());
        let tampered = token.replacen(token.split('.').nth(1).unwrap(), &URL_SAFE_NO_PAD.encode("{}"), 1);
        assert_eq!(read_hint(&keys, ISSUER, &tampered), Err(TokenFault::BadSignature));
        for text in ["", "a.b.c", "lkr_AA"] {
            assert_eq!(read_hint(&keys, ISSUER, text), Err(TokenFault::Malformed), "{text}");
        }
    }
}
