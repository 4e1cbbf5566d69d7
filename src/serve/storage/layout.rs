//! A read-only store over a bundle: an OCI image layout as a tar or a folder (OCI image specification, "Image Layout").
//!
//! Opening it names the images like those of a mirror. The manifests show the content of each repository: those of a
//! folder with many images are read when a client asks for them, all others at once. Nothing is unpacked and no file
//! stays open. A blob is read only when a client pulls it, and hashed on its way out.

mod naming;
mod repository;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use self::{
    naming::repositories,
    repository::{ExploredContent, Repository},
};
use super::{ContentReader, OpenContent, StorageError, StoredManifest, VisitReferrer};
use crate::{
    endpoint::bundle::{BlobReader, Bundle, BundleError, IndexDocument, IndexSignature, UnreadLayout},
    graph,
    lock::Lock,
    oci::{Descriptor, Digest, Link, MediaType, RawManifest, manifest::MAX_MANIFEST_SIZE},
    serve::{
        names::{RepositoryName, TagName},
        options::Names,
        routes::Reference,
    },
};

/// Of a folder with more images, only the index is read at startup.
const MAX_IMAGES_READ_AT_STARTUP: usize = 500;

/// An open bundle, by repository.
#[derive(Debug)]
pub(in crate::serve) struct LayoutStorage {
    files: Files,
    repositories: BTreeMap<RepositoryName, Repository>,
    /// The path below which a chart finds its images.
    chart_prefix: Option<String>,
    left_out: usize,
}

/// Where manifests and blobs come from.
#[derive(Debug)]
enum Files {
    /// A bundle whose manifests have been read.
    Read(Box<Bundle>),
    /// A folder whose manifests are read when they are needed.
    Unread(Box<Unread>),
}

/// A folder of which only the index has been read.
#[derive(Debug)]
struct Unread {
    storage: crate::endpoint::bundle::Storage,
    /// Entries of the index that are attachments without a name, by subject. They were read at startup.
    attached: HashMap<Digest, Vec<RootManifest>>,
}

/// The root manifest of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RootManifest {
    media_type: MediaType,
    digest: Digest,
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
    pub(in crate::serve) fn open(
        paths: &[PathBuf],
        names: &Names,
        signed: Option<&IndexSignature>,
    ) -> Result<Self, StorageError> {
        if let [folder] = paths
            && folder.is_dir()
            && let Some(UnreadLayout { storage, index, placement, left_out }) =
                UnreadLayout::open(folder, MAX_IMAGES_READ_AT_STARTUP, signed)?
        {
            let index = IndexDocument::parse(&index)?;
            let mut files = Files::Unread(Box::new(Unread { storage, attached: HashMap::new() }));
            let attached = files.find_attached(naming::nameless(&index)?);
            let known = attached.values().flatten().map(|root| root.digest.clone()).collect();
            let (repositories, chart_prefix) =
                repositories(&index, placement.as_ref(), folder, names, &known)?;
            if let Files::Unread(unread) = &mut files {
                unread.attached = attached;
            }
            return Ok(Self { files, repositories, chart_prefix, left_out });
        }
        let bundle = Bundle::open_signed(paths, signed)?;
        bundle.check_has_images()?;
        let absent = bundle.absent_volumes();
        if !absent.is_empty() {
            return Err(BundleError::Absent { names: absent }.into());
        }
        if let Some(truncated) = bundle.truncation() {
            return Err(truncated.into());
        }
        if bundle.end_damage()?.is_some() {
            return Err(BundleError::NoEnd.into());
        }
        let head = bundle.head();
        let placement = head.lock.as_ref().and_then(Lock::placement);
        let index = IndexDocument::parse(head.index_bytes())?;
        // Without a name, it is an attachment, or part of an image that oras lists by itself.
        let attached = head.index.attached.iter().filter(|entry| entry.label.is_none());
        let children = head.index.images.iter().flat_map(|image| head.manifests_below(&image.root));
        let attached = attached.chain(&head.index.trust).map(|entry| entry.root.digest.clone());
        let attached = attached.chain(children).collect();
        let (repositories, chart_prefix) = repositories(&index, placement, bundle.path(), names, &attached)?;
        let left_out = head.absent().len();
        let storage = Self { files: Files::Read(Box::new(bundle)), repositories, chart_prefix, left_out };
        for repository in storage.repositories.values() {
            repository.explore_all(&storage.files)?;
        }
        Ok(storage)
    }

    /// The number of blobs that the bundle leaves out because its base has them.
    pub(in crate::serve) fn left_out(&self) -> usize {
        self.left_out
    }

    /// The path (empty or with a leading slash) below which a chart finds its images, if there is one.
    pub(in crate::serve) fn chart_prefix(&self) -> Option<String> {
        self.chart_prefix.clone()
    }

    /// The first repositories in ASCII order.
    pub(in crate::serve) fn repositories(&self, most: usize) -> Vec<RepositoryName> {
        self.repositories.keys().take(most).cloned().collect()
    }

    /// Whether an image of the bundle has this repository.
    pub(in crate::serve) fn has_repository(&self, name: &RepositoryName) -> bool {
        self.repositories.contains_key(name)
    }

    /// The repository's tags in ASCII order.
    pub(in crate::serve) fn tags(&self, name: &RepositoryName) -> Vec<TagName> {
        let tags = self.repositories.get(name).map(|repository| repository.tags.as_slice());
        tags.unwrap_or_default().iter().map(|(tag, _)| tag.clone()).collect()
    }

    /// Opens a manifest.
    pub(in crate::serve) fn open_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> io::Result<Option<StoredManifest>> {
        let Some(repository) = self.repositories.get(name) else { return Ok(None) };
        let (digest, contents) = match reference {
            Reference::Tag(tag) => {
                let Some(root) = repository.root(tag) else { return Ok(None) };
                (&root.digest, repository.explore(&self.files, root)?)
            }
            Reference::Digest(digest) => {
                let is_there = |contents: &ExploredContent| contents.manifests.contains_key(digest);
                (digest, repository.explore_until(&self.files, is_there)?)
            }
        };
        let found = contents.as_ref().and_then(|contents| contents.manifests.get(digest));
        let Some(media_type) = found.map(|media_type| media_type.as_str().to_owned()) else {
            return Ok(None);
        };
        drop(contents);
        let content = self.files.manifest(digest)?;
        Ok(content.map(|content| StoredManifest { digest: digest.clone(), media_type, content }))
    }

    /// Visits the referrers of `subject` after `after`, in the order of their digests.
    pub(in crate::serve) fn visit_referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        visit: &mut VisitReferrer<'_>,
    ) -> io::Result<()> {
        let Some(repository) = self.repositories.get(name) else { return Ok(()) };
        repository.explore_all(&self.files)?;
        let contents = repository.contents();
        let referrers = contents.as_ref().and_then(|contents| contents.referrers.get(subject));
        let later = |digest: &Digest| after.is_none_or(|after| digest > after);
        for (digest, entry) in referrers.into_iter().flatten().filter(|(digest, _)| later(digest)) {
            if !visit(digest, entry.clone())? {
                break;
            }
        }
        Ok(())
    }

    /// A blob; `None` if the repository does not have it.
    pub(in crate::serve) fn blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<BlobReader>> {
        let Some(repository) = self.repositories.get(name) else { return Ok(None) };
        let is_there = |contents: &ExploredContent| contents.blobs.contains(digest);
        let contents = repository.explore_until(&self.files, is_there)?;
        if !contents.as_ref().is_some_and(|contents| is_there(contents)) {
            return Ok(None);
        }
        drop(contents);
        self.files.blob(digest)
    }
}

