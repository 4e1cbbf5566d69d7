//! Finds the values that pin the images in the mirror to the digests in the lock.
//!
//! The value of a tag becomes `TAG@DIGEST`, unless the chart also writes the tag to a label, which cannot hold an `@`.
//! The value of a digest becomes the digest.

use std::collections::BTreeSet;

use super::{
    leaf::{self, Leaf, Part},
    markers::ChartProbe,
    mirror::MirrorNames,
    pattern::{Assignment, Pattern, Piece},
    relocate::Setting,
    solve::{RenderedReference, reach, solve},
};
use crate::error::Failure;

/// The values that pin images, and how many places cannot be pinned.
pub(super) struct Pins {
    pub(super) settings: Vec<Setting>,
    /// Indexes of the probe's uses.
    pub(super) unpinned: Vec<usize>,
}

/// Finds the values. `probe` already has the values that move the images.
pub(super) async fn pin(
    probe: &ChartProbe<'_>,
    mirror: &MirrorNames,
    template_keys: &[Vec<String>],
) -> Result<Pins, Failure> {
    let tags: BTreeSet<String> =
        probe.uses.iter().filter_map(|place| place.reference.tag().map(str::to_owned)).collect();
    let leaves = leaf::versions(probe.effective, template_keys, &tags);
    let (mut places, labels) = places_and_labels(probe, mirror, &leaves).await?;
    for place in &mut places {
        exclude(place, &labels);
    }
    let root = mirror.root.to_string();
    let rank = |leaf: usize| leaves.get(leaf).map_or(0, |leaf| usize::MAX / 4 - leaf.path.steps().len());
    // A version for all components is a default: the digest of one image must not become that of a component that other
    // values switch on.
    let defaults: BTreeSet<usize> =
        leaves.iter().enumerate().filter(|(_, leaf)| is_default(leaf)).map(|(index, _)| index).collect();
    let mut specific = places.clone();
    for place in &mut specific {
        exclude(place, &defaults);
    }
    let assignment = solve(&specific, &root, &rank, Assignment::new());
    let assignment = solve(&places, &root, &rank, assignment);
    let settings = assignment.iter().filter_map(|(&index, text)| {
        let leaf = leaves.get(index)?;
        let value = leaf.value(text).into();
        Some(Setting { path: leaf.path.clone(), value, reach: reach(&places, &assignment, index) })
    });
    let unpinned = places.iter().enumerate().filter(|(_, place)| !place.is_right(&assignment));
    Ok(Pins { settings: settings.collect(), unpinned: unpinned.map(|(index, _)| index).collect() })
}

/// What each place that names an image is made of, and the values that are also written to labels.
async fn places_and_labels(
    probe: &ChartProbe<'_>,
    mirror: &MirrorNames,
    leaves: &[Leaf],
) -> Result<(Vec<RenderedReference>, BTreeSet<usize>), Failure> {
    let which = |part: Part, is_optional: bool| -> Vec<usize> {
        let wanted = |leaf: &Leaf| leaf.part == part && leaf.is_optional == is_optional;
        leaves.iter().enumerate().filter(|(_, leaf)| wanted(leaf)).map(|(index, _)| index).collect()
    };
    let firm = probe.survey(leaves, &which(Part::Tag, false)).await?;
    let mut labels = in_labels(&firm.labels, leaves, &firm.accepted);
    let parts = firm.patterns.into_iter().zip(firm.alternatives);
    let places = probe.uses.iter().zip(parts).map(|(place, (pattern, alternatives))| {
        let goal = mirror.pinned_goal(place);
        RenderedReference { pattern, alternatives, goal }
    });
    let mut places: Vec<RenderedReference> = places.collect();
    for optional in [which(Part::Tag, true), which(Part::Digest, false), which(Part::Digest, true)] {
        let found = probe.survey(leaves, &optional).await?;
        labels.extend(in_labels(&found.labels, leaves, &found.accepted));
        let parts = found.patterns.into_iter().zip(found.alternatives);
        for (place, (pattern, alternatives)) in places.iter_mut().zip(parts) {
            place.alternatives.extend(alternatives);
            // A digest that is set already is a slot of the reference as it is.
            if optional.iter().any(|leaf| super::pattern::slots(&pattern).contains(leaf)) {
                place.pattern = pattern;
            }
        }
    }
    Ok((places, labels))
}

/// Leaves these values as they are at a place.
fn exclude(place: &mut RenderedReference, leaves: &BTreeSet<usize>) {
    without_slots(&mut place.pattern, leaves);
    place.alternatives.retain(|found| found.needs.is_disjoint(leaves));
}

/// Whether a value applies to components that do not set their own.
fn is_default(leaf: &Leaf) -> bool {
    leaf.path.steps().len() == 1 || leaf.path.keys().next() == Some("global")
}

/// Makes the slots of these values plain text.
fn without_slots(pattern: &mut Pattern, leaves: &BTreeSet<usize>) {
    for piece in pattern {
        if let Piece::Slot { leaf, unchanged } = piece
            && leaves.contains(leaf)
        {
            *piece = Piece::Text(unchanged.clone());
        }
    }
}

/// The values whose markers are in labels or selectors, which cannot hold a digest.
fn in_labels(labels: &[String], leaves: &[Leaf], among: &[usize]) -> BTreeSet<usize> {
    let is_in_label = |leaf: &usize| {
        leaves.get(*leaf).is_some_and(|leaf| {
            leaf.part == Part::Tag && labels.iter().any(|text| text.contains(leaf.marker.as_str()))
        })
    };
    among.iter().copied().filter(is_in_label).collect()
}

/// The lines below `labels:` and similar keys.
pub(super) fn labels(rendering: &str) -> String {
    let mut kept = String::new();
    let mut block: Option<usize> = None;
    for line in rendering.lines() {
        let text = line.trim_start_matches([' ', '-']);
        let indent = line.len() - text.len();
        if text.is_empty() {
            continue;
        }
        if block.is_some_and(|block| indent <= block) {
            block = None;
        }
        let key = text.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let is_labels = key.ends_with("labels") || key == "selector" || key == "nodeselector";
        if block.is_some() || is_labels {
            kept.push_str(line);
            kept.push('\n');
        }
        if block.is_none() && is_labels {
            block = Some(indent);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinguished_from_the_rest() {
        let rendering = "metadata:\n  labels:\n    version: a\n  annotations:\n    version: b\nspec:\n  selector:\n    matchLabels:\n      version: c\n  template: d\n";
        assert_eq!(
            labels(rendering),
            "  labels:\n    version: a\n  selector:\n    matchLabels:\n      version: c\n"
        );
        assert_eq!(labels("  labels: {version: a}\n  x: b\n"), "  labels: {version: a}\n");
    }
}
