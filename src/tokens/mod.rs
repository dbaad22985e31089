//! Tokens: access tokens as JWTs (RFC 7519, profiled by RFC 9068), minted and verified, ID tokens, logout tokens, and the
//! opaque texts of refresh tokens and of the tickets that forms carry.
//!
//! Owns what a token's bytes mean. Which key signs and which verify is the keyring's; whether a genuine token is still
//! active is introspection's.

pub mod assertion;
pub mod claims;
pub mod client_keys;
pub mod id_token;
pub mod legacy;
pub mod logout_token;
pub mod mint;
pub mod peek;
pub mod refresh;
#[cfg(test)]
pub(crate) mod testing;
pub mod ticket;
pub mod verify;

pub use claims::AccessClaims;
pub use mint::{MintError, mint};
pub use verify::{TokenFault, Verified, verify};
