//! Verifying the tokens of other systems (RFC 7515 section 5.2, RFC 7519 section 7.2, RFC 8725), and deriving what each
//! of them becomes.
//!
//! Configuration decides algorithm and key, never the token: a secret is no PEM and a PEM no secret, and no key is tried
//! with an algorithm of another kind. Claims are read leniently where the libraries that made them are lenient (fractions
//! of seconds), and refused where nothing else is safe (no `exp`, a moment outside of the calendar).

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use josekit::jws::{ES256, ES384, ES512, JwsVerifier, PS256, PS384, PS512, RS256, RS384, RS512};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::claims::{LATEST, UniqueMembers};
use super::verify::{CLOCK_SKEW, LONGEST_TOKEN, is_access_token_type, present};
use crate::domain::error::Reason;
use crate::domain::ids::{ClientId, SessionId};
use crate::domain::legacy::{LegacyAlg, LegacyIssuer};
use crate::domain::secret::{Secret32, sha256};
use crate::domain::time::Timestamp;

/// What an issuer's signatures are checked with.
pub enum LegacyKey {
    Secret(Zeroizing<Vec<u8>>),
    /// A public key in PEM.
    Public(String),
}

impl fmt::Debug for LegacyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LegacyKey(..)")
    }
}

/// A key that is none for its algorithms.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegacyKeyFault {
    #[error("it is empty")]
    Empty,
    #[error("it is a PEM, which is no secret: a public key taken for one lets anybody sign")]
    PemAsSecret,
    #[error("{0} takes another kind of key")]
    WrongKind(&'static str),
    #[error("it is no public key for {alg} in PEM: {cause}")]
    NotAKey { alg: &'static str, cause: String },
}

/// One way to check a signature.
#[derive(Clone)]
enum Check {
    Hs256(Hmac<Sha256>),
    Hs384(Hmac<Sha384>),
    Hs512(Hmac<Sha512>),
    Public(Arc<dyn JwsVerifier>),
}

impl Check {
    fn new(alg: LegacyAlg, key: &LegacyKey) -> Result<Self, LegacyKeyFault> {
        let wrong = || LegacyKeyFault::WrongKind(alg.as_str());
        match (alg.wanted_secret(), key) {
            (Some(_), LegacyKey::Secret(secret)) => Self::of_secret(alg, secret).ok_or_else(wrong),
            (None, LegacyKey::Public(pem)) => {
                let not_a_key =
                    |error: josekit::JoseError| LegacyKeyFault::NotAKey { alg: alg.as_str(), cause: error.to_string() };
                Ok(Self::Public(public(alg, pem.as_bytes()).ok_or_else(wrong)?.map_err(not_a_key)?))
            }
            _ => Err(wrong()),
        }
    }

    fn of_secret(alg: LegacyAlg, secret: &[u8]) -> Option<Self> {
        // HMAC takes keys of every length.
        match alg {
            LegacyAlg::Hs256 => Hmac::new_from_slice(secret).ok().map(Self::Hs256),
            LegacyAlg::Hs384 => Hmac::new_from_slice(secret).ok().map(Self::Hs384),
            LegacyAlg::Hs512 => Hmac::new_from_slice(secret).ok().map(Self::Hs512),
            _ => None,
        }
    }

    fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        fn mac_holds<M: Mac + Clone>(mac: &M, message: &[u8], signature: &[u8]) -> bool {
            mac.clone().chain_update(message).verify_slice(signature).is_ok()
        }
        match self {
            Self::Hs256(mac) => mac_holds(mac, message, signature),
            Self::Hs384(mac) => mac_holds(mac, message, signature),
            Self::Hs512(mac) => mac_holds(mac, message, signature),
            Self::Public(verifier) => verifier.verify(message, signature).is_ok(),
        }
    }
}

/// `None` where the algorithm takes a secret.
fn public(alg: LegacyAlg, pem: &[u8]) -> Option<Result<Arc<dyn JwsVerifier>, josekit::JoseError>> {
    fn shared<V: JwsVerifier + 'static>(
        verifier: Result<V, josekit::JoseError>,
    ) -> Option<Result<Arc<dyn JwsVerifier>, josekit::JoseError>> {
        Some(verifier.map(|verifier| Arc::new(verifier) as _))
    }
    match alg {
        LegacyAlg::Hs256 | LegacyAlg::Hs384 | LegacyAlg::Hs512 => None,
        LegacyAlg::Rs256 => shared(RS256.verifier_from_pem(pem)),
        LegacyAlg::Rs384 => shared(RS384.verifier_from_pem(pem)),
        LegacyAlg::Rs512 => shared(RS512.verifier_from_pem(pem)),
        // Of a PEM the library takes no plain RSA key, which is what people have.
        LegacyAlg::Ps256 => shared(PS256.verifier_from_der(der_of(pem))),
        LegacyAlg::Ps384 => shared(PS384.verifier_from_der(der_of(pem))),
        LegacyAlg::Ps512 => shared(PS512.verifier_from_der(der_of(pem))),
        LegacyAlg::Es256 => shared(ES256.verifier_from_pem(pem)),
        LegacyAlg::Es384 => shared(ES384.verifier_from_pem(pem)),
        LegacyAlg::Es512 => shared(ES512.verifier_from_pem(pem)),
    }
}

/// What is between the lines of dashes; nothing where that is no base64.
fn der_of(pem: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(pem);
    let body = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let body: String = body.take_while(|line| !line.starts_with("-----END")).collect();
    STANDARD.decode(body).unwrap_or_default()
}

