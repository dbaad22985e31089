//! `latchkey key ...`: signing and refresh keys, by the admin API.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::Globals;
use super::failure::Result;
use super::output::line;
use super::remote::{Remote, RemoteArgs, print_list, print_object};
use super::{input, offline};

const READ: &str = "admin:keys:read";
const WRITE: &str = "admin:keys";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List every key with its timeline
    List {
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Rotate the keys of an algorithm
    Rotate {
        /// Which keys: ES256, RS256, or refresh for those of refresh tokens
        #[arg(long, value_name = "ALG")]
        alg: String,
        /// planned waits until every verifier has seen the standby; now does not wait; compromise goes ahead at once
        /// and makes every token of the lost key inactive
        #[arg(long, value_enum, default_value_t = Mode::Planned)]
        mode: Mode,
        /// The key that is compromised [default: the active one]
        #[arg(long)]
        kid: Option<String>,
        /// With --mode now: although the standby is not ripe
        #[arg(long)]
        force: bool,
        /// Show the plan and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Import a private key as the standby of its algorithm (PKCS#8, PKCS#1 or SEC1)
    Import {
        /// PEM file, or - for standard input
        pem: PathBuf,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Seal every key under another master key, with the server stopped
    ///
    /// Where the master key is master.key in keys.directory, a new one is drawn. Where the settings give it, give the
    /// new one there first, and the old one in keys.previous_master_keys.
    RotateMaster,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Mode {
    Planned,
    Now,
    Compromise,
}

pub(super) async fn run(action: Action, globals: &Globals) -> Result<()> {
    match action {
        Action::List { remote } => {
            let server = Remote::connect(&remote, globals, READ).await?;
            let columns = [
                ("ALG", "alg"),
                ("STATE", "state"),
                ("KID", "kid"),
                ("CREATED", "created_at"),
                ("RIPE", "ripe_at"),
                ("ACTIVATES", "activates_at"),
                ("RETIRES", "retires_at"),
            ];
            let listed = server.list(&["keys"], &[], None).await?;
            let reasons = if remote.json { Vec::new() } else { reasons(&listed.items) };
            print_list(listed, &columns, &remote)?;
            for reason in reasons {
                line(reason)?;
            }
        }
        Action::Rotate { alg, mode, kid, force, dry_run, remote } => {
            let mode = mode.to_possible_value().map(|value| value.get_name().to_owned());
            let mut body = json!({ "alg": alg, "mode": mode, "force": force, "dry_run": dry_run });
            if let Some(kid) = kid {
                body["kid"] = kid.into();
            }
            let server = Remote::connect(&remote, globals, WRITE).await?;
            print_object(&server.call(Method::POST, &["keys", "rotate"], Some(&body)).await?, &remote)?;
        }
        Action::Import { pem, remote } => {
            let pem = input::text_from(&pem)?;
            let body = json!({ "pem": pem.as_str() });
            let server = Remote::connect(&remote, globals, WRITE).await?;
            print_object(&server.call(Method::POST, &["keys", "import"], Some(&body)).await?, &remote)?;
        }
        Action::RotateMaster => offline::rotate_master(globals).await?,
    }
    Ok(())
}

/// Why nothing happens sooner: sentences, which no column holds.
fn reasons(keys: &[Value]) -> Vec<String> {
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let told = keys.iter().filter(|key| key.get("reason").is_some_and(Value::is_string));
    told.map(|key| {
        let kid: String = text(key, "kid").chars().take(12).collect();
        format!("\n{} {} {kid}: {}", text(key, "alg"), text(key, "state"), text(key, "reason"))
    })
    .collect()
}
