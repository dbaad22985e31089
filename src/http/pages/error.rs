//! The page that says what went wrong, what to do, and how to ask about it. Its words are ours: nothing that a request
//! said is repeated to people, and what is shown to developers is text, never a link.

use askama::Template;

use super::shown::Detail;
use super::texts::Told;
use super::{Page, Shell};
use crate::domain::error::{Code, OAuthError};

/// What happened, as far as people can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    Malformed,
    /// The client is unknown, or the redirect URI is not its own: nobody is sent there.
    UntrustedClient,
    /// A started request is older than it may be.
    Expired,
    /// A form without the browser that it was given to.
    StaleForm,
    Throttled,
    Unavailable,
    Defect,
}

impl ErrorKind {
    pub const ALL: [Self; 8] = [
        Self::NotFound,
        Self::Malformed,
        Self::UntrustedClient,
        Self::Expired,
        Self::StaleForm,
        Self::Throttled,
        Self::Unavailable,
        Self::Defect,
    ];

    /// Where nothing more particular is known than what any error says.
    pub const fn of(error: &OAuthError) -> Self {
        match error.code {
            Code::NotFound => Self::NotFound,
            Code::TooManyRequests => Self::Throttled,
            Code::TemporarilyUnavailable => Self::Unavailable,
            Code::ServerError => Self::Defect,
            _ => Self::Malformed,
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "error.html", config = "src/http/pages/askama.toml")]
pub struct ErrorPage<'a> {
    pub shell: Shell<'a>,
    pub kind: ErrorKind,
    /// The code and the description that programs would get.
    pub detail: Option<(&'static str, Detail<'a>)>,
    /// Seconds to wait.
    pub retry_after: Option<u64>,
    pub request_id: &'a str,
}

impl ErrorPage<'_> {
    fn told(&self) -> &'static Told {
        let texts = &self.shell.texts.error;
        match self.kind {
            ErrorKind::NotFound => &texts.not_found,
            ErrorKind::Malformed => &texts.malformed,
            ErrorKind::UntrustedClient => &texts.untrusted_client,
            ErrorKind::Expired => &texts.expired,
            ErrorKind::StaleForm => &texts.stale_form,
            ErrorKind::Throttled => &texts.throttled,
            ErrorKind::Unavailable => &texts.unavailable,
            ErrorKind::Defect => &texts.defect,
        }
    }

    fn mend(&self) -> String {
        match self.retry_after {
            Some(seconds) => (self.shell.texts.error.retry_after)(seconds),
            None => self.told().mend.to_owned(),
        }
    }
}

impl Page for ErrorPage<'_> {
    fn keeps_opener(&self) -> bool {
        true
    }
}
