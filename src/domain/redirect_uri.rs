//! Redirect URIs (RFC 6749 section 3.1.2, RFC 8252 sections 7 and 8, RFC 9700 section 2.1): what may be registered, which
//! request matches it, and what the `form-action` of a page has to name for it.
//!
//! One strict reading serves all of it. What two readers could take for two things is refused at registration, so that
//! comparing strings is enough later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a registered URI, at most.
pub const LONGEST: usize = 2_048;

/// Schemes that browsers run, or open in the name of the page before.
const DANGEROUS: [&str; 8] = ["javascript", "data", "vbscript", "blob", "file", "filesystem", "about", "view-source"];

/// What an authorization response adds to the query (RFC 6749 section 4.1.2, RFC 9207).
const ADDED: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

const RELATIVE: &str = "it is not absolute; write it whole, as https://app.example.com/callback";
const LOWER_CASE: &str = "browsers send scheme and host in lower-case ASCII (xn--... for other letters), without an empty label; write them so";

/// Whom a URI leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whoever holds the certificate of its host.
    Web,
    /// Whatever listens on the user's own machine (RFC 8252 section 7.3).
    Loopback,
    /// Whatever app on the user's own machine claims the scheme (RFC 8252 section 7.1).
    PrivateUse,
}

/// Whom the redirect URI leads to.
///
/// # Errors
/// Why it may not be registered, with the mend.
pub fn kind_of(text: &str) -> Result<Kind, &'static str> {
    let uri = Uri::read(text)?;
    let mut names = uri.query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    if names.any(|name| ADDED.contains(&name)) {
        return Err("its query has a parameter that the answer adds (code, state, iss, error); call it something else");
    }
    uri.kind()
}

/// Whom a URI leads to that a server or a browser calls: by `https`, or by `http` on loopback.
///
/// # Errors
/// Why it may not be registered, with the mend.
pub fn server_kind(text: &str) -> Result<Kind, &'static str> {
    let uri = Uri::read(text)?;
    if !uri.is_http() {
        return Err("the scheme must be https, or http for loopback");
    }
    uri.kind()
}

/// Whether a request may name `requested` where `registered` is registered: the same string, but for the port of `http`
/// on a loopback address, which an app learns only when it listens (RFC 8252 section 7.3). `localhost` is a name, and
/// its port is not free.
pub fn matches(registered: &str, requested: &str) -> bool {
    registered == requested || around_port(registered).is_some_and(|known| around_port(requested) == Some(known))
}

/// What `form-action` has to allow for a form whose answer redirects to the URI: `scheme://host[:port]`, or `scheme:`
/// for a private-use scheme. `None` where it is no URI that could be registered.
///
/// Content Security Policy matches no address but 127.0.0.1 (CSP3 section 6.7.2.8): for others it is `scheme:`, too.
pub fn origin_of(text: &str) -> Option<String> {
    let uri = Uri::read(text).ok()?;
    uri.kind().ok()?;
    let named = uri.authority.filter(|authority| {
        let (host, _) = host_and_port(authority);
        uri.is_http() && address(host).is_none_or(|ip| ip == IpAddr::V4(Ipv4Addr::LOCALHOST))
    });
    Some(match named {
        Some(authority) => format!("{}://{authority}", uri.scheme),
        None => format!("{}:", uri.scheme),
    })
}

