//! A read-only store over a bundle: an OCI image layout as a tar or a folder (OCI image specification, "Image Layout").
//!
//! Opening it names the images like those of a mirror, and walks their manifests once to learn the content of each
//! repository. Nothing is unpacked, and a blob is read only when a client pulls it; the client checks its digest.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use super::{Content, ContentReader, NewManifest, StorageError, StoredManifest};
use crate::{
    endpoint::bundle::{BlobReader, Bundle, BundleError, index::IndexEntry},
    graph,
    lock::Lock,
    oci::{
        Descriptor, Digest, RawManifest, Reference as ImageReference,
        manifest::ManifestError,
        mapping::{self, Namer, Root},
        media_type::Structure,
    },
    serve::{
        names::{RepositoryName, TagName},
        options::Names,
        routes::Reference,
    },
};

/// A placeholder for this registry where naming requires a host.
const THIS_REGISTRY: &str = "localhost:5000";
/// The repository of unnamed images in a layout whose file name cannot be a repository.
const NAMELESS: &str = "image";

/// An open bundle, by repository.
#[derive(Debug)]
pub(in crate::serve) struct LayoutStorage {
    repositories: BTreeMap<RepositoryName, Repository>,
    left_out: usize,
}

/// The content of a repository.
#[derive(Debug, Default)]
struct Repository {
    tags: BTreeMap<TagName, Digest>,
    manifests: HashMap<Digest, RawManifest>,
    /// Blobs that are in the bundle.
    blobs: HashMap<Digest, BlobReader>,
    /// Descriptors in JSON, by subject, then by referrer.
    referrers: HashMap<Digest, BTreeMap<Digest, String>>,
}

/// Whether the path is meant as a bundle: a file, a folder with the marker of an OCI image layout, or a missing path
/// with the name of a bundle's file. Anything else is, or becomes, a folder of this registry.
pub(in crate::serve) fn is_layout(path: &Path) -> bool {
    match path.metadata() {
        Ok(metadata) => !metadata.is_dir() || path.join("oci-layout").is_file(),
        Err(_) => has_name_of_bundle(path),
    }
}

/// Whether this looks like the name of a bundle's file: a mistyped name must not become an empty registry.
fn has_name_of_bundle(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_number = extension.len() >= 3 && extension.bytes().all(|byte| byte.is_ascii_digit());
    is_number || matches!(extension, "tar" | "tgz" | "gz" | "json")
}

impl LayoutStorage {
    /// Opens these files as one bundle, which must be complete, and names its images by `names`.
    pub(in crate::serve) fn open(paths: &[PathBuf], names: &Names) -> Result<Self, StorageError> {
        let bundle = Bundle::open_all(paths)?;
        bundle.check_has_images()?;
        let absent = bundle.absent_volumes();
        if !absent.is_empty() {
            return Err(BundleError::Absent { names: absent }.into());
        }
        if bundle.end_damage()?.is_some() {
            return Err(BundleError::NoEnd.into());
        }
        let mut repositories: BTreeMap<RepositoryName, Repository> = BTreeMap::new();
        for (name, tag, root) in name_images(&bundle, names)? {
            let repository = repositories.entry(name.clone()).or_default();
            if let Some(other) = repository.tags.insert(tag.clone(), root.digest.clone())
                && other != root.digest
            {
                return Err(StorageError::Collision { name: name.to_string(), tag: tag.to_string() });
            }
            repository.add(&bundle, &root)?;
        }
        Ok(Self { repositories, left_out: bundle.head().absent().len() })
    }

    /// The number of blobs that the bundle leaves out because its base has them.
    pub(in crate::serve) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether an image of the bundle has this repository.
    pub(in crate::serve) fn has_repository(&self, name: &RepositoryName) -> bool {
        self.repositories.contains_key(name)
    }

