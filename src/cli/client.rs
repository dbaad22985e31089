//! `latchkey client ...`: registered clients, by the admin API.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Globals;
use super::failure::{Failure, Result};
use super::input;
use super::output::{Style, note};
use super::remote::{Remote, RemoteArgs, granting, print_list, print_object};
use crate::domain::client::GrantType;

const READ: &str = "admin:clients:read";
const WRITE: &str = "admin:clients";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Register a client; its secret is shown once
    Add {
        /// Its client_id [default: made up by the server]
        #[arg(long, visible_alias = "id", value_name = "ID")]
        client_id: Option<String>,
        #[command(flatten)]
        fields: Box<Fields>,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// List the clients
    List {
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Show one client
    Show {
        #[arg(value_name = "CLIENT_ID")]
        client: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Change what is named and leave the rest
    Update {
        #[arg(value_name = "CLIENT_ID")]
        client: String,
        #[command(flatten)]
        fields: Box<Fields>,
        /// Take it into service again
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Remove a client and end its sessions
    Delete {
        #[arg(value_name = "CLIENT_ID")]
        client: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Make a new secret, shown once; the old one stays good for the overlap
    Secret {
        #[arg(value_name = "CLIENT_ID")]
        client: String,
        /// How long the old secret stays good, such as 24h; 0s ends it now [default: 24h]
        #[arg(long, value_name = "SPAN")]
        overlap: Option<String>,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum AuthMethod {
    ClientSecretBasic,
    ClientSecretPost,
    ClientSecretJwt,
    PrivateKeyJwt,
    None,
}

/// The members of a client that have a flag. All others go through `--json-body`.
#[derive(Debug, Args)]
pub(super) struct Fields {
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Grant types: authorization_code, password, refresh_token, client_credentials, token-exchange
    #[arg(long = "grant", value_name = "TYPE", value_delimiter = ',')]
    grants: Vec<String>,
    /// Scopes it may ask for, separated by spaces
    #[arg(long)]
    scope: Option<String>,
    /// How it proves who it is; none makes it a public client
    #[arg(long, value_name = "METHOD", value_enum)]
    auth_method: Option<AuthMethod>,
    /// The only algorithm that its assertions are signed by [default: any that suits its method]
    #[arg(long, value_name = "ALG")]
    auth_signing_alg: Option<String>,
    /// JWK Set of its public keys, from a file or - for standard input; for private_key_jwt
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// Where it publishes its keys instead
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Algorithm of its access tokens: ES256 or RS256
    #[arg(long, value_name = "ALG")]
    alg: Option<String>,
    /// What its access tokens name as audience [default: the issuer]
    #[arg(long, value_name = "TEXT")]
    audience: Vec<String>,
    /// A name under which it is an API that introspects tokens meant for it
    #[arg(long = "resource", value_name = "TEXT")]
    resources: Vec<String>,
    /// A browser origin that may call for it
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Where codes go: https, http on loopback, or an app's scheme as com.example.app:/callback
    #[arg(long = "redirect-uri", value_name = "URI", help_heading = "Code flow")]
    redirect_uris: Vec<String>,
    /// Where a browser may be sent after a logout
    #[arg(long = "post-logout-redirect-uri", value_name = "URI", help_heading = "Code flow")]
    post_logout_redirect_uris: Vec<String>,
    /// Where it is told that a sign-in has ended
    #[arg(long, value_name = "URI", help_heading = "Code flow")]
    backchannel_logout_uri: Option<String>,
    /// Whether a code needs PKCE; false only for clients with a secret or a key [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "Code flow")]
    require_pkce: Option<bool>,
    /// How codes may come back: query, form_post [default: both]
    #[arg(long = "response-mode", value_name = "MODE", value_delimiter = ',', help_heading = "Code flow")]
    response_modes: Vec<String>,
    /// Algorithm of its ID tokens: RS256 or ES256
    #[arg(long, value_name = "ALG", help_heading = "Code flow")]
    id_token_alg: Option<String>,
    /// Algorithm of signed userinfo: RS256 or ES256 [default: plain JSON]
    #[arg(long, value_name = "ALG", help_heading = "Code flow")]
    userinfo_alg: Option<String>,
    /// Whether its users are not asked, for first-party clients
    #[arg(long, value_name = "BOOL", help_heading = "Code flow")]
    skip_consent: Option<bool>,
    /// Its home page, shown where users are asked
    #[arg(long, value_name = "URI", help_heading = "Code flow")]
    client_uri: Option<String>,
    /// Its privacy policy, shown there, too
    #[arg(long, value_name = "URI", help_heading = "Code flow")]
    policy_uri: Option<String>,
    /// Its terms of service, shown there, too
    #[arg(long, value_name = "URI", help_heading = "Code flow")]
    tos_uri: Option<String>,
    /// How long its access tokens live, such as 10m
    #[arg(long, value_name = "SPAN", help_heading = "Lifetimes")]
    access_ttl: Option<String>,
    /// How long a session may go unused
    #[arg(long, value_name = "SPAN", help_heading = "Lifetimes")]
    refresh_idle: Option<String>,
    /// How long a session may last
    #[arg(long, value_name = "SPAN", help_heading = "Lifetimes")]
    refresh_absolute: Option<String>,
    /// How long a lost answer may be asked for again
    #[arg(long, value_name = "SPAN", help_heading = "Lifetimes")]
    refresh_retry_window: Option<String>,
    /// From when on a retry counts as late
    #[arg(long, value_name = "SPAN", help_heading = "Lifetimes")]
    late_retry: Option<String>,
    /// Whether every refresh gives a new refresh token
    #[arg(long, value_name = "BOOL", help_heading = "Lifetimes")]
    rotate_refresh: Option<bool>,
    /// Take it out of service
    #[arg(long)]
    disable: bool,
    /// JSON object of the admin API, from a file or - for standard input; flags are laid over it
    #[arg(long, value_name = "FILE")]
    json_body: Option<PathBuf>,
}

impl Fields {
    fn body(&self) -> Result<Map<String, Value>> {
        let mut body = input::json_object(self.json_body.as_deref())?;
        let jwks = self.jwks.as_deref().map(|file| input::json_object(Some(file))).transpose()?;
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.into(), value);
            }
        };
        let text = |value: &Option<String>| value.clone().map(Value::from);
        let many = |values: &[String]| (!values.is_empty()).then(|| Value::from(values));
        set("client_name", text(&self.name));
        let grants: Vec<String> = self.grants.iter().map(|name| grant_type(name)).collect();
        set("grant_types", many(&grants));
        set("scope", text(&self.scope));
        let method = self.auth_method.and_then(|method| method.to_possible_value());
        set("token_endpoint_auth_method", method.map(|value| value.get_name().into()));
        set("token_endpoint_auth_signing_alg", text(&self.auth_signing_alg));
        // The one takes the place of the other.
        set("jwks", jwks.map(Value::Object).or(self.jwks_uri.as_ref().map(|_| Value::Null)));
        set("jwks_uri", text(&self.jwks_uri).or(self.jwks.as_ref().map(|_| Value::Null)));
        set("access_token_signed_response_alg", text(&self.alg));
        set("audience", many(&self.audience));
        set("resource_identifiers", many(&self.resources));
        set("allowed_origins", many(&self.origins));
        set("rotate_refresh", self.rotate_refresh.map(Value::from));
        set("disabled", self.disable.then_some(Value::Bool(true)));
        set("redirect_uris", many(&self.redirect_uris));
        set("post_logout_redirect_uris", many(&self.post_logout_redirect_uris));
        set("backchannel_logout_uri", text(&self.backchannel_logout_uri));
        set("require_pkce", self.require_pkce.map(Value::from));
        set("response_modes", many(&self.response_modes));
        set("id_token_signed_response_alg", text(&self.id_token_alg));
        set("userinfo_signed_response_alg", text(&self.userinfo_alg));
        set("skip_consent", self.skip_consent.map(Value::from));
        set("client_uri", text(&self.client_uri));
        set("policy_uri", text(&self.policy_uri));
        set("tos_uri", text(&self.tos_uri));
        let lifetimes = [
            ("access_ttl", &self.access_ttl),
            ("refresh_idle", &self.refresh_idle),
            ("refresh_absolute", &self.refresh_absolute),
            ("refresh_retry_window", &self.refresh_retry_window),
            ("late_retry", &self.late_retry),
        ];
        let named = lifetimes.iter().filter_map(|(name, span)| Some((*name, span.as_ref()?)));
        for (name, span) in named {
            let all = body.entry("lifetimes").or_insert_with(|| json!({}));
            let Value::Object(all) = all else {
                return Err(Failure::Unusable("lifetimes in the JSON body is not an object".into()));
            };
            all.insert(name.into(), span.as_str().into());
        }
        Ok(body)
    }
}

pub(super) async fn run(action: Action, globals: &Globals) -> Result<()> {
    match action {
        Action::Add { client_id, fields, remote } => {
            let mut body = fields.body()?;
            if let Some(client_id) = client_id {
                body.insert("client_id".into(), client_id.into());
            }
            let server = Remote::connect(&remote, globals, &needed(&body)).await?;
            let made = server.change(Method::POST, &["clients"], Some(&Value::Object(body))).await?;
            print_object(&made, &remote)?;
            tell_secret(&made);
        }
        Action::List { remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            let listed = server.list(&["clients"], &[], None).await?;
            let columns = [
                ("CLIENT", "client_id"),
                ("NAME", "client_name"),
                ("GRANTS", "grant_types"),
                ("AUTH", "token_endpoint_auth_method"),
                ("ALG", "access_token_signed_response_alg"),
                ("DISABLED", "disabled"),
            ];
            print_list(listed, &columns, &remote)?;
        }
        Action::Show { client, remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            print_object(&server.call(Method::GET, &["clients", &client], None).await?, &remote)?;
        }
        Action::Update { client, fields, enable, remote } => {
            let mut body = fields.body()?;
            if enable {
                body.insert("disabled".into(), Value::Bool(false));
            }
            if body.is_empty() {
                return Err(Failure::Unusable("nothing to change was named; see --help".into()));
            }
            let server = Remote::connect(&remote, globals, &needed(&body)).await?;
            let path = ["clients", client.as_str()];
            let changed = server.change(Method::PATCH, &path, Some(&Value::Object(body))).await?;
            print_object(&changed, &remote)?;
            tell_secret(&changed);
        }
        Action::Delete { client, remote } => {
            let server = Remote::connect(&remote, globals, WRITE).await?;
            server.change(Method::DELETE, &["clients", &client], None).await?;
            note(format_args!("{client} is gone, its sessions have ended"));
        }
        Action::Secret { client, overlap, remote } => {
            let mut body = Map::new();
            if let Some(overlap) = overlap {
                body.insert("overlap".into(), overlap.into());
            }
            let server = Remote::connect(&remote, globals, WRITE).await?;
            let path = ["clients", client.as_str(), "secret"];
            let made = server.change(Method::POST, &path, Some(&Value::Object(body))).await?;
            print_object(&made, &remote)?;
            tell_secret(&made);
        }
    }
    Ok(())
}

/// A grant type by its whole name. One that is a URN is also known by its last part.
fn grant_type(name: &str) -> String {
    GrantType::ALL
        .map(GrantType::as_str)
        .into_iter()
        .find(|known| known.rsplit(':').next() == Some(name))
        .unwrap_or(name)
        .to_owned()
}

/// The scope of a call with this body.
fn needed(body: &Map<String, Value>) -> String {
    let scope = body.get("scope").and_then(Value::as_str).unwrap_or_default();
    granting(WRITE, scope.split(' '))
}

fn tell_secret(made: &Value) {
    if made.get("client_secret").is_some_and(Value::is_string) {
        note(Style::stderr().yellow("the secret is shown this once; nobody can read it later"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_goes_by_its_last_part() {
        assert_eq!(grant_type("token-exchange"), "urn:ietf:params:oauth:grant-type:token-exchange");
        assert_eq!(grant_type("password"), "password");
        assert_eq!(grant_type("unknown"), "unknown", "the server says what is known");
    }
}
