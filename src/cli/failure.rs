//! How a command ends when it does not end well, and what the shell is told.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::output::{Style, note};
use crate::app::StartError;
use crate::config::Faults;
use crate::storage::OpenError;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// It was tried and did not work: exit status 1.
    Failed { error: anyhow::Error, hint: Option<String> },
    /// Arguments or configuration make no sense: exit status 2.
    Unusable(String),
    /// The configuration has faults: exit status 2.
    Misconfigured(Faults),
    /// Everything has been said already; only the exit status is left: 1.
    Told,
    /// Whoever read standard output has seen enough: exit status 0.
    ReaderLeft,
}

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed { error: error.into(), hint: None }
    }

    /// A failure told in words alone.
    pub fn because(text: impl fmt::Display) -> Self {
        Self::Failed { error: anyhow::anyhow!("{text}"), hint: None }
    }

    /// Adds what the reader could do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Failed { error, .. } => Self::Failed { error, hint: Some(hint.into()) },
            other => other,
        }
    }

    /// Tells the reader and answers with the exit status.
    pub fn report(self) -> ExitCode {
        let style = Style::stderr();
        let head = style.red("error:");
        match self {
            Self::Failed { error, hint } => {
                note(format_args!("{head} {}", chain(&error)));
                if let Some(hint) = hint {
                    note(format_args!("{} {hint}", style.cyan("hint:")));
                }
                ExitCode::from(1)
            }
            Self::Unusable(text) => {
                note(format_args!("{head} {text}"));
                ExitCode::from(2)
            }
            Self::Misconfigured(faults) => {
                let count = faults.0.len();
                let noun = if count == 1 { "fault" } else { "faults" };
                note(format_args!("{head} the configuration has {count} {noun}:"));
                for fault in &faults.0 {
                    note(format_args!("  {} {fault}", style.red("-")));
                }
                ExitCode::from(2)
            }
            Self::Told => ExitCode::from(1),
            Self::ReaderLeft => ExitCode::SUCCESS,
        }
    }
}

/// The error and its causes on one line. Many texts quote their cause: what has been said is not said again.
fn chain(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut said, cause| {
        let cause = cause.to_string();
        if !said.contains(&cause) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&cause);
        }
        said
    })
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Misconfigured(faults)
    }
}

/// Errors of reading and writing: standard output above all.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderLeft } else { Self::failed(error) }
    }
}

/// The program does not start: 2 where an operator must change something first, 1 where trying again may do.
impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let is_unusable = match &error {
            StartError::Storage(error) => matches!(
                error,
                OpenError::Url(_)
                    | OpenError::Create { .. }
                    | OpenError::Locked { .. }
                    | OpenError::Lock { .. }
                    | OpenError::Newer { .. }
                    | OpenError::Pooled { .. }
            ),
            StartError::MasterKey(_)
            | StartError::OtherMasterKey { .. }
            | StartError::MasterKeyFile { .. }
            | StartError::NoTestDatabase
            | StartError::TestDatabase
            | StartError::Legacy(_)
            | StartError::Logo(_)
            | StartError::BootstrapUnreadable { .. }
            | StartError::Bootstrap { .. } => true,
            StartError::Replica(_) | StartError::Store(_) | StartError::UseCase(_) => false,
        };
        if is_unusable { Self::Unusable(error.to_string()) } else { Self::failed(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_quoted_is_not_repeated() {
        let quoted = anyhow::anyhow!("refused").context("the database does not answer: refused").context("start");
        assert_eq!(chain(&quoted), "start: the database does not answer: refused");
    }
}
