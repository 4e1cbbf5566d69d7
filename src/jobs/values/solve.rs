//! Finds the fewest values that make every image reference what it must be. It renders nothing: the proof does.
//!
//! Greedy: of all single values that fix a reference, and then of all pairs, it takes the one that fixes the most and
//! breaks none, until there is no such change.

use std::collections::BTreeSet;

use super::pattern::{Assignment, Pattern, Piece, fill, slots};
use crate::oci::Reference;

/// What a reference must become.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// The acceptable texts, the preferred ones first.
    pub(super) texts: Vec<String>,
    /// The reference that may stay if no text can be reached.
    pub(super) acceptable: Option<Reference>,
    /// Whether the image is not mirrored, so that it should stay as it is.
    pub(super) stays: bool,
}

impl Goal {
    /// Any text is right.
    fn is_any(&self) -> bool {
        self.texts.is_empty()
    }
}

/// An image reference in the rendered chart.
#[derive(Debug, Clone)]
pub(super) struct RenderedReference {
    /// What it is made of while no optional value is set.
    pub(super) pattern: Pattern,
    /// What it is made of when these optional values are set.
    pub(super) alternatives: Vec<Alternative>,
    pub(super) goal: Goal,
}

/// What a reference is made of when some optional values are set.
#[derive(Debug, Clone)]
pub(super) struct Alternative {
    pub(super) needs: BTreeSet<usize>,
    pub(super) pattern: Pattern,
}

/// How good a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Score {
    Wrong,
    Acceptable,
    Right,
}

impl RenderedReference {
    fn pattern_under(&self, assignment: &Assignment) -> &Pattern {
        let holds =
            |alternative: &&Alternative| alternative.needs.iter().all(|leaf| assignment.contains_key(leaf));
        let best = self.alternatives.iter().filter(holds).max_by_key(|alternative| alternative.needs.len());
        best.map_or(&self.pattern, |alternative| &alternative.pattern)
    }

    fn score(&self, assignment: &Assignment) -> Score {
        if self.goal.is_any() {
            return Score::Right;
        }
        let text = fill(self.pattern_under(assignment), assignment);
        if self.goal.texts.contains(&text) {
            return Score::Right;
        }
        let Ok(reference) = text.parse::<Reference>() else { return Score::Wrong };
        if self.goal.texts.iter().any(|text| text.parse::<Reference>().as_ref() == Ok(&reference)) {
            Score::Right
        } else if self.goal.acceptable.as_ref() == Some(&reference) {
            Score::Acceptable
        } else {
            Score::Wrong
        }
    }

    pub(super) fn is_right(&self, assignment: &Assignment) -> bool {
        self.score(assignment) == Score::Right
    }

    /// Lets the reference become anything, if its image is not mirrored.
    pub(super) fn release(&mut self) {
        if self.goal.stays {
            self.goal.texts.clear();
        }
    }

    /// All patterns with the values that must be set for each.
    fn patterns(&self) -> impl Iterator<Item = (&Pattern, Option<&BTreeSet<usize>>)> {
        let alternatives = self.alternatives.iter();
        std::iter::once((&self.pattern, None))
            .chain(alternatives.map(|alternative| (&alternative.pattern, Some(&alternative.needs))))
    }
}

/// One or two values to set.
type Change = Vec<(usize, String)>;

/// The values to set, in addition to those that are assigned already. `root` is the preferred value of a registry; of
/// equal changes, the one with the lowest rank wins.
pub(super) fn solve(
    places: &[RenderedReference],
    root: &str,
    rank: &impl Fn(usize) -> usize,
    mut assignment: Assignment,
) -> Assignment {
    let kept: BTreeSet<usize> = assignment.keys().copied().collect();
    while let Some(change) = best(places, &assignment, rank, &|place, assignment| singles(place, assignment))
        .or_else(|| best(places, &assignment, rank, &|place, assignment| pairs(place, assignment, root)))
    {
        assignment.extend(change);
    }
    prune(places, assignment, &kept)
}

