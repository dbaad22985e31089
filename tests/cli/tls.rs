//! `server.tls` from the shell: checks, a service that renews its certificate, and commands that must trust it.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::certificates::Authority;
use super::{Told, free_address, json, latchkey, run, told};

const PAUSE: Duration = Duration::from_millis(50);

/// A directory with a configuration that names the pair of `authority` by relative paths.
fn configure(authority: &Authority, more: &str) {
    let text = format!("[server]\n{more}\n[server.tls]\ncertificate = 'server.pem'\nprivate_key = 'server.key'\n");
    std::fs::write(authority.path("latchkey.toml"), text).unwrap();
}

fn folder(authority: &Authority) -> std::path::PathBuf {
    authority.path("").components().collect()
}

/// A running service, killed where the test does not end it.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the command until it does what it should: a minute at the most.
fn until_it_works(place: &Path, arguments: &[&str]) -> Told {
    let mut tried = run(place, arguments);
    for _ in 0..1200 {
        if tried.status == Some(0) {
            break;
        }
        sleep(PAUSE);
        tried = run(place, arguments);
    }
    tried
}

#[test]
fn a_check_reads_the_pair_and_tells_what_is_wrong_and_what_is_unwise() {
    let authority = Authority::new();
    let place = folder(&authority);
    configure(&authority, "issuer = 'https://id.example.com'");
    let missing = run(&place, &["config", "check"]);
    assert_eq!(missing.status, Some(2), "{missing:?}");
    for part in [
        "server.tls.certificate = \"server.pem\": it cannot be read: No such file",
        "server.tls.private_key = \"server.key\": it cannot be read",
        "mend the path or its permissions",
    ] {
        assert!(missing.err.contains(part), "{part} is not in {}", missing.err);
    }
    let refused = run(&place, &["serve"]);
    assert_eq!((refused.status, refused.err), (Some(2), missing.err));

    authority.serve((-80, 10));
    let unwise = run(&place, &["config", "check"]);
    assert_eq!(unwise.status, Some(0), "{unwise:?}");
    for part in [
        "warning: server.tls.certificate: the certificate expires at",
        "warning: server.tls.certificate: the certificate is for 127.0.0.1, localhost, and the issuer's host is id.example.com",
    ] {
        assert!(unwise.err.contains(part), "{part} is not in {}", unwise.err);
    }
    configure(&authority, "issuer = 'http://127.0.0.1:8420'");
    let contradicted = run(&place, &["config", "check"]);
    assert_eq!(contradicted.status, Some(2), "{contradicted:?}");
    assert!(contradicted.err.contains("write https://127.0.0.1:8420"), "{contradicted:?}");

    configure(&authority, "");
    let printed = run(&place, &["config", "print"]);
    assert!(printed.out.contains("issuer = \"https://127.0.0.1:8420\"") && printed.out.contains("tls.private_key = "));
    std::fs::write(authority.path("latchkey.toml"), &printed.out).unwrap();
    assert_eq!(run(&place, &["config", "print"]).out.matches("server.key").count(), 1);
}

