//! Where a request came from, as the trusted-proxy rules see it.

use std::net::IpAddr;

/// The connection's address, and the user's own where a trusted proxy or backend named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// The address that a forwarded header named; only ever set where `peer` lies in `server.trusted_proxies`.
    pub forwarded: Option<IpAddr>,
}

impl Origin {
    pub const fn direct(peer: IpAddr) -> Self {
        Self { peer, forwarded: None }
    }

    /// The best answer to "who is this?": what goes into the audit trail.
    pub fn address(&self) -> IpAddr {
        self.forwarded.unwrap_or(self.peer)
    }
}
