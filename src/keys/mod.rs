//! Keys: how they are made, sealed at rest, published, used and rotated.
//!
//! Owns the keyring (what this node signs and verifies with), rotation as a pure plan, the key set of RFC 7517, the
//! thumbprints of RFC 7638, sealing under a master key, and the import of PEM. Knows rows ([`crate::domain::key`]) but
//! not where they are stored: whoever executes a plan writes what it changed. Signatures are OpenSSL's, through josekit.

pub mod error;
pub mod generate;
pub mod import;
pub mod jwk;
pub mod jwks;
pub mod keyring;
pub mod master;
pub mod plan;
pub mod seal;
pub mod slot;
#[cfg(test)]
pub(crate) mod testing;

pub use error::KeyError;
pub use keyring::{Keyring, Snapshot};
pub use seal::{MasterKey, MasterKeys};
pub use slot::{SigningSlot, Typ, VerifierSlot};
