//! `client_secret_basic`: HTTP Basic (RFC 7617) whose two halves are form-encoded first (RFC 6749 section 2.3.1).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{Proof, invalid};
use crate::domain::client::AuthMethod;
use crate::domain::error::{Code, OAuthError};
use crate::domain::secret::SecretText;

/// Some clients leave the padding out; it carries nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the header. `named` is the `client_id` of the body, which may repeat the one of the header and may not differ.
pub(super) fn read(header: &str, named: Option<&str>) -> Result<Proof, OAuthError> {
    let (scheme, credentials) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(invalid("the Authorization header takes the scheme Basic here"));
    }
    let (client_id, secret) = decode(credentials.trim()).map_err(invalid)?;
    if named.is_some_and(|named| named != client_id) {
        return Err(OAuthError::new(
            Code::InvalidRequest,
            "client_id is another one than in the Authorization header; leave it out",
        ));
    }
    Ok(Proof { client_id, secret: Some(secret), method: AuthMethod::ClientSecretBasic })
}

fn decode(credentials: &str) -> Result<(String, SecretText), &'static str> {
    let bytes = BASE64.decode(credentials).map(Zeroizing::new).map_err(|_| "the Basic credentials are not base64")?;
    let colon = bytes
        .iter()
        .position(|byte| *byte == b':')
        .ok_or("the Basic credentials have no colon between client_id and secret")?;
    let client_id = form_decoded(&bytes[..colon])?;
    let secret = form_decoded(&bytes[colon + 1..])?;
    if client_id.is_empty() {
        return Err("the Basic credentials have no client_id before the colon");
    }
    Ok((client_id.to_string(), SecretText::new(secret.as_str())))
}

/// `application/x-www-form-urlencoded`, as RFC 6749 appendix B decodes it.
fn form_decoded(encoded: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    const FAULT: &str = "the Basic credentials hold a % that two hex digits do not follow: client_id and secret are \
                         form-encoded first (RFC 6749 section 2.3.1)";
    let mut decoded = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(*byte).to_digit(16)).ok_or(FAULT);
                let value = digit()? * 16 + digit()?;
                u8::try_from(value).map_err(|_| FAULT)?
            }
            plain => *plain,
        });
    }
    let text = str::from_utf8(&decoded).map_err(|_| "the Basic credentials are not UTF-8")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use proptest::prelude::*;

    use super::*;

    fn header(plain: &[u8]) -> String {
        format!("Basic {}", general_purpose::STANDARD.encode(plain))
    }

    fn both(header: &str) -> Option<(String, String)> {
        let proof = read(header, None).ok()?;
        Some((proof.client_id, proof.secret?.expose().to_owned()))
    }

    #[test]
    fn both_halves_are_form_decoded() {
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(both(&header(b"a:b")), pair("a", "b"));
        assert_eq!(both(&header(b"a%3Ab:c+d%2B%25%c3%a9")), pair("a:b", "c d+%\u{e9}"));
        assert_eq!(both(&header(b"a:b:c")), pair("a", "b:c"), "the first colon divides");
        assert_eq!(both(&header(b"a:")), pair("a", ""));
        assert_eq!(both("bAsIc  YTpi "), pair("a", "b"));
        assert_eq!(both("Basic YTpiYg"), pair("a", "bb"), "without padding");
    }

    #[test]
    fn what_is_malformed_is_invalid_and_says_why() {
        for (text, word) in [
            ("Bearer abc".to_owned(), "scheme"),
            ("Basic".to_owned(), "colon"),
            ("Basic @@@".to_owned(), "base64"),
            (header(b"no colon"), "colon"),
            (header(b":secret"), "client_id"),
            (header(b"a:100%"), "hex"),
            (header(b"a:%zz"), "hex"),
            (header(b"a:%+1"), "hex"),
            (header(b"a:\xff"), "UTF-8"),
            (header(b"a:%ff"), "UTF-8"),
        ] {
            let error = read(&text, None).unwrap_err();
            assert_eq!(error.code, Code::InvalidClient, "{text}");
            assert!(error.description.contains(word), "{text}: {}", error.description);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(id in "\\PC{1,20}", secret in "\\PC{0,40}") {
            let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            let header = header(format!("{}:{}", encoded(&id), encoded(&secret)).as_bytes());
            prop_assert_eq!(both(&header), Some((id, secret)));
        }

        #[test]
        fn no_header_makes_it_panic(text in "\\PC{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&text, None);
            let _ = read(&header(&bytes), Some("a"));
        }
    }
}
