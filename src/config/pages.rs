//! `pages.*`: what an operator makes their own of the pages that people meet, and what it is held against.

use std::path::PathBuf;

use super::check::Rules;
use super::settings::Settings;
use super::value::{Raw, Setting, Wrong, quote, wrong};
use crate::domain::colour::Colour;

/// Characters of a name that a phone shows in one line.
const LONGEST_NAME: usize = 40;

/// `pages.*`
#[derive(Clone, Debug)]
pub struct PageSettings {
    /// What the service is called, to those who sign in.
    pub name: String,
    /// An SVG, PNG or WebP file, instead of the name.
    pub logo: Option<PathBuf>,
    /// What is pressed.
    pub accent: Colour,
    /// What the pages lie on.
    pub background: Colour,
    /// In dark mode; `accent` where it is unset.
    pub accent_dark: Option<Colour>,
    pub background_dark: Colour,
    /// Where error pages send people: `mailto:` or `https://`.
    pub support: Option<String>,
}

impl Default for PageSettings {
    fn default() -> Self {
        Self {
            name: "Latchkey".into(),
            logo: None,
            accent: Colour::rgb(0x34, 0x51, 0xd1),
            background: Colour::rgb(0xf4, 0xf5, 0xf9),
            accent_dark: None,
            background_dark: Colour::rgb(0x0f, 0x11, 0x16),
            support: None,
        }
    }
}

impl Setting for Colour {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let mend = "write red, green and blue in hexadecimal, such as \"#3451d1\" or \"#fff\"";
        Self::parse(raw.text()?).map_or_else(|| wrong("it is not a colour", mend), Ok)
    }

    fn show(&self) -> Option<String> {
        Some(quote(&self.to_string()))
    }
}

impl Rules<'_> {
    pub(super) fn pages(&mut self, settings: &Settings) {
        let pages = &settings.pages;
        self.refuse(
            &["pages.name"],
            pages.name.chars().count() > LONGEST_NAME,
            format!("more than {LONGEST_NAME} characters do not fit a phone"),
            "give a shorter name; the whole of it can be in the logo",
        );
        self.refuse(
            &["pages.name"],
            pages.name.trim().is_empty() || pages.name.chars().any(char::is_control),
            "it is blank or holds a control character",
            "write what people call the service",
        );
        if let Some(support) = &pages.support
            && let Err(reason) = check_support(support)
        {
            let mend = "write it like https://example.com/help or mailto:help@example.com";
            self.refuse(&["pages.support"], true, reason, mend);
        }
    }
}

/// The link stands on error pages, so nothing that a browser would run is one.
fn check_support(link: &str) -> Result<(), &'static str> {
    let target = match (link.strip_prefix("https://"), link.strip_prefix("mailto:")) {
        (Some(rest), _) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        (None, Some(address)) => address,
        (None, None) => return Err("it begins with neither https:// nor mailto:"),
    };
    if target.is_empty() {
        return Err("it names nobody");
    }
    let legal = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    if link.chars().all(legal) { Ok(()) } else { Err("it holds a character that a URL encodes") }
}
