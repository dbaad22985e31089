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

#[cfg(test)]
mod tests {
    use p256::pkcs8::{EncodePublicKey as _, LineEnding};
    use rsa::pkcs1::EncodeRsaPrivateKey as _;

    use super::*;
    use crate::domain::key::Alg;
    use crate::domain::sources::SystemEntropy;
    use crate::keys::generate::generate;

    fn pem(label: &str, der: &[u8]) -> String {
        let base64 = STANDARD.encode(der);
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    #[test]
    fn a_p256_key_is_taken_in_both_forms() {
        let key = generate(Alg::ES256, &SystemEntropy).unwrap();
        let parsed = p256::SecretKey::from_pkcs8_der(&key.private_der).unwrap();
        let sec1 = parsed.to_sec1_der().unwrap();
        // `openssl ecparam -genkey` writes the curve in a block of its own first.
        let parameters = pem("EC PARAMETERS", &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
        let forms = [
            pem("PRIVATE KEY", &key.private_der),
            pem("EC PRIVATE KEY", &sec1),
            parameters + &pem("EC PRIVATE KEY", &sec1),
        ];
        for form in forms.iter().flat_map(|form| [form.clone(), form.replace('\n', "\r\n")]) {
            let imported = from_pem(&form).unwrap();
            assert_eq!((&imported.kid, imported.alg), (&key.kid, Alg::ES256));
            assert_eq!(imported.public_jwk, key.public_jwk);
            assert_eq!(imported.private_der, key.private_der);
        }
        let public = parsed.public_key().to_public_key_pem(LineEnding::LF).unwrap();
        assert_eq!(from_pem(&public).unwrap_err(), ImportError::NotPrivate("PUBLIC KEY".to_owned()));
        let both = forms[0].clone() + &forms[1];
        assert_eq!(from_pem(&both).unwrap_err(), ImportError::SeveralKeys);
    }

    #[test]
    fn an_rsa_key_is_taken_in_both_forms() {
        let key = generate(Alg::RS256, &SystemEntropy).unwrap();
        let parsed = rsa::PrivateKey::from_pkcs8_der(&key.private_der).unwrap();
        let pkcs1 = parsed.to_pkcs1_der().unwrap();
        for form in [pem("PRIVATE KEY", &key.private_der), pem("RSA PRIVATE KEY", pkcs1.as_bytes())] {
            let imported = from_pem(&form).unwrap();
            assert_eq!((&imported.kid, imported.alg), (&key.kid, Alg::RS256));
            assert_eq!(imported.private_der, key.private_der);
        }
    }

    #[test]
    fn a_short_rsa_key_is_refused() {
        let mut rng = crate::keys::generate::EntropyRng(&SystemEntropy);
        let key = rsa::PrivateKey::new(&mut rng, 1024).unwrap();
        let form = pem("RSA PRIVATE KEY", key.to_pkcs1_der().unwrap().as_bytes());
        assert_eq!(from_pem(&form).unwrap_err(), ImportError::RsaSize(1024));
    }

    #[test]
    fn encrypted_keys_are_refused_with_the_way_out() {
        let legacy = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                      -----END EC PRIVATE KEY-----\n";
        for form in [pem("ENCRYPTED PRIVATE KEY", &[1, 2, 3]), legacy.to_owned()] {
            let error = from_pem(&form).unwrap_err();
            assert_eq!(error, ImportError::Encrypted);
            assert!(error.to_string().contains("openssl pkey"));
        }
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        // Ed25519 (RFC 8410 section 10.3).
        let ed25519 = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                       -----END PRIVATE KEY-----\n";
        assert!(matches!(from_pem(ed25519).unwrap_err(), ImportError::Unsupported(why) if why.contains("1.3.101.112")));
        // secp256k1: the same length, another curve.
        let mut sec1 = vec![0x30, 0x2e, 2, 1, 1, 4, 32];
        sec1.extend([1; 32]);
        sec1.extend([0xa0, 7, 6, 5, 0x2b, 0x81, 4, 0, 10]);
        assert!(matches!(from_pem(&pem("EC PRIVATE KEY", &sec1)).unwrap_err(), ImportError::Unsupported(_)));
        assert!(matches!(from_pem(&pem("DSA PRIVATE KEY", &sec1)).unwrap_err(), ImportError::Unsupported(_)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in
            ["", "hello", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n%\n-----END PRIVATE KEY-----"]
        {
            assert_eq!(from_pem(text).unwrap_err(), ImportError::NotPem, "{text}");
        }
        let key = generate(Alg::ES256, &SystemEntropy).unwrap();
        for length in 0..key.private_der.len() {
            assert!(from_pem(&pem("PRIVATE KEY", &key.private_der[..length])).is_err());
        }
    }
}
