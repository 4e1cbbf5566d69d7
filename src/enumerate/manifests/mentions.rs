//! The second pass: text that names an image on a known registry.
//!
//! Programs start images whose names reach them in an environment value, an argument or a `ConfigMap`, and
//! no pod spec shows those. Every string outside the first pass's finds is looked at; `ConfigMap` data that
//! is YAML or JSON itself is read as such, so that split names are put together there as well.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::oci::Reference;

use super::{
    Confidence, Find, documents, fields,
    path::Path,
    prefixes::{Match, Prefixes},
    resource::{Class, Resource, is_closed_key},
};

/// YAML within YAML within YAML is where it ends.
const DEEPEST_EMBEDDING: usize = 3;

/// Walks one resource.
pub(super) fn walk(resource: &Resource<'_>, prefixes: &Prefixes) -> Vec<Find> {
    let mut walker = Walker {
        resource,
        prefixes,
        path: Path::default(),
        confidence: base_confidence(resource),
        variables: BTreeMap::new(),
        finds: Vec::new(),
    };
    match (resource.class, resource.fields.get("data")) {
        // Binary data is no text, and the rest of a ConfigMap is metadata.
        (Class::ConfigMap, Some(data)) => walker.inside("data", |walker| {
            walker.confidence = Confidence::Environment;
            walker.value(data, 0);
        }),
        (Class::ConfigMap, None) => {}
        _ => walker.object(resource.fields, 0),
    }
    walker.finds
}

fn base_confidence(resource: &Resource<'_>) -> Confidence {
    if resource.class == Class::Custom { Confidence::CustomResource } else { Confidence::Heuristic }
}

struct Walker<'r> {
    resource: &'r Resource<'r>,
    prefixes: &'r Prefixes,
    path: Path,
    /// What a mention below a prefix is worth here.
    confidence: Confidence,
    /// The literal environment of the container that is being walked.
    variables: BTreeMap<String, String>,
    finds: Vec<Find>,
}

impl Walker<'_> {
    fn value(&mut self, value: &Value, embedding: usize) {
        match value {
            Value::Object(object) => self.object(object, embedding),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.path.push_index(index);
                    self.value(item, embedding);
                    self.path.pop();
                }
            }
            Value::String(text) => self.text(text, embedding),
            _ => {}
        }
    }

    fn object(&mut self, object: &Map<String, Value>, embedding: usize) {
        if self.resource.class == Class::ConfigMap {
            self.composed(object);
        }
        let environment = object.get("env").map(literal_environment);
        let outer = environment.map(|variables| std::mem::replace(&mut self.variables, variables));
        for (key, value) in object {
            if is_closed_key(key) {
                continue;
            }
            self.inside(key, |walker| {
                walker.confidence = match key.as_str() {
                    "env" | "args" | "command" => Confidence::Environment,
                    "annotations" => Confidence::Heuristic,
                    _ => walker.confidence,
                };
                walker.value(value, embedding);
            });
        }
        if let Some(outer) = outer {
            self.variables = outer;
        }
    }

    /// An image in parts within embedded YAML, under the same condition as one in a string.
    fn composed(&mut self, object: &Map<String, Value>) {
        if let Some(composed) = fields::compose(object, true)
            && let Some((reference, matched)) = self.prefixes.judge(&composed.written)
        {
            match composed.key {
                Some(key) => self.inside(key, |walker| walker.found(reference, &composed.written, matched)),
                None => self.found(reference, &composed.written, matched),
            }
        }
    }

    fn text(&mut self, text: &str, embedding: usize) {
        let expanded = expand(text, &self.variables);
        let text = expanded.as_deref().unwrap_or(text);
        if !self.prefixes.occur_in(text) {
            return;
        }
        if embedding < DEEPEST_EMBEDDING && self.embedded(text, embedding) {
            return;
        }
        // A whole value, or the value of a flag, may be as short as `bitnami/redis:7`.
        let whole = text.trim();
        for written in [whole, whole.rsplit('=').next().unwrap_or(whole)] {
            if let Some((reference, matched)) = self.prefixes.judge(written) {
                self.found(reference, written, matched);
                return;
            }
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            for (written, reference, matched) in self.prefixes.search(line) {
                self.found(reference, &written, matched);
            }
        }
    }

    /// Walks a text that is YAML or JSON with a structure of its own; says whether it was.
    fn embedded(&mut self, text: &str, embedding: usize) -> bool {
        let may_have_structure =
            text.contains('\n') || text.trim_start().starts_with(['{', '[']) || text.contains(": ");
        if !may_have_structure {
            return false;
        }
        let values: Result<Vec<Value>, _> =
            documents::split(text).iter().map(|document| documents::parse(document.text)).collect();
        let Ok(values) = values else { return false };
        if !values.iter().all(|value| value.is_object() || value.is_array()) {
            return false;
        }
        for value in &values {
            self.value(value, embedding + 1);
        }
        true
    }

    fn found(&mut self, reference: Reference, written: &str, matched: Match) {
        let confidence = match matched {
            Match::BelowPrefix => self.confidence,
            Match::SameRegistry => Confidence::Heuristic,
        };
        let place = self.resource.place(&self.path, confidence);
        self.finds.push(Find { reference, written: written.to_owned(), place });
    }

    /// Runs `inside` one key deeper and restores the confidence after it.
    fn inside(&mut self, key: &str, inside: impl FnOnce(&mut Self)) {
        let confidence = self.confidence;
        self.path.push_key(key);
        inside(self);
        self.path.pop();
        self.confidence = confidence;
    }
}

/// The variables of an `env` list that have a literal value.
fn literal_environment(env: &Value) -> BTreeMap<String, String> {
    let literal = |variable: &Value| {
        let text = |key: &str| variable.get(key).and_then(Value::as_str).map(str::to_owned);
        Some((text("name")?, text("value")?))
    };
    env.as_array().into_iter().flatten().filter_map(literal).collect()
}

/// Expands `$(NAME)` as the kubelet does in arguments and environment values, one level deep. Nothing is
/// returned when there is nothing to expand.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    if variables.is_empty() || !text.contains("$(") {
        return None;
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        expanded.push_str(before);
        let variable = after.split_once(')').and_then(|(name, after)| Some((variables.get(name)?, after)));
        if let Some((value, after)) = variable {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push_str("$(");
            rest = after;
        }
    }
    expanded.push_str(rest);
    Some(expanded)
}
