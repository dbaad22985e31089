//! Client assertions: JWTs by which a client proves who it is (RFC 7523 section 3, OIDC Core section 9).
//!
//! Which key and which algorithm is the registration's to say, never the token's. What the claims say is judged before the
//! signature is: it costs nothing, and nobody makes Latchkey fetch keys for an assertion that could not count. One that
//! counts does so once; that is the store's business, by its [`Assertion::hash`].

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::claims::UniqueMembers;
use super::client_keys::{KeySet, SignatureFault, Signed};
use super::legacy::moment;
use super::verify::{CLOCK_SKEW, LONGEST_TOKEN, present};
use crate::domain::client_keys::AssertionAlg;
use crate::domain::time::Timestamp;

/// What `client_assertion_type` must be (RFC 7523 section 2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How far ahead an `exp` may be: every assertion is remembered until then. Libraries give a minute, some an hour.
pub const LONGEST_LIFE: Duration = Duration::from_secs(60 * 60);

/// Bytes of a `jti` at most.
const LONGEST_JTI: usize = 256;

/// What an assertion's `typ` may be, beside nothing: other JWTs that a client signs are no assertions (RFC 8725 section
/// 3.11).
const TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];

/// Why an assertion is not taken. The text is for whoever made it, and says nothing but what it says itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionFault {
    #[error("it is no JWT in compact form (RFC 7515 section 3.1)")]
    Malformed,
    #[error("its header has crit or b64, and no extension is understood here")]
    Extension,
    #[error("its typ is that of another kind of token; leave it out, or write client-authentication+jwt")]
    Type,
    #[error("its payload is no JSON object, or has a claim twice")]
    Claims,
    #[error("its claim {0} is missing")]
    Missing(&'static str),
    #[error("its claim {0} is not of the right type (RFC 7519 section 4.1)")]
    Mistyped(&'static str),
    #[error("its iss and sub differ; both are the client_id")]
    IssuerIsNotSubject,
    #[error("its aud names neither this issuer nor the endpoint that was called; make it {0:?}")]
    Audience(String),
    #[error("it has expired")]
    Expired,
    #[error("its exp is more than an hour ahead; let it live for a minute")]
    TooLong,
    #[error("its {0} is in the future; set the clock")]
    NotYet(&'static str),
    #[error("its jti has more than {LONGEST_JTI} bytes, or none")]
    Jti,
    #[error("its alg is not one that the client is registered for")]
    Alg,
    #[error("none of the client's keys has signed it; is its kid in the key set?")]
    UnknownKey,
    #[error("the key that its kid names is not for its alg")]
    KeyForOtherAlg,
    #[error("its signature does not hold")]
    Signature,
    #[error("its jti has been used before; make a new assertion for every request")]
    Replayed,
}

impl AssertionFault {
    /// The word in the audit trail.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Extension => "crit",
            Self::Type => "typ",
            Self::Claims => "claims",
            Self::Missing(claim) | Self::Mistyped(claim) | Self::NotYet(claim) => claim,
            Self::IssuerIsNotSubject => "iss",
            Self::Audience(_) => "aud",
            Self::Expired | Self::TooLong => "exp",
            Self::Jti => "jti",
            Self::Alg | Self::KeyForOtherAlg => "alg",
            Self::UnknownKey => "kid",
            Self::Signature => "signature",
            Self::Replayed => "replayed",
        }
    }
}

impl From<SignatureFault> for AssertionFault {
    fn from(fault: SignatureFault) -> Self {
        match fault {
            SignatureFault::UnknownKey => Self::UnknownKey,
            SignatureFault::OtherAlg => Self::KeyForOtherAlg,
            SignatureFault::Bad => Self::Signature,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
}

/// An assertion taken apart. Nothing of it is believed before its signature was checked.
pub struct Assertion<'t> {
    header: Header,
    message: &'t str,
    signature: Vec<u8>,
    claims: Claims,
}

struct Claims {
    iss: String,
    sub: String,
    aud: Vec<String>,
    exp: Timestamp,
    jti: String,
    nbf: Option<Timestamp>,
    iat: Option<Timestamp>,
}

/// An assertion is a secret until it has been used: nothing of it is printed.
impl fmt::Debug for Assertion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertion").finish_non_exhaustive()
    }
}

