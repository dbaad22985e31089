//! Claims of the operator's own: what an access token, an ID token or userinfo says of its user and session beside what
//! Latchkey says in every one (RFC 7519 section 4.2, RFC 9068 section 2.2, OpenID Connect Core section 5.1.2). What a `JWT_PAYLOAD_HANDLER` did in code is a list of rules here.
//!
//! The rules are gone through in their order. One that applies and finds its value sets its claim, over what an earlier
//! one has set; one that finds none leaves it as it is. So the general rule comes first and the exceptions after it.

use std::fmt;

use serde_json::{Map, Value};

use super::ids::ClientId;
use super::scope::Scope;
use super::template::Template;
use super::time::Timestamp;
use super::user::{STANDARD_CLAIMS, User};

/// What no rule may set: the claims that Latchkey or a specification gives a meaning which others rely on.
pub const RESERVED_CLAIMS: [&str; 23] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti", // RFC 7519 section 4.1
    "client_id",
    "scope",
    "auth_time",
    "acr",
    "amr", // RFC 9068 section 2.2
    "act",
    "may_act",
    "cnf",
    "typ",
    "azp", // RFC 8693 section 4, RFC 7800, OpenID Connect
    "nonce",
    "at_hash",
    "c_hash",
    "s_hash", // ID tokens
    "sid",
    "active", // Latchkey's own, RFC 7662 section 2.2
];

/// Bytes of a claim's name at most.
pub const LONGEST_NAME: usize = 128;

/// Bytes of all mapped claims of one token at most, as JSON. A token travels in a header, and many servers take 8 KiB of
/// headers: base64url makes 5.5 KiB of it, and the rest of the token is to fit as well.
pub const LARGEST: usize = 4 << 10;

/// Bytes of a constant at most, as JSON.
pub const LARGEST_CONSTANT: usize = 2 << 10;

/// How deep objects and lists of a constant may stand in each other, the outermost included.
pub const DEEPEST_CONSTANT: usize = 8;

/// Something that is known of a user or session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Sub,
    Username,
    ExternalId,
    /// A standard claim of OpenID Connect Core section 5.1, or what lies within one: `address.locality`.
    Claim(Vec<String>),
    /// What lies under `attributes`, by the names that lead to it.
    Custom(Vec<String>),
    /// When the session began, in Unix seconds. Of a login that was brought from another system, when it began there.
    StartedAt,
    AuthTime,
}

impl Attribute {
    /// Reads `username`, `address.locality`, `attributes.department.id`, `session.started_at`; `None` where there is no
    /// such thing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut names = text.split('.');
        let first = names.next()?;
        let rest: Vec<String> = names.map(str::to_owned).collect();
        if rest.iter().any(String::is_empty) {
            return None;
        }
        Some(match (first, rest.as_slice()) {
            ("sub", []) => Self::Sub,
            ("username", []) => Self::Username,
            ("external_id", []) => Self::ExternalId,
            ("session", [name]) if name == "started_at" => Self::StartedAt,
            ("session", [name]) if name == "auth_time" => Self::AuthTime,
            ("attributes", [_, ..]) => Self::Custom(rest),
            (claim, []) | (claim @ "address", [_]) if STANDARD_CLAIMS.contains(&claim) => {
                Self::Claim(text.split('.').map(str::to_owned).collect())
            }
            _ => return None,
        })
    }

    /// Whether it is the user's, so that the user must be read for it.
    pub(super) fn is_of_user(&self) -> bool {
        !matches!(self, Self::Sub | Self::StartedAt | Self::AuthTime)
    }

    /// What it is; `None` where nothing is known.
    pub(super) fn value(&self, subject: &Subject<'_>) -> Option<Value> {
        let user = subject.user;
        let within = |object: &Map<String, Value>, path: &[String]| {
            let (first, rest) = path.split_first()?;
            let value = rest.iter().try_fold(object.get(first)?, |value, name| value.as_object()?.get(name))?;
            (!value.is_null()).then(|| value.clone())
        };
        match self {
            Self::Sub => subject.sub.map(Value::from),
            Self::Username => user.map(|user| Value::from(user.username.as_str())),
            Self::ExternalId => user.and_then(|user| user.external_id.as_deref()).map(Value::from),
            Self::Claim(path) => user.and_then(|user| within(&user.claims, path)),
            Self::Custom(path) => user.and_then(|user| within(&user.attributes, path)),
            Self::StartedAt => subject.started_at.map(|at| Value::from(at.seconds())),
            Self::AuthTime => subject.auth_time.map(|at| Value::from(at.seconds())),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sub => f.write_str("sub"),
            Self::Username => f.write_str("username"),
            Self::ExternalId => f.write_str("external_id"),
            Self::Claim(path) => f.write_str(&path.join(".")),
            Self::Custom(path) => write!(f, "attributes.{}", path.join(".")),
            Self::StartedAt => f.write_str("session.started_at"),
            Self::AuthTime => f.write_str("session.auth_time"),
        }
    }
}

