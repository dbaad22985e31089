//! `latchkey user ...`: users, by the admin API. A user is named by `sub` or by username.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Globals;
use super::failure::{Failure, Result};
use super::import::{self, Import};
use super::input;
use super::output::note;
use super::remote::{Remote, RemoteArgs, granting, print_list, print_object};
use crate::domain::ids::SUB_PREFIX;

const READ: &str = "admin:users:read";
pub(super) const WRITE: &str = "admin:users";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Create a user; the password is asked for, or read from standard input
    Add {
        username: String,
        /// Create a user who cannot log in by password
        #[arg(long)]
        no_password: bool,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// List the users
    List {
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Show one user
    Show {
        /// The sub, or the username
        user: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Change what is named and leave the rest
    Update {
        /// The sub, or the username
        user: String,
        /// The new username
        #[arg(long)]
        username: Option<String>,
        #[command(flatten)]
        fields: Fields,
        /// Let the user log in again
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Remove a user and end their sessions
    Delete {
        /// The sub, or the username
        user: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Set a new password, asked for or read from standard input; ends the user's sessions
    Password {
        /// The sub, or the username
        user: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Bring users of another system in, from a file; who is there already is left alone
    Import(Import),
    /// End every session of a user
    Logout {
        /// The sub, or the username
        user: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// The members of a user that have a flag. All others go through `--json-body`.
#[derive(Debug, Args)]
pub(super) struct Fields {
    /// The id that the user had in the system they came from; an empty text for none
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// What else to keep of the user, such as tenant=7 or plan.name=gold; the value may be JSON, null removes
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, Value)>,
    /// An OpenID Connect standard claim, such as email=alice@example.com; the value may be JSON
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = parse_claim)]
    claims: Vec<(String, Value)>,
    /// An admin scope that the user's tokens may carry; several by commas, none by an empty text
    #[arg(long = "admin-scope", value_name = "SCOPE", value_delimiter = ',')]
    admin_scopes: Option<Vec<String>>,
    /// Keep the user from logging in
    #[arg(long)]
    disable: bool,
    /// JSON object of the admin API, from a file or - for standard input; flags are laid over it
    #[arg(long, value_name = "FILE")]
    json_body: Option<PathBuf>,
}

fn parse_claim(text: &str) -> std::result::Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    // `email_verified=true` means the boolean; a value that is no JSON is meant as text.
    let value = match serde_json::from_str::<Value>(value) {
        Ok(Value::Number(_)) | Err(_) => Value::from(value),
        Ok(value) => value,
    };
    Ok((name.to_owned(), value))
}

fn parse_attribute(text: &str) -> std::result::Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
}

/// Puts a value at a dotted path: `plan.name` is the member `name` of the object `plan`.
pub(super) fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((outer, rest)) = path.split_once('.') else {
        object.insert(path.to_owned(), value);
        return;
    };
    let place = object.entry(outer).or_insert_with(|| Value::Object(Map::new()));
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    if let Value::Object(inner) = place {
        put(inner, rest, value);
    }
}

impl Fields {
    fn body(&self) -> Result<Map<String, Value>> {
        let mut body = input::json_object(self.json_body.as_deref())?;
        body.extend(self.claims.iter().cloned());
        if let Some(id) = &self.external_id {
            body.insert("external_id".into(), if id.is_empty() { Value::Null } else { id.as_str().into() });
        }
        for (path, value) in &self.attributes {
            put(&mut body, &format!("attributes.{path}"), value.clone());
        }
        if let Some(scopes) = &self.admin_scopes {
            let named: Vec<&str> = scopes.iter().map(String::as_str).filter(|scope| !scope.is_empty()).collect();
            body.insert("admin_scopes".into(), named.into());
        }
        if self.disable {
            body.insert("disabled".into(), Value::Bool(true));
        }
        Ok(body)
    }
}

/// The caller's own secret is asked for before anybody else's.
pub(super) async fn run(action: Action, globals: &Globals) -> Result<()> {
    match action {
        Action::Add { username, no_password, fields, remote } => {
            let mut body = fields.body()?;
            body.insert("username".into(), username.as_str().into());
            let server = Remote::connect(&remote, globals, &needed(&body)).await?;
            let has_password = body.contains_key("password") || body.contains_key("password_hash");
            if !no_password && !has_password {
                let password = input::new_secret(&format!("password of {username}"))?;
                body.insert("password".into(), password.expose().into());
            }
            print_object(&server.change(Method::POST, &["users"], Some(&Value::Object(body))).await?, &remote)?;
        }
        Action::List { remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            let columns = [
                ("SUB", "sub"),
                ("USERNAME", "username"),
                ("ADMIN SCOPES", "admin_scopes"),
                ("DISABLED", "disabled"),
                ("CREATED", "created_at"),
            ];
            print_list(server.list(&["users"], &[], None).await?, &columns, &remote)?;
        }
        Action::Show { user, remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            let sub = sub_of(&server, &user).await?;
            print_object(&server.call(Method::GET, &["users", &sub], None).await?, &remote)?;
        }
        Action::Update { user, username, fields, enable, remote } => {
            let mut body = fields.body()?;
            if let Some(username) = username {
                body.insert("username".into(), username.into());
            }
            if enable {
                body.insert("disabled".into(), Value::Bool(false));
            }
            if body.is_empty() {
                return Err(Failure::Unusable("nothing to change was named; see --help".into()));
            }
            let server = Remote::connect(&remote, globals, &needed(&body)).await?;
            let sub = sub_of(&server, &user).await?;
            let path = ["users", sub.as_str()];
            print_object(&server.change(Method::PATCH, &path, Some(&Value::Object(body))).await?, &remote)?;
        }
        Action::Delete { user, remote } => {
            let server = Remote::connect(&remote, globals, WRITE).await?;
            let sub = sub_of(&server, &user).await?;
            server.change(Method::DELETE, &["users", &sub], None).await?;
            note(format_args!("{user} is gone, and every session has ended"));
        }
        Action::Password { user, remote } => {
            let server = Remote::connect(&remote, globals, WRITE).await?;
            let sub = sub_of(&server, &user).await?;
            let password = input::new_secret(&format!("new password of {user}"))?;
            let body = json!({ "password": password.expose() });
            server.change(Method::PUT, &["users", &sub, "password"], Some(&body)).await?;
            note(format_args!("{user} has a new password, and every session has ended"));
        }
        Action::Import(import) => import::run(import, globals).await?,
        Action::Logout { user, remote } => {
            let server = Remote::connect(&remote, globals, WRITE).await?;
            let sub = sub_of(&server, &user).await?;
            print_object(&server.change(Method::POST, &["users", &sub, "logout"], None).await?, &remote)?;
        }
    }
    Ok(())
}

/// The scope of a call with this body.
fn needed(body: &Map<String, Value>) -> String {
    let scopes = body.get("admin_scopes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    granting(WRITE, scopes.iter().filter_map(Value::as_str))
}

/// The `sub` of a user named by it or by username.
async fn sub_of(server: &Remote, user: &str) -> Result<String> {
    if user.starts_with(SUB_PREFIX) {
        return Ok(user.to_owned());
    }
    // The server compares usernames as logins do, so that `Alice` finds `alice`.
    let listed = server.list(&["users"], &[("username", Some(user))], None).await?;
    let sub = listed.items.first().and_then(|item| item.get("sub")).and_then(Value::as_str);
    sub.map(str::to_owned).ok_or_else(|| {
        Failure::because(format_args!("there is no user {user}")).hint("`latchkey user list` shows who there is")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_text_unless_they_are_json_of_another_kind() {
        let value = |text| parse_claim(text).unwrap().1;
        assert_eq!(value("email=a@b=c"), json!("a@b=c"));
        assert_eq!(value("email_verified=true"), json!(true));
        assert_eq!(value("phone_number=4712"), json!("4712"));
        assert_eq!(value("address={\"country\":\"NO\"}"), json!({"country": "NO"}));
        assert!(parse_claim("email").is_err());
    }

    #[test]
    fn attributes_are_json_at_a_path() {
        let mut body = Map::new();
        for text in ["tenant=7", "plan.name=gold", "plan.paid=true", "code=007", "note=\"7\"", "old=null"] {
            let (path, value) = parse_attribute(text).unwrap();
            put(&mut body, &format!("attributes.{path}"), value);
        }
        let wanted = json!({ "tenant": 7, "plan": { "name": "gold", "paid": true }, "code": "007", "note": "7",
                             "old": null });
        assert_eq!(body["attributes"], wanted);
    }
}
