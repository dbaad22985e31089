//! HTTP, thin: operations that fill in a use case's request and render its answer.

pub mod authorization;
pub mod body;
pub mod cors;
pub mod error;
pub mod form;
pub mod frame;
pub mod origin;
mod rate;
mod request_id;
pub mod routes;
pub mod server;
mod socket;
