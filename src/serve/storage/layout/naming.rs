//! The names of a bundle's images in this registry: like those of a mirror.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    path::Path,
    str::FromStr as _,
};

use super::{RootManifest, repository::Repository};
use crate::{
    endpoint::bundle::{IndexDocument, IndexEntry},
    lock::Placement,
    oci::{
        Descriptor, Digest, MediaType, Reference as ImageReference,
        mapping::{self, Namer, Root},
    },
    serve::{
        names::{RepositoryName, TagName},
        options::Names,
        storage::StorageError,
    },
    vendor,
};

/// A placeholder for this registry where naming requires a host.
const THIS_REGISTRY: &str = "localhost:5000";
/// The repository of unnamed images in a layout whose file name cannot be a repository.
const NAMELESS: &str = "image";

/// The entries without any name, which may be attached to something.
pub(super) fn nameless(index: &IndexDocument<'_>) -> Result<Vec<RootManifest>, StorageError> {
    let is_nameless = |entry: &IndexEntry| entry.reference.is_none() && entry.label.is_none();
    let images = index.images().filter(|entry| entry.as_ref().map_or(true, is_nameless));
    let root = |entry: IndexEntry| {
        let Descriptor { media_type, digest, .. } = entry.root;
        RootManifest { media_type, digest }
    };
    images.map(|entry| Ok(root(entry?))).collect()
}

/// The repositories of the images, except those that are `attached` to others without a name of their own: by the
/// requested names, else as the bundle was exported.
pub(super) fn repositories(
    index: &IndexDocument<'_>,
    placement: Option<&Placement>,
    path: &Path,
    names: &Names,
    attached: &HashSet<Digest>,
) -> Result<(BTreeMap<RepositoryName, Repository>, Option<String>), StorageError> {
    let references = one_of_each_folder(index, placement)?;
    let rule = namer(placement, names, &references)?;
    let mut chart = ChartPrefix::new(&references);
    drop(references);
    let mut known_type: Option<MediaType> = None;
    let mut tags: BTreeMap<RepositoryName, Vec<(TagName, RootManifest)>> = BTreeMap::new();
    for image in index.images() {
        let image = image?;
        // Several entries without any name would all get the same name.
        if image.reference.is_none() && image.label.is_none() && attached.contains(&image.root.digest) {
            continue;
        }
        let (repository, tag) = match &image.reference {
            Some(reference) => {
                let mapping = rule.map(reference).map_err(unnameable)?;
                if placement.is_none_or(|placement| placement.chart.as_ref() != Some(reference)) {
                    chart.note(reference, mapping.repository.path());
                }
                (mapping.repository.path().to_owned(), mapping.tag)
            }
            None => name_of_nameless(path, &image),
        };
        let repository = RepositoryName::new(&repository).map_err(unnameable)?;
        let Descriptor { media_type, digest, .. } = image.root;
        // They are equal but for a few.
        let media_type = known_type.take_if(|known| *known == media_type).unwrap_or(media_type);
        known_type = Some(media_type.clone());
        let tag = TagName::new(&tag).map_err(unnameable)?;
        let tags = tags.entry(repository).or_insert_with(|| Vec::with_capacity(1));
        tags.push((tag, RootManifest { media_type, digest }));
    }
    let mut repositories = BTreeMap::new();
    for (name, mut tags) in tags {
        tags.sort_by(|(one, _), (other, _)| one.cmp(other));
        tags.dedup();
        let twice = tags.windows(2).find_map(|pair| match pair {
            [(one, _), (other, _)] if one == other => Some(one.to_string()),
            _ => None,
        });
        if let Some(tag) = twice {
            return Err(StorageError::Collision { name: name.to_string(), tag });
        }
        repositories.insert(name, Repository::new(tags));
    }
    Ok((repositories, chart.found()))
}

