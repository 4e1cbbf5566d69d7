//! `WWW-Authenticate`, from any registry or the proxy before it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thoras_mirror::{
    endpoint::registry::auth::{Origin, Scheme},
    internals::registry::{Challenge, check_realm, parse_challenges},
};

fuzz_target!(|line: &str| {
    let registry = Origin::of_registry("registry.example.com", Scheme::Https).unwrap();
    for challenge in parse_challenges(line) {
        let Challenge::Bearer(bearer) = challenge else { continue };
        assert!(!bearer.realm.is_empty());
        if let Ok(url) = check_realm(&registry, &bearer.realm, None) {
            assert_eq!(url.scheme(), "https", "a realm that may be asked over http: {url}");
        }
    }
});
