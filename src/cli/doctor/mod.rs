//! `latchkey doctor`: what is unsafe, contradictory or broken, each with what to do. It changes nothing.

mod certificate;
mod database;
mod machine;
mod network;
mod settings;

use super::Globals;
use super::failure::{Failure, Result};
use super::output::{Style, line, note};
use super::remote::Authority;

#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    authority: Authority,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the diagnosis.
#[derive(Clone, Debug)]
struct Finding {
    verdict: Verdict,
    /// What was looked at: a key, or a thing such as `clock`.
    about: String,
    what: String,
    /// Empty where nothing is to be done.
    mend: String,
}

impl Finding {
    fn ok(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, about: about.into(), what: what.into(), mend: String::new() }
    }

    fn warn(about: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, about: about.into(), what: what.into(), mend: mend.into() }
    }

    fn fail(about: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, about: about.into(), what: what.into(), mend: mend.into() }
    }

    fn show(&self, style: Style) -> String {
        let mark = match self.verdict {
            Verdict::Ok => style.green("ok  "),
            Verdict::Warn => style.yellow("warn"),
            Verdict::Fail => style.red("fail"),
        };
        let mut text = format!("{mark}  {}: {}", style.bold(&self.about), self.what);
        if !self.mend.is_empty() {
            text.push_str(&format!("\n      {} {}", style.cyan("->"), self.mend));
        }
        text
    }
}

/// Looks at everything and tells it line by line.
///
/// # Errors
/// Something is broken: exit status 1. The configuration or `--ca` does not read: 2.
pub(super) async fn run(doctor: &Doctor, globals: &Globals) -> Result<()> {
    let loaded = globals.load()?;
    let server = network::Server::ask(&loaded.settings, &doctor.authority).await?;
    let mut findings = settings::unsafe_ones(&loaded);
    findings.extend(certificate::look(&loaded.settings));
    findings.extend(machine::files(&loaded));
    findings.extend(machine::clock(server.seconds));
    findings.extend(database::look(&loaded.settings, &server).await);
    findings.extend(server.findings);

    let style = Style::stdout();
    for finding in &findings {
        line(finding.show(style))?;
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (fails, warns) = (count(Verdict::Fail), count(Verdict::Warn));
    note(format_args!("{} checks, {warns} warnings, {fails} failures", findings.len()));
    if fails > 0 { Err(Failure::Told) } else { Ok(()) }
}
