//! Paths and ranges, from any client of the registry over a folder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thoras_mirror::internals::fuzzing;

fuzz_target!(|input: (&str, u64)| {
    let (text, size) = input;
    if let Some(repository) = fuzzing::repository(text) {
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
        assert!(repository.split('/').all(is_plain), "{text:?} leads to {repository:?}");
    }
    if let Some((first, last)) = fuzzing::range(text, size) {
        assert!(first <= last && last < size, "{text:?} of {size}");
    }
    if let Some((first, last)) = fuzzing::chunk(text) {
        assert!(first <= last, "{text:?}");
    }
});
