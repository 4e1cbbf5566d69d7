//! Chart versions and ranges of them, as Helm reads them (Masterminds/semver, version 3).
//!
//! Rust's `semver` compares versions; its ranges mean other things than Helm's, so they are read here.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

/// A range: alternatives (`||`), each a list of comparisons that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range(Vec<Vec<Comparator>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    version: Version,
    /// How many of major, minor and patch were written as numbers.
    written: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Caret,
}

/// Longer operators come first.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

/// Whether Helm takes a text for one version rather than a range: `1.2.3`, and also `v1.2`.
pub(super) fn is_exact(text: &str) -> bool {
    partial(text).is_some_and(|(_, written, has_wildcard)| written > 0 && !has_wildcard)
}

/// The newest of these tags in a range. A tag has `_` for the `+` of a version; tags that are not complete versions do
/// not count.
pub(super) fn newest<'t>(tags: &'t [String], range: &Range) -> Option<&'t str> {
    let versions = tags.iter().filter_map(|tag| Some((Version::parse(&tag.replace('_', "+")).ok()?, tag)));
    let fitting = versions.filter(|(version, _)| range.contains(version));
    fitting.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, tag)| tag.as_str())
}

impl Range {
    /// Every release; with `devel`, also versions before a release.
    pub(super) fn any(devel: bool) -> Self {
        let text = if devel { ">0.0.0-0" } else { "*" };
        Self::parse(text).unwrap_or(Self(Vec::new()))
    }

    /// `None` if it is not a range.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.split("||").map(comparisons).collect::<Option<_>>().map(Self)
    }

    fn contains(&self, version: &Version) -> bool {
        self.0.iter().any(|all| all.iter().all(|comparison| comparison.holds(version)))
    }
}

/// Comparisons separated by commas or spaces; `1.2 - 1.4.5` is a comparison with both.
fn comparisons(text: &str) -> Option<Vec<Comparator>> {
    if let Some((from, to)) = text.split_once(" - ") {
        return [format!(">={}", from.trim()), format!("<={}", to.trim())]
            .iter()
            .map(|text| comparison(text))
            .collect();
    }
    let mut found = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        // A space may follow the operator.
        let operator = rest.len() - rest.trim_start_matches(['!', '=', '<', '>', '~', '^']).len();
        let (sign, after) = rest.split_at(operator);
        let after = after.trim_start();
        let end = after.find([',', ' ']).unwrap_or(after.len());
        let (version, next) = after.split_at(end);
        found.push(comparison(&format!("{sign}{version}"))?);
        rest = next.trim_start();
        if let Some(next) = rest.strip_prefix(',') {
            rest = next.trim_start();
            if rest.is_empty() {
                return None;
            }
        }
    }
    Some(found)
}

fn comparison(text: &str) -> Option<Comparator> {
    let sign = OPERATORS.iter().find(|(sign, _)| text.starts_with(sign));
    let (operator, rest) = match sign {
        Some((sign, operator)) => (*operator, text.get(sign.len()..)?.trim_start()),
        None => (Operator::Equal, text),
    };
    let (version, written, _) = partial(rest)?;
    Some(Comparator { operator, version, written })
}

/// A version with one to three numbers: the version with zeros for what is missing, how many numbers there are before
/// the first wildcard, and whether there is a wildcard (`1.x`, `*`).
fn partial(text: &str) -> Option<(Version, usize, bool)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = text.split_once('+').map_or((text, ""), |(text, build)| (text, build));
    let (numbers, prerelease) =
        text.split_once('-').map_or((text, ""), |(text, prerelease)| (text, prerelease));
    let parts: Vec<&str> = numbers.split('.').collect();
    if parts.len() > 3 {
        return None;
    }
    let is_wildcard = |part: &&str| matches!(*part, "x" | "X" | "*");
    let written = parts.iter().position(is_wildcard).unwrap_or(parts.len());
    let mut values = [0_u64; 3];
    for (value, part) in values.iter_mut().zip(parts.iter().take(written)) {
        *value = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()?;
    }
    if !parts.iter().skip(written).all(is_wildcard) {
        return None;
    }
    let [major, minor, patch] = values;
    let version = Version {
        major,
        minor,
        patch,
        pre: Prerelease::new(prerelease).ok()?,
        build: BuildMetadata::new(build).ok()?,
    };
    Some((version, written, written < parts.len()))
}

