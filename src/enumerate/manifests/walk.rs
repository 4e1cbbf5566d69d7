//! The walk over one resource: it knows where in the resource it is, and passes each value to the module that reads it.
//!
//! The rest of the walk is in other files: [`super::pod_specs`] reads containers, [`super::settings`] environment
//! variables, arguments and `ConfigMap` data, [`super::mentions`] a single text, [`super::embedded`] manifests and
//! settings that are text, and [`super::charts`] resources that name a chart.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::{Map, Value};

use crate::{
    enumerate::{
        EnumerateError, Note, NoteKind,
        image::{Confidence, ImageUse},
    },
    oci::Reference,
};

use super::{
    charts::{self, ImpliedTag},
    composed,
    findings::{Condition, Findings, FoundImage},
    flux, installers,
    keys::{self, KeyMeaning},
    kubeadm, not_images, operators, parts,
    path::Path,
    resource::{Category, Resource, is_closed_key, is_closed_object},
    settings,
};

/// Walks one resource.
pub(super) fn walk(resource: &Resource<'_>, findings: &mut Findings) -> Result<(), EnumerateError> {
    let scope = WalkContext {
        category: resource.category,
        is_settings: resource.category == Category::Settings,
        embedding: 0,
        variables: Rc::default(),
        is_disabled: false,
        is_optional: not_images::is_policy(charts::group(resource), resource.kind),
        installs_chart: false,
        hub: None,
        registry: None,
        implied_tag: ImpliedTag::Default,
    };
    Walker { resource, findings, path: Path::default(), scope }.resource(resource)
}

/// Where a value is in its parent.
#[derive(Clone, Copy)]
pub(super) enum Position<'k> {
    Root,
    /// The value of this key.
    Field(&'k str),
    /// An item of the list under this key.
    Item(&'k str),
    /// The value of a key below `images`.
    ImageField(&'k str),
}

impl<'k> Position<'k> {
    pub(super) fn is_container(self) -> bool {
        matches!(self, Self::Item("containers" | "initContainers" | "ephemeralContainers"))
    }

    /// Whether a container is described here that is not in a pod spec: a step of Tekton, a template of Argo Workflows.
    pub(super) fn is_like_container(self) -> bool {
        matches!(
            self,
            Self::Field("container" | "script") | Self::Item("steps" | "sidecars" | "initContainers")
        ) || self.is_container()
    }

    pub(super) fn key(self) -> &'k str {
        match self {
            Self::Root => "",
            Self::Field(key) | Self::Item(key) | Self::ImageField(key) => key,
        }
    }

    /// What the key says about a text here.
    pub(super) fn meaning(self) -> KeyMeaning {
        match self {
            Self::Root => KeyMeaning::Other,
            Self::ImageField(key) => match keys::meaning(key) {
                KeyMeaning::Other | KeyMeaning::Part(keys::Part::Registry) => KeyMeaning::ImageOrPart,
                meaning => meaning,
            },
            Self::Field(key) | Self::Item(key) => keys::meaning(key),
        }
    }

    /// Whether an object here is an image in parts.
    pub(super) fn is_image(self) -> bool {
        self.meaning().is_image()
    }
}

/// The surroundings of the value that is being walked.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the surroundings")]
pub(super) struct WalkContext {
    pub(super) category: Category,
    /// Whether keys and text are settings of a program rather than fields of a resource.
    pub(super) is_settings: bool,
    /// The number of texts around this value: a manifest in a text is in one.
    pub(super) embedding: usize,
    /// The literal environment of the container that is being walked.
    pub(super) variables: Rc<BTreeMap<String, String>>,
    /// Whether the component that is being walked is disabled.
    pub(super) is_disabled: bool,
    /// Whether an image here may not exist, or not be needed: a build pushes it, or a policy describes it.
    pub(super) is_optional: bool,
    /// Whether the resource installs a chart that is not rendered.
    pub(super) installs_chart: bool,
    /// `hub` and `tag` of an object around this one: they complete every `image` in it that is a single word.
    pub(super) hub: Option<Hub>,
    /// The registry that an object around this one names for the images in it that name none.
    pub(super) registry: Option<SharedRegistry>,
    pub(super) implied_tag: ImpliedTag,
}

/// A registry with a path, and the tag of all images below it.
#[derive(Clone)]
pub(super) struct Hub {
    pub(super) hub: String,
    pub(super) tag: String,
}

/// A registry that several images have in common.
#[derive(Clone)]
pub(super) struct SharedRegistry {
    pub(super) name: String,
    /// Whether it replaces only the host, so that a path may follow it.
    pub(super) is_host: bool,
}

/// How much has been found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FoundCounts {
    images: usize,
    notes: usize,
}