/// What RFC 3986 calls the components, as they stand in the text.
struct Uri<'a> {
    scheme: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Uri<'a> {
    fn read(text: &'a str) -> Result<Self, &'static str> {
        check_characters(text)?;
        if text.contains('*') {
            return Err("wildcards are not taken; name every URI");
        }
        if text.contains('#') {
            return Err(
                "it has a fragment, which no redirect keeps (RFC 6749 section 3.1.2); drop the # and what follows",
            );
        }
        let (scheme, rest) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).ok_or(RELATIVE)?;
        let (authority, rest) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                (Some(authority), rest)
            }
        };
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err("it has a user before an @, which hides the real host; drop it");
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.split('/').any(is_dot_segment) {
            return Err("its path has a segment . or .., which browsers resolve; write the path that it comes to");
        }
        Ok(Self { scheme, authority, path, query })
    }

    fn is_http(&self) -> bool {
        ["http", "https"].iter().any(|name| self.scheme.eq_ignore_ascii_case(name))
    }

    fn kind(&self) -> Result<Kind, &'static str> {
        if self.is_http() { self.kind_by_host() } else { self.kind_by_scheme() }
    }

    fn kind_by_host(&self) -> Result<Kind, &'static str> {
        if self.scheme.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(LOWER_CASE);
        }
        let (host, port) = host_and_port(self.authority.ok_or(RELATIVE)?);
        check_host(host)?;
        if port.is_some_and(|port| !is_port(port)) {
            return Err("the port is no port");
        }
        let is_loopback = host == "localhost" || address(host).is_some_and(|ip| ip.is_loopback());
        match (self.scheme, is_loopback) {
            (_, true) => Ok(Kind::Loopback),
            ("https", false) => Ok(Kind::Web),
            _ => Err(
                "http is taken for loopback only (127.0.0.1, [::1], localhost): codes would travel in the clear; use https",
            ),
        }
    }

    fn kind_by_scheme(&self) -> Result<Kind, &'static str> {
        if DANGEROUS.iter().any(|name| self.scheme.eq_ignore_ascii_case(name)) {
            return Err("browsers run or open what such a URI carries, in Latchkey's name; use https");
        }
        if !self.scheme.contains('.') {
            return Err("a scheme of an app is its domain name reversed, as com.example.app (RFC 8252 section 7.1): \
                        one without a dot is anybody's; use such a one, or https");
        }
        // Without this, `app.example.com:8443/callback` would be of the scheme `app.example.com`.
        if self.authority.is_none() && !self.path.starts_with('/') {
            return Err(
                "after the scheme of an app comes a slash: com.example.app:/callback; where a host was meant, \
                        put https:// before it",
            );
        }
        Ok(Kind::PrivateUse)
    }
}

/// Only what RFC 3986 section 2 knows. Whatever else some reader repairs, another one reads differently.
fn check_characters(text: &str) -> Result<(), &'static str> {
    if text.len() > LONGEST {
        return Err("it is longer than 2048 bytes");
    }
    if !text.is_ascii() {
        return Err("it has characters beyond ASCII; write the host as xn--... and percent-encode the others");
    }
    if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err("it has spaces or control characters; drop or percent-encode them");
    }
    if text.contains('\\') {
        return Err("it has a backslash, which browsers take for a slash; write / or %5C");
    }
    if text.contains(['"', '<', '>', '^', '`', '{', '|', '}']) {
        return Err("it has a character that no URI has (RFC 3986 section 2); percent-encode it");
    }
    let mut escapes = text.split('%').skip(1).map(str::as_bytes);
    if !escapes.all(|after| matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())) {
        return Err("it has a % without two hexadecimal digits after it; write %25");
    }
    Ok(())
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Browsers decode the dots, too.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if address(host).is_some() {
        return Ok(());
    }
    if host.is_empty() {
        return Err(RELATIVE);
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    if !host.split('.').all(is_label) {
        return Err(LOWER_CASE);
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        return Err("browsers read the host as an IP address; write all four numbers of it");
    }
    Ok(())
}

/// The address that the host is, where it is written in one way only.
fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let after_literal = authority.find(']').map_or(0, |at| at + 1);
    match authority[after_literal..].find(':') {
        Some(at) => (&authority[..after_literal + at], Some(&authority[after_literal + at + 1..])),
        None => (authority, None),
    }
}

/// 1 to 65535, as browsers write it.
fn is_port(text: &str) -> bool {
    text.starts_with(|c: char| matches!(c, '1'..='9')) && text.parse::<u16>().is_ok()
}

