//! Docker configurations and Kubernetes Secrets, from a user's disk or cluster.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thoras_mirror::internals::registry::parse_authfile;

fuzz_target!(|text: &str| {
    if let Err(error) = parse_authfile(text, "authfile") {
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
});
