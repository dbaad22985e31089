//! Which addresses are connected to: those of the public internet, and what the operator names (`server.outbound_allow`).
//!
//! Refused are loopback, private (RFC 1918), link-local (the metadata services of clouds among them), shared (RFC 6598),
//! unique local (RFC 4193), multicast, documentation and all other special ranges (RFC 6890), also where they are written
//! as IPv6 addresses that carry an IPv4 one.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Special ranges of IPv4 (the IANA registry of RFC 6890).
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All that IPv6 has given out for the public internet.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Special ranges within it. 2001::/23 holds Teredo, whose addresses carry an IPv4 one.
const SPECIAL_V6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Networks whose addresses carry an IPv4 one: 6to4 (RFC 3056) after 16 bits, NAT64 (RFC 6052) in the last 32.
const SIX_TO_FOUR: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// A host that is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} has the address {address}, which is no public one; if it is meant, name its network in \
     server.outbound_allow"
)]
pub struct Refused {
    pub host: String,
    pub address: IpAddr,
}

/// Where names are looked up.
#[async_trait]
pub trait Names: Send + Sync {
    /// # Errors
    /// The name has no address.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// As the machine has them.
#[derive(Debug, Default)]
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Resolves names for the HTTP client, to addresses that are connected to and to nothing else.
#[derive(Clone)]
pub struct Guard {
    allow: Arc<[IpNet]>,
    loopback: bool,
    names: Arc<dyn Names>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("allow", &self.allow).field("loopback", &self.loopback).finish_non_exhaustive()
    }
}

impl Guard {
    pub fn new(allow: Vec<IpNet>, loopback: bool, names: Arc<dyn Names>) -> Self {
        Self { allow: allow.into(), loopback, names }
    }

    /// # Errors
    /// The address is internal, and nobody has named its network.
    pub fn judge(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        let canonical = address.to_canonical();
        let is_taken = is_public(canonical)
            || (self.loopback && canonical.is_loopback())
            || self.allow.iter().any(|net| net.contains(&canonical));
        if is_taken { Ok(()) } else { Err(Refused { host: host.to_owned(), address }) }
    }

    /// One address that is refused refuses the name: nobody publishes it by mistake beside public ones.
    async fn addresses(&self, host: &str) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found = self.names.addresses(host).await?;
        for address in &found {
            self.judge(host, *address)?;
        }
        // The client puts the port of the URL in the place of 0.
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|(net, bits)| within_v4(address, *net, *bits)),
        IpAddr::V6(address) => {
            if let Some(carried) = carried(address) {
                return is_public(IpAddr::V4(carried));
            }
            within_v6(address, GLOBAL_V6) && !SPECIAL_V6.iter().any(|net| within_v6(address, *net))
        }
    }
}

fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    let at = match () {
        () if within_v6(address, SIX_TO_FOUR) => 2,
        () if within_v6(address, NAT64) => 12,
        () => return None,
    };
    Some(Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]))
}

fn within_v4(address: Ipv4Addr, net: Ipv4Addr, bits: u8) -> bool {
    Ipv4Net::new(net, bits).is_ok_and(|net| net.contains(&address))
}

fn within_v6(address: Ipv6Addr, (net, bits): (Ipv6Addr, u8)) -> bool {
    Ipv6Net::new(net, bits).is_ok_and(|net| net.contains(&address))
}

/// The address that a URL's host is, where it is one.
pub fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a URL's host can only mean this machine.
pub fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || literal(host).is_some_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str], loopback: bool) -> Guard {
        Guard::new(allow.iter().map(|net| net.parse().unwrap()).collect(), loopback, Arc::new(SystemNames))
    }

    fn is_taken(guard: &Guard, address: &str) -> bool {
        guard.judge("host", address.parse().unwrap()).is_ok()
    }

    #[test]
    fn internal_addresses_are_refused_however_they_are_written() {
        let guard = guard(&[], false);
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_taken(&guard, address), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_taken() {
        let guard = guard(&[], false);
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_taken(&guard, address), "{address}");
        }
    }

    #[test]
    fn what_the_operator_names_is_taken_and_nothing_beside_it() {
        let guard = guard(&["10.1.0.0/16", "fd00:1::/32"], false);
        for (address, taken) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd00:1::7", true),
            ("fd00:2::7", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(is_taken(&guard, address), taken, "{address}");
        }
    }

    #[test]
    fn this_machine_is_taken_where_the_service_is_for_it() {
        let guard = guard(&[], true);
        assert!(is_taken(&guard, "127.0.0.1") && is_taken(&guard, "::1") && is_taken(&guard, "::ffff:127.0.0.1"));
        assert!(!is_taken(&guard, "10.0.0.1") && !is_taken(&guard, "169.254.169.254") && !is_taken(&guard, "0.0.0.0"));
    }

    #[test]
    fn a_host_that_looks_like_loopback_is_not() {
        for (host, is) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_host(host), is, "{host}");
        }
    }
}
