//! What is asked of JSON that somebody else made.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Whether a value nests no deeper than `depth`, itself included where it is an object or a list. A reader of JSON
/// bounds the recursion.
pub fn is_as_shallow_as(value: &Value, depth: usize) -> bool {
    match value {
        Value::Object(members) => depth > 0 && members.values().all(|inner| is_as_shallow_as(inner, depth - 1)),
        Value::Array(items) => depth > 0 && items.iter().all(|inner| is_as_shallow_as(inner, depth - 1)),
        _ => true,
    }
}

/// The members of an object in their order, none of them twice. Nothing but an object is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members<V>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Once<V> {
            type Value = Members<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, V)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(de::Error::custom("a member is there twice"));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Once(PhantomData))
    }
}
