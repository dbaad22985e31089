//! The program as a shell sees it: exit status, standard output, standard error, files.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

#[path = "support/certificates.rs"]
mod certificates;
#[path = "cli/import.rs"]
mod import;
#[path = "cli/tls.rs"]
mod tls;

/// The program in a directory of its own, with an environment of nothing but what is given.
fn latchkey(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    command.args(arguments).current_dir(place).env_clear().env("TMPDIR", place).stdin(Stdio::null());
    command
}

fn run(place: &Path, arguments: &[&str]) -> Told {
    told(&latchkey(place, arguments).output().unwrap())
}

#[derive(Debug)]
struct Told {
    status: Option<i32>,
    out: String,
    err: String,
}

fn told(output: &Output) -> Told {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Told { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_check_tells_every_fault_and_exits_2() {
    let place = place();
    fs::write(place.path().join("latchkey.toml"), "[server]\nlisten = 'x'\n[tokens]\naccess_tll = '1h'\n").unwrap();
    let checked =
        told(&latchkey(place.path(), &["config", "check"]).env("LATCHKEY__PASSWORDS__QUEUE", "0").output().unwrap());
    assert_eq!((checked.status, checked.out.as_str()), (Some(2), ""), "{checked:?}");
    for part in ["3 faults", "server.listen = ", "did you mean tokens.access_ttl?", "LATCHKEY__PASSWORDS__QUEUE"] {
        assert!(checked.err.contains(part), "{part} is not in {}", checked.err);
    }
    // Every command refuses what `check` refuses.
    for arguments in [&["serve"][..], &["migrate"], &["doctor"], &["config", "print"], &["client", "list"]] {
        assert_eq!(run(place.path(), arguments).status, Some(2), "{arguments:?}");
    }
}

#[test]
fn paths_that_no_client_can_serve_are_told_and_not_served() {
    let place = place();
    let config = "[server]\nlisten = '127.0.0.1:0'\nissuer = 'http://127.0.0.1:8420'\n[bootstrap]\nadmin_secret = 'a-secret-of-more-than-thirty-two-bytes'\n\
                  [[compat]]\nstyle = 'drf-jwt'\nclient_id = 'forum'\nobtain = '/api-token-auth/'\n";
    fs::write(place.path().join("latchkey.toml"), config).unwrap();
    let refused = run(place.path(), &["serve"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    for part in ["compat[0].client_id names \"forum\"", "register a public one by bootstrap.file"] {
        assert!(refused.err.contains(part), "{part} is not in {}", refused.err);
    }
}

#[test]
fn a_check_reads_the_keys_of_legacy_issuers_too() {
    let place = place();
    let issuer = |key: &str| {
        let text = format!(
            "[[legacy_issuers]]\nname = 'old'\nalgorithms = ['HS256']\n{key}\nuser_claim = 'sub'\nclients = ['web']\n\
             cut_off = 2999-01-01T00:00:00Z\n"
        );
        fs::write(place.path().join("latchkey.toml"), text).unwrap();
        run(place.path(), &["config", "check"])
    };
    let weak = issuer("secret = 'hunter2'");
    assert_eq!(weak.status, Some(0), "{weak:?}");
    assert!(weak.err.contains("warning: legacy_issuers[0]: the secret of old has 7 bytes"), "{weak:?}");
    assert!(!weak.err.contains("hunter2"), "{weak:?}");
    fs::write(place.path().join("secret"), "-----BEGIN PUBLIC KEY-----\n").unwrap();
    for (key, told) in [
        ("secret_file = 'nowhere'", "legacy_issuers[0].secret_file = \"nowhere\" cannot be read"),
        ("secret_file = 'secret'", "legacy_issuers[0].secret_file: it is a PEM, which is no secret"),
    ] {
        let refused = issuer(key);
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.err.contains(told), "{refused:?}");
        assert_eq!(run(place.path(), &["serve"]).status, Some(2), "nor does it serve");
    }
}

#[test]
fn what_is_printed_is_plain_masked_and_read_again() {
    let place = place();
    let mut command = latchkey(place.path(), &["config", "print"]);
    command.env("LATCHKEY__DATABASE__URL", "postgres://lk:hunter2@db/lk").env("LATCHKEY__TOKENS__ACCESS_TTL", "5m");
    let printed = told(&command.output().unwrap());
    assert_eq!((printed.status, printed.err.as_str()), (Some(0), ""));
    assert!(printed.out.contains("access_ttl = \"5m\""), "{}", printed.out);
    assert!(printed.out.contains("# environment LATCHKEY__TOKENS__ACCESS_TTL"), "{}", printed.out);
    assert!(!printed.out.contains("hunter2") && !printed.out.contains('\x1b'), "{}", printed.out);
    fs::write(place.path().join("latchkey.toml"), &printed.out).unwrap();
    assert_eq!(run(place.path(), &["config", "check"]).status, Some(0));
}

#[test]
fn unusable_arguments_exit_2_and_help_is_a_result() {
    let place = place();
    for arguments in [&["nonsense"][..], &["key", "rotate"], &["--config", "none.toml", "config", "check"], &[]] {
        let refused = run(place.path(), arguments);
        assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{arguments:?}: {refused:?}");
    }
    let help = run(place.path(), &["--help"]);
    assert_eq!((help.status, help.err.as_str()), (Some(0), ""));
    for command in [
        "serve",
        "demo",
        "config",
        "migrate",
        "migration",
        "openapi",
        "client",
        "user",
        "key",
        "session",
        "sign-in",
        "audit",
        "doctor",
    ] {
        assert!(help.out.contains(command), "{command}");
    }
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let place = place();
    let mut child =
        latchkey(place.path(), &["config", "print"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let left = told(&child.wait_with_output().unwrap());
    assert_eq!((left.status, left.err.as_str()), (Some(0), ""));
}

#[test]
fn a_command_without_a_server_fails_and_says_how_to_start_one() {
    let place = place();
    let mut command = latchkey(place.path(), &["client", "list", "--server", &format!("http://{}", free_address())]);
    let failed = told(&command.env("LATCHKEY_CLIENT_SECRET", "not-a-secret").output().unwrap());
    assert_eq!((failed.status, failed.out.as_str()), (Some(1), ""));
    assert!(failed.err.contains("nothing listens there") && failed.err.contains("latchkey serve"), "{}", failed.err);
    assert!(!failed.err.contains("not-a-secret"));
}

#[test]
fn migrate_makes_a_database_for_its_owner_alone_and_may_be_repeated() {
    let place = place();
    for _ in 0..2 {
        let migrated = run(place.path(), &["migrate"]);
        assert_eq!((migrated.status, migrated.out.as_str()), (Some(0), ""), "{migrated:?}");
    }
    let mode = fs::metadata(place.path().join("latchkey.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A running `latchkey serve`, killed where the test does not end it.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(place: &Path) -> Self {
        Self::start_with(place, &["serve"])
    }

    fn start_with(place: &Path, arguments: &[&str]) -> Self {
        let address = free_address();
        let child = latchkey(place, arguments)
            .env("LATCHKEY__SERVER__LISTEN", &address)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut served = Self { child, address };
        for _ in 0..1200 {
            if served.is_ready() {
                return served;
            }
            assert_eq!(served.child.try_wait().unwrap(), None, "it ended: {:?}", served.said());
            sleep(Duration::from_millis(50));
        }
        panic!("it is not ready after a minute: {:?}", served.said());
    }

    fn is_ready(&self) -> bool {
        self.ask("GET", "/health/ready", "").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The whole answer, headers and all; `None` where there is none.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).ok()?;
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The JSON body of a good answer.
    fn asked(&self, method: &str, path: &str, body: &str) -> serde_json::Value {
        let answer = self.ask(method, path, body).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// What it said until it was killed.
    fn said(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }

    /// Calls an admin command with the secret that the first start left behind.
    fn admin(&self, place: &Path, arguments: &[&str], input: &str) -> Told {
        let server = format!("http://{}", self.address);
        let mut command = latchkey(place, arguments);
        command.args(["--server", &server, "--secret-file", "keys/admin.secret"]);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        told(&child.wait_with_output().unwrap())
    }

    fn terminate(mut self) -> Told {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Told { status: self.child.wait().unwrap().code(), out, err }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json(told: &Told) -> serde_json::Value {
    assert_eq!(told.status, Some(0), "{told:?}");
    serde_json::from_str(&told.out).unwrap()
}

#[test]
fn a_server_is_administered_from_the_shell() {
    let place = place();
    let place = place.path();
    let served = Served::start(place);
    let secret = place.join("keys/admin.secret");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(secret).unwrap();

    let second = told(&latchkey(place, &["serve"]).output().unwrap());
    assert_eq!(second.status, Some(2), "{second:?}");
    assert!(second.err.contains("latchkey serve since"), "it says who holds the database: {second:?}");
    assert_eq!(run(place, &["migrate"]).status, Some(2));

    let keys = json(&served.admin(place, &["key", "list", "--json"], ""));
    assert!(keys["items"].as_array().unwrap().len() >= 4, "{keys}");
    let table = served.admin(place, &["key", "list"], "");
    assert!(table.out.starts_with("ALG") && table.out.contains("standby"), "{table:?}");

    let add = ["client", "add", "--client-id", "app", "--grant", "password,refresh_token", "--scope", "read", "--json"];
    let client = json(&served.admin(place, &[&add[..], &["--access-ttl", "5m"]].concat(), ""));
    assert_eq!(client["client_id"], "app");
    assert!(client["client_secret"].as_str().unwrap().len() >= 32);
    assert_eq!(json(&served.admin(place, &["client", "show", "app", "--json"], ""))["lifetimes"]["access_ttl"], "5m");
    let again = served.admin(place, &add, "");
    assert_eq!(again.status, Some(1));
    assert!(again.err.contains("conflict"), "{again:?}");
    let changed = served.admin(place, &["client", "update", "app", "--name", "App", "--json"], "");
    assert_eq!(json(&changed)["client_name"], "App");

    let add = ["client", "add", "--id", "web", "--grant", "authorization_code,refresh_token", "--redirect-uri"];
    let flags = "https://app.example.com/callback --redirect-uri http://127.0.0.1/callback --post-logout-redirect-uri \
                 https://app.example.com/ --backchannel-logout-uri https://app.example.com/logout --require-pkce false \
                 --response-mode form_post --id-token-alg ES256 --userinfo-alg RS256 --skip-consent true --client-uri \
                 https://app.example.com --policy-uri https://app.example.com/privacy --tos-uri \
                 https://app.example.com/terms --json";
    let web = json(&served.admin(place, &[&add[..], &flags.split_whitespace().collect::<Vec<_>>()].concat(), ""));
    let shown = json(&served.admin(place, &["client", "show", "web", "--json"], ""));
    for (member, value) in [
        ("redirect_uris", r#"["https://app.example.com/callback","http://127.0.0.1/callback"]"#),
        ("post_logout_redirect_uris", r#"["https://app.example.com/"]"#),
        ("backchannel_logout_uri", r#""https://app.example.com/logout""#),
        ("require_pkce", "false"),
        ("response_modes", r#"["form_post"]"#),
        ("id_token_signed_response_alg", r#""ES256""#),
        ("userinfo_signed_response_alg", r#""RS256""#),
        ("skip_consent", "true"),
        ("client_uri", r#""https://app.example.com""#),
        ("policy_uri", r#""https://app.example.com/privacy""#),
        ("tos_uri", r#""https://app.example.com/terms""#),
    ] {
        assert_eq!((web[member].to_string(), shown[member].to_string()), (value.into(), value.into()), "{member}");
    }
    let table = served.admin(place, &["client", "show", "web"], "");
    assert!(table.out.contains("https://app.example.com/logout"), "{table:?}");
    let update = ["client", "update", "web", "--redirect-uri", "http://app.example.com/callback"];
    let refused = served.admin(place, &update, "");
    assert_eq!(refused.status, Some(1));
    assert!(refused.err.contains("http is taken for loopback only"), "{refused:?}");
    let update = ["client", "update", "web", "--redirect-uri", "https://app.example.com/cb", "--skip-consent", "false"];
    let updated = json(&served.admin(place, &[&update[..], &["--json"]].concat(), ""));
    assert_eq!(updated["redirect_uris"].to_string(), r#"["https://app.example.com/cb"]"#);
    assert_eq!((&updated["skip_consent"], &updated["require_pkce"]), (&false.into(), &false.into()));
    // The key of RFC 7515 appendix A.3.
    let jwks = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    fs::write(place.join("jwks.json"), jwks).unwrap();
    let signs = ["--auth-method", "private_key_jwt", "--jwks", "jwks.json", "--auth-signing-alg", "ES256", "--json"];
    let signs = served.admin(place, &[&["client", "add", "--client-id", "signs"], &signs[..]].concat(), "");
    assert_eq!(json(&signs)["jwks"]["keys"][0]["kty"], "EC");
    let uri = ["client", "update", "signs", "--jwks-uri", "https://app.example.com/jwks.json", "--json"];
    let moved = json(&served.admin(place, &uri, ""));
    assert_eq!((moved.get("jwks"), moved["token_endpoint_auth_signing_alg"].as_str()), (None, Some("ES256")));
    let keyed = ["client", "update", "signs", "--auth-method", "client_secret_jwt", "--json", "--json-body", "-"];
    let keyed = json(&served.admin(place, &keyed, r#"{"token_endpoint_auth_signing_alg":null}"#));
    assert!(keyed["client_secret"].is_string(), "{keyed}");

    let operator = ["client", "add", "--client-id", "ops", "--grant", "client_credentials", "--scope", "admin:keys"];
    assert_eq!(served.admin(place, &operator, "").status, Some(0), "rights are handed out by who has them");
    let secret_of_ops = json(&served.admin(place, &["client", "secret", "ops", "--overlap", "0s", "--json"], ""));
    fs::write(place.join("ops.secret"), secret_of_ops["client_secret"].as_str().unwrap()).unwrap();
    let as_ops = |arguments: &[&str]| {
        let server = format!("http://{}", served.address);
        let last = ["--server", &server, "--as", "ops", "--secret-file", "ops.secret"];
        run(place, &[arguments, &last].concat())
    };
    assert_eq!(as_ops(&["key", "list"]).status, Some(0));
    let refused = as_ops(&["client", "list"]);
    assert_eq!(refused.status, Some(1));
    assert!(refused.err.contains("invalid_scope") && refused.err.contains("hint:"), "{refused:?}");

    let add = ["user", "add", "alice", "--claim", "email=a@example.com", "--external-id", "42", "--attribute"];
    let user = served.admin(place, &[&add[..], &["plan.name=gold", "--json"]].concat(), "wonderland\n");
    let user = json(&user);
    assert_eq!(user["email"], "a@example.com");
    assert_eq!((&user["external_id"], &user["attributes"]["plan"]["name"]), (&"42".into(), &"gold".into()));
    let update = ["user", "update", "alice", "--external-id", "", "--attribute", "plan.name=null", "--json"];
    let updated = json(&served.admin(place, &update, ""));
    assert_eq!((updated.get("external_id"), updated["attributes"].to_string().as_str()), (None, "{\"plan\":{}}"));
    assert!(user.get("password").is_none());
    assert_eq!(served.admin(place, &["user", "password", "alice"], "another one\n").status, Some(0));
    assert_eq!(json(&served.admin(place, &["user", "show", "alice", "--json"], ""))["sub"], user["sub"]);
    assert_eq!(served.admin(place, &["user", "logout", "alice"], "").status, Some(0));

    let report = json(&served.admin(place, &["migration", "--json"], ""));
    assert_eq!((&report["users"], &report["moved"], &report["left"]), (&1.into(), &1.into(), &0.into()), "{report}");
    let report = served.admin(place, &["migration"], "");
    assert!(report.out.contains("argon2id") && !report.out.contains("LEGACY ISSUER"), "{report:?}");

    let plan = served.admin(place, &["key", "rotate", "--alg", "ES256", "--mode", "now", "--force"], "");
    assert_eq!(plan.status, Some(0), "{plan:?}");
    let audit = json(&served.admin(place, &["audit", "list", "--limit", "3", "--json"], ""));
    assert_eq!(audit["items"].as_array().unwrap().len(), 3);
    assert_eq!(served.admin(place, &["session", "list"], "").status, Some(0));
    assert_eq!(served.admin(place, &["sign-in", "list", "--live"], "").status, Some(0));
    let nobody = served.admin(place, &["sign-in", "end", "AAAAAAAAAAAAAAAAAAAAAA"], "");
    assert!(nobody.status == Some(1) && nobody.err.contains("not_found"), "{nobody:?}");
    assert_eq!(served.admin(place, &["user", "delete", "alice"], "").status, Some(0));
    assert_eq!(served.admin(place, &["client", "delete", "app"], "").status, Some(0));
    let gone = served.admin(place, &["client", "show", "app"], "");
    assert_eq!(gone.status, Some(1));
    assert!(gone.err.contains("not_found"), "{gone:?}");

    let mut doctor = latchkey(place, &["doctor"]);
    let doctor = told(&doctor.env("LATCHKEY__SERVER__LISTEN", &served.address).output().unwrap());
    assert_eq!(doctor.status, Some(0), "{doctor:?}");
    assert!(doctor.out.contains("the server issues tokens"), "{doctor:?}");

    let ended = served.terminate();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.out.contains("/docs"), "it says where to look: {ended:?}");
    for text in [&ended.out, &ended.err] {
        assert!(!text.contains(secret.trim()), "the secret is in the log");
    }

    let recovered = run(place, &["admin", "recover"]);
    assert_eq!(recovered.status, Some(0), "{recovered:?}");
    assert_ne!(recovered.out, secret);
    fs::write(place.join("keys/admin.secret"), &recovered.out).unwrap();
    let rotated = run(place, &["key", "rotate-master"]);
    assert_eq!(rotated.status, Some(0), "{rotated:?}");
    let served = Served::start(place);
    assert_eq!(served.admin(place, &["key", "list"], "").status, Some(0));
    assert_eq!(served.terminate().status, Some(0));
}

#[test]
fn the_newcomers_path_walks_and_leaves_nothing_behind() {
    let place = place();
    let walked = run(place.path(), &["demo", "--once"]);
    assert_eq!(walked.status, Some(0), "{walked:?}");
    for step in ["login", "verify", "refresh", "lost answer", "rotate", "verify again", "introspect", "revoke"] {
        assert!(walked.out.contains(step), "{step} is not in {}", walked.out);
    }
    assert!(!walked.out.contains('\x1b'), "no colours where nobody looks");
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, Vec::<&OsStr>::new());
}

#[test]
fn the_committed_documents_are_what_the_code_says() {
    let place = place();
    let written = run(place.path(), &["openapi"]);
    assert_eq!(written.out.lines().count(), 4, "{written:?}");
    assert_eq!(run(place.path(), &["openapi", "--check"]).status, Some(0));
    fs::write(place.path().join("openapi/admin.yaml"), "other").unwrap();
    let differs = run(place.path(), &["openapi", "--check"]);
    assert_eq!(differs.status, Some(1));
    assert!(differs.err.contains("openapi/admin.yaml differs") && !differs.err.contains("public"), "{differs:?}");

    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi");
    let checked = run(place.path(), &["openapi", "--check", "--directory", committed.to_str().unwrap()]);
    assert_eq!(checked.status, Some(0), "{checked:?}");
}

/// Seconds since 1970 of the test clock's answer.
fn seconds(reading: &serde_json::Value) -> i64 {
    latchkey::domain::time::Timestamp::parse_rfc3339(reading["now"].as_str().unwrap()).unwrap().seconds()
}

#[test]
fn a_test_clock_moves_and_says_so_everywhere() {
    let place = place();
    let place = place.path();
    let served = Served::start_with(place, &["serve", "--test-clock"]);
    let before = served.asked("GET", "/test/clock", "");
    assert_eq!(before["ahead"], "0s");
    // A standby that waits to be ripe is ripe in an instant, and after a month the keys have moved along by themselves.
    let keys = json(&served.admin(place, &["key", "list", "--json"], ""));
    let moved = served.asked("POST", "/test/clock", r#"{"advance":"31d"}"#);
    assert!((seconds(&moved) - seconds(&before) - 31 * 86_400).abs() < 60, "{before} {moved}");
    let active = |keys: &serde_json::Value| -> Vec<String> {
        let keys =
            keys["items"].as_array().unwrap().iter().filter(|key| key["state"] == "active" && key["alg"] != "refresh");
        keys.filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect()
    };
    let later = json(&served.admin(place, &["key", "list", "--json"], ""));
    assert_eq!(active(&later).len(), active(&keys).len());
    assert!(active(&keys).iter().all(|kid| !active(&later).contains(kid)), "{keys} {later}");

    let answer = served.ask("GET", "/.well-known/jwks.json", "").unwrap();
    assert!(answer.to_ascii_lowercase().contains("latchkey-test-clock: 20"), "{answer}");
    let document = served.asked("GET", "/openapi.json", "");
    assert!(document["info"]["title"].as_str().unwrap().contains("TEST CLOCK"));
    assert!(document["paths"]["/test/clock"].is_object());
    for (body, said) in [
        (r#"{"advance":"-1s"}"#, "write a span"),
        (r#"{"to":"2020-01-01T00:00:00Z"}"#, "time goes forward alone"),
        (r#"{}"#, "give either"),
        (r#"{"advance":"99999d"}"#, "at the most"),
        (r#"{"advnace":"1s"}"#, "advnace"),
    ] {
        let refused = served.ask("POST", "/test/clock", body).unwrap();
        assert!(refused.starts_with("HTTP/1.1 400") && refused.contains(said), "{body}: {refused}");
    }

    let told = served.terminate();
    assert!(told.out.contains("TEST CLOCK") && told.err.contains("test clock"), "{told:?}");
    // A restart does not take time back, and the database is never served as a real one.
    let served = Served::start_with(place, &["serve", "--test-clock"]);
    let after = served.asked("GET", "/test/clock", "");
    assert!(seconds(&after) >= seconds(&moved), "{moved} {after}");
    drop(served);
    let real = run(place, &["serve"]);
    assert_eq!(real.status, Some(2), "{real:?}");
    assert!(real.err.contains("under a test clock"), "{real:?}");
}

#[test]
fn a_test_clock_comes_near_no_real_service() {
    let place = place();
    let place = place.path();
    let exposed = told(
        &latchkey(place, &["serve", "--test-clock"])
            .env("LATCHKEY__SERVER__LISTEN", "0.0.0.0:0")
            .env("LATCHKEY__SERVER__ISSUER", "https://id.example.com")
            .output()
            .unwrap(),
    );
    assert_eq!(exposed.status, Some(2), "{exposed:?}");
    assert!(exposed.err.contains("server.listen") && exposed.err.contains("127.0.0.1"), "{exposed:?}");

    let served = Served::start(place);
    assert!(served.ask("GET", "/test/clock", "").unwrap().starts_with("HTTP/1.1 404"));
    served.terminate();
    let refused = run(place, &["serve", "--test-clock"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.err.contains("database.url"), "{refused:?}");
}
