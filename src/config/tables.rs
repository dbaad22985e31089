//! The arrays of tables: `[[claims]]`, `[[legacy_issuers]]` and `[[compat]]`. In the environment each is one JSON array.
//!
//! As with the other settings, a key is named once, in the `visit` of its table. What was left out holds its default; a
//! key without one is required.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::value::{Raw, Setting, Wrong, quote, wrong};
use super::words::{either, word};
use crate::domain::claim_rules::{Attribute, ClaimPlace, ClaimRule, ClaimType, Source};
use crate::domain::ids::ClientId;
use crate::domain::legacy::{LegacyAlg, SecretEncoding, UserBy};
use crate::domain::secret::SecretText;
use crate::domain::template::Template;
use crate::domain::time::Timestamp;

/// Someone who goes through the keys of a table.
pub(super) trait Columns {
    fn key<T: Setting>(&mut self, name: &'static str, field: &mut T);

    /// A key without which the table means nothing.
    fn required<T: Setting>(&mut self, name: &'static str, field: &mut T) {
        self.key(name, field);
    }
}

/// One table of an array.
pub(super) trait Table: Default {
    /// Whether a fault must not repeat the array as it was given.
    const SECRET: bool = false;

    fn visit(&mut self, v: &mut impl Columns);
}

/// One of `[[claims]]`: a claim of the operator's own.
#[derive(Clone, Debug)]
pub struct ClaimSettings {
    pub claim: String,
    pub attribute: Option<Attribute>,
    pub value: Option<Value>,
    pub template: Option<Template>,
    pub kind: Option<ClaimType>,
    pub places: Vec<ClaimPlace>,
    pub scope: Option<String>,
    pub clients: Option<Vec<String>>,
}

impl Default for ClaimSettings {
    fn default() -> Self {
        Self {
            claim: String::new(),
            attribute: None,
            value: None,
            template: None,
            kind: None,
            places: vec![ClaimPlace::AccessToken],
            scope: None,
            clients: None,
        }
    }
}

impl Table for ClaimSettings {
    fn visit(&mut self, v: &mut impl Columns) {
        v.required("claim", &mut self.claim);
        v.key("attribute", &mut self.attribute);
        v.key("value", &mut self.value);
        v.key("template", &mut self.template);
        v.key("as", &mut self.kind);
        v.key("in", &mut self.places);
        v.key("scope", &mut self.scope);
        v.key("clients", &mut self.clients);
    }
}

impl ClaimSettings {
    /// The rule that it is; `None` of settings that were refused, which have no source or several.
    pub fn rule(&self) -> Option<ClaimRule> {
        let source = match (&self.attribute, &self.value, &self.template) {
            (Some(attribute), None, None) => Source::Attribute(attribute.clone()),
            (None, Some(value), None) => Source::Constant(value.clone()),
            (None, None, Some(template)) => Source::Template(template.clone()),
            _ => return None,
        };
        Some(ClaimRule {
            claim: self.claim.clone(),
            source,
            kind: self.kind,
            places: self.places.clone(),
            scope: self.scope.clone(),
            clients: self.clients.iter().flatten().map(ClientId::new).collect(),
        })
    }
}

/// One of `[[legacy_issuers]]`: a system whose tokens are taken once each, until its cut-off.
#[derive(Clone, Debug)]
pub struct LegacyIssuerSettings {
    pub name: String,
    pub algorithms: Vec<LegacyAlg>,
    pub secret: Option<SecretText>,
    pub secret_file: Option<PathBuf>,
    pub secret_encoding: SecretEncoding,
    /// PEM.
    pub public_key: Option<String>,
    pub public_key_file: Option<PathBuf>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What must be in `aud`.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
    pub user_by: UserBy,
    /// The claim that tells when the session began; `iat` where it is absent.
    pub started_claim: Option<String>,
    /// The claim that tells when the session ends at the latest.
    pub ends_claim: Option<String>,
    /// Claims that must be there and equal.
    pub require: Map<String, Value>,
    /// Who may exchange its tokens.
    pub clients: Vec<String>,
    /// `jti`s that the old system had blacklisted, one a line.
    pub denied_file: Option<PathBuf>,
    /// How long after its `exp` a token still counts.
    pub leeway: Duration,
    pub cut_off: Timestamp,
}

impl Default for LegacyIssuerSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            algorithms: Vec::new(),
            secret: None,
            secret_file: None,
            secret_encoding: SecretEncoding::default(),
            public_key: None,
            public_key_file: None,
            issuer: None,
            audience: None,
            user_claim: String::new(),
            user_by: UserBy::default(),
            started_claim: None,
            ends_claim: None,
            require: Map::new(),
            clients: Vec::new(),
            denied_file: None,
            leeway: Duration::ZERO,
            cut_off: Timestamp::MIN,
        }
    }
}

