//! `private_key_jwt` and `client_secret_jwt`: what is advertised works, what is wrong is told, and nothing counts twice.

use std::collections::BTreeSet;
use std::time::Duration;

use josekit::jws::HS256;
use serde_json::{Value, json};

use crate::support::assertions::{ClientKey, ISSUER, jws, key_set, keyed};
use crate::support::{Database, PASSWORD, Registered, Reply, Server, block_on, on_each_database};

#[track_caller]
fn is_refused(reply: &Reply, word: &str) {
    reply.is_error(401, "invalid_client");
    assert!(reply.body["error_description"].as_str().unwrap().contains(word), "{word}: {}", reply.text);
}

/// What the audit trail says of the latest failure.
async fn latest_reason(server: &Server) -> Value {
    let reply = server.admin_get("/admin/v1/audit?type=client_auth_failed&order=desc&limit=1").await;
    reply.is(200);
    reply.body["items"][0]["detail"]["reason"].clone()
}

fn names(metadata: &Value, member: &str) -> Vec<String> {
    metadata[member].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_advertised_method_and_algorithm_is_taken_at_its_endpoint() {
    block_on(async {
        let server = Server::sqlite().await;
        let metadata = server.get("/.well-known/oauth-authorization-server").await.body;
        let (rsa, ec) = (ClientKey::rsa("r"), ClientKey::ec("e"));
        server.signing_app("signing", json!({ "jwks": key_set(&[&rsa, &ec]) })).await;
        let made = server.app(json!({ "client_id": "keyed", "token_endpoint_auth_method": "client_secret_jwt" })).await;
        let basic = server.web_app().await;
        let post = server.app(json!({ "client_id": "post", "token_endpoint_auth_method": "client_secret_post" })).await;
        let public = json!({ "client_id": "spa", "token_endpoint_auth_method": "none", "grant_types": ["password"] });
        server.app(public).await;

        for (endpoint, path) in
            [("token", "/oauth2/token"), ("introspection", "/oauth2/introspect"), ("revocation", "/oauth2/revoke")]
        {
            let form: &[_] = match endpoint {
                "token" => &[("grant_type", "client_credentials")],
                _ => &[("token", "unknown")],
            };
            let mut unused: BTreeSet<_> =
                names(&metadata, &format!("{endpoint}_endpoint_auth_signing_alg_values_supported"))
                    .into_iter()
                    .collect();
            let algs: Vec<String> = unused.iter().cloned().collect();
            for method in names(&metadata, &format!("{endpoint}_endpoint_auth_methods_supported")) {
                match method.as_str() {
                    "client_secret_basic" => server.form(path, Some((&basic.id, &basic.secret)), form).await.is(200),
                    "client_secret_post" => {
                        let shown = [("client_id", post.id.as_str()), ("client_secret", &post.secret)];
                        server.form(path, None, &[&shown, form].concat()).await.is(200);
                    }
                    "none" => {
                        let login = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
                        let form = if endpoint == "token" { &login } else { form };
                        server.form(path, None, &[&[("client_id", "spa")], form].concat()).await.is(200);
                    }
                    "client_secret_jwt" => {
                        let assertion = keyed(&made.secret, &server.claims_of(&made.id));
                        server.asserted(path, &assertion, form).await.is(200);
                        unused.remove("HS256");
                    }
                    "private_key_jwt" => {
                        for alg in algs.iter().filter(|alg| *alg != "HS256") {
                            let key = if alg == "ES256" { &ec } else { &rsa };
                            let assertion = key.sign(alg, &server.claims_of("signing"));
                            server.asserted(path, &assertion, form).await.is(200);
                            unused.remove(alg);
                        }
                    }
                    other => panic!("{other} is advertised and not known to this test"),
                }
            }
            assert!(unused.is_empty(), "advertised at {path}, and of no use: {unused:?}");
        }
    });
}

#[test]
fn what_an_assertion_says_is_judged_and_told() {
    on_each_database(async |server: Server| {
        let key = ClientKey::ec("e");
        server.signing_app("web", json!({ "jwks": key_set(&[&key]) })).await;
        let now = server.clock_seconds();
        let with = |name: &str, value: Value| {
            let mut claims = server.claims_of("web");
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.into(), value),
            };
            key.sign("ES256", &claims)
        };
        for good in [
            with("aud", json!(ISSUER)),
            with("aud", json!(format!("{ISSUER}/oauth2/token"))),
            with("aud", json!(["https://other.example", ISSUER])),
            with("nbf", json!(now + 8)),
            with("iat", Value::Null),
            with("exp", json!(now + 3600)),
            with("exp", json!(now - 30)),
        ] {
            server.token_by(&good).await.is(200);
        }
        for (bad, reason, word) in [
            (with("aud", json!("https://other.example")), "aud", ISSUER),
            (with("aud", json!(format!("{ISSUER}/oauth2/introspect"))), "aud", ISSUER),
            (with("aud", Value::Null), "aud", "missing"),
            (with("exp", json!(now - 300)), "exp", "expired"),
            (with("exp", json!(now + 7200)), "exp", "hour"),
            (with("exp", json!(1e30)), "exp", "type"),
            (with("exp", Value::Null), "exp", "missing"),
            (with("nbf", json!(now + 61)), "nbf", "future"),
            (with("iat", json!(now + 61)), "iat", "future"),
            (with("sub", Value::Null), "sub", "missing"),
            (with("iss", json!("other")), "iss", "differ"),
            (with("jti", Value::Null), "jti", "missing"),
            (with("jti", json!("j".repeat(257))), "jti", "256"),
            ("no.jwt".into(), "malformed", "compact"),
        ] {
            let refused = server.token_by(&bad).await;
            is_refused(&refused, word);
            assert_eq!(latest_reason(&server).await, reason, "{}", refused.text);
        }
        let introspected = with("aud", json!(format!("{ISSUER}/oauth2/introspect")));
        server.asserted("/oauth2/introspect", &introspected, &[("token", "x")]).await.is(200);
    });
}

