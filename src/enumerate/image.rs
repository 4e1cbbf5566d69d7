//! What an enumeration finds: images, the places that name them, and the chart they come from.

use std::collections::{BTreeMap, btree_map::Entry};

use schemars::JsonSchema;
use serde::Serialize;

use super::ChartPackage;
use crate::{
    error::escape,
    oci::{ChartIdentity, Reference},
};

/// How sure it is that a place names an image. The order is from the surest to the least sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// A container or an image volume of a pod spec: the kubelet will pull it.
    PodSpec,
    /// A field of a custom resource that has an image's name or shape: an operator will use it.
    CustomResource,
    /// An environment value, an argument or `ConfigMap` data that names an image below a known prefix.
    Environment,
    /// Any other text that names an image on a registry that the pod specs use.
    Heuristic,
}

/// One place that names an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageUse {
    /// The resource's kind, empty where the manifest has none.
    pub kind: String,
    /// The resource's namespace, where the manifest gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The resource's name, empty where the manifest has none.
    pub name: String,
    /// The JSON path within the resource, for example `spec.template.spec.containers[0].image`.
    pub path: String,
    /// The chart's template file, from Helm's `# Source:` line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// How sure it is that this names an image.
    pub confidence: Confidence,
}

impl ImageUse {
    /// The place as a person reads it, on one line, control characters escaped.
    #[must_use]
    pub fn place(&self) -> String {
        let namespace = self.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        let template = self.template.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
        let place = format!("{} {namespace}{} at {}{template}", self.kind, self.name, self.path);
        escape(&place).replace('\n', "\\n")
    }
}

/// A reference to copy, with everything that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The complete, normalized reference.
    pub reference: Reference,
    /// The reference as it was written where it was first found.
    pub written: String,
    /// Every place that names it, the surest first; empty when it came from a list or the command line.
    pub uses: Vec<ImageUse>,
}

/// A place that looks like an image but does not name one that could be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Where.
    pub place: ImageUse,
    /// What stands there, or does not.
    pub reason: String,
}

/// The images that a selection names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enumeration {
    /// Unique, sorted by reference; at least one.
    pub images: Vec<Image>,
    /// The chart, when one was rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartIdentity>,
    /// The chart itself, where it was asked for.
    #[serde(skip)]
    pub(crate) package: Option<ChartPackage>,
    /// What relative naming cuts off, taken from all images before the filters; see
    /// [`common_prefix`](crate::oci::mapping::common_prefix).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_prefix: Option<String>,
    /// What was passed over and why. Worth showing: an operator may pull an image that is named there.
    pub notes: Vec<Note>,
    /// The filters that match none of what was found, as they would be typed: misspelt, most likely.
    #[serde(skip)]
    pub idle_filters: Vec<String>,
}

/// Images under collection, one entry for each normalized reference.
#[derive(Debug, Default)]
pub(super) struct ImageSet(BTreeMap<Reference, Image>);

impl ImageSet {
    /// Adds one find; `place` is missing for references that were listed rather than found.
    pub(super) fn add(&mut self, reference: Reference, written: &str, place: Option<ImageUse>) {
        let image = match self.0.entry(reference) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let reference = entry.key().clone();
                entry.insert(Image { reference, written: written.to_owned(), uses: Vec::new() })
            }
        };
        image.uses.extend(place);
    }

    pub(super) fn references(&self) -> impl Iterator<Item = (&Reference, &str)> {
        self.0.values().map(|image| (&image.reference, image.written.as_str()))
    }

    pub(super) fn into_sorted(self) -> Vec<Image> {
        let mut images: Vec<Image> = self.0.into_values().collect();
        for image in &mut images {
            image
                .uses
                .sort_by(|one, other| one.confidence.cmp(&other.confidence).then_with(|| one.cmp(other)));
            image.uses.dedup();
        }
        images.sort_by_key(|image| image.reference.to_string());
        images
    }
}
