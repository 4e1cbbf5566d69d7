//! `Content-Range`, `Retry-After` and `Location`, from any registry, and the bodies of its refusals.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thoras_mirror::internals::fuzzing;
use url::Url;

fuzz_target!(|input: (&str, u64, u64)| {
    let (header, offset, size) = input;
    if fuzzing::content_range(header, offset, size) {
        assert!(offset < size, "{header:?} from {offset} of {size}");
    }
    let _ = fuzzing::retry_after(header);
    let from = Url::parse("https://registry.example.com/v2/a/blobs/uploads/").unwrap();
    if let Some(to) = fuzzing::location(&from, header) {
        assert_eq!(to.scheme(), "https", "{header:?}");
    }
    let (code, message) = fuzzing::refusal(header.as_bytes());
    let shown = code.unwrap_or_default() + &message;
    assert!(!shown.contains(char::is_control), "{header:?} is shown as {shown:?}");
});
