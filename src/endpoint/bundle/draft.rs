//! A bundle before it is written: every byte except those of the blobs.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    attachments::ReferrerFields,
    closure::Closure,
    content::Content,
    error::BundleError,
    hashing::{self, Meter},
    index,
    layout::{BlobEntry, Layout},
    output::{Output, OutputFile},
    reader::Bundle,
    slices::Slices,
    storage::BlobReader,
    trust::TrustArtifact,
    volumes::{Volume, VolumeSet},
};
use crate::{
    graph::{ForeignLayers, Graph, ImageManifests},
    lock::{Lock, LockedImage},
    oci::{Attachment, Descriptor, Digest, RawManifest, Reference, Repository, Target},
};

/// The planned content of a bundle.
#[derive(Debug)]
pub struct Draft {
    pub(crate) layout: Layout,
    pub(crate) manifests: Arc<BTreeMap<Digest, RawManifest>>,
    pub(crate) roots: HashMap<(Repository, Target), Digest>,
    /// The attachments of the manifests of each repository.
    pub(crate) attached: Arc<HashMap<(Repository, Digest), Vec<Attachment>>>,
    /// Blobs that the destination of the bundle already has, with their sizes in bytes.
    pub(crate) absent: HashMap<Digest, u64>,
    /// Those of them that are configs which name a platform: a check of the bundle reads them.
    pub(crate) absent_configs: HashMap<Digest, Bytes>,
    /// Small configs that were read to learn a platform.
    pub(crate) configs: Arc<HashMap<Digest, Bytes>>,
    /// Blobs of the trust files, which are known from the beginning.
    pub(crate) trust_blobs: BTreeMap<Digest, Bytes>,
    images: Vec<(Reference, Digest)>,
    index: Bytes,
    lock: Content,
    id: Digest,
}

/// What a bundle needs of the images in it, whose manifests can be dropped one by one.
#[derive(Debug)]
pub(crate) struct Gathered {
    roots: Vec<(Reference, Descriptor)>,
    attached: Vec<FoundAttached>,
    /// Small configs that were read to learn a platform.
    configs: HashMap<Digest, Bytes>,
    closure: Closure,
}

/// An attachment in a repository.
#[derive(Debug)]
struct FoundAttached {
    repository: Repository,
    subject: Digest,
    attachment: Attachment,
    /// Its own descriptor, which may differ from the one in its parent.
    descriptor: Descriptor,
    /// What the index says about it, unless a tag attaches it.
    fields: Option<ReferrerFields>,
}

impl FoundAttached {
    fn new(
        reference: &Reference,
        (subject, attachment): &(Digest, Attachment),
        image: &ImageManifests,
    ) -> Self {
        let manifest = image.get(&attachment.descriptor.digest);
        let is_tagged = attachment.link.tag().is_some();
        Self {
            repository: reference.repository().clone(),
            subject: subject.clone(),
            attachment: attachment.clone(),
            descriptor: manifest.map_or_else(|| attachment.descriptor.clone(), RawManifest::descriptor),
            fields: manifest.filter(|_| !is_tagged).map(ReferrerFields::of),
        }
    }
}

impl Gathered {
    /// Nothing yet.
    pub(crate) fn new(foreign_layers: ForeignLayers) -> Self {
        let closure = Closure::of_complete(foreign_layers);
        Self { roots: Vec::new(), attached: Vec::new(), configs: HashMap::new(), closure }
    }

    /// Adds a complete image. `blobs` are its blobs, sorted, if they are in memory anyway: their digests are shared.
    pub(crate) fn add(&mut self, reference: &Reference, image: &ImageManifests, blobs: &[(Digest, u64)]) {
        self.roots.push((reference.clone(), image.root.clone()));
        let attached = image.attached.iter().map(|found| FoundAttached::new(reference, found, image));
        self.attached.extend(attached);
        self.configs.extend(image.configs.iter().cloned());
        self.closure.add_complete(image, blobs);
    }

    /// The bytes of `index.json`: the images, then their attachments, and trust files.
    fn index(&self, trust: Option<&TrustArtifact>, lock: Option<&Digest>) -> Vec<u8> {
        // A tag attaches it: as a tag of the same repository.
        let tagged: Vec<(Reference, &Descriptor)> = self
            .attached
            .iter()
            .filter_map(|found| {
                let tag = Reference::tagged(found.repository.clone(), found.attachment.link.tag()?).ok()?;
                Some((tag, &found.descriptor))
            })
            .collect();
        let trust = trust.map(TrustArtifact::entry);
        let referrers = self
            .attached
            .iter()
            .filter_map(|found| Some((&found.descriptor, found.fields.as_ref()?)))
            .chain(trust.iter().map(|(descriptor, fields)| (descriptor, fields)));
        let named = self.roots.iter().map(|(reference, root)| (reference, root));
        let named = named.chain(tagged.iter().map(|(tag, root)| (tag, *root)));
        index::write_with_referrers(named, referrers, lock)
    }
}

