//! What the modules of the OpenID Foundation's certification plans *Config*, *Basic*, *Form Post Basic* and *RP-Initiated
//! Logout* demand of a provider: one test per module, named after it, on both databases. Those of *Basic* run once for each
//! response mode.
//!
//! The service starts from `tests/conformance/bootstrap.json`, and a browser goes through its pages as
//! `tests/conformance/plan.json` has the suite's browser do: the same clients, addresses, patterns and element names.

mod errors;
mod flows;
mod logins;
mod logouts;
mod plan;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use josekit::jwk::Jwk;
use josekit::jws::RS256;
use serde_json::{Value, json};

use self::plan::{Plan, glob};
use crate::support::browser::{Browser, Page};
use crate::support::people::{claims, header};
use crate::support::{Registered, Reply, Server, on_each_database_with};

/// One run of one module.
struct Run<'a> {
    server: &'a Server,
    plan: &'a Plan,
    module: &'a str,
    form_post: bool,
    browser: Browser<'a>,
}

/// What came of a whole login.
struct Done {
    tokens: Reply,
    /// As text, and what it says.
    id_token: (String, Value),
}

/// Runs a module as the plans *Basic* and *Form Post Basic* do.
fn module(name: &str, test: impl AsyncFn(Run<'_>)) {
    module_of(&[false, true], name, test);
}

/// Runs a module with `form_post` or without.
fn module_of(modes: &[bool], name: &str, test: impl AsyncFn(Run<'_>)) {
    let plan = Plan::read();
    on_each_database_with(plan::settings, async |server: Server| {
        for form_post in modes.iter().copied() {
            println!("{name}, {}", if form_post { "form_post" } else { "query" });
            let browser = Browser::new(&server);
            test(Run { server: &server, plan: &plan, module: name, form_post, browser }).await;
        }
    });
}

impl<'a> Run<'a> {
    fn client(&self, member: &str) -> Registered {
        self.plan.client(member)
    }

    /// The same module, in another browser.
    fn elsewhere(&self) -> Run<'a> {
        Run { browser: Browser::new(self.server), ..*self }
    }

    /// The path of an authorization request of the first client; an empty value takes a parameter away.
    fn request(&self, changes: &[(&str, &str)]) -> String {
        let id = self.client("client").id;
        let callback = self.plan.callback();
        let good = [
            ("client_id", id.as_str()),
            ("redirect_uri", callback.as_str()),
            ("scope", "openid"),
            ("state", "state of the suite"),
            ("nonce", "nonce-of-the-suite"),
            ("response_type", "code"),
            ("response_mode", if self.form_post { "form_post" } else { "" }),
        ];
        let kept = good.into_iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        let all = kept.chain(changes.iter().copied()).filter(|(_, value)| !value.is_empty());
        let url = reqwest::Url::parse_with_params("http://x/oauth2/authorize", all).unwrap();
        format!("{}?{}", url.path(), url.query().unwrap())
    }

    /// Sends the browser there; it does on each page what the plan has it do. Answers where it ends.
    async fn visit(&self, path: &str) -> Page {
        let begun = self.browser.get(path).await;
        let mut page = self.browser.follow(begun).await;
        for task in self.plan.tasks(self.module, path) {
            let (pattern, at) = (task["match"].as_str().unwrap(), self.address(&page));
            if !glob(pattern, &at) {
                assert_eq!(task["optional"], true, "interrupted: {pattern} is expected, {at} is there: {}", page.html);
                continue;
            }
            page = self.work(task, page).await;
        }
        page
    }

    /// What the address bar of the browser says. A form that posts itself has been posted.
    fn address(&self, page: &Page) -> String {
        match &page.location {
            Some(location) => location.clone(),
            None if page.html.contains("<script>document.forms[0].submit()</script>") => page.action(),
            None => self.plan.issuer().to_owned() + &page.path,
        }
    }

    async fn work(&self, task: &Value, mut page: Page) -> Page {
        let mut typed: Vec<(&str, &str)> = Vec::new();
        for command in task["commands"].as_array().into_iter().flatten() {
            let word = |at: usize| command[at].as_str().unwrap();
            match (word(0), word(1)) {
                ("text", "name") => {
                    assert!(page.html.contains(&format!(" name=\"{}\"", word(2))), "{}", page.html);
                    typed.push((word(2), word(3)));
                }
                ("click", "id") => {
                    let Some((_, button)) = page.html.split_once(&format!("<button id=\"{}\"", word(2))) else {
                        assert_eq!(command[3], "optional", "{command}: {}", page.html);
                        continue;
                    };
                    let button = button.split_once('>').unwrap().0;
                    let part = |name: &str| {
                        button.split_once(&format!(" {name}=\"")).map(|(_, rest)| rest.split_once('"').unwrap().0)
                    };
                    let said = part("name").map(|name| (name.to_owned(), part("value").unwrap_or_default().to_owned()));
                    let said = said.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                    let fields: Vec<(&str, &str)> = typed.drain(..).chain(said).collect();
                    page = self.browser.submit(&page, &fields).await;
                }
                // The suite's own page at the callback, where it is not the text of one of ours.
                ("wait", "id") => {}
                ("wait", "xpath") => {
                    assert!(word(4) == ".*" || page.html.contains(word(4)), "{command}: {}", page.html)
                }
                other => panic!("{other:?} is no command of ours"),
            }
        }
        page
    }

    /// What the client is answered with: in the query, or by a form and nothing in the query.
    #[track_caller]
    fn answer(&self, page: &Page) -> BTreeMap<String, String> {
        let callback = self.plan.callback();
        let parameters = if self.form_post { page.posted_to(&callback) } else { page.sent_to(&callback) };
        assert_eq!(parameters.get("iss").map(String::as_str), Some(self.plan.issuer()));
        assert_eq!(parameters.get("state").map(String::as_str), Some("state of the suite"));
        parameters
    }

    /// The error that the client is answered with.
    #[track_caller]
    fn error(&self, page: &Page) -> String {
        let answer = self.answer(page);
        assert!(!answer.contains_key("code"), "{answer:?}");
        answer["error"].clone()
    }

    /// A code, which is long and hard to guess.
    #[track_caller]
    fn code(&self, page: &Page) -> String {
        let answer = self.answer(page);
        assert!(!answer.contains_key("error"), "{answer:?}");
        let code = answer["code"].clone();
        assert!(entropy(&code) >= 96.0, "{code}: {}", entropy(&code));
        code
    }

    async fn exchange(&self, client: &Registered, code: &str) -> Reply {
        let callback = self.plan.callback();
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", callback.as_str())];
        self.server.token(client, &form).await
    }

    /// The whole of a login, from the request with these changes to tokens that have been looked at.
    async fn happy(&self, changes: &[(&str, &str)]) -> Done {
        let page = self.visit(&self.request(changes)).await;
        let client = self.client("client");
        let tokens = self.exchange(&client, &self.code(&page)).await;
        let nonce = changes.iter().find(|(name, _)| *name == "nonce").map_or("nonce-of-the-suite", |(_, value)| value);
        self.done(&client, tokens, nonce).await
    }

    /// Looks at an answer of the token endpoint as every module does.
    async fn done(&self, client: &Registered, tokens: Reply, nonce: &str) -> Done {
        tokens.is(200);
        assert!(tokens.header("content-type").starts_with("application/json"), "{:?}", tokens.headers);
        assert_eq!((tokens.header("cache-control"), tokens.header("pragma")), ("no-store", tokens.header("pragma")));
        assert!(tokens.body["token_type"].as_str().unwrap().eq_ignore_ascii_case("bearer"), "{}", tokens.text);
        assert!(tokens.body["expires_in"].as_i64().unwrap() > 0, "{}", tokens.text);
        assert!(entropy(&tokens.access()) >= 96.0);
        let text = tokens.body["id_token"].as_str().unwrap().to_owned();
        let said = self.verified(&text).await;
        let now = self.server.clock_seconds();
        assert_eq!((said["iss"].as_str(), said["aud"].as_str()), (Some(self.plan.issuer()), Some(client.id.as_str())));
        assert!(said["exp"].as_i64().unwrap() > now && (said["iat"].as_i64().unwrap() - now).abs() < 300, "{said}");
        assert_eq!(said["nonce"].as_str().unwrap_or_default(), nonce);
        assert!(said["sub"].as_str().is_some_and(|sub| !sub.is_empty() && sub.len() <= 255), "{said}");
        let known = ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"];
        let unasked: Vec<_> = said.as_object().unwrap().keys().filter(|name| !known.contains(&name.as_str())).collect();
        assert!(unasked.is_empty(), "{unasked:?}");
        Done { tokens, id_token: (text, said) }
    }

    /// What an ID token says, after its RS256 signature was checked with the published key of its `kid`.
    async fn verified(&self, token: &str) -> Value {
        let head = header(token);
        assert_eq!(head["alg"], "RS256");
        let keys = self.server.get("/.well-known/jwks.json").await.body;
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]).expect("a known kid");
        let key = Jwk::from_bytes(key.to_string()).unwrap();
        let payload = josekit::jws::deserialize_compact(token, &RS256.verifier_from_jwk(&key).unwrap()).unwrap().0;
        assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), claims(token));
        claims(token)
    }

    /// What userinfo tells, of the user that the ID token names.
    async fn userinfo(&self, done: &Done) -> Value {
        let told = self.server.get_as(&done.tokens.access(), "/oauth2/userinfo").await;
        told.is(200);
        assert!(told.header("content-type").starts_with("application/json"), "{:?}", told.headers);
        assert_eq!(told.body["sub"], done.id_token.1["sub"]);
        told.body
    }
}

