//! Finds the values that move every image to the mirror.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use serde_json::{Map, Value};

use super::{
    facts,
    leaf::{self, Leaf, split_name},
    markers::{Lab, Survey, at_once},
    mirror::MirrorNames,
    path::ValuePath,
    pattern::{Assignment, slots},
    solve::{Place, reach, solve},
};
use crate::error::Failure;

/// How many optional values are tried one by one.
const MOST_OPTIONAL: usize = 48;

/// A value to set, and why.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) path: ValuePath,
    pub(super) value: Value,
    /// How many places it is part of.
    pub(super) reach: usize,
}

/// Finds the values. `lab` keeps what a chart needs to accept another registry at all.
pub(super) async fn relocate(
    lab: &mut Lab<'_>,
    mirror: &MirrorNames,
    template_keys: &[Vec<String>],
) -> Result<Vec<Setting>, Failure> {
    let names: BTreeSet<String> =
        lab.uses.iter().map(|place| split_name(&place.written).0.to_owned()).collect();
    let leaves = leaf::names(lab.effective, template_keys, &names);
    let firm: Vec<usize> = indexes(&leaves, |leaf| !leaf.is_optional);
    // Such a chart rejects each marker of a registry, so without the switch each would be found one by one.
    let switch = match other_registries(lab) {
        Some(switch) if !lab.accepts(&leaves, &firm).await? => {
            switch.path.set(&mut lab.fixed, lab.effective, switch.value.clone());
            Some(switch)
        }
        _ => None,
    };
    let survey = lab.survey(&leaves, &firm).await?;
    let mut places = places(lab, mirror, &survey);
    let root = mirror.root.to_string();
    let rank = |leaf: usize| leaves.get(leaf).map_or(0, |leaf| leaf.path.steps().len());
    let mut assignment = solve(&places, &root, &rank, Assignment::new());
    for wanted in [Wanted::Shared, Wanted::Rest] {
        if !wanted.is_worth_it(&places, &assignment) {
            continue;
        }
        let optional = indexes(&leaves, |leaf| leaf.is_optional && wanted.includes(leaf));
        let seen = lab.visible(&leaves, &survey.accepted, optional).await?;
        let trials = seen.into_iter().take(MOST_OPTIONAL).map(|leaf| {
            let among: Vec<usize> = survey.accepted.iter().copied().chain([leaf]).collect();
            let (lab, leaves) = (&*lab, leaves.as_slice());
            async move { lab.survey_optional(leaves, &among, leaf).await }
        });
        let found: Vec<_> = stream::iter(trials).buffered(at_once()).collect().await;
        for found in found {
            for (place, alternatives) in places.iter_mut().zip(found?) {
                place.alternatives.extend(alternatives);
            }
        }
        assignment = solve(&places, &root, &rank, Assignment::new());
    }
    Ok(conclude(&leaves, &places, &assignment).into_iter().chain(switch).collect())
}

/// Which optional values to try.
#[derive(Clone, Copy)]
enum Wanted {
    /// Those that one may set for all images: `global.imageRegistry`.
    Shared,
    /// All others.
    Rest,
}

impl Wanted {
    /// Shared values can replace several; the others only help where nothing else does.
    fn is_worth_it(self, places: &[Place], assignment: &Assignment) -> bool {
        let is_incomplete = places.iter().any(|place| !place.is_right(assignment));
        match self {
            Self::Shared => is_incomplete || assignment.len() > 1,
            Self::Rest => is_incomplete,
        }
    }

    fn includes(self, leaf: &Leaf) -> bool {
        match self {
            Self::Shared => leaf.is_shared && leaf.slot.is_empty(),
            Self::Rest => !(leaf.is_shared && leaf.slot.is_empty()),
        }
    }
}

fn indexes(leaves: &[Leaf], which: impl Fn(&Leaf) -> bool) -> Vec<usize> {
    leaves.iter().enumerate().filter(|(_, leaf)| which(leaf)).map(|(index, _)| index).collect()
}

fn places(lab: &Lab<'_>, mirror: &MirrorNames, survey: &Survey) -> Vec<Place> {
    let found = survey.patterns.iter().zip(&survey.alternatives);
    lab.uses
        .iter()
        .zip(found)
        .map(|(place, (pattern, alternatives))| Place {
            pattern: pattern.clone(),
            alternatives: alternatives.clone(),
            goal: mirror.goal(place),
        })
        .collect()
}

/// The switch with which some charts permit registries that they do not know.
fn other_registries(lab: &Lab<'_>) -> Option<Setting> {
    let path = ValuePath::of_keys(facts::PERMITS_OTHER_REGISTRIES);
    let is_off = path.get(lab.effective) == Some(&Value::Bool(false));
    is_off.then_some(Setting { path, value: Value::Bool(true), reach: 0 })
}

fn conclude(leaves: &[Leaf], places: &[Place], assignment: &Assignment) -> Vec<Setting> {
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

impl Lab<'_> {
    /// The optional values that are part of an image at all. One can hide another, so those that were not seen are tried
    /// again without those that were.
    async fn visible(
        &self,
        leaves: &[Leaf],
        accepted: &[usize],
        mut optional: Vec<usize>,
    ) -> Result<Vec<usize>, Failure> {
        let mut visible = BTreeSet::new();
        while !optional.is_empty() {
            let survey = self.survey(leaves, &[accepted, &optional].concat()).await?;
            let found = survey.alternatives.iter().flatten().flat_map(|found| slots(&found.pattern));
            let found: BTreeSet<usize> = found.filter(|leaf| optional.contains(leaf)).collect();
            if found.is_empty() {
                break;
            }
            optional.retain(|leaf| !found.contains(leaf));
            visible.extend(found);
        }
        Ok(visible.into_iter().collect())
    }

    /// What places are made of when one more value, an optional one, has a text.
    async fn survey_optional(
        &self,
        leaves: &[Leaf],
        among: &[usize],
        optional: usize,
    ) -> Result<Vec<Vec<super::solve::Alternative>>, Failure> {
        let survey = self.survey(leaves, among).await?;
        let keep = |alternatives: Vec<super::solve::Alternative>| {
            alternatives
                .into_iter()
                .filter(|found| found.needs.contains(&optional) && slots(&found.pattern).contains(&optional))
                .collect()
        };
        Ok(survey.alternatives.into_iter().map(keep).collect())
    }
}
