//! Is the database there, does this program know its schema, and does it agree on the time?

use std::path::Path;

use super::Finding;
use super::machine::apart;
use super::network::Server;
use crate::config::Settings;
use crate::storage::{Inspection, Schema, inspect};

/// What a running server says of its database counts more than a look from outside; its clock is looked at anyway.
pub(super) async fn look(settings: &Settings, server: &Server) -> Vec<Finding> {
    let url = &settings.database.url;
    let shown = url.masked();
    if let Some(path) = url.sqlite_path() {
        let missing = before_first_start(Path::new(path)).or_else(|| held(Path::new(path)));
        if let Some(finding) = missing {
            return vec![finding];
        }
    }
    match inspect(url.expose()).await {
        Ok(found) => judge(&shown, &found, server.is_ready),
        Err(error) => {
            vec![Finding::fail("database", error.to_string(), "start it, or mend database.url and its rights")]
        }
    }
}

fn judge(shown: &str, found: &Inspection, serves: bool) -> Vec<Finding> {
    let about = "database";
    let schema = match found.schema {
        Schema::TooNew { migration } => Finding::fail(
            about,
            format!(
                "{shown} was migrated by a newer latchkey (migration {migration}), which changed what this one needs"
            ),
            "install that version here: an older one must not touch it",
        ),
        Schema::Newer { migration } => Finding::warn(
            about,
            format!(
                "{shown} was migrated by a newer latchkey (migration {migration}), and this one can still serve it"
            ),
            "install that version here, too, once it has proved itself",
        ),
        Schema::Known { due: 0 } if serves => Finding::ok(about, format!("{shown} serves the running server")),
        Schema::Known { due: 0 } => Finding::ok(about, format!("{shown} answers, and its schema is this program's")),
        Schema::Known { due } => {
            let what = format!("{shown} answers; {due} of this program's migrations have not run yet");
            Finding::warn(about, what, "the next start runs them, or `latchkey migrate`")
        }
    };
    let clock = found.clock.map(|theirs| apart("this machine and the database", theirs));
    [schema].into_iter().chain(clock).collect()
}

/// A SQLite file that is not there yet.
fn before_first_start(path: &Path) -> Option<Finding> {
    let about = "database";
    if path.exists() {
        return None;
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(if parent.is_dir() {
        Finding::ok(about, format!("{} is made at the first start", path.display()))
    } else {
        let mend = format!("mkdir -p {}", parent.display());
        Finding::fail(about, format!("there is no directory {}", parent.display()), mend)
    })
}

/// A SQLite file that a running process holds: it is looked at by that process alone.
fn held(path: &Path) -> Option<Finding> {
    let lock = path.with_file_name(format!("{}.lock", path.file_name().unwrap_or_default().to_string_lossy()));
    let held = std::fs::File::open(&lock).is_ok_and(|lock| {
        // Closing the handle gives the lock back at once if it was free.
        matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
    });
    held.then(|| {
        let holder = std::fs::read_to_string(&lock).unwrap_or_default();
        Finding::ok("database", format!("{} is in use by {}", path.display(), holder.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::domain::sources::{Clock as _, SystemClock};
    use crate::domain::time::Timestamp;

    #[tokio::test]
    async fn a_file_that_is_no_database_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.db");
        assert_eq!(before_first_start(&path).map(|finding| finding.verdict), Some(Verdict::Ok));
        let nowhere = before_first_start(&place.path().join("none/x.db"));
        assert_eq!(nowhere.map(|finding| finding.verdict), Some(Verdict::Fail));
        std::fs::write(&path, "something else, and long enough to be looked at as a database file").unwrap();
        assert!(before_first_start(&path).is_none() && held(&path).is_none());
        let url = format!("sqlite://{}", path.display());
        assert!(inspect(&url).await.is_err());

        std::fs::remove_file(&path).unwrap();
        crate::storage::migrate(&url).await.unwrap();
        let found = inspect(&url).await.unwrap();
        assert_eq!(found, Inspection { schema: Schema::Known { due: 0 }, clock: None });
    }

    #[test]
    fn schema_and_clock_are_judged() {
        let now = SystemClock.now();
        let good = Inspection { schema: Schema::Known { due: 0 }, clock: Some(now) };
        let verdicts = |found: Inspection| judge("db", &found, false).into_iter().map(|f| f.verdict).max();
        assert_eq!(verdicts(good), Some(Verdict::Ok));
        assert_eq!(verdicts(Inspection { schema: Schema::Known { due: 1 }, ..good }), Some(Verdict::Warn));
        assert_eq!(verdicts(Inspection { schema: Schema::Newer { migration: 9 }, ..good }), Some(Verdict::Warn));
        assert_eq!(verdicts(Inspection { schema: Schema::TooNew { migration: 9 }, ..good }), Some(Verdict::Fail));
        assert_eq!(verdicts(Inspection { clock: Some(Timestamp::from_seconds(0)), ..good }), Some(Verdict::Fail));
    }
}
