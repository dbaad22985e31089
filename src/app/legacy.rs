//! Legacy issuers as they are configured, their key files and lists of blacklisted tokens read, become verifiers.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::config::{LegacyIssuerSettings, Settings};
use crate::domain::ids::ClientId;
use crate::domain::legacy::{LegacyIssuer, SecretEncoding};
use crate::tokens::legacy::{LegacyKey, LegacyKeyFault, LegacyVerifier, WeakSecret, denied_of};

/// Why an issuer's tokens cannot be verified. Every text names the key and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    #[error("{key} = \"{}\" cannot be read: {source}; mend the path or its permissions", path.display())]
    Unreadable { key: String, path: PathBuf, source: std::io::Error },
    #[error("{key}: {source}; give the key that the former system signs with")]
    Key { key: String, source: LegacyKeyFault },
    #[error("{key}: it is not base64; write it as the former system has it, or leave secret_encoding out")]
    NotBase64 { key: String },
}

/// Reads whatever `[[legacy_issuers]]` names.
///
/// # Errors
/// See [`LegacyError`]: the first thing that is wrong.
pub fn verifiers(settings: &Settings) -> Result<Vec<LegacyVerifier>, LegacyError> {
    let issuers = settings.legacy_issuers.iter().enumerate();
    issuers.map(|(index, issuer)| verifier(&format!("legacy_issuers[{index}]"), issuer)).collect()
}

/// What there is to say of issuers that are taken as they are: which one, what, and what to do.
pub fn warnings(verifiers: &[LegacyVerifier]) -> Vec<(String, String, &'static str)> {
    let weak = verifiers.iter().enumerate().filter_map(|(index, verifier)| {
        let WeakSecret { alg, wanted, given } = verifier.weak_secret()?;
        let what = format!(
            "the secret of {} has {given} bytes, and {} wants {wanted} (RFC 7518 section 3.2): whoever has one of its tokens \
             may guess it, and then log in as anybody",
            verifier.issuer().name,
            alg.as_str(),
        );
        Some((format!("legacy_issuers[{index}]"), what, "set its cut_off as early as you can"))
    });
    weak.collect()
}

fn verifier(place: &str, settings: &LegacyIssuerSettings) -> Result<LegacyVerifier, LegacyError> {
    let (name, key) = key_of(place, settings)?;
    let denied = match &settings.denied_file {
        Some(path) => denied_of(&String::from_utf8_lossy(&read(&format!("{place}.denied_file"), path)?)),
        None => Default::default(),
    };
    let issuer = LegacyIssuer {
        name: settings.name.clone(),
        algorithms: settings.algorithms.clone(),
        issuer: settings.issuer.clone(),
        audience: settings.audience.clone(),
        user_claim: settings.user_claim.clone(),
        user_by: settings.user_by,
        started_claim: settings.started_claim.clone(),
        ends_claim: settings.ends_claim.clone(),
        require: settings.require.clone(),
        clients: settings.clients.iter().map(ClientId::new).collect(),
        denied,
        leeway: settings.leeway,
        cut_off: settings.cut_off,
    };
    LegacyVerifier::new(issuer, &key).map_err(|source| LegacyError::Key { key: name, source })
}

/// The key, and what the setting that gives it is called.
fn key_of(place: &str, settings: &LegacyIssuerSettings) -> Result<(String, LegacyKey), LegacyError> {
    let named = |name: &str| format!("{place}.{name}");
    if let Some(path) = &settings.public_key_file {
        let key = named("public_key_file");
        let pem = String::from_utf8_lossy(&read(&key, path)?).into_owned();
        return Ok((key, LegacyKey::Public(pem)));
    }
    if let Some(pem) = &settings.public_key {
        return Ok((named("public_key"), LegacyKey::Public(pem.clone())));
    }
    let (key, bytes) = match (&settings.secret_file, &settings.secret) {
        (Some(path), _) => (named("secret_file"), without_newline(read(&named("secret_file"), path)?)),
        (None, Some(text)) => (named("secret"), Zeroizing::new(text.expose().as_bytes().to_vec())),
        // Configuration has refused it.
        (None, None) => return Err(LegacyError::Key { key: named("secret"), source: LegacyKeyFault::Empty }),
    };
    let secret = match settings.secret_encoding {
        SecretEncoding::Text => bytes,
        SecretEncoding::Base64 => match decode(&bytes) {
            Some(secret) => secret,
            None => return Err(LegacyError::NotBase64 { key }),
        },
    };
    Ok((key, LegacyKey::Secret(secret)))
}

