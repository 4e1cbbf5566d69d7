//! Finds the values that move every image to the mirror.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use serde_json::{Map, Value};

use super::{
    facts,
    leaf::{self, Leaf, split_name},
    markers::{ChartProbe, MarkerSurvey, at_once},
    mirror::MirrorNames,
    path::ValuePath,
    pattern::{Assignment, slots},
    solve::{Alternative, RenderedReference, reach, solve},
};
use crate::error::Failure;

/// The maximum number of optional values, or groups of them, to try.
const MAX_OPTIONAL: usize = 48;

/// A value to set, and why.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) path: ValuePath,
    pub(super) value: Value,
    /// How many places it is part of.
    pub(super) reach: usize,
}

/// Finds the values. `probe` keeps what a chart needs to accept another registry at all.
pub(super) async fn relocate(
    probe: &mut ChartProbe<'_>,
    mirror: &MirrorNames,
    template_keys: &[Vec<String>],
) -> Result<Vec<Setting>, Failure> {
    let names: BTreeSet<String> =
        probe.uses.iter().map(|place| split_name(&place.written).0.to_owned()).collect();
    let leaves = leaf::names(probe.effective, template_keys, &names);
    let firm: Vec<usize> = indexes(&leaves, |leaf| !leaf.is_optional);
    // Such a chart rejects each marker of a registry, so without the switch they would be found one by one.
    let switch = match other_registries(probe) {
        Some(switch) if !probe.accepts(&leaves, &firm).await? => {
            switch.path.set(&mut probe.fixed, probe.effective, switch.value.clone());
            Some(switch)
        }
        _ => None,
    };
    let survey = probe.survey(&leaves, &firm).await?;
    let trial = Trial { leaves: &leaves, survey: &survey, root: mirror.root.to_string() };
    let (mut places, mut assignment) = trial.solve(probe, places(probe, mirror, &survey)).await?;
    let is_wrong = |place: &RenderedReference| !place.is_right(&assignment);
    if places.iter().any(is_wrong) && places.iter().any(|place| place.goal.stays) {
        // An image that is not mirrored has its registry from the same value as the others: it moves with them.
        places.iter_mut().for_each(RenderedReference::release);
        (places, assignment) = trial.solve(probe, places).await?;
    }
    Ok(conclude(&leaves, &places, &assignment).into_iter().chain(switch).collect())
}

/// Tries values.
struct Trial<'a> {
    leaves: &'a [Leaf],
    survey: &'a MarkerSurvey,
    root: String,
}

impl Trial<'_> {
    /// The fewest values that make every place right. Optional values are tried only if the others are not enough.
    async fn solve(
        &self,
        probe: &ChartProbe<'_>,
        mut places: Vec<RenderedReference>,
    ) -> Result<(Vec<RenderedReference>, Assignment), Failure> {
        let Self { leaves, survey, root } = self;
        let rank = |leaf: usize| leaves.get(leaf).map_or(0, |leaf| leaf.path.steps().len());
        let mut assignment = solve(&places, root, &rank, Assignment::new());
        for wanted in [OptionalValues::Shared, OptionalValues::Rest, OptionalValues::Each] {
            if !wanted.is_worth_it(&places, &assignment) {
                continue;
            }
            let optional = indexes(leaves, |leaf| leaf.is_optional && wanted.includes(leaf));
            let seen = probe.visible(leaves, &survey.accepted, optional).await?;
            if !wanted.can_help(&seen, &places, &assignment) {
                continue;
            }
            let trials = wanted.groups(leaves, &seen).into_iter().take(MAX_OPTIONAL).map(|group| {
                let among: Vec<usize> = survey.accepted.iter().chain(&group).copied().collect();
                async move { probe.survey_optional(leaves, &among, &group).await }
            });
            let found: Vec<_> = stream::iter(trials).buffered(at_once()).collect().await;
            for found in found {
                for (place, alternatives) in places.iter_mut().zip(found?) {
                    place.alternatives.extend(alternatives);
                }
            }
            assignment = solve(&places, root, &rank, Assignment::new());
        }
        Ok((places, assignment))
    }
}

/// Which optional values to try.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OptionalValues {
    /// Those that apply to all images: `global.imageRegistry`.
    Shared,
    /// All others.
    Rest,
    /// All, one at a time: together, one can hide another.
    Each,
}

impl OptionalValues {
    /// A shared value can replace several others; the rest help only where nothing else does.
    fn is_worth_it(self, places: &[RenderedReference], assignment: &Assignment) -> bool {
        let is_incomplete = places.iter().any(|place| !place.is_right(assignment));
        is_incomplete || self == Self::Shared && assignment.len() > 1
    }

    /// Whether a value is part of an image that nothing moves yet.
    fn can_help(self, seen: &PlacesByValue, places: &[RenderedReference], assignment: &Assignment) -> bool {
        let is_wrong = |place: &usize| places.get(*place).is_some_and(|place| !place.is_right(assignment));
        self == Self::Shared || seen.values().flatten().any(is_wrong)
    }

    fn includes(self, leaf: &Leaf) -> bool {
        let is_shared = leaf.is_shared && leaf.slot.is_empty();
        match self {
            Self::Shared => is_shared,
            Self::Rest => !is_shared,
            Self::Each => true,
        }
    }