/// Where the value of a claim comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Attribute(Attribute),
    /// The same in every token.
    Constant(Value),
    /// Its holes are [`Attribute`]s.
    Template(Template),
}

impl Source {
    fn attributes(&self) -> Vec<Attribute> {
        match self {
            Self::Attribute(attribute) => vec![attribute.clone()],
            Self::Constant(_) => Vec::new(),
            Self::Template(template) => template.names().filter_map(Attribute::parse).collect(),
        }
    }

    fn value(&self, subject: &Subject<'_>) -> Option<Value> {
        match self {
            Self::Attribute(attribute) => attribute.value(subject),
            Self::Constant(value) => Some(value.clone()),
            Self::Template(template) => {
                let known = |name: &str| text_of(&Attribute::parse(name)?.value(subject)?);
                template.fill(known).map(Value::from)
            }
        }
    }
}

/// What a value is to be in the token, whatever it is where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimType {
    Text,
    Integer,
    Boolean,
}

impl ClaimType {
    pub const ALL: [Self; 3] = [Self::Text, Self::Integer, Self::Boolean];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
        }
    }

    /// The same value as this type; `None` where it has no such form.
    pub(super) fn of(self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Text, value) => text_of(value).map(Value::from),
            (Self::Integer, Value::Number(number)) => (number.is_i64() || number.is_u64()).then(|| value.clone()),
            (Self::Integer, Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
            (Self::Boolean, Value::Bool(_)) => Some(value.clone()),
            (Self::Boolean, Value::String(text)) => text.trim().parse::<bool>().ok().map(Value::from),
            _ => None,
        }
    }
}

/// A value as people write it; `None` where it is an object, a list or nothing.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Where a claim is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimPlace {
    AccessToken,
    IdToken,
    Userinfo,
}

impl ClaimPlace {
    pub const ALL: [Self; 3] = [Self::AccessToken, Self::IdToken, Self::Userinfo];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::IdToken => "id_token",
            Self::Userinfo => "userinfo",
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRule {
    pub claim: String,
    pub source: Source,
    pub kind: Option<ClaimType>,
    /// At least one.
    pub places: Vec<ClaimPlace>,
    /// Only in tokens that have this scope.
    pub scope: Option<String>,
    /// Only in tokens of these clients; in everyone's where it is empty.
    pub clients: Vec<ClientId>,
}

impl ClaimRule {
    fn applies(&self, place: ClaimPlace, client_id: &ClientId, scope: &Scope) -> bool {
        self.places.contains(&place)
            && self.scope.as_ref().is_none_or(|token| scope.contains(token))
            && (self.clients.is_empty() || self.clients.contains(client_id))
    }
}

/// Whose token it is, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub client_id: &'a ClientId,
    pub scope: &'a Scope,
    /// `None` where a client acts for itself.
    pub sub: Option<&'a str>,
    /// Need not be read where [`ClaimRules::need_user`] says so.
    pub user: Option<&'a User>,
    pub started_at: Option<Timestamp>,
    pub auth_time: Option<Timestamp>,
}

