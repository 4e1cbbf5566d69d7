//! Manifests, tags and referrers of a repository.

use std::io::{self, ErrorKind};

use bytes::Bytes;

use super::{
    FolderStorage, NewManifest, content_path, manifest_link, referrer_path, referrers_folder, tag_path,
    tags_folder,
};
use crate::{
    oci::{Descriptor, Digest, RawManifest, media_type::Structure},
    serve::{
        names::{RepositoryName, TagName},
        routes::Reference,
        storage::{StoredManifest, VisitReferrer},
    },
};

/// How many missing blobs or manifests a refusal names.
const MAX_MISSING: usize = 100;

/// Why a manifest was not stored.
#[derive(Debug, thiserror::Error)]
pub(in crate::serve) enum PutError {
    /// The repository lacks content that the manifest references: the first of it, at most [`MAX_MISSING`].
    #[error("the repository lacks {} of the manifest's blobs or manifests", .0.len())]
    Missing(Vec<Digest>),
    /// The manifest names another size for content that the repository has.
    #[error("{digest} has {stored} bytes in this repository, but {stated} in the manifest")]
    OtherSize {
        /// The content.
        digest: Digest,
        /// Its size in the repository.
        stored: u64,
        /// Its size in the manifest.
        stated: u64,
    },
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FolderStorage {
    /// Stores a manifest if everything that it references exists, and points the tags to it last.
    pub(in crate::serve) fn put_manifest(
        &self,
        name: &RepositoryName,
        tags: &[TagName],
        manifest: &NewManifest,
    ) -> Result<(), PutError> {
        let _adding = self.adding_references();
        let missing = self.missing(name, manifest)?;
        if !missing.is_empty() {
            return Err(PutError::Missing(missing));
        }
        let raw = &manifest.raw;
        let digest = raw.digest();
        self.folder.write(&content_path(digest), raw.bytes())?;
        self.folder.write(&manifest_link(name, digest), raw.media_type().as_str().as_bytes())?;
        if let Some(referrer) = &manifest.referrer {
            self.folder.write(&referrer_path(name, &referrer.subject, digest), &referrer.descriptor)?;
        }
        for tag in tags {
            self.folder.write(&tag_path(name, tag), digest.as_str().as_bytes())?;
        }
        Ok(())
    }

    /// The required content that the repository lacks. Content of another size is an error: a digest has one size.
    fn missing(&self, name: &RepositoryName, manifest: &NewManifest) -> Result<Vec<Digest>, PutError> {
        let mut missing = Vec::new();
        for Descriptor { digest, media_type, size, .. } in &manifest.required {
            let is_manifest = matches!(media_type.structure(), Structure::Index | Structure::Image);
            let stored =
                if is_manifest { self.manifest_size(name, digest)? } else { self.blob_size(name, digest)? };
            match stored {
                Some(stored) if stored != *size => {
                    return Err(PutError::OtherSize { digest: digest.clone(), stored, stated: *size });
                }
                None if !manifest.may_be_sparse => missing.push(digest.clone()),
                Some(_) | None => {}
            }
            if missing.len() >= MAX_MISSING {
                break;
            }
        }
        Ok(missing)
    }

    /// The manifest's size in bytes; `None` if the repository does not have it.
    fn manifest_size(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<u64>> {
        if !self.folder.exists(&manifest_link(name, digest))? {
            return Ok(None);
        }
        self.folder.size(&content_path(digest))
    }

    /// Opens a manifest; `None` if the repository has no such tag or manifest.
    pub(in crate::serve) fn open_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> io::Result<Option<StoredManifest>> {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match self.tag_target(name, tag)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let Some(media_type) = self.folder.read_text(&manifest_link(name, &digest))? else { return Ok(None) };
        let content = self.folder.open(&content_path(&digest))?;
        Ok(content.map(|content| StoredManifest { digest, media_type, content }))
    }

    /// The digest that a tag points to.
    fn tag_target(&self, name: &RepositoryName, tag: &TagName) -> io::Result<Option<Digest>> {
        let Some(text) = self.folder.read_text(&tag_path(name, tag))? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// The repository's tags in ASCII order.
    pub(in crate::serve) fn tags(&self, name: &RepositoryName) -> io::Result<Vec<TagName>> {
        let names = self.folder.list(&tags_folder(name))?;
        let mut tags: Vec<TagName> = names.iter().filter_map(|name| TagName::new(name).ok()).collect();
        tags.sort_unstable();
        Ok(tags)
    }

    /// Removes a tag but not its manifest; `false` if the tag does not exist.
    pub(in crate::serve) fn delete_tag(&self, name: &RepositoryName, tag: &TagName) -> io::Result<bool> {
        let _removing = self.removing_references();
        self.folder.remove(&tag_path(name, tag))
    }

    /// Removes a manifest from the repository, with its tags and its entry among the referrers of its subject; `false`
    /// if the repository does not have it.
    pub(in crate::serve) fn delete_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<bool> {
        let _removing = self.removing_references();
        let link = manifest_link(name, digest);
        if !self.folder.exists(&link)? {
            return Ok(false);
        }
        for tag in self.tags(name)? {
            if self.tag_target(name, &tag)?.as_ref() == Some(digest) {
                self.folder.remove(&tag_path(name, &tag))?;
            }
        }
        if let Some(subject) = self.subject_of(name, digest)? {
            self.folder.remove(&referrer_path(name, &subject, digest))?;
        }
        self.folder.remove(&link)?;
        self.discard_unreferenced(digest)?;
        Ok(true)
    }

    fn subject_of(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<Digest>> {
        let Some(stored) = self.open_manifest(name, &Reference::Digest(digest.clone()))? else {
            return Ok(None);
        };
        let bytes = Bytes::from(stored.content.read_all()?);
        // The subject of damaged content cannot be trusted.
        let manifest = RawManifest::read(Some(&stored.media_type), bytes, Some(digest)).ok();
        let manifest = manifest.and_then(|manifest| NewManifest::read(manifest).ok());
        Ok(manifest.and_then(|manifest| manifest.referrer).map(|referrer| referrer.subject))
    }

    /// Visits the referrers of `subject` after `after`, in the order of their digests.
    pub(in crate::serve) fn visit_referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        visit: &mut VisitReferrer<'_>,
    ) -> io::Result<()> {
        let folder = referrers_folder(name, subject);
        let names = self.folder.list(&folder)?;
        let digests = names.iter().filter_map(|name| name.replacen('-', ":", 1).parse::<Digest>().ok());
        let mut digests: Vec<Digest> =
            digests.filter(|digest| after.is_none_or(|after| digest > after)).collect();
        digests.sort_unstable();
        for digest in digests {
            // An entry that was deleted since the folder was listed is left out.
            let Some(entry) = self.folder.read_text(&referrer_path(name, subject, &digest))? else {
                continue;
            };
            if !visit(&digest, entry)? {
                break;
            }
        }
        Ok(())
    }
}
