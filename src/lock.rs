//! The record of a run: what was mirrored, by digest, and where to.
//!
//! Sorted and free of times, so that an idle second run writes the same bytes. It holds no `--set` values
//! and nothing else that could be secret. `verify` and `sync --locked` read it.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{
    error::{Failure, Kind},
    graph::{ForeignLayers, PlatformManifest},
    oci::{
        ArtifactKind, ChartIdentity, Digest, MediaType, Naming, Platform, Reference,
        mapping::{Namer, Root},
    },
    outcome::Mirrored,
};

/// The version of the format that this program writes.
pub const SCHEMA: &str = "thoras-mirror/lock/v1";
/// The largest lock that is read, in bytes.
const LARGEST: u64 = 256 * 1024 * 1024;

/// A lock file's contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lock {
    /// `thoras-mirror/lock/v1`
    pub schema: String,
    /// The chart that the images come from; absent for rendered manifests and lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartIdentity>,
    /// Where the images were copied to, and how they are named there.
    pub placement: Placement,
    /// The platforms that every image had to have.
    pub platforms: Vec<Platform>,
    /// The images, sorted by source.
    pub images: Vec<LockedImage>,
    /// Every blob of the images with its size in bytes.
    pub blobs: BTreeMap<Digest, u64>,
    /// Whether foreign layers are among them; absent when they were left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign_layers: bool,
    /// In a bundle that is a delta: what it leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
}

/// What a delta leaves out because the far side has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Base {
    /// The id of the bundle that the delta builds on, or the digest of its lock.
    pub id: Digest,
    /// The blobs that are left out, each with the places that hold it: repositories of sources and destinations.
    pub blobs: BTreeMap<Digest, Vec<String>>,
}

/// The rule by which the images of a run were named, so that `sync --locked` and repairs give the same names again:
/// filters may have left out images that had a part in the shared prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// `REGISTRY[/PATH]`: what `--to` was; absent in a bundle, which can go anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What `--naming` was.
    pub naming: Naming,
    /// What relative naming cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_prefix: Option<String>,
    /// The packaged chart among the images, which is `charts/NAME` below the root whatever the naming is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Reference>,
}

impl Placement {
    /// The rule itself, below `root`.
    #[must_use]
    pub fn namer(&self, root: Root) -> Namer {
        Namer::new(root, self.naming, self.source_prefix.clone()).with_chart(self.chart.clone())
    }
}

/// One image of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedImage {
    /// The reference that was asked for, normalized.
    pub source: Reference,
    /// Where it was copied to: `REGISTRY/REPOSITORY:TAG`.
    pub destinations: Vec<Reference>,
    /// The root's digest; absent when it never became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The root's media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What it is, unless it is a container image; only an image must have platforms.
    #[serde(default, skip_serializing_if = "ArtifactKind::is_image")]
    pub kind: ArtifactKind,
    /// The platforms that are there, each with its manifest.
    pub platforms: Vec<PlatformManifest>,
    /// Required platforms that are missing with leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<Platform>,
    /// The blobs that it is made of, sorted.
    pub blobs: Vec<Digest>,
    /// Whether the destination was read again and found right.
    pub confirmed: bool,
}

/// What a lock of any version says.
#[derive(Deserialize)]
struct Version {
    schema: Option<String>,
}

/// Why a lock cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is no such file.
    #[error("there is no lock at {0}")]
    Absent(PathBuf),
    /// It cannot be read.
    #[error("cannot read the lock {0}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is not a lock.
    #[error("{0} is not a lock of this program")]
    Malformed(PathBuf, #[source] serde_json::Error),
    /// A later version of this program wrote it.
    #[error("the lock {path} has the format `{}`; this program reads `{SCHEMA}`", .schema.escape_debug())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says of its format.
        schema: String,
    },
    /// It cannot be written.
    #[error("cannot write the lock {0}")]
    Unwritable(PathBuf, #[source] io::Error),
}

impl LockError {
    /// What a person sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Absent(_) | Self::Unwritable(..) => Kind::Usage,
            _ => Kind::Input,
        };
        let hint = match self {
            Self::Absent(_) => {
                "write one: `thoras-mirror sync --to REGISTRY/PATH`\n\
                 name another: `thoras-mirror verify --lock FILE`\n\
                 or do without, comparing with the source: `thoras-mirror verify --to REGISTRY/PATH`"
            }
            Self::Unwritable(..) => "choose another file with --lock FILE",
            Self::Unreadable(..) => "check that it is a file that this user may read",
            Self::Version { .. } => {
                "use the version of thoras-mirror that wrote it, or write a new one with `thoras-mirror sync \
                 --to REGISTRY/PATH`"
            }
            Self::Malformed(..) => "write a new one with `thoras-mirror sync --to REGISTRY/PATH`",
        };
        Failure::from_error(kind, self).with_hint(hint)
    }
}

