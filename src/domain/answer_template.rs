//! What a token endpoint of another make answers: JSON of the operator's own, with holes. What a
//! `JWT_RESPONSE_PAYLOAD_HANDLER` did in code is a value here.
//!
//! In its texts `{name}` stands for something known of the token or its user, and `{name as integer}` for the same as a
//! number. A text that is one hole and nothing else becomes what the hole holds, be it a number, a truth value or an
//! object; a text with a hole that nothing is known for becomes `null`, so that an answer has the same members for every
//! user.

use serde_json::{Map, Value};

use super::claim_rules::{Attribute, ClaimType, Subject, text_of};
use super::template::Template;
use super::time::Timestamp;

/// What can be written between the braces beside what is known of a user.
pub const TOKEN_PARTS: [&str; 6] = ["token", "access", "refresh", "expires_in", "issued_at", "session_expires_at"];

/// Read once, filled in many times.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerTemplate(Shape);

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Constant(Value),
    Text(Template),
    List(Vec<Shape>),
    Object(Vec<(String, Shape)>),
}

/// Why a value is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error("{text:?}: {fault}")]
    Braces { text: String, fault: super::template::TemplateFault },
    #[error("nothing is known by the name {0:?}")]
    Unknown(String),
}

/// What a token answer tells, and whom it is about.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    pub token: &'a str,
    pub refresh: Option<&'a str>,
    /// Seconds.
    pub expires_in: u64,
    pub issued_at: Option<Timestamp>,
    pub session_expires_at: Option<Timestamp>,
    pub subject: Subject<'a>,
}

impl AnswerTemplate {
    /// # Errors
    /// A text with half a brace, or with a name that means nothing.
    pub fn read(value: &Value) -> Result<Self, AnswerFault> {
        Shape::read(value).map(Self)
    }

    /// Whether it tells something of the user beyond `sub`, so that the user must be read for it.
    pub fn needs_user(&self) -> bool {
        self.0.names_any(&|hole| Attribute::parse(hole.name).is_some_and(|attribute| attribute.is_of_user()))
    }

    /// Whether it tells when the session ends, which not every answer has at hand.
    pub fn needs_session(&self) -> bool {
        self.0.names_any(&|hole| hole.name == "session_expires_at")
    }

    pub fn fill(&self, filling: &Filling<'_>) -> Value {
        self.0.fill(filling)
    }
}