impl<'t> Assertion<'t> {
    /// Takes an assertion apart.
    ///
    /// # Errors
    /// It is none, or lacks a claim.
    pub fn parse(text: &'t str) -> Result<Self, AssertionFault> {
        if text.len() > LONGEST_TOKEN {
            return Err(AssertionFault::Malformed);
        }
        let decode = |segment: &str| URL_SAFE_NO_PAD.decode(segment).map_err(|_| AssertionFault::Malformed);
        let (message, signature) = text.rsplit_once('.').ok_or(AssertionFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(AssertionFault::Malformed)?;
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| AssertionFault::Malformed)?;
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        if header.crit || header.b64 {
            return Err(AssertionFault::Extension);
        }
        if header.typ.as_deref().is_some_and(|typ| !is_assertion_type(typ)) {
            return Err(AssertionFault::Type);
        }
        let UniqueMembers(members) = serde_json::from_slice(&payload).map_err(|_| AssertionFault::Claims)?;
        let claims = Claims::read(&members)?;
        Ok(Self { header, message, signature, claims })
    }

    /// Whose it says it is.
    pub fn client_id(&self) -> &str {
        &self.claims.sub
    }

    /// Whether it is signed with a secret, as far as its header tells.
    pub fn is_keyed(&self) -> bool {
        self.header.alg.starts_with("HS")
    }

    /// Holds what it says against what it must say. `audiences` are the issuer and the endpoints that it may be meant for,
    /// the best one first.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check_claims(&self, audiences: &[&str], now: Timestamp) -> Result<(), AssertionFault> {
        let claims = &self.claims;
        if claims.iss != claims.sub {
            return Err(AssertionFault::IssuerIsNotSubject);
        }
        if !claims.aud.iter().any(|aud| audiences.contains(&aud.as_str())) {
            let best = audiences.first().copied().unwrap_or_default();
            return Err(AssertionFault::Audience(best.to_owned()));
        }
        if now >= claims.exp.plus(CLOCK_SKEW) {
            return Err(AssertionFault::Expired);
        }
        let latest = now.plus(CLOCK_SKEW);
        if claims.exp > latest.plus(LONGEST_LIFE) {
            return Err(AssertionFault::TooLong);
        }
        for (name, moment) in [("nbf", claims.nbf), ("iat", claims.iat)] {
            if moment.is_some_and(|moment| moment > latest) {
                return Err(AssertionFault::NotYet(name));
            }
        }
        Ok(())
    }

    /// Whether one of the keys has signed it, by `only` that algorithm where it is named.
    ///
    /// # Errors
    /// [`AssertionFault::UnknownKey`] where the client may have another key by now; that it is no signature of theirs.
    pub fn check_key(&self, keys: &KeySet, only: Option<AssertionAlg>) -> Result<(), AssertionFault> {
        let alg = self.alg_of(&AssertionAlg::WITH_A_KEY, only)?;
        let signed = Signed {
            alg,
            kid: self.header.kid.as_deref(),
            message: self.message.as_bytes(),
            signature: &self.signature,
        };
        Ok(keys.check(&signed)?)
    }

    /// Whether the holder of the secret has signed it.
    ///
    /// # Errors
    /// It is no HS256 of theirs.
    pub fn check_secret(&self, secret: &[u8]) -> Result<(), AssertionFault> {
        self.alg_of(&[AssertionAlg::HS256], None)?;
        // HMAC takes keys of every length.
        let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| AssertionFault::Signature)?;
        let mac = mac.chain_update(self.message);
        mac.verify_slice(&self.signature).map_err(|_| AssertionFault::Signature)
    }

    fn alg_of(&self, suitable: &[AssertionAlg], only: Option<AssertionAlg>) -> Result<AssertionAlg, AssertionFault> {
        AssertionAlg::parse(&self.header.alg)
            .filter(|alg| suitable.contains(alg) && only.is_none_or(|only| only == *alg))
            .ok_or(AssertionFault::Alg)
    }

    /// Names this assertion among all: its client and its `jti`.
    pub fn hash(&self) -> [u8; 32] {
        let Claims { sub, jti, .. } = &self.claims;
        let mut hash = Sha256::new();
        hash.update(b"latchkey client assertion v1");
        hash.update((sub.len() as u64).to_be_bytes());
        hash.update(sub);
        hash.update(jti);
        hash.finalize().into()
    }

    /// Until when it could be used again, on the clocks of all nodes.
    pub fn keep_until(&self) -> Timestamp {
        self.claims.exp.plus(2 * CLOCK_SKEW)
    }
}

