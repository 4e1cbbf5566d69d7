//! Images that are objects: the shapes in which custom resources and Helm values write them.
//!
//! One string (`image`, `thanosImage`, `dockerImage`), or parts: `registry`/`repository`/`tag`/`digest` as
//! Helm values and most operators have it, `repository`/`image`/`version` (NVIDIA's operators),
//! `baseImage` with `version`, `tag` or `sha` (older Prometheus operators), `imageRepository`/`imageTag`,
//! and `name`/`newName`/`newTag` (Kustomize).

use serde_json::{Map, Value};

use crate::oci::Reference;

use super::{
    hosts,
    keys::{self, KeyMeaning, Part},
    not_images, parts,
};

/// An image put together from several fields of one object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Composed {
    /// The field that holds the name, where the object holds more than an image.
    pub(super) key: Option<&'static str>,
    /// The reference as its parts write it.
    pub(super) written: String,
}

/// Whether a string carries a tag or a digest of its own.
pub(super) fn has_version(written: &str) -> bool {
    let last = written.rsplit('/').next().unwrap_or(written);
    last.contains([':', '@'])
}

/// Whether a string begins with a registry: a first component that could not be a Docker Hub user.
pub(super) fn has_registry(written: &str) -> bool {
    written.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost")
}

/// Assembles an image from the fields of `object`; `under_image_key` says that the object itself is called an image, so
/// less evidence is enough.
pub(super) fn compose(object: &Map<String, Value>, under_image_key: bool) -> Option<Composed> {
    let field = |key: &str| object.get(key).and_then(scalar);
    let registry = registry(object);
    let registry = registry.as_deref();
    from_image_name(&field, registry)
        .or_else(|| from_repository(&field, registry, under_image_key))
        .or_else(|| from_base_image(&field))
        .or_else(|| from_flat_fields(&field, registry))
}

/// The registry among the fields of an object: `registry`, or a longer key such as `imageRegistry` or `dockerRegistry`.
pub(super) fn registry(object: &Map<String, Value>) -> Option<String> {
    let is_longer = |key: &str| {
        // Cheap, and false for almost every key.
        let ends = key.len() > "registry".len() && key.to_ascii_lowercase().ends_with("registry");
        ends && keys::meaning(key) == KeyMeaning::Part(Part::Registry) && {
            let stem = keys::stem(key);
            stem.is_empty() || stem == ["docker"]
        }
    };
    object.get("registry").and_then(scalar).or_else(|| {
        let longer = object.iter().filter(|(key, _)| is_longer(key));
        longer.filter_map(|(_, value)| scalar(value)).find(|registry| parts::is_registry(registry))
    })
}

/// `image` holds a name without a version, and its neighbors hold the rest.
fn from_image_name(field: &impl Fn(&str) -> Option<String>, registry: Option<&str>) -> Option<Composed> {
    let image = field("image").filter(|image| !has_version(image))?;
    let parents: Vec<String> =
        registry.map(str::to_owned).into_iter().chain(field("hub")).chain(field("repository")).collect();
    // Argo CD's operator and k0s write `image` and `version`; any other version (`version: v1`) is not the image's.
    let is_its_own = |version: &String| {
        !parents.is_empty()
            || image.contains('/') && (not_images::is_release(version) || version.starts_with("sha256:"))
    };
    let version = field("version").filter(is_its_own);
    let name = parents.iter().rev().fold(image, |name, parent| below(parent, &name));
    let tag = field("tag").or_else(|| field("imageTag")).or_else(|| field("imageVersion")).or(version);
    join(&name, tag, digest(field)).map(|written| Composed { key: Some("image"), written })
}

/// `repository` and similar fields.
fn from_repository(
    field: &impl Fn(&str) -> Option<String>,
    registry: Option<&str>,
    under_image_key: bool,
) -> Option<Composed> {
    let name = field("name").filter(|name| under_image_key || has_registry(name));
    let only_here = |key: &str| field(key).filter(|_| under_image_key);
    let registry = registry.map(str::to_owned).or_else(|| only_here("hub")).or_else(|| only_here("host"));
    let repository = field("repository").or_else(|| only_here("repo")).or_else(|| field("newName"));
    // `repository` may be nothing but a host, as `registry` is.
    let (registry, repository) = match repository {
        Some(host) if under_image_key && registry.is_none() && name.is_some() && is_bare_host(&host) => {
            (Some(host), None)
        }
        repository => (registry, repository),
    };
    let path = || only_here("path").filter(|_| registry.is_some());
    let address = || ["url", "uri"].into_iter().find_map(only_here).and_then(without_transport);
    let repository = match (repository, name) {
        // `ghcr.io/acme` is an organization: its images have names of their own.
        (Some(parent), Some(name)) if under_image_key && hosts::is_organization(&parent) => {
            Some(below(&parent, &name))
        }
        (repository, name) => repository.or(name),
    };
    let repository = repository.or_else(path).or_else(address)?;
    if !under_image_key && registry.is_none() && !repository.contains('/') {
        return None;
    }
    let organization = only_here("organization").or_else(|| only_here("org"));
    let namespace = || only_here("namespace").filter(|_| registry.is_some());
    let organization = organization.or_else(namespace).filter(|_| !repository.contains('/'));
    let parents = organization.into_iter().chain(registry);
    let name = parents.fold(repository.clone(), |name, parent| below(&parent, &name));
    let version = only_here("version").or_else(|| only_here("imageVersion"));
    let tag = field("tag").or_else(|| field("newTag")).or_else(|| only_here("imageTag")).or(version);
    let whole = || (under_image_key && has_version(&repository)).then(|| name.clone());
    join(&name, tag, digest(field)).or_else(whole).map(|written| Composed { key: None, written })
}

