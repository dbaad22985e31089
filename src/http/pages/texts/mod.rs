//! Every text of the pages, one value per language: a text that a language lacks does not compile.
//!
//! What a text says about a name stands around it ([`Around`]), because names are set apart from the text by markup:
//! written from right to left, they must not turn the sentence around.

mod en;
mod zh;

use std::time::Duration;

pub use en::EN;
pub use zh::ZH;

use super::user_agent::{Browser, System};

/// A sentence with one name in it.
#[derive(Debug)]
pub struct Around {
    pub before: &'static str,
    pub after: &'static str,
}

/// The texts of one language.
#[derive(Debug)]
pub struct Texts {
    /// BCP 47, for the attribute `lang`.
    pub tag: &'static str,
    /// Goes before the title of a page that holds an error, for those who hear it first.
    pub error_prefix: &'static str,
    pub new_tab: &'static str,
    pub support: &'static str,
    pub signed_in_as: Around,
    pub sign_in: SignInTexts,
    pub consent: ConsentTexts,
    pub account: AccountTexts,
    pub logout: LogoutTexts,
    pub form_post: FormPostTexts,
    pub error: ErrorTexts,
    /// Too many attempts; seconds to wait.
    pub throttled: fn(u64) -> String,
    pub busy: &'static str,
    /// A form came from a page that does not count any more.
    pub stale: &'static str,
    /// How long ago something was, shorter than a month.
    pub ago: fn(Duration) -> String,
    pub device: fn(Browser, System) -> String,
}

#[derive(Debug)]
pub struct SignInTexts {
    pub title: &'static str,
    /// Which application asks.
    pub client: Around,
    pub username: &'static str,
    pub password: &'static str,
    pub submit: &'static str,
    /// Says nothing about which half was wrong.
    pub refused: &'static str,
    /// Whoever is signed in is asked once more.
    pub again: &'static str,
}

#[derive(Debug)]
pub struct ConsentTexts {
    pub title: &'static str,
    pub heading: Around,
    pub another_account: &'static str,
    /// Introduces the list of scopes.
    pub list: &'static str,
    pub scopes: ScopeTexts,
    /// Where the browser goes next, by its host.
    pub destination: Around,
    pub revocable: &'static str,
    pub website: &'static str,
    pub policy: &'static str,
    pub terms: &'static str,
    pub allow: &'static str,
    pub deny: &'static str,
}

/// The scopes of OIDC Core section 5.4 and 11, as what they allow.
#[derive(Debug)]
pub struct ScopeTexts {
    pub openid: &'static str,
    pub profile: &'static str,
    pub email: &'static str,
    pub address: &'static str,
    pub phone: &'static str,
    pub offline_access: &'static str,
    /// Any other, by its name.
    pub other: Around,
}

#[derive(Debug)]
pub struct AccountTexts {
    pub title: &'static str,
    pub devices: &'static str,
    pub devices_hint: &'static str,
    pub this_device: &'static str,
    pub last_active: Around,
    pub signed_in: Around,
    /// Ends the sign-in of one device.
    pub end_device: &'static str,
    pub applications: &'static str,
    pub applications_hint: &'static str,
    pub no_applications: &'static str,
    pub granted: Around,
    pub revoke: &'static str,
    pub password: &'static str,
    pub password_hint: &'static str,
    pub current_password: &'static str,
    pub new_password: &'static str,
    pub change_password: &'static str,
    pub log_out: &'static str,
    pub log_out_hint: &'static str,
    pub log_out_here: &'static str,
    pub log_out_all: &'static str,
    pub password_changed: &'static str,
    pub password_wrong: &'static str,
    pub password_unusable: &'static str,
    pub device_ended: &'static str,
    pub access_removed: &'static str,
}

#[derive(Debug)]
pub struct LogoutTexts {
    pub confirm_title: &'static str,
    /// Which application asks.
    pub client: Around,
    pub consequence: &'static str,
    pub confirm: &'static str,
    pub stay: &'static str,
    pub done_title: &'static str,
    pub done: &'static str,
    pub sign_in_again: &'static str,
}

#[derive(Debug)]
pub struct FormPostTexts {
    pub title: &'static str,
    pub client: Around,
    pub hint: &'static str,
    pub submit: &'static str,
}

/// One kind of error.
#[derive(Debug)]
pub struct Told {
    pub title: &'static str,
    pub what: &'static str,
    pub mend: &'static str,
}

#[derive(Debug)]
pub struct ErrorTexts {
    pub not_found: Told,
    /// The request itself is malformed.
    pub malformed: Told,
    /// A client that is not registered, or a redirect URI that is not its own.
    pub untrusted_client: Told,
    pub expired: Told,
    pub stale_form: Told,
    pub throttled: Told,
    pub unavailable: Told,
    pub defect: Told,
    /// Introduces what only developers can use.
    pub details: &'static str,
    pub request_id: &'static str,
    pub retry_after: fn(u64) -> String,
}
