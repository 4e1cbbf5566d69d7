//! Quantities as people read them: bytes in binary units, rates, counts, lists and durations.

use std::{
    fmt::Display,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytesize::ByteSize;
use jiff::Timestamp;

/// The first second after the year 9999, since 1970.
const YEAR_10000: u64 = 253_402_300_800;

/// A count of bytes with one decimal: `0 B`, `1023 B`, `1.0 KiB`, `146.0 MiB`. At most nine characters below 1 EiB, so
/// that columns line up.
#[must_use]
pub(crate) fn bytes(count: u64) -> String {
    let text = ByteSize(count).display().iec().to_string();
    // Rounding can reach the next unit: 1023.99 KiB is 1.0 MiB.
    if text.starts_with("1024.0 ") { bytes(count.next_power_of_two()) } else { text }
}

/// A part of a whole: `50.0 of 117.3 MiB`, or in bytes if that shows no difference.
#[must_use]
pub(crate) fn part(count: u64, whole: u64) -> String {
    let (some, all) = (bytes(count), bytes(whole));
    if some == all {
        return format!("{count} of {whole} bytes");
    }
    match (some.split_once(' '), all.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} of {all}"),
        _ => format!("{some} of {all}"),
    }
}

/// Reads a number of bytes as people write it: without a unit, with a decimal unit (`4G` and `4GB` are 4,000,000,000) or
/// with a binary unit (`4GiB` and `4Gi` are 4,294,967,296). Fractions would be rounded, so they are refused.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, &'static str> {
    let text = text.trim();
    if text.contains('.') {
        return Err("not a whole number");
    }
    match text.parse::<ByteSize>().map_err(|_| "not a size")?.as_u64() {
        // A size that does not fit into 64 bits is parsed as the largest number.
        u64::MAX => Err("too large"),
        size => Ok(size),
    }
}

/// Bytes per second: `8.1 MiB/s`.
#[must_use]
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// Bytes per second over a span of time; `None` when no time has passed.
#[must_use]
pub(crate) fn average(bytes: u64, time: Duration) -> Option<u64> {
    let milliseconds = time.as_millis();
    let scaled = (u128::from(bytes) * 1000).checked_div(milliseconds)?;
    Some(u64::try_from(scaled).unwrap_or(u64::MAX))
}

