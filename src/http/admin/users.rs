//! `/admin/v1/users`

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::param::{Path, Query};
use poem_openapi::types::{Example, ParseFromJSON as _};
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::{Done, Gone, RemovalFailure, Topic, caller, location};
use crate::admin::users::{self, NewPassword as PasswordBody, UserQuery};
use crate::app::App;
use crate::domain::origin::Origin;
use crate::domain::user::User as Person;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::error::{ChangeFailure, CreateFailure, ItemFailure, ListFailure};
use crate::http::json::{Answer, JsonBody};
use crate::http::moment::Moment;

/// A postal address (OpenID Connect Core section 5.1.1).
#[derive(Debug, Default, Object)]
#[oai(skip_serializing_if_is_none, nullable_all)]
pub struct Address {
    /// The whole of it, as on an envelope.
    formatted: Option<String>,
    street_address: Option<String>,
    locality: Option<String>,
    region: Option<String>,
    postal_code: Option<String>,
    country: Option<String>,
}

/// Standard claims (OpenID Connect Core section 5.1).
#[derive(Debug, Default, Object)]
#[oai(skip_serializing_if_is_none, nullable_all)]
struct Claims {
    name: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    middle_name: Option<String>,
    nickname: Option<String>,
    preferred_username: Option<String>,
    profile: Option<String>,
    picture: Option<String>,
    website: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    gender: Option<String>,
    birthdate: Option<String>,
    zoneinfo: Option<String>,
    locale: Option<String>,
    phone_number: Option<String>,
    phone_number_verified: Option<bool>,
    address: Option<Address>,
}

impl Example for Claims {
    fn example() -> Self {
        Self {
            name: Some("Ada Lovelace".into()),
            email: Some("ada@example.com".into()),
            email_verified: Some(true),
            ..Self::default()
        }
    }
}

/// A JSON object of the operator's own making.
type Attributes = BTreeMap<String, serde_json::Value>;

/// A user to make: `username`, and a password in one of two ways or none.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(super) struct NewUser {
    /// Unique, as PRECIS UsernameCaseMapped compares (RFC 8265): `Ada` and `ada` are one.
    username: String,
    /// The id that the user had in the system they came from, 1 to 255 characters; no two users share one.
    external_id: Option<String>,
    /// Up to 1,024 bytes. Without one the user cannot log in by password.
    password: Option<String>,
    /// Instead of `password`: a hash as another system stored it, of argon2, bcrypt, PBKDF2, scrypt or `{SSHA}`, below
    /// `passwords.ceiling_*`. The first login replaces it.
    password_hash: Option<String>,
    /// The `admin*` scopes the user's tokens may carry, when a request names them and the client may too. Nobody grants
    /// one they lack.
    admin_scopes: Option<Vec<String>>,
    /// A disabled user cannot log in.
    disabled: Option<bool>,
    /// Whatever else is to be kept of the user, up to 8 KiB of JSON.
    attributes: Option<Attributes>,
    #[oai(flatten)]
    claims: Claims,
}

impl Example for NewUser {
    fn example() -> Self {
        Self {
            username: "ada".into(),
            external_id: None,
            password: Some("correct horse battery staple".into()),
            password_hash: None,
            admin_scopes: None,
            disabled: None,
            attributes: None,
            claims: Example::example(),
        }
    }
}

/// What to change of a user: members that are left out stay, `null` is the default.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct UserChanges {
    /// Another name to log in by; the `sub` stays.
    username: Option<String>,
    /// The id that the user had in the system they came from; no two users share one.
    #[oai(nullable)]
    external_id: Option<String>,
    /// The `admin*` scopes the user's tokens may carry. Losing one ends the user's sessions.
    #[oai(nullable)]
    admin_scopes: Option<Vec<String>>,
    /// Disabling a user ends the user's sessions.
    #[oai(nullable)]
    disabled: Option<bool>,
    /// What to change of the attributes: members that are left out stay, `null` removes one.
    #[oai(nullable)]
    attributes: Option<Attributes>,
    #[oai(flatten)]
    claims: Claims,
}

impl Example for UserChanges {
    fn example() -> Self {
        Self {
            username: None,
            external_id: None,
            admin_scopes: None,
            disabled: Some(true),
            attributes: None,
            claims: Claims::default(),
        }
    }
}