/// The change that improves the most places and worsens none.
fn best(
    places: &[RenderedReference],
    assignment: &Assignment,
    rank: &impl Fn(usize) -> usize,
    changes: &dyn Fn(&RenderedReference, &Assignment) -> Vec<Change>,
) -> Option<Change> {
    let before: Vec<Score> = places.iter().map(|place| place.score(assignment)).collect();
    let wrong = places.iter().zip(&before).filter(|(_, score)| **score != Score::Right);
    // In the order in which they are found: the first of equal changes wins.
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for (place, _) in wrong {
        found.extend(changes(place, assignment).into_iter().filter(|change| seen.insert(change.clone())));
    }
    let gain = |change: &Change| {
        let mut after = assignment.clone();
        after.extend(change.iter().cloned());
        let mut gain = 0_usize;
        for (place, before) in places.iter().zip(&before) {
            let score = place.score(&after);
            if score < *before {
                return 0;
            }
            gain += usize::from(score == Score::Right && *before != Score::Right);
        }
        gain
    };
    // A single value can be right on its own. One value of a pair may also be part of other references.
    let prospect = |change: &Change| {
        if change.len() < 2 {
            return 0;
        }
        let mut after = assignment.clone();
        after.extend(change.iter().cloned());
        let wrong = places.iter().zip(&before).filter(|(_, score)| **score != Score::Right);
        let holds = |place: &RenderedReference| {
            slots(place.pattern_under(&after)).iter().any(|slot| change.iter().any(|(leaf, _)| leaf == slot))
        };
        wrong.filter(|(place, _)| holds(place)).count()
    };
    let mut best: Option<((usize, usize), usize, Change)> = None;
    for change in found {
        let gain = gain(&change);
        if gain == 0 {
            continue;
        }
        let worth = (gain, prospect(&change));
        let rank = change.iter().map(|(leaf, _)| rank(*leaf)).sum();
        let is_better = best
            .as_ref()
            .is_none_or(|(known, known_rank, _)| worth > *known || worth == *known && rank < *known_rank);
        if is_better {
            best = Some((worth, rank, change));
        }
    }
    best.map(|(_, _, change)| change)
}

/// The text around one slot.
fn around(pattern: &[Piece], at: usize, assignment: &Assignment) -> (String, String) {
    let before = pattern.get(..at).unwrap_or_default();
    let after = pattern.get(at + 1..).unwrap_or_default();
    (fill(before, assignment), fill(after, assignment))
}

fn positions(pattern: &[Piece]) -> impl Iterator<Item = (usize, usize)> {
    pattern.iter().enumerate().filter_map(|(at, piece)| match piece {
        Piece::Slot { leaf, .. } => Some((at, *leaf)),
        Piece::Text(_) => None,
    })
}

fn singles(place: &RenderedReference, assignment: &Assignment) -> Vec<Change> {
    let mut changes = Vec::new();
    for (pattern, needs) in place.patterns() {
        for (at, leaf) in positions(pattern) {
            let sets = |needed: &usize| *needed == leaf || assignment.contains_key(needed);
            if needs.is_some_and(|needs| !needs.iter().all(sets)) {
                continue;
            }
            let (before, after) = around(pattern, at, assignment);
            changes.extend(place.goal.texts.iter().filter_map(|text| {
                let value = text.strip_prefix(&before)?.strip_suffix(&after)?;
                (!value.is_empty()).then(|| vec![(leaf, value.to_owned())])
            }));
        }
    }
    changes
}

fn pairs(place: &RenderedReference, assignment: &Assignment, root: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    for (pattern, needs) in place.patterns() {
        let found: Vec<(usize, usize)> = positions(pattern).collect();
        for (index, &(first_at, first)) in found.iter().enumerate() {
            for &(second_at, second) in found.iter().skip(index + 1) {
                let sets =
                    |needed: &usize| *needed == first || *needed == second || assignment.contains_key(needed);
                if first == second || needs.is_some_and(|needs| !needs.iter().all(sets)) {
                    continue;
                }
                let (before, _) = around(pattern, first_at, assignment);
                let (_, after) = around(pattern, second_at, assignment);
                let between = fill(pattern.get(first_at + 1..second_at).unwrap_or_default(), assignment);
                for text in &place.goal.texts {
                    let middle = text.strip_prefix(&before).and_then(|text| text.strip_suffix(&after));
                    let Some(middle) = middle else { continue };
                    let splits = splits(middle, &between, root);
                    changes.extend(splits.into_iter().map(|(one, two)| vec![(first, one), (second, two)]));
                }
            }
        }
    }
    changes
}

