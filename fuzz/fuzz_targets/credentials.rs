//! Docker configurations and Kubernetes Secrets, from a user's disk or cluster.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thoras_mirror::endpoint::registry::auth::authfile;

fuzz_target!(|text: &str| {
    if let Err(error) = authfile::parse(text, "authfile") {
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
});