pub(super) struct Walker<'r> {
    /// The resource of the rendering, also while a manifest in its text is walked.
    resource: &'r Resource<'r>,
    findings: &'r mut Findings,
    path: Path,
    pub(super) scope: WalkContext,
}

impl Walker<'_> {
    /// Walks a resource of the rendering, or of a text in one.
    pub(super) fn resource(&mut self, resource: &Resource<'_>) -> Result<(), EnumerateError> {
        self.findings.chart_sources.add(resource);
        let mut charts =
            flux::named_by(resource).map_or_else(|| charts::named_by(resource), |chart| vec![chart]);
        if charts.is_empty() {
            charts = installers::charts_in(resource);
        }
        self.scope.installs_chart |= !charts.is_empty();
        for chart in &charts {
            if let Some(referred) = flux::referred_by(resource) {
                self.findings.referred_charts.push((self.findings.notes.len(), referred));
            }
            let found_at = self.found_at(Confidence::CustomResource);
            self.note(
                Note::new(NoteKind::ChartNotRendered, found_at, Some(&chart.name), charts::REASON)
                    .with_remedy(chart.remedy.clone()),
            );
        }
        self.scope.implied_tag = charts::implied_tag(resource);
        if resource.category == Category::Settings {
            // Binary data is not text, and the rest of a ConfigMap is metadata.
            return match resource.fields.get("data") {
                Some(Value::Object(data)) => self.inside("data", |walker| walker.config_map(data)),
                _ => Ok(()),
            };
        }
        let kubeadm = kubeadm::with_image_names(resource);
        if let Some((_, registry)) = &kubeadm {
            self.note_kubeadm(registry);
        }
        let merged = kubeadm
            .map(|(fields, _)| fields)
            .or_else(|| charts::with_merged_values(resource))
            .or_else(|| operators::with_cluster_version(resource));
        let fields = merged.as_ref().unwrap_or(resource.fields);
        let before = self.counts();
        self.object(fields, Position::Root)?;
        let operand = charts::operand(resource).filter(|_| charts.is_empty());
        if let Some(operand) = operand
            && before == self.counts()
        {
            let reason = format!("it names {operand} but no image; its operator chooses the image");
            self.note_no_image(Confidence::CustomResource, &reason);
        }
        if let Some(installed) = installers::installed_by(resource) {
            self.note_installed(&installed);
        }
        Ok(())
    }

    pub(super) fn value(&mut self, value: &Value, position: Position<'_>) -> Result<(), EnumerateError> {
        match value {
            Value::Object(object) => self.object(object, position),
            Value::Array(items) => self.list(items, position),
            Value::String(text) => self.text(text, position),
            _ => Ok(()),
        }
    }

    fn list(&mut self, items: &[Value], position: Position<'_>) -> Result<(), EnumerateError> {
        if settings::are_arguments(items, position.key()) {
            return self.arguments(items, position);
        }
        if settings::are_variables(items) {
            return self.variables(items, position);
        }
        let item_position = Position::Item(position.key());
        items.iter().enumerate().try_for_each(|(index, item)| {
            self.inside_index(index, |walker| walker.value(item, item_position))
        })
    }

    pub(super) fn object(
        &mut self,
        object: &Map<String, Value>,
        position: Position<'_>,
    ) -> Result<(), EnumerateError> {
        if is_closed_object(object) {
            return Ok(());
        }
        if position.is_container() {
            self.container(object);
        }
        let outer = self.scope.clone();
        let before = self.counts();
        if let Some(env) = object.get("env") {
            self.scope.variables = Rc::new(settings::literal_environment(env));
        }
        let taken = if self.reads_keys() && !position.is_container() {
            self.image_object(object, position)
        } else {
            Vec::new()
        };
        self.enter_hub(object);
        self.scope.is_disabled |= object.get("enabled") == Some(&Value::Bool(false));
        for (key, value) in object {
            // A list of labels is one of a runner's settings, and each may name the image of a job.
            let is_closed = is_closed_key(key) && !(key == "labels" && value.is_array());
            if is_closed || taken.contains(&key.as_str()) || is_record(key, position) {
                continue;
            }
            self.inside(key, |walker| {
                walker.key_text(key, position);
                walker.field(key, value, position)
            })?;
        }
        self.note_bare_hub(object, before);
        self.note_bare_tag(object, position, before);
        self.scope = outer;
        Ok(())
    }

    /// Walks one field of an object that is at `position`.
    fn field(&mut self, key: &str, value: &Value, position: Position<'_>) -> Result<(), EnumerateError> {
        self.scope.is_optional |= keys::is_optional_key(key);
        match (key, value) {
            ("metadata", Value::Object(metadata)) => match metadata.get("annotations") {
                Some(Value::Object(annotations)) => {
                    self.inside("annotations", |walker| walker.annotations(annotations))
                }
                _ => Ok(()),
            },
            ("image", Value::Object(image)) if matches!(position, Position::Item("volumes")) => {
                self.image_volume(image)
            }
            ("image", image)
                if position.is_container()
                    && !self.scope.is_settings
                    && !(self.scope.category == Category::Custom && image.is_object()) =>
            {
                self.pod_image(image)
            }
            // Gardener names the image of a virtual machine in parts.
            ("image", _) if position.key() == "machine" => self.value(value, Position::Field("machineImage")),
            ("image", Value::String(image)) if position.is_like_container() && self.reads_keys() => {
                self.container_like_image(image)
            }
            (key, Value::Object(values)) if charts::is_values_key(key) && !self.scope.is_settings => {
                self.object(&charts::as_helm_prints(values), Position::Field(key))
            }
            ("package", Value::String(image)) if charts::is_package(self.resource) => {
                self.container_like_image(image)
            }
            ("url", Value::String(url)) if matches!(position, Position::Field("spec")) => {
                match operators::wasm_image(self.resource, url) {
                    Some(image) => self.container_like_image(image),
                    None => self.text(url, Position::Field(key)),
                }
            }
            ("env" | "args" | "command", _) => {
                self.scope.is_settings = true;
                self.value(value, Position::Field(key))
            }
            (_, Value::String(_) | Value::Object(_))
                if keys::is_images_key(position.key()) && matches!(position, Position::Field(_)) =>
            {
                self.image_field(key, value)
            }
            (_, Value::String(text)) if position.is_image() && composed::is_complete(key, text) => {
                self.value(value, Position::ImageField(key))
            }
            _ => self.value(value, Position::Field(key)),
        }
    }

    fn annotations(&mut self, annotations: &Map<String, Value>) -> Result<(), EnumerateError> {
        self.scope.is_settings = true;
        annotations
            .iter()
            .filter(|(key, _)| !not_images::is_closed_annotation(key))
            .try_for_each(|(key, value)| self.inside(key, |walker| walker.value(value, Position::Field(key))))
    }

    /// Whether keys say what is an image here. Resources of Kubernetes itself have fields called `image` that are not
    /// container images.
    pub(super) fn reads_keys(&self) -> bool {
        self.scope.category != Category::BuiltIn || self.scope.is_settings
    }

    /// How many images and notes there are: unchanged where nothing was found.
    pub(super) fn counts(&self) -> FoundCounts {
        FoundCounts { images: self.findings.images.len(), notes: self.findings.notes.len() }
    }

    /// The confidence in an image whose key calls it one, here.
    pub(super) fn named(&self) -> Confidence {
        let is_field =
            self.scope.category == Category::Custom && !self.scope.is_settings && !self.scope.is_optional;
        if is_field { Confidence::CustomResource } else { Confidence::Named }
    }

    pub(super) fn tag_stems(&mut self, pairs: &[(&str, &str)]) {
        self.findings.tag_stems.extend(parts::tag_stems(pairs.iter().map(|(key, _)| *key)));
    }

    pub(super) fn found(
        &mut self,
        reference: Reference,
        written: &str,
        confidence: Confidence,
        condition: Condition,
    ) {
        let found_at = self.found_at(confidence);
        self.findings.images.push(FoundImage { reference, written: written.to_owned(), found_at, condition });
    }

    pub(super) fn note(&mut self, note: Note) {
        self.findings.notes.push(note);
    }

    pub(super) fn found_at(&self, confidence: Confidence) -> ImageUse {
        let resource = self.resource;
        ImageUse {
            namespace: resource.namespace.map(str::to_owned),
            template: resource.template.map(str::to_owned),
            confidence,
            embedded: self.scope.embedding > 0,
            test_hook: resource.is_test_hook,
            ..ImageUse::at(resource.kind, resource.name, &self.path.to_string())
        }
    }

    /// Walks the value of `key`. Afterwards the scope is what it was before.
    pub(super) fn inside<T>(&mut self, key: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.scope.clone();
        self.path.push_key(key);
        let result = inside(self);
        self.path.pop();
        self.scope = outer;
        result
    }

    pub(super) fn inside_index<T>(&mut self, index: usize, inside: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push_index(index);
        let result = inside(self);
        self.path.pop();
        result
    }
}

/// Whether a key at the top of a resource holds what a live cluster records rather than what was asked for.
fn is_record(key: &str, position: Position<'_>) -> bool {
    key == "status" && matches!(position, Position::Root)
}
