//! Passwords and client secrets: how they are prepared, hashed, checked and protected from guessing.
//!
//! Owns the argon2 queue ([`passwords`]), the hashes that other systems made ([`legacy`]) and their ceilings, the preparation of names and passwords ([`precis`], RFC 8265), client
//! secrets ([`secrets`]), the throttle of failures, the check of a login ([`login`]), and whom a token of another system
//! names ([`foreign`]). Nothing here ever prints or stores what it was given.

mod ceilings;
mod decoys;
pub mod foreign;
mod legacy;
pub mod login;
mod memory;
pub mod passwords;
mod phc;
pub mod precis;
pub mod secrets;
mod stored;
mod throttle;

use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::ids::Sub;
use crate::domain::secret::{Secret32, keyed_hash};
use crate::domain::sources::{Clock, Entropy};
use crate::storage::Store;

pub use ceilings::Ceilings;

/// The operator's `passwords.*` settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialSettings {
    /// argon2id's m, in KiB.
    pub memory_kib: u32,
    /// argon2id's t: passes over the memory.
    pub iterations: u32,
    /// argon2id's p: lanes.
    pub parallelism: u32,
    /// What checking a hash from elsewhere may cost.
    pub ceilings: Ceilings,
    /// How many passwords may wait to be checked beside those that are being checked.
    pub queue: usize,
    /// Failures in 15 minutes that an account has free.
    pub account_failures: u32,
    /// The same of an address.
    pub address_failures: u32,
    /// The same of a client, for the logins of all its users.
    pub client_failures: u32,
}

impl Default for CredentialSettings {
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            iterations: 2,
            parallelism: 1,
            ceilings: Ceilings::default(),
            queue: 64,
            account_failures: 5,
            address_failures: 20,
            client_failures: 1000,
        }
    }
}

/// What checks passwords and client secrets: built once, shared by all requests.
pub struct Credentials {
    queue: passwords::HashQueue,
    throttle: Arc<throttle::Throttle>,
    checked: secrets::CheckedSecrets,
    address_key: Secret32,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Credentials {
    /// `address_key` is the same after a restart and on every node: addresses that users are known from are stored as
    /// hashes under it, and names and addresses whose failures are counted as hashes under a key that comes from it.
    /// `shared` is where nodes count failures together. Parameters that argon2 refuses are a `server_error` at the first
    /// hash; configuration refuses them earlier.
    pub fn new(
        settings: CredentialSettings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        address_key: [u8; 32],
        shared: Option<Arc<dyn Store>>,
    ) -> Self {
        let address_key = Secret32::new(address_key);
        let throttle_key = Secret32::new(keyed_hash(&address_key, &[b"failures"]));
        Self {
            queue: passwords::HashQueue::new(&settings, Arc::clone(&clock), &*entropy),
            throttle: Arc::new(throttle::Throttle::new(&settings, Arc::clone(&clock), throttle_key, shared)),
            checked: secrets::CheckedSecrets::new(&*entropy),
            address_key,
            clock,
            entropy,
        }
    }

    /// What is stored of an address that a user has logged in from. IPv6 addresses of one /64 count as one.
    pub fn address_hash(&self, sub: &Sub, address: IpAddr) -> [u8; 32] {
        keyed_hash(&self.address_key, &[sub.as_str().as_bytes(), &throttle::network(address)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sources::{ManualClock, SystemEntropy};
    use crate::domain::time::Timestamp;

    /// Credentials under a clock that stands still.
    pub(crate) fn credentials(settings: CredentialSettings) -> Credentials {
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(1_800_000_000)));
        Credentials::new(settings, clock, Arc::new(SystemEntropy), [7; 32], None)
    }

    #[test]
    fn an_address_is_remembered_per_user() {
        let credentials = credentials(CredentialSettings::default());
        let (alice, bob) = (Sub::new("usr_alice"), Sub::new("usr_bob"));
        let home: IpAddr = "192.0.2.1".parse().unwrap();
        assert_ne!(credentials.address_hash(&alice, home), credentials.address_hash(&bob, home));
        let (desk, phone) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(credentials.address_hash(&alice, desk), credentials.address_hash(&alice, phone));
    }
}