/// An issuer and what its signatures are checked with: built once, shared by all requests.
pub struct LegacyVerifier {
    issuer: LegacyIssuer,
    checks: HashMap<&'static str, Check>,
    weak: Option<WeakSecret>,
}

/// A secret that is shorter than the hash it goes into (RFC 7518 section 3.2): easier to guess than the hash is to break.
/// Real systems have such, and their tokens are taken until the cut-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeakSecret {
    pub alg: LegacyAlg,
    /// Bytes that there should be.
    pub wanted: usize,
    /// Bytes that there are.
    pub given: usize,
}

impl fmt::Debug for LegacyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegacyVerifier").field("issuer", &self.issuer.name).finish_non_exhaustive()
    }
}

/// A foreign token that names a user and may open a session, or could have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyToken {
    /// SHA-256 of what the signature protects. Not of the text: who knows a token can spell its signature in more than
    /// one way (ECDSA has two for every message, some decoders take padding), and a copy is no second token.
    pub hash: [u8; 32],
    /// What its issuer calls the user.
    pub user: String,
    /// Its `iat`.
    pub issued_at: Option<Timestamp>,
    /// When the session began, as far as the token tells.
    pub started_at: Option<Timestamp>,
    /// When the session ends at the latest, where the token tells.
    pub ends_at: Option<Timestamp>,
    /// When it expires, leeway included.
    pub expires_at: Timestamp,
    /// Why it opens no session any more.
    pub lapsed: Option<Reason>,
}

/// Why a token with a good signature is not taken: for the operator, who reads it in the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LegacyRefusal {
    /// The client is not among the issuer's `clients`.
    Client,
    /// It is something else: an access token or ID token of Latchkey's own (RFC 8725 section 3.11).
    Type,
    /// Its payload is no JSON object, or has a claim twice.
    Claims,
    /// `exp` is missing or no moment.
    Expiry,
    /// `nbf`, `iat` or the start is no moment, or lies in the future.
    NotYet,
    Issuer,
    Audience,
    /// One of `require`.
    Required,
    /// The claim that names the user is missing, or neither a text nor a whole number.
    User,
    /// `started_claim` or `ends_claim` is missing.
    Session,
    /// Its issuer had blacklisted it.
    Denied,
    /// There is no such user.
    UnknownUser,
    UserDisabled,
    /// All sessions of the user were ended after this login.
    LoggedOut,
    /// It has expired, and nobody has redeemed it.
    Expired,
    CutOff,
    /// Its session would be over by now.
    TooOld,
}

impl LegacyRefusal {
    /// The word in the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Type => "type",
            Self::Claims => "claims",
            Self::Expiry => "exp",
            Self::NotYet => "not_yet",
            Self::Issuer => "iss",
            Self::Audience => "aud",
            Self::Required => "require",
            Self::User => "user_claim",
            Self::Session => "session_claims",
            Self::Denied => "denied",
            Self::UnknownUser => "unknown_user",
            Self::UserDisabled => "user_disabled",
            Self::LoggedOut => "logged_out",
            Self::Expired => "expired",
            Self::CutOff => "cut_off",
            Self::TooOld => "too_old",
        }
    }

    /// What the client is told.
    pub const fn public(self) -> Reason {
        match self {
            Self::Denied | Self::LoggedOut => Reason::Revoked,
            Self::UserDisabled => Reason::UserDisabled,
            Self::CutOff => Reason::CutOff,
            Self::TooOld => Reason::AbsoluteExpired,
            _ => Reason::TokenInactive,
        }
    }
}

/// What a text turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Examined<'a> {
    /// No issuer's signature is good, or it is no JWT at all: nothing of it is believed.
    Nobodys,
    /// Some issuer's, and not taken.
    Refused {
        issuer: &'a LegacyIssuer,
        hash: [u8; 32],
        refusal: LegacyRefusal,
    },
    Taken {
        issuer: &'a LegacyIssuer,
        token: LegacyToken,
    },
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<Value>,
    #[serde(default)]
    kid: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
}

/// What tells Latchkey's own tokens from the former system's, whose imported key signs them by now.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// Latchkey's `iss`, which may be the former system's as well.
    pub issuer: &'a str,
    /// Whether a key of that name is or was Latchkey's.
    pub knows: &'a dyn Fn(&str) -> bool,
}

impl Own<'_> {
    /// An access token by its type; whatever else we sign by the key that it names and the issuer in it.
    fn wrote(&self, header: &Header, claims: &Map<String, Value>) -> bool {
        let named = header.kid.as_ref().and_then(Value::as_str);
        header.typ.as_ref().and_then(Value::as_str).is_some_and(is_access_token_type)
            || (named.is_some_and(self.knows) && claims.get("iss").and_then(Value::as_str) == Some(self.issuer))
    }
}

/// Every issuer, and the key that sessions are derived with.
pub struct LegacyIssuers {
    issuers: Vec<LegacyVerifier>,
    key: Secret32,
}

/// None, and so nothing to derive from.
impl Default for LegacyIssuers {
    fn default() -> Self {
        Self { issuers: Vec::new(), key: Secret32::new([0; 32]) }
    }
}

impl fmt::Debug for LegacyIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LegacyIssuers").field(&self.issuers).finish()
    }
}