#[test]
fn nobody_signs_for_another_client() {
    on_each_database(async |server: Server| {
        let (rsa, other) = (ClientKey::rsa("key"), ClientKey::rsa("key"));
        server
            .signing_app("web", json!({ "jwks": key_set(&[&rsa]), "token_endpoint_auth_signing_alg": "PS256" }))
            .await;
        server.signing_app("other", json!({ "jwks": key_set(&[&other]) })).await;
        server.app(json!({ "client_id": "basic" })).await;
        let claims = || server.claims_of("web");
        server.token_by(&rsa.sign("PS256", &claims())).await.is(200);

        is_refused(&server.token_by(&other.sign("PS256", &claims())).await, "signature");
        is_refused(&server.token_by(&rsa.sign("RS256", &claims())).await, "alg");
        let header = |alg: &str| json!({ "alg": alg, "kid": "key" });
        is_refused(&server.token_by(&rsa.sign_as(&header("PS256"), "RS256", &claims())).await, "signature");
        let renamed = json!({ "alg": "PS256", "kid": "other" });
        is_refused(&server.token_by(&rsa.sign_as(&renamed, "PS256", &claims())).await, "kid");
        let access = json!({ "alg": "PS256", "kid": "key", "typ": "at+jwt" });
        is_refused(&server.token_by(&rsa.sign_as(&access, "PS256", &claims())).await, "typ");

        // What everybody can read is nobody's secret.
        for public in [rsa.public().to_string(), rsa.public()["n"].as_str().unwrap().to_owned()] {
            let forged = jws(&header("HS256"), &claims(), &HS256.signer_from_bytes(public.as_bytes()).unwrap());
            is_refused(&server.token_by(&forged).await, "alg");
        }
        let signed = rsa.sign_as(&header("none"), "PS256", &claims());
        is_refused(&server.token_by(&signed[..=signed.rfind('.').unwrap()]).await, "alg");
        // One that has no key here, one that proves itself in another way, and one that is not there.
        for id in ["nobody", "basic"] {
            is_refused(&server.token_by(&rsa.sign("PS256", &server.claims_of(id))).await, "unknown client");
        }
        let failures = server.audit("client_auth_failed").await;
        assert!(failures.iter().any(|event| event["client_id"] == "web" && event["detail"]["reason"] == "signature"));
    });
}

#[test]
fn two_proofs_in_one_request_are_refused() {
    on_each_database(async |server: Server| {
        let key = ClientKey::ec("e");
        server.signing_app("web", json!({ "jwks": key_set(&[&key]) })).await;
        let assertion = key.sign("ES256", &server.claims_of("web"));
        let grant = ("grant_type", "client_credentials");
        let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let own = ("client_assertion", assertion.as_str());
        for (client, form) in [
            (Some(("web", "x")), &[grant, kind, own][..]),
            (None, &[grant, kind, own, ("client_id", "web"), ("client_secret", "x")]),
            (None, &[grant, kind, own, ("client_id", "other")]),
            (None, &[grant, own]),
            (None, &[grant, kind]),
        ] {
            server.form("/oauth2/token", client, form).await.is_error(400, "invalid_request");
        }
        let saml = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer");
        is_refused(&server.form("/oauth2/token", None, &[grant, saml, own]).await, "jwt-bearer");
        // None of these has used it up.
        server.form("/oauth2/token", None, &[grant, kind, own, ("client_id", "web")]).await.is(200);
    });
}

