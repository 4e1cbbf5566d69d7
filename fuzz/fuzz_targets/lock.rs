//! Locks, which people edit and merge.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use thoras_mirror::lock::Lock;

fuzz_target!(|text: &[u8]| {
    if let Err(error) = Lock::parse(text, Path::new("thoras-mirror.lock")) {
        let shown = error.failure().to_string();
        assert!(!shown.contains(|character: char| character.is_control() && character != '\n'), "{shown:?}");
    }
});