/// Named images, except the packaged chart, which another rule names: one of each folder of repositories. The prefix
/// that images share depends only on the folders, and thousands of references take megabytes.
fn one_of_each_folder(
    index: &IndexDocument<'_>,
    placement: Option<&Placement>,
) -> Result<Vec<ImageReference>, StorageError> {
    let chart = placement.and_then(|placement| placement.chart.as_ref());
    let (mut folders, mut found) = (HashSet::new(), Vec::new());
    for image in index.images() {
        let Some(reference) = image?.reference.filter(|reference| Some(reference) != chart) else { continue };
        let repository = reference.repository();
        let folder = repository.path().rsplit_once('/').map(|(folder, _)| folder.to_owned());
        if folders.insert((repository.registry().to_owned(), folder)) {
            found.push(reference);
        }
    }
    Ok(found)
}

fn namer(
    placement: Option<&Placement>,
    names: &Names,
    references: &[ImageReference],
) -> Result<Namer, StorageError> {
    let root = Root::from_str(THIS_REGISTRY).map_err(unnameable)?;
    if let (None, None, Some(placement)) = (names.naming, &names.source_prefix, placement) {
        return Ok(placement.namer(root));
    }
    let chart = placement.and_then(|placement| placement.chart.clone());
    let prefix = names.source_prefix.clone().or_else(|| mapping::common_prefix(references));
    Ok(Namer::new(root, names.naming.unwrap_or_default(), prefix).with_chart(chart))
}

/// Finds the path below which a chart finds its images here.
struct ChartPrefix {
    /// The prefix of the chart's images in the source registry: the vendor's if the bundle has images of the vendor,
    /// else the prefix that the images share.
    source: Option<String>,
    /// What each image says; `None` for an image that no value finds.
    found: BTreeSet<Option<String>>,
}

impl ChartPrefix {
    fn new(references: &[ImageReference]) -> Self {
        let is_vendor = |reference: &ImageReference| reference.repository().is_below(vendor::IMAGE_PREFIX);
        let vendor = references.iter().any(is_vendor).then(|| vendor::IMAGE_PREFIX.to_owned());
        let source = vendor.or_else(|| mapping::common_prefix(references));
        Self { source, found: BTreeSet::new() }
    }

    /// Compares an image's name in this registry with its name below the prefix.
    fn note(&mut self, reference: &ImageReference, path: &str) {
        let Some(name) = self.source.as_deref().and_then(|source| below(reference, source)) else { return };
        let prefix = path.strip_suffix(name).filter(|prefix| prefix.is_empty() || prefix.ends_with('/'));
        let prefix = prefix.map(|prefix| prefix.trim_end_matches('/'));
        self.found.insert(prefix.map(|prefix| match prefix {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        }));
    }

    /// The prefix, if all images agree.
    fn found(mut self) -> Option<String> {
        if self.found.len() == 1 { self.found.pop_first().flatten() } else { None }
    }
}

/// The path of an image below a prefix of registry and path.
fn below<'a>(reference: &'a ImageReference, prefix: &str) -> Option<&'a str> {
    let repository = reference.repository();
    let (registry, path) = prefix.split_once('/').unwrap_or((prefix, ""));
    let rest = repository.path().strip_prefix(path).filter(|_| repository.registry() == registry)?;
    if path.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// Images written by skopeo and crane have at most a tag: their repository is named after the file.
fn name_of_nameless(path: &Path, image: &IndexEntry) -> (String, String) {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let repository = if RepositoryName::new(&stem).is_ok() { stem } else { NAMELESS.to_owned() };
    let Some(label) = &image.label else { return (repository, "latest".to_owned()) };
    // `app:1`, which names no registry.
    let in_parts = label
        .rsplit_once(':')
        .filter(|(name, tag)| RepositoryName::new(name).is_ok() && TagName::new(tag).is_ok());
    if let Some((name, tag)) = in_parts {
        return (name.to_owned(), tag.to_owned());
    }
    if TagName::new(label).is_ok() {
        return (repository, label.clone());
    }
    (if RepositoryName::new(label).is_ok() { label.clone() } else { repository }, "latest".to_owned())
}

fn unnameable(error: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    StorageError::Unnameable(io::Error::other(error))
}
