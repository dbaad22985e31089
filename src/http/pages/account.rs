//! The page on which users see and end what they have allowed: devices, applications, their password.
//!
//! It is one path with several forms. Each carries [`ACTION`], which says what is wanted, and what that needs.

use std::time::Duration;

use askama::Template;

use super::consent::{ScopeLine, lines};
use super::shown::Name;
use super::texts::Texts;
use super::user_agent::{Browser, System};
use super::{Form, Page, Shell};
use crate::domain::time::Timestamp;

/// The name of the field that says what a form wants: one of the values below.
pub const ACTION: &str = "action";
/// Ends the sign-in of the device in [`SIGN_IN`].
pub const END_DEVICE: &str = "end_device";
pub const SIGN_IN: &str = "sign_in";
/// Takes back what the client in [`CLIENT`] was allowed.
pub const REVOKE: &str = "revoke";
pub const CLIENT: &str = "client_id";
/// With [`CURRENT_PASSWORD`] and [`NEW_PASSWORD`].
pub const CHANGE_PASSWORD: &str = "change_password";
pub const CURRENT_PASSWORD: &str = "current_password";
pub const NEW_PASSWORD: &str = "new_password";
pub const LOG_OUT: &str = "log_out";
pub const LOG_OUT_ALL: &str = "log_out_all";

/// From when on a date says more than a number of days.
const A_MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the page says came of the last form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountNotice {
    PasswordChanged,
    /// The current password is not that.
    PasswordWrong,
    /// The new one cannot be one.
    PasswordUnusable,
    DeviceEnded,
    AccessRemoved,
    /// Too many attempts; seconds to wait.
    Throttled(u64),
    Busy,
    /// The form came from a page that does not count any more.
    Stale,
}

/// A browser that is signed in.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// The public id of the sign-in.
    pub id: &'a str,
    pub user_agent: &'a str,
    /// Where it was seen.
    pub address: Name<'a>,
    pub started_at: Timestamp,
    pub last_used_at: Timestamp,
    /// Whether it is the one that looks at the page.
    pub is_this: bool,
}

/// An application that was allowed something.
#[derive(Clone, Debug)]
pub struct Granted<'a> {
    pub client_id: &'a str,
    pub client: Name<'a>,
    pub scopes: Vec<&'a str>,
    pub granted_at: Timestamp,
}

#[derive(Debug, Template)]
#[template(path = "account.html", config = "src/http/pages/askama.toml")]
pub struct AccountPage<'a> {
    pub shell: Shell<'a>,
    /// Of each form, with what all of them carry.
    pub form: Form<'a>,
    pub username: &'a str,
    /// In the order they are shown: the one that looks first.
    pub devices: Vec<Device<'a>>,
    pub applications: Vec<Granted<'a>>,
    pub notice: Option<AccountNotice>,
    pub now: Timestamp,
}

impl Device<'_> {
    fn label(&self, texts: &Texts) -> String {
        (texts.device)(Browser::of(self.user_agent), System::of(self.user_agent))
    }

    fn is_handheld(&self) -> bool {
        System::of(self.user_agent).is_handheld()
    }
}

impl AccountPage<'_> {
    fn message(&self) -> Option<String> {
        let (texts, account) = (self.shell.texts, &self.shell.texts.account);
        self.notice.map(|notice| match notice {
            AccountNotice::PasswordChanged => account.password_changed.to_owned(),
            AccountNotice::PasswordWrong => account.password_wrong.to_owned(),
            AccountNotice::PasswordUnusable => account.password_unusable.to_owned(),
            AccountNotice::DeviceEnded => account.device_ended.to_owned(),
            AccountNotice::AccessRemoved => account.access_removed.to_owned(),
            AccountNotice::Throttled(seconds) => (texts.throttled)(seconds),
            AccountNotice::Busy => texts.busy.to_owned(),
            AccountNotice::Stale => texts.stale.to_owned(),
        })
    }

    fn is_error(&self) -> bool {
        use AccountNotice::{AccessRemoved, DeviceEnded, PasswordChanged};
        self.notice.is_some_and(|notice| !matches!(notice, PasswordChanged | DeviceEnded | AccessRemoved))
    }

    /// When something was, in words, or as a date where it is long past.
    fn when(&self, at: &Timestamp) -> String {
        let span = self.now.since(*at);
        if span < A_MONTH {
            return (self.shell.texts.ago)(span);
        }
        let mut date = at.rfc3339();
        date.truncate("2000-01-01".len());
        date
    }

    fn lines<'b>(&self, application: &'b Granted<'_>) -> Vec<ScopeLine<'b>> {
        lines(&self.shell.texts.consent.scopes, &application.scopes)
    }
}

impl Page for AccountPage<'_> {}
