//! What an enumeration finds: images, the places that name them, and the chart they come from.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::{ChartPackage, Note};
use crate::{
    error::escape,
    oci::{ChartIdentity, Reference},
};

/// How sure it is that a place names an image. The order is from the surest to the least sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(transform = retired_confidence)]
pub enum Confidence {
    /// A container or an image volume of a pod spec: the kubelet will pull it.
    PodSpec,
    /// A field of a custom resource, or of the Helm values in one, that has an image's name or shape: an operator will
    /// use it.
    CustomResource,
    /// An environment value, an argument or `ConfigMap` data whose key says that it is an image, or that is below a
    /// prefix that was given.
    Named,
    /// Any other text that holds a complete reference.
    Mentioned,
}

impl Confidence {
    /// Whether the image is only mentioned in settings, so that it may not exist or not be needed.
    #[must_use]
    pub fn is_mention(self) -> bool {
        matches!(self, Self::Named | Self::Mentioned)
    }
}

/// Version 1 of the schema began with two values that are not written any more. They stay in it, so that documents
/// of both kinds are valid and neither word gets another meaning.
fn retired_confidence(schema: &mut Schema) {
    let retired = [
        (
            "environment",
            "Written by 0.1 for what `named` and `mentioned` say now, below a prefix known from pod specs.",
        ),
        ("heuristic", "Written by 0.1 for what `mentioned` says now, on a registry known from pod specs."),
    ];
    if let Some(values) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        values.extend(retired.map(|(value, description)| {
            json!({"description": description, "type": "string", "const": value, "deprecated": true})
        }));
    }
}

/// One place that names an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageUse {
    /// The resource's kind, empty if the manifest has none.
    pub kind: String,
    /// The resource's namespace, if the manifest has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The resource's name, empty if the manifest has none.
    pub name: String,
    /// The JSON path within the resource, for example `spec.template.spec.containers[0].image`.
    pub path: String,
    /// The chart's template file, from Helm's `# Source:` line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// How sure it is that this names an image.
    pub confidence: Confidence,
    /// Whether it is in a manifest or in settings that another resource holds as text.
    #[serde(default, skip_serializing_if = "is_false")]
    pub embedded: bool,
    /// Whether only `helm test` creates the resource.
    #[serde(default, skip_serializing_if = "is_false")]
    pub test_hook: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl ImageUse {
    /// A place in a resource without a namespace or a template.
    pub(super) fn at(kind: &str, name: &str, path: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: None,
            name: name.to_owned(),
            path: path.to_owned(),
            template: None,
            confidence: Confidence::Mentioned,
            embedded: false,
            test_hook: false,
        }
    }

    /// The place as a person reads it, on one line, control characters escaped.
    #[must_use]
    pub fn location(&self) -> String {
        let namespace = self.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        let template = self.template.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
        let path = if self.path.is_empty() { String::new() } else { format!(" at {}", self.path) };
        let location = format!("{} {namespace}{}{path}{template}", self.kind, self.name);
        escape(&location).replace('\n', "\\n")
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
    /// Whether it is only mentioned: it may not be needed, and it may not exist at the source.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
    /// Whether only test hooks use it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub test_only: bool,
    /// Whether it was added to what the chart or the manifests name: by `--add`, `--add-images` or `--annotated`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub added: bool,
}

impl Image {
    /// Whether its name at the destination depends on the others, and never the others' names on it.
    #[must_use]
    pub fn yields_name(&self) -> bool {
        self.optional || self.added && self.uses.is_empty()
    }
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
    /// What relative naming cuts off, taken before the filters from the images of pod specs and custom resources, or
    /// from all of a list; see
    /// [`common_prefix`](crate::oci::mapping::common_prefix).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_prefix: Option<String>,
    /// What may need an image that is not mirrored, and why it is not. Worth showing.
    pub notes: Vec<Note>,
    /// The filters that match no image, as a user would type them: probably misspelled.
    #[serde(skip)]
    pub idle_filters: Vec<String>,
}

impl Enumeration {
    /// The images that are only mentioned.
    #[must_use]
    pub fn optional(&self) -> BTreeSet<Reference> {
        self.images.iter().filter(|image| image.optional).map(|image| image.reference.clone()).collect()
    }

    /// The images that give way where two would get one name at the destination: they get host and path.
    #[must_use]
    pub fn yielding_names(&self) -> BTreeSet<Reference> {
        self.images.iter().filter(|image| image.yields_name()).map(|image| image.reference.clone()).collect()
    }
}

/// One place that names an image, with the text that is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenUse {
    /// What the text means.
    pub reference: Reference,
    /// The text: parts that are written apart are put together.
    pub written: String,
    /// Where it is.
    pub found_at: ImageUse,
}

/// Images under collection, one entry for each normalized reference.
#[derive(Debug, Default)]
pub(super) struct ImageSet {
    images: BTreeMap<Reference, Image>,
    /// Every place, in the order of the rendering.
    uses: Vec<WrittenUse>,
}

impl ImageSet {
    /// Adds one find; `found_at` is missing for references that were listed rather than found.
    pub(super) fn add(&mut self, reference: Reference, written: &str, found_at: Option<ImageUse>) {
        if let Some(found_at) = &found_at {
            let (reference, written) = (reference.clone(), written.to_owned());
            self.uses.push(WrittenUse { reference, written, found_at: found_at.clone() });
        }
        self.entry(reference, written).uses.extend(found_at);
    }

    /// Adds the requested images to those of a chart.
    pub(super) fn add_extra(&mut self, reference: Reference, written: &str) {
        self.entry(reference, written).added = true;
    }

    fn entry(&mut self, reference: Reference, written: &str) -> &mut Image {
        match self.images.entry(reference) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let reference = entry.key().clone();
                entry.insert(Image {
                    reference,
                    written: written.to_owned(),
                    uses: Vec::new(),
                    optional: false,
                    test_only: false,
                    added: false,
                })
            }
        }
    }

    pub(super) fn contains(&self, reference: &Reference) -> bool {
        self.images.contains_key(reference)
    }

    pub(super) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.images.keys()
    }

    /// What was found, without what was only added.
    pub(super) fn found(&self) -> impl Iterator<Item = &Reference> {
        self.images
            .values()
            .filter(|image| !image.added || !image.uses.is_empty())
            .map(|image| &image.reference)
    }

    /// Every place that names an image, in the order of the rendering.
    pub(super) fn take_uses(&mut self) -> Vec<WrittenUse> {
        std::mem::take(&mut self.uses)
    }

    /// The images in order, each with what its uses say about it.
    pub(super) fn into_sorted(self) -> Vec<Image> {
        let mut images: Vec<Image> = self.images.into_values().collect();
        for image in &mut images {
            image
                .uses
                .sort_by(|one, other| one.confidence.cmp(&other.confidence).then_with(|| one.cmp(other)));
            image.uses.dedup();
            let is_found = !image.uses.is_empty() && !image.added;
            image.optional = is_found && image.uses.iter().all(|found_at| found_at.confidence.is_mention());
            image.test_only = is_found && image.uses.iter().all(|found_at| found_at.test_hook);
        }
        images.sort_by_key(|image| image.reference.to_string());
        images
    }
}