/// Bits in a text, by how often it has each character (Shannon).
fn entropy(text: &str) -> f64 {
    let mut counts: BTreeMap<char, f64> = BTreeMap::new();
    text.chars().for_each(|character| *counts.entry(character).or_default() += 1.0);
    #[expect(clippy::cast_precision_loss, reason = "a text is short")]
    let length = text.len() as f64;
    counts.values().map(|count| -count * (count / length).log2()).sum()
}

/// The names in an object.
fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The plan *Config*.
#[test]
fn oidcc_discovery_endpoint_verification() {
    let plan = Plan::read();
    on_each_database_with(plan::settings, async |server: Server| {
        let url = plan.all["server"]["discoveryUrl"].as_str().unwrap();
        let path = url.strip_prefix(plan.issuer()).unwrap();
        let told = server.get(path).await;
        told.is(200);
        assert!(told.header("content-type").starts_with("application/json"), "{:?}", told.headers);
        let metadata = told.body;
        assert_eq!(metadata["issuer"].as_str(), Some(plan.issuer()));
        assert_eq!(path, "/.well-known/openid-configuration");
        let endpoints =
            metadata.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri");
        let endpoints: Vec<_> = endpoints.collect();
        assert!(endpoints.len() >= 6, "{endpoints:?}");
        for (name, endpoint) in endpoints {
            assert!(endpoint.as_str().unwrap().starts_with("https://"), "{name}: {endpoint}");
        }
        let lists = |name: &str, value: &str| metadata[name].as_array().is_some_and(|all| all.contains(&json!(value)));
        assert!(lists("response_types_supported", "code"));
        assert!(lists("subject_types_supported", "public"));
        assert!(lists("id_token_signing_alg_values_supported", "RS256"));
        for scope in ["openid", "profile", "email", "address", "phone", "offline_access"] {
            assert!(lists("scopes_supported", scope), "{scope}");
        }
        for claim in ["sub", "name", "email", "address", "phone_number", "auth_time"] {
            assert!(lists("claims_supported", claim), "{claim}");
        }
        for (name, mode) in [("response_modes_supported", "form_post"), ("code_challenge_methods_supported", "S256")] {
            assert!(lists(name, mode), "{name}");
        }
        for method in ["client_secret_basic", "client_secret_post"] {
            assert!(lists("token_endpoint_auth_methods_supported", method), "{method}");
        }
        let at = metadata["jwks_uri"].as_str().unwrap().strip_prefix(plan.issuer()).unwrap();
        let keys = server.get(at).await.body["keys"].as_array().unwrap().clone();
        let kids: BTreeSet<_> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert!(!keys.is_empty() && kids.len() == keys.len(), "{keys:?}");
        for key in &keys {
            assert!(["RSA", "EC"].contains(&key["kty"].as_str().unwrap()) && key["use"] == "sig", "{key}");
            for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
                assert!(key.get(private).is_none(), "{private}");
            }
        }
    });
}
