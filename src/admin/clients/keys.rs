//! What a client signs its assertions with, as a body has it (RFC 7591 section 2, OIDC Registration section 2): `jwks`,
//! `jwks_uri`, `token_endpoint_auth_signing_alg`.

use serde_json::Value;

use super::origins::is_loopback;
use crate::domain::client::{AuthMethod, Client};
use crate::domain::client_keys::{AssertionAlg, ClientJwks, JwksFault};
use crate::domain::error::{Code, OAuthError};
use crate::tokens::client_keys::KeySet;

const URI_MAX: usize = 2_048;

/// # Errors
/// [`Code::InvalidClientMetadata`]: not a set of public keys that verify.
pub(super) fn jwks(set: &Value) -> Result<ClientJwks, OAuthError> {
    let told = |fault: &dyn std::fmt::Display| refused(format!("jwks is refused: {fault}"));
    let jwks = ClientJwks::registered(set).map_err(|fault: JwksFault| told(&fault))?;
    KeySet::of_all(&jwks).map_err(|fault| told(&fault))?;
    Ok(jwks)
}

/// # Errors
/// [`Code::InvalidClientMetadata`]: not an https URL, nor one of http on loopback.
pub(super) fn jwks_uri(text: &str) -> Result<String, OAuthError> {
    let why = match text.len() <= URI_MAX && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        true => uri_fault(text),
        false => Some("it is too long, or holds what a URL does not"),
    };
    match why {
        None => Ok(text.to_owned()),
        Some(why) => {
            let shown: String = text.chars().take(80).collect();
            Err(refused(format!("jwks_uri: {shown:?} is refused: {why}")))
        }
    }
}

fn uri_fault(text: &str) -> Option<&'static str> {
    const HTTPS: &str = "write an https URL, such as https://app.example.com/jwks.json";
    if text.contains('#') {
        return Some("drop the fragment: it is never sent");
    }
    let Ok(uri) = text.parse::<http::Uri>() else { return Some(HTTPS) };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Some(HTTPS) };
    if authority.as_str().contains('@') {
        return Some("leave user and password out");
    }
    match scheme {
        "https" => None,
        "http" if is_loopback(authority.host()) => None,
        "http" => {
            Some("http is taken for loopback only: whoever changes the answer could sign for the client; use https")
        }
        _ => Some(HTTPS),
    }
}

/// # Errors
/// [`Code::InvalidClientMetadata`]: not an algorithm for assertions.
pub(super) fn signing_alg(name: &str) -> Result<AssertionAlg, OAuthError> {
    AssertionAlg::parse(name).ok_or_else(|| {
        let known = AssertionAlg::ALL.map(AssertionAlg::as_str).join(", ");
        let shown: String = name.chars().take(80).collect();
        refused(format!("token_endpoint_auth_signing_alg {shown:?} is not supported; these are: {known}"))
    })
}

/// What no single member shows.
///
/// # Errors
/// [`Code::InvalidClientMetadata`]: method, keys and algorithm contradict each other.
pub(super) fn check(client: &Client) -> Result<(), OAuthError> {
    let keys = &client.keys;
    let with_key = client.auth_method == AuthMethod::PrivateKeyJwt;
    match (keys.jwks.is_some(), keys.jwks_uri.is_some()) {
        (true, true) => {
            return Err(refused(
                "jwks and jwks_uri contradict each other (RFC 7591 section 2); set one of them to null",
            ));
        }
        (false, false) if with_key => {
            return Err(refused(
                "token_endpoint_auth_method \"private_key_jwt\" needs the client's public keys: give jwks, or jwks_uri where \
                 it publishes them itself",
            ));
        }
        _ => {}
    }
    let Some(alg) = keys.signing_alg else { return Ok(()) };
    let suits = match client.auth_method {
        AuthMethod::PrivateKeyJwt => AssertionAlg::WITH_A_KEY.contains(&alg),
        AuthMethod::ClientSecretJwt => alg == AssertionAlg::HS256,
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost | AuthMethod::None => false,
    };
    if !suits {
        return Err(refused(format!(
            "token_endpoint_auth_signing_alg {:?} contradicts token_endpoint_auth_method {:?}: private_key_jwt signs by RS256, \
             PS256 or ES256, client_secret_jwt by HS256, the others not at all; set it to null",
            alg.as_str(),
            client.auth_method.as_str(),
        )));
    }
    if let (true, Some(jwks)) = (with_key, &keys.jwks)
        && !jwks.keys.iter().any(|key| key.key.algs().contains(&alg) && key.alg.is_none_or(|only| only == alg))
    {
        return Err(refused(format!(
            "token_endpoint_auth_signing_alg {:?} is one that no key of jwks signs by; add such a key, or set it to null",
            alg.as_str()
        )));
    }
    Ok(())
}

fn refused(description: impl Into<std::borrow::Cow<'static, str>>) -> OAuthError {
    OAuthError::new(Code::InvalidClientMetadata, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwks_uri_is_https_or_loopback() {
        for good in [
            "https://app.example.com/jwks.json",
            "https://app.example.com:8443/keys?v=1",
            "http://127.0.0.1:9000/jwks",
            "http://[::1]/jwks",
            "http://localhost/jwks",
        ] {
            assert!(jwks_uri(good).is_ok(), "{good}");
        }
        for (bad, word) in [
            ("http://app.example.com/jwks.json", "loopback"),
            ("http://localhost.example.com/jwks", "loopback"),
            ("ftp://app.example.com/", "https"),
            ("/jwks.json", "https"),
            ("https:///jwks.json", "https"),
            ("https://user:pass@app.example.com/", "password"),
            ("https://app.example.com/#keys", "fragment"),
            ("https://app.example.com/a b", "URL"),
            ("", "https"),
        ] {
            let error = jwks_uri(bad).unwrap_err();
            assert!(error.code == Code::InvalidClientMetadata && error.description.contains(word), "{bad}: {error}");
        }
        assert!(jwks_uri(&format!("https://app.example.com/{}", "x".repeat(URI_MAX))).is_err());
    }
}
