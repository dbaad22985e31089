//! Latchkey: an OAuth2/OIDC token provider.
//!
//! Layers run one way: `domain`, then `keys`, `tokens`, `storage`, then `replica` (what a node holds in memory of the
//! database), then `context`, then `introspection`, `credentials` and `outbound`, then `client_auth`, `grants`, `flows`,
//! `admin`, then `app`, then `http` and `jobs`, then `cli`. `tests/layers.rs` holds this picture.

pub mod admin;
pub mod app;
pub mod cli;
pub mod client_auth;
pub mod config;
pub mod context;
pub mod credentials;
pub mod domain;
pub mod flows;
pub mod grants;
pub mod http;
pub mod introspection;
pub mod jobs;
pub mod keys;
pub mod outbound;
pub mod replica;
pub mod storage;
pub mod telemetry;
pub mod tokens;
