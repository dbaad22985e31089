//! Django's `manage.py dumpdata`: one JSON array of `{"model", "pk", "fields"}`, of which users are the objects with a
//! password and a username, whatever their model is called. Read object by object: a dump may be larger than memory.
//!
//! The primary key becomes the `external_id`, since tokens of Django name users by it; what has no member of its own
//! here goes into the attributes.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::source::{Fault, Input, Sink};

pub(super) fn read(input: Input, model: Option<&str>, sink: &mut Sink) -> Result<(), Fault> {
    let line = Rc::new(Cell::new(1));
    let mut json = serde_json::Deserializer::from_reader(Lines { inner: input, line: Rc::clone(&line) });
    let dump = Dump { line, model: model.map(str::to_owned), is_chosen: model.is_some(), sink };
    let mut is_unwanted = false;
    let read = json.deserialize_seq(DumpVisitor { dump, is_unwanted: &mut is_unwanted });
    if is_unwanted {
        return Ok(());
    }
    match read.and_then(|()| json.end()) {
        Ok(()) => Ok(()),
        Err(error) if error.is_io() => Err(Fault::Read(error.into())),
        Err(error) if error.is_data() => {
            Err(Fault::Unusable("it is no dumpdata of Django: that is one JSON array of objects".into()))
        }
        Err(error) => {
            Err(Fault::Malformed(format!("no JSON any more at line {} column {}", error.line(), error.column())))
        }
    }
}

/// Counts lines as they are read. The JSON reader takes one byte at a time, so the count is where it is.
struct Lines {
    inner: Input,
    line: Rc<Cell<u64>>,
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let breaks = buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.line.set(self.line.get() + breaks);
        Ok(read)
    }
}

struct Dump<'a> {
    line: Rc<Cell<u64>>,
    /// The model that users are, once one was met.
    model: Option<String>,
    /// Whether somebody named it.
    is_chosen: bool,
    sink: &'a mut Sink,
}

struct DumpVisitor<'a, 'b> {
    dump: Dump<'a>,
    is_unwanted: &'b mut bool,
}

impl<'de> Visitor<'de> for DumpVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut objects: A) -> Result<(), A::Error> {
        while let Some((line, object)) = objects.next_element_seed(Located(&self.dump.line))? {
            if !self.dump.take(line, object) {
                *self.is_unwanted = true;
                // Leaves the rest unread.
                return Err(serde::de::Error::custom("nobody wants more"));
            }
        }
        Ok(())
    }
}

/// A value and the line that it begins on.
struct Located<'a>(&'a Cell<u64>);

impl<'de> DeserializeSeed<'de> for Located<'_> {
    type Value = (u64, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let line = self.0.get();
        Ok((line, serde::Deserialize::deserialize(deserializer)?))
    }
}

impl Dump<'_> {
    /// Answers whether more is wanted.
    fn take(&mut self, line: u64, object: Value) -> bool {
        let Value::Object(mut object) = object else {
            return self.sink.refused(line, Value::Null, "no object with model, pk and fields");
        };
        let fields = object.remove("fields");
        let (Some(Value::String(model)), Some(Value::Object(fields))) = (object.remove("model"), fields) else {
            return self.sink.refused(line, Value::Null, "no object with model, pk and fields");
        };
        let has = |name: &str| fields.get(name).is_some_and(Value::is_string);
        let looks_like_a_user = has("password") && (has("username") || has("email"));
        match &self.model {
            Some(wanted) if *wanted == model => {}
            Some(first) if looks_like_a_user && !self.is_chosen => {
                let reason = format!(
                    "of the model {model}, while {first} came before and only one of them can be the users; name it \
                     with --model"
                );
                let who = fields.get("username").cloned().unwrap_or_default();
                return self.sink.refused(line, who, reason);
            }
            None if looks_like_a_user => self.model = Some(model),
            _ => return self.sink.skipped(),
        }
        let body = user(object.remove("pk"), fields);
        self.sink.user(line, &body, None)
    }
}

