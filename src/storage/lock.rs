//! The exclusive lock beside a SQLite file: one process serves or migrates it at a time.
//!
//! It is an advisory lock on `<file>.lock`, held for as long as the file handle lives, so the kernel releases it even
//! when its holder is killed. Who holds it is written inside, for the message that the next one reads.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::domain::sources::{Clock as _, SystemClock};

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct ExclusiveLock {
    _file: File,
}

/// Why the lock was not to be had.
#[derive(Debug)]
pub(super) enum LockError {
    /// Somebody holds it: who, as they wrote it.
    Held(String),
    Io(PathBuf, std::io::Error),
}

impl ExclusiveLock {
    /// Locks `database` for `holder`, the command that is running (`latchkey serve`).
    ///
    /// # Errors
    /// Somebody holds the lock, or its file cannot be written.
    pub fn acquire(database: &Path, holder: &str) -> Result<Self, LockError> {
        let path = lock_path(database);
        let attempt = || -> std::io::Result<Result<File, String>> {
            // Not truncated on opening: until the lock is ours, the text is its holder's.
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text)?;
                    let text = text.trim();
                    return Ok(Err(if text.is_empty() { "another process".to_owned() } else { text.to_owned() }));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let since = SystemClock.now().rfc3339();
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "process {} ({holder} since {since})", std::process::id())?;
            Ok(Ok(file))
        };
        match attempt() {
            Ok(Ok(file)) => Ok(Self { _file: file }),
            Ok(Err(holder)) => Err(LockError::Held(holder)),
            Err(error) => Err(LockError::Io(path, error)),
        }
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
