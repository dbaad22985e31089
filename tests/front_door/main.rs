//! Latchkey through its front door: real sockets, real databases, a clock that the test moves.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that is surprised fails, and says what it skips"
)]

mod support;

#[path = "../support/site.rs"]
#[expect(dead_code, reason = "the unit tests of `outbound` need more of it")]
mod site;

mod account;
mod admin;
mod assertions;
mod attacks;
mod authorize;
mod backchannel;
mod bad_input;
mod claims;
mod compat;
mod conformance;
mod crash;
mod escalation;
mod exchange;
mod introspection;
mod jwks_uri;
mod keys;
mod legacy;
mod logout;
mod logs;
mod moving;
mod pages;
mod pooler;
mod refresh;
mod registration;
mod secrets;
mod sign_ins;
mod throttle;
mod tls;
mod userinfo;
