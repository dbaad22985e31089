//! A certificate authority of the test's own, and the pairs that it issues.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use latchkey::domain::sources::{Clock as _, SystemClock};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

const DAY: i64 = 24 * 60 * 60;

/// The authority, and a folder with its certificate (`ca.pem`) and the pair that it issued last.
pub struct Authority {
    folder: tempfile::TempDir,
    key: PKey<Private>,
    certificate: X509,
}

/// A certificate and its private key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub private_key: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = new_key();
        let mut builder = begin("an authority of this test", &key, (-1, 3650));
        builder.set_issuer_name(&name("an authority of this test")).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), key, certificate: builder.build() };
        fs::write(authority.path("ca.pem"), authority.certificate.to_pem().unwrap()).unwrap();
        authority
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A pair for these names, valid from and until so many days from now.
    pub fn issue(&self, names: &[&str], days: (i64, i64)) -> Issued {
        let key = new_key();
        let mut builder = begin(names.first().unwrap_or(&"nobody"), &key, days);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let mut alternative = SubjectAlternativeName::new();
        for name in names {
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => alternative.ip(name),
                Err(_) => alternative.dns(name),
            };
        }
        if !names.is_empty() {
            let alternative = alternative.build(&builder.x509v3_context(Some(&self.certificate), None)).unwrap();
            builder.append_extension(alternative).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
        Issued {
            certificate: text(builder.build().to_pem().unwrap()),
            private_key: text(key.private_key_to_pem_pkcs8().unwrap()),
        }
    }

    /// Puts a pair for `127.0.0.1` and `localhost` into `server.pem` and `server.key`, in place of what is there.
    pub fn serve(&self, days: (i64, i64)) {
        let issued = self.issue(&["127.0.0.1", "localhost"], days);
        self.replace("server.pem", &issued.certificate);
        self.replace("server.key", &issued.private_key);
    }

    /// Writes a file anew and moves it into its place, as those do who renew certificates.
    pub fn replace(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn name(common: &str) -> openssl::x509::X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_nid(Nid::COMMONNAME, common).unwrap();
    builder.build()
}

fn begin(common: &str, key: &PKey<Private>, (from, until): (i64, i64)) -> X509Builder {
    // Both sides of a handshake judge it by the machine's clock.
    let now = SystemClock.now().seconds();
    let at = |days: i64| Asn1Time::from_unix(now + days * DAY).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(127, MsbOption::ONE, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name(common)).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&at(from)).unwrap();
    builder.set_not_after(&at(until)).unwrap();
    builder
}