/// What the rules made of a subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapped {
    pub claims: Map<String, Value>,
    /// Values that would have made the token larger than tokens may be, by their claim.
    pub left_out: Vec<String>,
}

/// All rules, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimRules(Vec<ClaimRule>);

impl ClaimRules {
    pub fn new(rules: Vec<ClaimRule>) -> Self {
        Self(rules)
    }

    /// Whether a token of this client with this scope takes knowing its user.
    pub fn need_user(&self, place: ClaimPlace, client_id: &ClientId, scope: &Scope) -> bool {
        let mut applying = self.0.iter().filter(|rule| rule.applies(place, client_id, scope));
        applying.any(|rule| rule.source.attributes().iter().any(Attribute::is_of_user))
    }

    /// The claims of one token or answer.
    pub fn claims_of(&self, place: ClaimPlace, subject: &Subject<'_>) -> Mapped {
        let mut mapped = Mapped::default();
        let mut size = 2;
        for rule in self.0.iter().filter(|rule| rule.applies(place, subject.client_id, subject.scope)) {
            let found = rule.source.value(subject);
            let found = match rule.kind {
                Some(kind) => found.and_then(|value| kind.of(&value)),
                None => found,
            };
            let Some(value) = found else { continue };
            let name = rule.claim.as_str();
            let before = mapped.claims.get(name).map_or(0, |value| size_of(name, value));
            let after = size - before + size_of(name, &value);
            if after <= LARGEST {
                size = after;
                mapped.claims.insert(name.to_owned(), value);
            } else {
                mapped.left_out.push(name.to_owned());
            }
        }
        mapped
    }
}

