//! The pages around a logout (OIDC RP-Initiated Logout 1.0 section 2): the question before it, and what is said after.

use askama::Template;

use super::shown::Name;
use super::{Form, FormTarget, Page, Shell};

/// The name of the field whose value the pressed button gives: [`LOG_OUT`] or [`STAY`].
pub const DECISION: &str = "decision";
pub const LOG_OUT: &str = "log_out";
pub const STAY: &str = "stay";

/// Asks before a logout that nobody can be sure the user wanted.
#[derive(Debug, Template)]
#[template(path = "confirm_logout.html", config = "src/http/pages/askama.toml")]
pub struct ConfirmLogoutPage<'a> {
    pub shell: Shell<'a>,
    pub form: Form<'a>,
    /// The application that asks, where it is known.
    pub client: Option<Name<'a>>,
    pub username: Name<'a>,
    pub form_targets: &'a [FormTarget],
}

impl Page for ConfirmLogoutPage<'_> {
    fn form_targets(&self) -> &[FormTarget] {
        self.form_targets
    }

    fn keeps_opener(&self) -> bool {
        true
    }
}

/// `/logged-out`: nobody is signed in here any more.
#[derive(Debug, Template)]
#[template(path = "signed_out.html", config = "src/http/pages/askama.toml")]
pub struct SignedOutPage<'a> {
    pub shell: Shell<'a>,
}

impl Page for SignedOutPage<'_> {
    fn keeps_opener(&self) -> bool {
        true
    }
}
