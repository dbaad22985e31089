//! The attributes of a user: a JSON object of the operator's own making, and its bounds.

use serde_json::{Map, Value};

use super::spec::refused;
use crate::domain::error::OAuthError;
use crate::domain::json::is_as_shallow_as;

/// Bytes of the whole object as JSON at most: it is read with its user at every login.
const SIZE_MAX: usize = 8 << 10;

/// How deep objects and lists may stand in each other, the outermost included.
const DEPTH_MAX: usize = 8;

/// What `base` becomes through a merge patch (RFC 7396).
///
/// # Errors
/// [`Code::InvalidRequest`](crate::domain::error::Code::InvalidRequest): it would be too large or too deep.
pub(super) fn patched(base: &Map<String, Value>, patch: &Map<String, Value>) -> Result<Map<String, Value>, OAuthError> {
    if patch.values().any(|value| !is_as_shallow_as(value, DEPTH_MAX - 1)) {
        return Err(refused(format!("attributes: objects and lists nest at most {DEPTH_MAX} deep")));
    }
    let mut attributes = base.clone();
    merge(&mut attributes, patch);
    let size = Value::Object(attributes.clone()).to_string().len();
    if size > SIZE_MAX {
        return Err(refused(format!("attributes would have {size} bytes as JSON; at most {SIZE_MAX} are kept")));
    }
    Ok(attributes)
}

fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(name);
            }
            Value::Object(inner) => {
                let place = target.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                if let Value::Object(place) = place {
                    merge(place, inner);
                }
            }
            other => {
                target.insert(name.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_patch_reaches_into_objects() {
        for (base, patch, after) in [
            (json!({}), json!({"a": null, "b": {"c": null, "d": 1}}), json!({"b": {"d": 1}})),
            (json!({"a": 1, "b": 2}), json!({"a": null}), json!({"b": 2})),
            (
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"b": null, "d": [null, {"e": null}]}}),
                json!({"a": {"c": 2, "d": [null, {"e": null}]}}),
            ),
            (json!({"a": [1, 2]}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
            (json!({"a": {"b": 1}}), json!({"a": []}), json!({"a": []})),
        ] {
            let patched = patched(&object(base.clone()), &object(patch.clone())).unwrap();
            assert_eq!(Value::Object(patched), after, "{base} and {patch}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let nested = |depth| object((1..depth).fold(json!({}), |inner, _| json!({ "a": inner })));
        assert!(patched(&Map::new(), &nested(DEPTH_MAX)).is_ok());
        assert!(patched(&Map::new(), &nested(DEPTH_MAX + 1)).is_err());
        let lists = object(json!({ "a": (1..DEPTH_MAX).fold(json!(1), |inner, _| json!([inner])) }));
        assert!(patched(&Map::new(), &lists).is_ok());
        assert!(patched(&Map::new(), &object(json!({ "a": [lists] }))).is_err());
        // Together they are too large, whichever comes first.
        let (one, other) = (object(json!({ "a": "x".repeat(5000) })), object(json!({ "b": "x".repeat(5000) })));
        let error = patched(&one, &other).unwrap_err();
        assert!(error.description.contains("10015 bytes"), "{}", error.description);
        assert!(patched(&one, &object(json!({ "a": null, "b": "x".repeat(5000) }))).is_ok());
    }
}
