//! Keys within a line of text: which run is a key, and how far its value can be trusted.

use crate::oci::Reference;

use super::{
    keys,
    objects::{has_registry, has_version},
    runs::Run,
};

/// The key that a run is: `--init` before `=`, `image` of `image: x`, `--image` of `--image x`.
pub(super) fn key_at<'t>(text: &'t str, gap: &str, after: &str, next_gap: &str) -> Option<&'t str> {
    let is_assigned =
        after.trim_start_matches(['"', '\'', ' ']).starts_with('=') && !after.trim_start().starts_with("==");
    if after.starts_with(":-") {
        return Some(text);
    }
    // `<image>acme/web:1</image>`
    if after.starts_with('>') && gap.ends_with('<') && !text.contains(['/', ':']) {
        return Some(text);
    }
    let is_flag = text.starts_with('-') && text.len() > 1 && next_gap.contains(char::is_whitespace);
    if is_assigned || is_flag {
        return Some(text);
    }
    text.strip_suffix(':').filter(|key| !key.is_empty() && !has_registry(key)).filter(|_| {
        after.is_empty() || after.starts_with([' ', '\t', '"', '\'', '[', '{']) && !after.starts_with("{{")
    })
}

/// The key of a line that separates key and value only by white space, as Spark does:
/// `spark.kubernetes.container.image acme/spark:3.5`.
pub(super) fn property<'t>(runs: &[Run<'t>]) -> Option<&'t str> {
    let [key, value] = runs else { return None };
    let is_alone = key.gap.trim().is_empty()
        && !value.gap.is_empty()
        && value.gap.trim().is_empty()
        && value.after.trim().is_empty();
    let is_key =
        key.text.contains(['.', '_']) && !key.text.contains(['/', ':', '@']) && !key.text.starts_with('-');
    (is_alone && is_key && keys::meaning(key.text).is_image()).then_some(key.text)
}

pub(super) fn is_keyed_value(before: &str, value: &str) -> bool {
    let is_reference = value.contains('/') && has_version(value) && value.parse::<Reference>().is_ok();
    is_reference && !before.is_empty() && !before.contains('/')
}

/// Where a key is, which decides how far its value can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyPosition {
    /// It begins the line, or is a flag.
    Assignment,
    /// It follows a comma, as in `image.repository=acme/web,image.tag=1`.
    ListItem,
    /// In an expression: `{image="alpine"}` compares.
    Expression,
}

/// Where the key of the run at `at` is; nothing if the run does not follow its key directly.
pub(super) fn key_position(key: &str, at: usize, runs: &[Run<'_>]) -> Option<KeyPosition> {
    let is_key = |run: &Run<'_>| run.text.trim_end_matches(':') == key.trim_end_matches(':');
    let run = runs.get(at)?;
    let before = at.checked_sub(1).and_then(|before| runs.get(before))?;
    if !(is_key(before) || before.text == ":") || run.gap.contains(['(', '{', '[', '$']) {
        return None;
    }
    let position = runs.get(..at)?.iter().rposition(is_key)?;
    let first = runs.first()?;
    let is_declared = position == 1 && matches!(first.text, "export" | "-" | "set" | "local");
    Some(match runs.get(position)? {
        _ if position == 0 && !first.gap.contains(['{', '(']) || is_declared => KeyPosition::Assignment,
        key if key.text.starts_with('-') => KeyPosition::Assignment,
        key if key.gap.starts_with(',')
            || runs.get(position.wrapping_sub(1)).is_some_and(|flag| flag.text.starts_with('-')) =>
        {
            KeyPosition::ListItem
        }
        _ => KeyPosition::Expression,
    })
}

/// Whether the run at `at` is all of the value of its key.
pub(super) fn is_value_of(key: &str, at: usize, runs: &[Run<'_>]) -> bool {
    let is_last = runs.get(at + 1).is_none_or(|next| {
        // `a=acme/a b=acme/b`
        let is_next_key = next.gap.trim().is_empty() && next.after.starts_with('=');
        next.gap.contains([';', '&', '|']) || key.starts_with('-') || is_next_key
    });
    is_last && key_position(key, at, runs) == Some(KeyPosition::Assignment)
}