    /// The repository's tags in ASCII order.
    pub(in crate::serve) fn tags(&self, name: &RepositoryName) -> Vec<TagName> {
        self.repositories
            .get(name)
            .map(|repository| repository.tags.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// A manifest.
    pub(in crate::serve) fn manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Option<StoredManifest> {
        let repository = self.repositories.get(name)?;
        let digest = match reference {
            Reference::Digest(digest) => digest,
            Reference::Tag(tag) => repository.tags.get(tag)?,
        };
        let manifest = repository.manifests.get(digest)?;
        Some(StoredManifest {
            digest: digest.clone(),
            media_type: manifest.media_type().as_str().to_owned(),
            content: Content::of_bytes(manifest.bytes().clone()),
        })
    }

    /// The descriptors (JSON) of the referrers of `subject`, in the order of their digests.
    pub(in crate::serve) fn referrers(&self, name: &RepositoryName, subject: &Digest) -> Vec<String> {
        let referrers = self.repositories.get(name).and_then(|repository| repository.referrers.get(subject));
        referrers.map(|referrers| referrers.values().cloned().collect()).unwrap_or_default()
    }

    /// A blob.
    pub(in crate::serve) fn blob(&self, name: &RepositoryName, digest: &Digest) -> Option<&BlobReader> {
        self.repositories.get(name)?.blobs.get(digest)
    }
}

impl Repository {
    /// Adds a manifest and everything reachable from it, except what the bundle leaves out: foreign layers, the blobs
    /// of a base, platforms that were not requested.
    fn add(&mut self, bundle: &Bundle, root: &Descriptor) -> Result<(), StorageError> {
        let reachable = graph::reachable(root, |descriptor| {
            // Another image may have added it, with everything below it.
            if self.manifests.contains_key(&descriptor.digest) {
                return Ok(None);
            }
            if descriptor != root && !is_manifest(descriptor) {
                self.add_blob(bundle, descriptor)?;
                return Ok(None);
            }
            let found = bundle.head().manifest(&descriptor.digest);
            let Some(found) = found.map_err(|error| damaged(descriptor, error))? else { return Ok(None) };
            let media_type = Some(descriptor.media_type.as_str());
            let raw = RawManifest::read(media_type, found.bytes().clone(), Some(&descriptor.digest))
                .and_then(|raw| Ok((raw.contents()?, NewManifest::read(raw)?)));
            let (contents, manifest) = raw.map_err(|error| damaged(descriptor, error))?;
            self.add_manifest(manifest)?;
            Ok::<_, StorageError>(Some(contents))
        })?;
        reachable.blobs.iter().try_for_each(|blob| self.add_blob(bundle, blob))
    }

    fn add_manifest(&mut self, manifest: NewManifest) -> Result<(), StorageError> {
        let digest = manifest.raw.digest().clone();
        if let Some(referrer) = manifest.referrer {
            let entry = String::from_utf8(referrer.descriptor).map_err(|error| StorageError::Manifest {
                digest: digest.clone(),
                source: io::Error::other(error),
            })?;
            self.referrers.entry(referrer.subject).or_default().insert(digest.clone(), entry);
        }
        self.manifests.insert(digest, manifest.raw);
        Ok(())
    }

    fn add_blob(&mut self, bundle: &Bundle, blob: &Descriptor) -> Result<(), StorageError> {
        if let Some(reader) = bundle.blob(&blob.digest)? {
            self.blobs.insert(blob.digest.clone(), reader);
        }
        Ok(())
    }
}

fn is_manifest(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.structure(), Structure::Index | Structure::Image)
}

fn damaged(descriptor: &Descriptor, error: ManifestError) -> StorageError {
    StorageError::Manifest { digest: descriptor.digest.clone(), source: io::Error::other(error) }
}

/// The repository and tag of each image: by the requested names, else as the bundle was exported.
fn name_images(
    bundle: &Bundle,
    names: &Names,
) -> Result<Vec<(RepositoryName, TagName, Descriptor)>, StorageError> {
    let index = &bundle.head().index;
    let references: Vec<ImageReference> =
        index.images.iter().filter_map(|image| image.reference.clone()).collect();
    let rule = namer(bundle, names, &references)?;
    let mut images = Vec::with_capacity(index.images.len());
    for image in &index.images {
        let (repository, tag) = match &image.reference {
            Some(reference) => {
                let mapping = rule.map(reference).map_err(unnameable)?;
                (mapping.repository.path().to_owned(), mapping.tag)
            }
            None => name_of_nameless(bundle.path(), image),
        };
        let repository = RepositoryName::new(&repository).map_err(unnameable)?;
        images.push((repository, TagName::new(&tag).map_err(unnameable)?, image.root.clone()));
    }
    Ok(images)
}

fn namer(bundle: &Bundle, names: &Names, references: &[ImageReference]) -> Result<Namer, StorageError> {
    let root = Root::from_str(THIS_REGISTRY).map_err(unnameable)?;
    let exported = bundle.head().lock.as_ref().and_then(Lock::placement);
    if let (None, None, Some(placement)) = (names.naming, &names.source_prefix, exported) {
        return Ok(placement.namer(root));
    }
    // A chart goes to `charts/NAME`, so it does not count for the prefix that the images share.
    let chart = exported.and_then(|placement| placement.chart.clone());
    let images: Vec<ImageReference> =
        references.iter().filter(|reference| Some(*reference) != chart.as_ref()).cloned().collect();
    let prefix = names.source_prefix.clone().or_else(|| mapping::common_prefix(&images));
    Ok(Namer::new(root, names.naming.unwrap_or_default(), prefix).with_chart(chart))
}

/// Images written by skopeo and crane have at most a tag: their repository is named after the file.
fn name_of_nameless(path: &Path, image: &IndexEntry) -> (String, String) {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let repository = if RepositoryName::new(&stem).is_ok() { stem } else { NAMELESS.to_owned() };
    let label = image.label.clone().filter(|label| TagName::new(label).is_ok());
    (repository, label.unwrap_or_else(|| "latest".to_owned()))
}

fn unnameable(error: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    StorageError::Unnameable(io::Error::other(error))
}

impl From<BundleError> for StorageError {
    fn from(error: BundleError) -> Self {
        Self::Bundle(Box::new(error))
    }
}

impl Content {
    /// A whole blob of a bundle.
    pub(super) fn of_blob(reader: BlobReader) -> Self {
        Self { size: reader.size(), reader: ContentReader::Blob { reader, offset: 0 } }
    }
}
