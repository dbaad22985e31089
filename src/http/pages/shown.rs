//! How values that others chose are shown: cut to a length, on one line, and links only where they are safe to follow.

use std::fmt::{self, Write as _};

/// Characters of a name at most. What is longer names nothing, and would push the buttons out of sight.
const LONGEST_NAME: usize = 80;

/// A name of somebody or something, as others gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(pub &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        cut(self.0, LONGEST_NAME, f)
    }
}

/// A text for those who look for a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail<'a>(pub &'a str);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        cut(self.0, 4 * LONGEST_NAME, f)
    }
}

fn cut(text: &str, longest: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut characters = text.chars();
    for character in characters.by_ref().take(longest) {
        f.write_char(if character.is_control() { ' ' } else { character })?;
    }
    if characters.next().is_some() { f.write_char('…') } else { Ok(()) }
}

/// The link, where it is `https`. What a client registered is held to that; this is where it would hurt.
pub fn safe_link(link: Option<&str>) -> Option<&str> {
    link.filter(|link| link.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_short_and_on_one_line() {
        assert_eq!(Name("Notes").to_string(), "Notes");
        assert_eq!(Name("a\nb\0c").to_string(), "a b c");
        assert_eq!(Name(&"ü".repeat(80)).to_string(), "ü".repeat(80));
        assert_eq!(Name(&"ü".repeat(10_000)).to_string(), format!("{}…", "ü".repeat(80)));
    }

    #[test]
    fn only_https_is_followed() {
        assert_eq!(safe_link(Some("https://a.example/")), Some("https://a.example/"));
        for link in ["http://a.example", "javascript:alert(1)", " https://a.example", "data:text/html,x", ""] {
            assert_eq!(safe_link(Some(link)), None, "{link}");
        }
    }
}
