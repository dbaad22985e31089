//! What a user is.

use std::fmt;

use super::ids::Sub;
use super::scope::Scope;
use super::time::Timestamp;

/// The standard claims that a user may have (OpenID Connect Core section 5.1).
pub const STANDARD_CLAIMS: [&str; 18] = [
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "email_verified",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
];

/// A user of the password grant.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub sub: Sub,
    /// As the user or operator wrote it.
    pub username: String,
    /// The username after PRECIS UsernameCaseMapped: what is unique and compared.
    pub username_key: String,
    /// The id that the user had in the system they came from; unique among users.
    pub external_id: Option<String>,
    /// As it was made here or elsewhere; `None` for a user who cannot log in by password.
    pub password_hash: Option<String>,
    /// OpenID Connect standard claims, by their names.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// What the operator keeps of the user besides: names and values of their own choice.
    pub attributes: serde_json::Map<String, serde_json::Value>,
    pub admin_scopes: Scope,
    pub disabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Grows with every change: a change made from an older reading is refused by the database.
    pub version: i64,
    /// Grows with every password change, disabling or reset: a login that began before it opens no session.
    pub credential_epoch: i64,
}

/// What no two users have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserName {
    Username,
    ExternalId,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("sub", &self.sub)
            .field("username", &self.username)
            .field("admin_scopes", &self.admin_scopes)
            .field("disabled", &self.disabled)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