/// The reference in an address of an image: `docker://quay.io/acme/web`. Other schemes are those of files.
fn without_transport(address: String) -> Option<String> {
    if not_images::is_picture(&address) || not_images::is_machine_image(&address) {
        return None;
    }
    match address.split_once("://") {
        None => Some(address),
        Some(("docker" | "oci", image)) => Some(image.to_owned()),
        Some(_) => None,
    }
}

/// Whether a name is a host, perhaps with a port: neither `acme/web` nor `nginx:1.25`.
fn is_bare_host(written: &str) -> bool {
    let (host, port) = written.split_once(':').unwrap_or((written, ""));
    host.contains('.') && !host.contains('/') && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn from_base_image(field: &impl Fn(&str) -> Option<String>) -> Option<Composed> {
    let name = field("baseImage").filter(|name| !has_version(name))?;
    let digest = digest(field);
    let tag = field("tag").or_else(|| field("version")).filter(|_| digest.is_none());
    join(&name, tag, digest).map(|written| Composed { key: Some("baseImage"), written })
}

fn from_flat_fields(field: &impl Fn(&str) -> Option<String>, registry: Option<&str>) -> Option<Composed> {
    let (key, name) = ["imageRepository", "imageRepo", "imageName"]
        .into_iter()
        .find_map(|key| field(key).filter(|name| !has_version(name)).map(|name| (key, name)))?;
    let name = registry.map_or_else(|| name.clone(), |registry| below(registry, &name));
    let tag = field("imageTag").or_else(|| field("imageVersion")).or_else(|| field("tag"));
    join(&name, tag, field("imageDigest")).map(|written| Composed { key: Some(key), written })
}

fn digest(field: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let sha = || {
        field("sha")
            .or_else(|| field("sha256"))
            .map(|hex| format!("sha256:{}", hex.trim_start_matches("sha256:")))
    };
    field("digest").or_else(|| field("imageDigest")).or_else(sha)
}

/// Text or a whole number (`tag: 8`). A fraction has lost its spelling (`1.10` reads as 1.1), and the API server would
/// refuse it where it expects text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// `parent/name`, unless the name begins with the parent, or with a registry of its own.
pub(super) fn below(parent: &str, name: &str) -> String {
    let parent = parent.trim_end_matches('/');
    let begins_with_parent = name.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'));
    if begins_with_parent || has_own_registry(parent, name) {
        return name.to_owned();
    }
    format!("{parent}/{name}")
}

/// Whether a name does not belong below `parent`, because it names its registry. The path of a Go module that `ko` puts
/// below a registry and an organization looks alike: `gcr.io/knative-releases` and `knative.dev/serving/cmd/queue`.
fn has_own_registry(parent: &str, name: &str) -> bool {
    has_registry(name)
        && name.parse::<Reference>().is_ok_and(|reference| {
            let host = reference.repository().registry();
            hosts::can_be_registry(&reference) && (!parent.contains('/') || hosts::is_distinct_registry(host))
        })
}

pub(super) fn join(name: &str, tag: Option<String>, digest: Option<String>) -> Option<String> {
    match (tag, digest) {
        (None, None) => None,
        // Some charts put the digest where the tag belongs.
        (Some(tag), None) if tag.starts_with("sha256:") => Some(format!("{name}@{tag}")),
        (Some(tag), None) => Some(format!("{name}:{tag}")),
        (None, Some(digest)) => Some(format!("{name}@{digest}")),
        (Some(tag), Some(digest)) if tag.contains('@') => {
            Some(format!("{name}:{tag}")).filter(|text| text.ends_with(&digest))
        }
        (Some(tag), Some(digest)) => Some(format!("{name}:{tag}@{digest}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn composed(value: &Value, under_image_key: bool) -> Option<String> {
        compose(value.as_object().unwrap(), under_image_key).map(|composed| composed.written)
    }

    #[test]
    fn parts_are_put_together() {
        let hex = "a".repeat(64);
        for (value, under_image_key, expected) in [
            (json!({"registry": "quay.io", "repository": "a/b", "tag": "1"}), true, "quay.io/a/b:1"),
            (json!({"registry": "quay.io", "repository": "quay.io/a/b", "tag": 8}), false, "quay.io/a/b:8"),
            (json!({"registry": "", "repository": "a/b", "tag": "1", "digest": ""}), true, "a/b:1"),
            (json!({"repository": "a/b", "digest": "sha256:00"}), true, "a/b@sha256:00"),
            (json!({"repository": "a/b", "tag": "1", "digest": "sha256:00"}), true, "a/b:1@sha256:00"),
            (json!({"repository": "a/b", "tag": "sha256:00"}), true, "a/b@sha256:00"),
            (json!({"repository": "a/b:1", "pullPolicy": "Always"}), true, "a/b:1"),
            (json!({"name": "nginx", "newTag": "1"}), true, "nginx:1"),
            (json!({"name": "nginx", "newName": "q.io/nginx", "newTag": "1"}), true, "q.io/nginx:1"),
            (
                json!({"repository": "nvcr.io/nvidia", "image": "driver", "version": "5"}),
                false,
                "nvcr.io/nvidia/driver:5",
            ),
            (json!({"image": "quay.io/a/b", "tag": "1"}), false, "quay.io/a/b:1"),
            (json!({"image": "quay.io/a/b", "version": "v1.2"}), false, "quay.io/a/b:v1.2"),
            (json!({"image": "quay.io/a/b", "version": "sha256:00"}), false, "quay.io/a/b@sha256:00"),
            (json!({"baseImage": "quay.io/p/p", "version": "v2"}), false, "quay.io/p/p:v2"),
            (
                json!({"baseImage": "quay.io/p/p", "version": "v2", "sha": hex}),
                false,
                &format!("quay.io/p/p@sha256:{hex}"),
            ),
            (json!({"imageRepository": "a/b", "imageTag": "1"}), false, "a/b:1"),
            (json!({"imageRegistry": "q.io", "image": "a/b", "tag": "1"}), false, "q.io/a/b:1"),
            (json!({"image": "a/b", "imageTag": "1", "imageDigest": "sha256:00"}), false, "a/b:1@sha256:00"),
            (json!({"dockerRegistry": "q.io", "repository": "a/b", "tag": "1"}), false, "q.io/a/b:1"),
            (json!({"containerRegistry": "q.io", "imageName": "a/b", "imageTag": "1"}), false, "q.io/a/b:1"),
            (json!({"registry": "q.io", "namespace": "a", "name": "b", "tag": "1"}), true, "q.io/a/b:1"),
            (json!({"registry": "q.io", "org": "a", "repository": "b", "tag": "1"}), true, "q.io/a/b:1"),
            (json!({"organization": "a", "name": "b", "tag": "1"}), true, "a/b:1"),
            (
                json!({"repository": "q.io:5000", "namespace": "a", "name": "b", "tag": "1"}),
                true,
                "q.io:5000/a/b:1",
            ),
            (json!({"repository": "nginx:1.25", "name": "web"}), true, "nginx:1.25"),
            (json!({"host": "q.io", "path": "a/b", "tag": "1"}), true, "q.io/a/b:1"),
            (json!({"url": "docker://q.io/a/b", "tag": "1"}), true, "q.io/a/b:1"),
            (json!({"registry": "docker.io", "image": "quay.io/a/b", "tag": "1"}), false, "quay.io/a/b:1"),
            (
                json!({"registry": "docker.io", "repository": "quay.io/a/b", "tag": "1"}),
                true,
                "quay.io/a/b:1",
            ),
            (json!({"registry": "docker.io", "name": "r.example.com/a/b:1"}), true, "r.example.com/a/b:1"),
            (
                json!({"registry": "q.io/team", "repository": "quay.io/a/b", "tag": "1"}),
                true,
                "quay.io/a/b:1",
            ),
            (
                json!({"registry": "gcr.io/releases", "repository": "knative.dev/cmd/queue", "tag": "1"}),
                true,
                "gcr.io/releases/knative.dev/cmd/queue:1",
            ),
        ] {
            assert_eq!(composed(&value, under_image_key).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn other_objects_are_left_alone() {
        for value in [
            json!({"image": "quay.io/a/b:1", "version": "v2"}),
            json!({"image": "quay.io/a/b", "version": "v2"}),
            json!({"repository": "stable", "tag": "1"}),
            json!({"name": "web", "version": "1"}),
            json!({"repository": "a/b", "tag": 1.5}),
            json!({"chart": "a", "repository": "https"}),
        ] {
            assert_eq!(composed(&value, false), None, "{value}");
        }
        assert_eq!(composed(&json!({"repository": "a/b"}), true), None, "no version, no guess");
    }
}