/// Every way to write `text` as a text, `between` and another text; the root as the first text is preferred.
fn splits(text: &str, between: &str, root: &str) -> Vec<(String, String)> {
    if between.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<(String, String)> = text
        .match_indices(between)
        .filter_map(|(at, _)| {
            let (one, two) = (text.get(..at)?, text.get(at + between.len()..)?);
            (!one.is_empty() && !two.is_empty()).then(|| (one.to_owned(), two.to_owned()))
        })
        .collect();
    found.sort_by_key(|(one, _)| one != root);
    found
}

/// Drops values that turn out not to be needed, except those that were set before.
fn prune(places: &[RenderedReference], mut assignment: Assignment, kept: &BTreeSet<usize>) -> Assignment {
    let scores = |assignment: &Assignment| -> Vec<Score> {
        places.iter().map(|place| place.score(assignment)).collect()
    };
    let wanted = scores(&assignment);
    for leaf in assignment.keys().copied().filter(|leaf| !kept.contains(leaf)).collect::<Vec<_>>() {
        let mut without = assignment.clone();
        without.remove(&leaf);
        if scores(&without).iter().zip(&wanted).all(|(score, wanted)| score >= wanted) {
            assignment = without;
        }
    }
    assignment
}

/// The places that a value is part of.
pub(super) fn reach(places: &[RenderedReference], assignment: &Assignment, leaf: usize) -> usize {
    places.iter().filter(|place| slots(place.pattern_under(assignment)).contains(&leaf)).count()
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

    fn place(pattern: Pattern, goal: &str) -> RenderedReference {
        let goal = Goal { texts: vec![goal.to_owned()], acceptable: None, stays: false };
        RenderedReference { pattern, alternatives: Vec::new(), goal }
    }

    fn solved(places: &[RenderedReference]) -> Vec<(usize, String)> {
        solve(places, "reg/m", &|leaf| leaf, Assignment::new()).into_iter().collect()
    }

    #[test]
    fn one_registry_moves_every_image() {
        let places = ["a:1", "b:2"].map(|image| {
            place(vec![slot(0, "quay.io/x"), text("/"), slot(1, image)], &format!("reg/m/{image}"))
        });
        assert_eq!(solved(&places), [(0, "reg/m".to_owned())]);
    }

    #[test]
    fn registry_and_repository_change_together() {
        let places = [("x/a", "a", 1), ("y/b", "b", 2)].map(|(repository, name, leaf)| {
            let pattern = vec![slot(0, "quay.io"), text("/"), slot(leaf, repository), text(":1")];
            place(pattern, &format!("reg/m/{name}:1"))
        });
        let expected = [(0, "reg/m"), (1, "a"), (2, "b")].map(|(leaf, text)| (leaf, text.to_owned()));
        assert_eq!(solved(&places), expected);
    }

    #[test]
    fn an_optional_value_for_all_is_preferred_to_one_for_each() {
        let places = [1, 2].map(|leaf| {
            let mut place = place(vec![slot(leaf, "quay.io"), text("/a:1")], "reg/m/a:1");
            let pattern = vec![slot(0, ""), text("/a:1")];
            place.alternatives.push(Alternative { needs: BTreeSet::from([0]), pattern });
            place
        });
        assert_eq!(solved(&places), [(0, "reg/m".to_owned())]);
    }

    #[test]
    fn a_registry_for_all_is_preferred_to_one_for_each_beside_their_repositories() {
        let places = [("x/a", "a", 1, 2), ("x/b", "b", 3, 4)].map(|(repository, name, registry, leaf)| {
            let rest = [text("/"), slot(leaf, repository), text(":1")];
            let pattern = |first: Piece| [vec![first], rest.to_vec()].concat();
            let mut place = place(pattern(slot(registry, "quay.io")), &format!("reg/m/{name}:1"));
            place
                .alternatives
                .push(Alternative { needs: BTreeSet::from([9]), pattern: pattern(slot(9, "")) });
            place
        });
        let expected = [(2, "a"), (4, "b"), (9, "reg/m")].map(|(leaf, text)| (leaf, text.to_owned()));
        assert_eq!(solved(&places), expected);
    }

    #[test]
    fn a_value_that_would_break_another_image_is_left_alone() {
        let mut shared =
            [place(vec![text("a:"), slot(0, "1")], "a:1@x"), place(vec![text("b:"), slot(0, "1")], "b:1@y")];
        for place in &mut shared {
            place.goal.acceptable = fill(&place.pattern, &Assignment::new()).parse().ok();
        }
        assert_eq!(solved(&shared), []);
    }
}
