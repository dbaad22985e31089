//! The operator's logo: read at the start, so that a lost file is met then and not by those who sign in.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config::Settings;

/// Bytes of a logo at most: every visitor loads it.
const LARGEST: u64 = 256 << 10;

/// How far into an SVG its root element is looked for: editors write long prologues.
const PROLOGUE: usize = 4096;

/// What kind of picture it is, by its content: a name proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    Svg,
    Png,
    WebP,
}

/// A logo that browsers can show.
#[derive(Clone, Debug)]
pub struct Logo {
    pub bytes: Vec<u8>,
    pub picture: Picture,
}

/// Why `pages.logo` is not shown. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LogoError {
    #[error("pages.logo = \"{}\" cannot be read: {source}; mend the path or its permissions", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("pages.logo = \"{}\" is larger than 256 KiB; give a smaller one, 96 pixels high is enough", path.display())]
    TooLarge { path: PathBuf },
    #[error("pages.logo = \"{}\" is neither an SVG nor a PNG nor a WebP file; convert it to one of them", path.display())]
    Unknown { path: PathBuf },
}

/// Reads `pages.logo`, where it is set.
///
/// # Errors
/// See [`LogoError`].
pub fn logo(settings: &Settings) -> Result<Option<Logo>, LogoError> {
    settings.pages.logo.as_deref().map(read).transpose()
}

fn read(path: &Path) -> Result<Logo, LogoError> {
    let unreadable = |source| LogoError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(LogoError::TooLarge { path: path.to_owned() });
    }
    match picture_of(&bytes) {
        Some(picture) => Ok(Logo { bytes, picture }),
        None => Err(LogoError::Unknown { path: path.to_owned() }),
    }
}

fn picture_of(bytes: &[u8]) -> Option<Picture> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(Picture::Png);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some(Picture::WebP);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}').trim_start();
    let begins = text.char_indices().nth(PROLOGUE).map_or(text, |(end, _)| &text[..end]);
    (begins.starts_with('<') && begins.contains("<svg")).then_some(Picture::Svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_known_by_its_content() {
        let svg = "\u{feff}<?xml version='1.0'?>\n<!-- drawn -->\n<svg xmlns='http://www.w3.org/2000/svg'/>";
        let table: [(&[u8], Option<Picture>); 7] = [
            (svg.as_bytes(), Some(Picture::Svg)),
            (b"\x89PNG\r\n\x1a\nrest", Some(Picture::Png)),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some(Picture::WebP)),
            (b"RIFF\x10\0\0\0WAVEfmt ", None),
            (b"<html><body>", None),
            (b"GIF89a", None),
            (b"", None),
        ];
        for (bytes, picture) in table {
            assert_eq!(picture_of(bytes), picture, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_cannot_be_shown_is_refused_with_its_path_and_a_mend() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("logo.svg");
        let mut settings = Settings::default();
        assert!(logo(&settings).unwrap().is_none());
        settings.pages.logo = Some(path.clone());
        let refused = |settings: &Settings| logo(settings).unwrap_err().to_string();
        assert!(refused(&settings).contains("mend the path"), "{}", refused(&settings));
        std::fs::write(&path, "GIF89a").unwrap();
        assert!(refused(&settings).contains("convert it"), "{}", refused(&settings));
        let mut long = b"<svg>".to_vec();
        long.resize(256 << 10, b' ');
        std::fs::write(&path, &long).unwrap();
        assert_eq!(logo(&settings).unwrap().unwrap().picture, Picture::Svg);
        long.push(b' ');
        std::fs::write(&path, &long).unwrap();
        assert!(refused(&settings).contains("larger than 256 KiB"), "{}", refused(&settings));
    }
}
