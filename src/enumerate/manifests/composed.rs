//! Images that the walk assembles from the fields of an object, or from an object and its surroundings.

use serde_json::{Map, Value};

use crate::{
    enumerate::{EnumerateError, Note, image::Confidence},
    oci::Reference,
};

use super::{
    findings::Condition,
    hosts::{self, HostEvidence},
    keys::{self, KeyMeaning},
    mentions::KeyOf,
    not_images, objects, parts,
    walk::{FoundCounts, Hub, Position, SharedRegistry, Walker},
};

/// Whether a text can only be an image where something is called one: `acme/web:1`, `nginx:1.25`.
pub(super) fn is_complete(key: &str, text: &str) -> bool {
    // Policies describe images, and name none.
    if matches!(key, "glob" | "pattern" | "regex" | "example") {
        return false;
    }
    let is_released = |reference: Reference| {
        reference.digest().is_some() || reference.tag().is_some_and(not_images::is_release)
    };
    objects::has_version(text)
        && text.parse::<Reference>().is_ok_and(|reference| text.contains('/') || is_released(reference))
}

/// The registry that an object names for the images in it: `imageRegistry`, or `registry` next to `image` or `images`,
/// or in `global`.
fn shared_registry(object: &Map<String, Value>, is_global: bool) -> Option<SharedRegistry> {
    let holds_image = ["image", "images"].iter().any(|key| object.get(*key).is_some_and(Value::is_object));
    let plain = |object: &Map<String, Value>| {
        object.get("registry").and_then(objects::scalar).filter(|registry| parts::is_registry(registry))
    };
    let named = || objects::registry(object).filter(|_| !object.contains_key("registry"));
    let common = || object.get("image").and_then(Value::as_object).filter(|_| is_global).and_then(plain);
    if let Some(name) = named().or_else(common) {
        return Some(SharedRegistry { name, is_host: true });
    }
    let name = plain(object).filter(|name| is_global || holds_image && hosts::may_be_image_registry(name))?;
    Some(SharedRegistry { is_host: !name.contains('/'), name })
}

