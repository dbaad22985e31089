//! Where values come from: the file, then the environment over it. Names that are no key are refused here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::ENVIRONMENT_PREFIX;
use super::fault::{Fault, Faults};
use super::value::Raw;

/// Where the value of a key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// It follows another key.
    Follows(&'static str),
    File(PathBuf),
    /// The name of the variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Follows(key) => write!(f, "follows {key}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

/// A value with its origin.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub raw: Raw,
    pub origin: Origin,
}

/// Values by key.
pub(super) type Gathered = BTreeMap<&'static str, Given>;

/// Reads the file; `None` where it is not there and need not be.
pub(super) fn read(path: &Path, required: bool) -> Result<Option<String>, Faults> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound && !required => Ok(None),
        Err(error) => Err(Faults(vec![Fault {
            key: path.display().to_string(),
            value: None,
            origin: None,
            reason: format!("the configuration file cannot be read: {error}"),
            mend: "name a readable TOML file, or leave --config out to run on the defaults and the environment".into(),
        }])),
    }
}

/// Brings file and environment together; the environment wins.
pub(super) fn gather(
    file: Option<&Path>,
    text: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    known: &[&'static str],
    faults: &mut Vec<Fault>,
) -> Gathered {
    let mut gathered = Gathered::new();
    let place = file.unwrap_or(Path::new(super::DEFAULT_FILE));
    match text.parse::<toml::Table>() {
        Ok(table) => {
            let mut walk = Walk { place, known, gathered: &mut gathered, faults };
            walk.table("", table);
        }
        Err(error) => faults.push(Fault {
            key: place.display().to_string(),
            value: None,
            origin: None,
            reason: format!("it is not TOML: {}", error.to_string().trim_end()),
            mend: "mend the line".into(),
        }),
    }
    from_environment(environment, known, &mut gathered, faults);
    gathered
}

struct Walk<'a> {
    place: &'a Path,
    known: &'a [&'static str],
    gathered: &'a mut Gathered,
    faults: &'a mut Vec<Fault>,
}

impl Walk<'_> {
    fn table(&mut self, prefix: &str, table: toml::Table) {
        for (name, value) in table {
            let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            let origin = Origin::File(self.place.to_owned());
            if let Some(key) = self.known.iter().find(|known| **known == path) {
                self.gathered.insert(key, Given { raw: Raw::Toml(value), origin });
                continue;
            }
            let section = format!("{path}.");
            match value {
                toml::Value::Table(inner) if self.known.iter().any(|known| known.starts_with(&section)) => {
                    self.table(&path, inner);
                }
                _ => self.faults.push(unknown(&path, path.clone(), Some(origin), self.known)),
            }
        }
    }
}

fn from_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    known: &[&'static str],
    gathered: &mut Gathered,
    faults: &mut Vec<Fault>,
) {
    let mut variables: Vec<(String, OsString)> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .collect();
    variables.sort();
    for (name, value) in variables {
        let Some(key) = known.iter().find(|known| variable(known) == name) else {
            let path = name[ENVIRONMENT_PREFIX.len()..].replace("__", ".").to_ascii_lowercase();
            faults.push(unknown(&path, name, None, known));
            continue;
        };
        match value.into_string() {
            Ok(text) => {
                gathered.insert(key, Given { raw: Raw::Text(text), origin: Origin::Environment(name) });
            }
            Err(_) => faults.push(Fault {
                key: name,
                value: None,
                origin: None,
                reason: "its value is not UTF-8".into(),
                mend: "give plain text".into(),
            }),
        }
    }
}

/// How a key is spelled in the environment.
pub(super) fn variable(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The arrays of tables, within which the environment has no names.
const ARRAYS: [&str; 3] = ["claims", "legacy_issuers", "compat"];

fn unknown(path: &str, shown: String, origin: Option<Origin>, known: &[&'static str]) -> Fault {
    let fault = |reason: &str, mend: String| Fault {
        key: shown.clone(),
        value: None,
        origin: origin.clone(),
        reason: reason.into(),
        mend,
    };
    let in_environment = origin.is_none();
    if let Some(array) = ARRAYS.iter().find(|array| path.starts_with(**array) && path[array.len()..].starts_with('.')) {
        return fault("there is no such key", format!("give all of it as one JSON array in {}", variable(array)));
    }
    let mend = match nearest(path, known) {
        Some(key) if in_environment => format!("did you mean {}?", variable(key)),
        Some(key) => format!("did you mean {key}?"),
        None => "remove it; `latchkey config print` shows every key".into(),
    };
    fault("there is no such key", mend)
}

/// The name that somebody may have meant.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let (distance, key) = known.iter().map(|key| (distance(name, key), *key)).min()?;
    (distance <= 3 && distance * 3 < key.len()).then_some(key)
}

/// How many single-letter changes lie between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
