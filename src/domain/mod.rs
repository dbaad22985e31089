//! The pure heart: what tokens, sessions, keys and principals are, and which step follows which.
//!
//! No async, no I/O. Time and randomness arrive through [`sources`]; states are enums with data; everything that
//! decides (a refresh, a narrowing of scope, a right) is a function that tests call with simulated time.

pub mod answer_template;
pub mod audit;
pub mod authorization;
pub mod claim_rules;
pub mod client;
pub mod client_keys;
pub mod code;
pub mod colour;
pub mod consent;
pub mod error;
pub mod failures;
pub mod ids;
pub mod json;
pub mod key;
pub mod legacy;
pub mod logout;
pub mod meter;
pub mod newcomers;
pub mod oidc_claims;
pub mod origin;
pub mod policy;
pub mod redirect_uri;
pub mod revocation;
pub mod scope;
pub mod secret;
pub mod session;
pub mod sign_in;
pub mod sources;
pub mod template;
pub mod time;
pub mod units;
pub mod user;
pub mod wish;
