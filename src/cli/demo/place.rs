//! The throw-away place of a demo: one directory that only its owner can enter, gone when the demo ends.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::domain::sources::{Entropy, random};

/// A directory of mode 0700, removed with all it holds when this value is dropped.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    /// Makes it below the system's directory for temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make(entropy: &dyn Entropy) -> io::Result<Self> {
        let name = format!("latchkey-demo-{:016x}", u64::from_be_bytes(random(entropy)));
        let path = std::env::temp_dir().join(name);
        // Not recursive: a directory that somebody else put there is refused, not moved into.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::sources::SystemEntropy;

    #[test]
    fn it_is_the_owners_alone_and_leaves_nothing_behind() {
        let place = Place::make(&SystemEntropy).unwrap();
        let path = place.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("file"), "x").unwrap();
        drop(place);
        assert!(!path.exists());
    }
}