impl Shape {
    fn read(value: &Value) -> Result<Self, AnswerFault> {
        Ok(match value {
            Value::String(text) => {
                let fault = |fault| AnswerFault::Braces { text: text.clone(), fault };
                let template = Template::parse(text).map_err(fault)?;
                if let Some(unknown) = template.names().find(|hole| Hole::read(hole).is_none()) {
                    return Err(AnswerFault::Unknown(unknown.to_owned()));
                }
                Self::Text(template)
            }
            Value::Array(items) => Self::List(items.iter().map(Self::read).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| Ok((name.clone(), Self::read(value)?)));
                Self::Object(members.collect::<Result<_, _>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Constant(value.clone()),
        })
    }

    fn names_any(&self, wanted: &impl Fn(Hole<'_>) -> bool) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Text(template) => template.names().filter_map(Hole::read).any(wanted),
            Self::List(items) => items.iter().any(|item| item.names_any(wanted)),
            Self::Object(members) => members.iter().any(|(_, member)| member.names_any(wanted)),
        }
    }

    fn fill(&self, filling: &Filling<'_>) -> Value {
        match self {
            Self::Constant(value) => value.clone(),
            Self::Text(template) => match template.only_hole() {
                Some(hole) => value_of(hole, filling),
                None => template.fill(|hole| text_of(&value_of(hole, filling)?)).map(Value::from),
            }
            .unwrap_or_default(),
            Self::List(items) => items.iter().map(|item| item.fill(filling)).collect(),
            Self::Object(members) => {
                let members = members.iter().map(|(name, member)| (name.clone(), member.fill(filling)));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

/// What stands between two braces.
#[derive(Clone, Copy)]
struct Hole<'a> {
    name: &'a str,
    kind: Option<ClaimType>,
}

impl<'a> Hole<'a> {
    /// `None` where nothing is known by the name. Of a session no more is known here than when it ends.
    fn read(text: &'a str) -> Option<Self> {
        let (name, kind) = match text.split_once(" as ") {
            None => (text, None),
            Some((name, kind)) => (name, Some(ClaimType::ALL.into_iter().find(|known| known.as_str() == kind)?)),
        };
        let is_known = TOKEN_PARTS.contains(&name)
            || Attribute::parse(name)
                .is_some_and(|attribute| !matches!(attribute, Attribute::StartedAt | Attribute::AuthTime));
        is_known.then_some(Self { name, kind })
    }
}

fn value_of(hole: &str, filling: &Filling<'_>) -> Option<Value> {
    let Hole { name, kind } = Hole::read(hole)?;
    let value = plain_value_of(name, filling)?;
    match kind {
        Some(kind) => kind.of(&value),
        None => Some(value),
    }
}

fn plain_value_of(name: &str, filling: &Filling<'_>) -> Option<Value> {
    match name {
        "token" | "access" => Some(filling.token.into()),
        "refresh" => filling.refresh.map(Value::from),
        "expires_in" => Some(filling.expires_in.into()),
        "issued_at" => filling.issued_at.map(|at| at.seconds().into()),
        "session_expires_at" => filling.session_expires_at.map(|at| at.seconds().into()),
        attribute => Attribute::parse(attribute)?.value(&filling.subject),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::{ClientId, Sub};
    use crate::domain::scope::Scope;
    use crate::domain::user::User;

    fn user() -> User {
        let object = |value: Value| value.as_object().cloned().unwrap();
        User {
            sub: Sub::new("usr_1"),
            username: "Alice".into(),
            username_key: "alice".into(),
            external_id: Some("42".into()),
            password_hash: Some("secret".into()),
            claims: object(json!({ "given_name": "Al", "email_verified": true })),
            attributes: object(json!({ "groups": ["a", "b"], "id": 7, "odd": "{token}" })),
            admin_scopes: Scope::default(),
            disabled: false,
            created_at: Timestamp::from_seconds(1),
            updated_at: Timestamp::from_seconds(1),
            version: 1,
            credential_epoch: 1,
        }
    }

    fn filled(template: &Value) -> Value {
        let (client_id, scope, user) = (ClientId::new("web"), Scope::default(), user());
        let subject = Subject {
            client_id: &client_id,
            scope: &scope,
            sub: Some("usr_1"),
            user: Some(&user),
            started_at: None,
            auth_time: None,
        };
        AnswerTemplate::read(template).unwrap().fill(&Filling {
            token: "a.b.c",
            refresh: None,
            expires_in: 600,
            issued_at: Some(Timestamp::from_millis(1_999)),
            session_expires_at: Some(Timestamp::from_seconds(9)),
            subject,
        })
    }

    #[test]
    fn a_text_that_is_one_hole_becomes_what_it_holds() {
        let template = json!({
            "token": "{token}", "access": "{access}", "ttl": "{expires_in}", "pk": "{issued_at}",
            "until": "{session_expires_at}", "user": { "id": "{external_id}", "sub": "{sub}", "name": "{username}",
            "pk": "{external_id as integer}", "text": "{attributes.id as text}",
            "verified": "{email_verified}", "groups": "{attributes.groups}", "nr": "{attributes.id}" },
        });
        let expected = json!({
            "token": "a.b.c", "access": "a.b.c", "ttl": 600, "pk": 1, "until": 9,
            "user": { "id": "42", "sub": "usr_1", "name": "Alice", "pk": 42, "text": "7", "verified": true,
                      "groups": ["a", "b"], "nr": 7 },
        });
        assert_eq!(filled(&template), expected);
    }

    #[test]
    fn longer_texts_hold_texts_and_what_is_unknown_is_null() {
        let template = json!([
            "JWT {token}",
            "{given_name}/{attributes.id}",
            "{{token}}",
            "plain",
            7,
            true,
            null,
            "{refresh}",
            "{family_name}",
            "{given_name} {family_name}",
            "{attributes.groups}!",
            "{username as integer}",
        ]);
        let expected = json!(["JWT a.b.c", "Al/7", "{token}", "plain", 7, true, null, null, null, null, null, null]);
        assert_eq!(filled(&template), expected);
    }

    #[test]
    fn what_a_user_holds_is_no_template() {
        assert_eq!(filled(&json!(["{attributes.odd}", "<{attributes.odd}>"])), json!(["{token}", "<{token}>"]));
    }

    #[test]
    fn names_that_mean_nothing_are_told() {
        for name in ["tokn", "password_hash", "session.started_at", "attributes", "user.id", "sub as number", "sub as"]
        {
            let fault = AnswerTemplate::read(&json!({ "a": [{ "b": format!("x{{{name}}}") }] })).unwrap_err();
            assert_eq!(fault, AnswerFault::Unknown(name.into()));
        }
        assert!(AnswerTemplate::read(&json!({ "a": "{token" })).unwrap_err().to_string().contains("{token"));
    }

    #[test]
    fn what_must_be_read_is_known_before() {
        let read = |text: &str| AnswerTemplate::read(&json!({ "a": [text] })).unwrap();
        assert!(read("{email}").needs_user() && read("x {attributes.a}").needs_user());
        for text in ["{token} {sub}", "{expires_in}", "plain"] {
            assert!(!read(text).needs_user() && !read(text).needs_session(), "{text}");
        }
        assert!(read("{session_expires_at}").needs_session());
    }
}
