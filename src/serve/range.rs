//! The two range headers of the protocol, as pure functions: `Range` of a download (RFC 9110, section 14)
//! and `Content-Range` of an upload's chunk (OCI distribution specification, "Pushing a blob in chunks").

/// The part of the content that a download's `Range` header requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// Everything: there is no header, or RFC 9110 says to ignore it (another unit, several ranges, invalid syntax).
    Whole,
    /// These bytes.
    Part(Span),
    /// No requested byte exists, or the end is before the start: 416.
    Unsatisfiable,
}

/// Bytes from `start` to `end`, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first byte.
    pub(super) start: u64,
    /// The last byte, not before `start`.
    pub(super) end: u64,
}

impl Span {
    /// The number of bytes: at least 1.
    pub(super) fn length(self) -> u64 {
        (self.end - self.start).saturating_add(1)
    }
}

/// Reads a `Range` header against content of `size` bytes.
pub(super) fn select(header: Option<&str>, size: u64) -> Selection {
    let Some((first, last)) = header.and_then(single_range) else { return Selection::Whole };
    let span = match (number(first), number(last)) {
        // RFC 9110 permits ignoring this; the conformance suite requires an error.
        (Some(start), Some(end)) if start > end => return Selection::Unsatisfiable,
        (Some(start), Some(end)) => (start, end),
        (Some(start), None) if last.is_empty() => (start, u64::MAX),
        (None, Some(suffix)) if first.is_empty() => {
            return match size.checked_sub(1) {
                Some(end) if suffix > 0 => Selection::Part(Span { start: size.saturating_sub(suffix), end }),
                _ => Selection::Unsatisfiable,
            };
        }
        _ => return Selection::Whole,
    };
    match size.checked_sub(1) {
        Some(last) if span.0 <= last => Selection::Part(Span { start: span.0, end: span.1.min(last) }),
        _ => Selection::Unsatisfiable,
    }
}

/// `bytes=FIRST-LAST` with a single range.
fn single_range(header: &str) -> Option<(&str, &str)> {
    let (unit, ranges) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return None;
    }
    let (first, last) = ranges.split_once('-')?;
    Some((first.trim(), last.trim()))
}

/// Parses a chunk's `Content-Range`: `START-END`, without a unit; `None` if it is malformed.
pub(super) fn chunk(header: &str) -> Option<Span> {
    let (start, end) = header.split_once('-')?;
    let span = Span { start: number(start)?, end: number(end)? };
    (span.start <= span.end).then_some(span)
}

/// Digits only: `u64::from_str` also accepts a plus sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(start: u64, end: u64) -> Selection {
        Selection::Part(Span { start, end })
    }

    #[test]
    fn download_ranges_follow_rfc_9110() {
        for (header, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-5", part(2, 5)),
            ("bytes=2-", part(2, 9)),
            ("bytes=2-99", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("Bytes=9-9", part(9, 9)),
            ("bytes=10-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=5-2", Selection::Unsatisfiable),
            ("bytes=0-1,3-4", Selection::Whole),
            ("items=0-1", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=-", Selection::Whole),
        ] {
            assert_eq!(select(Some(header), 10), expected, "{header}");
        }
        assert_eq!(select(None, 10), Selection::Whole);
        assert_eq!(select(Some("bytes=0-"), 0), Selection::Unsatisfiable);
        assert_eq!(select(Some("bytes=-1"), 0), Selection::Unsatisfiable);
    }

    #[test]
    fn chunks_are_two_numbers_in_order() {
        assert_eq!(chunk("0-9"), Some(Span { start: 0, end: 9 }));
        for header in ["", "-", "9-0", "0-", "-9", "bytes 0-9/10", "0-+9", " 0-9", "0-18446744073709551616"] {
            assert_eq!(chunk(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_selection_is_always_within_the_content(header in "(bytes=)?[0-9,-]{0,30}", size in any::<u64>()) {
            if let Selection::Part(span) = select(Some(&header), size) {
                prop_assert!(span.start <= span.end && span.end < size);
                prop_assert!(span.length() <= size);
            }
        }

        #[test]
        fn chunks_never_panic(header in "\\PC{0,40}") {
            if let Some(span) = chunk(&header) {
                prop_assert!(span.length() >= 1);
            }
        }
    }
}