/// What stands before and after the port of `http` on a loopback address; `None` for anything else.
fn around_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = host_and_port(authority);
    let is_free = address(host)?.is_loopback() && port.is_none_or(is_port);
    is_free.then_some((host, tail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_leads_to_its_client_alone_may_be_registered() {
        for (uri, kind) in [
            ("https://app.example.com", Kind::Web),
            ("https://app.example.com/callback", Kind::Web),
            ("https://app.example.com:8443/a/b%2Fc/?tenant=7&x", Kind::Web),
            ("https://xn--bcher-kva.example/callback", Kind::Web),
            ("https://app.example.com/@me/a:b;c=d,e'f!(g)~", Kind::Web),
            ("https://192.0.2.7/callback", Kind::Web),
            ("https://[2001:db8::1]/callback", Kind::Web),
            ("https://localhost:8443/callback", Kind::Loopback),
            ("http://localhost:3000/callback", Kind::Loopback),
            ("http://127.0.0.1/callback", Kind::Loopback),
            ("http://127.0.0.1:5173", Kind::Loopback),
            ("http://[::1]:5173/callback?x=1", Kind::Loopback),
            ("com.example.app:/callback", Kind::PrivateUse),
            ("com.example.App://callback", Kind::PrivateUse),
            ("com.example.app:///callback?x=1", Kind::PrivateUse),
        ] {
            assert_eq!(kind_of(uri), Ok(kind), "{uri}");
        }
    }

    #[test]
    fn every_unsafe_uri_is_refused_with_its_reason() {
        let long = format!("https://app.example.com/{}", "x".repeat(LONGEST));
        for (uri, why) in [
            ("", "not absolute"),
            ("/callback", "not absolute"),
            ("//app.example.com/callback", "not absolute"),
            ("app.example.com/callback", "not absolute"),
            ("app.example.com:8443/callback", "put https:// before it"),
            ("https:", "not absolute"),
            ("https:/app.example.com/callback", "not absolute"),
            ("https:///callback", "not absolute"),
            ("https://*.example.com/callback", "wildcards"),
            ("https://app.example.com/*", "wildcards"),
            ("com.example.app:/*", "wildcards"),
            ("https://app.example.com/callback#", "fragment"),
            ("https://app.example.com/#/callback", "fragment"),
            ("https://user@app.example.com/callback", "before an @"),
            ("https://app.example.com:pass@evil.example/", "before an @"),
            ("com.example.app://user@callback", "before an @"),
            ("http://app.example.com/callback", "loopback only"),
            ("http://127.0.0.1.evil.example/callback", "loopback only"),
            ("http://localhost.evil.example/callback", "loopback only"),
            ("http://app.localhost/callback", "loopback only"),
            ("http://0.0.0.0/callback", "loopback only"),
            ("http://[::ffff:127.0.0.1]/callback", "loopback only"),
            ("http://127.1/callback", "all four numbers"),
            ("http://2130706433/callback", "all four numbers"),
            ("http://0x7f.0.0.0x1/callback", "all four numbers"),
            ("http://127.0.0.01/callback", "all four numbers"),
            ("javascript:alert(1)", "run or open"),
            ("JavaScript:alert(1)", "run or open"),
            ("data:text/html,x", "run or open"),
            ("file:///etc/passwd", "run or open"),
            ("myapp:/callback", "without a dot"),
            ("ftp://app.example.com/callback", "without a dot"),
            ("urn:ietf:wg:oauth:2.0:oob", "without a dot"),
            ("com.example.app:callback", "comes a slash"),
            ("com.example.app:", "comes a slash"),
            ("https://app.example.com/a b", "spaces"),
            (" https://app.example.com/", "spaces"),
            ("https://app.example.com/\r\nX: y", "control"),
            ("https://app.example.com/\0", "control"),
            ("https://app.example.com\\@evil.example/", "backslash"),
            ("https:\\\\app.example.com\\", "backslash"),
            ("https://bücher.example/callback", "beyond ASCII"),
            ("https://app.example.com/é", "beyond ASCII"),
            ("https://app.example.com/\u{202e}", "beyond ASCII"),
            ("https://app.example.com/{tenant}", "no URI has"),
            ("https://app.example.com/\"", "no URI has"),
            ("https://app.example.com/100%", "two hexadecimal digits"),
            ("https://app.example.com/%zz", "two hexadecimal digits"),
            ("https://app.example.com/a/../callback", "segment"),
            ("https://app.example.com/./callback", "segment"),
            ("https://app.example.com/a/%2E%2e", "segment"),
            ("HTTPS://app.example.com/callback", "lower-case"),
            ("https://App.example.com/callback", "lower-case"),
            ("https://app.example.com./callback", "empty label"),
            ("https://app..example.com/callback", "empty label"),
            ("https://app%2eexample.com/callback", "lower-case"),
            ("https://[::1/callback", "lower-case"),
            ("https://[fe80::1%25eth0]/callback", "lower-case"),
            ("https://app.example.com:/callback", "no port"),
            ("https://app.example.com:0/callback", "no port"),
            ("https://app.example.com:0443/callback", "no port"),
            ("https://app.example.com:65536/callback", "no port"),
            ("https://app.example.com:+443/callback", "no port"),
            ("https://app.example.com/callback?code=1", "the answer adds"),
            ("https://app.example.com/callback?a=b&state", "the answer adds"),
            (long.as_str(), "longer"),
        ] {
            let told = kind_of(uri).expect_err(uri);
            assert!(told.contains(why), "{uri}: {told}");
            assert_eq!(origin_of(uri).is_some(), why == "the answer adds", "{uri}");
        }
    }

    #[test]
    fn what_a_server_calls_is_no_app() {
        assert_eq!(server_kind("https://app.example.com/logout?code=1"), Ok(Kind::Web));
        assert_eq!(server_kind("http://127.0.0.1:3000/logout"), Ok(Kind::Loopback));
        for uri in ["com.example.app:/logout", "http://app.example.com/logout", "https://app.example.com/#logout", "x"]
        {
            assert!(server_kind(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn no_trick_matches() {
        const WEB: &str = "https://app.example.com/callback";
        const LOOPBACK: &str = "http://127.0.0.1/callback";
        const NAMED: &str = "http://localhost:3000/callback";
        const APP: &str = "com.example.app:/callback";
        for (registered, tricks) in [
            (
                WEB,
                &[
                    "",
                    "https://app.example.com",
                    "https://app.example.com/",
                    "https://app.example.com/callback/",
                    "https://app.example.com/callback/x",
                    "https://app.example.com/callbackx",
                    "https://app.example.com/Callback",
                    "https://app.example.com/callback?",
                    "https://app.example.com/callback?added=1",
                    "https://app.example.com/callback#",
                    "https://app.example.com/callback%00",
                    "https://app.example.com/callback%2f",
                    "https://app.example.com%2fcallback",
                    "https://app.example.com/%63allback",
                    "https://app.example.com/x/../callback",
                    "https://app.example.com/./callback",
                    "https://app.example.com//callback",
                    "https://app.example.com:443/callback",
                    "https://app.example.com:8443/callback",
                    "https://app.example.com./callback",
                    "https://APP.example.com/callback",
                    "HTTPS://app.example.com/callback",
                    "http://app.example.com/callback",
                    "https://user@app.example.com/callback",
                    "https://app.example.com@evil.example/callback",
                    "https://app.example.com\\@evil.example/callback",
                    "https://app.example.com.evil.example/callback",
                    "https://evil.example/https://app.example.com/callback",
                    "https://аpp.example.com/callback",
                    "https://app.example.com/callback\u{200b}",
                    "https://app.example.com/callback ",
                    " https://app.example.com/callback",
                    "//app.example.com/callback",
                    "/callback",
                    "javascript://app.example.com/callback",
                ][..],
            ),
            (
                LOOPBACK,
                &[
                    "http://127.0.0.1.evil/callback",
                    "http://127.0.0.1:80.evil/callback",
                    "http://127.0.0.1@evil/callback",
                    "http://127.0.0.1:80@evil/callback",
                    "http://127.0.0.1:80\\@evil/callback",
                    "http://127.0.0.1:80#@evil/callback",
                    "http://127.0.0.1:80?@evil/callback",
                    "http://user@127.0.0.1:80/callback",
                    "http://localhost/callback",
                    "http://localhost@evil/callback",
                    "http://localhost:80/callback",
                    "http://[::1]:80/callback",
                    "http://127.0.0.2:80/callback",
                    "http://127.1:80/callback",
                    "http://0x7f.0.0.1:80/callback",
                    "http://2130706433:80/callback",
                    "http://127.0.0.1.:80/callback",
                    "http://127.0.0.1:/callback",
                    "http://127.0.0.1:0/callback",
                    "http://127.0.0.1:080/callback",
                    "http://127.0.0.1:+80/callback",
                    "http://127.0.0.1:80:80/callback",
                    "http://127.0.0.1:65536/callback",
                    "http://127.0.0.1:８０/callback",
                    "http://127.0.0.1:80/callback/",
                    "http://127.0.0.1:80/callback?added=1",
                    "http://127.0.0.1:80/callback#",
                    "http://127.0.0.1:80/Callback",
                    "http://127.0.0.1:80/%2e/callback",
                    "http://127.0.0.1:80//callback",
                    "https://127.0.0.1:80/callback",
                    "HTTP://127.0.0.1:80/callback",
                    "//127.0.0.1:80/callback",
                ],
            ),
            (
                NAMED,
                &[
                    "http://localhost:3001/callback",
                    "http://localhost/callback",
                    "http://localhost@evil/callback",
                    "http://localhost:3000@evil/callback",
                    "http://localhost.evil:3000/callback",
                    "http://127.0.0.1:3000/callback",
                ],
            ),
            (
                APP,
                &[
                    "com.example.app://callback",
                    "com.example.app:/callback/",
                    "com.example.app:/callback?added=1",
                    "COM.example.app:/callback",
                    "com.example.apps:/callback",
                    "com.example.app.evil:/callback",
                ],
            ),
        ] {
            assert!(matches(registered, registered), "{registered}");
            for trick in tricks {
                assert!(!matches(registered, trick), "{registered}: {trick}");
            }
        }
    }

    #[test]
    fn the_port_of_a_loopback_address_is_free() {
        for registered in ["http://127.0.0.1/cb?x=1", "http://127.0.0.1:4000/cb?x=1"] {
            for requested in ["http://127.0.0.1/cb?x=1", "http://127.0.0.1:51004/cb?x=1", "http://127.0.0.1:1/cb?x=1"] {
                assert!(matches(registered, requested), "{registered} {requested}");
            }
        }
        assert!(matches("http://[::1]/cb", "http://[::1]:65535/cb"));
        assert!(matches("http://127.0.0.1", "http://127.0.0.1:8080"));
        assert!(!matches("http://192.0.2.7/cb", "http://192.0.2.7:8080/cb"), "of a loopback address alone");
        assert!(!matches("https://127.0.0.1/cb", "https://127.0.0.1:8080/cb"), "and by http alone");
    }

    #[test]
    fn the_origin_is_what_a_policy_can_name() {
        for (uri, origin) in [
            ("https://app.example.com/callback?x=1", "https://app.example.com"),
            ("https://app.example.com:8443?x=1", "https://app.example.com:8443"),
            ("http://localhost:3000/callback", "http://localhost:3000"),
            ("http://127.0.0.1:51004/callback", "http://127.0.0.1:51004"),
            ("http://[::1]:51004/callback", "http:"),
            ("https://192.0.2.7/callback", "https:"),
            ("com.example.app:/callback", "com.example.app:"),
            ("com.example.app://callback", "com.example.app:"),
        ] {
            assert_eq!(origin_of(uri).as_deref(), Some(origin), "{uri}");
        }
        for uri in
            ["", "/callback", "javascript:alert(1)", "https://app.example.com;script-src/", "http://evil.example/"]
        {
            assert_eq!(origin_of(uri), None, "{uri}");
        }
    }

    /// What a careless or a malicious hand makes of a URI.
    fn mutated() -> impl Strategy<Value = (String, String)> {
        let registered = prop::sample::select(vec![
            "https://app.example.com/callback",
            "https://app.example.com:8443/callback?x=1",
            "http://127.0.0.1/callback",
            "http://[::1]:3000/callback",
            "http://localhost:3000/callback",
            "com.example.app:/callback",
        ]);
        let piece =
            prop_oneof!["[@:/?#\\\\.%*]", "[a-zA-Z0-9]", ":[0-9]{1,6}", "@evil\\.example", "\\PC", Just(String::new())];
        (registered, any::<prop::sample::Index>(), 0..3_usize, piece).prop_map(|(registered, at, cut, piece)| {
            let at = at.index(registered.len() + 1);
            let end = (at + cut).min(registered.len());
            (registered.to_owned(), format!("{}{piece}{}", &registered[..at], &registered[end..]))
        })
    }

    proptest! {
        #[test]
        fn nothing_but_a_loopback_port_may_differ((registered, requested) in mutated()) {
            if matches(&registered, &requested) && registered != requested {
                let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b':');
                let rest = |uri: &str| {
                    let host = ["http://127.0.0.1", "http://[::1]"].into_iter().find(|host| uri.starts_with(host))?;
                    let (port, path) = uri[host.len()..].split_once('/')?;
                    digits(port).then(|| (host, path.to_owned()))
                };
                prop_assert!(rest(&registered).is_some());
                prop_assert_eq!(rest(&registered), rest(&requested));
            }
        }

        #[test]
        fn what_matches_goes_to_the_same_place((registered, requested) in mutated()) {
            if matches(&registered, &requested) {
                prop_assert_eq!(kind_of(&registered), kind_of(&requested));
            }
        }

        #[test]
        fn any_text_is_judged_and_matches_itself(text in "\\PC{0,40}") {
            prop_assert!(matches(&text, &text));
            if kind_of(&text).is_ok() {
                prop_assert!(text.is_ascii() && !text.contains(['#', '*', '\\', ' ']));
                let origin = origin_of(&text).unwrap_or_default();
                prop_assert!(text.starts_with(&origin) && !origin.is_empty());
            }
        }

        #[test]
        fn an_origin_is_one_source_of_a_policy(host in "[a-z]{1,5}(\\.[a-z;, '@\"]{1,5}){1,2}", tail in "[/?].{0,10}") {
            if let Some(origin) = origin_of(&format!("https://{host}{tail}")) {
                prop_assert!(!origin.contains([';', ',', ' ', '\'', '"', '@']), "{}", origin);
            }
        }
    }
}
