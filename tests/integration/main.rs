//! Integration tests: one binary, one module per command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod chaos;
mod enumerate;
mod serve;
#[allow(dead_code, unreachable_pub, reason = "a library for tests: each takes what it needs")]
mod support;
mod support_works;