/// With or without the `application/` that RFC 7515 section 4.1.9 lets out.
fn is_assertion_type(typ: &str) -> bool {
    let prefix = "application/";
    let short = match typ.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => &typ[prefix.len()..],
        _ => typ,
    };
    TYPES.iter().any(|known| short.eq_ignore_ascii_case(known))
}

impl Claims {
    fn read(members: &Map<String, Value>) -> Result<Self, AssertionFault> {
        let text = |name: &'static str| match members.get(name) {
            None => Err(AssertionFault::Missing(name)),
            Some(value) => value.as_str().map(str::to_owned).ok_or(AssertionFault::Mistyped(name)),
        };
        let at = |name: &'static str| match members.get(name) {
            None => Ok(None),
            Some(value) => moment(value).map(Some).ok_or(AssertionFault::Mistyped(name)),
        };
        let claims = Self {
            iss: text("iss")?,
            sub: text("sub")?,
            aud: audience(members.get("aud").ok_or(AssertionFault::Missing("aud"))?)?,
            exp: at("exp")?.ok_or(AssertionFault::Missing("exp"))?,
            jti: text("jti")?,
            nbf: at("nbf")?,
            iat: at("iat")?,
        };
        if !(1..=LONGEST_JTI).contains(&claims.jti.len()) {
            return Err(AssertionFault::Jti);
        }
        Ok(claims)
    }
}

