//! `latchkey demo`: the newcomer's path. A service on a throw-away database, a client, a user, and lines to paste.

mod caller;
mod place;
mod verify;
mod walk;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::{Value, json};

use super::failure::{Failure, Result};
use super::output::{Style, line};
use super::service::{self, Service};
use crate::app::Sources;
use crate::config::{DatabaseUrl, Settings};
use crate::domain::secret::SecretText;
use crate::domain::sources::{Entropy, SystemClock, SystemEntropy, random};
use caller::{CLIENT, Caller, PASSWORD, USER, short};
use place::Place;

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Walk the path itself, step by step, and exit: 0 when every step did what it should
    #[arg(long)]
    once: bool,
}

/// Serves until it is told to stop, or walks once.
///
/// # Errors
/// The service does not start, or a step failed.
pub(super) async fn run(demo: Demo) -> Result<()> {
    let entropy = SystemEntropy;
    let place = Place::make(&entropy).map_err(|error| {
        Failure::because(format_args!("no directory for the demo in {}: {error}", std::env::temp_dir().display()))
            .hint("set TMPDIR to a directory that you may write")
    })?;
    let listener = listen()?;
    let address = listener.local_addr()?;
    let secrets = [drawn(&entropy), drawn(&entropy)];
    let [client_secret, admin_secret] = secrets.clone();
    let settings = settings(address, place.path(), &client_secret, admin_secret.clone())?;
    let caller = Caller::new(settings.server.issuer.clone(), client_secret, admin_secret).map_err(Failure::failed)?;
    // From here on a signal ends the demo in order: the directory is removed whatever happens.
    let mut stop = pin!(service::told_to_stop());
    let mut service = tokio::select! {
        started = Service::start(settings, Sources::default()) => started?,
        told = &mut stop => return told,
    };
    service.listen(listener, None, None)?;
    let shown = async {
        if demo.once {
            head(&caller, place.path())?;
            walk::walk(&caller, &SystemClock).await
        } else {
            guide(&caller, place.path()).await
        }
    };
    let outcome = tokio::select! {
        shown = shown => match shown {
            Ok(()) if !demo.once => stop.await,
            shown => shown,
        },
        told = &mut stop => told.and_then(|()| match demo.once {
            true => Err(Failure::because("stopped before the last step")),
            false => Ok(()),
        }),
    };
    service.stop().await?;
    outcome
}

/// The usual port if it is free, else any.
fn listen() -> Result<TcpListener> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, 8420));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(TcpListener::bind(usual).or_else(|_| TcpListener::bind(any))?)
}

/// A secret of 256 random bits.
fn drawn(entropy: &dyn Entropy) -> SecretText {
    SecretText::new(URL_SAFE_NO_PAD.encode(random::<32>(entropy)))
}

/// The defaults, in the throw-away place, with a client and a user from the first start on.
fn settings(address: SocketAddr, place: &Path, client_secret: &SecretText, admin: SecretText) -> Result<Settings> {
    let mut settings = Settings::default();
    settings.server.listen = address;
    settings.server.issuer = format!("http://{address}");
    let database = format!("sqlite://{}", place.join("demo.db").display());
    settings.database.url = DatabaseUrl::parse(&database).map_err(Failure::because)?;
    settings.keys.directory = place.join("keys");
    settings.bootstrap.admin_secret = Some(admin);
    settings.bootstrap.file = Some(bootstrap(place, client_secret)?);
    Ok(settings)
}

fn bootstrap(place: &Path, client_secret: &SecretText) -> Result<PathBuf> {
    let body = json!({
        "clients": [{
            "client_id": CLIENT,
            "client_name": "Demo application",
            "client_secret": client_secret.expose(),
            "grant_types": ["password", "refresh_token"],
            "scope": "read write",
        }],
        "users": [{ "username": USER, "password": PASSWORD, "email": "alice@example.com" }],
    });
    let path = place.join("bootstrap.json");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(body.to_string().as_bytes())?;
    Ok(path)
}