impl LegacyVerifier {
    /// # Errors
    /// The key is none for one of the issuer's algorithms.
    pub fn new(issuer: LegacyIssuer, key: &LegacyKey) -> Result<Self, LegacyKeyFault> {
        if let LegacyKey::Secret(secret) = key {
            if secret.is_empty() {
                return Err(LegacyKeyFault::Empty);
            }
            if secret.windows(10).any(|window| window == b"-----BEGIN") {
                return Err(LegacyKeyFault::PemAsSecret);
            }
        }
        let checks = issuer.algorithms.iter().map(|alg| Ok((alg.as_str(), Check::new(*alg, key)?)));
        let checks = checks.collect::<Result<_, _>>()?;
        let weak = match key {
            LegacyKey::Secret(secret) => issuer.algorithms.iter().find_map(|alg| {
                let wanted = alg.wanted_secret().filter(|wanted| secret.len() < *wanted)?;
                Some(WeakSecret { alg: *alg, wanted, given: secret.len() })
            }),
            LegacyKey::Public(_) => None,
        };
        Ok(Self { issuer, checks, weak })
    }

    pub const fn weak_secret(&self) -> Option<WeakSecret> {
        self.weak
    }

    pub const fn issuer(&self) -> &LegacyIssuer {
        &self.issuer
    }
}

impl LegacyIssuers {
    /// `key` is the same after a restart and on every node.
    pub fn new(issuers: Vec<LegacyVerifier>, key: Secret32) -> Self {
        Self { issuers, key }
    }

    pub fn iter(&self) -> impl Iterator<Item = &LegacyIssuer> {
        self.issuers.iter().map(LegacyVerifier::issuer)
    }

    /// The id of the session that a token opens, and that session's first refresh secret.
    pub fn derive(&self, hash: &[u8; 32]) -> (SessionId, Secret32) {
        let mut id = [0; 16];
        id.copy_from_slice(&derived(&self.key, b"session", hash)[..16]);
        (SessionId::from_bytes(id), Secret32::new(derived(&self.key, b"secret", hash)))
    }

    /// Finds out whose the token is. Where several issuers share a key, the first that takes it has it.
    pub fn examine(&self, own: Own<'_>, client_id: &ClientId, token: &str, now: Timestamp) -> Examined<'_> {
        let Some(parsed) = Parsed::of(token) else { return Examined::Nobodys };
        let mut refused = None;
        for LegacyVerifier { issuer, checks, .. } in &self.issuers {
            let check = checks.get(parsed.header.alg.as_str());
            if !check.is_some_and(|check| check.holds(parsed.message.as_bytes(), &parsed.signature)) {
                continue;
            }
            match judge(issuer, own, client_id, &parsed, now) {
                Ok(token) => return Examined::Taken { issuer, token },
                // One whose conditions it fails may come before the one that it is meant for.
                Err(refusal) => {
                    let hash = sha256(parsed.message.as_bytes());
                    refused = refused.or(Some(Examined::Refused { issuer, hash, refusal }));
                }
            }
        }
        refused.unwrap_or(Examined::Nobodys)
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn derived(key: &Secret32, label: &[u8], hash: &[u8; 32]) -> [u8; 32] {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose()).expect("HMAC takes keys of every length");
    mac.chain_update(label).chain_update(hash).finalize().into_bytes().into()
}

/// A token taken apart, its signature not yet checked.
struct Parsed<'t> {
    header: Header,
    message: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Parsed<'t> {
    fn of(token: &'t str) -> Option<Self> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let decode = |segment: &str| URL_SAFE_NO_PAD.decode(segment).ok();
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit || header.b64 {
            return None;
        }
        Some(Self { header, message, payload: decode(payload)?, signature: decode(signature)? })
    }
}

/// Holds a token whose signature is good against its issuer's conditions.
fn judge(
    issuer: &LegacyIssuer,
    own: Own<'_>,
    client_id: &ClientId,
    parsed: &Parsed<'_>,
    now: Timestamp,
) -> Result<LegacyToken, LegacyRefusal> {
    if !issuer.clients.contains(client_id) {
        return Err(LegacyRefusal::Client);
    }
    let UniqueMembers(claims) = serde_json::from_slice(&parsed.payload).map_err(|_| LegacyRefusal::Claims)?;
    // None of Latchkey's own tokens is a login.
    if own.wrote(&parsed.header, &claims) {
        return Err(LegacyRefusal::Type);
    }
    let expires_at = claims.get("exp").and_then(moment).ok_or(LegacyRefusal::Expiry)?.plus(issuer.leeway);
    let latest = now.plus(CLOCK_SKEW);
    for name in ["nbf", "iat"] {
        if claims.get(name).is_some_and(|value| moment(value).is_none_or(|at| at > latest)) {
            return Err(LegacyRefusal::NotYet);
        }
    }
    conditions(issuer, &claims)?;

    let named = |name: &Option<String>| match name {
        Some(name) => find(&claims, name).and_then(moment).map(Some).ok_or(LegacyRefusal::Session),
        None => Ok(None),
    };
    let issued_at = claims.get("iat").and_then(moment);
    let started_at = named(&issuer.started_claim)?.or(issued_at);
    if started_at.is_some_and(|at| at > latest) {
        return Err(LegacyRefusal::NotYet);
    }
    let user = find(&claims, &issuer.user_claim).and_then(name_of).ok_or(LegacyRefusal::User)?;
    // drf-jwt blacklists a renewed token by the id of the first of its line.
    let is_denied = |name| claims.get(name).and_then(name_of).is_some_and(|id| issuer.denied.contains(&denied_id(&id)));
    if is_denied("jti") || is_denied("orig_jti") {
        return Err(LegacyRefusal::Denied);
    }
    let lapsed =
        if now >= issuer.cut_off { Some(Reason::CutOff) } else { (now >= expires_at).then_some(Reason::TokenInactive) };
    Ok(LegacyToken {
        hash: sha256(parsed.message.as_bytes()),
        user,
        issued_at,
        // A clock that is ahead does not lengthen the session.
        started_at: started_at.map(|at| at.min(now)),
        ends_at: named(&issuer.ends_claim)?,
        expires_at,
        lapsed,
    })
}

/// An id as lists of blacklisted tokens are compared: a UUID is stored with dashes here and without them there.
fn denied_id(id: &str) -> String {
    id.chars().filter(|c| *c != '-').collect()
}

/// What must be as configured.
fn conditions(issuer: &LegacyIssuer, claims: &Map<String, Value>) -> Result<(), LegacyRefusal> {
    if issuer.issuer.as_ref().is_some_and(|wanted| claims.get("iss").and_then(Value::as_str) != Some(wanted)) {
        return Err(LegacyRefusal::Issuer);
    }
    let is_for = |wanted: &str| match claims.get("aud") {
        Some(Value::String(only)) => only == wanted,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    };
    if issuer.audience.as_ref().is_some_and(|wanted| !is_for(wanted)) {
        return Err(LegacyRefusal::Audience);
    }
    if issuer.require.iter().any(|(name, wanted)| find(claims, name) != Some(wanted)) {
        return Err(LegacyRefusal::Required);
    }
    Ok(())
}

/// A claim by its name, or within others: `user.id` where no claim has that very name.
fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| {
        let mut names = name.split('.');
        let first = claims.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_object()?.get(name))
    })
}

