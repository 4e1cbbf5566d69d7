//! Image references, from charts, lists and the command line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thoras_mirror::oci::Reference;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let shown = reference.to_string();
    assert_eq!(shown.parse(), Ok(reference), "{text:?} is shown as {shown:?}");
});