#[test]
fn a_service_over_tls_is_administered_and_renews_its_certificate_at_a_hangup() {
    let authority = Authority::new();
    let place = folder(&authority);
    authority.serve((-1, 90));
    let (public, admin) = (free_address(), free_address());
    let port = public.rsplit_once(':').unwrap().1;
    configure(
        &authority,
        &format!("listen = '{public}'\nadmin_listen = '{admin}'\nissuer = 'https://localhost:{port}'"),
    );
    let mut command = latchkey(&place, &["serve"]);
    let mut served = Served(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());

    // By the configuration alone the admin listener is found, and called by the name in the certificate.
    let list = ["key", "list", "--json", "--secret-file", "keys/admin.secret", "--ca", "ca.pem"];
    let keys = json(&until_it_works(&place, &list));
    assert!(keys["items"].as_array().unwrap().len() >= 4, "{keys}");
    let by_variable = latchkey(&place, &list[..5]).env("LATCHKEY_CA", "ca.pem").output().unwrap();
    assert_eq!(told(&by_variable).status, Some(0));
    let untrusted = run(&place, &list[..5]);
    assert_eq!(untrusted.status, Some(1), "{untrusted:?}");
    for part in ["its certificate is not one to trust", "by --ca"] {
        assert!(untrusted.err.contains(part), "{part} is not in {untrusted:?}");
    }
    let in_the_clear = run(&place, &[&list[..], &["--server", &format!("http://{admin}")]].concat());
    assert_eq!(in_the_clear.status, Some(1), "{in_the_clear:?}");
    assert!(in_the_clear.err.contains("begin the URL with https"), "{in_the_clear:?}");
    let not_one = run(&place, &[&list[..6], &["keys/admin.secret"]].concat());
    assert_eq!(not_one.status, Some(2), "{not_one:?}");
    assert!(not_one.err.contains("--ca keys/admin.secret: there is no certificate in it"), "{not_one:?}");

    let examined = run(&place, &["doctor", "--ca", "ca.pem"]);
    assert_eq!(examined.status, Some(0), "{examined:?}");
    for part in ["server.tls: the certificate for 127.0.0.1, localhost is good until", "answers, and names itself so"] {
        assert!(examined.out.contains(part), "{part} is not in {}", examined.out);
    }
    let untrusting = run(&place, &["doctor"]);
    assert!(untrusting.out.contains("shows a certificate that this machine does not trust"), "{untrusting:?}");
    std::fs::set_permissions(authority.path("server.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let examined = run(&place, &["doctor", "--ca", "ca.pem"]);
    assert!(examined.out.contains("is open to everyone on this machine (mode 0644)"), "{}", examined.out);

    // A certificate for other names: whoever is shown it refuses.
    let other = authority.issue(&["another.example.com"], (-1, 90));
    authority.replace("server.pem", &other.certificate);
    authority.replace("server.key", &other.private_key);
    kill_process(Pid::from_child(&served.0), Signal::HUP).unwrap();
    for _ in 0..1200 {
        if run(&place, &list).status == Some(1) {
            break;
        }
        sleep(PAUSE);
    }
    let renamed = run(&place, &list);
    assert!(renamed.err.contains("its certificate is not one to trust"), "{renamed:?}");
    let examined = run(&place, &["doctor", "--ca", "ca.pem"]);
    assert!(examined.out.contains("and the issuer's host is localhost"), "{}", examined.out);

    kill_process(Pid::from_child(&served.0), Signal::TERM).unwrap();
    let mut said = String::new();
    served.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(served.0.wait().unwrap().code(), Some(0));
    assert!(said.contains(&format!("listening  {public}, TLS alone")), "{said}");
    let mut logged = String::new();
    served.0.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
    assert!(logged.contains("serving the certificate on disk") && !logged.contains("ERROR"), "{logged}");
}

#[test]
fn an_expired_certificate_is_a_failure_to_the_doctor() {
    let authority = Authority::new();
    let place = folder(&authority);
    authority.serve((-90, -1));
    configure(&authority, "");
    let examined = run(&place, &["doctor"]);
    assert_eq!(examined.status, Some(1), "{examined:?}");
    assert!(examined.out.contains("the certificate expired at"), "{}", examined.out);
    authority.replace("server.key", "");
    let examined = run(&place, &["doctor"]);
    assert!(examined.out.contains("server.tls.private_key: \"server.key\": there is no private key in it"));
}

#[test]
fn a_test_clock_and_the_default_server_go_with_tls() {
    let authority = Authority::new();
    authority.serve((-1, 90));
    let listen = free_address();
    configure(&authority, &format!("listen = '{listen}'"));
    let place = folder(&authority);
    let mut command = latchkey(&place, &["serve", "--test-clock"]);
    let _served = Served(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let list = ["key", "list", "--json", "--secret-file", "keys/admin.secret", "--ca", "ca.pem"];
    json(&until_it_works(&place, &list));
}