/// RFC 7519 section 2: seconds since 1970, which some write with fractions. `None` outside of the calendar.
pub(super) fn moment(value: &Value) -> Option<Timestamp> {
    let number = value.as_number()?;
    if let Some(seconds) = number.as_u64() {
        return i64::try_from(seconds).ok().filter(|_| seconds <= LATEST).map(Timestamp::from_seconds);
    }
    let seconds = number.as_f64()?;
    let within = (0.0..=LATEST as f64).contains(&seconds);
    // Whole milliseconds below 2^53: nothing is cut off.
    within.then(|| Timestamp::from_millis((seconds * 1000.0) as i64))
}

/// A text, or a whole number as people write it. The same user is `1` to one version of a library and `"1"` to the next.
fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Tokens that an issuer has blacklisted, from a file of one `jti` a line. Empty lines and those that begin with `#` are
/// skipped.
pub fn denied_of(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(denied_id).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use josekit::jws::JwsSigner;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::legacy::UserBy;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    /// A Latchkey that has nothing to do with the former system.
    const STRANGE: Own<'static> = Own { issuer: "https://id.example", knows: &|_| false };
    const SECRET: &[u8] = b"a secret of the former system's, thirty-two bytes and more";

    fn issuer(algorithms: &[LegacyAlg]) -> LegacyIssuer {
        LegacyIssuer {
            name: "old".into(),
            algorithms: algorithms.to_vec(),
            issuer: None,
            audience: None,
            user_claim: "user_id".into(),
            user_by: UserBy::ExternalId,
            started_claim: None,
            ends_claim: None,
            require: Map::new(),
            clients: vec![ClientId::new("web")],
            denied: BTreeSet::new(),
            leeway: Duration::ZERO,
            cut_off: NOW.plus(Duration::from_secs(1_000_000)),
        }
    }

    fn secret() -> LegacyKey {
        LegacyKey::Secret(Zeroizing::new(SECRET.to_vec()))
    }

    fn issuers(issuers: Vec<(LegacyIssuer, LegacyKey)>) -> LegacyIssuers {
        let verifiers = issuers.into_iter().map(|(issuer, key)| LegacyVerifier::new(issuer, &key).unwrap());
        LegacyIssuers::new(verifiers.collect(), Secret32::new([7; 32]))
    }

    fn of(issuer: LegacyIssuer) -> LegacyIssuers {
        issuers(vec![(issuer, secret())])
    }

    /// As HS256 of the former system, header and payload as they are given.
    fn signed(header: &Value, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET).unwrap();
        let signature = mac.chain_update(&message).finalize().into_bytes();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn good() -> Value {
        json!({ "user_id": 42, "iat": 1_799_999_000, "exp": 1_800_000_100 })
    }

    fn with(change: Value) -> String {
        let mut claims = good();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims.to_string())
    }

    fn examined(issuers: &LegacyIssuers, token: &str) -> Result<LegacyToken, LegacyRefusal> {
        match issuers.examine(STRANGE, &ClientId::new("web"), token, NOW) {
            Examined::Taken { token, .. } => Ok(token),
            Examined::Refused { refusal, .. } => Err(refusal),
            Examined::Nobodys => panic!("nobody's: {token}"),
        }
    }

    fn refusal(issuers: &LegacyIssuers, change: Value) -> Option<LegacyRefusal> {
        examined(issuers, &with(change)).err()
    }

    #[track_caller]
    fn is_nobodys(issuers: &LegacyIssuers, token: &str) {
        assert_eq!(issuers.examine(STRANGE, &ClientId::new("web"), token, NOW), Examined::Nobodys, "{token}");
    }

    /// A signer per algorithm that has key pairs, and its public key.
    fn key_pairs() -> Vec<(LegacyAlg, Box<dyn JwsSigner>, String)> {
        use LegacyAlg::{Es256, Es384, Es512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let rsa = RS256.generate_key_pair(2048).unwrap();
        let (private, public) = (rsa.to_der_private_key(), String::from_utf8(rsa.to_pem_public_key()).unwrap());
        let mut pairs: Vec<(LegacyAlg, Box<dyn JwsSigner>, String)> = vec![
            (Rs256, Box::new(RS256.signer_from_der(&private).unwrap()), public.clone()),
            (Rs384, Box::new(RS384.signer_from_der(&private).unwrap()), public.clone()),
            (Rs512, Box::new(RS512.signer_from_der(&private).unwrap()), public.clone()),
            (Ps256, Box::new(PS256.signer_from_der(&private).unwrap()), public.clone()),
            (Ps384, Box::new(PS384.signer_from_der(&private).unwrap()), public.clone()),
            (Ps512, Box::new(PS512.signer_from_der(&private).unwrap()), public),
        ];
        for (alg, curve) in [(Es256, ES256), (Es384, ES384), (Es512, ES512)] {
            let pair = curve.generate_key_pair().unwrap();
            let signer = curve.signer_from_pem(pair.to_pem_private_key()).unwrap();
            pairs.push((alg, Box::new(signer), String::from_utf8(pair.to_pem_public_key()).unwrap()));
        }
        pairs
    }

    fn signed_by(signer: &dyn JwsSigner, alg: &str) -> String {
        let header = json!({ "alg": alg, "typ": "JWT" }).to_string();
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good().to_string()));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()).unwrap()))
    }

    #[test]
    fn a_token_of_every_algorithm_is_taken_by_its_own_issuer_alone() {
        use LegacyAlg::{Hs256, Hs384, Hs512};
        let message = |alg: LegacyAlg| {
            let header = json!({ "alg": alg.as_str() }).to_string();
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good().to_string()))
        };
        macro_rules! mac {
            ($hash:ty, $alg:expr) => {{
                let message = message($alg);
                let mac = <Hmac<$hash> as KeyInit>::new_from_slice(SECRET).unwrap();
                let signature = mac.chain_update(&message).finalize().into_bytes();
                ($alg, format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
            }};
        }
        let secrets = [mac!(Sha256, Hs256), mac!(Sha384, Hs384), mac!(Sha512, Hs512)];
        let pairs = key_pairs();
        for (alg, token) in &secrets {
            let only = of(issuer(&[*alg]));
            assert_eq!(examined(&only, token).unwrap().user, "42", "{}", alg.as_str());
            secrets.iter().filter(|(other, _)| other != alg).for_each(|(_, token)| is_nobodys(&only, token));
            assert!(examined(&of(issuer(&[Hs256, Hs384, Hs512])), token).is_ok());
        }
        for (alg, signer, public) in &pairs {
            let only = issuers(vec![(issuer(&[*alg]), LegacyKey::Public(public.clone()))]);
            assert!(examined(&only, &signed_by(&**signer, alg.as_str())).is_ok(), "{}", alg.as_str());
            for (other, signer, _) in pairs.iter().filter(|(other, ..)| other != alg) {
                // By its own name, and under the one that the issuer wants.
                is_nobodys(&only, &signed_by(&**signer, other.as_str()));
                is_nobodys(&only, &signed_by(&**signer, alg.as_str()));
            }
        }
    }

    #[test]
    fn no_key_is_taken_for_one_of_another_kind() {
        let (alg, _, public) = key_pairs().swap_remove(0);
        let pem = LegacyKey::Secret(Zeroizing::new(public.clone().into_bytes()));
        let fault = |issuer, key: &LegacyKey| LegacyVerifier::new(issuer, key).unwrap_err();
        assert_eq!(fault(issuer(&[LegacyAlg::Hs256]), &pem), LegacyKeyFault::PemAsSecret);
        assert_eq!(fault(issuer(&[alg]), &secret()), LegacyKeyFault::WrongKind("RS256"));
        let public_key = LegacyKey::Public(public.clone());
        assert_eq!(fault(issuer(&[LegacyAlg::Hs256]), &public_key), LegacyKeyFault::WrongKind("HS256"));
        assert_eq!(
            fault(issuer(&[LegacyAlg::Rs256, LegacyAlg::Hs256]), &public_key),
            LegacyKeyFault::WrongKind("HS256")
        );
        assert!(matches!(fault(issuer(&[LegacyAlg::Es256]), &public_key), LegacyKeyFault::NotAKey { .. }));
        let empty = LegacyKey::Secret(Zeroizing::new(Vec::new()));
        assert_eq!(fault(issuer(&[LegacyAlg::Hs256]), &empty), LegacyKeyFault::Empty);

        // The classic: HS256 under the text of the public key, against an issuer of RS256.
        let message = {
            let header = json!({ "alg": "HS256" }).to_string();
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good().to_string()))
        };
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(public.as_bytes()).unwrap();
        let signature = URL_SAFE_NO_PAD.encode(mac.chain_update(&message).finalize().into_bytes());
        let rsa = issuers(vec![(issuer(&[alg]), public_key)]);
        is_nobodys(&rsa, &format!("{message}.{signature}"));
        let renamed = URL_SAFE_NO_PAD.encode(json!({ "alg": "RS256" }).to_string());
        is_nobodys(&rsa, &format!("{renamed}.{}.{signature}", message.split_once('.').unwrap().1));
    }

    #[test]
    fn the_algorithm_is_the_issuers_to_choose() {
        let only = of(issuer(&[LegacyAlg::Hs256]));
        for alg in
            [json!("none"), json!("None"), json!("HS384"), json!("RS256"), json!(""), json!(null), json!(["HS256"])]
        {
            is_nobodys(&only, &signed(&json!({ "alg": alg }), &good().to_string()));
        }
        let unsigned = with(json!({}));
        is_nobodys(&only, &unsigned[..=unsigned.rfind('.').unwrap()]);
        for member in ["crit", "b64"] {
            is_nobodys(&only, &signed(&json!({ "alg": "HS256", member: [] }), &good().to_string()));
        }
    }

    #[test]
    fn another_spelling_of_a_token_is_the_same_token_or_none() {
        let only = of(issuer(&[LegacyAlg::Hs256]));
        let token = with(json!({}));
        let hash = examined(&only, &token).unwrap().hash;
        assert_ne!(examined(&only, &with(json!({ "iat": 1_799_999_001 }))).unwrap().hash, hash);
        let (last, rest) = (token.chars().next_back().unwrap(), &token[..token.len() - 1]);
        for spelling in [
            format!("{token}="),
            format!(" {token}"),
            format!("{token}\n"),
            format!("{token}."),
            // 32 bytes leave two bits of the last character over.
            format!("{rest}{}", char::from(u8::try_from(last).unwrap() + 1)),
            token.replacen('.', "=.", 1),
        ] {
            is_nobodys(&only, &spelling);
        }

        // Who has r and s has r and n - s: another signature of the same.
        let (_, signer, public) = key_pairs().into_iter().find(|(alg, ..)| *alg == LegacyAlg::Es256).unwrap();
        let ec = issuers(vec![(issuer(&[LegacyAlg::Es256]), LegacyKey::Public(public))]);
        let token = signed_by(&*signer, "ES256");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let (r, s) = signature.split_scalars();
        let twin = p256::ecdsa::Signature::from_scalars(*r, *-s).unwrap();
        let twin = format!("{message}.{}", URL_SAFE_NO_PAD.encode(twin.to_bytes()));
        assert_ne!(twin, token);
        assert_eq!(examined(&ec, &twin).unwrap().hash, examined(&ec, &token).unwrap().hash);
    }

    #[test]
    fn each_condition_is_held() {
        let strict = LegacyIssuer {
            issuer: Some("https://old.example".into()),
            audience: Some("forum".into()),
            require: json!({ "token_type": "refresh", "v.major": 2 }).as_object().cloned().unwrap(),
            started_claim: Some("orig_iat".into()),
            ends_claim: Some("refresh_exp".into()),
            denied: BTreeSet::from(["gone".into(), "7".into()]),
            ..issuer(&[LegacyAlg::Hs256])
        };
        let strict = of(strict);
        let fine = json!({
            "iss": "https://old.example", "aud": ["x", "forum"], "token_type": "refresh", "v": { "major": 2 },
            "orig_iat": 1_799_990_000, "refresh_exp": 1_800_500_000, "jti": "kept",
        });
        let token = examined(&strict, &with(fine.clone())).unwrap();
        assert_eq!(token.started_at, Some(Timestamp::from_seconds(1_799_990_000)));
        assert_eq!(token.ends_at, Some(Timestamp::from_seconds(1_800_500_000)));
        for (change, expected) in [
            (json!({ "iss": "https://old.example/" }), LegacyRefusal::Issuer),
            (json!({ "iss": null }), LegacyRefusal::Issuer),
            (json!({ "aud": "other" }), LegacyRefusal::Audience),
            (json!({ "aud": [["forum"]] }), LegacyRefusal::Audience),
            (json!({ "aud": null }), LegacyRefusal::Audience),
            (json!({ "token_type": "access" }), LegacyRefusal::Required),
            (json!({ "v": { "major": "2" } }), LegacyRefusal::Required),
            (json!({ "v": null }), LegacyRefusal::Required),
            (json!({ "orig_iat": null }), LegacyRefusal::Session),
            (json!({ "refresh_exp": "soon" }), LegacyRefusal::Session),
            (json!({ "orig_iat": 1_800_000_061 }), LegacyRefusal::NotYet),
            (json!({ "user_id": null }), LegacyRefusal::User),
            (json!({ "user_id": "" }), LegacyRefusal::User),
            (json!({ "user_id": 1.5 }), LegacyRefusal::User),
            (json!({ "user_id": true }), LegacyRefusal::User),
            (json!({ "user_id": { "id": 1 } }), LegacyRefusal::User),
            (json!({ "jti": "gone" }), LegacyRefusal::Denied),
            (json!({ "jti": "go-ne" }), LegacyRefusal::Denied),
            (json!({ "orig_jti": "gone" }), LegacyRefusal::Denied),
            (json!({ "jti": 7 }), LegacyRefusal::Denied),
        ] {
            let mut claims = fine.clone();
            claims.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
            assert_eq!(refusal(&strict, claims), Some(expected), "{change}");
        }
        let other = strict.examine(STRANGE, &ClientId::new("other"), &with(fine), NOW);
        assert!(matches!(other, Examined::Refused { refusal: LegacyRefusal::Client, .. }), "{other:?}");
    }

    #[test]
    fn times_are_read_as_the_libraries_write_them_and_nothing_else_is_a_time() {
        let only = of(issuer(&[LegacyAlg::Hs256]));
        for exp in [json!(1_800_000_100), json!(1_800_000_100.75), json!(1.8000001e9), json!(253_402_300_799_u64)] {
            assert_eq!(refusal(&only, json!({ "exp": exp })), None, "{exp}");
        }
        let fraction = examined(&only, &with(json!({ "exp": 1_800_000_100.75, "iat": 1_799_999_000.5 }))).unwrap();
        assert_eq!(fraction.expires_at, Timestamp::from_millis(1_800_000_100_750));
        assert_eq!(fraction.started_at, Some(Timestamp::from_millis(1_799_999_000_500)));
        let odd = [
            json!(1e30),
            json!(-1),
            json!(-0.5),
            json!("1800000100"),
            json!(null),
            json!([]),
            json!(253_402_300_800_u64),
            json!(u64::MAX),
            json!(1.7e12),
            json!(f64::MAX),
        ];
        for odd in odd {
            assert_eq!(refusal(&only, json!({ "exp": odd })), Some(LegacyRefusal::Expiry), "exp {odd}");
            assert_eq!(refusal(&only, json!({ "iat": odd })), Some(LegacyRefusal::NotYet), "iat {odd}");
            assert_eq!(refusal(&only, json!({ "nbf": odd })), Some(LegacyRefusal::NotYet), "nbf {odd}");
        }
        for text in ["{}", r#"{"user_id":1,"iat":1}"#] {
            let token = signed(&json!({ "alg": "HS256" }), text);
            assert_eq!(examined(&only, &token), Err(LegacyRefusal::Expiry), "exp is required");
        }
        for name in ["nbf", "iat"] {
            assert_eq!(refusal(&only, json!({ name: 1_800_000_060 })), None, "clocks differ");
            assert_eq!(refusal(&only, json!({ name: 1_800_000_061 })), Some(LegacyRefusal::NotYet));
        }
        let ahead = examined(&only, &with(json!({ "iat": 1_800_000_060 }))).unwrap();
        assert_eq!(ahead.started_at, Some(NOW), "nobody gains by a clock that is ahead");
        let none = signed(&json!({ "alg": "HS256" }), r#"{"user_id":"x","exp":1800000001}"#);
        assert_eq!(examined(&only, &none).unwrap().started_at, None);
    }

    #[test]
    fn a_token_lapses_at_its_expiry_and_at_the_cut_off() {
        let lapsed = |leeway, cut_off, exp: i64| {
            let issuer = LegacyIssuer { leeway: Duration::from_secs(leeway), cut_off, ..issuer(&[LegacyAlg::Hs256]) };
            examined(&of(issuer), &with(json!({ "exp": exp }))).unwrap().lapsed
        };
        let later = NOW.plus(Duration::from_millis(1));
        assert_eq!(lapsed(0, later, 1_800_000_001), None);
        assert_eq!(lapsed(0, later, 1_800_000_000), Some(Reason::TokenInactive));
        assert_eq!(lapsed(30, later, 1_799_999_971), None);
        assert_eq!(lapsed(30, later, 1_799_999_970), Some(Reason::TokenInactive));
        assert_eq!(lapsed(0, NOW, 1_800_000_001), Some(Reason::CutOff));
    }

    #[test]
    fn a_payload_is_one_object_with_every_claim_once_and_an_access_token_is_no_login() {
        let only = of(issuer(&[LegacyAlg::Hs256]));
        let plain = json!({ "alg": "HS256" });
        for payload in ["[]", "1", "", "{", r#"{"exp":1800000001,"user_id":1,"user_id":2}"#] {
            assert_eq!(examined(&only, &signed(&plain, payload)), Err(LegacyRefusal::Claims), "{payload}");
        }
        for (typ, expected) in [("at+jwt", true), ("application/AT+JWT", true), ("JWT", false), ("Bearer", false)] {
            let token = signed(&json!({ "alg": "HS256", "typ": typ }), &good().to_string());
            assert_eq!(examined(&only, &token).err(), expected.then_some(LegacyRefusal::Type), "{typ}");
        }
    }

    #[test]
    fn an_id_token_of_latchkeys_own_is_no_login_either() {
        let only = of(issuer(&[LegacyAlg::Hs256]));
        let own = Own { issuer: "https://id.example", knows: &|kid| kid == "ours" };
        for (header, iss, expected) in [
            (json!({ "alg": "HS256", "typ": "JWT", "kid": "ours" }), "https://id.example", true),
            (json!({ "alg": "HS256", "kid": "ours" }), "https://id.example", true),
            // The former system had the same name, or called its key the same.
            (json!({ "alg": "HS256", "typ": "JWT", "kid": "theirs" }), "https://id.example", false),
            (json!({ "alg": "HS256", "typ": "JWT" }), "https://id.example", false),
            (json!({ "alg": "HS256", "typ": "JWT", "kid": "ours" }), "https://old.example", false),
        ] {
            let mut claims = good();
            claims["iss"] = json!(iss);
            let token = signed(&header, &claims.to_string());
            let refused = match only.examine(own, &ClientId::new("web"), &token, NOW) {
                Examined::Refused { refusal, .. } => Some(refusal),
                _ => None,
            };
            assert_eq!(refused, expected.then_some(LegacyRefusal::Type), "{header} {iss}");
        }
    }

    #[test]
    fn a_user_is_named_by_a_text_or_a_number_wherever_it_stands() {
        for (claim, claims, expected) in [
            ("user_id", json!({ "user_id": 42 }), "42"),
            ("user_id", json!({ "user_id": "42" }), "42"),
            ("user_id", json!({ "user_id": u64::MAX }), "18446744073709551615"),
            ("user.id", json!({ "user": { "id": "abc" } }), "abc"),
            ("https://old.example/user", json!({ "https://old.example/user": "x" }), "x"),
            ("a.b", json!({ "a.b": "whole", "a": { "b": "part" } }), "whole"),
        ] {
            let only = of(LegacyIssuer { user_claim: claim.into(), ..issuer(&[LegacyAlg::Hs256]) });
            assert_eq!(examined(&only, &with(claims)).unwrap().user, expected, "{claim}");
        }
    }

    #[test]
    fn issuers_that_share_a_secret_are_told_apart_by_their_conditions() {
        let kind = |name: &str, token_type: &str, client: &str| LegacyIssuer {
            name: name.into(),
            require: json!({ "token_type": token_type }).as_object().cloned().unwrap(),
            clients: vec![ClientId::new(client)],
            ..issuer(&[LegacyAlg::Hs256])
        };
        let both = issuers(vec![
            (kind("pair", "refresh", "web"), secret()),
            (kind("sliding", "sliding", "web"), secret()),
            (kind("others", "refresh", "other"), secret()),
        ]);
        let name = |token: &str, client: &str| match both.examine(STRANGE, &ClientId::new(client), token, NOW) {
            Examined::Taken { issuer, .. } => issuer.name.clone(),
            Examined::Refused { issuer, refusal, .. } => format!("{} {}", issuer.name, refusal.as_str()),
            Examined::Nobodys => "nobody".into(),
        };
        let (refresh, sliding) = (with(json!({ "token_type": "refresh" })), with(json!({ "token_type": "sliding" })));
        assert_eq!(name(&refresh, "web"), "pair");
        assert_eq!(name(&sliding, "web"), "sliding");
        assert_eq!(name(&refresh, "other"), "others");
        assert_eq!(name(&sliding, "other"), "pair client", "the first refusal is the one that is told");
    }

    #[test]
    fn what_is_derived_depends_on_the_token_and_the_key() {
        let (one, other) = (LegacyIssuers::new(Vec::new(), Secret32::new([1; 32])), of(issuer(&[LegacyAlg::Hs256])));
        let (a, b) = ([1; 32], [2; 32]);
        assert_eq!(one.derive(&a), one.derive(&a));
        let all = [one.derive(&a), one.derive(&b), other.derive(&a)];
        for (index, (sid, secret)) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|(id, s)| id != sid && s != secret));
            assert_ne!(
                &secret.expose()[..16],
                sid.as_bytes(),
                "a session id, which is in every token, tells no secret"
            );
        }
    }

    #[test]
    fn a_secret_shorter_than_its_hash_is_taken_and_told() {
        let weak = |algorithms: &[LegacyAlg], length: usize| {
            let key = LegacyKey::Secret(Zeroizing::new(vec![b'x'; length]));
            LegacyVerifier::new(issuer(algorithms), &key).unwrap().weak_secret()
        };
        assert_eq!(weak(&[LegacyAlg::Hs256], 32), None);
        let told = WeakSecret { alg: LegacyAlg::Hs512, wanted: 64, given: 63 };
        assert_eq!(weak(&[LegacyAlg::Hs256, LegacyAlg::Hs512], 63), Some(told));
        assert_eq!(weak(&[LegacyAlg::Hs256], 1).map(|weak| weak.given), Some(1));
    }

    #[test]
    fn a_list_of_blacklisted_tokens_has_one_a_line() {
        assert_eq!(denied_of("# exported\n\na-a\n b \r\n7\n"), BTreeSet::from(["aa".into(), "b".into(), "7".into()]));
    }

    fn json_text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("1e30".to_owned()),
            Just("-1".to_owned()),
            Just("1e999".to_owned()),
            Just("null".to_owned()),
            Just("\"x\"".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:e}")),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
                inner.prop_map(|value| format!(r#"{{"id":{value}}}"#)),
            ]
        })
    }

    proptest! {
        #[test]
        fn signed_nonsense_never_panics_and_never_lasts_beyond_the_calendar(
            exp in json_text(), iat in json_text(), user in json_text(), whole in json_text(),
        ) {
            let only = of(LegacyIssuer { user_claim: "user.id".into(), ..issuer(&[LegacyAlg::Hs256]) });
            for payload in [format!(r#"{{"exp":{exp},"iat":{iat},"nbf":{iat},"user":{user}}}"#), whole] {
                let token = signed(&json!({ "alg": "HS256" }), &payload);
                if let Examined::Taken { token, .. } = only.examine(STRANGE, &ClientId::new("web"), &token, NOW) {
                    prop_assert!(token.expires_at <= Timestamp::from_seconds(LATEST as i64));
                    prop_assert!(token.started_at.is_none_or(|at| at <= NOW));
                }
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            is_nobodys(&of(issuer(&[LegacyAlg::Hs256])), &text);
        }

        #[test]
        fn any_flipped_bit_is_refused(at in 0..512_usize, bit in 0..8_u32) {
            let only = of(issuer(&[LegacyAlg::Hs256]));
            let mut bytes = with(json!({})).into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                is_nobodys(&only, &text);
            }
        }
    }
}
