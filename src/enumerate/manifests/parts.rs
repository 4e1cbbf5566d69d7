//! Images written in parts, side by side: `SIDECAR_IMAGE` and `SIDECAR_IMAGE_TAG`, `a.repository` and `a.tag`,
//! `hub`, `tag` and `image`.
//!
//! Pairs come from the environment of one container, the keys of one `ConfigMap`, the fields of one object, the
//! flags of one command or the lines of one text. Keys belong together when they share a stem (see
//! [`keys::stem`]); a registry or a tag without a stem applies to images that have none of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    keys::{self, KeyMeaning, Part},
    objects::{below, has_registry, has_version, join},
};

/// An image assembled from pairs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JoinedImage {
    pub(super) written: String,
    /// The position of the pair that holds the name.
    pub(super) name_at: usize,
    /// Whether a key says that it is an image, rather than a repository of any kind.
    pub(super) is_sure: bool,
    /// The positions of all pairs that are part of it.
    pub(super) taken: Vec<usize>,
}

/// Parts by stem: the position and the value of each.
type Group<'p> = BTreeMap<Part, (usize, &'p str)>;

/// Assembles images. A complete image stays as it is, unless it has no registry and another field names one.
pub(super) fn join_pairs(pairs: &[(&str, &str)]) -> Vec<JoinedImage> {
    let mut groups: BTreeMap<Vec<String>, Group<'_>> = BTreeMap::new();
    let mut named_images = BTreeSet::new();
    for (at, &(key, value)) in pairs.iter().enumerate() {
        let value = value.trim();
        let Some(part) = part_of(key).filter(|_| !value.is_empty()) else { continue };
        let stem = keys::stem(key);
        let lower = key.to_ascii_lowercase();
        // Airflow writes `worker_container_repository` and `worker_container_tag`.
        let says_image = lower.contains("image") || lower.contains("container");
        // `image_version` is the version of the image; `version` alone may be that of something else.
        let part = if part == Part::Version && says_image { Part::Tag } else { part };
        if says_image || part == Part::Registry && key.eq_ignore_ascii_case("hub") {
            named_images.insert(stem.clone());
        }
        let known = groups.entry(stem).or_default().entry(part).or_insert((at, value));
        // What is complete needs no parts: another image of this stem may.
        if part == Part::Image && has_version(known.1) && !has_version(value) {
            *known = (at, value);
        }
    }
    let shared = groups.get(&Vec::new()).cloned().unwrap_or_default();
    groups
        .iter()
        .filter_map(|(stem, group)| join_group(group, &shared, stem.is_empty(), named_images.contains(stem)))
        .collect()
}

/// The stems of the tags and versions among these keys: what an image without one may be waiting for.
pub(super) fn tag_stems<'k>(keys: impl Iterator<Item = &'k str>) -> impl Iterator<Item = Vec<String>> {
    keys.filter(|key| matches!(part_of(key), Some(Part::Tag | Part::Digest | Part::Version))).map(keys::stem)
}

fn part_of(key: &str) -> Option<Part> {
    match keys::meaning(key) {
        KeyMeaning::Image | KeyMeaning::ImageOrPart => Some(Part::Image),
        KeyMeaning::Part(part) => Some(part),
        KeyMeaning::AboutImage | KeyMeaning::Other => None,
    }
}

fn join_group(
    group: &Group<'_>,
    shared: &Group<'_>,
    is_shared: bool,
    says_image: bool,
) -> Option<JoinedImage> {
    let own = |part: Part| group.get(&part).copied();
    let own_or_shared = |part: Part| own(part).or_else(|| shared.get(&part).copied());
    let (mut parts, mut taken) = (Vec::new(), Vec::new());
    let repository = own(Part::Repository);
    let image = own(Part::Image);
    // A registry with a path is complete for a single word only: `docker.io/acme` and `web`, but not `acme/web`.
    let is_path = [repository, image].into_iter().flatten().any(|(_, value)| value.contains('/'));
    let shared_registry =
        shared.get(&Part::Registry).copied().filter(|(_, value)| !(is_path && value.contains('/')));
    let registry = own(Part::Registry).or(shared_registry).filter(|(_, value)| is_registry(value));
    let name_at = image.or(repository).map(|(at, _)| at)?;
    let organization = own(Part::Organization).filter(|_| !is_path && registry.is_some());
    for (at, value) in [registry, organization, repository, image].into_iter().flatten() {
        parts.push(value);
        taken.push(at);
    }
    if parts.iter().any(|value| value.contains("://") || value.contains(char::is_whitespace)) {
        return None;
    }
    let last = *parts.last()?;
    let name = parts.iter().rev().skip(1).fold(last.to_owned(), |name, parent| below(parent, &name));
    if has_version(last) {
        // `acme/web:1` is complete, even next to `registry.example.com/acme`.
        let is_longer = registry.is_some_and(|(_, registry)| !(last.contains('/') && registry.contains('/')))
            && !has_registry(last);
        return is_longer.then_some(JoinedImage { written: name, name_at, is_sure: true, taken });
    }
    let digest = own(Part::Digest).filter(|(_, value)| value.len() >= 64);
    let has_image_version =
        image.is_some() && (!is_shared || registry.is_some()) || says_image && repository.is_some();
    let version = own(Part::Version).filter(|_| has_image_version);
    let tag = own_or_shared(Part::Tag).or(version).filter(|(_, value)| is_tag(value));
    let is_sure = says_image || image.is_some() || registry.is_some();
    if !is_sure && !name.contains('/') || digest.is_none() && tag.is_none() {
        return None;
    }
    taken.extend([tag, digest].into_iter().flatten().map(|(at, _)| at));
    let digest = digest.map(|(_, value)| format!("sha256:{}", value.trim_start_matches("sha256:")));
    let written = join(&name, tag.map(|(_, value)| value.to_owned()), digest)?;
    Some(JoinedImage { written, name_at, is_sure, taken })
}

