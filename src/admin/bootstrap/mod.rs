//! `bootstrap.file`: clients and users that are there from the first start on.
//!
//! The bodies are those of the admin API. What is missing is created; what exists is never changed, since an operator
//! may have changed it on purpose since: a difference is a warning.

mod admin;

use serde::Deserialize;

pub use admin::{AdminSecret, ensure_admin, recover};

use super::AdminCaller;
use super::clients::spec::{Bounds, ClientSpec};
use super::field::{Field, Object};
use super::users::spec::{UserSpec, changed};
use super::{clients, users};
use crate::context::Context;
use crate::credentials::{Credentials, precis};
use crate::domain::client::Client;
use crate::domain::error::{Code, OAuthError};

/// What the file holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BootstrapFile {
    clients: Vec<Object<ClientSpec>>,
    users: Vec<Object<UserSpec>>,
}

/// Why the file cannot be followed. What stood before the faulty entry has been created.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Not the JSON of `clients` and `users`.
    #[error("it is not JSON of clients and users: {0}")]
    Malformed(#[from] serde_json::Error),
    /// One entry is refused.
    #[error("{entry}: {error}")]
    Entry {
        /// `clients[0]`, with the name where it has one.
        entry: String,
        error: OAuthError,
    },
}

/// Creates what the file names and is missing; answers what the operator should be warned of.
///
/// # Errors
/// The text is not such a file, an entry is refused, or the database does not answer.
pub async fn apply(ctx: &Context, credentials: &Credentials, text: &str) -> Result<Vec<String>, BootstrapError> {
    let Object(file) = serde_json::from_str::<Object<BootstrapFile>>(text)?;
    let mut warnings = Vec::new();
    for (at, Object(spec)) in file.clients.iter().enumerate() {
        let outcome = client(ctx, credentials, spec).await;
        warnings.extend(outcome.map_err(|error| entry("clients", at, &spec.client_id, error))?);
    }
    for (at, Object(spec)) in file.users.iter().enumerate() {
        let outcome = user(ctx, credentials, spec).await;
        warnings.extend(outcome.map_err(|error| entry("users", at, &spec.username, error))?);
    }
    Ok(warnings)
}

fn entry(list: &str, at: usize, name: &Field<String>, error: OAuthError) -> BootstrapError {
    let entry = match name {
        Field::Is(name) => format!("{list}[{at}] ({name:?})"),
        Field::Absent | Field::Null => format!("{list}[{at}]"),
    };
    BootstrapError::Entry { entry, error }
}

async fn client(ctx: &Context, credentials: &Credentials, spec: &ClientSpec) -> Result<Option<String>, OAuthError> {
    let Some(id) = spec.given_id()? else {
        let why = "client_id is missing: without it, every start would create another client";
        return Err(OAuthError::new(Code::InvalidClientMetadata, why));
    };
    if let Some(existing) = ctx.store.client(&id).await? {
        // Judged by itself: merged into what an operator has made of the client since, it might contradict that.
        let bounds = Bounds { issuer: &ctx.issuer, policy: &ctx.policy };
        let wanted = spec.applied_to(&Client::blank(id.clone(), ctx.now()), bounds)?;
        let mut differing = ClientSpec::changed(&existing, &wanted);
        differing.retain(|member| spec.has(member));
        return Ok(difference("client", id.as_str(), &differing));
    }
    match clients::create(ctx, credentials, &operator(), spec).await {
        Ok(registered) => Ok(registered.secret.map(|_| {
            format!(
                "client {:?} was created with a drawn secret that nobody has seen: name a client_secret in the file, \
                 or get one by POST /admin/v1/clients/{id}/secret",
                id.as_str()
            )
        })),
        // Another node was faster; it read the same file.
        Err(error) if error.code == Code::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}

async fn user(ctx: &Context, credentials: &Credentials, spec: &UserSpec) -> Result<Option<String>, OAuthError> {
    let Field::Is(username) = &spec.username else {
        return Err(OAuthError::new(Code::InvalidRequest, "username is missing; every user has one"));
    };
    let key =
        precis::username_key(username).map_err(|error| OAuthError::new(Code::InvalidRequest, error.to_string()))?;
    if let Some(existing) = ctx.store.user_by_username(&key).await? {
        let mut wanted = existing.clone();
        wanted.username.clone_from(username);
        spec.merge_into(&mut wanted)?;
        return Ok(difference("user", username, &changed(&existing, &wanted)));
    }
    match users::create(ctx, credentials, &operator(), spec).await {
        Ok(_) => Ok(None),
        Err(error) if error.code == Code::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}

fn operator() -> AdminCaller {
    AdminCaller::operator("bootstrap")
}

/// Secrets and passwords are not compared: that would cost a slow hash for each at every start.
fn difference(what: &str, name: &str, names: &[impl AsRef<str>]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    Some(format!(
        "{what} {name:?} differs from bootstrap.file in {}: what exists is left as it is; change the file or the {what}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_strictly() {
        let read = |text| serde_json::from_str::<Object<BootstrapFile>>(text);
        let Object(file) = read(r#"{"clients":[{"client_id":"web"}],"users":[{"username":"ada"}]}"#).unwrap();
        assert_eq!((file.clients.len(), file.users.len()), (1, 1));
        assert!(read("{}").is_ok());
        for text in [r#"{"client":[]}"#, r#"{"clients":[{"client_nmae":"x"}]}"#, r#"{"clients":[["x"]]}"#, "[]", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_difference_names_members() {
        assert_eq!(difference("client", "web", &[] as &[&str]), None);
        let warning = difference("client", "web", &["scope", "audience"]).unwrap();
        assert!(warning.contains("\"web\"") && warning.contains("scope, audience"), "{warning}");
    }
}