/// RFC 7519 section 4.1.3: a string, or an array of strings.
fn audience(value: &Value) -> Result<Vec<String>, AssertionFault> {
    let one = |value: &Value| value.as_str().map(str::to_owned).ok_or(AssertionFault::Mistyped("aud"));
    match value {
        Value::Array(several) => several.iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

#[cfg(test)]
mod tests {
    use josekit::jwk::Jwk;
    use josekit::jws::{ES256, HS256, JwsSigner, PS256, RS256};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::client_keys::ClientJwks;
    use crate::tokens::testing::json_text;

    const ISSUER: &str = "https://id.example";
    const TOKEN: &str = "https://id.example/oauth2/token";
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SECRET: &[u8] = b"a-secret-of-more-than-thirty-two-bytes";

    fn claims() -> Value {
        let now = NOW.seconds();
        json!({ "iss": "web", "sub": "web", "aud": ISSUER, "exp": now + 60, "iat": now, "jti": "one" })
    }

    fn with(name: &str, value: impl Into<Value>) -> Value {
        let mut claims = claims();
        claims[name] = value.into();
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    fn jws(header: &Value, payload: &str, signer: &dyn JwsSigner) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let signature = signer.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn keyed(header: &Value, payload: &str) -> String {
        jws(header, payload, &HS256.signer_from_bytes(SECRET).unwrap())
    }

    /// What an assertion with these claims is refused for, its signature apart.
    fn judged(claims: &Value) -> Result<(), AssertionFault> {
        judged_text(&keyed(&json!({ "alg": "HS256" }), &claims.to_string()))
    }

    fn judged_text(text: &str) -> Result<(), AssertionFault> {
        Assertion::parse(text)?.check_claims(&[ISSUER, TOKEN], NOW)
    }

    #[test]
    fn the_claims_say_who_to_whom_and_for_how_long() {
        let now = NOW.seconds();
        for good in [
            claims(),
            with("aud", TOKEN),
            with("aud", json!(["https://other.example", TOKEN])),
            with("exp", now - 59),
            with("exp", now + 3660),
            with("exp", (now + 60) as f64 + 0.5),
            with("nbf", now + 8),
            with("nbf", now + 60),
            with("iat", now + 60),
            without("iat"),
            with("jti", "j".repeat(256)),
            with("extra", json!({ "any": 1e30 })),
        ] {
            assert_eq!(judged(&good), Ok(()), "{good}");
        }
        for (bad, fault) in [
            (with("aud", "https://id.example/"), AssertionFault::Audience(ISSUER.into())),
            (with("aud", json!([])), AssertionFault::Audience(ISSUER.into())),
            (with("exp", now - 60), AssertionFault::Expired),
            (with("exp", now - 300), AssertionFault::Expired),
            (with("exp", now + 3661), AssertionFault::TooLong),
            (with("nbf", now + 61), AssertionFault::NotYet("nbf")),
            (with("iat", now + 61), AssertionFault::NotYet("iat")),
            (with("iss", "other"), AssertionFault::IssuerIsNotSubject),
            (with("sub", "other"), AssertionFault::IssuerIsNotSubject),
            (with("jti", ""), AssertionFault::Jti),
            (with("jti", "j".repeat(257)), AssertionFault::Jti),
            (with("aud", 7), AssertionFault::Mistyped("aud")),
            (with("aud", json!([ISSUER, 7])), AssertionFault::Mistyped("aud")),
            (with("exp", 1e30), AssertionFault::Mistyped("exp")),
            (with("exp", "soon"), AssertionFault::Mistyped("exp")),
            (with("exp", u64::MAX), AssertionFault::Mistyped("exp")),
            (with("nbf", Value::Null), AssertionFault::Mistyped("nbf")),
            (with("jti", 7), AssertionFault::Mistyped("jti")),
        ] {
            assert_eq!(judged(&bad), Err(fault), "{bad}");
        }
        for name in ["iss", "sub", "aud", "exp", "jti"] {
            assert_eq!(judged(&without(name)), Err(AssertionFault::Missing(name)));
        }
    }

    #[test]
    fn what_is_no_assertion_is_named() {
        let payload = claims().to_string();
        for (header, fault) in [
            (json!({ "alg": "HS256", "typ": "jwt" }), None),
            (json!({ "alg": "HS256", "typ": "application/Client-Authentication+JWT" }), None),
            (json!({ "alg": "HS256", "typ": "at+jwt" }), Some(AssertionFault::Type)),
            (json!({ "alg": "HS256", "typ": "dpop+jwt" }), Some(AssertionFault::Type)),
            (json!({ "alg": "HS256", "typ": 7 }), Some(AssertionFault::Malformed)),
            (json!({ "alg": "HS256", "crit": [] }), Some(AssertionFault::Extension)),
            (json!({ "alg": "HS256", "b64": false }), Some(AssertionFault::Extension)),
            (json!({ "typ": "JWT" }), Some(AssertionFault::Malformed)),
            (json!([]), Some(AssertionFault::Malformed)),
        ] {
            assert_eq!(judged_text(&keyed(&header, &payload)).err(), fault, "{header}");
        }
        let twice = payload.replacen('{', r#"{"jti":"another","#, 1);
        for payload in ["[]", "7", "", &twice] {
            assert_eq!(
                judged_text(&keyed(&json!({ "alg": "HS256" }), payload)),
                Err(AssertionFault::Claims),
                "{payload}"
            );
        }
        let good = keyed(&json!({ "alg": "HS256" }), &payload);
        for text in ["", ".", "..", "a.b.c", &format!("{good}."), &format!("{good}="), &"x".repeat(LONGEST_TOKEN + 1)] {
            assert_eq!(judged_text(text), Err(AssertionFault::Malformed), "{text}");
        }
    }

    /// A pair of keys, and the public half as a client registers it.
    fn pair(kind: &str, kid: Option<&str>) -> (Jwk, Value) {
        let private = match kind {
            "EC" => Jwk::generate_ec_key(josekit::jwk::alg::ec::EcCurve::P256).unwrap(),
            _ => Jwk::generate_rsa_key(2048).unwrap(),
        };
        let mut public = serde_json::to_value(private.to_public_key().unwrap().as_ref()).unwrap();
        if let Some(kid) = kid {
            public["kid"] = kid.into();
        }
        (private, public)
    }

    fn key_set(keys: &[&Value]) -> KeySet {
        KeySet::of_all(&ClientJwks::registered(&json!({ "keys": keys })).unwrap()).unwrap()
    }

    fn checked(text: &str, keys: &KeySet, only: Option<AssertionAlg>) -> Result<(), AssertionFault> {
        Assertion::parse(text)?.check_key(keys, only)
    }

    #[test]
    fn the_registration_decides_key_and_algorithm() {
        let ((rsa, rsa_public), (ec, ec_public)) = (pair("RSA", Some("r")), pair("EC", Some("e")));
        let keys = key_set(&[&rsa_public, &ec_public]);
        let payload = claims().to_string();
        let header = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid });
        let rs256 = RS256.signer_from_jwk(&rsa).unwrap();
        let signed = jws(&header("RS256", "r"), &payload, &rs256);
        let ps256 = jws(&header("PS256", "r"), &payload, &PS256.signer_from_jwk(&rsa).unwrap());
        let es256 = jws(&header("ES256", "e"), &payload, &ES256.signer_from_jwk(&ec).unwrap());
        for text in [&signed, &ps256, &es256] {
            assert_eq!(checked(text, &keys, None), Ok(()));
        }
        assert_eq!(checked(&ps256, &keys, Some(AssertionAlg::PS256)), Ok(()));
        assert_eq!(checked(&signed, &keys, Some(AssertionAlg::PS256)), Err(AssertionFault::Alg));

        let nameless = jws(&json!({ "alg": "RS256" }), &payload, &rs256);
        assert_eq!(checked(&nameless, &keys, None), Ok(()), "every key may be meant");
        let renamed = jws(&header("RS256", "new"), &payload, &rs256);
        assert_eq!(checked(&renamed, &keys, None), Err(AssertionFault::UnknownKey), "a kid is believed");
        let other = jws(&header("RS256", "e"), &payload, &rs256);
        assert_eq!(checked(&other, &keys, None), Err(AssertionFault::KeyForOtherAlg));
        let lied = jws(&header("PS256", "r"), &payload, &rs256);
        assert_eq!(checked(&lied, &keys, None), Err(AssertionFault::Signature));
        let (stranger, _) = pair("RSA", None);
        let forged = jws(&header("RS256", "r"), &payload, &RS256.signer_from_jwk(&stranger).unwrap());
        assert_eq!(checked(&forged, &keys, None), Err(AssertionFault::Signature));
    }

    #[test]
    fn a_key_is_for_its_own_alg_and_may_have_no_name() {
        let (rsa, mut public) = pair("RSA", None);
        let keys = key_set(&[&public]);
        let payload = claims().to_string();
        let signed = |alg: &str, signer: &dyn JwsSigner| jws(&json!({ "alg": alg, "kid": "r" }), &payload, signer);
        let rs256 = signed("RS256", &RS256.signer_from_jwk(&rsa).unwrap());
        assert_eq!(checked(&rs256, &keys, None), Ok(()), "a key without a kid may be meant by any");
        public["alg"] = "PS256".into();
        public["kid"] = "r".into();
        let keys = key_set(&[&public]);
        assert_eq!(checked(&rs256, &keys, None), Err(AssertionFault::KeyForOtherAlg));
        assert_eq!(checked(&signed("PS256", &PS256.signer_from_jwk(&rsa).unwrap()), &keys, None), Ok(()));
    }

    #[test]
    fn no_public_key_is_taken_for_a_secret_and_no_secret_for_none() {
        let (_, public) = pair("RSA", Some("r"));
        let keys = key_set(&[&public]);
        let payload = claims().to_string();
        for secret in [public.to_string(), public["n"].as_str().unwrap().to_owned()] {
            let header = json!({ "alg": "HS256", "kid": "r" });
            let forged = jws(&header, &payload, &HS256.signer_from_bytes(secret.as_bytes()).unwrap());
            assert_eq!(checked(&forged, &keys, None), Err(AssertionFault::Alg));
            assert_eq!(checked(&forged, &keys, Some(AssertionAlg::HS256)), Err(AssertionFault::Alg));
        }
        for alg in ["none", "None", "", "HS384", "RS384", "ES256K"] {
            let message = keyed(&json!({ "alg": alg, "kid": "r" }), &payload);
            let unsigned = &message[..=message.rfind('.').unwrap()];
            for text in [message.as_str(), unsigned] {
                assert_eq!(checked(text, &keys, None), Err(AssertionFault::Alg), "{alg}");
                assert_eq!(Assertion::parse(text).unwrap().check_secret(SECRET), Err(AssertionFault::Alg), "{alg}");
            }
        }
    }

    #[test]
    fn the_secret_signs_by_hs256_alone() {
        let signed = keyed(&json!({ "alg": "HS256" }), &claims().to_string());
        let assertion = Assertion::parse(&signed).unwrap();
        assert_eq!(assertion.check_secret(SECRET), Ok(()));
        assert_eq!(assertion.check_secret(b"another secret"), Err(AssertionFault::Signature));
        let unsigned = &signed[..=signed.rfind('.').unwrap()];
        assert_eq!(Assertion::parse(unsigned).unwrap().check_secret(SECRET), Err(AssertionFault::Signature));
        assert!(!format!("{assertion:?}").contains("web"));
    }

    #[test]
    fn a_point_off_the_curve_is_no_key() {
        let coordinate = URL_SAFE_NO_PAD.encode([7; 32]);
        let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate }] });
        let jwks = ClientJwks::registered(&set).unwrap();
        assert_eq!(KeySet::of_all(&jwks).unwrap_err().0, 0);
        assert!(KeySet::of_usable(&jwks).is_empty());
    }

    #[test]
    fn an_assertion_is_named_by_its_client_and_its_jti() {
        let hash = |sub: &str, jti: &str| {
            let mut claims = with("sub", sub);
            claims["jti"] = jti.into();
            let text = keyed(&json!({ "alg": "HS256" }), &claims.to_string());
            Assertion::parse(&text).unwrap().hash()
        };
        assert_eq!(hash("web", "one"), hash("web", "one"));
        assert_ne!(hash("web", "one"), hash("web", "two"));
        assert_ne!(hash("web", "one"), hash("we", "bone"), "no two pairs run together");
        let text = keyed(&json!({ "alg": "HS256" }), &claims().to_string());
        let last = NOW.plus(Duration::from_secs(60)).plus(CLOCK_SKEW);
        assert_eq!(Assertion::parse(&text).unwrap().check_claims(&[ISSUER], last), Err(AssertionFault::Expired));
        assert!(Assertion::parse(&text).unwrap().keep_until() > last, "kept for longer than it counts");
    }

    proptest! {
        #[test]
        fn signed_nonsense_never_panics(
            exp in json_text("exp"), nbf in json_text("exp"), aud in json_text("exp"), jti in json_text("exp"), whole in json_text("exp"),
        ) {
            let payload = format!(
                r#"{{"iss":"web","sub":"web","aud":{aud},"exp":{exp},"nbf":{nbf},"jti":{jti}}}"#
            );
            for payload in [payload, whole] {
                let text = keyed(&json!({ "alg": "HS256" }), &payload);
                prop_assert!(judged_text(&text).is_err());
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", header in json_text("exp"), payload in json_text("exp")) {
            let _ = judged_text(&text);
            let header = URL_SAFE_NO_PAD.encode(header);
            let _ = judged_text(&format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode(payload), text));
        }
    }
}
