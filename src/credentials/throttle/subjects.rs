//! Whose failures are counted: accounts, addresses and clients, each under a keyed hash, with what each has free.

use std::net::IpAddr;
use std::time::Duration;

use super::super::CredentialSettings;
use crate::domain::failures::{Rule, Subject};
use crate::domain::ids::ClientId;
use crate::domain::secret::{Secret32, keyed_hash};

/// The longest wait of an account, whoever guesses at it.
const ACCOUNT_DELAY: Duration = Duration::from_secs(30);

/// The longest wait of an address, which may be a whole office's.
const ADDRESS_DELAY: Duration = Duration::from_secs(30);

/// The wait of a client: all its users share it, so it does not double.
const CLIENT_DELAY: Duration = Duration::from_secs(1);

/// How often a refusal of a legacy token is written to the audit trail. Nothing waits for it.
const NEWS_OF_A_TOKEN: Rule = Rule { free: 1, longest_delay: Duration::ZERO, forgives: false };
const NEWS_OF_AN_ISSUER: Rule = Rule { free: 100, longest_delay: Duration::ZERO, forgives: false };

/// Names subjects so that no name is told by them.
pub(in crate::credentials) struct Subjects {
    key: Secret32,
    account: Rule,
    address: Rule,
    client: Rule,
}

impl Subjects {
    /// Nodes that count together have the same key.
    pub fn new(settings: &CredentialSettings, key: Secret32) -> Self {
        let rule = |free, longest_delay, forgives| Rule { free, longest_delay, forgives };
        Self {
            key,
            account: rule(settings.account_failures, ACCOUNT_DELAY, true),
            address: rule(settings.address_failures, ADDRESS_DELAY, false),
            client: rule(settings.client_failures, CLIENT_DELAY, false),
        }
    }

    pub fn account(&self, username_key: &str) -> Subject {
        self.subject("account", self.account, &[username_key.as_bytes()])
    }

    /// One account from one address that it has logged in from: what spares its owner from other people's guesses.
    pub fn known_address(&self, username_key: &str, address: IpAddr) -> Subject {
        self.subject("known address", self.account, &[username_key.as_bytes(), &network(address)])
    }

    pub fn address(&self, address: IpAddr) -> Subject {
        self.subject("address", self.address, &[&network(address)])
    }

    pub fn client(&self, client_id: &ClientId) -> Subject {
        self.subject("client", self.client, &[client_id.as_str().as_bytes()])
    }

    /// Client secrets that are as weak as passwords, guessed from one address.
    pub fn client_secret(&self, address: IpAddr) -> Subject {
        self.subject("client secret", self.address, &[&network(address)])
    }

    /// Failed client authentications of all kinds from one address: counted to bound the audit trail.
    pub fn client_failures(&self, address: IpAddr) -> Subject {
        self.subject("client failures", self.address, &[&network(address)])
    }

    /// Refusals of one kind of one legacy token, counted for the same end.
    pub fn legacy_token(&self, hash: &[u8; 32], cause: &str) -> Subject {
        self.subject("legacy token", NEWS_OF_A_TOKEN, &[hash, cause.as_bytes()])
    }

    /// Refusals of all tokens of one legacy issuer.
    pub fn legacy_issuer(&self, name: &str) -> Subject {
        self.subject("legacy issuer", NEWS_OF_AN_ISSUER, &[name.as_bytes()])
    }

    fn subject(&self, kind: &str, rule: Rule, parts: &[&[u8]]) -> Subject {
        let mut all = vec![kind.as_bytes()];
        all.extend(parts);
        Subject { key: keyed_hash(&self.key, &all), rule }
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 one, within which every machine picks freely.
pub(in crate::credentials) fn network(address: IpAddr) -> [u8; 9] {
    let mut bytes = [0; 9];
    match address.to_canonical() {
        IpAddr::V4(address) => {
            bytes[0] = 4;
            bytes[1..5].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&address.octets()[..8]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_is_a_v4_address_or_a_v6_network() {
        assert_eq!(network(address("::ffff:192.0.2.1")), network(address("192.0.2.1")));
        assert_eq!(network(address("2001:db8::1")), network(address("2001:db8::ffff:2")));
        assert_ne!(network(address("2001:db8::1")), network(address("2001:db8:0:1::1")));
        assert_ne!(network(address("192.0.2.1")), network(address("192.0.2.2")));
    }

    #[test]
    fn kinds_of_one_address_are_counted_apart() {
        let subjects = Subjects::new(&CredentialSettings::default(), Secret32::new([1; 32]));
        let here = address("192.0.2.1");
        let all = [subjects.address(here), subjects.client_secret(here), subjects.client_failures(here)];
        assert!(all[0].key != all[1].key && all[1].key != all[2].key && all[0].key != all[2].key);
        assert_eq!(subjects.account("ada"), subjects.account("ada"));
    }
}
