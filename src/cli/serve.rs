//! `latchkey serve`: the service itself.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::Globals;
use super::failure::{Failure, Result};
use super::output::{Style, line, note};
use super::service::{Service, bind, told_to_stop};
use crate::admin::bootstrap::AdminSecret;
use crate::admin::test_clock::Reading;
use crate::app::{Bootstrapped, Sources};
use crate::config::Settings;
use crate::domain::ids::BUILT_IN_ADMIN;
use crate::domain::secret::SecretText;
use crate::http;
use crate::http::tls::Tls;
use crate::http::tls::pair::Concern;

/// Where the drawn admin secret goes when nobody is looking, below `keys.directory`.
const SECRET_FILE: &str = "admin.secret";

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Let whoever reaches the service move its time (/test/clock), to test expiry and rotation in seconds. On loopback
    /// and on a database of its own alone; never with real users
    #[arg(long)]
    test_clock: bool,
}

impl Serve {
    /// # Errors
    /// The clock could be moved by somebody from outside.
    fn sources(&self, settings: &Settings) -> Result<Sources> {
        if !self.test_clock {
            return Ok(Sources::default());
        }
        let server = &settings.server;
        let listeners = [("server.listen", Some(server.listen)), ("server.admin_listen", server.admin_listen)];
        for (key, address) in listeners {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                return Err(Failure::Unusable(format!(
                    "--test-clock lets everyone who reaches the service move its time, and {key} = \"{address}\" can \
                     be reached from other machines: listen on 127.0.0.1 or [::1]"
                )));
            }
        }
        Ok(Sources::under_test_clock())
    }
}

pub(super) async fn run(arguments: &Serve, globals: &Globals) -> Result<()> {
    let settings = globals.load()?.settings;
    let sources = arguments.sources(&settings)?;
    let tls = Tls::open(&settings.server.tls).map_err(|faults| Failure::Unusable(faults.to_string()))?;
    // The database comes first: a second `serve` should learn who holds it, not that a port is taken.
    let mut service = Service::start(settings.clone(), sources).await?;
    let outcome = serve(&mut service, &settings, tls).await;
    service.stop().await?;
    outcome
}

async fn serve(service: &mut Service, settings: &Settings, tls: Option<Arc<Tls>>) -> Result<()> {
    tell(&service.app.bootstrap, &settings.keys.directory)?;
    let faults = http::compat_faults(&service.app).await.map_err(Failure::failed)?;
    if !faults.is_empty() {
        return Err(Failure::Unusable(faults.join("\n")));
    }
    let public = bind("server.listen", settings.server.listen)?;
    let admin = settings.server.admin_listen.map(|address| bind("server.admin_listen", address)).transpose()?;
    for Concern { what, mend, .. } in tls.iter().flat_map(|tls| tls.concerns(&settings.server.issuer)) {
        tracing::warn!("server.tls.certificate: {what}; {mend}");
    }
    service.listen(public, admin, tls)?;
    greet(settings);
    if let Some(clock) = &service.app.test_clock {
        warn_of_test_clock(clock.read(), settings);
    }
    told_to_stop().await
}

/// Tells what the start made of `bootstrap.*`.
fn tell(bootstrap: &Bootstrapped, directory: &Path) -> Result<()> {
    match &bootstrap.admin {
        AdminSecret::Created(secret) => hand_over(secret, directory)?,
        AdminSecret::IgnoredChange => tracing::warn!(
            "bootstrap.admin_secret is another one than at the first start, and is ignored: `latchkey client secret \
             {BUILT_IN_ADMIN}` changes it, `latchkey admin recover` replaces a lost one"
        ),
        AdminSecret::Given | AdminSecret::Unchanged => {}
    }
    for warning in &bootstrap.warnings {
        tracing::warn!("bootstrap.file: {warning}");
    }
    Ok(())
}

/// Tells where to look. A reader who has left does not end the service.
fn greet(settings: &Settings) {
    let style = Style::stdout();
    let server = &settings.server;
    let mut lines = vec![
        format!("{} {}", style.bold("Latchkey"), env!("CARGO_PKG_VERSION")),
        format!("  issuer     {}", style.cyan(&server.issuer)),
        format!("  listening  {}{}", server.listen, if server.tls.files().is_some() { ", TLS alone" } else { "" }),
    ];
    let docs = match server.admin_listen {
        Some(admin) => {
            lines.push(format!("  admin      {admin}, with docs and metrics of its own"));
            format!("{}/docs", server.issuer)
        }
        None => format!("{}/docs (the admin API as well)", server.issuer),
    };
    lines.push(format!("  docs       {docs}"));
    lines.push(format!("  keys       {}/.well-known/jwks.json", server.issuer));
    let _ = line(lines.join("\n"));
}

/// Tells loudly, on both outputs, that this is no service for users.
fn warn_of_test_clock(reading: Reading, settings: &Settings) {
    let style = Style::stdout();
    let now = reading.now.rfc3339();
    let text = style.red("TEST CLOCK: whoever reaches this service can move its time. Never put users on it.");
    let _ = line(format_args!("  {text}\n  time       {now}, moved by POST {}/test/clock", settings.server.issuer));
    tracing::warn!(now, "a test clock is in force: no time that this service tells is true");
}

/// Shows the secret of the built-in administrator once to a terminal, or leaves it in a file of mode 0600.
fn hand_over(secret: &SecretText, directory: &Path) -> Result<()> {
    if io::stdout().is_terminal() {
        let style = Style::stdout();
        line(format_args!("The secret of {BUILT_IN_ADMIN}, shown this once: {}\n", style.bold(secret.expose())))?;
        return Ok(());
    }
    let path = leave(secret, directory)?;
    note(format_args!("the secret of {BUILT_IN_ADMIN} is in {}: take it and remove the file", path.display()));
    Ok(())
}

/// Writes the secret where only the owner reads it. An older one there is replaced: it opens nothing any more.
pub(super) fn leave(secret: &SecretText, directory: &Path) -> Result<PathBuf> {
    let path = directory.join(SECRET_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::create_dir_all(directory)?;
    // Made anew, so that neither the mode nor the owner of an older file matters.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    writeln!(file, "{}", secret.expose())?;
    file.sync_all()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_that_nobody_sees_is_left_to_the_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(SECRET_FILE), "older and readable").unwrap();
        let path = leave(&SecretText::new("s3cret"), place.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "s3cret\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
