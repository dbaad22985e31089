//! The claims of an access token (RFC 9068 section 2.2, RFC 7519 section 4.1).
//!
//! Parsed with our own types: the signing library's accessors panic on `exp: 1e30` and its validator takes a token
//! without `exp`. A claim that is missing, named twice or of the wrong type makes the token malformed. What else there
//! is are claims of the operator's own ([`ExtraClaims`]).

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::claim_rules::RESERVED_CLAIMS;
use crate::domain::ids::{ClientId, Jti, SessionId};
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;

/// The end of the calendar, 9999-12-31T23:59:59Z: a later `NumericDate` means nothing.
pub(super) const LATEST: u64 = 253_402_300_799;

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
    /// Beside all these in the payload.
    #[serde(flatten)]
    pub extra: ExtraClaims,
}

/// Claims of the operator's own making: none of them has the name of one that means something by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ExtraClaims(Map<String, Value>);

impl ExtraClaims {
    /// Takes the claims that may be there, and drops the others.
    pub fn new(mut claims: Map<String, Value>) -> Self {
        claims.retain(|name, _| !RESERVED_CLAIMS.contains(&name.as_str()));
        Self(claims)
    }

    pub const fn members(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ExtraClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UniqueMembers::deserialize(deserializer).map(|UniqueMembers(claims)| Self(claims))
    }
}

/// A JSON object that has no member twice.
pub(super) struct UniqueMembers(pub Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = UniqueMembers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("claims, none of them twice")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(de::Error::custom("a claim is there twice"));
                    }
                }
                Ok(UniqueMembers(claims))
            }
        }

        deserializer.deserialize_map(Once)
    }
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
pub(super) mod numeric_date {
    use super::*;

    pub(in crate::tokens) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(moment.seconds())
    }

    pub(in crate::tokens) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
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
pub(super) mod audience {
    use super::*;

    pub(super) fn serialize<S: Serializer>(audience: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        match audience {
            [only] => serializer.serialize_str(only),
            several => serializer.collect_seq(several),
        }
    }

    pub(in crate::tokens) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
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
    use proptest::prelude::*;
    use serde_json::json;

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
        assert!(with(r#""iat":10"#, r#""iat":10,"own":1,"own":1"#).is_err());
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn claims_of_the_operators_own_stand_beside_the_others() {
        let own = object(json!({ "user_id": 7, "roles": ["a"], "token_type": "access" }));
        let claims = AccessClaims { extra: ExtraClaims::new(own.clone()), ..with("", "").unwrap() };
        let json: Value = serde_json::to_value(&claims).unwrap();
        for (name, value) in &own {
            assert_eq!(&json[name], value);
        }
        let read = AccessClaims::parse(json.to_string().as_bytes()).unwrap();
        assert_eq!((read.extra.members(), &read), (&own, &claims));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever an operator calls a claim: it comes back as it went, and changes none of the others.
        #[test]
        fn whatever_is_beside_them_the_known_claims_stay(
            own in prop::collection::btree_map(
                prop_oneof![".{0,12}", prop::sample::select(RESERVED_CLAIMS.to_vec()).prop_map(str::to_owned)],
                json_value(),
                0..6,
            ),
        ) {
            let bare = with("", "").unwrap();
            let own: Map<String, Value> = own.into_iter().collect();
            let claims = AccessClaims { extra: ExtraClaims::new(own.clone()), ..bare.clone() };
            let read = AccessClaims::parse(&serde_json::to_vec(&claims).unwrap()).unwrap();
            prop_assert_eq!(&read, &claims);
            prop_assert_eq!(AccessClaims { extra: ExtraClaims::default(), ..read }, bare);
            let kept = own.keys().filter(|name| !RESERVED_CLAIMS.contains(&name.as_str())).count();
            prop_assert_eq!(claims.extra.members().len(), kept);
        }
    }
}
