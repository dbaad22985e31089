//! What a user body may say, and what it makes of a user. One reading serves creation, patch and `bootstrap.file`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::attributes;
use crate::admin::clients::spec::Secret;
use crate::admin::field::{Field, Object};
use crate::domain::error::{Code, OAuthError};
use crate::domain::scope::{ADMIN_SCOPES, Scope, is_admin, is_unknown_admin};
use crate::domain::user::User;

const CLAIM_MAX: usize = 2_048;

/// Characters of an `external_id` at most.
const EXTERNAL_ID_MAX: usize = 255;

/// The members of a user body. Standard claims (OpenID Connect Core section 5.1) stand beside the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserSpec {
    pub username: Field<String>,
    pub external_id: Field<String>,
    pub password: Field<Secret>,
    pub password_hash: Field<Secret>,
    pub admin_scopes: Field<ScopeNames>,
    pub disabled: Field<bool>,
    pub attributes: Field<Map<String, Value>>,
    pub name: Field<String>,
    pub given_name: Field<String>,
    pub family_name: Field<String>,
    pub middle_name: Field<String>,
    pub nickname: Field<String>,
    pub preferred_username: Field<String>,
    pub profile: Field<String>,
    pub picture: Field<String>,
    pub website: Field<String>,
    pub email: Field<String>,
    pub email_verified: Field<bool>,
    pub gender: Field<String>,
    pub birthdate: Field<String>,
    pub zoneinfo: Field<String>,
    pub locale: Field<String>,
    pub phone_number: Field<String>,
    pub phone_number_verified: Field<bool>,
    pub address: Field<Object<AddressSpec>>,
}

/// Names of scopes: a list, or one text with spaces between them as OAuth writes scopes.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a list of scope names")]
pub enum ScopeNames {
    List(Vec<String>),
    Text(String),
}

/// The `address` claim (OpenID Connect Core section 5.1.1). A merge patch reaches into it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddressSpec {
    pub formatted: Field<String>,
    pub street_address: Field<String>,
    pub locality: Field<String>,
    pub region: Field<String>,
    pub postal_code: Field<String>,
    pub country: Field<String>,
}

impl UserSpec {
    /// Merges into a user (RFC 7396) all that costs nothing to judge: everything but the username and the password.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`], naming the member. `user` is then of no use.
    pub fn merge_into(&self, user: &mut User) -> Result<(), OAuthError> {
        user.claims = self.claims_applied_to(&user.claims)?;
        user.attributes = self.attributes_applied_to(&user.attributes)?;
        user.admin_scopes = self.admin_scopes_applied_to(&user.admin_scopes)?;
        self.external_id.as_ref().merge(&mut user.external_id, None, |id| external_id(id).map(Some))?;
        self.disabled.as_ref().merge(&mut user.disabled, false, |own| Ok::<_, OAuthError>(*own))
    }

    fn attributes_applied_to(&self, base: &Map<String, Value>) -> Result<Map<String, Value>, OAuthError> {
        match &self.attributes {
            Field::Absent => Ok(base.clone()),
            Field::Null => Ok(Map::new()),
            Field::Is(patch) => attributes::patched(base, patch),
        }
    }

