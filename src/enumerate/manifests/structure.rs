//! The first pass: what is an image by its position.
//!
//! A list called `containers`, `initContainers` or `ephemeralContainers` is a pod spec's wherever it
//! stands: below a workload's template, a `CronJob`'s job template, or a pod template inside a custom resource.
//! In a resource of Kubernetes itself an image that is empty or malformed is an error, because the chart
//! would be mirrored with a hole. A custom resource may hold placeholders that its operator fills in
//! (`{{inputs.parameters.image}}`), so there it becomes a [`Note`].

use serde_json::{Map, Value};

use crate::oci::Reference;

use super::{
    Confidence, EnumerateError, Find, Note,
    fields::{self, Composed},
    path::Path,
    resource::{Class, Resource, is_closed_key},
};

/// What the first pass finds in one resource.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) finds: Vec<Find>,
    pub(super) notes: Vec<Note>,
}

/// Walks one resource.
pub(super) fn walk(resource: &Resource<'_>) -> Result<Findings, EnumerateError> {
    let mut walker = Walker { resource, path: Path::default(), findings: Findings::default() };
    if resource.class != Class::ConfigMap {
        walker.object(resource.fields, Role::Root)?;
    }
    Ok(walker.findings)
}

/// How a value stands in its parent.
#[derive(Clone, Copy)]
enum Role<'k> {
    Root,
    /// The value of this key.
    Field(&'k str),
    /// An item of the list under this key.
    Item(&'k str),
}

impl Role<'_> {
    fn is_container(self) -> bool {
        matches!(self, Self::Item("containers" | "initContainers" | "ephemeralContainers"))
    }

    fn is_volume(self) -> bool {
        matches!(self, Self::Item("volumes"))
    }

    /// Whether the key says that this value, or each item of this list, is an image.
    fn is_image(self) -> bool {
        match self {
            Self::Root => false,
            Self::Field(key) => fields::is_image_key(key),
            Self::Item(key) => fields::is_images_key(key),
        }
    }
}

struct Walker<'r> {
    resource: &'r Resource<'r>,
    path: Path,
    findings: Findings,
}

impl Walker<'_> {
    fn value(&mut self, value: &Value, role: Role<'_>) -> Result<(), EnumerateError> {
        match value {
            Value::Object(fields) => self.object(fields, role),
            Value::Array(items) => {
                let role = match role {
                    Role::Field(key) | Role::Item(key) => Role::Item(key),
                    Role::Root => Role::Root,
                };
                items
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, item)| self.inside_index(index, |walker| walker.value(item, role)))
            }
            Value::String(written) if self.resource.class == Class::Custom => {
                self.custom_text(written, role);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, role: Role<'_>) -> Result<(), EnumerateError> {
        let is_custom = self.resource.class == Class::Custom;
        let composed =
            if is_custom && !role.is_container() { fields::compose(object, role.is_image()) } else { None };
        let taken = composed.as_ref().and_then(|composed| composed.key);
        if let Some(composed) = &composed {
            self.composed(composed, role);
        }
        if role.is_container() && !object.contains_key("image") && object.contains_key("name") {
            self.absent_image();
        }
        for (key, value) in object {
            if is_closed_key(key) || key == "metadata" || taken == Some(key) {
                continue;
            }
            self.inside_key(key, |walker| match (key.as_str(), value) {
                ("image", Value::Object(image)) if role.is_volume() => walker.image_volume(image),
                ("image", image) if role.is_container() && !(is_custom && image.is_object()) => {
                    walker.pod_image(image)
                }
                // The children of `images: {operator: quay.io/…}` are as good as items of a list.
                (_, Value::String(_)) if matches!(role, Role::Field(parent) if fields::is_images_key(parent)) => {
                    walker.value(value, Role::Item("images"))
                }
                _ => walker.value(value, Role::Field(key)),
            })?;
        }
        Ok(())
    }

    fn image_volume(&mut self, image: &Map<String, Value>) -> Result<(), EnumerateError> {
        match image.get("reference") {
            Some(reference) => self.inside_key("reference", |walker| walker.pod_image(reference)),
            None => Ok(()),
        }
    }

    fn pod_image(&mut self, value: &Value) -> Result<(), EnumerateError> {
        let is_built_in = self.resource.class == Class::BuiltIn;
        let found = match value {
            Value::String(written) if !written.is_empty() => match written.trim().parse::<Reference>() {
                Ok(reference) => {
                    self.found(reference, written.trim(), Confidence::PodSpec);
                    return Ok(());
                }
                Err(source) if is_built_in => {
                    return Err(EnumerateError::PodImage { place: self.place(), source });
                }
                Err(error) => {
                    self.note(error.to_string());
                    return Ok(());
                }
            },
            Value::String(_) => "empty",
            Value::Null => "null",
            _ => "not text",
        };
        if is_built_in {
            return Err(EnumerateError::PodImageMissing { place: self.place(), found });
        }
        Ok(())
    }

    /// Kubernetes lets a pod template leave the image out for something else to fill in, so this is no error.
    fn absent_image(&mut self) {
        if self.resource.class == Class::BuiltIn {
            self.note("the container names no image".to_owned());
        }
    }

    fn custom_text(&mut self, written: &str, role: Role<'_>) {
        let written = written.trim();
        let is_plain = matches!(role, Role::Field("image"));
        // Argo CD writes Kustomize images as `name=new:tag`.
        let written = if is_plain { written } else { written.rsplit('=').next().unwrap_or(written) };
        let is_likely = match role {
            _ if is_plain => !written.is_empty() && !written.contains("://"),
            Role::Field(_) => {
                role.is_image() && (fields::has_version(written) || fields::has_registry(written))
            }
            Role::Item(_) => role.is_image() && fields::has_version(written) && written.contains('/'),
            Role::Root => false,
        };
        match fields::plain(written) {
            Some(reference) if is_likely => self.found(reference, written, Confidence::CustomResource),
            None if is_likely && is_plain => self.note_unreadable(written),
            _ => {}
        }
    }

    fn composed(&mut self, composed: &Composed, role: Role<'_>) {
        let place = |walker: &mut Self| match composed.written.parse::<Reference>() {
            Ok(reference) => walker.found(reference, &composed.written, Confidence::CustomResource),
            Err(_) if role.is_image() => walker.note_unreadable(&composed.written),
            Err(_) => {}
        };
        match composed.key {
            Some(key) => self.inside_key(key, place),
            None => place(self),
        }
    }

    fn note_unreadable(&mut self, written: &str) {
        if let Err(error) = written.parse::<Reference>() {
            self.note(error.to_string());
        }
    }

    fn found(&mut self, reference: Reference, written: &str, confidence: Confidence) {
        let place = self.resource.place(&self.path, confidence);
        self.findings.finds.push(Find { reference, written: written.to_owned(), place });
    }

    fn note(&mut self, reason: String) {
        let is_custom = self.resource.class == Class::Custom;
        let confidence = if is_custom { Confidence::CustomResource } else { Confidence::PodSpec };
        let place = self.resource.place(&self.path, confidence);
        self.findings.notes.push(Note { place, reason });
    }

    fn place(&self) -> String {
        self.resource.place(&self.path, Confidence::PodSpec).place()
    }

    fn inside_key<T>(&mut self, key: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push_key(key);
        let result = inside(self);
        self.path.pop();
        result
    }

    fn inside_index<T>(&mut self, index: usize, inside: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push_index(index);
        let result = inside(self);
        self.path.pop();
        result
    }
}
