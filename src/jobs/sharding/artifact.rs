//! The lock of a shard as an OCI artifact: `TO/thoras-mirror/locks:LISTDIGEST-I-of-N`.
//!
//! Two layers: the lock, and the whole list of images, whose digest is part of the tag. The list is the same in every
//! shard, so a registry stores it once. The artifact contains no time, so an idle second run of a shard pushes nothing.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::{
    endpoint::{Source, artifact::ArtifactSource, body::read_whole},
    error::{Failure, Kind},
    lock::Lock,
    oci::{
        Contents, Digest, Mapping, RawManifest, Reference, Repository, Target, mapping::Root,
        media_type::OCI_MANIFEST,
    },
    shard::ImageList,
};

/// The artifact's type.
const ARTIFACT: &str = "application/vnd.thoras-mirror.shard-lock.v1";
/// The layer with the lock.
const LOCK: &str = "application/vnd.thoras-mirror.lock.v2+json";
/// The layer with the list of images.
const LIST: &str = "application/vnd.thoras-mirror.image-list.v1+text";
/// The config of an artifact that has none (OCI image specification, "Guidance for an Empty Descriptor").
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// The repository below `--to`.
const REPOSITORY: &str = "thoras-mirror/locks";
/// The largest lock or list that is read, in bytes.
const MAX_SIZE: u64 = 256 * 1024 * 1024;

/// The repository of the locks below a destination.
pub(in crate::jobs) fn repository(root: &Root) -> Result<Repository, Failure> {
    let repository = format!("{root}/{REPOSITORY}").parse::<Repository>();
    repository.map_err(|error| Failure::from_error(Kind::Usage, &error))
}

/// The artifact with all its bytes.
pub(super) struct LockArtifact {
    manifest: RawManifest,
    blobs: Vec<(Digest, Bytes)>,
}

impl LockArtifact {
    /// The artifact of a shard's lock.
    pub(super) fn new(lock: &Lock, list: &ImageList) -> Result<Self, Failure> {
        let blobs = [
            (EMPTY.0, Bytes::from_static(EMPTY.1), None),
            (LOCK, lock.to_bytes().into(), Some("thoras-mirror.lock")),
            (LIST, list.to_text().into(), Some("images.txt")),
        ];
        let described = blobs.map(|(media_type, bytes, title)| {
            let digest = Digest::sha256(&bytes);
            let mut descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
            if let (Some(title), Some(fields)) = (title, descriptor.as_object_mut()) {
                // Where `oras pull` writes it.
                fields.insert("annotations".to_owned(), json!({"org.opencontainers.image.title": title}));
            }
            (descriptor, (digest, bytes))
        });
        let [(config, empty), (lock, lock_blob), (list, list_blob)] = described;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT,
            "config": config,
            "layers": [lock, list],
        });
        let manifest = RawManifest::read(Some(OCI_MANIFEST), Bytes::from(manifest.to_string()), None)
            .map_err(|error| Failure::from_error(Kind::Image, &error))?;
        Ok(Self { manifest, blobs: vec![empty, lock_blob, list_blob] })
    }

    /// The artifact as a source, and the mapping that copies it to `destination`.
    pub(super) fn for_copy(self, destination: &Reference) -> Result<(ArtifactSource, Mapping), Failure> {
        let tag = destination.tag().unwrap_or_default();
        let local = Repository::new("localhost", REPOSITORY).and_then(|local| Reference::tagged(local, tag));
        let reference = local.map_err(|error| Failure::from_error(Kind::Usage, &error))?;
        let mapping = Mapping::to(reference.clone(), destination);
        Ok((ArtifactSource { reference, manifest: self.manifest, blobs: self.blobs }, mapping))
    }
}

/// What a shard has pushed.
pub(in crate::jobs) struct PushedLock {
    pub(in crate::jobs) lock: Lock,
    pub(in crate::jobs) list: ImageList,
}

