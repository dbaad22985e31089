//! Settings: one TOML file and the environment in, validated [`Settings`] or *every* fault out.
//!
//! A key is named once, in [`Settings::visit`], together with the field it fills. Reading, refusing unknown names,
//! `config print` and the environment's spelling all follow from that list. Values are read one by one instead of
//! through one derived `Deserialize`, because serde stops at the first fault and an operator wants them all at once.
//! The arrays of tables (`[[claims]]` and others) work the same way within each of their tables.
//! Nothing here touches a global: the caller hands the environment in.

mod check;
mod fault;
mod issuer;
mod pages;
mod settings;
mod source;
mod table_rules;
mod tables;
mod value;
mod words;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use crate::domain::units::{RateLimit, parse_duration, parse_size, show_duration, show_size};
pub use fault::{Fault, Faults};
pub use issuer::path_of;
pub use pages::PageSettings;
pub use settings::{
    BootstrapSettings, DatabaseSettings, DatabaseUrl, IntrospectionSettings, KeySettings, PasswordSettings,
    ServerSettings, Settings, TlsSettings,
};
pub use source::Origin;
pub use tables::{ClaimSettings, CompatSettings, CompatStyle, LegacyIssuerSettings};

/// The file that is read when none is named: `latchkey.toml` in the working directory, if it is there.
pub const DEFAULT_FILE: &str = "latchkey.toml";

/// What begins every environment variable that sets a key.
pub const ENVIRONMENT_PREFIX: &str = "LATCHKEY__";

/// One key as it holds, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// For example `tokens.access_ttl`; within the first of an array of tables `claims[0].claim`.
    pub key: String,
    /// As TOML, secrets masked; `None` where the key is unset.
    pub value: Option<String>,
    pub origin: Origin,
}

/// Settings, and where each of them came from.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Every key, in the order of the documentation.
    pub effective: Vec<Effective>,
    /// The file that was read, where there was one.
    pub file: Option<PathBuf>,
}

/// Reads the file (the named one, else [`DEFAULT_FILE`] where it exists) and the environment, which wins.
///
/// # Errors
/// Every fault found: unknown names, values that do not read, contradictions.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Faults> {
    let (read, text) = match file {
        Some(path) => (Some(path), source::read(path, true)),
        None => (None, source::read(Path::new(DEFAULT_FILE), false)),
    };
    let text = text?;
    let file = text.is_some().then(|| read.unwrap_or(Path::new(DEFAULT_FILE)).to_owned());
    assemble(file, text.as_deref().unwrap_or_default(), environment)
}

/// The part of [`load`] that needs no file system.
fn assemble(
    file: Option<PathBuf>,
    text: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Faults> {
    let mut faults = Vec::new();
    let known = Settings::keys();
    let given = source::gather(file.as_deref(), text, environment, &known, &mut faults);
    let (settings, effective) = check::settle(given, &mut faults);
    if faults.is_empty() { Ok(Loaded { settings, effective, file }) } else { Err(Faults(faults)) }
}
