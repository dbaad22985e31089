//! Bounds on JSON that somebody else made.

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