impl Comparator {
    fn holds(&self, version: &Version) -> bool {
        let Self { operator, version: bound, written } = self;
        let order = version.cmp_precedence(bound);
        let is_partial = *written < 3;
        // A version before a release is meant only where one is written, or where everything but one version is.
        let excludes_one = *operator == Operator::NotEqual && !is_partial;
        if !version.pre.is_empty() && bound.pre.is_empty() && !excludes_one {
            return false;
        }
        match operator {
            Operator::Equal if is_partial => self.is_near(version),
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual if is_partial => !self.has_same_numbers(version),
            Operator::NotEqual => order != Ordering::Equal,
            Operator::Greater if is_partial => order == Ordering::Greater && !self.has_same_numbers(version),
            Operator::Greater => order == Ordering::Greater,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual if is_partial => {
                order != Ordering::Greater || self.has_same_numbers(version)
            }
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Tilde => self.is_near(version),
            Operator::Caret => order != Ordering::Less && self.is_compatible(version),
        }
    }

    /// `~`: the same major and, if it was written, minor number.
    fn is_near(&self, version: &Version) -> bool {
        let bound = &self.version;
        if self.written == 0 {
            return true;
        }
        version.cmp_precedence(bound) != Ordering::Less
            && version.major == bound.major
            && (self.written < 2 || version.minor == bound.minor)
    }

    /// Whether all numbers that were written are equal.
    fn has_same_numbers(&self, version: &Version) -> bool {
        let bound = &self.version;
        let pairs =
            [(version.major, bound.major), (version.minor, bound.minor), (version.patch, bound.patch)];
        pairs.iter().take(self.written).all(|(one, other)| one == other)
    }