/// What Django calls otherwise, and what it means here.
fn user(pk: Option<Value>, mut fields: Map<String, Value>) -> Map<String, Value> {
    let mut body = Map::new();
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(Value::String(text)),
        _ => None,
    };
    let email = text("email");
    // A model of its own may know people by their address alone.
    body.extend(text("username").or_else(|| email.clone()).map(|name| ("username".to_owned(), name)));
    body.extend(email.map(|email| ("email".to_owned(), email)));
    for (theirs, ours) in [("first_name", "given_name"), ("last_name", "family_name")] {
        body.extend(text(theirs).map(|name| (ours.to_owned(), name)));
    }
    // Django marks those who cannot log in by password with an exclamation mark.
    let password = text("password").filter(|hash| hash.as_str().is_some_and(|hash| !hash.starts_with('!')));
    body.extend(password.map(|hash| ("password_hash".to_owned(), hash)));
    let id = match pk {
        Some(Value::String(id)) => Some(id),
        Some(Value::Number(id)) => Some(id.to_string()),
        _ => None,
    };
    body.extend(id.map(|id| ("external_id".to_owned(), id.into())));
    if fields.remove("is_active") == Some(Value::Bool(false)) {
        body.insert("disabled".into(), true.into());
    }
    let says_something = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    fields.retain(|_, value| says_something(value));
    if !fields.is_empty() {
        body.insert("attributes".into(), Value::Object(fields));
    }
    body
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::source::{Item, read_all, told};
    use super::*;

    fn whole(input: Input, sink: &mut Sink) -> Result<(), Fault> {
        read(input, None, sink)
    }

    #[test]
    fn objects_with_a_password_and_a_name_are_users() {
        let text = r#"[
{"model": "sessions.session", "pk": "x", "fields": {"session_data": "y"}},
{
  "model": "auth.user", "pk": 42,
  "fields": {"password": "pbkdf2_sha256$1$a$b", "last_login": null, "is_superuser": false, "username": "ada",
             "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com", "is_staff": true,
             "is_active": true, "date_joined": "2020-01-01T00:00:00Z", "groups": [3], "user_permissions": []}
},
{"model": "auth.user", "pk": 43, "fields": {"password": "!abc", "username": "bob", "email": "", "is_active": false}},
7, {"model": "auth.user", "pk": 44}, {"model": "mail.account", "pk": 1, "fields": {"username": "m", "password": "x"}},
{"model": "auth.user", "fields": {"password": "", "username": "ADA"}}]"#;
        let (items, end) = read_all(text, whole);
        assert!(end.is_ok());
        let told = told(&items);
        assert_eq!(items[0], Item::Skipped);
        let ada = json!({
            "username": "ada", "email": "ada@example.com", "given_name": "Ada", "family_name": "Lovelace",
            "password_hash": "pbkdf2_sha256$1$a$b", "external_id": "42",
            "attributes": { "is_superuser": false, "is_staff": true, "date_joined": "2020-01-01T00:00:00Z",
                            "groups": [3] },
        });
        assert_eq!(told[1], (3, Ok(ada)));
        assert_eq!(told[2], (9, Ok(json!({ "username": "bob", "external_id": "43", "disabled": true }))));
        for (at, line, word) in [(3, 10, "fields"), (4, 10, "fields"), (5, 10, "mail.account"), (6, 11, "line 3")] {
            assert_eq!(told[at].0, line);
            assert!(told[at].1.as_ref().is_err_and(|why| why.contains(word)), "{word}: {:?}", told[at]);
        }
    }

    #[test]
    fn a_model_of_its_own_may_know_people_by_their_address() {
        let text =
            r#"[{"model": "shop.person", "pk": "7f0e", "fields": {"password": "x", "email": "a@b.c", "tenant": 7}}]"#;
        let body = json!({ "username": "a@b.c", "email": "a@b.c", "password_hash": "x", "external_id": "7f0e",
                           "attributes": { "tenant": 7 } });
        assert_eq!(told(&read_all(text, whole).0), [(1, Ok(body))]);
        let named = |input: Input, sink: &mut Sink| read(input, Some("auth.user"), sink);
        assert_eq!(read_all(text, named).0, [Item::Skipped]);
    }

    #[test]
    fn what_is_no_dump_is_told_so_and_what_breaks_off_keeps_its_beginning() {
        for text in ["{}", "7", "\"x\""] {
            assert!(matches!(read_all(text, whole).1, Err(Fault::Unusable(_))), "{text}");
        }
        let user = r#"{"model":"auth.user","pk":1,"fields":{"username":"ada","password":"x"}}"#;
        for text in [format!("[{user},"), format!("[{user}"), format!("[{user}]x"), format!("[{user},{{\"model\"")] {
            let (items, end) = read_all(text.clone(), whole);
            assert_eq!(items.len(), 1, "{text}");
            assert!(matches!(end, Err(Fault::Malformed(_))), "{text}");
        }
    }
}
