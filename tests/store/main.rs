//! The contract of `latchkey::storage::Store`: one suite, run on SQLite and on PostgreSQL.
//!
//! No test sleeps and none repeats itself until it passes: what must happen in between is held by a lock and let go.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/pg.rs"]
mod pg;

mod administration;
mod assertions;
mod bed;
mod browser;
mod codes;
mod consents;
mod files;
mod group;
mod keys;
mod legacy;
mod lists;
mod logouts;
mod postgres;
mod races;
mod refresh;
mod sign_ins;
mod throttles;
mod upkeep;
mod versions;
