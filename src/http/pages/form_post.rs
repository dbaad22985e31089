//! The page that hands an authorization response to its client by a form (OAuth 2.0 Form Post Response Mode). A script
//! sends the form at once; without script, the button does.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::shown::Name;
use super::{FormTarget, Page, Shell};
use crate::domain::secret::sha256;

/// What the page's one script is, byte for byte: its hash is in the policy, so no other one runs.
const SCRIPT: &str = "document.forms[0].submit()";

static SOURCE: LazyLock<String> = LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(sha256(SCRIPT.as_bytes()))));

#[derive(Debug, Template)]
#[template(path = "form_post.html", config = "src/http/pages/askama.toml")]
pub struct FormPostPage<'a> {
    pub shell: Shell<'a>,
    /// Where the form goes: validated, so never a scheme that runs script.
    pub redirect_uri: &'a str,
    /// Names and values of the response.
    pub fields: &'a [(&'a str, &'a str)],
    pub client: Name<'a>,
    pub form_targets: &'a [FormTarget],
}

impl FormPostPage<'_> {
    fn source(&self) -> &'static str {
        SCRIPT
    }
}

impl Page for FormPostPage<'_> {
    fn form_targets(&self) -> &[FormTarget] {
        self.form_targets
    }

    fn script(&self) -> Option<&str> {
        Some(&SOURCE)
    }

    fn keeps_opener(&self) -> bool {
        true
    }
}