fn head(caller: &Caller, place: &Path) -> Result<()> {
    let style = Style::stdout();
    line(format_args!("{} at {}", style.bold("Latchkey demo"), style.cyan(&caller.base)))?;
    line(style.dim(&format!("a throw-away database in {}, removed at exit", place.display())))?;
    Ok(line("")?)
}

/// Prints what to paste, and what came back when the demo did the same a moment ago.
async fn guide(caller: &Caller, place: &Path) -> Result<()> {
    let failed = |error: anyhow::Error| Failure::failed(error.context("the demo's own call"));
    // The tokens that are printed belong to a session that nobody has used: pasting them must not look like a replay.
    let tried = caller.login().await.map_err(failed)?;
    let untouched = caller.login().await.map_err(failed)?;
    let seen = caller.introspect(&tried.access).await.map_err(failed)?;
    let next = caller.refresh(&tried.refresh).await.map_err(failed)?;
    let plan = caller.rotate(true).await.map_err(failed)?;

    head(caller, place)?;
    let style = Style::stdout();
    let base = &caller.base;
    let as_client = format!("-u {CLIENT}:{}", caller.client_secret.expose());
    let as_admin = format!("-u latchkey-admin:{}", caller.admin_secret.expose());
    let answer = |tokens: &caller::Tokens| {
        format!(
            "{{\"access_token\":\"{}\",\"token_type\":\"Bearer\",\"expires_in\":{},\"refresh_token\":\"{}\",...}}",
            short(&tokens.access),
            tokens.expires_in,
            short(&tokens.refresh)
        )
    };
    let show = |title: &str, command: String, came_back: String| -> Result<()> {
        line(style.bold(&format!("# {title}")))?;
        line(command)?;
        Ok(line(style.dim(&format!("# => {came_back}\n")))?)
    };
    show(
        "log in",
        format!(
            "curl -s {as_client} {base}/oauth2/token \\\n  -d grant_type=password -d username={USER} -d password={PASSWORD}"
        ),
        answer(&tried),
    )?;
    show(
        "verify: offline by the published keys, or online by introspection",
        format!(
            "curl -s {base}/.well-known/jwks.json\ncurl -s {as_client} {base}/oauth2/introspect \\\n  -d token={}",
            untouched.access
        ),
        in_short(&seen),
    )?;
    show(
        "refresh; paste it twice within a minute: a lost answer is given again, with the same refresh token",
        format!(
            "curl -s {as_client} {base}/oauth2/token \\\n  -d grant_type=refresh_token -d refresh_token={}",
            untouched.refresh
        ),
        answer(&next),
    )?;
    let token = format!(
        "curl -s {as_admin} {base}/oauth2/token -d grant_type=client_credentials -d scope=admin:keys \\\n    | sed \
         's/.*\"access_token\" *: *\"\\([^\"]*\\)\".*/\\1/'"
    );
    show(
        "rotate the signing key; tokens of the old one go on verifying",
        format!(
            "TOKEN=$({token})\ncurl -s -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n  \
             {base}/admin/v1/keys/rotate -d '{{\"alg\":\"ES256\",\"mode\":\"now\",\"force\":true}}'"
        ),
        in_short(&plan),
    )?;
    line(format_args!("{}  {base}/docs", style.bold("Swagger UI  ")))?;
    line(format_args!(
        "{}  LATCHKEY_CLIENT_SECRET={} latchkey key list --server {base}",
        style.bold("from a shell"),
        caller.admin_secret.expose()
    ))?;
    Ok(line(format_args!("\nCtrl-C ends the demo and removes everything."))?)
}

/// An answer on one line, cut where it gets long.
fn in_short(answer: &Value) -> String {
    const LONGEST: usize = 160;
    let text = answer.to_string();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST - 1).chain(['…']).collect() }
}
