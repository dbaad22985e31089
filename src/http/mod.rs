//! HTTP, thin: operations that fill in a use case's request and render its answer.

pub mod error;
pub mod origin;