impl Table for LegacyIssuerSettings {
    const SECRET: bool = true;

    fn visit(&mut self, v: &mut impl Columns) {
        v.required("name", &mut self.name);
        v.required("algorithms", &mut self.algorithms);
        v.key("secret", &mut self.secret);
        v.key("secret_file", &mut self.secret_file);
        v.key("secret_encoding", &mut self.secret_encoding);
        v.key("public_key", &mut self.public_key);
        v.key("public_key_file", &mut self.public_key_file);
        v.key("issuer", &mut self.issuer);
        v.key("audience", &mut self.audience);
        v.required("user_claim", &mut self.user_claim);
        v.key("user_by", &mut self.user_by);
        v.key("started_claim", &mut self.started_claim);
        v.key("ends_claim", &mut self.ends_claim);
        v.key("require", &mut self.require);
        v.required("clients", &mut self.clients);
        v.key("denied_file", &mut self.denied_file);
        v.key("leeway", &mut self.leeway);
        v.required("cut_off", &mut self.cut_off);
    }
}

/// Whose endpoints are imitated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompatStyle {
    /// drf-jwt, the fork that is maintained.
    #[default]
    DrfJwt,
    /// djangorestframework-jwt, which it was made from.
    RestFrameworkJwt,
    SimpleJwt,
}

impl CompatStyle {
    const ALL: [Self; 3] = [Self::DrfJwt, Self::RestFrameworkJwt, Self::SimpleJwt];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DrfJwt => "drf-jwt",
            Self::RestFrameworkJwt => "djangorestframework-jwt",
            Self::SimpleJwt => "simplejwt",
        }
    }

    /// The names of the endpoints that it has.
    pub const fn endpoints(self) -> &'static [&'static str] {
        match self {
            Self::DrfJwt | Self::RestFrameworkJwt => &["obtain", "refresh", "verify"],
            Self::SimpleJwt => &["obtain", "refresh", "verify", "blacklist", "sliding_obtain", "sliding_refresh"],
        }
    }
}

word!(CompatStyle);

impl fmt::Display for CompatStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of `[[compat]]`: endpoints of another package's making, at paths of the operator's choice.
#[derive(Clone, Debug)]
pub struct CompatSettings {
    pub style: CompatStyle,
    /// The client that the endpoints act as.
    pub client_id: String,
    /// What the name that users log in with is called in their requests: Django's `USERNAME_FIELD`.
    pub username_field: String,
    // Paths; what is absent is not served.
    pub obtain: Option<String>,
    pub refresh: Option<String>,
    pub verify: Option<String>,
    pub blacklist: Option<String>,
    pub sliding_obtain: Option<String>,
    pub sliding_refresh: Option<String>,
    /// What a good answer looks like, its texts being templates; the style's own where it is absent.
    pub response: Option<Value>,
}

impl Default for CompatSettings {
    fn default() -> Self {
        Self {
            style: CompatStyle::default(),
            client_id: String::new(),
            username_field: "username".into(),
            obtain: None,
            refresh: None,
            verify: None,
            blacklist: None,
            sliding_obtain: None,
            sliding_refresh: None,
            response: None,
        }
    }
}

impl Table for CompatSettings {
    fn visit(&mut self, v: &mut impl Columns) {
        v.required("style", &mut self.style);
        v.required("client_id", &mut self.client_id);
        v.key("username_field", &mut self.username_field);
        v.key("obtain", &mut self.obtain);
        v.key("refresh", &mut self.refresh);
        v.key("verify", &mut self.verify);
        v.key("blacklist", &mut self.blacklist);
        v.key("sliding_obtain", &mut self.sliding_obtain);
        v.key("sliding_refresh", &mut self.sliding_refresh);
        v.key("response", &mut self.response);
    }
}

impl CompatSettings {
    /// Every endpoint by its name, with its path where it is served.
    pub fn paths(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("obtain", self.obtain.as_deref()),
            ("refresh", self.refresh.as_deref()),
            ("verify", self.verify.as_deref()),
            ("blacklist", self.blacklist.as_deref()),
            ("sliding_obtain", self.sliding_obtain.as_deref()),
            ("sliding_refresh", self.sliding_refresh.as_deref()),
        ]
    }
}