#[test]
fn an_assertion_counts_once_however_many_try() {
    on_each_database(async |server: Server| {
        let key = ClientKey::ec("e");
        server.signing_app("web", json!({ "jwks": key_set(&[&key]) })).await;
        let assertion = key.sign("ES256", &server.claims_of("web"));
        let answers = server.at_once(64, async |server| server.token_by(&assertion).await).await;
        let (good, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((good.len(), refused.len()), (1, 63));
        refused.iter().for_each(|reply| is_refused(reply, "used before"));
        // After a restart, at another endpoint, and when it has nearly expired.
        let server = server.restart().await;
        is_refused(&server.token_by(&assertion).await, "used before");
        is_refused(&server.asserted("/oauth2/revoke", &assertion, &[("token", "x")]).await, "used before");
        server.clock.advance(Duration::from_secs(119));
        latchkey::jobs::sweep(server.app.clone()).await.unwrap();
        is_refused(&server.token_by(&assertion).await, "used before");
        assert_eq!(latest_reason(&server).await, "replayed");
        server.clock.advance(Duration::from_secs(1));
        is_refused(&server.token_by(&assertion).await, "expired");
    });
}

#[test]
fn an_assertion_counts_once_on_two_nodes() {
    block_on(async {
        let Ok(postgres) = std::env::var("LATCHKEY_TEST_POSTGRES") else {
            println!("skipped: PostgreSQL (LATCHKEY_TEST_POSTGRES is not set)");
            return;
        };
        let server = Server::start_with(Database::postgres(&postgres).await, |_| {}).await;
        let key = ClientKey::ec("e");
        server.signing_app("web", json!({ "jwks": key_set(&[&key]) })).await;
        let other = server.another_node().await;
        for _ in 0..10 {
            let assertion = key.sign("ES256", &server.claims_of("web"));
            let race = async |node: &Server| node.at_once(8, async |node| node.token_by(&assertion).await.status).await;
            let (here, there) = tokio::join!(race(&server), race(&other));
            let good = here.iter().chain(&there).filter(|status| **status == 200).count();
            assert_eq!(good, 1, "{here:?} {there:?}");
        }
    });
}

#[test]
fn a_secret_that_signs_is_sealed_and_follows_its_method() {
    on_each_database(async |server: Server| {
        let chosen = "a-secret-that-a-person-chose-0123456789";
        let keyed_app =
            json!({ "client_id": "web", "token_endpoint_auth_method": "client_secret_jwt", "client_secret": chosen });
        server.app(keyed_app).await;
        let proves = async |secret: &str| server.token_by(&keyed(secret, &server.claims_of("web"))).await;
        let shows = async |secret: &str| {
            let client = Registered { id: "web".into(), secret: secret.into() };
            server.token(&client, &[("grant_type", "client_credentials")]).await
        };
        proves(chosen).await.is(200);
        is_refused(&proves("another-secret-that-a-person-chose-0123").await, "signature");
        shows(chosen).await.is_error(401, "invalid_client");

        let rotated = server.admin_post("/admin/v1/clients/web/secret", json!({ "overlap": "1h" })).await;
        rotated.is(200);
        let second = rotated.body["client_secret"].as_str().unwrap().to_owned();
        proves(&second).await.is(200);
        proves(chosen).await.is(200);
        server.clock.advance(Duration::from_secs(3600));
        is_refused(&proves(chosen).await, "signature");

        let patch = async |method: &str| {
            let body = json!({ "token_endpoint_auth_method": method });
            let patched = server.admin_patch("/admin/v1/clients/web", body).await;
            patched.is(200);
            patched.body["client_secret"].as_str().map(str::to_owned)
        };
        let third = patch("client_secret_basic").await.expect("a hash cannot be made of what was sealed for signing");
        shows(&third).await.is(200);
        shows(&second).await.is_error(401, "invalid_client");
        is_refused(&proves(&third).await, "unknown client");
        assert_eq!(patch("client_secret_post").await, None, "it is kept in the same way");
        let fourth = patch("client_secret_jwt").await.expect("a hash cannot be unsealed");
        proves(&fourth).await.is(200);
        is_refused(&proves(&third).await, "signature");
        assert_eq!(patch("client_secret_jwt").await, None, "nothing has changed");

        let server = server.rotate_master_key().await;
        server.token_by(&keyed(&fourth, &server.claims_of("web"))).await.is(200);
        let dump = server.database().dump();
        for secret in [chosen, &second, &fourth] {
            let stands = |needle: &str| dump.windows(needle.len()).any(|window| window == needle.as_bytes());
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!stands(secret) && !stands(&hex), "a secret stands in the database");
        }
        let events = server.audit("master_key_rotated").await;
        assert!(events.iter().any(|event| event["client_id"] == "web"), "{events:?}");
    });
}