    /// The claims that `base` becomes through this body.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`], naming the claim.
    fn claims_applied_to(&self, base: &Map<String, Value>) -> Result<Map<String, Value>, OAuthError> {
        let mut claims = base.clone();
        for (name, field) in self.text_claims() {
            merge_text(&mut claims, name, name, field)?;
        }
        for (name, field) in
            [("email_verified", &self.email_verified), ("phone_number_verified", &self.phone_number_verified)]
        {
            merge_value(&mut claims, name, field.as_ref(), |value| Ok(Value::Bool(*value)))?;
        }
        if let Some(email) = claims.get("email").and_then(Value::as_str)
            && !email.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty())
        {
            return Err(refused(format!("email: {:?} is not an address; write local@domain", clip(email))));
        }
        match &self.address {
            Field::Absent => {}
            Field::Null => {
                claims.remove("address");
            }
            Field::Is(Object(address)) => {
                let old = claims.get("address").and_then(Value::as_object).cloned().unwrap_or_default();
                let new = address.applied_to(old)?;
                claims.insert("address".into(), Value::Object(new));
            }
        }
        claims.retain(|_, value| !value.as_object().is_some_and(Map::is_empty));
        Ok(claims)
    }

    const fn text_claims(&self) -> [(&'static str, &Field<String>); 15] {
        [
            ("name", &self.name),
            ("given_name", &self.given_name),
            ("family_name", &self.family_name),
            ("middle_name", &self.middle_name),
            ("nickname", &self.nickname),
            ("preferred_username", &self.preferred_username),
            ("profile", &self.profile),
            ("picture", &self.picture),
            ("website", &self.website),
            ("email", &self.email),
            ("gender", &self.gender),
            ("birthdate", &self.birthdate),
            ("zoneinfo", &self.zoneinfo),
            ("locale", &self.locale),
            ("phone_number", &self.phone_number),
        ]
    }

    /// The admin scopes that `base` becomes through this body.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`]: a name that is no `admin*` scope.
    fn admin_scopes_applied_to(&self, base: &Scope) -> Result<Scope, OAuthError> {
        let mut scopes = base.clone();
        self.admin_scopes.as_ref().merge(&mut scopes, Scope::default(), admin_scopes)?;
        Ok(scopes)
    }

    /// Refuses a body that gives the password in two ways.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`].
    pub fn one_password(&self) -> Result<(), OAuthError> {
        match (&self.password, &self.password_hash) {
            (Field::Is(_), Field::Is(_)) => {
                Err(refused("give password or password_hash, not both: which of them should hold?".into()))
            }
            _ => Ok(()),
        }
    }
}

impl AddressSpec {
    fn applied_to(&self, mut address: Map<String, Value>) -> Result<Map<String, Value>, OAuthError> {
        for (name, label, field) in [
            ("formatted", "address.formatted", &self.formatted),
            ("street_address", "address.street_address", &self.street_address),
            ("locality", "address.locality", &self.locality),
            ("region", "address.region", &self.region),
            ("postal_code", "address.postal_code", &self.postal_code),
            ("country", "address.country", &self.country),
        ] {
            merge_text(&mut address, name, label, field)?;
        }
        Ok(address)
    }
}

/// The names of what differs between two states of a user, for the audit trail and for `bootstrap.file`.
pub fn changed(base: &User, next: &User) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    if base.username != next.username {
        names.push("username".into());
    }
    if base.external_id != next.external_id {
        names.push("external_id".into());
    }
    if base.admin_scopes != next.admin_scopes {
        names.push("admin_scopes".into());
    }
    if base.disabled != next.disabled {
        names.push("disabled".into());
    }
    if base.password_hash != next.password_hash {
        names.push("password".into());
    }
    if base.attributes != next.attributes {
        names.push("attributes".into());
    }
    let mut claims: Vec<&String> = base.claims.keys().chain(next.claims.keys()).collect();
    claims.sort_unstable();
    claims.dedup();
    names.extend(claims.into_iter().filter(|name| base.claims.get(*name) != next.claims.get(*name)).cloned());
    names
}

/// Compared as it is, to the byte: what it means is the other system's affair.
fn external_id(id: &str) -> Result<String, OAuthError> {
    let length = id.chars().count();
    if length == 0 || length > EXTERNAL_ID_MAX || id.chars().any(char::is_control) {
        let why = format!("external_id must be 1 to {EXTERNAL_ID_MAX} characters, none of them a control character");
        return Err(refused(why));
    }
    Ok(id.to_owned())
}

fn admin_scopes(names: &ScopeNames) -> Result<Scope, OAuthError> {
    let names: Vec<&str> = match names {
        ScopeNames::List(names) => names.iter().map(String::as_str).collect(),
        ScopeNames::Text(text) => text.split(' ').filter(|name| !name.is_empty()).collect(),
    };
    for name in &names {
        if !is_admin(name) || is_unknown_admin(name) {
            let known = ADMIN_SCOPES.join(", ");
            return Err(refused(format!("admin_scopes: {:?} is none; these are: {known}", clip(name))));
        }
    }
    Scope::parse(&names.join(" ")).map_err(|error| refused(error.to_string()))
}

