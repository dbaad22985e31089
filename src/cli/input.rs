//! What a person or a pipe types in: passwords, secrets, JSON bodies. Never from the argument list, which every user of
//! the machine can read.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::failure::{Failure, Result};
use crate::domain::secret::SecretText;

/// Asks for a secret: without echo at a terminal, else one line of standard input.
///
/// # Errors
/// Nothing came.
pub fn secret(prompt: &str) -> Result<SecretText> {
    let text = if io::stdin().is_terminal() {
        Zeroizing::new(rpassword::prompt_password(format!("{prompt}: "))?)
    } else {
        first_line(io::stdin().lock())?
    };
    if text.is_empty() {
        return Err(Failure::Unusable(format!("{prompt}: nothing was given on standard input")));
    }
    Ok(SecretText::new(text.as_str()))
}

/// Asks for a new secret: twice at a terminal, else one line of standard input.
///
/// # Errors
/// Nothing came, or the two differ.
pub fn new_secret(prompt: &str) -> Result<SecretText> {
    let first = secret(prompt)?;
    if io::stdin().is_terminal() && secret("once more")? != first {
        return Err(Failure::Unusable("the two differ; nothing was changed".into()));
    }
    Ok(first)
}

/// Reads a secret from a file that holds nothing else but a last line break.
///
/// # Errors
/// The file cannot be read or is empty.
pub fn secret_from(path: &Path) -> Result<SecretText> {
    let unusable = |why: String| Failure::Unusable(format!("the secret file {} {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    let text = first_line(io::BufReader::new(file)).map_err(|_| unusable("is not text".into()))?;
    if text.is_empty() { Err(unusable("is empty".into())) } else { Ok(SecretText::new(text.as_str())) }
}

fn first_line(mut source: impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source.read_line(&mut text)?;
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

/// Reads all of a file, or of standard input for `-`.
///
/// # Errors
/// It cannot be read as text.
pub fn text_from(path: &Path) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| *text = read)
    };
    match read {
        Ok(()) => Ok(text),
        Err(error) => Err(Failure::Unusable(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Reads a JSON object from a file, or from standard input for `-`; an empty one where there is no file.
///
/// # Errors
/// It cannot be read, or is no JSON object.
pub fn json_object(path: Option<&Path>) -> Result<Map<String, Value>> {
    let Some(path) = path else { return Ok(Map::new()) };
    let text = text_from(path)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::Unusable(format!("{} is not a JSON object: {error}", path.display())))
}
