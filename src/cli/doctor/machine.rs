//! What this machine has: its clock, and the files that the settings name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::app::master_source;
use crate::config::{Loaded, show_duration};
use crate::domain::sources::{Clock as _, SystemClock, SystemEntropy};
use crate::domain::time::Timestamp;
use crate::keys::master::{FILE_NAME, MasterSource};

/// What verifiers commonly forgive.
const SKEW: Duration = Duration::from_secs(60);

/// Is the year plausible, and is the server's clock near ours? `server` is its `Date`.
pub(super) fn clock(server: Option<i64>) -> Vec<Finding> {
    let now = SystemClock.now();
    let mut findings = vec![year(now)];
    if let Some(theirs) = server {
        findings.push(apart("this machine and the server", Timestamp::from_seconds(theirs)));
    }
    findings
}

/// Whether a clock agrees with this machine's; `who` names both.
pub(super) fn apart(who: &str, theirs: Timestamp) -> Finding {
    let now = SystemClock.now();
    let apart = now.since(theirs).max(theirs.since(now));
    if apart > SKEW {
        let apart = Duration::from_secs(apart.as_secs());
        Finding::fail(
            "clock",
            format!("{who} are {} apart", show_duration(apart)),
            "run NTP on both: tokens are refused for clocks that disagree",
        )
    } else {
        Finding::ok("clock", format!("{who} agree within a minute"))
    }
}

fn year(now: Timestamp) -> Finding {
    let text = now.rfc3339();
    let is_plausible = text.get(..4).and_then(|year| year.parse().ok()).is_some_and(|year: u16| {
        // Before this program was written, or beyond the life of any key it makes.
        (2025..2100).contains(&year)
    });
    if is_plausible {
        Finding::ok("clock", format!("it is {text}"))
    } else {
        Finding::fail("clock", format!("it says {text}, which cannot be"), "set the clock, and run NTP")
    }
}

/// The master key, the configuration file, and the bootstrap file.
pub(super) fn files(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = vec![master_key(loaded)];
    if let Some(file) = &loaded.file {
        findings.push(configuration(file, loaded));
    }
    if let Some(file) = &loaded.settings.bootstrap.file {
        findings.push(bootstrap(file));
    }
    findings
}

fn master_key(loaded: &Loaded) -> Finding {
    let source = master_source(&loaded.settings);
    let about = match &source {
        MasterSource::Text(_) => "keys.master_key",
        MasterSource::File(_) => "keys.master_key_file",
        MasterSource::Directory(directory) => {
            let path = directory.join(FILE_NAME);
            if !path.exists() && !database_exists(loaded) {
                return Finding::ok("keys.directory", format!("{} is made at the first start", path.display()));
            }
            "keys.directory"
        }
    };
    match source.load(&SystemEntropy, false) {
        Ok(_) => Finding::ok(about, "the master key is there, and only its owner reads it"),
        Err(error) => Finding::fail(about, "the master key cannot be used", error.to_string()),
    }
}

/// Whether there may be sealed keys already. Of PostgreSQL nothing is known here, so it counts as new.
fn database_exists(loaded: &Loaded) -> bool {
    loaded.settings.database.url.sqlite_path().is_some_and(|path| Path::new(path).exists())
}

fn configuration(file: &Path, loaded: &Loaded) -> Finding {
    let about = "configuration";
    let holds_secrets = loaded.effective.iter().any(|e| {
        let is_here = matches!(&e.origin, crate::config::Origin::File(_));
        is_here && e.value.as_deref().is_some_and(|value| value.contains("***"))
    });
    match fs::metadata(file).map(|found| found.permissions().mode() & 0o777) {
        Ok(mode) if holds_secrets && mode & 0o077 != 0 => Finding::fail(
            about,
            format!("{} holds secrets, and others can read it (mode {mode:04o})", file.display()),
            format!("chmod 600 {}", file.display()),
        ),
        Ok(_) => Finding::ok(about, format!("{} reads without a fault", file.display())),
        Err(error) => Finding::fail(about, format!("{}: {error}", file.display()), "mend its permissions"),
    }
}

fn bootstrap(file: &Path) -> Finding {
    let about = "bootstrap.file";
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            return Finding::fail(about, format!("{} cannot be read: {error}", file.display()), "mend the path");
        }
    };
    let mode = fs::metadata(file).map_or(0, |found| found.permissions().mode() & 0o777);
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Err(error) => Finding::fail(about, format!("it is not a JSON object: {error}"), "mend the file"),
        Ok(_) if mode & 0o077 != 0 && (text.contains("\"password\"") || text.contains("\"client_secret\"")) => {
            let what = format!("{} holds secrets, and others can read it (mode {mode:04o})", file.display());
            Finding::warn(about, what, format!("chmod 600 {}", file.display()))
        }
        Ok(_) => Finding::ok(about, format!("{} reads", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_year_that_cannot_be_is_seen() {
        assert_eq!(year(Timestamp::from_seconds(0)).verdict, Verdict::Fail);
        assert_eq!(year(Timestamp::from_seconds(1_800_000_000)).verdict, Verdict::Ok);
    }

    #[test]
    fn clocks_far_apart_are_a_failure() {
        let now = SystemClock.now().seconds();
        assert!(clock(Some(now + 1)).iter().all(|finding| finding.verdict == Verdict::Ok));
        assert!(clock(Some(now - 300)).iter().any(|finding| finding.verdict == Verdict::Fail));
    }
}