impl Walker<'_> {
    /// Records what an object says about all images in it: `hub` and `tag`, also in `global`, and their registry.
    pub(super) fn enter_hub(&mut self, object: &Map<String, Value>) {
        self.enter_base(object);
        let global = object.get("global").and_then(Value::as_object);
        for object in global.into_iter().chain([object]) {
            let field = |key: &str| object.get(key).and_then(objects::scalar);
            if let (Some(hub), Some(tag)) = (field("hub"), field("tag")) {
                self.scope.hub = Some(Hub { hub, tag });
            }
        }
        let shared = shared_registry(object, false)
            .or_else(|| global.and_then(|global| shared_registry(global, true)));
        self.scope.registry = shared.or(self.scope.registry.take());
    }

    /// Piraeus writes a `base`, and `components` that have a `tag` each, and one image or several to choose from (`match`).
    fn enter_base(&mut self, object: &Map<String, Value>) {
        let field = |key: &str| object.get(key).and_then(objects::scalar);
        if let Some(base) = field("base").filter(|base| parts::is_registry(base))
            && object.contains_key("components")
        {
            self.scope.registry = Some(SharedRegistry { name: base, is_host: false });
        } else if let (Some(SharedRegistry { name, is_host: false }), Some(tag)) =
            (&self.scope.registry, field("tag"))
            && object.contains_key("match")
        {
            self.scope.hub = Some(Hub { hub: name.clone(), tag });
        }
    }

    /// An image with the registry of an object around it, if it has none.
    fn below_shared_registry(&self, written: &str) -> Option<String> {
        let SharedRegistry { name, is_host } = self.scope.registry.as_ref()?;
        let applies = !objects::has_registry(written) && (*is_host || !written.contains('/'));
        applies.then(|| objects::below(name, written))
    }

    /// An image that the hub and the tag around it complete.
    pub(super) fn complete_with_hub(&self, name: &str) -> Option<String> {
        let Hub { hub, tag } = self.scope.hub.as_ref()?;
        objects::join(&objects::below(hub, name), Some(tag.clone()), None)
    }

    /// Reads the images that an object writes in parts, and returns the fields that need no further reading.
    pub(super) fn image_object<'o>(
        &mut self,
        object: &'o Map<String, Value>,
        position: Position<'_>,
    ) -> Vec<&'o str> {
        let mut taken = Vec::new();
        let composed = objects::compose(object, position.is_image());
        let is_composed = composed.is_some();
        if let Some(composed) = composed {
            let is_sure = position.is_image() || composed.key.is_some();
            let take = |walker: &mut Self| walker.composed(&composed.written, is_sure);
            match composed.key {
                Some(key) => self.inside(key, |walker| take(walker)),
                None => take(self),
            }
            let is_part = |key: &&str| {
                matches!(*key, "name" | "newName" | "image" | "baseImage" | "imageName" | "imageRepo")
                    || matches!(keys::meaning(key), KeyMeaning::Part(_)) && keys::stem(key).is_empty()
            };
            let scalars = object.iter().filter(|(_, value)| !value.is_object() && !value.is_array());
            taken.extend(scalars.map(|(key, _)| key.as_str()).filter(is_part));
        } else if position.is_image() {
            self.note_bare_repository(object);
        } else if self.note_bare_name(object) || self.note_empty_tag(object) {
            taken.push("image");
        }
        let fields: Vec<(&str, String)> = object
            .iter()
            .filter(|(key, _)| !taken.contains(&key.as_str()))
            .filter_map(|(key, value)| Some((key.as_str(), objects::scalar(value)?)))
            .collect();
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (*key, value.as_str())).collect();
        // A tag that is empty shows as well that the image has one: `controllerImageVersion: ""`.
        let keys: Vec<(&str, &str)> = object.keys().map(|key| (key.as_str(), "")).collect();
        self.tag_stems(&keys);
        // Without a stem, `compose` has already read it.
        for joined in parts::join_pairs(&pairs) {
            let Some(&(key, _)) = pairs.get(joined.name_at) else { continue };
            let is_own = keys::stem(key).is_empty();
            if is_own && is_composed {
                continue;
            }
            let is_sure = joined.is_sure || is_own && position.is_image();
            self.inside(key, |walker| walker.composed(&joined.written, is_sure));
            taken.extend(joined.taken.iter().filter_map(|&at| pairs.get(at)).map(|(key, _)| *key));
        }
        taken
    }

    /// A field of an object called `images`: `web: acme/web:1`, or `acme/web: "1"`.
    pub(super) fn image_field(&mut self, key: &str, value: &Value) -> Result<(), EnumerateError> {
        let is_name = key.contains('/') && self.reads_keys() && !objects::has_version(key);
        let tag = value.as_str().filter(|tag| is_name && parts::is_tag(tag) && !tag.is_empty());
        if let Some(written) = tag.and_then(|tag| objects::join(key, Some(tag.to_owned()), None)) {
            self.composed(&written, true);
            return Ok(());
        }
        self.value(value, Position::ImageField(key))
    }

    /// A key that is an image itself: `quay.io/acme/web:1: mirrored`, and below `images`, `acme/web:1: {cmd: [web]}`.
    pub(super) fn key_text(&mut self, key: &str, position: Position<'_>) {
        if !objects::has_version(key) {
            return;
        }
        let Ok(reference) = key.parse::<Reference>() else { return };
        if objects::has_registry(key) {
            self.plain_text(key, &KeyOf::nothing());
        } else if keys::is_images_key(position.key()) && self.reads_keys() && key.contains('/') {
            self.found(reference, key, self.named(), Condition::Always);
        }
    }

    /// Notes an image whose repository is there and whose tag is not: a chart or an operator has a default.
    fn note_bare_repository(&mut self, object: &Map<String, Value>) {
        let field = |key: &str| object.get(key).and_then(objects::scalar);
        let registry = field("registry");
        let name = || {
            field("name").filter(|name| {
                !objects::has_version(name) && (registry.is_some() || objects::has_registry(name))
            })
        };
        let Some(repository) = field("repository").or_else(name) else { return };
        let written =
            registry.map_or_else(|| repository.clone(), |registry| objects::below(&registry, &repository));
        let is_plausible = written.contains('/') && written.parse::<Reference>().is_ok();
        if is_plausible && !self.scope.is_disabled {
            let is_number = object.get("tag").is_some_and(Value::is_f64);
            let reason = if is_number { "its tag is an unquoted number" } else { "no tag is set next to it" };
            self.note(Note::not_taken(self.found_at(self.named()), &written, reason).with_tag_missing());
        }
    }

    /// Notes an image whose name and repository are there and whose tag is not; says whether it was one.
    fn note_bare_name(&mut self, object: &Map<String, Value>) -> bool {
        let field = |key: &str| object.get(key).and_then(objects::scalar);
        let (Some(repository), Some(image)) =
            (field("repository").or_else(|| field("registry")), field("image"))
        else {
            return false;
        };
        let written = objects::below(&repository, &image);
        if objects::has_version(&image) || written.parse::<Reference>().is_err() {
            return false;
        }
        if !self.scope.is_disabled && object.get("enabled") != Some(&Value::Bool(false)) {
            let note = Note::not_taken(self.found_at(self.named()), &written, "no tag is set next to it");
            self.note(note.with_tag_missing());
        }
        true
    }

    /// Notes an image that has a tag, and nothing that can be read as its name: the operator has a default.
    pub(super) fn note_bare_tag(
        &mut self,
        object: &Map<String, Value>,
        position: Position<'_>,
        before: FoundCounts,
    ) {
        let is_set = |key: &&str| object.get(*key).and_then(objects::scalar).is_some();
        let has_tag = ["tag", "digest"].iter().any(is_set);
        let is_quiet = self.scope.is_settings || self.scope.is_disabled || self.scope.installs_chart;
        if has_tag && !is_quiet && self.counts() == before && position.meaning() == KeyMeaning::Image {
            let reason = "the image has a tag, but no name that can be read";
            self.note_no_image(self.named(), reason);
        }
    }

    /// Notes an image next to an empty tag, and says whether it did: the operator has a default tag.
    fn note_empty_tag(&mut self, object: &Map<String, Value>) -> bool {
        let is_empty_tag = |(key, value): (&String, &Value)| {
            matches!(key.as_str(), "tag" | "imageTag")
                && (value.is_null() || value.as_str().is_some_and(|tag| tag.trim().is_empty()))
        };
        let image =
            object.get("image").and_then(objects::scalar).filter(|image| !objects::has_version(image));
        let Some(image) = image.filter(|_| object.iter().any(is_empty_tag)) else { return false };
        if !image.contains('/') || image.parse::<Reference>().is_err() || self.scope.is_disabled {
            return false;
        }
        let note = Note::not_taken(self.found_at(self.named()), &image, "no tag is set next to it");
        self.note(note.with_tag_missing());
        true
    }

    /// Notes a hub and a tag in which nothing names an image.
    pub(super) fn note_bare_hub(&mut self, object: &Map<String, Value>, before: FoundCounts) {
        let field = |key: &str| object.get(key).and_then(objects::scalar);
        if let (Some(hub), Some(tag)) = (field("hub"), field("tag"))
            && self.reads_keys()
            && self.counts() == before
            && hub.contains(['.', '/'])
        {
            let found_at = self.found_at(self.named());
            let reason = "it has a registry and a tag, but no name";
            let note = Note::not_taken(found_at, &format!("{hub}/…:{tag}"), reason);
            self.note(note.with_remedy(format!("add it with --add {hub}/NAME:{tag}")));
        }
    }

    /// An assembled image. `is_sure` says that a key calls it an image.
    pub(super) fn composed(&mut self, written: &str, is_sure: bool) {
        let completed = self.below_shared_registry(written);
        let written = completed.as_deref().unwrap_or(written);
        let Ok(reference) = written.parse::<Reference>() else {
            if is_sure {
                self.note_unreadable(written);
            }
            return;
        };
        let has_registry = objects::has_registry(written);
        if not_images::placeholder(written).is_some() {
            return;
        }
        if let Some(host) = not_images::bare_host(written) {
            if is_sure {
                let reason = "it has a registry and a tag, but no name";
                let note = Note::not_taken(self.found_at(self.named()), written, reason);
                self.note(note.with_remedy(format!("add it with --add {host}/NAME:TAG")));
            }
            return;
        }
        let evidence = if has_registry { hosts::host_evidence(&reference) } else { HostEvidence::Weak };
        let condition = match evidence {
            HostEvidence::NotRegistry if is_sure => return self.note_not_registry(&reference, written),
            HostEvidence::NotRegistry => return,
            HostEvidence::Plausible => Condition::Always,
            HostEvidence::Weak if is_sure || !self.scope.is_settings => Condition::Always,
            HostEvidence::Weak => Condition::IfKnown { note: true },
        };
        // A single word may lack a registry that the program knows, such as its default one.
        let name = written.split([':', '@']).next().unwrap_or(written);
        let is_certain = name.contains('/') || not_images::is_official(name);
        let confidence = if is_certain { self.named() } else { Confidence::Named };
        self.found(reference, written, confidence, condition);
    }
}
