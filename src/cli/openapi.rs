//! `latchkey openapi [--check]`: the committed documents, written or held against the code.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Failure, Result};
use super::output::{line, note};
use crate::config::Settings;
use crate::http;

#[derive(Debug, Args)]
pub(super) struct Openapi {
    /// Write nothing, and fail when a file differs from what the code says
    #[arg(long)]
    check: bool,

    /// Where the documents are
    #[arg(long, value_name = "DIRECTORY", default_value = "openapi")]
    directory: PathBuf,
}

pub(super) fn run(openapi: &Openapi) -> Result<()> {
    // What is committed is the same everywhere, whatever this machine's configuration says.
    let documents = http::documents(&Settings::default().server.issuer);
    let documents = documents.into_iter().flat_map(|(stem, document)| {
        [(format!("{stem}.json"), document.json()), (format!("{stem}.yaml"), document.yaml())]
    });
    if openapi.check {
        let differing: Vec<String> = documents
            .map(|(name, text)| (openapi.directory.join(name), text))
            .filter_map(|(path, text)| difference(&path, &text))
            .collect();
        if differing.is_empty() {
            note("the documents are what the code says");
            return Ok(());
        }
        return Err(Failure::because(differing.join("; ")).hint("run `latchkey openapi` and commit what it writes"));
    }
    std::fs::create_dir_all(&openapi.directory)?;
    for (name, text) in documents {
        let path = openapi.directory.join(name);
        std::fs::write(&path, text)?;
        line(path.display())?;
    }
    Ok(())
}

/// Where a committed document and the code part ways.
fn difference(path: &Path, expected: &str) -> Option<String> {
    let found = match std::fs::read_to_string(path) {
        Ok(found) => found,
        Err(error) => return Some(format!("{} cannot be read: {error}", path.display())),
    };
    if found == expected {
        return None;
    }
    let same = found.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count();
    Some(format!("{} differs from the code from line {} on", path.display(), same + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_file_and_the_line() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("public.json");
        assert!(difference(&path, "a").unwrap().contains("cannot be read"));
        std::fs::write(&path, "a\nb\n").unwrap();
        assert_eq!(difference(&path, "a\nb\n"), None);
        assert!(difference(&path, "a\nc\n").unwrap().ends_with("public.json differs from the code from line 2 on"));
        assert!(difference(&path, "a\nb\nc\n").unwrap().ends_with("line 3 on"));
    }
}
