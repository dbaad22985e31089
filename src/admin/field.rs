//! JSON bodies: members of a merge patch (RFC 7396), which are left alone, put back to their default, or set.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::domain::error::{Code, OAuthError};

/// A member as a JSON body has it. In a creation [`Field::Absent`] and [`Field::Null`] mean the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Not in the body: what was there stays.
    #[default]
    Absent,
    /// `null`: back to the default.
    Null,
    /// A value.
    Is(T),
}

impl<T> Field<T> {
    /// The value, where there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// Whether the body has the member at all.
    pub const fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    pub const fn as_ref(&self) -> Field<&T> {
        match self {
            Self::Absent => Field::Absent,
            Self::Null => Field::Null,
            Self::Is(value) => Field::Is(value),
        }
    }

    /// Merges the member into `place`; `read` judges a value.
    ///
    /// # Errors
    /// Those of `read`; `place` is then unchanged.
    pub fn merge<U, E>(self, place: &mut U, default: U, read: impl FnOnce(T) -> Result<U, E>) -> Result<(), E> {
        match self {
            Self::Absent => {}
            Self::Null => *place = default,
            Self::Is(value) => *place = read(value)?,
        }
        Ok(())
    }
}

impl<T> From<Option<T>> for Field<T> {
    /// What a body without the notion of `null` leaves out is absent.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Is)
    }
}

/// With `#[serde(default)]` on the struct, an absent member stays [`Field::Absent`].
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Is))
    }
}

/// A JSON object. Derived readers also take an array, member by member in the order of the fields: nobody means that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// Reads the body of a call: one JSON object without unknown or repeated members.
///
/// # Errors
/// [`Code::InvalidRequest`], saying what is wrong and where, and quoting no value: it may be a secret.
pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, OAuthError> {
    serde_json::from_slice(bytes).map(|Object(body)| body).map_err(|error| {
        OAuthError::new(Code::InvalidRequest, format!("the body is refused: {}", without_value(&error.to_string())))
    })
}

/// `invalid type: string "hunter2", expected ...` without what it met.
fn without_value(message: &str) -> String {
    let quotes = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if quotes => format!("expected {expected}"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Body {
        a: Field<u8>,
        b: Field<u8>,
        c: Field<u8>,
    }

    #[test]
    fn absent_null_and_value_are_three_things() {
        let body: Body = serde_json::from_str(r#"{"b":null,"c":3}"#).unwrap();
        assert_eq!(body, Body { a: Field::Absent, b: Field::Null, c: Field::Is(3) });
        let mut places = [1, 1, 1];
        for (field, place) in [body.a, body.b, body.c].into_iter().zip(&mut places) {
            field.merge(place, 0, Ok::<_, ()>).unwrap();
        }
        assert_eq!(places, [1, 0, 3]);
    }

    #[test]
    fn a_body_is_one_object_and_no_refusal_quotes_a_value() {
        assert_eq!(body::<Body>(br#"{"a":1}"#).unwrap().a, Field::Is(1));
        assert_eq!(body::<Body>(b"{}").unwrap(), Body::default());
        for (bad, told) in [
            ("[1,2]", "expected an object"),
            ("", "EOF"),
            ("{\"a\":1,\"a\":2}", "duplicate field `a`"),
            ("{\"d\":1}", "unknown field `d`"),
            ("{\"a\":\"hunter2\"}", "expected u8 at line 1"),
            ("{\"a\":\"hunter2, expected x\"}", "expected u8 at line 1"),
            ("{} {}", "trailing"),
        ] {
            let error = body::<Body>(bad.as_bytes()).expect_err(bad);
            assert_eq!(error.code, Code::InvalidRequest);
            assert!(error.description.contains(told), "{bad}: {}", error.description);
            assert!(!error.description.contains("hunter2"), "{bad}: {}", error.description);
        }
    }
}
