//! How the settings of the moving-in tables are read and shown: words of a closed set, moments, JSON, templates.

use serde_json::{Map, Value};

use super::value::{Raw, Setting, Wrong, quote, wrong};
use crate::domain::claim_rules::{Attribute, ClaimPlace, ClaimType};
use crate::domain::legacy::{LegacyAlg, SecretEncoding, UserBy};
use crate::domain::template::Template;
use crate::domain::time::Timestamp;

/// A setting that is one word of a few.
macro_rules! word {
    ($type:ty) => {
        impl Setting for $type {
            fn read(raw: &Raw) -> Result<Self, Wrong> {
                let text = raw.text()?;
                Self::ALL.into_iter().find(|known| known.as_str() == text).map_or_else(
                    || wrong("there is no such word here", format!("write {}", either(&Self::ALL.map(Self::as_str)))),
                    Ok,
                )
            }

            fn show(&self) -> Option<String> {
                Some(quote(self.as_str()))
            }
        }
    };
}
pub(super) use word;

word!(ClaimPlace);
word!(ClaimType);
word!(LegacyAlg);
word!(UserBy);
word!(SecretEncoding);

/// `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

impl Setting for Timestamp {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let mend = "write a date and a time with its zone, such as 2027-03-01T00:00:00Z";
        let text = match raw {
            Raw::Toml(toml::Value::Datetime(moment)) => moment.to_string(),
            raw => raw.text()?.to_owned(),
        };
        Self::parse_rfc3339(&text).map_or_else(|| wrong("it is not a moment (RFC 3339)", mend), Ok)
    }

    fn show(&self) -> Option<String> {
        Some(self.rfc3339())
    }
}

impl Setting for Attribute {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        Self::parse(raw.text()?).map_or_else(|| wrong("nothing of that name is known of a user", ATTRIBUTES), Ok)
    }

    fn show(&self) -> Option<String> {
        Some(quote(&self.to_string()))
    }
}

/// The same, where nothing is known of the session.
pub(super) const ATTRIBUTES_OF_USER: &str = "write {sub}, {username}, {external_id}, a standard claim such as {email} or \
                                             {given_name}, {attributes.NAME}, or with a type {external_id as integer}";

/// What there is to write instead of an attribute that there is none of.
pub(super) const ATTRIBUTES: &str = "write sub, username, external_id, a standard claim such as email or given_name, \
                                     attributes.NAME, session.started_at or session.auth_time";

impl Setting for Template {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        Self::parse(raw.text()?).or_else(|fault| wrong(fault.to_string(), BRACES))
    }

    fn show(&self) -> Option<String> {
        Some(quote(&self.to_string()))
    }
}

/// How a template is written.
pub(super) const BRACES: &str = "write {name} for a value, and {{ or }} for a brace";

/// Any value that has a form in JSON.
impl Setting for Value {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Toml(value) => json_of(value),
            Raw::Text(text) => Ok(Self::from(text.as_str())),
        }
    }

    fn show(&self) -> Option<String> {
        toml_of(self).ok().map(|value| value.to_string())
    }
}

impl Setting for Map<String, Value> {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match Value::read(raw)? {
            Value::Object(members) => Ok(members),
            _ => wrong("a table is wanted here", "write { name = \"value\" }"),
        }
    }

    fn show(&self) -> Option<String> {
        Value::Object(self.clone()).show()
    }
}

fn json_of(value: &toml::Value) -> Result<Value, Wrong> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Boolean(yes) => Value::from(*yes),
        toml::Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => Value::Number(number),
            None => return wrong("it is no number that JSON has", "write a finite number"),
        },
        toml::Value::Datetime(_) => return wrong("JSON has no dates", "put the date in quotes"),
        toml::Value::Array(items) => Value::Array(items.iter().map(json_of).collect::<Result<_, _>>()?),
        toml::Value::Table(members) => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), json_of(value)?)));
            Value::Object(members.collect::<Result<_, _>>()?)
        }
    })
}

/// The other way, for values that come from the environment.
pub(super) fn toml_of(value: &Value) -> Result<toml::Value, Wrong> {
    Ok(match value {
        Value::Null => return wrong("null is no value", "give one, or leave the key out"),
        Value::Bool(yes) => (*yes).into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.into(),
            (None, Some(float)) if !number.is_u64() => float.into(),
            _ => return wrong("the number is too large", format!("write at most {}", i64::MAX)),
        },
        Value::Array(items) => toml::Value::Array(items.iter().map(toml_of).collect::<Result<_, _>>()?),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), toml_of(value)?)));
            toml::Value::Table(members.collect::<Result<_, _>>()?)
        }
    })
}
