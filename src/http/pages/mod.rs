//! The pages that people meet: sign-in, consent, account, logout, errors, and the form that posts itself.
//!
//! Each page is a value of plain data; [`Page::rendered`] makes HTML and headers of it. Nothing here decides anything or
//! reads a database. Every value is escaped by the templates, names are cut to a length that no layout breaks under,
//! and a link is shown only where it is `https` (or the operator's own).
//!
//! Forms work without script, and the first form of a page goes on, its first button affirms. Programs that drive a
//! browser know the ids `sign-in`, `allow`, `deny` and `confirm`, and the fields `username` and `password`.

pub mod account;
mod assets;
pub mod consent;
pub mod cookies;
pub mod error;
pub mod form_post;
mod headers;
pub mod language;
pub mod logout;
pub mod shown;
pub mod sign_in;
pub mod texts;
pub mod user_agent;

use poem::http::{HeaderMap, StatusCode, header};
use poem::{Request, Response};

pub use self::assets::{Pages, mount};
pub use self::headers::FormTarget;
use self::headers::Policy;
pub use self::language::Language;
use self::texts::Texts;
use crate::domain::error::OAuthError;

/// What every template has at hand: the service as its operator shows it, and the texts of one language.
#[derive(Clone, Copy, Debug)]
pub struct Shell<'a> {
    pub pages: &'a Pages,
    pub texts: &'static Texts,
}

impl<'a> Shell<'a> {
    pub fn new(pages: &'a Pages, language: Language) -> Self {
        Self { pages, texts: language.texts() }
    }
}

/// A form of a page: where it goes, and what it carries unseen.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// A path of this service below the issuer, such as `/login`.
    pub path: &'a str,
    /// Names and values: the ticket, the token against forgery.
    pub hidden: &'a [(&'a str, &'a str)],
}

/// A page, ready to be sent.
#[derive(Debug)]
pub struct Rendered {
    pub html: String,
    pub headers: HeaderMap,
}

impl Rendered {
    pub fn respond(self, status: StatusCode) -> Response {
        let mut response = Response::builder().status(status).body(self.html);
        response.headers_mut().extend(self.headers);
        response
    }
}

/// What all pages have in common.
pub trait Page: askama::Template {
    /// Where else than to this service its forms may lead.
    fn form_targets(&self) -> &[FormTarget] {
        &[]
    }

    /// The one script that may run, as a source of a content security policy.
    fn script(&self) -> Option<&str> {
        None
    }

    /// Whether it may be shown in a window that an application opened and listens to: such a window must keep its opener
    /// until it is back at the application.
    fn keeps_opener(&self) -> bool {
        false
    }

    /// # Errors
    /// A defect.
    fn rendered(&self) -> Result<Rendered, OAuthError> {
        let policy =
            Policy { form_targets: self.form_targets(), script: self.script(), keeps_opener: self.keeps_opener() };
        Ok(Rendered { html: self.render().map_err(OAuthError::internal)?, headers: policy.headers() })
    }
}

/// The language that a browser prefers, where the request itself asks for none.
pub fn preferred(request: &Request) -> Language {
    Language::choose(None, request.header(header::ACCEPT_LANGUAGE))
}

#[cfg(test)]
mod specimens;
#[cfg(test)]
mod tests;
