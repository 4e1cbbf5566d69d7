//! Rendered manifests: the YAML of any chart.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thoras_mirror::internals::fuzzing;

fuzz_target!(|text: &str| {
    let prefixes = ["registry.example.com/team".to_owned()];
    match fuzzing::rendered(text, &prefixes) {
        Ok(images) => assert!(images.iter().all(|image| !image.uses.is_empty()), "an image out of nowhere"),
        Err(error) => drop(error.to_string()),
    }
});
