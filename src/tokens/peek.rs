//! What a JWT says of itself before anybody verified it: enough to choose a way or a word, and never believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::verify::{LONGEST_TOKEN, is_access_token_type};
use crate::domain::time::Timestamp;

/// Whether the text means to be an access token of Latchkey's own: nobody else's is of this type (RFC 9068 section 2.1).
pub fn looks_like_access_token(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Header {
        typ: String,
    }
    part::<Header>(text, 0).is_some_and(|header| is_access_token_type(&header.typ))
}

/// Whether the token's own `exp` has passed, whoever wrote it there.
pub fn says_it_expired(text: &str, now: Timestamp) -> bool {
    #[derive(Deserialize)]
    struct Payload {
        /// RFC 7519 section 2: a number, which may have a fraction.
        exp: f64,
    }
    // Seconds of any time that matters are exact in an f64.
    part::<Payload>(text, 1).is_some_and(|payload| payload.exp <= now.seconds() as f64)
}

fn part<T: DeserializeOwned>(text: &str, index: usize) -> Option<T> {
    if text.len() > LONGEST_TOKEN {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(index)?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_type_tells_our_tokens_from_others() {
        for (header, ours) in [
            (r#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#, true),
            (r#"{"alg":"none","typ":"application/AT+JWT"}"#, true),
            (r#"{"alg":"HS256","typ":"JWT"}"#, false),
            (r#"{"alg":"HS256"}"#, false),
            ("[]", false),
        ] {
            assert_eq!(looks_like_access_token(&jwt(header, "{}")), ours, "{header}");
        }
        for text in ["", "lkr_AQ", ".", "a.b.c", "\u{e9}.\u{e9}", &"x".repeat(LONGEST_TOKEN + 1)] {
            assert!(!looks_like_access_token(text));
        }
    }

    #[test]
    fn a_token_tells_when_it_ends() {
        let now = Timestamp::from_seconds(1_000);
        for (payload, expired) in [
            (r#"{"exp":1000}"#, true),
            (r#"{"exp":999.5}"#, true),
            (r#"{"exp":1000.5}"#, false),
            (r#"{"exp":1e30}"#, false),
            (r#"{"exp":"1"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(says_it_expired(&jwt("{}", payload), now), expired, "{payload}");
        }
        assert!(!says_it_expired("garbage", now));
    }
}
