//! A certificate and its private key as they lie on disk: what they are, and everything that is wrong with them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::{X509, X509Ref};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _, SectionKind, SliceIter};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::config::TlsSettings;
use crate::domain::time::Timestamp;

const CERTIFICATE: &str = "server.tls.certificate";
const PRIVATE_KEY: &str = "server.tls.private_key";

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;

/// Renewal is late when a certificate has no more than this left, or a quarter of its life where that is less: what
/// renews by itself does so after two thirds of it, which is 30 days before the end of most.
const LATE: i64 = 14 * DAY;

/// What keeps a pair from being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFault {
    pub key: &'static str,
    pub path: PathBuf,
    pub reason: String,
    pub mend: String,
}

impl fmt::Display for PairFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = \"{}\": {}; {}", self.key, self.path.display(), self.reason, self.mend)
    }
}

/// Everything that is wrong with a pair; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PairFaults(pub Vec<PairFault>);

/// What may be served and still deserves a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    pub what: String,
    pub mend: &'static str,
    /// Whether no client can be content with it.
    pub is_grave: bool,
}

/// A certificate that matches its private key.
#[derive(Debug)]
pub struct Pair {
    pub certified: Arc<CertifiedKey>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
}

impl Pair {
    /// Reads what `tls` names; `None` where TLS is off.
    ///
    /// # Errors
    /// Every fault of the two files.
    pub fn read(tls: &TlsSettings, provider: &CryptoProvider) -> Result<Option<Self>, PairFaults> {
        let Some((certificate, private_key)) = tls.files() else { return Ok(None) };
        let (chain, key) = match (chain_of(certificate), key_of(private_key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(PairFaults([chain.err(), key.err()].into_iter().flatten().collect())),
        };
        Self::of(chain, key, provider, (certificate, private_key)).map(Some).map_err(|fault| PairFaults(vec![fault]))
    }

    fn of(
        chain: Vec<Certificate>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
        (certificate, private_key): (&Path, &Path),
    ) -> Result<Self, PairFault> {
        let signing = provider.key_provider.load_private_key(key).map_err(|error| {
            let reason = format!("the private key is of no use: {error}");
            fault(PRIVATE_KEY, private_key, reason, "make an ECDSA P-256 key, or RSA of 2048 bits or more")
        })?;
        let Some(first) = chain.first() else {
            return Err(fault(CERTIFICATE, certificate, "there is no certificate in it", "give the PEM of one"));
        };
        let names = names_of(&first.read);
        let instant = |time: &Asn1TimeRef| {
            seconds_of(time)
                .ok_or_else(|| fault(CERTIFICATE, certificate, "its dates do not read", "have it made anew"))
        };
        let (not_before, not_after) = (instant(first.read.not_before())?, instant(first.read.not_after())?);
        let others = chain.iter().skip(1).map(|other| other.der.clone()).collect::<Vec<_>>();
        let certified = CertifiedKey::new(chain.into_iter().map(|one| one.der).collect(), signing);
        if let Err(error) = certified.keys_match() {
            let is_later = others.iter().any(|other| {
                let alone = CertifiedKey::new(vec![other.clone()], Arc::clone(&certified.key));
                alone.keys_match().is_ok()
            });
            let (reason, mend) = match error {
                rustls::Error::InconsistentKeys(_) if is_later => {
                    ("the server's certificate is not the first in it".into(), "put it first, and its issuers after it")
                }
                rustls::Error::InconsistentKeys(_) => {
                    let reason = format!("{PRIVATE_KEY} = \"{}\" is not its private key", private_key.display());
                    (reason, "name the two that were made together")
                }
                error => (format!("TLS has no use for it: {error}"), "have an X.509 v3 certificate made"),
            };
            return Err(fault(CERTIFICATE, certificate, reason, mend));
        }
        Ok(Self { certified: Arc::new(certified), not_before, not_after, names })
    }

    /// Why clients will not take it now, as far as its dates are concerned.
    pub fn out_of_date(&self, now: Timestamp) -> Option<Concern> {
        let grave = |what: String, mend| Some(Concern { what, mend, is_grave: true });
        if now >= self.not_after {
            grave(format!("the certificate expired at {}", self.not_after.rfc3339()), "renew it")
        } else if now < self.not_before {
            let what = format!("the certificate is not valid before {}", self.not_before.rfc3339());
            grave(what, "wait until then, or set the clock")
        } else {
            None
        }
    }

    /// What to say of it at `now` on a service whose issuer is `issuer`.
    pub fn concerns(&self, issuer: &str, now: Timestamp) -> Vec<Concern> {
        let mut concerns: Vec<_> = self.out_of_date(now).into_iter().collect();
        let left = self.not_after.seconds().saturating_sub(now.seconds());
        let life = self.not_after.seconds().saturating_sub(self.not_before.seconds());
        if concerns.is_empty() && left <= LATE.min(life / 4) {
            concerns.push(Concern {
                what: format!("the certificate expires at {}, in {} days", self.not_after.rfc3339(), left / DAY),
                mend: "renew it; a new pair in the same files is served within seconds",
                is_grave: false,
            });
        }
        let host = host_of(issuer);
        if !self.covers(host) {
            concerns.push(Concern {
                what: format!(
                    "the certificate is for {}, and the issuer's host is {host}",
                    if self.names.is_empty() { "no name at all".into() } else { self.names.join(", ") }
                ),
                mend: "have one made for the host (as subjectAltName), unless a proxy in front shows another one",
                is_grave: false,
            });
        }
        concerns
    }

    /// Whether clients that ask for this host take the certificate (RFC 9525).
    fn covers(&self, host: &str) -> bool {
        let Some(first) = self.certified.cert.first() else { return false };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(first), ServerName::try_from(host)) else {
            return false;
        };
        verify_server_name(&parsed, &name).is_ok()
    }
}