/// The only field of the manifest that [`Contents`] lacks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactTypeField {
    artifact_type: Option<String>,
}

/// Reads the lock of a shard; `None` if there is no such tag.
pub(in crate::jobs) async fn read<S: Source>(
    source: &S,
    repository: &Repository,
    tag: &str,
) -> Result<Option<PushedLock>, Failure> {
    let manifest = source.manifest(repository, &Target::Tag(tag.to_owned())).await;
    let Some(manifest) = manifest.map_err(|error| error.failure())? else { return Ok(None) };
    let refused = |reason: &str| {
        Failure::new(Kind::Input, format!("{repository}:{tag} is not the lock of a shard: {reason}"))
            .with_hint("delete this tag, and run the shard again")
    };
    let artifact_type = serde_json::from_slice::<ArtifactTypeField>(manifest.bytes())
        .ok()
        .and_then(|found| found.artifact_type);
    if artifact_type.as_deref() != Some(ARTIFACT) {
        return Err(refused("it has another artifact type"));
    }
    let Ok(Contents::Image { layers, .. }) = manifest.contents() else {
        return Err(refused("it has no layers"));
    };
    let layer = |media_type: &str| layers.iter().find(|layer| layer.media_type.as_str() == media_type);
    let (Some(lock), Some(list)) = (layer(LOCK), layer(LIST)) else {
        return Err(refused("a layer is missing"));
    };
    if lock.size.max(list.size) > MAX_SIZE {
        return Err(refused("it is too large"));
    }
    let lock = read_whole(source, repository, lock).await.map_err(|error| error.failure())?;
    let lock = Lock::from_slice(&lock).map_err(|reason| refused(&reason))?;
    let list = read_whole(source, repository, list).await.map_err(|error| error.failure())?;
    let list = std::str::from_utf8(&list).ok().and_then(ImageList::parse);
    let list = list.ok_or_else(|| refused("its list of images is damaged"))?;
    Ok(Some(PushedLock { lock, list }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ListedImage;

    fn lock() -> Lock {
        let text = r#"{"schema": "thoras-mirror/lock/v2", "platforms": [], "blobs": {}, "images": [],
            "destinations": [{"to": "reg.io/m", "naming": "last"}]}"#;
        Lock::from_slice(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn what_is_pushed_reads_back_and_is_always_the_same() {
        let image = ListedImage {
            source: "quay.io/a:1".parse().unwrap(),
            destination: "reg.io/m/a:1".parse().unwrap(),
            pinned: None,
        };
        let list = ImageList::new([image]);
        let artifact = || LockArtifact::new(&lock(), &list).unwrap();
        assert_eq!(artifact().manifest, artifact().manifest);
        let destination = "reg.io/m/thoras-mirror/locks:a-0-of-1".parse().unwrap();
        let (source, mapping) = artifact().for_copy(&destination).unwrap();
        assert_eq!(mapping.destination(), destination.to_string());
        let repository = mapping.source.repository();
        let found = read(&source, repository, "a-0-of-1").await.unwrap().unwrap();
        assert_eq!((found.lock, found.list), (lock(), list));
        assert!(read(&source, repository, "a-1-of-2").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn another_artifact_is_refused() {
        let list = ImageList::new([]);
        let destination = "reg.io/m/thoras-mirror/locks:x".parse().unwrap();
        let (mut source, mapping) =
            LockArtifact::new(&lock(), &list).unwrap().for_copy(&destination).unwrap();
        let text = String::from_utf8(source.manifest.bytes().to_vec()).unwrap();
        let other = text.replace(ARTIFACT, "application/vnd.other");
        source.manifest = RawManifest::read(Some(OCI_MANIFEST), Bytes::from(other), None).unwrap();
        let Err(failure) = read(&source, mapping.source.repository(), "x").await else {
            panic!("it is refused")
        };
        assert!(
            failure.message.contains("is not the lock of a shard: it has another artifact type"),
            "{failure}"
        );
    }
}
