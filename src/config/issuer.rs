//! What an issuer must look like: RFC 8414 section 2, and whatever else keeps it the same text for everyone.

use std::net::IpAddr;

/// What is wrong, and the mend.
type Complaint = (String, String);

/// Holds an issuer against RFC 8414 section 2, and against what a URL must look like to be compared as text.
pub(super) fn check_issuer(issuer: &str) -> Result<(), Complaint> {
    let complaint = |reason: &str, mend: &str| Err((reason.to_owned(), mend.to_owned()));
    if issuer.contains(['?', '#']) {
        return complaint(
            "an issuer has neither query nor fragment (RFC 8414 section 2)",
            "drop everything from ? or # on",
        );
    }
    if let Some(without) = issuer.strip_suffix('/') {
        return complaint(
            "a trailing slash makes another issuer of it, and verifiers compare the exact text",
            &format!("write {}", without.trim_end_matches('/')),
        );
    }
    let Some((scheme, rest)) = issuer.split_once("://") else {
        return complaint("it is not a URL", "write it like https://id.example.com");
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let parsed = ::http::uri::Authority::try_from(authority).ok().filter(|parsed| !parsed.host().is_empty());
    let Some(parsed) = parsed.filter(|_| !authority.contains('@')) else {
        return complaint("its host is not one", "write it like https://id.example.com, without user and password");
    };
    if authority != parsed.host() && parsed.port_u16().is_none() {
        return complaint("its port is not one", "write a port from 1 to 65535, or none");
    }
    if issuer[..issuer.len() - path.len()].bytes().any(|byte| byte.is_ascii_uppercase()) {
        return complaint(
            "scheme and host are compared as text, and clients lower them",
            "write them in small letters",
        );
    }
    let ports = [("https", ":443"), ("http", ":80")];
    if ports.iter().any(|(of, port)| scheme == *of && authority.ends_with(port)) {
        return complaint("it names the port that its scheme implies, which clients drop", "leave the port out");
    }
    let segments = path.split('/').skip(1);
    let legal = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    };
    if !segments.clone().all(legal) {
        return complaint("its path must read the same however it is encoded", "use letters, digits and - . _ ~ alone");
    }
    match scheme {
        "https" => Ok(()),
        "http" if is_loopback(parsed.host()) => Ok(()),
        "http" => {
            complaint("http is for loopback only: tokens would travel in the clear", &format!("write https://{rest}"))
        }
        _ => complaint("its scheme is neither https nor http", "write it like https://id.example.com"),
    }
}

/// The path of a URL, without a slash at its end.
pub fn path_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| after_scheme[at..].trim_end_matches('/'))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
