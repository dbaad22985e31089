//! Where the admin API is, and tokens for it: a listener of its own serves both, for operators may not reach the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

use crate::cli::failure::{Failure, Result};
use crate::cli::output::note;
use crate::config::{ServerSettings, Settings};

/// A server to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// Without a slash at its end.
    pub url: String,
    /// A host of the URL that is called at this very address, whatever DNS says.
    pub pinned: Option<(String, SocketAddr)>,
}

/// The server that was named, else the one of the configuration.
///
/// # Errors
/// It is no URL, or the configuration does not read.
pub(super) fn of(named: Option<&str>, settings: impl FnOnce() -> Result<Settings>) -> Result<Base> {
    if let Some(named) = named {
        return Ok(Base { url: base(named)?, pinned: None });
    }
    let server = settings()?.server;
    let found = match server.admin_listen {
        Some(listen) => admin_base(listen, &server),
        None => Base { url: server.issuer, pinned: None },
    };
    Ok(Base { url: base(&found.url)?, ..found })
}

/// How to reach an admin listener on this machine: the issuer's path moves its routes, too. Over TLS it shows the
/// certificate of the issuer's host, so it is called by that name.
fn admin_base(listen: SocketAddr, server: &ServerSettings) -> Base {
    let mut address = listen;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let scheme = if server.tls.files().is_some() { "https" } else { "http" };
    let issuer = Url::parse(&server.issuer).ok();
    let path = issuer.as_ref().map_or("", |issuer| issuer.path().trim_end_matches('/'));
    let host = issuer.as_ref().filter(|_| scheme == "https").and_then(|issuer| issuer.domain());
    match host {
        Some(host) => {
            let url = format!("{scheme}://{host}:{}{path}", address.port());
            Base { url, pinned: Some((host.to_owned(), address)) }
        }
        None => Base { url: format!("{scheme}://{address}{path}"), pinned: None },
    }
}

fn base(text: &str) -> Result<String> {
    let unusable = |why: &str| Failure::Unusable(format!("{text} is no base URL of a server: {why}"));
    let url = Url::parse(text).map_err(|_| unusable("write it like https://id.example.com"))?;
    let Some(host) = url.host_str() else { return Err(unusable("it has no host")) };
    match url.scheme() {
        "https" => {}
        "http" => {
            let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
            if host != "localhost" && !ip.is_ok_and(|ip| ip.is_loopback()) {
                note(format_args!("warning: {text} is plain http, so the client secret travels in the clear"));
            }
        }
        _ => return Err(unusable("its scheme is neither http nor https")),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(listen: &str, issuer: &str, tls: bool) -> (String, Option<String>) {
        let mut server = ServerSettings { issuer: issuer.into(), ..ServerSettings::default() };
        if tls {
            server.tls.certificate = Some("c".into());
            server.tls.private_key = Some("k".into());
        }
        let base = admin_base(listen.parse().unwrap(), &server);
        (base.url, base.pinned.map(|(host, address)| format!("{host} at {address}")))
    }

    #[test]
    fn an_admin_listener_is_reached_under_the_path_of_the_issuer() {
        let clear = |listen: &str, issuer: &str| reached(listen, issuer, false);
        assert_eq!(
            clear("0.0.0.0:9000", "https://id.example.com/tenant"),
            ("http://127.0.0.1:9000/tenant".into(), None)
        );
        assert_eq!(clear("[::]:9000", "https://id.example.com"), ("http://[::1]:9000".into(), None));
    }

    #[test]
    fn over_tls_it_is_called_by_the_name_in_the_certificate() {
        assert_eq!(
            reached("0.0.0.0:9000", "https://id.example.com/tenant", true),
            ("https://id.example.com:9000/tenant".into(), Some("id.example.com at 127.0.0.1:9000".into()))
        );
        let by_address = reached("127.0.0.1:9000", "https://127.0.0.1:8420", true);
        assert_eq!(by_address, ("https://127.0.0.1:9000".into(), None));
    }

    #[test]
    fn a_base_loses_its_slash_and_must_be_a_url() {
        assert_eq!(base("http://127.0.0.1:8420/").unwrap(), "http://127.0.0.1:8420");
        assert!(base("127.0.0.1:8420").is_err() && base("ftp://a").is_err());
    }
}
