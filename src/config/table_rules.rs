//! What the tables of the arrays are held against: themselves, each other, and the names that are Latchkey's own.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;

use super::check::Rules;
use super::issuer::path_of;
use super::settings::Settings;
use super::tables::{ClaimSettings, CompatSettings, CompatStyle, LegacyIssuerSettings};
use super::words::{ATTRIBUTES, ATTRIBUTES_OF_USER, BRACES, either};
use crate::domain::answer_template::{AnswerFault, AnswerTemplate, TOKEN_PARTS};
use crate::domain::claim_rules::{Attribute, DEEPEST_CONSTANT, LARGEST_CONSTANT, LONGEST_NAME, RESERVED_CLAIMS};
use crate::domain::json::is_as_shallow_as;
use crate::domain::legacy::{KeyFamily, LONGEST_LEEWAY, LegacyAlg, SecretEncoding};
use crate::domain::scope::Scope;

/// How many of each array: every one costs each token that it may concern.
const MOST_RULES: usize = 100;
const MOST_ISSUERS: usize = 16;
const MOST_COMPAT: usize = 16;

/// Characters of a legacy issuer's name: it labels metrics.
const LONGEST_ISSUER_NAME: usize = 64;

/// The first segments of paths that are Latchkey's own, or will be.
const OWN_PATHS: [&str; 18] = [
    ".well-known",
    "account",
    "admin",
    "authorize",
    "consent",
    "device",
    "docs",
    "health",
    "logged-out",
    "login",
    "logout",
    "metrics",
    "oauth2",
    "openapi.json",
    "pages",
    "register",
    "test",
    "userinfo",
];

/// Names the keys of one table.
struct Place(String);

impl Place {
    fn of(array: &str, index: usize) -> Self {
        Self(format!("{array}[{index}]"))
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.0)
    }
}

