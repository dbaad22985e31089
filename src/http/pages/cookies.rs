//! The two cookies of a browser (RFC 6265bis): the sign-in, and the visit that forms are tied to.
//!
//! Over https both have the prefix `__Host-`, so that neither a sub-domain nor plain http can set them. Plain http is
//! there on loopback alone, where the prefix is not to be had. Both hold 32 bytes in base64url.
//!
//! Reading takes a cookie only where it is beyond doubt. Two of one name with different values mean that somebody else
//! planted one; which one is the browser's own cannot be told, so neither counts, and the user signs in again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem::http::{HeaderMap, HeaderValue, header};

use crate::domain::secret::{Secret32, SecretText};

/// Characters of 32 bytes in base64url.
const CHARACTERS: usize = 43;

/// The cookies of one service.
#[derive(Clone, Copy, Debug)]
pub struct Cookies {
    secure: bool,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// Who is signed in here.
    SignIn,
    /// That this is the browser which was given a form. Gone when the browser closes.
    Visit,
}

impl Cookies {
    /// As the scheme of the issuer has it.
    pub fn of_issuer(issuer: &str) -> Self {
        Self { secure: issuer.starts_with("https://") }
    }

    pub const fn name(self, cookie: Cookie) -> &'static str {
        match (cookie, self.secure) {
            (Cookie::SignIn, true) => "__Host-latchkey",
            (Cookie::SignIn, false) => "latchkey",
            (Cookie::Visit, true) => "__Host-latchkey-visit",
            (Cookie::Visit, false) => "latchkey-visit",
        }
    }

    /// The value of `Set-Cookie` that begins or renews a cookie. `keep` is for how long a sign-in outlives the browser
    /// that is closed: until its absolute end. A visit gets none.
    pub fn set(self, cookie: Cookie, secret: &Secret32, keep: Option<Duration>) -> HeaderValue {
        let value = SecretText::new(URL_SAFE_NO_PAD.encode(secret.expose()));
        self.header(cookie, value.expose(), keep)
    }

    /// The value of `Set-Cookie` that ends a cookie.
    pub fn clear(self, cookie: Cookie) -> HeaderValue {
        self.header(cookie, "", Some(Duration::ZERO))
    }

    /// `SameSite=Lax`: a link of another site leads here signed in, a form of another site does not.
    fn header(self, cookie: Cookie, value: &str, keep: Option<Duration>) -> HeaderValue {
        let mut text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax", self.name(cookie));
        if self.secure {
            text.push_str("; Secure");
        }
        if let Some(keep) = keep {
            text.push_str(&format!("; Max-Age={}", keep.as_secs()));
        }
        // Names and base64url are always a header value.
        let mut header = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }

    /// What the browser holds; `None` where it holds nothing that this service could have set, or two different ones.
    pub fn read(self, cookie: Cookie, headers: &HeaderMap) -> Option<Secret32> {
        let name = self.name(cookie);
        let mut found: Option<Secret32> = None;
        // HTTP/2 clients may send each pair in a line of its own (RFC 9113 section 8.2.3).
        for line in headers.get_all(header::COOKIE) {
            // Read as bytes: another application's cookie may hold anything.
            for pair in line.as_bytes().split(|byte| *byte == b';') {
                let Some(value) = pair.trim_ascii().strip_prefix(name.as_bytes()).and_then(|v| v.strip_prefix(b"="))
                else {
                    continue;
                };
                let value = secret(value)?;
                if found.as_ref().is_some_and(|known| *known != value) {
                    return None;
                }
                found = Some(value);
            }
        }
        found
    }
}

fn secret(value: &[u8]) -> Option<Secret32> {
    if value.len() != CHARACTERS {
        return None;
    }
    let mut bytes = [0; 32];
    URL_SAFE_NO_PAD.decode_slice(value, &mut bytes).ok()?;
    Some(Secret32::new(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECURE: Cookies = Cookies { secure: true };
    const LOCAL: Cookies = Cookies { secure: false };

    fn value(byte: u8) -> String {
        URL_SAFE_NO_PAD.encode([byte; 32])
    }

    fn read(cookies: Cookies, lines: &[String]) -> Option<u8> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        cookies.read(Cookie::SignIn, &headers).map(|secret| secret.expose()[0])
    }

    #[test]
    fn attributes_follow_the_scheme() {
        let text = |value: HeaderValue| value.to_str().unwrap().to_owned();
        let day = Some(Duration::from_secs(86400));
        let secret = Secret32::new([0; 32]);
        assert_eq!(
            text(Cookies::of_issuer("https://id.example.com/a").set(Cookie::SignIn, &secret, day)),
            format!("__Host-latchkey={}; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=86400", "A".repeat(43))
        );
        assert_eq!(
            text(Cookies::of_issuer("http://127.0.0.1:8420").set(Cookie::Visit, &secret, None)),
            format!("latchkey-visit={}; Path=/; HttpOnly; SameSite=Lax", "A".repeat(43))
        );
        assert_eq!(
            text(SECURE.clear(Cookie::Visit)),
            "__Host-latchkey-visit=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
        );
    }

    #[test]
    fn what_was_set_is_read() {
        let lines = [format!("a=b; __Host-latchkey={}; __Host-latchkey-visit={}", value(7), value(8)), "c".to_owned()];
        assert_eq!(read(SECURE, &lines), Some(7));
        assert_eq!(read(LOCAL, &lines), None);
        assert_eq!(read(LOCAL, &[format!("latchkey={}", value(7))]), Some(7));
        // A cookie without the prefix counts for nothing over https: anybody could have set it.
        assert_eq!(read(SECURE, &[format!("latchkey={}", value(7))]), None);
    }

    #[test]
    fn doubt_counts_as_nothing() {
        let (one, two) = (format!("latchkey={}", value(1)), format!("latchkey={}", value(2)));
        assert_eq!(read(LOCAL, &[format!("{one};{one}"), one.clone()]), Some(1));
        assert_eq!(read(LOCAL, &[format!("{one}; {two}")]), None);
        assert_eq!(read(LOCAL, &[two, one.clone()]), None);
        assert_eq!(read(LOCAL, &[format!("{one}; latchkey=garbage")]), None);
        for broken in ["latchkey", "latchkey=", "latchkey=\"\"", &format!("{one}A"), &one.replace('A', "+"), &one[..51]]
        {
            assert_eq!(read(LOCAL, &[broken.to_owned()]), None, "{broken}");
        }
        assert_eq!(read(LOCAL, &[format!("x{one}"), format!("latchkey_={}", value(1))]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(0x20_u8..=0xff, 0..300), at in any::<prop::sample::Index>()) {
            let mut line: Vec<u8> = bytes.into_iter().filter(|byte| *byte != 0x7f).collect();
            let _ = HeaderValue::from_bytes(&line).map(|header| {
                let headers = HeaderMap::from_iter([(header::COOKIE, header)]);
                assert!(LOCAL.read(Cookie::SignIn, &headers).is_none());
            });
            // In the middle of it, the cookie is still found.
            line.retain(|byte| *byte != b';');
            let at = at.index(line.len() + 1);
            let own = format!(";latchkey={};", value(9)).into_bytes();
            line.splice(at..at, own);
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_bytes(&line).unwrap())]);
            prop_assert_eq!(LOCAL.read(Cookie::SignIn, &headers), Some(Secret32::new([9; 32])));
        }
    }
}