    /// `^`: the same first number that is not zero, among those that were written.
    fn is_compatible(&self, version: &Version) -> bool {
        let bound = &self.version;
        if self.written == 0 {
            return true;
        }
        if bound.major > 0 || self.written < 2 {
            return version.major == bound.major;
        }
        if version.major > 0 {
            return false;
        }
        if bound.minor > 0 || self.written < 3 {
            return version.minor == bound.minor;
        }
        version.minor == 0 && version.patch == bound.patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(range: &str, version: &str) -> bool {
        let range = Range::parse(range).unwrap_or_else(|| panic!("{range}"));
        range.contains(&Version::parse(version).unwrap())
    }

    /// From the tests and the documentation of Masterminds/semver.
    #[test]
    fn ranges_mean_what_they_mean_to_helm() {
        for (range, inside, outside) in [
            ("=2.0.0", &["2.0.0"][..], &["2.0.1", "1.2.3"][..]),
            ("=2.0", &["2.0.0", "2.0.9"], &["2.1.0", "1.9.0"]),
            ("4.1", &["4.1.0", "4.1.9"], &["4.2.0", "4.0.9", "5.1.0"]),
            ("4", &["4.0.0", "4.9.1"], &["5.0.0", "3.9.9", "4.1.0-rc.1"]),
            ("4.x", &["4.0.0", "4.9.1"], &["5.0.0"]),
            ("1.2.x", &["1.2.0", "1.2.9"], &["1.3.0"]),
            ("*", &["0.0.1", "9.9.9"], &["1.0.0-rc.1"]),
            ("x", &["0.0.1"], &["1.0.0-rc.1"]),
            ("!=1.2.3", &["1.2.4", "2.0.0-rc.1"], &["1.2.3"]),
            ("!=4.x", &["5.1.0"], &["4.1.0"]),
            ("!=4.2.x", &["4.1.0", "4.3.0"], &["4.2.5"]),
            (">1.1", &["1.2.0"], &["1.1.0", "1.1.9", "1.0.0"]),
            (">11", &["12.0.0"], &["11.1.0", "11.0.0"]),
            (">1.1.0", &["1.1.1"], &["1.1.0"]),
            ("<1.1", &["1.0.9"], &["1.1.0"]),
            ("<0", &[], &["0.0.0", "1.0.0"]),
            (">=1.1", &["1.1.0", "4.1.0"], &["1.0.0"]),
            ("=>1.1", &["1.1.0"], &["1.0.0"]),
            ("<=11", &["11.0.0", "11.9.9", "0.1.0"], &["12.0.0"]),
            ("<=1.1", &["1.1.9"], &["1.2.0"]),
            ("<=1.1.0", &["1.1.0"], &["1.1.1"]),
            ("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0", "1.2.2", "2.2.3"]),
            ("~1", &["1.0.0", "1.9.9"], &["2.0.0"]),
            ("~>2.3", &["2.3.0", "2.3.9"], &["2.4.0"]),
            ("^1.2.3", &["1.2.3", "1.9.0"], &["2.0.0", "1.2.2"]),
            ("^1.2.x", &["1.2.0", "1.9.0"], &["2.0.0", "1.1.0"]),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "1.2.3"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4", "0.1.0"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0", &["0.0.0", "0.9.9"], &["1.0.0"]),
            (">=1.2, <2", &["1.2.0", "1.9.9"], &["2.0.0", "1.1.9"]),
            (">= 1.2.0 < 2.0.0", &["1.2.0"], &["2.0.0"]),
            ("1.2 - 1.4.5", &["1.2.0", "1.4.5"], &["1.4.6", "1.1.9"]),
            ("1.2 - 1.4", &["1.4.9"], &["1.5.0"]),
            ("<1 || >=2.0.0", &["0.9.0", "2.0.0"], &["1.5.0"]),
            (">0.0.0-0", &["1.0.0-rc.1", "1.0.0"], &[]),
            (">=1.0.0-0", &["1.0.0-beta", "2.0.0-rc.1"], &["0.9.0"]),
            ("v1.2.3", &["1.2.3", "1.2.3+build"], &["1.2.4"]),
        ] {
            for version in inside {
                assert!(contains(range, version), "{version} is in {range}");
            }
            for version in outside {
                assert!(!contains(range, version), "{version} is not in {range}");
            }
        }
        for text in ["", "latest", "1.2.3.4", "1..2", ">=", "1.x.2", "a.b", "1.2,", "||"] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_version_without_an_operator_is_exact() {
        for text in ["1.2.3", "v1.2.3", "1.2", "1", "1.2.3-rc.1", "1.2.3+build.5"] {
            assert!(is_exact(text), "{text}");
        }
        for text in ["", "1.x", "*", "^1.2.3", ">1", "1.2 || 2", "latest", "1.2 - 2"] {
            assert!(!is_exact(text), "{text}");
        }
    }

    #[test]
    fn the_newest_version_is_found_among_tags() {
        let tags =
            ["1.9.0", "1.10.0", "1.10.0_build.5", "2.0.0-rc.1", "latest", "v3.0.0", "1.2", "sha256-00.sig"];
        let tags = tags.map(str::to_owned);
        let found = |range: &str| newest(&tags, &Range::parse(range).unwrap());
        assert_eq!(newest(&tags, &Range::any(false)), Some("1.10.0_build.5"));
        assert_eq!(newest(&tags, &Range::any(true)), Some("2.0.0-rc.1"));
        assert_eq!(found("~1.9"), Some("1.9.0"));
        assert_eq!(found("^3"), None);
    }
}
