//! `latchkey config check|print`.

use clap::Subcommand;

use super::Globals;
use super::failure::{Failure, Result};
use super::output::{Style, line, note};
use crate::app::{legacy, logo};
use crate::config::{Loaded, Origin, Settings};
use crate::domain::sources::{Clock as _, SystemClock};
use crate::http::tls;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Tell every fault at once; exit status 2 where there is one
    Check,
    /// Show the effective values as TOML, each with where it came from; secrets are masked
    Print,
}

pub(super) fn run(action: Action, globals: &Globals) -> Result<()> {
    let loaded = globals.load()?;
    match action {
        Action::Check => {
            check(&loaded.settings)?;
            let read = loaded.file.as_ref().map_or("no file".into(), |path| path.display().to_string());
            note(format_args!("{} {read} and the environment hold together", Style::stderr().green("ok:")));
        }
        Action::Print => line(print(&loaded, Style::stdout()))?,
    }
    Ok(())
}

/// Reads the files that the settings name, and tells what is unwise in them.
///
/// # Errors
/// Everything that keeps them from being used.
fn check(settings: &Settings) -> Result<()> {
    let logo = logo::logo(settings);
    let (verifiers, pair) = (legacy::verifiers(settings), tls::read_pair(&settings.server.tls));
    let (verifiers, pair) = match (verifiers, pair, &logo) {
        (Ok(verifiers), Ok(pair), Ok(_)) => (verifiers, pair),
        (verifiers, pair, _) => {
            let faults = [
                verifiers.err().map(|error| error.to_string()),
                pair.err().map(|faults| faults.to_string()),
                logo.err().map(|error| error.to_string()),
            ];
            return Err(Failure::Unusable(faults.into_iter().flatten().collect::<Vec<_>>().join("\n")));
        }
    };
    let warn = |about: &str, what: &str, mend: &str| {
        note(format_args!("{} {about}: {what}; {mend}", Style::stderr().yellow("warning:")));
    };
    for (about, what, mend) in legacy::warnings(&verifiers) {
        warn(&about, &what, mend);
    }
    for concern in pair.iter().flat_map(|pair| pair.concerns(&settings.server.issuer, SystemClock.now())) {
        warn("server.tls.certificate", &concern.what, concern.mend);
    }
    Ok(())
}

/// TOML that reads back as the same settings (but for secrets), with the origin of each value as a comment.
fn print(loaded: &Loaded, style: Style) -> String {
    let mut lines = Vec::new();
    let mut open = "";
    for entry in &loaded.effective {
        let (section, name) = entry.key.split_once('.').unwrap_or(("", &entry.key));
        if section != open {
            if !open.is_empty() {
                lines.push(String::new());
            }
            match section.split_once('[') {
                Some((array, _)) => lines.push(style.bold(&format!("[[{array}]]"))),
                // An array without tables has no section.
                None if section.is_empty() => {}
                None => lines.push(style.bold(&format!("[{section}]"))),
            }
            open = section;
        }
        let text = match &entry.value {
            Some(value) => format!("{name} = {value}"),
            None => format!("# {name} is unset"),
        };
        let origin = style.dim(&format!("# {}", entry.origin));
        match (&entry.origin, &entry.value) {
            (Origin::Default, None) => lines.push(style.dim(&text)),
            _ => lines.push(format!("{text:<48} {origin}")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn what_is_printed_reads_back_as_the_same_settings() {
        let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let environment = [
            variable("LATCHKEY__TOKENS__ACCESS_TTL", "90s"),
            variable("LATCHKEY__KEYS__MASTER_KEY", "a secret"),
            variable("LATCHKEY__SERVER__RATE_LIMIT", "600/m"),
            variable("LATCHKEY__PAGES__ACCENT_DARK", "#fa0"),
            variable("LATCHKEY__PAGES__SUPPORT", "mailto:help@example.com"),
            variable("LATCHKEY__CLAIMS", r#"[{"claim":"a","value":{"b":[1]}},{"claim":"c","attribute":"email"}]"#),
            variable("LATCHKEY__COMPAT", r#"[{"style":"simplejwt","client_id":"web","verify":"/v/"}]"#),
        ];
        let loaded = crate::config::load(None, environment).unwrap();
        let text = print(&loaded, Style::PLAIN);
        assert!(text.contains("# environment LATCHKEY__TOKENS__ACCESS_TTL"), "{text}");
        assert!(!text.contains("a secret"), "{text}");
        let file = std::env::temp_dir().join(format!("latchkey-print-{}.toml", std::process::id()));
        std::fs::write(&file, &text).unwrap();
        let again = crate::config::load(Some(&file), []).map_err(|faults| faults.to_string());
        std::fs::remove_file(&file).unwrap();
        let values = |loaded: &Loaded| loaded.effective.iter().map(|e| e.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&again.unwrap()), values(&loaded));
    }
}
