//! One member of a merge patch (RFC 7396): left alone, put back to its default, or set.

use serde::{Deserialize, Deserializer};

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
}
