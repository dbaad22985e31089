//! TLS on the service's own listener: real handshakes of rustls and OpenSSL, renewal, and clients that dawdle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use latchkey::config::{Settings, TlsSettings};
use latchkey::domain::sources::{Clock as _, SystemClock};
use latchkey::http::server::{self, Limits};
use latchkey::http::tls::{Tls, read_pair};
use poem::endpoint::make;
use poem::{Request, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::certificates::{Authority, Issued};
use crate::support::{ADMIN_SECRET, Database, Server, block_on, log};

const GET: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
const SHORT: Duration = Duration::from_millis(300);
const NEVER: Duration = Duration::from_secs(600);

fn tls_of(authority: &Authority) -> TlsSettings {
    TlsSettings { certificate: Some(authority.path("server.pem")), private_key: Some(authority.path("server.key")) }
}

/// A service with a certificate of its own, and a client that trusts who issued it.
async fn secure() -> (Server, Authority) {
    let authority = Authority::new();
    authority.serve((-1, 90));
    let change = |settings: &mut Settings| settings.server.tls = tls_of(&authority);
    let mut server = Server::start_with(Database::sqlite(), change).await;
    let trusted = reqwest::Certificate::from_pem(&std::fs::read(authority.path("ca.pem")).unwrap()).unwrap();
    server.http = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap();
    (server, authority)
}

fn address_of(server: &Server) -> SocketAddr {
    server.url.strip_prefix("https://").unwrap().parse().unwrap()
}

/// A handshake by rustls.
async fn shake(address: SocketAddr, authority: &Authority, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.path("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

/// The certificate that new connections are shown, as DER.
async fn shown(address: SocketAddr, authority: &Authority) -> Vec<u8> {
    let stream = shake(address, authority, &[]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// What must end by itself.
async fn ends<F: IntoFuture>(wait: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it goes on and on")
}

/// What comes until the other side closes, however it does.
async fn until_closed(mut stream: impl AsyncReadExt + Unpin) -> String {
    let mut answer = Vec::new();
    let _ = ends(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(GET).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

type Sender = http2::SendRequest<String>;

async fn http2_over(stream: TlsStream<TcpStream>, window: u32) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn request(method: &str, path: &str, body: &str) -> http::Request<String> {
    let builder = http::Request::builder().method(method).uri(format!("https://localhost{path}"));
    let builder = builder.header("content-type", "application/x-www-form-urlencoded");
    let admin = STANDARD.encode(format!("latchkey-admin:{ADMIN_SECRET}"));
    builder.header("authorization", format!("Basic {admin}")).body(body.to_owned()).unwrap()
}

async fn gauge(server: &Server, name: &str) -> i64 {
    let metrics = server.get("/metrics").await.text;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default();
    line.parse().unwrap_or_else(|_| panic!("no {name} in {metrics}"))
}

#[test]
fn both_protocols_are_agreed_on_and_tokens_are_issued_over_either() {
    block_on(async {
        let (server, authority) = secure().await;
        let app = server.web_app().await;
        let first = server.login(&app).await;
        server.refresh(&app, &first.refresh()).await.is(200);
        assert_eq!(server.get("/health/ready").await.status, 200);
        let metadata = server.get("/.well-known/oauth-authorization-server").await.body;
        assert_eq!(metadata["issuer"], "https://127.0.0.1:8420");
        // The other end of the connection is who it was before the handshake.
        let trail = server.admin_get("/admin/v1/audit?type=login_succeeded").await;
        assert_eq!(trail.body["items"][0]["address"], "127.0.0.1", "{}", trail.text);

        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["http/1.1", "h2"], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&[], None),
        ] {
            let stream = shake(address_of(&server), &authority, offered).await.unwrap();
            let found = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap());
            assert_eq!(found.as_deref(), agreed, "{offered:?}");
        }
        assert!(shake(address_of(&server), &authority, &["spdy/3"]).await.is_err(), "nothing in common");

        let stream = shake(address_of(&server), &authority, &["h2"]).await.unwrap();
        let (mut sender, connection) = http2_over(stream, 1 << 16).await;
        let body = "grant_type=client_credentials&scope=admin";
        let requests: Vec<_> = (0..20).map(|_| sender.send_request(request("POST", "/oauth2/token", body))).collect();
        for answer in requests {
            let answer = answer.await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
        }
        // Refusals too: of a path, of a method, and of a body that is taken no further.
        let long = "x".repeat(200 << 10);
        for (method, path, body, status) in [
            ("GET", "/none", "", 404),
            ("DELETE", "/oauth2/token", "", 405),
            ("POST", "/oauth2/token", long.as_str(), 413),
        ] {
            sender.ready().await.unwrap();
            let answer = sender.send_request(request(method, path, body)).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        }
        drop(sender);
        ends(connection).await.unwrap().unwrap();
    });
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_1_1_is_refused() {
    use openssl::ssl::{SslConnector, SslMethod, SslVersion};
    block_on(async {
        let (server, authority) = secure().await;
        let (address, ca) = (address_of(&server), authority.path("ca.pem"));
        let try_version = async |version: SslVersion| {
            let ca = ca.clone();
            let shake = move || {
                let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
                builder.set_ca_file(ca).unwrap();
                // Else OpenSSL itself does not offer what is old.
                builder.set_cipher_list("DEFAULT:@SECLEVEL=0").unwrap();
                builder.set_min_proto_version(Some(version)).unwrap();
                builder.set_max_proto_version(Some(version)).unwrap();
                let stream = std::net::TcpStream::connect(address).unwrap();
                let shaken = builder.build().connect("localhost", stream);
                shaken.map(|stream| stream.ssl().version_str()).map_err(|error| error.to_string())
            };
            tokio::task::spawn_blocking(shake).await.unwrap()
        };
        assert_eq!(try_version(SslVersion::TLS1_3).await.unwrap(), "TLSv1.3");
        assert_eq!(try_version(SslVersion::TLS1_2).await.unwrap(), "TLSv1.2");
        for version in [SslVersion::TLS1_1, SslVersion::TLS1] {
            let refused = try_version(version).await.unwrap_err();
            assert!(refused.contains("SSL alert number"), "it is the server that refuses: {refused}");
        }
        assert_eq!(server.get("/health/live").await.status, 200);
    });
}

#[test]
fn a_renewed_pair_is_shown_to_new_connections_and_open_ones_go_on() {
    block_on(async {
        let (server, authority) = secure().await;
        let (address, tls) = (address_of(&server), server.tls.clone().unwrap());
        let mut open = shake(address, &authority, &["http/1.1"]).await.unwrap();
        assert!(ask(&mut open).await.starts_with("HTTP/1.1 200"));
        let stream = shake(address, &authority, &["h2"]).await.unwrap();
        let (mut sender, _connection) = http2_over(stream, 1 << 16).await;
        let before = shown(address, &authority).await;
        let expires = gauge(&server, "latchkey_tls_certificate_expires_seconds").await;
        let days = (expires - SystemClock.now().seconds()) / (24 * 60 * 60);
        assert!((89..=90).contains(&days), "{days}");

        tls.look();
        assert_eq!(shown(address, &authority).await, before, "nothing has changed");
        authority.serve((-1, 120));
        tls.look();
        assert_ne!(shown(address, &authority).await, before);
        assert!(gauge(&server, "latchkey_tls_certificate_expires_seconds").await > expires);
        assert_eq!(gauge(&server, "latchkey_tls_certificate_behind").await, 0);
        assert!(ask(&mut open).await.starts_with("HTTP/1.1 200"));
        assert_eq!(sender.send_request(request("GET", "/health/live", "")).await.unwrap().status(), 200);
    });
}

#[test]
fn a_pair_that_cannot_be_served_is_told_once_and_the_earlier_one_stays() {
    block_on(async {
        let (server, authority) = secure().await;
        let (address, tls) = (address_of(&server), server.tls.clone().unwrap());
        let before = shown(address, &authority).await;
        let complaints = || log::so_far().matches("cannot be served, the earlier one stays").count();
        let already = complaints();

        // Half of a renewal: the next look may find the rest of it.
        let next = authority.issue(&["localhost"], (-1, 90));
        authority.replace("server.pem", &next.certificate);
        tls.look();
        assert_eq!((shown(address, &authority).await, complaints()), (before.clone(), already));
        for _ in 0..3 {
            tls.look();
        }
        assert_eq!((shown(address, &authority).await, complaints()), (before.clone(), already + 1));
        assert!(log::so_far().contains("is not its private key; name the two that were made together"));
        assert_eq!(gauge(&server, "latchkey_tls_certificate_behind").await, 1);

        // Who sends the signal hears at once.
        std::fs::remove_file(authority.path("server.key")).unwrap();
        tls.reload();
        assert_eq!((shown(address, &authority).await, complaints()), (before.clone(), already + 2));

        authority.replace("server.key", &next.private_key);
        tls.look();
        let renewed = shown(address, &authority).await;
        assert_ne!(renewed, before);
        assert_eq!(gauge(&server, "latchkey_tls_certificate_behind").await, 0);

        // One that has expired is worse than one that has not.
        authority.serve((-30, -1));
        tls.reload();
        assert_eq!(shown(address, &authority).await, renewed);
        assert!(log::so_far().contains("the certificate expired at"));
    });
}

#[test]
fn plain_http_is_told_to_use_https_and_nonsense_is_closed() {
    block_on(async {
        let (server, _authority) = secure().await;
        let say = async |text: &[u8]| {
            let mut stream = TcpStream::connect(address_of(&server)).await.unwrap();
            stream.write_all(text).await.unwrap();
            stream.shutdown().await.unwrap();
            until_closed(stream).await
        };
        let told = say(GET).await;
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("begin the URL with https"), "{told}");
        let body: Value = serde_json::from_str(told.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["error"], "invalid_request");
        let clear = server.url.replace("https", "http");
        assert_eq!(server.http.get(format!("{clear}/health/live")).send().await.unwrap().status(), 400);
        for nonsense in [&b"\x80\x2e\x01\x00\x02"[..], b"\x16\x03\x01\xff\xff\xff\xff", b"", b"\x00"] {
            assert!(!say(nonsense).await.contains("HTTP"), "{nonsense:?}");
        }
        assert_eq!(server.get("/health/live").await.status, 200);
    });
}

/// The accept loop alone, with limits of the test's own. `/large` answers more than any buffer holds, `/stuck` never.
struct Loop {
    address: SocketAddr,
    authority: Authority,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Loop {
    async fn with(limits: Limits) -> Self {
        let authority = Authority::new();
        authority.serve((-1, 90));
        let tls = Tls::open(&tls_of(&authority)).unwrap();
        let endpoint = make(|request: Request| async move {
            if request.uri().path() == "/stuck" {
                std::future::pending::<()>().await;
            }
            let length = if request.uri().path() == "/large" { 64 << 20 } else { 2 };
            Ok::<_, poem::Error>(Response::builder().body(vec![b'k'; length]))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server::serve(listener, Arc::new(endpoint), limits, tls, async {
            let _ = stopped.await;
        }));
        Self { address, authority, stop, ended }
    }

    async fn shake(&self, protocol: &str) -> TlsStream<TcpStream> {
        shake(self.address, &self.authority, &[protocol]).await.unwrap()
    }
}

fn limits() -> Limits {
    Limits { head: NEVER, idle: NEVER, write: NEVER, linger: Duration::ZERO, drain: NEVER, connections: 16 }
}

#[test]
fn half_a_handshake_and_half_a_head_are_closed_in_time() {
    block_on(async {
        let server = Loop::with(Limits { head: SHORT, ..limits() }).await;
        for opening in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HT"] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(opening).await.unwrap();
            // Of an unfinished request in the clear, the answer may come before the end.
            until_closed(stream).await;
        }
        for text in [&b""[..], b"GET / HTTP/1.1\r\nHost: x\r\n"] {
            let mut stream = server.shake("http/1.1").await;
            stream.write_all(text).await.unwrap();
            assert_eq!(until_closed(stream).await, "");
        }
        // The second head on a connection as well.
        let mut stream = server.shake("http/1.1").await;
        assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
        stream.write_all(b"GET / HT").await.unwrap();
        assert_eq!(until_closed(stream).await, "");
        // HTTP/2 that says nothing, no more than its preface, or half of a head.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
        let half_a_head = [&preface[..], b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82"].concat();
        for text in [&b""[..], preface, &half_a_head] {
            let mut stream = server.shake("h2").await;
            stream.write_all(text).await.unwrap();
            until_closed(stream).await;
        }
    });
}

#[test]
fn a_handshake_holds_nobody_else_up() {
    block_on(async {
        let server = Loop::with(limits()).await;
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(b"\x16\x03\x01").await.unwrap();
        assert!(ask(&mut server.shake("http/1.1").await).await.starts_with("HTTP/1.1 200"));
        // It counts as a connection, and an orderly stop does not wait for it.
        server.stop.send(()).unwrap();
        ends(server.ended).await.unwrap();
        assert_eq!(until_closed(slow).await, "");
    });
}

#[test]
fn http2_that_rests_is_told_to_leave_and_an_answer_not_taken_is_cut_off() {
    block_on(async {
        let server = Loop::with(Limits { idle: SHORT, ..limits() }).await;
        let (mut sender, connection) = http2_over(server.shake("h2").await, 1 << 16).await;
        assert_eq!(sender.send_request(request("GET", "/", "")).await.unwrap().status(), 200);
        // GOAWAY without an error: a client opens another connection for what it had not sent yet.
        ends(connection).await.unwrap().unwrap();

        let server = Loop::with(Limits { write: SHORT, ..limits() }).await;
        for (path, window) in [("/", 0), ("/large", 1 << 16)] {
            let (mut sender, connection) = http2_over(server.shake("h2").await, window).await;
            let answer = sender.send_request(request("GET", path, "")).await.unwrap();
            assert_eq!(answer.status(), 200);
            // Its body is never read.
            ends(connection).await.unwrap().unwrap_err();
        }
        // HTTP/1.1 over TLS too, where the answer waits in TLS's own buffer.
        let mut stream = server.shake("http/1.1").await;
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        server.stop.send(()).unwrap();
        ends(server.ended).await.unwrap();
    });
}

#[test]
fn stopping_lets_http2_finish_but_not_for_ever() {
    block_on(async {
        let server = Loop::with(limits()).await;
        let (mut sender, connection) = http2_over(server.shake("h2").await, 1 << 16).await;
        let answer = sender.send_request(request("GET", "/large", "")).await.unwrap();
        server.stop.send(()).unwrap();
        let mut body = answer.into_body();
        let mut length = 0;
        while let Some(frame) =
            std::future::poll_fn(|cx| hyper::body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await
        {
            length += frame.unwrap().data_ref().map_or(0, |data| data.len());
        }
        assert_eq!(length, 64 << 20);
        ends(connection).await.unwrap().unwrap();
        ends(server.ended).await.unwrap();

        let server = Loop::with(Limits { drain: SHORT, ..limits() }).await;
        let (mut sender, _connection) = http2_over(server.shake("h2").await, 1 << 16).await;
        let stuck = sender.send_request(request("GET", "/stuck", ""));
        assert_eq!(sender.send_request(request("GET", "/", "")).await.unwrap().status(), 200, "behind the other");
        server.stop.send(()).unwrap();
        ends(server.ended).await.unwrap();
        ends(stuck).await.unwrap_err();
    });
}

#[test]
fn every_fault_of_the_files_is_told_with_its_mend() {
    let authority = Authority::new();
    let days = (-1, 90);
    let (good, other) = (authority.issue(&["localhost"], days), authority.issue(&["localhost"], days));
    let ca = std::fs::read_to_string(authority.path("ca.pem")).unwrap();
    let encrypted = openssl::pkey::PKey::private_key_from_pem(good.private_key.as_bytes())
        .and_then(|key| key.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), b"hunter2"))
        .map(|pem| String::from_utf8(pem).unwrap())
        .unwrap();
    let ed448 = openssl::pkey::PKey::generate_ed448().and_then(|key| key.private_key_to_pem_pkcs8()).unwrap();
    let ed448 = String::from_utf8(ed448).unwrap();
    let told = |certificate: &str, private_key: &str| {
        authority.replace("server.pem", certificate);
        authority.replace("server.key", private_key);
        read_pair(&tls_of(&authority)).map(|pair| pair.unwrap()).map_err(|faults| faults.to_string())
    };
    let Issued { certificate, private_key } = &good;
    told(certificate, private_key).unwrap();
    told(&format!("{certificate}{ca}"), private_key).unwrap();
    let both = format!("{private_key}{certificate}");
    told(&both, &both).unwrap();

    let cut = |text: &str| text[..text.len() / 2].to_owned();
    for (certificate, private_key, expected) in [
        (
            private_key.clone(),
            certificate.clone(),
            "it holds something else than a certificate; are the two files swapped?",
        ),
        (
            private_key.clone(),
            certificate.clone(),
            "it holds something else than a private key; are the two files swapped?",
        ),
        (String::new(), private_key.clone(), "there is no certificate in it"),
        (certificate.clone(), "hunter2".into(), "there is no private key in it"),
        (cut(certificate), private_key.clone(), "a section in it is broken off"),
        (certificate.clone(), cut(private_key), "a section in it is broken off"),
        (certificate.clone(), encrypted, "the private key is encrypted; take the passphrase off"),
        (certificate.clone(), format!("{private_key}{}", other.private_key), "it holds several private keys"),
        (certificate.clone(), other.private_key.clone(), "is not its private key"),
        (certificate.clone(), ed448, "the private key is of no use"),
        (format!("{ca}{certificate}"), private_key.clone(), "the server's certificate is not the first in it"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            private_key.clone(),
            "its certificate 1 does not read",
        ),
    ] {
        let faults = told(&certificate, &private_key).unwrap_err();
        assert!(faults.contains(expected), "wanted: {expected}\ngot: {faults}");
        assert!(faults.contains(&authority.path("server.").display().to_string()), "it names the file: {faults}");
        assert!(!faults.contains("hunter2") && !faults.contains("PRIVATE KEY-"), "{faults}");
    }
    for name in ["server.pem", "server.key"] {
        std::fs::remove_file(authority.path(name)).unwrap();
    }
    let faults = read_pair(&tls_of(&authority)).unwrap_err();
    assert_eq!(faults.0.len(), 2, "both are told at once: {faults}");
}

#[test]
fn what_is_unwise_in_a_certificate_is_told_too() {
    let authority = Authority::new();
    let concerns = |names: &[&str], days, issuer: &str| {
        let issued = authority.issue(names, days);
        authority.replace("server.pem", &issued.certificate);
        authority.replace("server.key", &issued.private_key);
        let pair = read_pair(&tls_of(&authority)).unwrap().unwrap();
        let concerns = pair.concerns(issuer, SystemClock.now());
        concerns.into_iter().map(|concern| (concern.what, concern.is_grave)).collect::<Vec<_>>()
    };
    for (name, issuer) in [
        ("id.example.com", "https://id.example.com"),
        ("id.example.com", "https://id.example.com:8443/tenants/a"),
        ("*.example.com", "https://id.example.com"),
        ("127.0.0.1", "https://127.0.0.1:8420"),
        ("::1", "https://[::1]:8420"),
        ("::1", "https://[::1]"),
    ] {
        assert_eq!(concerns(&[name], (-1, 15), issuer), [], "{name} {issuer}");
    }
    assert_eq!(concerns(&["id.example.com"], (-3, 3), "https://id.example.com"), [], "six days are its life");
    for (names, days, issuer, expected, grave) in [
        (&["id.example.com"][..], (-80, 13), "https://id.example.com", "the certificate expires at", false),
        (&["id.example.com"], (-90, -1), "https://id.example.com", "the certificate expired at", true),
        (&["id.example.com"], (1, 90), "https://id.example.com", "is not valid before", true),
        (
            &["example.com", "::1"],
            (-1, 90),
            "https://id.example.com",
            "is for example.com, ::1, and the issuer's",
            false,
        ),
        (&["*.example.com"], (-1, 90), "https://a.id.example.com", "issuer's host is a.id.example.com", false),
        (&[], (-1, 90), "https://id.example.com", "for no name at all", false),
    ] {
        let told = concerns(names, days, issuer);
        assert!(told.len() == 1 && told[0].0.contains(expected) && told[0].1 == grave, "{expected}: {told:?}");
    }
}
