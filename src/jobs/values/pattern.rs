//! What an image reference is made of: text from the template, and slots that values fill.

use std::collections::BTreeMap;

use super::leaf::Leaf;

/// A piece of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that no value changes.
    Text(String),
    /// A slot that a value fills.
    Slot {
        /// The index of the value among the leaves.
        leaf: usize,
        /// Its text while the value is unchanged.
        unchanged: String,
    },
}

/// A reference in pieces.
pub(super) type Pattern = Vec<Piece>;

/// New texts for the slots of values.
pub(super) type Assignment = BTreeMap<usize, String>;

/// Splits a text with markers into pieces. What a value held is its slot's text.
pub(super) fn parse(marked: &str, leaves: &[Leaf], among: &[usize]) -> Pattern {
    let mut spans: Vec<Span> = Vec::new();
    for &leaf in among {
        let Some(stand_in) = leaves.get(leaf).map(|leaf| leaf.marker.as_str()) else { continue };
        let found = marked.match_indices(stand_in);
        spans.extend(found.map(|(start, text)| Span { start, end: start + text.len(), leaf }));
    }
    from_spans(marked, spans, |span| leaves.get(span.leaf).map(|leaf| leaf.slot.clone()).unwrap_or_default())
}

/// A slot in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) leaf: usize,
}

/// The pieces of a text with these slots; of slots that overlap, the first and longest counts.
pub(super) fn from_spans(text: &str, mut spans: Vec<Span>, unchanged: impl Fn(&Span) -> String) -> Pattern {
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    let mut pieces = Vec::new();
    let mut at = 0;
    for span in spans {
        if span.start < at {
            continue;
        }
        if let Some(before) = text.get(at..span.start).filter(|before| !before.is_empty()) {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Slot { leaf: span.leaf, unchanged: unchanged(&span) });
        at = span.end;
    }
    if let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    pieces
}

/// Where the slots of `pattern` are in the text of the unchanged rendering; `None` if the pieces do not fit it.
///
/// A slot holds its value unchanged, but the slot of an empty value holds the template's default, and that of a
/// template holds any text. If that fits nowhere, a slot may hold its value trimmed or changed; then the slot of an
/// empty value must be empty, or the `team` of `team/app` would be mistaken for the registry in front of it.
pub(super) fn align(pattern: &[Piece], text: &str) -> Option<Vec<Span>> {
    let as_it_was = |unchanged: &str| !unchanged.is_empty() && !unchanged.contains("{{");
    align_where(pattern, text, &as_it_was).or_else(|| align_where(pattern, text, &str::is_empty))
}

/// The same, with the values for which `is_exact` there as they were.
fn align_where(pattern: &[Piece], text: &str, is_exact: &dyn Fn(&str) -> bool) -> Option<Vec<Span>> {
    fn fit(pieces: &[Piece], text: &str, at: usize, is_exact: &dyn Fn(&str) -> bool) -> Option<Vec<Span>> {
        let rest = text.get(at..)?;
        match pieces {
            [] => rest.is_empty().then(Vec::new),
            [Piece::Text(literal), after @ ..] => {
                rest.starts_with(literal.as_str()).then(|| fit(after, text, at + literal.len(), is_exact))?
            }
            [Piece::Slot { leaf, unchanged }, after @ ..] => {
                let ends = match after {
                    _ if is_exact(unchanged) => {
                        if !rest.starts_with(unchanged.as_str()) {
                            return None;
                        }
                        vec![at + unchanged.len()]
                    }
                    [] => vec![text.len()],
                    [Piece::Text(next), ..] => {
                        rest.match_indices(next.as_str()).map(|(offset, _)| at + offset).collect()
                    }
                    [Piece::Slot { .. }, ..] => vec![at + unchanged.len()],
                };
                let preferred = at + unchanged.len();
                let first = ends.iter().copied().filter(|end| *end == preferred);
                first.chain(ends.iter().copied()).find_map(|end| {
                    let mut spans = fit(after, text, end, is_exact)?;
                    spans.insert(0, Span { start: at, end, leaf: *leaf });
                    Some(spans)
                })
            }
        }
    }
    fit(pattern, text, 0, is_exact)
}

/// The text with these values.
pub(super) fn fill(pattern: &[Piece], assignment: &Assignment) -> String {
    pattern
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Slot { leaf, unchanged } => assignment.get(leaf).unwrap_or(unchanged).as_str(),
        })
        .collect()
}

/// The values in a pattern, in order.
pub(super) fn slots(pattern: &[Piece]) -> Vec<usize> {
    let slot = |piece: &Piece| match piece {
        Piece::Slot { leaf, .. } => Some(*leaf),
        Piece::Text(_) => None,
    };
    pattern.iter().filter_map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn slot(leaf: usize, unchanged: &str) -> Piece {
        Piece::Slot { leaf, unchanged: unchanged.to_owned() }
    }

    #[test]
    fn slots_are_found_in_the_unchanged_text() {
        let pattern = [slot(0, "{{ tpl }}"), text("/"), slot(1, "a/b"), text(":1")];
        let spans = align(&pattern, "quay.io/x/a/b:1").unwrap();
        assert_eq!(spans.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>(), [(0, 9), (10, 13)]);
        assert_eq!(align(&pattern, "quay.io:1"), None);
        assert_eq!(align(&[slot(0, "")], "anything").unwrap().len(), 1);
    }

    #[test]
    fn an_empty_value_is_not_mistaken_for_part_of_the_next() {
        let pattern = [slot(0, ""), text("/"), slot(1, "team/app"), text(":1")];
        assert_eq!(align(&pattern, "team/app:1"), None);
        // The template's own default.
        let spans = align(&pattern, "quay.io/team/app:1").unwrap();
        assert_eq!(spans.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>(), [(0, 7), (8, 16)]);
    }

    #[test]
    fn unassigned_slots_keep_their_text() {
        let pattern = [slot(0, "quay.io"), text("/a:"), slot(1, "1")];
        assert_eq!(fill(&pattern, &Assignment::from([(0, "reg".to_owned())])), "reg/a:1");
        assert_eq!(slots(&pattern), [0, 1]);
    }
}