/// A host, perhaps with a path; or an organization on Docker Hub.
pub(super) fn is_registry(value: &str) -> bool {
    !value.contains("://") && (value.contains(['.', '/', ':']) || value == "localhost") && !has_tag(value)
}

fn has_tag(value: &str) -> bool {
    value.contains('/') && has_version(value)
}

/// Whether a value can be a tag, or a digest in its place.
pub(super) fn is_tag(value: &str) -> bool {
    value.len() <= 200
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(pairs: &[(&str, &str)]) -> Vec<String> {
        join_pairs(pairs).into_iter().map(|joined| joined.written).collect()
    }

    #[test]
    fn parts_side_by_side_are_joined() {
        for (pairs, expected) in [
            (&[("X_IMAGE", "quay.io/a/x"), ("X_IMAGE_TAG", "1")][..], &["quay.io/a/x:1"][..]),
            (
                &[("X_IMAGE", "quay.io/a/x"), ("X_TAG", "1"), ("Y_IMAGE", "a/y"), ("Y_VERSION", "v2")],
                &["quay.io/a/x:1", "a/y:v2"],
            ),
            (
                &[("hub", "docker.io/istio"), ("tag", "1.2"), ("image", "proxyv2")],
                &["docker.io/istio/proxyv2:1.2"],
            ),
            (
                &[
                    ("a.repository", "quay.io/a/x"),
                    ("a.tag", "1"),
                    ("b.registry", "q.io"),
                    ("b.repository", "y"),
                    ("b.tag", "2"),
                ],
                &["quay.io/a/x:1", "q.io/y:2"],
            ),
            (
                &[
                    ("REGISTRY", "quay.io/team"),
                    ("TAG", "1.0"),
                    ("WORKER_IMAGE", "worker"),
                    ("WEB_IMAGE", "web:2"),
                ],
                &["quay.io/team/web:2", "quay.io/team/worker:1.0"],
            ),
            (&[("image.repository", "acme/x"), ("image.tag", "1")], &["acme/x:1"]),
            (
                &[("image", "acme/y:2"), ("IMAGE_NAME", "library/postgres"), ("IMAGE_TAG", "15")],
                &["library/postgres:15"],
            ),
            (&[("IMAGE_REPOSITORY", "nginx"), ("IMAGE_TAG", "1")], &["nginx:1"]),
            (
                &[
                    ("WEB_IMAGE_REGISTRY", "q.io"),
                    ("WEB_IMAGE_NAMESPACE", "team"),
                    ("WEB_IMAGE_NAME", "web"),
                    ("WEB_IMAGE_TAG", "1"),
                ],
                &["q.io/team/web:1"],
            ),
            (&[("IMAGE_NAMESPACE", "default"), ("IMAGE_NAME", "a/b"), ("IMAGE_TAG", "1")], &["a/b:1"]),
            (
                &[("worker_container_repository", "apache/airflow"), ("worker_container_tag", "2.8")],
                &["apache/airflow:2.8"],
            ),
        ] {
            assert_eq!(joined(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn other_pairs_are_left_alone() {
        for pairs in [
            &[("X_IMAGE", "quay.io/a/x:1"), ("X_VERSION", "1")][..],
            &[("X_IMAGE", "quay.io/a/x"), ("Y_IMAGE_TAG", "1")],
            &[("repository", "https://charts.example.com"), ("tag", "1")],
            &[("repository", "stable"), ("tag", "1")],
            &[("repo", "team/x"), ("version", "1")],
            &[("REGISTRY", "quay.io/a"), ("TAG", "1")],
            &[("REGISTRY", "quay.io/a"), ("IMAGE", "a/b:1")],
            &[("image", "quay.io/a/b"), ("version", "2")],
        ] {
            assert_eq!(joined(pairs), Vec::<String>::new(), "{pairs:?}");
        }
    }
}