#[test]
fn guesses_at_a_chosen_secret_are_throttled() {
    on_each_database(async |server: Server| {
        let app = |id: &str, secret: Value| json!({ "client_id": id, "token_endpoint_auth_method": "client_secret_jwt", "client_secret": secret });
        server.app(app("chosen", json!("a-secret-that-a-person-chose-0123456789"))).await;
        let drawn = server.app(app("drawn", Value::Null)).await;
        let guess = "a-guess-of-as-many-characters-as-it-takes";
        for _ in 0..20 {
            is_refused(&server.token_by(&keyed(guess, &server.claims_of("chosen"))).await, "signature");
        }
        let slowed = server.token_by(&keyed(guess, &server.claims_of("chosen"))).await;
        slowed.is_error(429, "temporarily_unavailable");
        assert!(!slowed.header("retry-after").is_empty());
        server.token_by(&keyed(&drawn.secret, &server.claims_of("drawn"))).await.is(200);
        assert_eq!(server.audit("client_auth_failed").await.len(), 20, "a flood is no news");
    });
}

#[test]
fn keys_are_registered_shown_and_refused_with_reasons() {
    on_each_database(async |server: Server| {
        let (rsa, ec) = (ClientKey::rsa("r"), ClientKey::ec("e"));
        let made = server.signing_app("web", json!({ "jwks": key_set(&[&rsa, &ec]) })).await;
        assert!(made.body.get("client_secret").is_none() && made.body["secrets"] == json!([]), "{}", made.text);
        assert_eq!(made.body["jwks"]["keys"][0]["n"], rsa.public()["n"]);
        assert_eq!(made.body["jwks"]["keys"][1]["kid"], "e");
        for (keys, word) in [
            (json!([rsa.private()]), "private member"),
            (json!([{ "kty": "oct", "k": "c2VjcmV0" }]), "symmetric"),
            (json!([ec.public(), ec.public()]), "kid"),
            (json!(vec![ec.public(); 21]), "20"),
            (json!([]), "no key"),
        ] {
            let refused = server.admin_patch("/admin/v1/clients/web", json!({ "jwks": { "keys": keys } })).await;
            refused.is_error(400, "invalid_client_metadata");
            assert!(refused.body["error_description"].as_str().unwrap().contains(word), "{word}: {}", refused.text);
        }
        let secret = server.admin_post("/admin/v1/clients/web/secret", json!({})).await;
        secret.is_error(400, "invalid_client_metadata");

        let login = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
        server.user("alice").await;
        let tokens = server.asserted("/oauth2/token", &ec.sign("ES256", &server.claims_of("web")), &login).await;
        tokens.is(200);
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh())];
        server.asserted("/oauth2/token", &ec.sign("ES256", &server.claims_of("web")), &refresh).await.is(200);

        server.admin_patch("/admin/v1/clients/web", json!({ "jwks": key_set(&[&rsa]) })).await.is(200);
        is_refused(&server.token_by(&ec.sign("ES256", &server.claims_of("web"))).await, "kid");
        server.admin_patch("/admin/v1/clients/web", json!({ "disabled": true })).await.is(200);
        let disabled = server.token_by(&rsa.sign("RS256", &server.claims_of("web"))).await;
        disabled.is_error(400, "unauthorized_client");
    });
}

#[test]
fn a_client_that_signs_is_there_from_the_first_start_on() {
    block_on(async {
        let key = ClientKey::ec("e");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("people.json");
        let client = json!({ "client_id": "web", "grant_types": ["client_credentials"], "scope": "read",
                             "token_endpoint_auth_method": "private_key_jwt", "jwks": key_set(&[&key]) });
        std::fs::write(&file, json!({ "clients": [client] }).to_string()).unwrap();
        let change = |settings: &mut latchkey::config::Settings| settings.bootstrap.file = Some(file.clone());
        let server = Server::start_with(Database::sqlite(), change).await.restart().await;
        assert_eq!(server.app.bootstrap.warnings, Vec::<String>::new());
        server.token_by(&key.sign("ES256", &server.claims_of("web"))).await.is(200);
    });
}
