//! HTTP, thin: operations that fill in a use case's request and render its answer.

pub mod body;
pub mod error;
pub mod origin;
pub mod server;
mod socket;