fn fault(key: &'static str, path: &Path, reason: impl Into<String>, mend: impl Into<String>) -> PairFault {
    PairFault { key, path: path.to_owned(), reason: reason.into(), mend: mend.into() }
}

/// The fault of a pair that rustls refuses for reasons of its own.
pub fn unusable(tls: &TlsSettings, error: &rustls::Error) -> PairFaults {
    let path = tls.certificate.clone().unwrap_or_default();
    PairFaults(vec![fault(CERTIFICATE, &path, format!("TLS has no use for it: {error}"), "have one made anew")])
}

struct Certificate {
    der: CertificateDer<'static>,
    read: X509,
}

fn chain_of(path: &Path) -> Result<Vec<Certificate>, PairFault> {
    let fault = |reason: String, mend: &str| Err(fault(CERTIFICATE, path, reason, mend));
    let Ok(sections) = sections_of(&text_of(CERTIFICATE, path)?) else {
        return fault("a section in it is broken off, or is not base64".into(), "copy the file anew");
    };
    let mut chain = Vec::new();
    for (_, der) in sections.iter().filter(|(kind, _)| *kind == SectionKind::Certificate) {
        let Ok(read) = X509::from_der(der) else {
            return fault(format!("its certificate {} does not read", chain.len() + 1), "copy the file anew");
        };
        chain.push(Certificate { der: CertificateDer::from(der.to_vec()), read });
    }
    match (chain.is_empty(), sections.is_empty()) {
        (false, _) => Ok(chain),
        (true, true) => fault("there is no certificate in it".into(), "give PEM, which begins with -----BEGIN"),
        (true, false) => fault("it holds something else than a certificate".into(), "are the two files swapped?"),
    }
}

fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>, PairFault> {
    let fault = |reason: &str, mend: &str| Err(fault(PRIVATE_KEY, path, reason, mend));
    let text = text_of(PRIVATE_KEY, path)?;
    // PKCS#8, and what OpenSSL wrote before.
    let marks = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if marks.iter().any(|mark| text.windows(mark.len()).any(|part| part == *mark)) {
        let mend = "take the passphrase off: openssl pkey -in THIS -out ANOTHER, of mode 0600";
        return fault("the private key is encrypted", mend);
    }
    let Ok(sections) = sections_of(&text) else {
        return fault("a section in it is broken off, or is not base64", "copy the file anew");
    };
    let holds_something = !sections.is_empty();
    let read = |(kind, mut der): Section| PrivateKeyDer::from_pem(kind, std::mem::take(&mut *der));
    let mut keys = sections.into_iter().filter_map(read);
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => fault("it holds several private keys", "leave the certificate's alone in it"),
        (None, _) if holds_something => {
            fault("it holds something else than a private key", "are the two files swapped?")
        }
        (None, _) => fault("there is no private key in it", "give PEM, which begins with -----BEGIN"),
    }
}

fn text_of(key: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, PairFault> {
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| fault(key, path, format!("it cannot be read: {error}"), "mend the path or its permissions"))
}

type Section = (SectionKind, Zeroizing<Vec<u8>>);

/// Every section whose name is known, decoded. The parser's own error quotes the text, which may be secret.
fn sections_of(text: &[u8]) -> Result<Vec<Section>, pem::Error> {
    let sections = SliceIter::<(SectionKind, Vec<u8>)>::new(text);
    sections.map(|section| section.map(|(kind, der)| (kind, Zeroizing::new(der)))).collect()
}

fn names_of(certificate: &X509Ref) -> Vec<String> {
    let names = certificate.subject_alt_names().into_iter().flatten();
    names
        .filter_map(|name| {
            let address = name.ipaddress().and_then(|bytes| match bytes.len() {
                4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| std::net::IpAddr::from(octets).to_string()),
                _ => <[u8; 16]>::try_from(bytes).ok().map(|octets| std::net::IpAddr::from(octets).to_string()),
            });
            name.dnsname().map(str::to_owned).or(address)
        })
        .collect()
}

/// Unix seconds of a date in a certificate.
fn seconds_of(time: &Asn1TimeRef) -> Option<Timestamp> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    Some(Timestamp::from_seconds(i64::from(since.days) * DAY + i64::from(since.secs)))
}

/// The host of an issuer, which configuration has held to be a URL.
fn host_of(issuer: &str) -> &str {
    let after = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let authority = &after[..after.find('/').unwrap_or(after.len())];
    match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    }
}
