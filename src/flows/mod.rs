//! What browsers go through before a client gets a code (`authorize`, `sign_in`) and when their users leave (`logout`),
//! what clients hear of that (`backchannel`), what users see and end of their own (`account`), and what clients ask beside tokens: introspection (RFC 7662),
//! revocation (RFC 7009), userinfo (OpenID Connect Core section 5.3), metadata (RFC 8414, OpenID Connect Discovery), and
//! how a token of their own stands.

pub mod account;
pub mod authorize;
pub mod backchannel;
mod hint;
pub mod introspect;
pub mod logout;
pub mod metadata;
pub mod revoke;
pub mod sign_in;
pub mod standing;
pub mod userinfo;
