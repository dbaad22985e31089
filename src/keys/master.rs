//! Where the master key comes from: `master.key` in the key directory, a file the operator names, or the environment.
//!
//! It is one line of base64. A new one is made only where the caller knows that nothing is sealed yet: a fresh key
//! beside a database that holds sealed rows would open none of them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::seal::MasterKey;
use crate::domain::secret::SecretText;
use crate::domain::sources::{Entropy, random};

/// The file's name in the key directory.
pub const FILE_NAME: &str = "master.key";

/// Far more than a line of base64; a wrong file named by mistake is not read whole.
const LONGEST_FILE: u64 = 4096;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where the operator keeps the master key.
#[derive(Clone, Debug)]
pub enum MasterSource {
    /// `master.key` in this directory, made at the first start.
    Directory(PathBuf),
    /// This file (`keys.master_key_file`); never made. Who may read it is the operator's matter: container platforms
    /// mount secrets with mode 0444.
    File(PathBuf),
    /// The text itself (`keys.master_key`); never made.
    Text(SecretText),
}

/// Why there is no master key. No text of it ever holds the key.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// There is none, and none may be made.
    #[error("there is no master key at {}{}: put the file back from your backup, or name the key in keys.master_key or \
             keys.master_key_file", path.display(), wanted(needed))]
    Missing { path: PathBuf, needed: Vec<String> },
    #[error("{} can be read by others (mode {mode:04o}): it opens every signing key; run chmod 600 on it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// The text is not a master key.
    #[error(
        "{origin} is not a master key: one line of base64 that holds 32 bytes is ({fault}); \
             `openssl rand -base64 32` makes one"
    )]
    Malformed { origin: String, fault: &'static str },
    #[error("{} cannot be {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: io::Error },
}

impl MasterError {
    /// Names the master keys that the database's rows are sealed under, where that is why none may be made.
    #[must_use]
    pub fn needing(self, ids: impl IntoIterator<Item = String>) -> Self {
        match self {
            Self::Missing { path, .. } => Self::Missing { path, needed: ids.into_iter().collect() },
            other => other,
        }
    }
}

fn wanted(ids: &[String]) -> String {
    match ids {
        [] => String::new(),
        ids => format!(", and the database holds keys that are sealed under master key {}", ids.join(", ")),
    }
}

impl MasterSource {
    /// Reads the key, or makes it where the source is a directory, it is not there, and `may_create`.
    ///
    /// # Errors
    /// There is no key and none may be made, others can read it, or it is not a key.
    pub fn load(&self, entropy: &dyn Entropy, may_create: bool) -> Result<MasterKey, MasterError> {
        match self {
            Self::Directory(directory) => load_or_create(directory, entropy, may_create),
            Self::File(path) => read(path, Readers::AsTheOperatorSaid)?
                .ok_or_else(|| MasterError::Missing { path: path.clone(), needed: Vec::new() }),
            Self::Text(text) => from_text(text.expose(), "keys.master_key"),
        }
    }
}

/// Reads `master.key` in `directory`, or makes it (mode 0600) where `may_create` says that nothing is sealed yet.
///
/// # Errors
/// There is no key and none may be made, others can read it, it is not a key, or the directory cannot be written.
pub fn load_or_create(directory: &Path, entropy: &dyn Entropy, may_create: bool) -> Result<MasterKey, MasterError> {
    let path = directory.join(FILE_NAME);
    if let Some(found) = read(&path, Readers::OwnerAlone)? {
        return Ok(found);
    }
    if !may_create {
        return Err(MasterError::Missing { path, needed: Vec::new() });
    }
    create(directory, &path, entropy)?;
    // Whoever won a race of two first starts, its key is the one in the file.
    read(&path, Readers::OwnerAlone)?.ok_or(MasterError::Missing { path, needed: Vec::new() })
}

/// Reads a master key from text; `origin` names the setting in the error.
///
/// # Errors
/// The text is not base64 of 32 bytes.
pub fn from_text(text: &str, origin: &str) -> Result<MasterKey, MasterError> {
    let malformed = |fault| MasterError::Malformed { origin: origin.to_owned(), fault };
    let text = text.trim();
    if text.is_empty() {
        return Err(malformed("it is empty"));
    }
    let bytes = Zeroizing::new(LENIENT.decode(text).map_err(|_| malformed("it is not base64"))?);
    let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed("it holds another number of bytes"))?;
    Ok(MasterKey::new(*bytes))
}

/// Who may be able to read a key's file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    OwnerAlone,
    AsTheOperatorSaid,
}

/// The key in the file; `None` where there is no file.
fn read(path: &Path, readers: Readers) -> Result<Option<MasterKey>, MasterError> {
    let failed = |source| MasterError::Io { path: path.to_owned(), action: "read", source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if readers == Readers::OwnerAlone && mode & 0o077 != 0 {
        return Err(MasterError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LONGEST_FILE).read_to_string(&mut text).map_err(failed)?;
    from_text(&text, &path.display().to_string()).map(Some)
}

/// Puts a new key at `path` unless one is there. The file appears whole: it is written under another name first, so
/// that neither a crash nor a second first start ever meets half a key.
fn create(directory: &Path, path: &Path, entropy: &dyn Entropy) -> Result<(), MasterError> {
    let failed = |source| MasterError::Io { path: path.to_owned(), action: "created", source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let draft = directory.join(format!(".{FILE_NAME}.{}", u64::from_be_bytes(random(entropy))));
    let outcome = write_draft(&draft, &MasterKey::generate(entropy)).and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match outcome {
        Ok(()) => File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn write_draft(draft: &Path, key: &MasterKey) -> io::Result<()> {
    let mut line = Zeroizing::new(STANDARD.encode(key.expose()));
    line.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sources::SystemEntropy;

    #[test]
    fn a_first_start_makes_a_private_file_and_the_next_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        let made = load_or_create(&keys, &SystemEntropy, true).unwrap();
        let path = keys.join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&keys, &SystemEntropy, false).unwrap().id(), made.id());
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 1, "no draft stays behind");
        assert_eq!(MasterSource::File(path).load(&SystemEntropy, false).unwrap().id(), made.id());
    }

    #[test]
    fn none_is_made_beside_sealed_rows_and_the_error_names_the_one_needed() {
        let directory = tempfile::tempdir().unwrap();
        let error = load_or_create(directory.path(), &SystemEntropy, false).unwrap_err();
        let text = error.needing(["00112233aabbccdd".to_owned()]).to_string();
        assert!(text.contains("00112233aabbccdd") && text.contains(FILE_NAME), "{text}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        load_or_create(directory.path(), &SystemEntropy, true).unwrap();
        let path = directory.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(directory.path(), &SystemEntropy, true).unwrap_err();
        assert!(error.to_string().contains("0640") && error.to_string().contains("chmod 600"), "{error}");
        assert!(MasterSource::File(path).load(&SystemEntropy, false).is_ok(), "a mounted secret often is 0444");
    }

    #[test]
    fn of_two_first_starts_both_get_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| load_or_create(directory.path(), &SystemEntropy, true).unwrap().id()))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_without_being_shown() {
        for text in ["", "c2hvcnRzZWNyZXQ=", "not base64, not at all"] {
            let error = from_text(text, "keys.master_key").unwrap_err().to_string();
            assert!(error.contains("keys.master_key"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        let text = STANDARD.encode([9; 32]);
        let unpadded = text.trim_end_matches('=');
        assert_eq!(from_text(&format!("  {unpadded}\n"), "x").unwrap().id(), MasterKey::new([9; 32]).id());
    }
}
