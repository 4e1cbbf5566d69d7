//! Explains the values: where each came from, and what it replaces.

use serde_json::Value;

use super::{
    ChartValues, facts,
    outcome::{HIDDEN, ValuesOutcome},
    path::ValuePath,
    proof::{ImageState, InstalledImage},
    relocate::Setting,
};
use crate::{
    error::{Failure, Kind},
    units::{self, counted},
};

/// How many places are named in a note.
const MAX_NAMED: usize = 5;

/// Adds the comments that follow from the values themselves.
pub(super) fn explain(settings: &[Setting], known: &ChartValues, outcome: &mut ValuesOutcome) {
    let mut head = vec![head(outcome)];
    head.append(&mut outcome.notes);
    outcome.notes = head;
    for setting in settings {
        let mut line = origin(&setting.path, known);
        if setting.reach > 0 {
            line = format!("{line}; part of {}", counted(setting.reach, "image reference"));
        }
        if setting.path == ValuePath::of_keys(facts::PERMITS_OTHER_REGISTRIES) {
            outcome.comment(&setting.path, "without it, the chart refuses every registry but its own");
        }
        outcome.comment(&setting.path, line);
        if let Some(list) = setting.path.list() {
            let line = format!(
                "Helm replaces lists as a whole, so all items of {list} are repeated: keep them in step with yours"
            );
            if !outcome.comments.get(&list.to_string()).is_some_and(|lines| lines.contains(&line)) {
                outcome.comment(&list, line);
            }
        }
    }
    if outcome.destination.is_some() && !outcome.has_lock {
        outcome.note("No lock was read, so it was not checked whether the images are in the mirror.");
    }
    unpinned(outcome);
}

fn head(outcome: &ValuesOutcome) -> String {
    let chart = &outcome.chart;
    match &outcome.destination {
        Some(to) => format!(
            "Helm values for {} {}: {}.\nPass this file after your own: helm install … -f yours.yaml -f this.yaml",
            chart.name,
            chart.version,
            result(outcome, to),
        ),
        None => {
            format!("Helm values for {} {}, installed from its own registries.", chart.name, chart.version)
        }
    }
}

/// How many images come from the mirror.
fn result(outcome: &ValuesOutcome, to: &str) -> String {
    let images = &outcome.images;
    let is_inside =
        |image: &&InstalledImage| !matches!(image.state, ImageState::Outside | ImageState::Excluded);
    let inside = images.iter().filter(is_inside).count();
    if images.is_empty() {
        return "NOT PROVEN, the chart cannot be rendered with them".to_owned();
    }
    if inside < images.len() {
        return format!("ONLY {inside} of {} from {to}", counted(images.len(), "image"));
    }
    format!("every image from {to}")
}

/// What a value replaces.
fn origin(path: &ValuePath, known: &ChartValues) -> String {
    match (path.get(&known.given), path.get(&known.effective)) {
        (Some(given), _) => format!("replaces {} from your values", shown(path, given)),
        (None, Some(default)) if !is_empty(default) => {
            let is_of_subchart = path.get(&known.own).is_none()
                && path.keys().next().is_some_and(|key| known.subchart_keys.iter().any(|known| known == key));
            let owner = if is_of_subchart { "a subchart's" } else { "the chart's" };
            format!("replaces {owner} {}", shown(path, default))
        }
        (None, Some(_)) => "empty in the chart".to_owned(),
        (None, None) => "not in the chart's values; its templates read it".to_owned(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

fn shown(path: &ValuePath, value: &Value) -> String {
    let is_secret = path.keys().next_back().is_some_and(|key| key.to_ascii_lowercase().contains("password"));
    match value {
        _ if is_secret => HIDDEN.to_owned(),
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    }
}

fn unpinned(outcome: &mut ValuesOutcome) {
    let mut names: Vec<String> = outcome.unpinned.iter().map(|place| place.reference.to_string()).collect();
    names.retain(|name| !name.contains('@'));
    names.sort();
    names.dedup();
    if names.is_empty() {
        return;
    }
    let names = units::named(&names, MAX_NAMED);
    outcome.note(format!("Not pinned, because no value of the chart can hold the digest: {names}."));
}

/// The user's `--set` assignments that override the values file when the chart is installed.
pub(super) fn overridden(settings: &[Setting], known: &ChartValues) -> Vec<Failure> {
    let wins = |setting: &&Setting| {
        setting.path.get(&known.assigned).is_some_and(|assigned| *assigned != setting.value)
    };
    settings
        .iter()
        .filter(wins)
        .map(|setting| {
            let path = &setting.path;
            let message = format!("your --set of {path} wins over a values file, and points elsewhere");
            Failure::new(Kind::Difference, message)
                .with_hint(format!("install without it: this file sets {path} for the mirror"))
        })
        .collect()
}