/// Another password: one of the two members.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct NewPassword {
    /// Up to 1,024 bytes.
    password: Option<String>,
    /// A hash as another system stored it, of argon2, bcrypt, PBKDF2, scrypt or `{SSHA}`, below `passwords.ceiling_*`.
    /// The first login replaces it.
    password_hash: Option<String>,
}

impl Example for NewPassword {
    fn example() -> Self {
        Self { password: Some("a better password than before".into()), password_hash: None }
    }
}

/// A user.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct User {
    /// Stable, and never equal to a `client_id`.
    sub: String,
    username: String,
    /// The id that the user had in the system they came from.
    external_id: Option<String>,
    /// Whether the user can log in by password.
    has_password: bool,
    admin_scopes: Vec<String>,
    disabled: bool,
    /// Whatever else is kept of the user.
    attributes: Attributes,
    created_at: Moment,
    updated_at: Moment,
    #[oai(flatten)]
    claims: Claims,
}

impl Example for User {
    fn example() -> Self {
        Self {
            sub: "usr_2Yx1mQ0fT7aV9sKcJb3RdA".into(),
            username: "ada".into(),
            external_id: None,
            has_password: true,
            admin_scopes: Vec::new(),
            disabled: false,
            attributes: Attributes::new(),
            created_at: Moment::example("2026-01-31T09:30:00Z"),
            updated_at: Moment::example("2026-01-31T09:30:00Z"),
            claims: Example::example(),
        }
    }
}

impl From<&Person> for User {
    fn from(user: &Person) -> Self {
        let claims = serde_json::Value::Object(user.claims.clone());
        Self {
            sub: user.sub.to_string(),
            username: user.username.clone(),
            external_id: user.external_id.clone(),
            has_password: user.password_hash.is_some(),
            admin_scopes: user.admin_scopes.iter().map(str::to_owned).collect(),
            disabled: user.disabled,
            attributes: user.attributes.clone().into_iter().collect(),
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
            claims: Claims::parse_from_json(Some(claims)).unwrap_or_default(),
        }
    }
}

/// A page of users.
#[derive(Debug, Object)]
#[oai(example)]
struct UserList {
    items: Vec<User>,
    /// What to pass as `after` for the next page.
    #[oai(nullable)]
    next: Option<String>,
}

impl Example for UserList {
    fn example() -> Self {
        Self { items: vec![Example::example()], next: None }
    }
}

/// What a logout came to.
#[derive(Debug, Object)]
#[oai(example)]
struct LoggedOut {
    /// How many sessions ended.
    sessions_ended: u64,
}

impl Example for LoggedOut {
    fn example() -> Self {
        Self { sessions_ended: 2 }
    }
}

#[derive(ApiResponse)]
enum UserMade {
    /// The user is made
    #[oai(status = 201)]
    Created(
        Answer<User>,
        /// Where it is found
        #[oai(header = "Location")]
        String,
    ),
}

/// The operations on users.
pub struct UsersApi {
    app: Arc<App>,
}

impl UsersApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Users")]
impl UsersApi {
    /// List users
    #[oai(path = "/users", method = "get", operation_id = "listUsers")]
    async fn list(
        &self,
        #[oai(scope = "AdminScope::UsersRead")] bearer: Bearer,
        origin: Origin,
        /// The one user of this name, as usernames are compared.
        username: Query<Option<String>>,
        /// The one user of this id in the system they came from.
        external_id: Query<Option<String>>,
        /// The `next` of the page before.
        after: Query<Option<String>>,
        /// Items on this page, 1 to 1,000; 100 by default.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
    ) -> Result<Answer<UserList>, ListFailure> {
        caller(&self.app, &bearer, "admin:users:read", &origin).await?;
        let query = UserQuery { username: username.0, external_id: external_id.0, after: after.0, limit: limit.0 };
        let page = users::list(&self.app.context, query).await?;
        Ok(Answer(UserList { items: page.items.iter().map(User::from).collect(), next: page.next }))
    }

