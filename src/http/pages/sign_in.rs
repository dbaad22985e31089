//! The page that asks for a username and a password.

use askama::Template;

use super::shown::Name;
use super::texts::Texts;
use super::{Form, FormTarget, Page, Shell};

/// What the page says before it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInNotice {
    /// Nobody is there by that name, or it is not their password: the page does not tell which.
    Refused,
    /// Too many attempts; seconds to wait.
    Throttled(u64),
    /// The queue of password checks is full.
    Busy,
    /// The form came from a page that does not count any more.
    Stale,
    /// The application wants whoever is signed in to prove it again.
    Again,
}

#[derive(Debug, Template)]
#[template(path = "sign_in.html", config = "src/http/pages/askama.toml")]
pub struct SignInPage<'a> {
    pub shell: Shell<'a>,
    pub form: Form<'a>,
    /// The application that asks; `None` where somebody signs in to Latchkey itself.
    pub client: Option<Name<'a>>,
    /// `login_hint`, or what was typed before.
    pub username: &'a str,
    pub notice: Option<SignInNotice>,
    pub form_targets: &'a [FormTarget],
}

impl SignInPage<'_> {
    fn message(&self) -> Option<String> {
        let texts: &Texts = self.shell.texts;
        self.notice.map(|notice| match notice {
            SignInNotice::Refused => texts.sign_in.refused.to_owned(),
            SignInNotice::Throttled(seconds) => (texts.throttled)(seconds),
            SignInNotice::Busy => texts.busy.to_owned(),
            SignInNotice::Stale => texts.stale.to_owned(),
            SignInNotice::Again => texts.sign_in.again.to_owned(),
        })
    }

    /// Whether something failed, rather than being asked for.
    fn is_error(&self) -> bool {
        self.notice.is_some_and(|notice| notice != SignInNotice::Again)
    }

    fn is_refused(&self) -> bool {
        self.notice == Some(SignInNotice::Refused)
    }
}

impl Page for SignInPage<'_> {
    fn form_targets(&self) -> &[FormTarget] {
        self.form_targets
    }

    fn keeps_opener(&self) -> bool {
        true
    }
}