/// An image's tag in a bundle: everything after the repository in its name, so that two images that share a tag stay
/// apart.
#[must_use]
pub(crate) fn tag_of(reference: &Reference) -> String {
    let digest = reference.digest().map(Digest::as_str);
    match (reference.tag(), digest) {
        (Some(tag), Some(digest)) => format!("{tag}@{digest}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => "latest".to_owned(),
    }
}

impl Draft {
    /// A bundle of these images. `absent` are blobs that its destination already has.
    #[must_use]
    pub fn new(images: &[(&Reference, &Graph)], lock: &Lock, absent: &HashSet<Digest>) -> Self {
        let mut gathered = Gathered::new(lock.foreign_layers.into());
        for (reference, graph) in images {
            if let Some(image) = ImageManifests::of(graph) {
                gathered.add(reference, &image, &[]);
            }
        }
        Self::with_trust(gathered, Content::of_lock(lock), absent, None)
    }

    /// The same, from the bytes of the lock, with trust files. None of their blobs is left out.
    #[must_use]
    pub(crate) fn with_trust(
        gathered: Gathered,
        lock: Content,
        absent: &HashSet<Digest>,
        trust: Option<&TrustArtifact>,
    ) -> Self {
        // A temporary file that cannot be read any more: writing the bundle fails as well, and says why.
        let lock_digest = lock.digest().ok();
        let index = Bytes::from(gathered.index(trust, lock_digest.as_ref()));
        let Gathered { roots, attached: found, configs, mut closure } = gathered;
        let trust_blobs = trust.map(|trust| trust.blobs.clone()).unwrap_or_default();
        if let Some(trust) = trust {
            closure.add_early(trust.manifest.clone());
        }
        let absent: HashSet<Digest> =
            absent.iter().filter(|digest| !trust_blobs.contains_key(*digest)).cloned().collect();
        let layout = Layout::new(&index, Some(&lock), &closure, &absent);
        let left_out = closure.blobs().filter(|blob| absent.contains(&blob.digest));
        let absent_configs = configs
            .iter()
            .filter(|(digest, _)| absent.contains(*digest))
            .map(|(digest, bytes)| (digest.clone(), bytes.clone()))
            .collect();
        let absent = left_out.map(|blob| (blob.digest.clone(), blob.size)).collect();
        let tagged = |(reference, root): &(Reference, Descriptor)| {
            ((reference.repository().clone(), Target::Tag(tag_of(reference))), root.digest.clone())
        };
        let mut named: HashMap<(Repository, Target), Digest> = roots.iter().map(tagged).collect();
        let mut attached: HashMap<(Repository, Digest), Vec<Attachment>> = HashMap::new();
        for found in found {
            let tag = found
                .attachment
                .link
                .tag()
                .map(|tag| (found.repository.clone(), Target::Tag(tag.to_owned())));
            named.extend(tag.map(|tag| (tag, found.descriptor.digest.clone())));
            let FoundAttached { repository, subject, attachment, .. } = found;
            let listed = attached.entry((repository, subject)).or_default();
            if !listed.contains(&attachment) {
                listed.push(attachment);
            }
        }
        Self {
            layout,
            attached: Arc::new(attached),
            absent,
            absent_configs,
            configs: Arc::new(configs),
            trust_blobs,
            manifests: Arc::new(closure.manifests),
            images: roots.into_iter().map(|(name, root)| (name, root.digest)).collect(),
            roots: named,
            id: Digest::sha256(&index),
            index,
            lock,
        }
    }

    /// The bundle's id: the digest of its index.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// The bytes of its `index.json`.
    #[must_use]
    pub(crate) fn index(&self) -> &Bytes {
        &self.index
    }

    /// The bytes of its lock.
    #[must_use]
    pub(crate) fn lock(&self) -> &Content {
        &self.lock
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The number of bytes left out because the destination of the bundle has them.
    #[must_use]
    pub(crate) fn left_out(&self) -> u64 {
        self.absent.values().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// The images by name, each with its root.
    #[must_use]
    pub(crate) fn images(&self) -> &[(Reference, Digest)] {
        &self.images
    }
}

/// The expected identity of an existing bundle.
#[derive(Debug)]
pub(crate) struct ExpectedBundle {
    layout: Layout,
    id: Digest,
}

/// The most bytes of a head that may be damaged. Two bundles differ in more: their indexes hold other digests.
const MAX_DAMAGED: usize = 16;

impl Draft {
    /// Fails if files of the output exist and are not this bundle, whole, unfinished or damaged. With `sources`, a bundle
    /// of a run on the same images without some of them is permitted as well: more images may fail.
    pub(crate) fn check_overwrites_nothing(
        &self,
        output: &Output,
        sources: Option<&[Reference]>,
    ) -> Result<(), BundleError> {
        output.check_count(self.layout.length())?;
        let files = output.files(self.layout.length());
        let whole = files.iter().map(|file| file.whole.clone()).chain(output.volume.map(|_| output.index()));
        let Some(path) = whole.into_iter().find(|path| path.exists()) else { return Ok(()) };
        let parts = files.iter().map_while(|file| {
            let path = if file.partial.exists() { &file.partial } else { &file.whole };
            let opened = File::open(path).ok()?;
            let size = opened.metadata().ok()?.len();
            Some((path.display().to_string(), Some(opened), size))
        });
        let found = self.layout.head_alteration(&Slices::new(parts.collect()));
        if found.is_ok_and(|found| found.bytes <= MAX_DAMAGED) {
            return Ok(());
        }
        let other = Bundle::open(&path).ok();
        let locked = other.as_ref().and_then(|other| other.head().lock.as_ref());
        let is_incomplete = locked.is_some_and(|locked| !locked.images.iter().all(LockedImage::is_confirmed));
        let is_same = |(locked, sources): (&Lock, &[Reference])| {
            locked.images.iter().map(|image| &image.source).eq(sources)
        };
        if is_incomplete && locked.zip(sources).is_some_and(is_same) {
            return Ok(());
        }
        let other = other.map(|other| other.head().id().clone());
        Err(BundleError::WouldOverwrite { path, other })
    }

    /// The identity of a complete bundle of these images.
    #[must_use]
    pub(crate) fn expectation(&self) -> ExpectedBundle {
        ExpectedBundle { layout: self.layout.clone(), id: self.id.clone() }
    }
}

impl ExpectedBundle {
    /// The files of the output, if they are this bundle, complete and intact. Blocks.
    #[must_use]
    pub(crate) fn is_met_by(&self, output: &Output, meter: &Meter) -> Option<Vec<PathBuf>> {
        output.check_count(self.layout.length()).ok()?;
        let files = output.files(self.layout.length());
        let parts = files.iter().map(|file| {
            let opened = File::open(&file.whole).ok()?;
            let fits = opened.metadata().is_ok_and(|found| found.is_file() && found.len() == file.size);
            fits.then(|| (file.whole.display().to_string(), Some(opened), file.size))
        });
        let slices = Slices::new(parts.collect::<Option<_>>()?);
        let whole = self.layout.frame_is_at(&slices).is_ok_and(|is_right| is_right);
        let intact = |entry: &BlobEntry| {
            hashing::is_intact(&BlobReader::new(slices.clone(), entry.extent), &entry.blob.digest, meter)
        };
        if output.volume.is_some() {
            is_described(&self.id, output, &files).then_some(())?;
        }
        let is_intact = whole
            && hashing::on_every_core(self.layout.blobs().iter().collect(), intact)
                .into_iter()
                .all(|is_intact| is_intact);
        let index = output.volume.map(|_| output.index());
        is_intact.then(|| files.into_iter().map(|file| file.whole).chain(index).collect())
    }
}

/// Whether the index in the folder of the volumes is this bundle's, and these are its volumes.
pub(crate) fn is_described(id: &Digest, output: &Output, files: &[OutputFile]) -> bool {
    let read = fs::read(output.index()).ok().and_then(|bytes| VolumeSet::from_slice(&bytes).ok());
    read.is_some_and(|set| {
        let is_same = |(volume, file): (&Volume, &OutputFile)| {
            let name = file.whole.file_name().unwrap_or_default().to_string_lossy();
            volume.name == name && volume.size == file.size
        };
        set.bundle == *id && set.volumes.len() == files.len() && set.volumes.iter().zip(files).all(is_same)
    })
}
