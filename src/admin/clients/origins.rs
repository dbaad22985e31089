//! Browser origins (RFC 6454): what `allowed_origins` may hold, compared byte for byte with what a browser sends.

use std::net::IpAddr;

/// Why the text is no origin that a browser could send and a client may register; `None` where it is one.
pub fn browser_origin(text: &str) -> Option<&'static str> {
    if text.contains('*') {
        return Some("wildcards are not taken; name every origin");
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Some("an origin is scheme://host[:port]");
    };
    if authority.contains(['/', '?', '#', '@']) {
        return Some("an origin has no path, query or user; keep scheme://host[:port], without a closing slash");
    }
    let (host, port) = split_port(authority);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let is_host = !host.is_empty() && (is_ipv6(host) || host.bytes().all(plain));
    if !is_host {
        return Some("browsers send the host in lower-case ASCII (xn--... for others); write it so");
    }
    match (scheme, port) {
        ("https", Some("443")) | ("http", Some("80")) => {
            return Some("browsers leave the scheme's own port out; drop it");
        }
        (_, Some(port)) if !port.starts_with(|c: char| ('1'..='9').contains(&c)) || port.parse::<u16>().is_err() => {
            return Some("the port is no port");
        }
        _ => {}
    }
    match scheme {
        "https" => None,
        "http" if is_loopback(host) => None,
        "http" => Some("http is taken for loopback only; use https"),
        _ => Some("the scheme must be https, or http for loopback"),
    }
}

/// The host, and what follows the last colon outside an IPv6 literal.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_ipv6(host: &str) -> bool {
    literal(host).is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

fn literal(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = literal(host).unwrap_or(host);
    host == "localhost" || host.ends_with(".localhost") || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_exact_and_safe() {
        for text in [
            "https://app.example.com",
            "https://app.example.com:8443",
            "http://localhost:3000",
            "http://127.0.0.1",
            "http://[::1]:5173",
            "http://app.localhost:3000",
        ] {
            assert_eq!(browser_origin(text), None, "{text}");
        }
        for text in [
            "",
            "null",
            "*",
            "https://*.example.com",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://app.example.com?x",
            "https://me@app.example.com",
            "https://App.example.com",
            "https://bücher.example",
            "https://app.example.com:443",
            "http://localhost:80",
            "https://app.example.com:99999",
            "https://app.example.com:",
            "https://app.example.com:+1",
            "https://app.example.com:0443",
            "http://app.example.com",
            "ftp://app.example.com",
            "https://",
            "https://:443",
            "https://[::1",
        ] {
            assert!(browser_origin(text).is_some(), "{text}");
        }
    }
}