fn read(key: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, LegacyError> {
    std::fs::read(path).map(Zeroizing::new).map_err(|source| LegacyError::Unreadable {
        key: key.to_owned(),
        path: path.to_owned(),
        source,
    })
}

/// Editors end a file with a newline, which is no part of the secret.
fn without_newline(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    bytes
}

/// Either alphabet, padded or not: whoever wrote it copied it from somewhere.
fn decode(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [&alphabet::STANDARD, &alphabet::URL_SAFE];
    alphabets
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(text).ok().map(Zeroizing::new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::legacy::LegacyAlg;
    use crate::domain::secret::SecretText;
    use crate::domain::time::Timestamp;

    fn settings(change: impl FnOnce(&mut LegacyIssuerSettings)) -> Settings {
        let mut issuer = LegacyIssuerSettings {
            name: "old".into(),
            algorithms: vec![LegacyAlg::Hs256],
            user_claim: "sub".into(),
            clients: vec!["web".into()],
            cut_off: Timestamp::MAX,
            ..LegacyIssuerSettings::default()
        };
        change(&mut issuer);
        Settings { legacy_issuers: vec![issuer], ..Settings::default() }
    }

    fn secret_of(change: impl FnOnce(&mut LegacyIssuerSettings)) -> Vec<u8> {
        let settings = settings(change);
        match key_of("x", &settings.legacy_issuers[0]).unwrap().1 {
            LegacyKey::Secret(secret) => secret.to_vec(),
            LegacyKey::Public(_) => panic!("a secret was given"),
        }
    }

    #[test]
    fn a_secret_is_what_the_former_system_has() {
        let folder = tempfile::tempdir().unwrap();
        let file = |bytes: &[u8]| {
            std::fs::write(folder.path().join("secret"), bytes).unwrap();
            Some(folder.path().join("secret"))
        };
        assert_eq!(secret_of(|issuer| issuer.secret = Some(SecretText::new(" s "))), b" s ");
        for (bytes, expected) in
            [(&b"s\n"[..], &b"s"[..]), (b"s\r\n", b"s"), (b"s\n\n", b"s\n"), (b"s\xff ", b"s\xff ")]
        {
            assert_eq!(secret_of(|issuer| issuer.secret_file = file(bytes)), expected);
        }
        for text in ["-_8=", "-_8", "+/8=", "+/8"] {
            let secret = secret_of(|issuer| {
                issuer.secret_file = file(format!("{text}\n").as_bytes());
                issuer.secret_encoding = SecretEncoding::Base64;
            });
            assert_eq!(secret, [0xfb, 0xff], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_key_and_without_the_secret() {
        let error = |change: fn(&mut LegacyIssuerSettings)| verifiers(&settings(change)).unwrap_err().to_string();
        let missing = error(|issuer| issuer.secret_file = Some("/nonexistent/secret".into()));
        assert!(
            missing.contains("legacy_issuers[0].secret_file = \"/nonexistent/secret\" cannot be read"),
            "{missing}"
        );
        let denied = error(|issuer| {
            issuer.secret = Some(SecretText::new("hunter2"));
            issuer.denied_file = Some("/nonexistent/denied".into());
        });
        assert!(denied.contains("legacy_issuers[0].denied_file"), "{denied}");
        let no_base64 = error(|issuer| {
            issuer.secret = Some(SecretText::new("hunter2!"));
            issuer.secret_encoding = SecretEncoding::Base64;
        });
        assert!(no_base64.contains("it is not base64") && !no_base64.contains("hunter2"), "{no_base64}");
        let no_key = error(|issuer| {
            issuer.algorithms = vec![LegacyAlg::Rs256];
            issuer.public_key = Some("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".into());
        });
        assert!(no_key.contains("legacy_issuers[0].public_key: it is no public key for RS256 in PEM"), "{no_key}");
    }
}