impl Files {
    fn blob(&self, digest: &Digest) -> io::Result<Option<BlobReader>> {
        let blob = match self {
            Self::Read(bundle) => bundle.blob(digest),
            Self::Unread(unread) => unread.storage.blob(digest),
        };
        blob.map_err(io::Error::other)
    }

    /// The manifests that name this one as their subject.
    fn attached(&self, subject: &Digest) -> Vec<RootManifest> {
        match self {
            Self::Read(bundle) => {
                let attached = bundle.head().attachments.anywhere(subject);
                let referrers = attached.filter(|attachment| attachment.link == Link::Subject);
                let root = |Descriptor { media_type, digest, .. }: &Descriptor| RootManifest {
                    media_type: media_type.clone(),
                    digest: digest.clone(),
                };
                referrers.map(|attachment| root(&attachment.descriptor)).collect()
            }
            Self::Unread(unread) => unread.attached.get(subject).cloned().unwrap_or_default(),
        }
    }

    /// Reads the subject of each of these manifests. One that cannot be read counts as no attachment.
    fn find_attached(&self, nameless: Vec<RootManifest>) -> HashMap<Digest, Vec<RootManifest>> {
        let mut attached: HashMap<Digest, Vec<RootManifest>> = HashMap::new();
        for root in nameless {
            let Ok(Some(bytes)) = self.read(&root.digest) else { continue };
            let raw = RawManifest::read(Some(root.media_type.as_str()), bytes, Some(&root.digest));
            let contents = raw.and_then(|raw| raw.contents());
            if let Some(subject) = contents.ok().as_ref().and_then(graph::subject) {
                attached.entry(subject.digest.clone()).or_default().push(root);
            }
        }
        attached
    }

    /// A manifest's content: from memory, or hashed when it is sent.
    fn manifest(&self, digest: &Digest) -> io::Result<Option<OpenContent>> {
        if let Self::Read(bundle) = self
            && let Ok(Some(manifest)) = bundle.head().manifest(digest)
        {
            return Ok(Some(OpenContent::of_bytes(manifest.bytes().clone())));
        }
        Ok(self.blob(digest)?.map(|blob| OpenContent::of_blob(blob, digest.clone())))
    }

    /// Reads a manifest; `None` if the layout leaves it out.
    fn read(&self, digest: &Digest) -> Result<Option<Bytes>, StorageError> {
        let damaged = |source| StorageError::Manifest { digest: digest.clone(), source };
        if let Self::Read(bundle) = self {
            let found = bundle.head().manifest(digest).map_err(|error| damaged(io::Error::other(error)))?;
            return Ok(found.map(|manifest| manifest.bytes().clone()));
        }
        let Some(blob) = self.blob(digest).map_err(damaged)? else { return Ok(None) };
        let whole = blob.whole("a manifest", MAX_MANIFEST_SIZE as u64, Path::new("the bundle"));
        whole.map(Some).map_err(|error| damaged(io::Error::other(error)))
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        Self::other(error)
    }
}

impl From<BundleError> for StorageError {
    fn from(error: BundleError) -> Self {
        Self::Bundle(Box::new(error))
    }
}

impl OpenContent {
    /// A whole blob of a bundle.
    pub(super) fn of_blob(reader: BlobReader, digest: Digest) -> Self {
        let size = reader.size();
        Self { reader: ContentReader::Blob { reader, offset: 0 }, size, unchecked: Some(digest) }
    }
}
