//! The program from the shell: a file per subcommand.
//!
//! Exit status: 0 done, 1 failed, 2 unusable arguments or configuration. Results go to standard output, everything else
//! to standard error. `client`, `user`, `key`, `session`, `sign-in`, `audit` and `migration` are callers of a running server's
//! admin API and know nothing of the database; `key rotate-master`, `admin recover` and `migrate` act on it directly.

mod audit;
mod client;
mod config;
mod demo;
mod doctor;
mod failure;
mod import;
mod input;
mod key;
mod migration;
mod offline;
mod openapi;
mod output;
mod remote;
mod serve;
mod service;
mod session;
mod sign_in;
mod table;
mod user;

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Loaded, load};
use crate::telemetry;
use failure::{Failure, Result};

const ENVIRONMENT: &str = "\
Environment:
  LATCHKEY__SECTION__KEY   Any key of the configuration, such as LATCHKEY__DATABASE__URL; wins over the file
  LATCHKEY_CLIENT_ID       Who calls the admin API
  LATCHKEY_CLIENT_SECRET   Its secret
  LATCHKEY_CA              PEM file of certificate authorities to trust beside the system's
  RUST_LOG                 What is logged, such as latchkey=debug; JSON where standard error is no terminal
  NO_COLOR                 No colours

Exit status: 0 done, 1 failed, 2 unusable arguments or configuration";

/// An OAuth2/OIDC token provider: renewal that survives a lost answer, key rotation that no verifier notices.
#[derive(Debug, Parser)]
#[command(name = "latchkey", version, propagate_version = true, arg_required_else_help = true, after_help = ENVIRONMENT)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand takes.
#[derive(Debug, clap::Args)]
struct Globals {
    /// Configuration file [default: latchkey.toml in the working directory, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Globals {
    /// The settings of the file and the environment.
    fn load(&self) -> Result<Loaded> {
        Ok(load(self.config.as_deref(), std::env::vars_os())?)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: migrates, creates what is missing, prints where to look
    Serve(serve::Serve),
    /// Serve on a throw-away database with a demo client and user, and print lines to paste
    Demo(demo::Demo),
    /// Check the configuration, or show what holds and where it came from
    #[command(subcommand)]
    Config(config::Action),
    /// Register and change clients
    #[command(subcommand)]
    Client(client::Action),
    /// Create and change users
    #[command(subcommand)]
    User(user::Action),
    /// List, rotate and import keys
    #[command(subcommand)]
    Key(key::Action),
    /// List and end sessions
    #[command(subcommand)]
    Session(session::Action),
    /// List the browsers that users are signed in with, and sign them out
    #[command(subcommand)]
    SignIn(sign_in::Action),
    /// Read the audit trail
    #[command(subcommand)]
    Audit(audit::Action),
    /// See how many users of a system that moves in have moved, and how many are left
    Migration(migration::Migration),
    /// Help yourself when nobody can administer any more
    #[command(subcommand)]
    Admin(offline::Admin),
    /// Create or migrate the database, and nothing else
    Migrate,
    /// Explain unsafe settings, and look at clock, keys, database and issuer
    Doctor(doctor::Doctor),
    /// Write the OpenAPI documents, or compare them with the code
    Openapi(openapi::Openapi),
}

/// Parses the arguments, does what they say, and answers with the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    telemetry::install(arguments.command.default_log());
    match dispatch(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Help and version are results; everything else is a complaint with status 2.
fn usage(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(broken) if broken.kind() != ErrorKind::BrokenPipe => ExitCode::from(1),
        _ if error.use_stderr() => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}

impl Command {
    /// What is logged where `RUST_LOG` does not say: a service tells what it does, a tool only what goes wrong.
    fn default_log(&self) -> &'static str {
        match self {
            Self::Serve(_) => "info,sqlx=warn",
            _ => "warn",
        }
    }
}

fn dispatch(Arguments { globals, command }: Arguments) -> Result<()> {
    match command {
        Command::Serve(serve) => serve_all(serve::run(&serve, &globals)),
        Command::Demo(demo) => serve_all(demo::run(demo)),
        Command::Config(action) => config::run(action, &globals),
        Command::Client(action) => wait(client::run(action, &globals)),
        Command::User(action) => wait(user::run(action, &globals)),
        Command::Key(action) => wait(key::run(action, &globals)),
        Command::Session(action) => wait(session::run(action, &globals)),
        Command::SignIn(action) => wait(sign_in::run(action, &globals)),
        Command::Audit(action) => wait(audit::run(action, &globals)),
        Command::Migration(migration) => wait(migration::run(migration, &globals)),
        Command::Admin(offline::Admin::Recover) => wait(offline::recover(&globals)),
        Command::Migrate => wait(offline::migrate(&globals)),
        Command::Doctor(doctor) => wait(doctor::run(&doctor, &globals)),
        Command::Openapi(openapi) => openapi::run(&openapi),
    }
}

/// Runs a command that waits for others: one thread is plenty.
fn wait(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(could_not_start)?.block_on(work)
}

/// Runs a command that serves others: a thread for every core.
fn serve_all(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(could_not_start)?.block_on(work)
}

fn could_not_start(error: io::Error) -> Failure {
    Failure::because(format_args!("the runtime did not start: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_secret_can_be_given_as_an_argument() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let is_file = name.ends_with("_file") || name == "json_body";
                assert!(
                    is_file || !(name.contains("secret") || name.contains("password")) || {
                        !argument.get_action().takes_values()
                    },
                    "{} {name}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }
}
