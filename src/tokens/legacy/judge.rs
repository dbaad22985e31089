//! The conditions that a foreign token meets beside its signature (RFC 7519 section 4.1), and what it says.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{LegacyToken, Own, Parsed};
use crate::domain::error::Reason;
use crate::domain::ids::ClientId;
use crate::domain::legacy::LegacyIssuer;
use crate::domain::secret::sha256;
use crate::domain::time::Timestamp;
use crate::tokens::claims::{LATEST, UniqueMembers};
use crate::tokens::verify::CLOCK_SKEW;

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

/// Holds a token whose signature is good against its issuer's conditions.
pub(super) fn judge(
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
pub(in crate::tokens) fn moment(value: &Value) -> Option<Timestamp> {
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