impl Lock {
    /// The record of a run.
    #[must_use]
    pub fn new(
        chart: Option<ChartIdentity>,
        placement: Placement,
        platforms: &[Platform],
        foreign_layers: ForeignLayers,
        mirrored: &[Mirrored],
    ) -> Self {
        let mut images: BTreeMap<Reference, LockedImage> = BTreeMap::new();
        let mut blobs = BTreeMap::new();
        for one in mirrored {
            let Some(image) = LockedImage::new(one) else { continue };
            for blob in one.graph.iter().flat_map(|graph| graph.blobs()) {
                blobs.insert(blob.digest.clone(), blob.size);
            }
            match images.get_mut(&image.source) {
                Some(same) => same.destinations.extend(image.destinations),
                None => drop(images.insert(image.source.clone(), image)),
            }
        }
        let mut platforms = platforms.to_vec();
        platforms.sort();
        platforms.dedup();
        let images = images.into_values().collect();
        let foreign_layers = foreign_layers == ForeignLayers::Required;
        let schema = SCHEMA.to_owned();
        Self { schema, chart, placement, platforms, images, blobs, foreign_layers, base: None }
    }

    /// The lock as a file holds it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Text, numbers and maps with text keys are always JSON.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a lock.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => LockError::Absent(path.to_owned()),
            _ => LockError::Unreadable(path.to_owned(), error),
        };
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > LARGEST {
            let error = io::Error::other(format!("it is larger than {LARGEST} bytes"));
            return Err(LockError::Unreadable(path.to_owned(), error));
        }
        Self::parse(&fs::read(path).map_err(unreadable)?, path)
    }

    /// Reads a lock from inside a bundle. Errors are one line of text.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, String> {
        Self::parse(bytes, Path::new("thoras-mirror.lock")).map_err(|error| {
            let source = std::error::Error::source(&error);
            source.map_or_else(|| error.to_string(), ToString::to_string)
        })
    }

    /// Reads a lock's content. `path` names it in errors.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, LockError> {
        let malformed = |error| LockError::Malformed(path.to_owned(), error);
        // Nothing but the version is kept of it here: a tree of any JSON takes many times the bytes that it is made of.
        let version: Version = serde_json::from_slice(bytes).map_err(malformed)?;
        match version.schema {
            Some(schema) if schema != SCHEMA => Err(LockError::Version { path: path.to_owned(), schema }),
            _ => serde_json::from_slice(bytes).map_err(malformed),
        }
    }
}

impl LockedImage {
    fn new(mirrored: &Mirrored) -> Option<Self> {
        let outcome = &mirrored.outcome;
        let mut blobs: Vec<Digest> =
            mirrored.graph.iter().flat_map(|graph| graph.blobs()).map(|blob| blob.digest.clone()).collect();
        blobs.sort();
        Some(Self {
            source: outcome.source.clone(),
            destinations: vec![outcome.destination.parse().ok()?],
            digest: outcome.digest.clone(),
            media_type: outcome.media_type.clone(),
            kind: outcome.kind,
            platforms: outcome.platforms.clone(),
            waived: outcome.waived.clone(),
            blobs,
            confirmed: outcome.is_confirmed(),
        })
    }
}

/// A lock about to be written: the file beside it is open already, so that a folder which cannot be
/// written is found before a byte moves.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    beside: NamedTempFile,
}

impl LockFile {
    /// Opens a file beside `path`.
    pub fn prepare(path: &Path) -> Result<Self, LockError> {
        let unwritable = |error| LockError::Unwritable(path.to_owned(), error);
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if path.is_dir() {
            return Err(unwritable(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".thoras-mirror-lock-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The system's mask takes away what the person does not want others to read.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let beside = builder.tempfile_in(folder).map_err(unwritable)?;
        Ok(Self { path: path.to_owned(), beside })
    }

    /// Writes the lock whole and puts it in place in one step.
    pub fn write(mut self, lock: &Lock) -> Result<(), LockError> {
        let path = self.path;
        let unwritable = |error| LockError::Unwritable(path.clone(), error);
        self.beside.write_all(&lock.to_bytes()).map_err(unwritable)?;
        self.beside.as_file().sync_all().map_err(unwritable)?;
        self.beside.persist(&path).map_err(|error| unwritable(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Lock {
        let placement = Placement {
            to: Some("reg.example.com/a".to_owned()),
            naming: Naming::Last,
            source_prefix: None,
            chart: None,
        };
        let platforms = ["linux/arm64", "linux/amd64"].map(|platform| platform.parse().unwrap());
        Lock::new(None, placement, &platforms, ForeignLayers::Optional, &[])
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        LockFile::prepare(&path).unwrap().write(&empty()).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing stays beside it");
    }

    #[test]
    fn foreign_layers_are_mentioned_only_where_they_were_copied() {
        let without = String::from_utf8(empty().to_bytes()).unwrap();
        assert!(!without.contains("foreignLayers"), "{without}");
        let with = Lock { foreign_layers: true, ..empty() };
        assert_eq!(Lock::from_slice(&with.to_bytes()), Ok(with));
    }

    #[test]
    fn a_prepared_lock_that_is_not_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(LockFile::prepare(&folder.path().join("a.lock")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn says_what_is_wrong_with_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        assert!(matches!(Lock::read(&path), Err(LockError::Absent(_))));
        fs::write(&path, "{").unwrap();
        assert!(matches!(Lock::read(&path), Err(LockError::Malformed(..))));
        fs::write(&path, r#"{"schema":"thoras-mirror/lock/v9"}"#).unwrap();
        assert!(matches!(Lock::read(&path), Err(LockError::Version { .. })));
        assert!(LockFile::prepare(&folder.path().join("none/a.lock")).is_err());
        assert!(LockFile::prepare(folder.path()).is_err());
    }
}