    /// The values to give texts at once, out of those that are part of images: one of each component.
    fn groups(self, leaves: &[Leaf], seen: &PlacesByValue) -> Vec<Vec<usize>> {
        let mut groups: Vec<Group> = Vec::new();
        for (&index, places) in seen {
            let Some(leaf) = leaves.get(index) else { continue };
            let (parent, is_alone) = (leaf.path.parent(), self == Self::Each || leaf.is_default());
            let is_free = |group: &&mut Group| {
                !is_alone
                    && !group.is_closed
                    && group.places.is_disjoint(places)
                    && !group.parents.contains(&parent)
            };
            match groups.iter_mut().find(is_free) {
                Some(group) => {
                    group.leaves.push(index);
                    group.places.extend(places.iter().copied());
                    group.parents.insert(parent);
                }
                None => groups.push(Group {
                    leaves: vec![index],
                    places: places.clone(),
                    parents: BTreeSet::from([parent]),
                    is_closed: is_alone,
                }),
            }
        }
        groups.into_iter().map(|group| group.leaves).collect()
    }
}

/// Optional values that are part of images, with the places.
type PlacesByValue = BTreeMap<usize, BTreeSet<usize>>;

/// Values that are parts of different images.
struct Group {
    leaves: Vec<usize>,
    places: BTreeSet<usize>,
    parents: BTreeSet<Option<ValuePath>>,
    /// Whether its value stays as it is.
    is_closed: bool,
}

fn indexes(leaves: &[Leaf], which: impl Fn(&Leaf) -> bool) -> Vec<usize> {
    leaves.iter().enumerate().filter(|(_, leaf)| which(leaf)).map(|(index, _)| index).collect()
}

fn places(probe: &ChartProbe<'_>, mirror: &MirrorNames, survey: &MarkerSurvey) -> Vec<RenderedReference> {
    let found = survey.patterns.iter().zip(&survey.alternatives);
    probe
        .uses
        .iter()
        .zip(found)
        .map(|(place, (pattern, alternatives))| RenderedReference {
            pattern: pattern.clone(),
            alternatives: alternatives.clone(),
            goal: mirror.goal(place),
        })
        .collect()
}

/// The switch with which some charts permit registries that they do not know. Only a subchart may have it.
fn other_registries(probe: &ChartProbe<'_>) -> Option<Setting> {
    let path = ValuePath::of_keys(facts::PERMITS_OTHER_REGISTRIES);
    is_off(&path, probe.effective).then_some(Setting { path, value: Value::Bool(true), reach: 0 })
}

/// Whether a value is false in the chart or in a subchart.
fn is_off(path: &ValuePath, values: &Map<String, Value>) -> bool {
    path.get(values) == Some(&Value::Bool(false))
        || values
            .iter()
            .any(|(key, below)| key != "global" && below.as_object().is_some_and(|below| is_off(path, below)))
}

fn conclude(leaves: &[Leaf], places: &[RenderedReference], assignment: &Assignment) -> Vec<Setting> {
    let setting = |(&index, text): (&usize, &String)| {
        let leaf = leaves.get(index)?;
        let value = Value::String(leaf.value(text));
        Some(Setting { path: leaf.path.clone(), value, reach: reach(places, assignment, index) })
    };
    assignment.iter().filter_map(setting).collect()
}

/// The values with these settings on top of `fixed`.
pub(super) fn with_settings(
    fixed: &Map<String, Value>,
    effective: &Map<String, Value>,
    settings: &[Setting],
) -> Map<String, Value> {
    let mut values = fixed.clone();
    for setting in settings {
        setting.path.set(&mut values, effective, setting.value.clone());
    }
    values
}

impl ChartProbe<'_> {
    /// The optional values that are part of an image at all, with the places. One can hide another, so those that were not
    /// seen are tried again without those that were.
    async fn visible(
        &self,
        leaves: &[Leaf],
        accepted: &[usize],
        mut optional: Vec<usize>,
    ) -> Result<PlacesByValue, Failure> {
        let mut visible: PlacesByValue = BTreeMap::new();
        while !optional.is_empty() {
            let survey = self.survey(leaves, &[accepted, &optional].concat()).await?;
            let mut found: PlacesByValue = BTreeMap::new();
            for (place, alternatives) in survey.alternatives.iter().enumerate() {
                for leaf in alternatives.iter().flat_map(|alternative| slots(&alternative.pattern)) {
                    if optional.contains(&leaf) {
                        found.entry(leaf).or_default().insert(place);
                    }
                }
            }
            if found.is_empty() {
                break;
            }
            optional.retain(|leaf| !found.contains_key(leaf));
            visible.extend(found);
        }
        Ok(visible)
    }

    /// What places are made of when more values, optional ones of different places, have texts.
    async fn survey_optional(
        &self,
        leaves: &[Leaf],
        among: &[usize],
        optional: &[usize],
    ) -> Result<Vec<Vec<Alternative>>, Failure> {
        let survey = self.survey(leaves, among).await?;
        let holds_one = |found: &Alternative| {
            let slots = slots(&found.pattern);
            optional.iter().any(|leaf| found.needs.contains(leaf) && slots.contains(leaf))
        };
        let keep = |alternatives: Vec<Alternative>| alternatives.into_iter().filter(holds_one).collect();
        Ok(survey.alternatives.into_iter().map(keep).collect())
    }
}
