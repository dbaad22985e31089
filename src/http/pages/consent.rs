//! The page that asks whether an application may use the account.

use askama::Template;

use super::shown::{Name, safe_link};
use super::texts::{Around, ScopeTexts};
use super::{Form, FormTarget, Page, Shell};

/// The name of the field whose value the pressed button gives: [`ALLOW`] or [`DENY`].
pub const DECISION: &str = "decision";
pub const ALLOW: &str = "allow";
pub const DENY: &str = "deny";

#[derive(Debug, Template)]
#[template(path = "consent.html", config = "src/http/pages/askama.toml")]
pub struct ConsentPage<'a> {
    pub shell: Shell<'a>,
    pub form: Form<'a>,
    pub client: Name<'a>,
    pub client_uri: Option<&'a str>,
    pub policy_uri: Option<&'a str>,
    pub tos_uri: Option<&'a str>,
    /// Scope tokens, in the order they were asked for.
    pub scopes: Vec<&'a str>,
    /// Who is signed in.
    pub username: Name<'a>,
    /// A path of this service where somebody else signs in for the same request.
    pub another_account: &'a str,
    /// The host that the browser is sent to, or the scheme of an application on the device.
    pub destination: Name<'a>,
    pub form_targets: &'a [FormTarget],
}

/// A scope as people read it.
#[derive(Debug)]
pub(super) enum ScopeLine<'a> {
    Known(&'static str),
    Other(&'static Around, Name<'a>),
}

/// The scopes in words.
pub(super) fn lines<'a>(texts: &'static ScopeTexts, scopes: &[&'a str]) -> Vec<ScopeLine<'a>> {
    let line = |scope: &&'a str| match *scope {
        "openid" => ScopeLine::Known(texts.openid),
        "profile" => ScopeLine::Known(texts.profile),
        "email" => ScopeLine::Known(texts.email),
        "address" => ScopeLine::Known(texts.address),
        "phone" => ScopeLine::Known(texts.phone),
        "offline_access" => ScopeLine::Known(texts.offline_access),
        other => ScopeLine::Other(&texts.other, Name(other)),
    };
    scopes.iter().map(line).collect()
}

impl ConsentPage<'_> {
    fn lines(&self) -> Vec<ScopeLine<'_>> {
        lines(&self.shell.texts.consent.scopes, &self.scopes)
    }

    /// What the application says of itself: words and where they lead.
    fn links(&self) -> Vec<(&'static str, &str)> {
        let texts = &self.shell.texts.consent;
        let links = [(texts.website, self.client_uri), (texts.policy, self.policy_uri), (texts.terms, self.tos_uri)];
        links.into_iter().filter_map(|(words, link)| Some((words, safe_link(link)?))).collect()
    }
}

impl Page for ConsentPage<'_> {
    fn form_targets(&self) -> &[FormTarget] {
        self.form_targets
    }

    fn keeps_opener(&self) -> bool {
        true
    }
}