    /// Make a user
    #[oai(path = "/users", method = "post", operation_id = "createUser")]
    async fn create(
        &self,
        #[oai(scope = "AdminScope::Users")] bearer: Bearer,
        origin: Origin,
        body: JsonBody<NewUser>,
    ) -> Result<UserMade, CreateFailure> {
        let caller = caller(&self.app, &bearer, "admin:users", &origin).await?;
        let user = users::create(&self.app.context, &self.app.credentials, &caller, &body.read()?).await?;
        let location = location(&self.app, "users", user.sub.as_str());
        Ok(UserMade::Created(Answer(User::from(&user)), location))
    }

    /// Show a user
    #[oai(path = "/users/:sub", method = "get", operation_id = "getUser")]
    async fn show(
        &self,
        #[oai(scope = "AdminScope::UsersRead")] bearer: Bearer,
        origin: Origin,
        /// The user.
        sub: Path<String>,
    ) -> Result<Answer<User>, ItemFailure> {
        caller(&self.app, &bearer, "admin:users:read", &origin).await?;
        Ok(Answer(User::from(&users::show(&self.app.context, &sub).await?)))
    }

    /// Change a user
    ///
    /// A merge patch (RFC 7396). Disabling a user, and taking an `admin*` scope from one, end the user's sessions.
    #[oai(path = "/users/:sub", method = "patch", operation_id = "updateUser")]
    async fn update(
        &self,
        #[oai(scope = "AdminScope::Users")] bearer: Bearer,
        origin: Origin,
        /// The user.
        sub: Path<String>,
        body: JsonBody<UserChanges>,
    ) -> Result<Answer<User>, ChangeFailure> {
        let caller = caller(&self.app, &bearer, "admin:users", &origin).await?;
        let user = users::patch(&self.app.context, &caller, &sub, &body.read()?).await?;
        Ok(Answer(User::from(&user)))
    }

    /// Delete a user
    ///
    /// All the user's sessions end and their access tokens turn inactive.
    #[oai(path = "/users/:sub", method = "delete", operation_id = "deleteUser")]
    async fn delete(
        &self,
        #[oai(scope = "AdminScope::Users")] bearer: Bearer,
        origin: Origin,
        /// The user.
        sub: Path<String>,
    ) -> Result<Gone, RemovalFailure> {
        let caller = caller(&self.app, &bearer, "admin:users", &origin).await?;
        users::delete(&self.app.context, &caller, &sub).await?;
        Ok(Gone::Gone)
    }

    /// Set a user's password
    ///
    /// All the user's sessions end: who knew the old password is out.
    #[oai(path = "/users/:sub/password", method = "put", operation_id = "setUserPassword")]
    async fn set_password(
        &self,
        #[oai(scope = "AdminScope::Users")] bearer: Bearer,
        origin: Origin,
        /// The user.
        sub: Path<String>,
        body: JsonBody<NewPassword>,
    ) -> Result<Done, ChangeFailure> {
        let caller = caller(&self.app, &bearer, "admin:users", &origin).await?;
        let body: PasswordBody = body.read()?;
        users::set_password(&self.app.context, &self.app.credentials, &caller, &sub, &body).await?;
        Ok(Done::Done)
    }

    /// Log a user out everywhere
    ///
    /// Ends all the user's sessions. The password stays what it is.
    #[oai(path = "/users/:sub/logout", method = "post", operation_id = "logOutUser")]
    async fn logout(
        &self,
        #[oai(scope = "AdminScope::Users")] bearer: Bearer,
        origin: Origin,
        /// The user.
        sub: Path<String>,
    ) -> Result<Answer<LoggedOut>, ItemFailure> {
        let caller = caller(&self.app, &bearer, "admin:users", &origin).await?;
        let sessions_ended = users::logout(&self.app.context, &caller, &sub).await?;
        Ok(Answer(LoggedOut { sessions_ended }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::users::spec::{AddressSpec, UserSpec};
    use crate::http::json::agreement;

    impl Example for Address {
        fn example() -> Self {
            Self { country: Some("UK".into()), ..Self::default() }
        }
    }

    #[test]
    fn what_is_documented_is_what_is_read() {
        agreement::check::<NewUser, UserSpec>(&[]);
        agreement::check::<UserChanges, UserSpec>(&["password", "password_hash"]);
        agreement::check::<NewPassword, PasswordBody>(&[]);
        agreement::check::<Address, AddressSpec>(&[]);
    }
}
