//! Results on standard output, everything else on standard error; plain text wherever no person is looking.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Writes a result line to standard output.
///
/// # Errors
/// Standard output is closed or full; a closed pipe ends the program quietly.
pub fn line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes a line for people to standard error. Where that is closed, there is nobody to tell.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// How to mark up text on one of the two streams.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colored: bool,
}

impl Style {
    #[cfg(test)]
    pub const PLAIN: Self = Self { colored: false };

    /// Colours on standard output where it is a terminal and `NO_COLOR` is unset.
    pub fn stdout() -> Self {
        Self { colored: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Colours on standard error where it is a terminal and `NO_COLOR` is unset.
    pub fn stderr() -> Self {
        Self { colored: io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colored { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}
