//! The claims of an access token (RFC 9068 section 2.2, RFC 7519 section 4.1).
//!
//! Parsed with our own types: the signing library's accessors panic on `exp: 1e30` and its validator takes a token
//! without `exp`. A claim that is missing, named twice or of the wrong type makes the token malformed.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{ClientId, Jti, SessionId};
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;

/// The end of the calendar, 9999-12-31T23:59:59Z: a later `NumericDate` means nothing.
const LATEST: u64 = 253_402_300_799;

/// What an access token says. Times are whole seconds on the wire; fractions are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    pub iss: String,
    /// The user's `sub`, or the `client_id` where a client acts for itself.
    pub sub: String,
    /// At least one; a single one is written as a string, several as an array.
    #[serde(with = "audience")]
    pub aud: Vec<String>,
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    pub jti: Jti,
    pub client_id: ClientId,
    pub scope: Scope,
    /// The session it belongs to; none where a client acts for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<SessionId>,
    /// When the user logged in.
    #[serde(default, with = "optional_numeric_date", skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Timestamp>,
    /// Who acts for the subject (RFC 8693 section 4.1); none where the client it was issued to acts for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
}

/// An actor and the one that acted before it: the outermost acts now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// A `client_id`.
    pub sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Act>>,
}

impl Act {
    /// How many act one for another.
    pub fn depth(&self) -> usize {
        1 + self.act.as_ref().map_or(0, |earlier| earlier.depth())
    }
}

impl AccessClaims {
    /// Reads claims from a token's payload.
    ///
    /// # Errors
    /// It is not a JSON object with these claims: see the module.
    pub fn parse(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }
}

/// RFC 7519 section 2, narrowed to whole seconds from 1970 to 9999: no other value is ever minted.
mod numeric_date {
    use super::*;

    pub(super) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(moment.seconds())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        // u64 refuses negative numbers, fractions and exponents.
        let seconds = u64::deserialize(deserializer)?;
        i64::try_from(seconds)
            .ok()
            .filter(|_| seconds <= LATEST)
            .map(Timestamp::from_seconds)
            .ok_or_else(|| de::Error::custom("a moment beyond the year 9999"))
    }
}

mod optional_numeric_date {
    use super::*;

    pub(super) fn serialize<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => numeric_date::serialize(moment, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        numeric_date::deserialize(deserializer).map(Some)
    }
}

/// RFC 7519 section 4.1.3: a string, or an array of strings.
mod audience {
    use super::*;

    pub(super) fn serialize<S: Serializer>(audience: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        match audience {
            [only] => serializer.serialize_str(only),
            several => serializer.collect_seq(several),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: de::Error>(self, only: &str) -> Result<Self::Value, E> {
                Ok(vec![only.to_owned()])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut several: A) -> Result<Self::Value, A::Error> {
                let mut audience = Vec::new();
                while let Some(one) = several.next_element()? {
                    audience.push(one);
                }
                if audience.is_empty() {
                    return Err(de::Error::invalid_length(0, &self));
                }
                Ok(audience)
            }
        }

        deserializer.deserialize_any(OneOrSeveral)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"iss":"i","sub":"s","aud":"a","exp":20,"iat":10,"jti":"j","client_id":"c","scope":"x y"}"#;

    fn with(from: &str, to: &str) -> Result<AccessClaims, serde_json::Error> {
        assert!(GOOD.contains(from));
        AccessClaims::parse(GOOD.replace(from, to).as_bytes())
    }

    #[test]
    fn what_is_written_is_read() {
        let claims = AccessClaims::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&claims).unwrap(), GOOD);
        let session = AccessClaims {
            aud: vec!["a".to_owned(), "b".to_owned()],
            sid: Some(SessionId::from_bytes([1; 16])),
            auth_time: Some(Timestamp::from_seconds(5)),
            ..claims
        };
        let json = serde_json::to_string(&session).unwrap();
        assert!(json.contains(r#""aud":["a","b"]"#) && json.contains(r#""auth_time":5"#), "{json}");
        assert_eq!(AccessClaims::parse(json.as_bytes()).unwrap(), session);
    }

    #[test]
    fn a_moment_is_whole_seconds_of_the_calendar() {
        for odd in ["1e30", "1E1", "20.0", "20.5", "-1", "18446744073709551615", "253402300800", "\"20\"", "null", "[]"]
        {
            assert!(with(r#""exp":20"#, &format!(r#""exp":{odd}"#)).is_err(), "exp {odd}");
            assert!(with(r#""iat":10"#, &format!(r#""iat":10,"auth_time":{odd}"#)).is_err(), "auth_time {odd}");
        }
    }

    #[test]
    fn every_claim_is_there_once() {
        for member in [r#""exp":20,"#, r#""iss":"i","#, r#""aud":"a","#, r#""iat":10,"#, r#""client_id":"c","#] {
            assert!(with(member, "").is_err(), "without {member}");
            assert!(with(member, &format!("{member}{member}")).is_err(), "twice {member}");
        }
        assert!(with(r#""aud":"a""#, r#""aud":[]"#).is_err());
        assert!(with(r#""aud":"a""#, r#""aud":["a",1]"#).is_err());
        assert!(with(r#""iat":10"#, r#""iat":10,"unknown":{"any":[1e30]}"#).is_ok());
    }
}
