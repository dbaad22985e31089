//! TLS on our own listeners (`server.tls`): handshakes, and the pair of certificate and key that follows its files.
//!
//! TLS 1.2 and 1.3 with rustls' suites, which are those of BCP 195 (RFC 9325), and no others to choose; HTTP/2 or
//! HTTP/1.1 by ALPN (RFC 7301). A renewed pair is served from the next handshake on; connections that are open stay as
//! they are. Each pair has a configuration of its own, and with it its own memory of sessions: none of an earlier
//! certificate is resumed.

pub mod pair;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::pair::{Concern, Pair, PairFaults};
use crate::config::TlsSettings;
use crate::domain::sources::{Clock as _, SystemClock};
use crate::telemetry::Metrics;

/// How often the files are looked at. Two `stat`s each time.
const PACE: Duration = Duration::from_secs(10);

/// The first byte of every TLS connection: a record of type handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What a client that speaks HTTP in the clear is told, in the clear.
const USE_HTTPS: &str =
    r#"{"error":"invalid_request","error_description":"this port speaks TLS alone: begin the URL with https"}"#;

/// How much is read of a request in the clear, so that its answer is not lost to a reset.
const UNREAD: usize = 64 << 10;

/// Reads the pair that the settings name; `None` where TLS is off.
///
/// # Errors
/// Everything that keeps it from being served.
pub fn read_pair(settings: &TlsSettings) -> Result<Option<Pair>, PairFaults> {
    Pair::read(settings, &aws_lc_rs::default_provider())
}

/// A client's side of a connection, after the handshake.
#[derive(Debug)]
pub enum Greeted {
    Http1(TlsStream<TcpStream>),
    Http2(TlsStream<TcpStream>),
    /// It spoke HTTP in the clear, and was told so.
    Clear,
}

/// The pair that is served, and its files.
pub struct Tls {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    served: ArcSwap<Served>,
    seen: Mutex<Seen>,
    /// Whether the files hold something else than what is served.
    is_behind: AtomicBool,
}

struct Served {
    config: Arc<ServerConfig>,
    pair: Pair,
}

/// What the files were like. Both stay what they were while nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamps([Option<Stamp>; 2]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