impl Rules<'_> {
    pub(super) fn tables(&mut self, settings: &Settings) {
        self.no_more("claims", settings.claims.len(), MOST_RULES);
        for (index, rule) in settings.claims.iter().enumerate() {
            self.claim(&Place::of("claims", index), rule, &settings.claims[..index]);
        }
        self.no_more("legacy_issuers", settings.legacy_issuers.len(), MOST_ISSUERS);
        for (index, issuer) in settings.legacy_issuers.iter().enumerate() {
            let place = Place::of("legacy_issuers", index);
            self.legacy_issuer(&place, issuer, &settings.legacy_issuers[..index]);
            self.legacy_key(&place, issuer);
        }
        self.no_more("compat", settings.compat.len(), MOST_COMPAT);
        let mut taken = BTreeMap::new();
        let prefix = path_of(&settings.server.issuer);
        for (index, compat) in settings.compat.iter().enumerate() {
            self.compat(&Place::of("compat", index), compat, prefix, &mut taken);
        }
    }

    fn no_more(&mut self, array: &str, count: usize, most: usize) {
        // An array has no value of its own to show: its last table stands for it.
        let first = format!("{array}[{}].", count.saturating_sub(1));
        let key = self.keys_of(&first).into_iter().next().unwrap_or_default();
        self.refuse(&[&key], count > most, format!("there are {count} of [[{array}]]"), format!("keep {most} at most"));
    }

    fn claim(&mut self, place: &Place, rule: &ClaimSettings, before: &[ClaimSettings]) {
        let key = |name: &str| place.key(name);
        let claim = rule.claim.as_str();
        let is_name = claim.len() <= LONGEST_NAME && !claim.chars().any(char::is_control);
        let reason = format!("a claim's name has at most {LONGEST_NAME} bytes and no control characters");
        self.refuse(&[&key("claim")], !is_name, reason, "shorten it");
        self.refuse(
            &[&key("claim")],
            RESERVED_CLAIMS.contains(&claim),
            "the claim has a meaning of its own, which others rely on",
            "take another name",
        );

        let sources = [
            ("attribute", rule.attribute.is_some()),
            ("value", rule.value.is_some()),
            ("template", rule.template.is_some()),
        ];
        let given = sources.iter().filter(|(_, given)| *given).count();
        let all = sources.map(|(name, _)| key(name));
        self.refuse(
            &[&key("claim"), &all[0], &all[1], &all[2]],
            given != 1,
            format!("it has {} for its value", if given == 0 { "nothing".into() } else { format!("{given} sources") }),
            "give one of attribute, value and template",
        );
        self.refuse(
            &[&key("as"), &key("value")],
            rule.value.is_some() && rule.kind.is_some(),
            "a constant is what it is written as",
            "leave it out, and write the value as it is to be: 1, true or \"1\"",
        );
        if let Some(value) = &rule.value {
            let fits = value.to_string().len() <= LARGEST_CONSTANT && is_as_shallow_as(value, DEEPEST_CONSTANT);
            let reason =
                format!("a constant has at most {LARGEST_CONSTANT} bytes as JSON and nests {DEEPEST_CONSTANT} deep");
            self.refuse(&[&key("value")], !fits, reason, "shorten it: it is in every token");
        }
        let unknown = rule.template.as_ref().and_then(|it| it.names().find(|name| Attribute::parse(name).is_none()));
        if let Some(name) = unknown {
            self.refuse(&[&key("template")], true, format!("nothing named {name} is known of a user"), ATTRIBUTES);
        }
        if let Some(scope) = &rule.scope {
            let is_one = Scope::parse(scope).is_ok_and(|scope| scope.iter().count() == 1);
            self.refuse(&[&key("scope")], !is_one, "it is not one scope", "name one, such as profile");
        }
        let mend = "leave it out, and the claim is in access tokens";
        self.refuse(&[&key("in")], rule.places.is_empty(), "the claim is told nowhere", mend);
        let nobody = rule.clients.as_ref().is_some_and(Vec::is_empty);
        let mend = "leave it out, and the claim is in the tokens of every client";
        self.refuse(&[&key("clients")], nobody, "it names nobody", mend);

        let always = rule.value.is_some() && rule.scope.is_none() && rule.clients.is_none();
        let hides = |earlier: &ClaimSettings| {
            earlier.claim == rule.claim && earlier.places.iter().all(|place| rule.places.contains(place))
        };
        self.refuse(
            &[&key("claim")],
            always && before.iter().any(hides),
            "this rule always applies, so that no rule before it for the same claim ever counts",
            "put the general rule first and the exceptions after it",
        );
    }

    fn legacy_issuer(&mut self, place: &Place, issuer: &LegacyIssuerSettings, before: &[LegacyIssuerSettings]) {
        let key = |name: &str| place.key(name);
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        self.refuse(
            &[&key("name")],
            issuer.name.len() > LONGEST_ISSUER_NAME || !issuer.name.chars().all(legal),
            format!("a name has at most {LONGEST_ISSUER_NAME} letters, digits and - _ ."),
            "it is for metrics, the audit trail and the report: write django",
        );
        self.refuse(
            &[&key("name")],
            before.iter().any(|earlier| earlier.name == issuer.name),
            "another of [[legacy_issuers]] has this name",
            "give each a name of its own",
        );
        let mend = "name the clients that may exchange its tokens";
        self.refuse(&[&key("clients")], issuer.clients.is_empty(), "it names nobody", mend);
        let reserved = ["iss", "aud", "exp", "nbf", "iat"];
        let odd = issuer.require.iter().find(|(name, value)| {
            reserved.contains(&name.as_str()) || !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
        });
        if let Some((name, _)) = odd {
            let reason = format!("{name} is not compared here, or not with a text, a number, true or false");
            self.refuse(&[&key("require")], true, reason, "use issuer and audience for iss and aud");
        }
        self.span(&key("leeway"), issuer.leeway, Duration::ZERO, LONGEST_LEEWAY);
        self.whole_seconds(&key("leeway"), issuer.leeway);
    }

    fn legacy_key(&mut self, place: &Place, issuer: &LegacyIssuerSettings) {
        let key = |name: &str| place.key(name);
        let algorithms = &issuer.algorithms;
        self.refuse(&[&key("algorithms")], algorithms.is_empty(), "it names none", "write [\"HS256\"]");
        let Some(first) = algorithms.first() else { return };
        let family = first.family();
        self.refuse(
            &[&key("algorithms")],
            algorithms.iter().any(|alg| alg.family() != family),
            "no key serves them all: secrets, RSA keys and each elliptic curve are apart",
            "write two of [[legacy_issuers]], each with its key",
        );

        let given = [
            ("secret", issuer.secret.is_some()),
            ("secret_file", issuer.secret_file.is_some()),
            ("public_key", issuer.public_key.is_some()),
            ("public_key_file", issuer.public_key_file.is_some()),
        ];
        let is_secret = family == KeyFamily::Secret;
        let (wanted, others) = if is_secret { given.split_at(2) } else { (&given[2..], &given[..2]) };
        let names = either(&wanted.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let what = if is_secret { "a secret" } else { "a public key" };
        let alg = first.as_str();
        for (name, _) in others.iter().filter(|(_, given)| *given) {
            let reason = format!("{alg} takes {what}, and nothing of one kind is ever taken for the other");
            self.refuse(&[&key(name), &key("algorithms")], true, reason, format!("give {names}"));
        }
        let count = wanted.iter().filter(|(_, given)| *given).count();
        let keys = [key("algorithms"), key(wanted[0].0), key(wanted[1].0)];
        self.refuse(
            &[&keys[0], &keys[1], &keys[2]],
            count != 1 && !others.iter().any(|(_, given)| *given),
            format!("{alg} takes {what}, and there is {}", if count == 0 { "none" } else { "one too many" }),
            format!("give {names}"),
        );
        self.legacy_key_itself(place, issuer, *first);
    }

    /// Only what stands in the configuration: files are read at the start.
    fn legacy_key_itself(&mut self, place: &Place, issuer: &LegacyIssuerSettings, alg: LegacyAlg) {
        let key = |name: &str| place.key(name);
        if let Some(secret) = &issuer.secret {
            self.refuse(
                &[&key("secret")],
                secret.expose().contains("-----BEGIN"),
                "it is a PEM, which is no secret: a public key taken for one lets anybody sign",
                "give the secret that the old system signs with, or name its algorithm and give public_key",
            );
            let decoded =
                base64::engine::general_purpose::STANDARD_NO_PAD.decode(secret.expose().trim_end_matches('='));
            self.refuse(
                &[&key("secret")],
                issuer.secret_encoding == SecretEncoding::Base64 && decoded.is_err(),
                "it is not base64",
                "write it as the old system has it, or leave secret_encoding out",
            );
        }
        self.refuse(
            &[&key("secret_encoding")],
            alg.family() != KeyFamily::Secret && self.is_given(&key("secret_encoding")),
            "there is no secret",
            "leave it out",
        );
        if let Some(pem) = &issuer.public_key {
            self.refuse(
                &[&key("public_key")],
                !is_public_pem(pem),
                "it is not a public key in PEM",
                "write what begins with -----BEGIN PUBLIC KEY-----; `openssl pkey -in FILE -pubout` makes it of a \
                 private key, `openssl x509 -in FILE -pubkey -noout` of a certificate",
            );
        }
    }

    fn compat(&mut self, place: &Place, compat: &CompatSettings, prefix: &str, taken: &mut BTreeMap<String, String>) {
        let known = compat.style.endpoints();
        let style = place.key("style");
        let served: Vec<(&str, &str)> =
            compat.paths().into_iter().filter_map(|(name, path)| Some((name, path?))).collect();
        for (name, path) in &served {
            let key = place.key(name);
            let reason = format!("{} has no such endpoint", compat.style);
            self.refuse(&[&key, &style], !known.contains(name), reason, format!("it has {}", known.join(", ")));
            let told = match path_fault(path, prefix) {
                Some(told) => Some(told),
                None => taken
                    .insert(path.trim_end_matches('/').to_owned(), key.clone())
                    .map(|other| (format!("{other} has this path"), "give each endpoint a path of its own".to_owned())),
            };
            if let Some((reason, mend)) = told {
                self.refuse(&[&key], true, reason, mend);
            }
        }
        let paths: Vec<String> = known.iter().map(|name| place.key(name)).collect();
        let keys: Vec<&str> = std::iter::once(&style).chain(&paths).map(String::as_str).collect();
        let mend = format!("give {}", either(known));
        self.refuse(&keys, served.is_empty(), "none of its endpoints has a path", mend);
        let name = &compat.username_field;
        let reason = "no login can be read with it";
        self.refuse(
            &[&place.key("username_field")],
            name == "password",
            reason,
            "write what requests call it, such as email",
        );
        self.response(place, compat);
    }

    fn response(&mut self, place: &Place, compat: &CompatSettings) {
        let key = place.key("response");
        match compat.response.as_ref().map(AnswerTemplate::read) {
            None => return,
            Some(Ok(_)) => {}
            Some(Err(fault @ AnswerFault::Braces { .. })) => self.refuse(&[&key], true, fault.to_string(), BRACES),
            Some(Err(fault @ AnswerFault::Unknown(_))) => {
                let parts = TOKEN_PARTS.join(", ");
                let mend = format!("{ATTRIBUTES_OF_USER}, or one of {parts}");
                self.refuse(&[&key], true, fault.to_string(), mend);
            }
        }
        // The other answers of simplejwt are of one form, which its clients rely on.
        let is_used =
            compat.style != CompatStyle::SimpleJwt || compat.obtain.is_some() || compat.sliding_obtain.is_some();
        let mend = "give obtain or sliding_obtain a path, or leave response out";
        self.refuse(&[&key, &place.key("style")], !is_used, "no answer of these paths is made of it", mend);
    }
}

/// Whether the text is a public key by its label.
pub(super) fn is_public_pem(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with("-----BEGIN PUBLIC KEY-----") || text.starts_with("-----BEGIN RSA PUBLIC KEY-----")
}

/// Why no endpoint can have the path, and what to write. `prefix` is the issuer's path, which goes before Latchkey's
/// own.
fn path_fault(path: &str, prefix: &str) -> Option<(String, String)> {
    let told = |reason: String, mend: &str| Some((reason, mend.to_owned()));
    let Some(rest) = path.strip_prefix('/') else {
        return told("a path begins with a slash".into(), &format!("write /{path}"));
    };
    let segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
    let legal = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    };
    if !segments.clone().all(legal) {
        return told("a path must read the same however it is encoded".into(), "use letters, digits and - . _ ~ alone");
    }
    if !prefix.is_empty() && path.trim_end_matches('/') == prefix {
        return told(format!("{prefix} is the issuer's own path"), "take another path, such as /api/token/");
    }
    let within = path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let first_of = |path: &str| path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let own = [first_of(path), first_of(within)].into_iter().find(|first| OWN_PATHS.contains(&first.as_str()));
    own.and_then(|first| told(format!("/{first} is Latchkey's own"), "take another path, such as /api/token/"))
}
