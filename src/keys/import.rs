//! Import of private keys from PEM (RFC 7468): PKCS#8 (RFC 5958), PKCS#1 (RFC 8017 appendix A.1.2) and SEC 1
//! (RFC 5915), RSA of 2,048 to 8,192 bits and P-256.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::pkcs8::{DecodePrivateKey as _, PrivateKeyInfoRef};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use zeroize::Zeroizing;

use super::generate::{GeneratedKey, RSA_BITS, of_p256, of_rsa};

/// The largest RSA modulus taken, in bits: a larger one costs every verifier too much.
pub const RSA_LARGEST: usize = 8192;

/// A PEM file of the largest key taken is about 6,300 bytes.
const LONGEST_TEXT: usize = 64 * 1024;

const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";

/// Why a text is not imported. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("this is not PEM: a line -----BEGIN PRIVATE KEY-----, base64 lines and an END line are")]
    NotPem,
    #[error("this holds no private key, only {0}: export the private half, unencrypted")]
    NotPrivate(String),
    #[error("this private key is encrypted: decrypt it first with `openssl pkey -in FILE`")]
    Encrypted,
    #[error("this holds more than one private key: import one at a time")]
    SeveralKeys,
    #[error("this key is of another kind: RSA of {RSA_BITS} to {RSA_LARGEST} bits and P-256 are taken ({0})")]
    Unsupported(String),
    #[error("this RSA key has {0} bits: {RSA_BITS} to {RSA_LARGEST} are taken")]
    RsaSize(usize),
    #[error("the key inside is damaged: {0}")]
    Damaged(String),
}

/// Reads one unencrypted private key. Blocks around it (certificates, EC parameters) are skipped.
///
/// # Errors
/// There is no private key in the text, or it is encrypted, damaged, too small or of another kind.
pub fn from_pem(text: &str) -> Result<GeneratedKey, ImportError> {
    if text.len() > LONGEST_TEXT {
        return Err(ImportError::NotPem);
    }
    let blocks = blocks(text)?;
    let mut private = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
    let Some(block) = private.next() else {
        let label = blocks.first().map(|block| block.label.to_owned());
        return Err(label.map_or(ImportError::NotPem, ImportError::NotPrivate));
    };
    if private.next().is_some() {
        return Err(ImportError::SeveralKeys);
    }
    // RFC 1421 headers are how PKCS#1 and SEC 1 files say that they are encrypted.
    if block.label == "ENCRYPTED PRIVATE KEY" || block.body.contains("Proc-Type:") {
        return Err(ImportError::Encrypted);
    }
    let der = decode(block.body)?;
    match block.label {
        "PRIVATE KEY" => from_pkcs8(&der),
        "RSA PRIVATE KEY" => from_rsa(rsa::PrivateKey::from_pkcs1_der(&der).map_err(damaged)?),
        "EC PRIVATE KEY" => {
            let key = p256::SecretKey::from_sec1_der(&der);
            from_ec(&key.map_err(|error| not_p256(&error))?)
        }
        other => Err(ImportError::Unsupported(other.to_owned())),
    }
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

fn blocks(text: &str) -> Result<Vec<Block<'_>>, ImportError> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----").ok_or(ImportError::NotPem)?;
        let (body, after) = after.split_once(&format!("-----END {label}-----")).ok_or(ImportError::NotPem)?;
        blocks.push(Block { label, body });
        rest = after;
    }
    Ok(blocks)
}

fn decode(body: &str) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let compact: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    STANDARD.decode(compact.as_bytes()).map(Zeroizing::new).map_err(|_| ImportError::NotPem)
}

fn from_pkcs8(der: &[u8]) -> Result<GeneratedKey, ImportError> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(damaged)?;
    match info.algorithm.oid.to_string().as_str() {
        RSA_ENCRYPTION => from_rsa(rsa::PrivateKey::try_from(info).map_err(damaged)?),
        EC_PUBLIC_KEY => {
            let key = p256::SecretKey::from_pkcs8_der(der);
            from_ec(&key.map_err(|error| not_p256(&error))?)
        }
        oid => Err(ImportError::Unsupported(format!("its algorithm is {oid}"))),
    }
}

fn from_rsa(key: rsa::PrivateKey) -> Result<GeneratedKey, ImportError> {
    let bits = key.n().bit_width_vartime() as usize;
    if !(RSA_BITS..=RSA_LARGEST).contains(&bits) {
        return Err(ImportError::RsaSize(bits));
    }
    of_rsa(&key).map_err(ImportError::Damaged)
}

fn from_ec(key: &p256::SecretKey) -> Result<GeneratedKey, ImportError> {
    of_p256(key).map_err(ImportError::Damaged)
}

fn not_p256(error: &dyn std::fmt::Display) -> ImportError {
    ImportError::Unsupported(format!("no EC key on P-256: {error}"))
}

fn damaged(error: impl ToString) -> ImportError {
    ImportError::Damaged(error.to_string())
}
