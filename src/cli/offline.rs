//! Commands that act on the database itself: `migrate`, `admin recover`, `key rotate-master`. On SQLite the server must be
//! stopped; on PostgreSQL only `key rotate-master` asks that.

use clap::Subcommand;

use super::Globals;
use super::failure::Result;
use super::output::{Style, line, note};
use crate::app;
use crate::domain::ids::BUILT_IN_ADMIN;

#[derive(Debug, Subcommand)]
pub(super) enum Admin {
    /// Make a new secret for latchkey-admin, shown once; with the master key at hand, and on SQLite the server stopped
    Recover,
}

/// `latchkey migrate`.
///
/// # Errors
/// The database is in use, does not answer, or belongs to a newer Latchkey.
pub(super) async fn migrate(globals: &Globals) -> Result<()> {
    let settings = globals.load()?.settings;
    app::migrate(&settings).await?;
    note(format_args!("{} is up to date", settings.database.url.masked()));
    Ok(())
}

/// `latchkey admin recover`.
///
/// # Errors
/// The database is in use or does not answer, or the master key is not at hand.
pub(super) async fn recover(globals: &Globals) -> Result<()> {
    let settings = globals.load()?.settings;
    let secret = app::recover_admin(settings).await?;
    note(Style::stderr().yellow(&format!("the new secret of {BUILT_IN_ADMIN}, shown this once:")));
    Ok(line(secret.expose())?)
}

/// `latchkey key rotate-master`.
///
/// # Errors
/// The database is in use or does not answer, or a key that is needed is not at hand.
pub(super) async fn rotate_master(globals: &Globals) -> Result<()> {
    let settings = globals.load()?.settings;
    let rotated = app::rotate_master(settings).await?;
    note(format_args!("{} keys are sealed anew", rotated.rows));
    if let Some(previous) = rotated.previous {
        note(format_args!(
            "the earlier master key is kept in {}: backups from before today need it, nothing else does",
            previous.display()
        ));
    }
    Ok(line(format_args!("master key {}", rotated.id))?)
}
