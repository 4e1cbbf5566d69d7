//! What can be wrong with a bundle beside its images.

use std::fmt;

use crate::{
    endpoint::bundle::{BundleError, Extent, Slices},
    error::{Failure, Kind},
    oci::{Digest, Reference},
};

/// A byte of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Counted from the beginning of the whole archive.
    pub offset: u64,
    /// The volume that it lies in, where there are several.
    pub volume: Option<String>,
}

impl Place {
    pub(super) fn of(slices: &Slices, offset: u64) -> Self {
        let volume = slices.volumes(Extent { offset, size: 1 }).pop();
        Self { offset, volume }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "byte {}", self.offset)?;
        match &self.volume {
            Some(volume) => write!(formatter, ", which lies in {volume}"),
            None => Ok(()),
        }
    }
}

/// One thing that is wrong with the archive itself, with its lock, or with something that no image needs.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// A volume is not there.
    #[error("volume {name} is not there")]
    Volume {
        /// Its name.
        name: String,
    },
    /// The archive ends before its end.
    #[error("the archive is cut off: {missing} bytes are missing at its end")]
    CutOff {
        /// How many bytes.
        missing: u64,
    },
    /// The archive goes on behind its end.
    #[error("{count} bytes follow the end of the archive, from byte {offset} on")]
    Behind {
        /// Where the archive ends.
        offset: u64,
        /// How many bytes follow.
        count: u64,
    },
    /// The files before the blobs are not byte for byte what this program writes.
    #[error("the head differs at {place} from what was written: it was damaged, or packed anew")]
    Head {
        /// The first byte that differs.
        place: Place,
    },
    /// The header of a blob's entry is not the one that was written.
    #[error("the header of `blobs/{blob}` is damaged at {place}")]
    Header {
        /// Which blob.
        blob: Digest,
        /// The first byte that differs.
        place: Place,
    },
    /// There is something else than zeros behind a blob.
    #[error("the padding of `blobs/{blob}` is damaged at {place}")]
    Padding {
        /// Which blob.
        blob: Digest,
        /// The first byte that differs.
        place: Place,
    },
    /// The two blocks of zeros at the end are not zeros.
    #[error("the end mark is damaged at {place}")]
    End {
        /// The first byte that differs.
        place: Place,
    },
    /// `index.json` is not what this program writes for its images and its lock.
    #[error("index.json is not as it was written")]
    Index,
    /// The index names a lock, which is not there.
    #[error("index.json names thoras-mirror.lock, which is not there")]
    NoLock,
    /// The lock says something else than the images.
    #[error("thoras-mirror.lock is wrong about {subject}: {reason}")]
    Lock {
        /// The image or blob that it is wrong about.
        subject: String,
        /// What is wrong.
        reason: String,
    },
    /// An image that was to be in the bundle and could not be copied.
    #[error("{image} is not in the bundle")]
    LeftOut {
        /// Which.
        image: Reference,
    },
    /// A blob that no image needs is not what its name says.
    #[error("blob {blob}, which no image needs, {reason}")]
    Blob {
        /// Which.
        blob: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// Something cannot be read.
    #[error(transparent)]
    Unreadable(#[from] BundleError),
}

impl Fault {
    /// What a person sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            // Nothing is damaged: the bundle is what it was written to be.
            Self::LeftOut { image } => left_out(image),
            _ => Failure::from_error(Kind::Integrity, self),
        }
    }
}

/// What is said of an image that was to be in the bundle, whoever reads it.
#[must_use]
pub fn left_out(image: &Reference) -> Failure {
    let message = format!("{image} is not in the bundle: it could not be copied when the bundle was written");
    Failure::new(Kind::Image, message)
        .with_hint("export it again, without --keep-going, where its source can be read")
}