/// Bytes of a member of a JSON object, its colon and comma included.
fn size_of(name: &str, value: &Value) -> usize {
    Value::from(name).to_string().len() + value.to_string().len() + 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::ids::Sub;

    fn user() -> User {
        let object = |value: Value| value.as_object().cloned().unwrap();
        User {
            sub: Sub::new("usr_1"),
            username: "Alice".into(),
            username_key: "alice".into(),
            external_id: Some("42".into()),
            password_hash: Some("secret".into()),
            claims: object(json!({ "given_name": "Al", "email_verified": true, "address": { "locality": "Bern" } })),
            attributes: object(json!({
                "staff": true, "dept": { "id": 7, "names": ["x"] }, "code": " 12 ", "nothing": null, "half": 0.5,
            })),
            admin_scopes: Scope::default(),
            disabled: false,
            created_at: Timestamp::from_seconds(1),
            updated_at: Timestamp::from_seconds(1),
            version: 1,
            credential_epoch: 1,
        }
    }

    fn rule(claim: &str, source: Source) -> ClaimRule {
        ClaimRule {
            claim: claim.into(),
            source,
            kind: None,
            places: vec![ClaimPlace::AccessToken],
            scope: None,
            clients: Vec::new(),
        }
    }

    fn of(text: &str) -> Source {
        Source::Attribute(Attribute::parse(text).unwrap())
    }

    fn template(text: &str) -> Source {
        Source::Template(Template::parse(text).unwrap())
    }

    fn mapped(rules: Vec<ClaimRule>) -> Value {
        mapped_for(rules, Some(&user()))
    }

    fn mapped_for(rules: Vec<ClaimRule>, user: Option<&User>) -> Value {
        let (client_id, scope) = (ClientId::new("web"), Scope::parse("read profile").unwrap());
        let subject = Subject {
            client_id: &client_id,
            scope: &scope,
            sub: user.map(|user| user.sub.as_str()),
            user,
            started_at: user.map(|_| Timestamp::from_millis(1_500)),
            auth_time: user.map(|_| Timestamp::from_seconds(2)),
        };
        Value::Object(ClaimRules::new(rules).claims_of(ClaimPlace::AccessToken, &subject).claims)
    }

    #[test]
    fn every_attribute_is_found_and_what_is_missing_leaves_its_claim_out() {
        for (attribute, expected) in [
            ("sub", json!({ "c": "usr_1" })),
            ("username", json!({ "c": "Alice" })),
            ("external_id", json!({ "c": "42" })),
            ("given_name", json!({ "c": "Al" })),
            ("email_verified", json!({ "c": true })),
            ("address", json!({ "c": { "locality": "Bern" } })),
            ("address.locality", json!({ "c": "Bern" })),
            ("attributes.staff", json!({ "c": true })),
            ("attributes.dept", json!({ "c": { "id": 7, "names": ["x"] } })),
            ("attributes.dept.id", json!({ "c": 7 })),
            ("session.started_at", json!({ "c": 1 })),
            ("session.auth_time", json!({ "c": 2 })),
            ("family_name", json!({})),
            ("address.country", json!({})),
            ("attributes.nothing", json!({})),
            ("attributes.staff.more", json!({})),
            ("attributes.other", json!({})),
        ] {
            assert_eq!(mapped(vec![rule("c", of(attribute))]), expected, "{attribute}");
            assert_eq!(Attribute::parse(attribute).unwrap().to_string(), attribute);
            assert_eq!(mapped_for(vec![rule("c", of(attribute))], None), json!({}), "a client for itself: {attribute}");
        }
        for unknown in [
            "",
            "password_hash",
            "username.x",
            "attributes",
            "attributes.",
            "attributes..x",
            "session",
            "session.id",
            "email.x",
            "address.a.b",
            "Username",
        ] {
            assert_eq!(Attribute::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_template_takes_all_of_its_attributes_or_leaves_the_claim_out() {
        assert_eq!(mapped(vec![rule("c", template("{given_name}#{attributes.dept.id}"))]), json!({ "c": "Al#7" }));
        for missing in ["{given_name} {family_name}", "{attributes.dept}"] {
            assert_eq!(mapped(vec![rule("c", template(missing))]), json!({}), "{missing}");
        }
        assert_eq!(mapped_for(vec![rule("c", template("always"))], None), json!({ "c": "always" }));
        assert_eq!(mapped_for(vec![rule("c", Source::Constant(json!([1])))], None), json!({ "c": [1] }));
    }

    #[test]
    fn a_value_takes_the_form_that_is_asked_for_or_is_left_out() {
        for (attribute, kind, expected) in [
            ("external_id", ClaimType::Integer, json!({ "c": 42 })),
            ("external_id", ClaimType::Text, json!({ "c": "42" })),
            ("attributes.dept.id", ClaimType::Text, json!({ "c": "7" })),
            ("attributes.dept.id", ClaimType::Integer, json!({ "c": 7 })),
            ("attributes.code", ClaimType::Integer, json!({ "c": 12 })),
            ("attributes.staff", ClaimType::Boolean, json!({ "c": true })),
            ("attributes.staff", ClaimType::Text, json!({ "c": "true" })),
            ("attributes.staff", ClaimType::Integer, json!({})),
            ("attributes.half", ClaimType::Integer, json!({})),
            ("attributes.dept", ClaimType::Text, json!({})),
            ("username", ClaimType::Integer, json!({})),
            ("username", ClaimType::Boolean, json!({})),
        ] {
            let rule = ClaimRule { kind: Some(kind), ..rule("c", of(attribute)) };
            assert_eq!(mapped(vec![rule]), expected, "{attribute} as {}", kind.as_str());
        }
    }

    #[test]
    fn the_last_rule_that_applies_and_finds_a_value_counts() {
        let constant = |text: &str| rule("c", Source::Constant(text.into()));
        let for_client = |id: &str, rule| ClaimRule { clients: vec![ClientId::new(id)], ..rule };
        let for_scope = |token: &str, rule| ClaimRule { scope: Some(token.into()), ..rule };
        for (rules, expected) in [
            (vec![constant("a"), constant("b")], json!({ "c": "b" })),
            (vec![constant("a"), for_client("web", constant("b"))], json!({ "c": "b" })),
            (vec![constant("a"), for_client("other", constant("b"))], json!({ "c": "a" })),
            (vec![constant("a"), for_scope("profile", constant("b"))], json!({ "c": "b" })),
            (vec![constant("a"), for_scope("email", constant("b"))], json!({ "c": "a" })),
            (vec![for_client("other", for_scope("read", constant("a")))], json!({})),
            (vec![for_client("web", for_scope("email", constant("a")))], json!({})),
            (vec![constant("a"), rule("c", of("family_name"))], json!({ "c": "a" })),
        ] {
            assert_eq!(mapped(rules.clone()), expected, "{rules:?}");
        }
    }

    #[test]
    fn the_user_is_read_only_where_a_rule_that_applies_needs_it() {
        let (web, read) = (ClientId::new("web"), Scope::parse("read").unwrap());
        let need = |rule| ClaimRules::new(vec![rule]).need_user(ClaimPlace::AccessToken, &web, &read);
        assert!(need(rule("c", of("username"))) && need(rule("c", template("x{attributes.a}"))));
        for source in [of("session.started_at"), of("sub"), template("{sub}"), Source::Constant(json!(1))] {
            assert!(!need(rule("c", source)));
        }
        assert!(!need(ClaimRule { scope: Some("email".into()), ..rule("c", of("username")) }));
        assert!(!need(ClaimRule { clients: vec![ClientId::new("other")], ..rule("c", of("username")) }));
    }

    #[test]
    fn a_claim_is_told_where_its_rule_says() {
        let (client_id, scope) = (ClientId::new("web"), Scope::default());
        let user = user();
        let subject = Subject {
            client_id: &client_id,
            scope: &scope,
            sub: Some("usr_1"),
            user: Some(&user),
            started_at: None,
            auth_time: None,
        };
        let rules = ClaimRules::new(vec![
            rule("a", of("username")),
            ClaimRule { places: vec![ClaimPlace::IdToken, ClaimPlace::Userinfo], ..rule("b", of("username")) },
        ]);
        for (place, told) in [(ClaimPlace::AccessToken, "a"), (ClaimPlace::IdToken, "b"), (ClaimPlace::Userinfo, "b")] {
            let claims = rules.claims_of(place, &subject).claims;
            assert_eq!(claims.keys().collect::<Vec<_>>(), [told], "{place:?}");
        }
        let only = ClaimRules::new(vec![ClaimRule { places: vec![ClaimPlace::IdToken], ..rule("b", of("username")) }]);
        assert!(only.need_user(ClaimPlace::IdToken, &client_id, &scope));
        assert!(!only.need_user(ClaimPlace::AccessToken, &client_id, &scope));
    }

    fn sources() -> impl Strategy<Value = Source> {
        prop_oneof![
            prop::sample::select(vec!["username", "external_id", "attributes.big", "attributes.dept"]).prop_map(of),
            (0..LARGEST_CONSTANT).prop_map(|length| Source::Constant("\"".repeat(length / 2).into())),
            Just(template("{username}{username}")),
        ]
    }

    proptest! {
        /// Whatever the rules: no token grows beyond its bound, and what is not there was told of.
        #[test]
        fn mapped_claims_are_bounded(
            rules in prop::collection::vec(("[a-z\"é]{1,40}", sources()), 0..24), big in 0..8_000_usize,
        ) {
            let mut user = user();
            user.attributes.insert("big".into(), "x".repeat(big).into());
            let names: std::collections::BTreeSet<String> = rules.iter().map(|(name, _)| name.clone()).collect();
            let rules = ClaimRules::new(rules.into_iter().map(|(name, source)| rule(&name, source)).collect());
            let (client_id, scope) = (ClientId::new("web"), Scope::default());
            let subject = Subject {
                client_id: &client_id, scope: &scope, sub: None, user: Some(&user), started_at: None, auth_time: None,
            };
            let mapped = rules.claims_of(ClaimPlace::AccessToken, &subject);
            let size = Value::Object(mapped.claims.clone()).to_string().len();
            prop_assert!(size <= LARGEST, "{size}");
            let told: std::collections::BTreeSet<String> =
                mapped.claims.keys().cloned().chain(mapped.left_out.iter().cloned()).collect();
            prop_assert_eq!(told, names, "every source here has a value");
        }
    }
}
