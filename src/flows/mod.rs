//! What clients ask beside tokens: introspection (RFC 7662), revocation (RFC 7009), metadata (RFC 8414), and how a
//! token of their own stands.

pub mod introspect;
pub mod metadata;
pub mod revoke;
pub mod standing;
