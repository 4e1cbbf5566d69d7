//! A layout in a folder of which only the index has been read, for thousands of images.

use std::{collections::HashMap, io::BufReader, path::Path};

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    content::Content,
    error::BundleError,
    head::most_lock_values,
    index::{self, IndexDocument},
    names::{self, MAX_MARKER_SIZE},
    signature::{self, IndexSignature},
    storage::{BlobReader, Storage},
};
use crate::{
    lock::{Placement, SCHEMA},
    oci::{Digest, json_problem::json_problem},
};

/// The number of bytes that are read at a time.
const PIECE: usize = 256 * 1024;

/// Such a layout.
#[derive(Debug)]
pub(crate) struct UnreadLayout {
    pub(crate) storage: Storage,
    pub(crate) index: Bytes,
    /// How the images are named, if this program wrote the layout.
    pub(crate) placement: Option<Placement>,
    /// The number of blobs that a delta leaves out.
    pub(crate) left_out: usize,
}

/// The parts of a lock that matter here. Of a lock of 20 MiB they are a few lines.
#[derive(Deserialize)]
struct Outline {
    schema: String,
    #[serde(default)]
    destinations: Vec<Placement>,
    #[serde(default)]
    base: Option<BaseOutline>,
}

#[derive(Deserialize)]
struct BaseOutline {
    blobs: HashMap<Digest, Vec<IgnoredAny>>,
}

impl UnreadLayout {
    /// Opens a folder whose index has more than `most` images; `None` for any other.
    pub(crate) fn open(
        path: &Path,
        most: usize,
        signed: Option<&IndexSignature>,
    ) -> Result<Option<Self>, BundleError> {
        let storage = Storage::open_folder(path)?;
        let Some(marker) = storage.small(names::MARKER, MAX_MARKER_SIZE)? else { return Ok(None) };
        let Some(bytes) = storage.small(names::INDEX, index::MAX_SIZE)? else { return Ok(None) };
        if !names::is_marker(&marker) || index::images_at_most(&bytes) <= most {
            return Ok(None);
        }
        signature::check(signed, &bytes)?;
        let document = IndexDocument::parse(&bytes)?;
        let (placement, left_out) = match storage.file(names::LOCK)? {
            Some(lock) => outline(&lock, &document, path)?,
            None => (None, 0),
        };
        drop(document);
        Ok(Some(Self { storage, index: bytes, placement, left_out }))
    }
}

fn outline(
    lock: &BlobReader,
    index: &IndexDocument<'_>,
    path: &Path,
) -> Result<(Option<Placement>, usize), BundleError> {
    let limit = index::largest_lock(index.count());
    let content = Content::of_file(lock.clone(), names::LOCK, limit, path)?;
    let (expected, most) = (index.lock()?, most_lock_values(index.count()));
    let outline = content.parse_lock(expected.as_ref(), most, |content| {
        serde_json::from_reader::<_, Outline>(BufReader::with_capacity(PIECE, content))
    })?;
    let outline = outline.map_err(|error| {
        if error.is_io() {
            return BundleError::unreadable(path, error.into());
        }
        BundleError::Lock(json_problem(&error))
    })?;
    if outline.schema == SCHEMA {
        let left_out = outline.base.map_or(0, |base| base.blobs.len());
        return Ok((outline.destinations.into_iter().next(), left_out));
    }
    let lock = content.read_lock(expected.as_ref(), most, path)?;
    Ok((lock.placement().cloned(), lock.base.map_or(0, |base| base.blobs.len())))
}
