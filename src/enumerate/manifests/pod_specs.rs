//! Containers and image volumes: what is an image by its position.
//!
//! A list called `containers`, `initContainers` or `ephemeralContainers` belongs to a pod spec wherever it is: below a
//! workload's template, a `CronJob`'s job template, or a pod template inside a custom resource. In a resource of
//! Kubernetes itself, a malformed image is an error, because the mirror would be incomplete. A missing or empty image,
//! a placeholder, and anything in a custom resource or in embedded text becomes a [`Note`]: an operator, a workflow or
//! a sidecar injector fills it in.

use serde_json::{Map, Value};

use crate::{
    enumerate::{EnumerateError, Note, NoteKind, image::Confidence},
    oci::Reference,
};

use super::{
    findings::Condition,
    not_images,
    resource::Category,
    walk::{Position, Walker},
};

impl Walker<'_> {
    /// Kubernetes permits a pod template without an image, which something else fills in, so this is not an error.
    pub(super) fn container(&mut self, container: &Map<String, Value>) {
        if !self.scope.is_settings && !container.contains_key("image") && container.contains_key("name") {
            let reason = "the container names no image; an operator or a webhook sets it";
            self.note_no_image(Confidence::PodSpec, reason);
        }
    }

    /// Notes that an image is needed here, and that nothing names it.
    pub(super) fn note_no_image(&mut self, confidence: Confidence, reason: &str) {
        let remedy = "find the image in the operator's documentation and add it with --add IMAGE".to_owned();
        let found_at = self.found_at(confidence);
        self.note(Note::new(NoteKind::NoImage, found_at, None, reason).with_remedy(remedy));
    }

    pub(super) fn image_volume(&mut self, image: &Map<String, Value>) -> Result<(), EnumerateError> {
        match image.get("reference") {
            Some(reference) => self.inside("reference", |walker| walker.pod_image(reference)),
            None => Ok(()),
        }
    }

    /// The image of a container in a pod spec.
    pub(super) fn pod_image(&mut self, value: &Value) -> Result<(), EnumerateError> {
        let is_strict = self.scope.category == Category::BuiltIn && self.scope.embedding == 0;
        match value {
            Value::String(written) if is_only_a_version(written.trim()) => {
                self.empty_image("the container's image is a version without a name");
                Ok(())
            }
            Value::String(written) if !written.trim().is_empty() => {
                self.pod_image_text(written.trim(), is_strict)
            }
            Value::String(_) | Value::Null => {
                self.empty_image("the container's image is empty");
                Ok(())
            }
            _ if is_strict => {
                let location = self.found_at(Confidence::PodSpec).location();
                Err(EnumerateError::PodImageNotText { location })
            }
            _ => Ok(()),
        }
    }

    /// A disabled component often leaves its image empty.
    fn empty_image(&mut self, reason: &str) {
        let remedy = "set the chart value that it is made of, or add the image with --add IMAGE".to_owned();
        let found_at = self.found_at(Confidence::PodSpec);
        self.note(Note::new(NoteKind::NoImage, found_at, None, reason).with_remedy(remedy));
    }

    fn pod_image_text(&mut self, written: &str, is_strict: bool) -> Result<(), EnumerateError> {
        let found_at = self.found_at(Confidence::PodSpec);
        if not_images::is_pattern(written) && !is_strict {
            return Ok(());
        }
        if let Some(reason) = not_images::placeholder(written) {
            self.note(Note::not_taken(found_at, written, reason).with_remedy(None));
            return Ok(());
        }
        match written.parse::<Reference>() {
            Ok(reference) => self.found(reference, written, Confidence::PodSpec, Condition::Always),
            Err(source) if is_strict => {
                return Err(EnumerateError::PodImage { location: found_at.location(), source });
            }
            Err(_) => self.note_unreadable(written),
        }
        Ok(())
    }

    /// The image of a container outside a pod spec, which may be as short as one there.
    pub(super) fn container_like_image(&mut self, written: &str) -> Result<(), EnumerateError> {
        let written = written.trim();
        match written.parse::<Reference>() {
            Ok(reference) if not_images::placeholder(written).is_none() => {
                self.found(reference, written, self.named(), Condition::Always);
                Ok(())
            }
            _ => self.text(written, Position::Field("image")),
        }
    }
}

/// Whether nothing but a tag or a digest remains of an image: `:latest`, `:`, `@sha256:…`. The chart's value for the name
/// is empty.
fn is_only_a_version(written: &str) -> bool {
    written.starts_with([':', '@'])
}
