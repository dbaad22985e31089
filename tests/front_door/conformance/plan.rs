//! The plan's configuration and the bootstrap file: read as they are in the repository, and held against each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use latchkey::config::Settings;
use serde_json::Value;

use super::names;
use crate::support::{Registered, Server, on_each_database_with};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

/// The settings of the README there.
pub fn settings(settings: &mut Settings) {
    settings.server.issuer = Plan::read().issuer().to_owned();
    settings.bootstrap.file = Some(folder().join("bootstrap.json"));
}

/// `plan.json`.
pub struct Plan {
    pub all: Value,
}

impl Plan {
    pub fn read() -> Self {
        Self { all: read("plan.json") }
    }

    pub fn issuer(&self) -> &str {
        let url = self.all["server"]["discoveryUrl"].as_str().unwrap();
        url.strip_suffix("/.well-known/openid-configuration").unwrap()
    }

    /// Where the suite listens for a plan of this alias.
    fn suite(&self) -> String {
        format!("https://localhost.emobix.co.uk:8443/test/a/{}", self.all["alias"].as_str().unwrap())
    }

    pub fn callback(&self) -> String {
        self.suite() + "/callback"
    }

    pub fn after_logout(&self) -> String {
        self.suite() + "/post_logout_redirect"
    }

    pub fn client(&self, member: &str) -> Registered {
        let text = |name: &str| self.all[member][name].as_str().unwrap().to_owned();
        Registered { id: text("client_id"), secret: text("client_secret") }
    }

    /// What the suite's browser does for a module that is sent there.
    pub fn tasks(&self, module: &str, path: &str) -> &[Value] {
        let own = &self.all["override"][module]["browser"];
        let browser = if own.is_null() { &self.all["browser"] } else { own };
        let address = self.issuer().to_owned() + path;
        let is_for = |part: &&Value| glob(part["match"].as_str().unwrap(), &address);
        browser.as_array().unwrap().iter().find(is_for).unwrap()["tasks"].as_array().unwrap()
    }
}

/// Whether a text is of a pattern in which `*` is any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| glob(after, &rest[at..]))
        }),
    }
}

#[test]
fn the_bootstrap_file_is_taken_and_is_what_the_plan_speaks_of() {
    let (plan, file) = (Plan::read(), read("bootstrap.json"));
    on_each_database_with(settings, async |server: Server| {
        assert_eq!(server.app.bootstrap.warnings, Vec::<String>::new());
        for (member, method) in [
            ("client", "client_secret_basic"),
            ("client2", "client_secret_basic"),
            ("client_secret_post", "client_secret_post"),
        ] {
            let Registered { id, secret } = plan.client(member);
            let written = file["clients"].as_array().unwrap().iter().find(|client| client["client_id"] == id.as_str());
            assert_eq!(written.unwrap()["client_secret"], secret.as_str());
            assert!(secret.len() >= 32 && secret.contains("for-tests-only"), "{secret}");
            let client = server.admin_get(&format!("/admin/v1/clients/{id}")).await.body;
            assert_eq!(client["redirect_uris"], serde_json::json!([plan.callback()]));
            assert_eq!(client["post_logout_redirect_uris"], serde_json::json!([plan.after_logout()]));
            assert_eq!(
                (&client["token_endpoint_auth_method"], &client["require_pkce"]),
                (&method.into(), &false.into())
            );
            assert_eq!(client["scope"], "openid profile email address phone offline_access");
        }
        let user = &file["users"][0];
        let typed: BTreeSet<&str> = ["username", "password"].map(|name| user[name].as_str().unwrap()).into();
        let browser = plan.all["browser"][0]["tasks"][0]["commands"].as_array().unwrap();
        let by_plan = browser.iter().filter(|command| command[0] == "text").map(|command| command[3].as_str().unwrap());
        assert_eq!(by_plan.collect::<BTreeSet<_>>(), typed);
        let told = server.admin_get("/admin/v1/users?username=alice").await.body["items"][0].clone();
        for name in names(user) {
            assert!(name == "password" || told[name] == user[name], "{name}: {told}");
        }
        // A second start finds everything as it is.
        let server = server.restart().await;
        assert_eq!(server.app.bootstrap.warnings, Vec::<String>::new());
    });
}

#[test]
fn what_the_plan_overrides_is_a_module_and_its_patterns_are_addresses_of_ours_or_the_suites() {
    let plan = Plan::read();
    let overrides = plan.all["override"].as_object().unwrap();
    assert!(overrides.keys().all(|module| module.starts_with("oidcc-")), "{overrides:?}");
    let parts = overrides.values().map(|module| &module["browser"]).chain([&plan.all["browser"]]);
    for part in parts.flat_map(|browser| browser.as_array().unwrap()) {
        let tasks = part["tasks"].as_array().unwrap();
        for pattern in tasks.iter().chain([part]).map(|task| task["match"].as_str().unwrap()) {
            // Anything looser would match a request that carries the callback in its address.
            assert!(
                pattern.starts_with(plan.issuer()) || pattern.starts_with("https://localhost.emobix.co.uk:8443/test/")
            );
        }
        let known = ["text", "click", "wait"];
        for command in tasks.iter().filter_map(|task| task["commands"].as_array()).flatten() {
            assert!(known.contains(&command[0].as_str().unwrap()), "{command}");
        }
    }
    assert!(glob("https://a/*/callback*", "https://a/b/c/callback?x") && !glob("https://a/*", "http://a/"));
}