#[derive(Debug)]
struct Seen {
    /// Taken up, or complained of.
    judged: Stamps,
    /// Of no use when last looked at.
    doubted: Option<Stamps>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the pair for the first time; `None` where TLS is off.
    ///
    /// # Errors
    /// Everything that keeps it from being served.
    pub fn open(settings: &TlsSettings) -> Result<Option<Arc<Self>>, PairFaults> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let judged = Stamps::of(settings);
        let Some(served) = Served::read(settings, &provider)? else { return Ok(None) };
        Ok(Some(Arc::new(Self {
            settings: settings.clone(),
            served: ArcSwap::from_pointee(served),
            provider,
            seen: Mutex::new(Seen { judged, doubted: None }),
            is_behind: AtomicBool::new(false),
        })))
    }

    /// Looks at the files every few seconds, for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut turns = tokio::time::interval(PACE);
        loop {
            turns.tick().await;
            let tls = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || tls.look()).await;
        }
    }

    /// One look: a pair that has changed is served from the next handshake on. One that cannot be may be half written,
    /// so it is complained of at the next look, if it is still the same then.
    pub fn look(&self) {
        self.renew(false);
    }

    /// Takes up what the files hold, or says why not.
    pub fn reload(&self) {
        self.renew(true);
    }

    fn renew(&self, is_urged: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = Stamps::of(&self.settings);
        if stamps == seen.judged && !is_urged {
            return;
        }
        let read = self.read_anew();
        if Stamps::of(&self.settings) != stamps {
            // Somebody is writing: the next look finds them done.
            return;
        }
        match read {
            Ok(served) => {
                let Pair { names, not_after, .. } = &served.pair;
                tracing::info!(until = not_after.rfc3339(), ?names, "serving the certificate on disk");
                self.served.store(Arc::new(served));
                self.is_behind.store(false, Ordering::Relaxed);
                seen.judged = stamps;
            }
            Err(reasons) if is_urged || seen.doubted == Some(stamps) => {
                for reason in reasons {
                    tracing::error!("the certificate on disk cannot be served, the earlier one stays: {reason}");
                }
                self.is_behind.store(true, Ordering::Relaxed);
                seen.judged = stamps;
            }
            Err(_) => seen.doubted = Some(stamps),
        }
    }

    fn read_anew(&self) -> Result<Served, Vec<String>> {
        let read = Served::read(&self.settings, &self.provider);
        let read = read.map_err(|faults| faults.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let served = read.ok_or_else(Vec::new)?;
        // Certificates are dated by the world's clock, wherever a test clock may be.
        let now = SystemClock.now();
        match served.pair.out_of_date(now) {
            Some(concern) if now < self.served.load().pair.not_after => Err(vec![concern.what]),
            _ => Ok(served),
        }
    }

    /// What to say of the served pair, on a service whose issuer is `issuer`.
    pub fn concerns(&self, issuer: &str) -> Vec<Concern> {
        self.served.load().pair.concerns(issuer, SystemClock.now())
    }

    /// Adds the gauges of the pair.
    pub fn watch(self: &Arc<Self>, metrics: &Metrics) {
        let tls = Arc::clone(self);
        let help = "When the served certificate expires, Unix seconds";
        metrics.watch("tls_certificate_expires_seconds", help, move || tls.served.load().pair.not_after.seconds());
        let tls = Arc::clone(self);
        let help = "1 while the files of server.tls hold a pair that cannot be served, and the earlier one is";
        metrics.watch("tls_certificate_behind", help, move || i64::from(tls.is_behind.load(Ordering::Relaxed)));
    }

    /// Shakes hands. Not bounded in time: the caller does that.
    ///
    /// # Errors
    /// The connection broke, or its other side does not speak TLS as we do.
    pub async fn greet(&self, stream: TcpStream) -> io::Result<Greeted> {
        let mut first = [0];
        // The name of a method is of capital letters; anything else is left to rustls, which refuses it.
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE && first[0].is_ascii_uppercase() {
            ask_for_https(stream).await?;
            return Ok(Greeted::Clear);
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&self.served.load().config));
        let stream = acceptor.accept(stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Ok(if is_http2 { Greeted::Http2(stream) } else { Greeted::Http1(stream) })
    }
}

async fn ask_for_https(mut stream: TcpStream) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{USE_HTTPS}",
        USE_HTTPS.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // What lies unread at a close makes a reset of it, and the answer may be lost: read on until the other side closes.
    let mut scrap = vec![0; 4 << 10];
    let mut left = UNREAD;
    while left > 0 {
        match stream.read(&mut scrap).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

impl Served {
    fn read(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Option<Self>, PairFaults> {
        let Some(pair) = Pair::read(settings, provider)? else { return Ok(None) };
        let config = config_of(&pair, provider).map_err(|error| pair::unusable(settings, &error))?;
        Ok(Some(Self { config: Arc::new(config), pair }))
    }
}

fn config_of(pair: &Pair, provider: &Arc<CryptoProvider>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let resolver = SingleCertAndKey::from(Arc::clone(&pair.certified));
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(config)
}

impl Stamps {
    fn of(settings: &TlsSettings) -> Self {
        let stamp = |path: &Path| {
            // Where it cannot be looked at, that is how it is; reading it says why.
            let found = fs::metadata(path).ok()?;
            let modified = (found.mtime(), found.mtime_nsec());
            Some(Stamp { device: found.dev(), inode: found.ino(), length: found.size(), modified })
        };
        Self([&settings.certificate, &settings.private_key].map(|path| path.as_deref().and_then(stamp)))
    }
}
