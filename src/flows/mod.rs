//! What clients ask beside tokens: introspection (RFC 7662), revocation (RFC 7009), metadata (RFC 8414).

pub mod introspect;
pub mod metadata;
pub mod revoke;
