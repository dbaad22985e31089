//! Where a request came from: the connection's address, and the user's own where a trusted proxy names it
//! (`X-Forwarded-For`, RFC 7239 `Forwarded`).
//!
//! Anyone can write these headers, so they count only when the connection itself comes from `server.trusted_proxies`.
//! Proxies append, so the list is read from its right end: trusted hops are skipped, and the first other address is
//! the user's. Anything malformed makes the whole header void.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use poem::http::HeaderMap;
use poem::{Addr, FromRequest, Request, RequestBody};

use crate::domain::origin::Origin;

/// The origin of a request that arrived from `peer`.
pub fn origin_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Origin {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return Origin::direct(peer);
    }
    Origin { peer, forwarded: forwarded(headers, trusted) }
}

/// The address of the connection; unspecified, which is nobody's, where the transport has none.
pub fn peer_of(request: &Request) -> IpAddr {
    match &request.remote_addr().0 {
        Addr::SocketAddr(address) => address.ip().to_canonical(),
        _ => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    }
}

/// As the frame around all routes found it.
impl<'a> FromRequest<'a> for Origin {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data::<Self>().copied().unwrap_or_else(|| Self::direct(peer_of(request))))
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// `Forwarded` is the standard one, so it decides where both are there.
fn forwarded(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let hops = if headers.contains_key("forwarded") {
        hops_of(headers, "forwarded", forwarded_for)
    } else {
        hops_of(headers, "x-forwarded-for", node)
    }?;
    hops.into_iter().rev().find(|hop| !is_trusted(*hop, trusted))
}

/// Every hop of every line of the header, leftmost first; `None` where one of them is not an address.
fn hops_of(headers: &HeaderMap, name: &str, read: fn(&str) -> Option<IpAddr>) -> Option<Vec<IpAddr>> {
    let mut hops = Vec::new();
    for line in headers.get_all(name) {
        for element in line.to_str().ok()?.split(',') {
            hops.push(read(element.trim())?);
        }
    }
    Some(hops)
}

/// The `for` of one RFC 7239 element: `for=192.0.2.60;proto=http;by=203.0.113.43`. Obfuscated and unknown nodes are
/// nobody's address.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("for") {
            let unquoted = match value.strip_prefix('"') {
                Some(rest) => rest.strip_suffix('"')?,
                None => value,
            };
            if found.replace(node(unquoted)?).is_some() {
                return None;
            }
        }
    }
    found
}

/// `192.0.2.1`, `192.0.2.1:47011`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:47011`.
fn node(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().map(IpAddr::V6).ok())?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

    fn trusted() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn seen(lines: &[(&'static str, &str)]) -> Option<String> {
        origin_of(PROXY, &headers(lines), &trusted()).forwarded.map(|address| address.to_string())
    }

    #[test]
    fn the_rightmost_untrusted_hop_is_the_user() {
        let table = [
            ("198.51.100.7", Some("198.51.100.7")),
            // What a spoofing user wrote stands to the left of what the proxy appended.
            ("1.2.3.4, 198.51.100.7", Some("198.51.100.7")),
            ("198.51.100.7, 10.0.0.2, 10.9.9.9", Some("198.51.100.7")),
            ("198.51.100.7:47011", Some("198.51.100.7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]:443", Some("2001:db8::7")),
            ("::ffff:198.51.100.7", Some("198.51.100.7")),
            ("10.0.0.2", None),
            ("unknown, 198.51.100.7", None),
            ("198.51.100.7,", None),
            ("", None),
            ("198.51.100.7;x", None),
        ];
        for (line, expected) in table {
            assert_eq!(seen(&[("x-forwarded-for", line)]).as_deref(), expected, "{line:?}");
        }
        assert_eq!(
            seen(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "198.51.100.7")]).as_deref(),
            Some("198.51.100.7")
        );
    }

    #[test]
    fn rfc_7239_is_read_and_comes_first() {
        let table = [
            ("for=198.51.100.7", Some("198.51.100.7")),
            ("For=\"[2001:db8::7]:4711\";proto=https;by=10.0.0.1", Some("2001:db8::7")),
            ("for=1.2.3.4, for=198.51.100.7, for=10.0.0.2", Some("198.51.100.7")),
            ("for=_hidden", None),
            ("for=unknown", None),
            ("proto=https", None),
            ("for=198.51.100.7;for=198.51.100.8", None),
            ("for=\"198.51.100.7", None),
        ];
        for (line, expected) in table {
            assert_eq!(seen(&[("forwarded", line)]).as_deref(), expected, "{line:?}");
        }
        assert_eq!(
            seen(&[("forwarded", "for=198.51.100.7"), ("x-forwarded-for", "1.2.3.4")]).as_deref(),
            Some("198.51.100.7")
        );
    }

    #[test]
    fn a_stranger_says_what_he_likes_in_vain() {
        for name in ["x-forwarded-for", "forwarded"] {
            let origin = origin_of(STRANGER, &headers(&[(name, "for=127.0.0.1"), (name, "127.0.0.1")]), &trusted());
            assert_eq!(origin, Origin::direct(STRANGER));
            assert_eq!(origin_of(PROXY, &headers(&[(name, "127.0.0.1")]), &[]), Origin::direct(PROXY));
        }
    }

    #[test]
    fn an_ipv4_peer_on_an_ipv6_socket_is_recognised() {
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        let origin = origin_of(mapped, &headers(&[("x-forwarded-for", "198.51.100.7")]), &trusted());
        assert_eq!(origin.peer, PROXY);
        assert!(origin.forwarded.is_some());
    }

    proptest! {
        /// Whatever a user writes, the address the trusted proxy appended is the one that counts.
        #[test]
        fn a_prefix_never_changes_what_the_proxy_saw(
            spoofed in proptest::collection::vec(any::<IpAddr>(), 0..5),
            user in any::<std::net::Ipv4Addr>(),
        ) {
            prop_assume!(user.octets()[0] != 10);
            let mut line: Vec<String> = spoofed.iter().map(ToString::to_string).collect();
            line.push(user.to_string());
            prop_assert_eq!(seen(&[("x-forwarded-for", &line.join(", "))]), Some(user.to_string()));
        }

        /// No text makes it panic, and a stranger's text never counts.
        #[test]
        fn any_text_is_survived(text in "[ -~]{0,80}") {
            let _ = seen(&[("x-forwarded-for", &text)]);
            let _ = seen(&[("forwarded", &text)]);
            let origin = origin_of(STRANGER, &headers(&[("forwarded", &text)]), &trusted());
            prop_assert_eq!(origin, Origin::direct(STRANGER));
        }
    }
}