fn merge_text(
    claims: &mut Map<String, Value>,
    name: &str,
    label: &str,
    field: &Field<String>,
) -> Result<(), OAuthError> {
    merge_value(claims, name, field.as_ref(), |text| {
        // A postal address has lines; nothing else does.
        let control = |c: char| c.is_control() && !(c == '\n' && label.starts_with("address."));
        if text.len() > CLAIM_MAX || text.chars().any(control) {
            return Err(refused(format!("{label} must be at most {CLAIM_MAX} bytes without control characters")));
        }
        Ok(Value::String(text.clone()))
    })
}

fn merge_value<T>(
    claims: &mut Map<String, Value>,
    name: &str,
    field: Field<&T>,
    read: impl FnOnce(&T) -> Result<Value, OAuthError>,
) -> Result<(), OAuthError> {
    match field {
        Field::Absent => {}
        Field::Null => {
            claims.remove(name);
        }
        Field::Is(value) => {
            claims.insert(name.to_owned(), read(value)?);
        }
    }
    Ok(())
}

pub(super) fn refused(description: String) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, description)
}

/// As much of a refused value as an answer repeats.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(body: Value) -> UserSpec {
        serde_json::from_value(body).expect("a body of the right shape")
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn claims_merge_as_a_patch_does() {
        let base = object(json!({"name": "Ada", "email": "ada@example.com", "email_verified": true,
                                 "address": {"locality": "London", "country": "UK"}}));
        for (body, after) in [
            (json!({}), Value::Object(base.clone())),
            (
                json!({"name": null, "email_verified": false, "nickname": "A", "address": {"country": null}}),
                json!({"email": "ada@example.com", "email_verified": false, "nickname": "A",
                       "address": {"locality": "London"}}),
            ),
            (json!({"address": null}), json!({"name": "Ada", "email": "ada@example.com", "email_verified": true})),
            (
                json!({"address": {"country": null, "locality": null}}),
                json!({"name": "Ada", "email": "ada@example.com", "email_verified": true}),
            ),
        ] {
            assert_eq!(Value::Object(spec(body.clone()).claims_applied_to(&base).unwrap()), after, "{body}");
        }
    }

    #[test]
    fn what_is_no_claim_is_refused() {
        for body in [
            json!({"email": "ada"}),
            json!({"email": "@example.com"}),
            json!({"name": "a\u{0}b"}),
            json!({"name": "two\nlines"}),
            json!({"picture": "x".repeat(3000)}),
        ] {
            assert!(spec(body.clone()).claims_applied_to(&Map::new()).is_err(), "{body}");
        }
        assert!(spec(json!({"address": {"formatted": "1 Way\nLondon"}})).claims_applied_to(&Map::new()).is_ok());
        assert!(serde_json::from_value::<UserSpec>(json!({"email_verified": "yes"})).is_err());
        assert!(serde_json::from_value::<UserSpec>(json!({"sub": "usr_x"})).is_err());
    }

    #[test]
    fn an_external_id_is_any_printable_text() {
        let long = "é".repeat(255);
        for (id, taken) in [("42", true), (" x ", true), (&long, true), ("", false), ("a\u{0}", false), ("a\nb", false)]
        {
            assert_eq!(external_id(id).is_ok(), taken, "{id:?}");
        }
        assert!(external_id(&format!("{long}é")).is_err());
        assert!(serde_json::from_value::<UserSpec>(json!({"external_id": 42})).is_err(), "a number is no text");
    }

    #[test]
    fn only_admin_scopes_are_admin_scopes() {
        for (names, taken) in [
            (json!(["admin:keys:read", "admin:audit"]), true),
            (json!([]), true),
            (json!(["read"]), false),
            (json!(["admin:everything"]), false),
            (json!(["admin:keys admin"]), false),
            (json!("admin:keys admin"), true),
            (json!(""), true),
            (json!("admin:keys read"), false),
        ] {
            let body = spec(json!({"admin_scopes": names}));
            assert_eq!(body.admin_scopes_applied_to(&Scope::default()).is_ok(), taken, "{names}");
        }
    }

    #[test]
    fn a_password_is_given_once_and_never_printed() {
        let body = spec(json!({"password": "correct horse", "password_hash": "$argon2id$v=19$..."}));
        assert!(body.one_password().is_err());
        let printed = format!("{body:?}");
        assert!(!printed.contains("horse") && !printed.contains("argon2id"));
    }
}