/// `1 image`, `2 images`.
#[must_use]
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `a, b` or, of more than `most`, the first: `a, b and 3 more`.
#[must_use]
pub(crate) fn named(names: &[impl Display], most: usize) -> String {
    let first: Vec<String> = names.iter().take(most).map(ToString::to_string).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// `999`, `2,000`, `1,000,000`.
#[must_use]
pub(crate) fn thousands(count: u64) -> String {
    match (count / 1000, count % 1000) {
        (0, rest) => rest.to_string(),
        (thousand, rest) => format!("{},{rest:03}", thousands(thousand)),
    }
}

/// Elapsed time: `0.3 s`, `12.4 s`, `2 min 5 s`, `1 h 2 min`.
#[must_use]
pub(crate) fn elapsed(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    long(time.as_secs() + u64::from(time.subsec_millis() >= 500))
}

/// Time in whole seconds, rounded up: `1 s`, `17 s`, `2 min 5 s`, `1 h 2 min`.
#[must_use]
pub(crate) fn whole_seconds(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    if seconds < 60 { format!("{seconds} s") } else { long(seconds) }
}

fn long(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..600 => format!("{minutes} min {} s", seconds % 60),
        600..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The time in UTC as RFC 3339 writes it, in seconds or milliseconds.
pub(crate) fn timestamp(time: SystemTime, milliseconds: bool) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    if milliseconds { format!("{time:.3}") } else { format!("{time:.0}") }
}

/// The time as HTTP writes it; `None` outside the years 1970 to 9999, for which `httpdate` panics.
pub(crate) fn http_date(time: SystemTime) -> Option<String> {
    has_http_date(time).then(|| httpdate::fmt_http_date(time))
}

/// Whether HTTP can write this time.
pub(crate) fn has_http_date(time: SystemTime) -> bool {
    time.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() < YEAR_10000)
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_764_194_703, "2025-11-26T22:05:03Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds), false), expected);
        }
        let time = UNIX_EPOCH + Duration::from_micros(1_764_194_703_004_900);
        assert_eq!(timestamp(time, true), "2025-11-26T22:05:03.004Z");
    }

    #[test]
    fn a_time_that_http_cannot_write_is_no_panic_bug() {
        let last = UNIX_EPOCH + Duration::from_secs(YEAR_10000 - 1);
        assert_eq!(http_date(UNIX_EPOCH).as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(http_date(last).as_deref(), Some("Fri, 31 Dec 9999 23:59:59 GMT"));
        assert_eq!(http_date(UNIX_EPOCH - Duration::from_nanos(1)), None);
        assert_eq!(http_date(last + Duration::from_secs(1)), None);
    }

    #[test]
    fn bytes_are_binary_with_one_decimal() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (146 * 1024 * 1024, "146.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(rate(8_493_466), "8.1 MiB/s");
    }

    #[test]
    fn a_part_has_the_unit_of_the_whole_and_always_differs() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(part(50 * MIB, 123_000_000), "50.0 of 117.3 MiB");
        assert_eq!(part(700, 123_000_000), "700 B of 117.3 MiB");
        assert_eq!(part(MIB - 1, MIB), "1048575 of 1048576 bytes");
    }

    #[test]
    fn sizes_without_an_i_are_decimal() {
        for (text, size) in [
            ("12", 12),
            ("4G", 4_000_000_000),
            ("4g", 4_000_000_000),
            ("4 GB", 4_000_000_000),
            ("4GiB", 4 << 30),
            ("4Gi", 4 << 30),
            ("700k", 700_000),
            ("1T", 1_000_000_000_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(size), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "12 parrots", "99999999999TiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_show_what_matters_at_their_size() {
        let milliseconds = Duration::from_millis;
        for (time, passed, whole) in [
            (milliseconds(0), "0.0 s", "0 s"),
            (milliseconds(340), "0.3 s", "1 s"),
            (milliseconds(12_449), "12.4 s", "13 s"),
            (milliseconds(59_949), "59.9 s", "1 min 0 s"),
            (milliseconds(59_950), "1 min 0 s", "1 min 0 s"),
            (milliseconds(125_000), "2 min 5 s", "2 min 5 s"),
            (milliseconds(1_859_000), "30 min", "30 min"),
            (milliseconds(3_720_000), "1 h 2 min", "1 h 2 min"),
            (milliseconds(97_200_000), "1 d 3 h", "1 d 3 h"),
        ] {
            assert_eq!((elapsed(time).as_str(), whole_seconds(time).as_str()), (passed, whole));
        }
    }

    #[test]
    fn one_is_not_plural() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "blob")), ["0 blobs", "1 blob", "2 blobs"]);
        assert_eq!([0, 999, 1000, 1_002_030].map(thousands), ["0", "999", "1,000", "1,002,030"]);
    }

    #[test]
    fn an_average_needs_time() {
        assert_eq!(average(2048, Duration::from_secs(2)), Some(1024));
        assert_eq!(average(2048, Duration::ZERO), None);
    }

    proptest! {
        /// The shown value differs from the real value by at most half a unit of the last digit.
        #[test]
        fn bytes_are_never_misleading(count in any::<u64>()) {
            let text = bytes(count);
            let (number, unit) = text.split_once(' ').unwrap();
            let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
            let power = units.iter().position(|name| *name == unit).unwrap();
            let scale = 1024_f64.powi(i32::try_from(power).unwrap());
            let shown: f64 = number.parse().unwrap();
            #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
            let error = (shown - count as f64 / scale).abs();
            prop_assert!(error <= 0.0501, "{count} shown as {text}");
            prop_assert!(shown < 1024.0 && text.len() <= 10, "{text}");
        }

        #[test]
        fn times_fit_their_column(seconds in 0_u64..8_640_000) {
            prop_assert!(elapsed(Duration::from_secs(seconds)).len() <= 11);
            prop_assert!(whole_seconds(Duration::from_secs(seconds)).len() <= 11);
        }
    }
}
