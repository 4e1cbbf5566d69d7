//! Integration tests: one binary, one module per command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod access;
mod bundle;
mod chaos;
mod claims;
mod core;
mod doctor;
mod endpoints;
mod enumerate;
mod faults;
mod floods;
mod foreign_layers;
mod help;
mod hostile_folder;
mod images;
mod inspect;
mod install;
mod lock_v1;
mod login;
mod mistakes;
mod network;
mod nodes;
mod optional;
mod origins;
mod published_chart;
mod referrers;
mod registries;
mod scripts;
mod secrets;
mod serve;
mod serve_bundle;
mod serve_command;
mod several;
mod shards;
#[allow(dead_code, unreachable_pub, reason = "a library for tests: each takes what it needs")]
mod support;
mod support_works;
mod sync;
mod trust;
mod values;
mod verify;
mod with_chart;
