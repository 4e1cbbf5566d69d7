//! Bundles of this program and of others: opened, read, and damaged in every way.

use std::{fs, io::Write as _, path::Path};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::{attachments::ReferrerFields, closure::Closure, slices::Extent, *};
use crate::{
    endpoint::{Error, Location, Operation, Source},
    graph::{AttachedManifest, ForeignLayers, PlatformManifest},
    lock::{Lock, LockedCopy, LockedImage, Placement},
    oci::{
        Descriptor, Digest, RawManifest, Reference, Target,
        media_type::{OCI_INDEX, OCI_MANIFEST},
    },
    problem::Side,
};

/// An image of two platforms in a bundle of this program, in memory.
pub(crate) struct Sample {
    pub(crate) bytes: Vec<u8>,
    pub(crate) layout: Layout,
    pub(crate) reference: Reference,
    pub(crate) root: Descriptor,
    pub(crate) layer: Digest,
}

pub(crate) fn sample() -> Sample {
    let mut contents = std::collections::HashMap::new();
    let mut blob = |media_type: &str, bytes: Vec<u8>| {
        let digest = Digest::sha256(&bytes);
        let descriptor = Descriptor::new(media_type.into(), digest.clone(), bytes.len() as u64);
        contents.insert(digest, bytes);
        descriptor
    };
    let written = |descriptor: &Descriptor| serde_json::json!({"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size});
    let layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", vec![7; 700_001]);
    let mut children = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let config = format!(r#"{{"os":"linux","architecture":"{architecture}"}}"#);
        let config = blob("application/vnd.oci.image.config.v1+json", config.into_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": written(&config), "layers": [written(&layer)],
        });
        let mut child = written(&blob(OCI_MANIFEST, serde_json::to_vec(&manifest).unwrap()));
        child["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        children.push(child);
    }
    let root = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children.clone()});
    let root = blob(OCI_INDEX, serde_json::to_vec(&root).unwrap());

    let reference: Reference = "reg.example.com/team/app:1".parse().unwrap();
    let mut closure = Closure::new([&root.digest], ForeignLayers::Optional);
    loop {
        let wanted = closure.wanted().next().cloned();
        let Some(digest) = wanted else { break };
        let bytes = contents[&digest].clone().into();
        closure.add(digest, bytes).unwrap();
    }
    let platform = |child: &serde_json::Value| PlatformManifest {
        platform: format!("linux/{}", child["platform"]["architecture"].as_str().unwrap()).parse().unwrap(),
        digest: child["digest"].as_str().unwrap().parse().unwrap(),
    };
    let lock: Bytes =
        lock_of(&reference, &root, children.iter().map(platform).collect(), &closure).to_bytes().into();
    let index = index::write([(&reference, &root)], Some(&Digest::sha256(&lock))).into();
    let layout = Layout::new(&index, Some(&lock.clone().into()), &closure, &std::collections::HashSet::new());
    let mut bytes = layout.head().unwrap().to_vec();
    for entry in layout.blobs() {
        bytes.extend(entry.header());
        assert_eq!(bytes.len() as u64, entry.extent.offset);
        bytes.extend(&contents[&entry.blob.digest]);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    assert_eq!(bytes.len() as u64, layout.length());
    Sample { bytes, layout, reference, root, layer: layer.digest }
}

fn lock_of(
    reference: &Reference,
    root: &Descriptor,
    platforms: Vec<PlatformManifest>,
    closure: &Closure,
) -> Lock {
    let placement = Placement::default();
    let required = platforms.iter().map(|manifest| manifest.platform.clone()).collect();
    let mut blobs: Vec<Digest> = closure.blobs().map(|blob| blob.digest.clone()).collect();
    blobs.sort();
    let image = LockedImage {
        source: reference.clone(),
        digest: Some(root.digest.clone()),
        media_type: Some(root.media_type.clone()),
        kind: crate::oci::ArtifactKind::Image,
        platforms,
        optional: false,
        waived: Vec::new(),
        blobs,
        attached: Vec::new(),
        destinations: vec![LockedCopy { to: None, reference: reference.clone(), confirmed: true }],
    };
    let blobs = closure.blobs().map(|blob| (blob.digest.clone(), blob.size)).collect();
    let empty = Lock::new(None, placement, &[], ForeignLayers::Optional, &[]);
    Lock { platforms: required, images: vec![image], blobs, ..empty }
}

pub(crate) fn open(bytes: &[u8]) -> Result<Bundle, BundleError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Bundle::open(file.path())
}

async fn read(
    bundle: &Bundle,
    reference: &Reference,
    digest: &Digest,
    offset: u64,
) -> Result<Vec<u8>, Error> {
    let size = bundle.blob_size(reference.repository(), digest).await?.unwrap();
    let blob = Descriptor::new("x".into(), digest.clone(), size);
    let stream = bundle.open_blob(reference.repository(), &blob, offset).await?;
    stream.map_ok(|piece| piece.to_vec()).try_concat().await
}

#[tokio::test]
async fn a_bundle_of_ours_is_recognized_and_read() {
    let sample = sample();
    let bundle = open(&sample.bytes).unwrap();
    assert_eq!(bundle.layout().unwrap().length(), sample.layout.length());
    let repository = sample.reference.repository();
    assert_eq!(bundle.digest(repository, "1").await.unwrap(), Some(sample.root.digest.clone()));
    assert_eq!(bundle.digest(repository, "2").await.unwrap(), None);
    let root: RawManifest = bundle.manifest(repository, &Target::Tag("1".into())).await.unwrap().unwrap();
    assert_eq!(*root.digest(), sample.root.digest);
    for offset in [0, 1, 262_144, 700_000, 700_001] {
        let bytes = read(&bundle, &sample.reference, &sample.layer, offset).await.unwrap();
        assert_eq!(bytes.len() as u64, 700_001 - offset);
        assert!(bytes.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn what_is_written_is_an_archive_that_others_read() {
    let sample = sample();
    let mut archive = tar::Archive::new(sample.bytes.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names[..3], ["oci-layout", "index.json", "thoras-mirror.lock"]);
    assert_eq!(names.len(), 3 + 3 + 2 + 1);
    let mut sorted = names[3..6].to_vec();
    sorted.sort();
    assert_eq!(names[3..6], sorted);
}

/// The same images in an archive in another order, without a lock.
fn archived_again(folder: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("./blobs", folder.join("blobs")).unwrap();
    for name in ["oci-layout", "index.json"] {
        builder.append_path_with_name(folder.join(name), name).unwrap();
    }
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn the_source_of_a_copy_reads_manifests_from_the_archive_again() {
    let sample = sample();
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(sample.bytes.as_slice()).unpack(folder.path()).unwrap();
    let repository = sample.reference.repository();
    for bytes in [sample.bytes.clone(), archived_again(folder.path())] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let bundle = Bundle::open(file.path()).unwrap();
        let manifests = bundle.head.closure.manifests.clone();
        let bundle = bundle.into_source([(sample.reference.clone(), sample.root.clone())]);
        assert_eq!((manifests.len(), bundle.head.closure.manifests.len()), (3, 0));
        let root = bundle.manifest(repository, &Target::Tag("1".into())).await.unwrap();
        assert_eq!(root.as_ref(), manifests.get(&sample.root.digest));
        for (digest, manifest) in &manifests {
            let read = bundle.manifest(repository, &Target::Digest(digest.clone())).await.unwrap();
            assert_eq!(read.as_ref(), Some(manifest));
        }
        let layer = Target::Digest(sample.layer.clone());
        assert_eq!(bundle.manifest(repository, &layer).await.unwrap(), None, "a layer is not a manifest");
        fs::write(file.path(), vec![b' '; bytes.len()]).unwrap();
        let error = bundle.manifest(repository, &Target::Tag("1".into())).await.unwrap_err();
        assert!(error.cause.to_string().contains("digest"), "{error}: {}", error.cause);
    }
}

#[tokio::test]
async fn an_archive_and_a_folder_in_any_order_are_read() {
    let sample = sample();
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(sample.bytes.as_slice()).unpack(folder.path()).unwrap();
    let archive = open(&archived_again(folder.path())).unwrap();
    let folder = Bundle::open(folder.path()).unwrap();
    for bundle in [archive, folder] {
        assert!(bundle.layout().is_none());
        assert_eq!(bundle.blobs().unwrap().len(), 6);
        let bytes = read(&bundle, &sample.reference, &sample.layer, 0).await.unwrap();
        assert_eq!(bytes, vec![7; 700_001]);
    }
}

#[test]
fn the_beginning_comes_in_pieces_that_copy_nothing_large() {
    let large = Bytes::from(vec![b' '; 1024 * 1024]);
    let layout = Layout::new(&large, None, &Closure::default(), &std::collections::HashSet::new());
    let pieces: Vec<Bytes> = layout.head_pieces().map(Result::unwrap).collect();
    assert_eq!(pieces.concat(), layout.head().unwrap());
    assert_eq!(layout.head().unwrap().len() as u64, layout.head_length());
    assert!(pieces.iter().any(|piece| piece.as_ptr() == large.as_ptr()), "it is not copied");
    let small = sample().layout;
    assert_eq!(small.head_pieces().count(), 1, "small files are put together");
}

#[test]
fn an_archive_without_the_marker_is_refused_with_what_to_do() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    builder.append_data(&mut header, "manifest.json", std::io::empty()).unwrap();
    let error = open(&builder.into_inner().unwrap()).unwrap_err();
    assert!(matches!(error, BundleError::OldDocker { .. }), "{error}");
    assert!(error.hint().unwrap().contains("docker-archive"));
}

#[test]
fn a_folder_of_skopeo_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("manifest.json"), "{}").unwrap();
    let error = || Bundle::open(folder.path()).unwrap_err();
    assert!(matches!(error(), BundleError::NotALayout { .. }), "{}", error());
    fs::write(folder.path().join("version"), "Directory Transport Version: 1.1\n").unwrap();
    assert!(matches!(error(), BundleError::SkopeoFolder { .. }), "{}", error());
    assert_eq!(
        error().hint(),
        Some("convert it with `skopeo copy --all dir:FOLDER oci-archive:NEW:NAME:TAG` and pass NEW")
    );
}

#[tokio::test]
async fn a_folder_never_leads_out_through_a_link() {
    let sample = sample();
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(sample.bytes.as_slice()).unpack(folder.path()).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let blob = folder.path().join("blobs/sha256").join(sample.layer.hex());
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(outside.path(), &blob).unwrap();
    let bundle = Bundle::open(folder.path()).unwrap();
    assert!(bundle.blob(&sample.layer).is_err());
    assert!(!bundle.blobs().unwrap().contains_key(&sample.layer));
}

#[test]
fn a_missing_volume_is_named_by_the_stream() {
    let slices = Slices::new(vec![("thoras.tar.001".to_owned(), None, 10)]);
    let location = Location::new(Operation::ReadBlob, Side::Source, "x");
    let reader = BlobReader::new(slices, Extent { offset: 2, size: 3 });
    let error = reader.stream(0, location).next().now_or_never().unwrap().unwrap().unwrap_err();
    assert!(error.cause.to_string().contains("thoras.tar.001"), "{}", error.cause);
}

/// A lock and an index of this many images for two platforms. Each of their manifests has a signature.
fn signed_images(count: usize) -> (Lock, Vec<u8>) {
    let digest = |what: &str, number: usize| Digest::sha256(format!("{what} {number}").as_bytes());
    let signature_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let placement = Placement::default();
    let mut lock = Lock::new(None, placement, &[], ForeignLayers::Optional, &[]);
    let (mut roots, mut referrers) = (Vec::new(), Vec::new());
    for number in 0..count {
        let source: Reference =
            format!("registry.example.com/organization/team/service-{number:05}:1.20.3-build.7")
                .parse()
                .unwrap();
        let manifests = ["index", "amd64", "arm64"].map(|what| digest(what, number));
        let mut blobs: Vec<Digest> =
            (0..12).map(|layer| digest("blob", number * 16 + layer)).chain([Digest::sha256(b"{}")]).collect();
        blobs.extend((0..3).map(|layer| digest("signature", number * 3 + layer)));
        lock.blobs.extend(blobs.iter().map(|blob| (blob.clone(), 12_345_678)));
        let attached = manifests.iter().map(|subject| AttachedManifest {
            digest: Digest::sha256(subject.as_str().as_bytes()),
            artifact_type: signature_type.to_owned(),
            subject: subject.clone(),
            size: 1234,
            tag: None,
        });
        let attached: Vec<AttachedManifest> = attached.collect();
        for attached in &attached {
            let fields = ReferrerFields {
                artifact_type: Some(signature_type.to_owned()),
                annotations: [
                    ("dev.sigstore.bundle.content", "dsse-envelope"),
                    ("dev.sigstore.bundle.predicateType", "https://sigstore.dev/cosign/sign/v1"),
                    ("org.opencontainers.image.created", "2026-11-27T12:00:00Z"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            };
            referrers.push((Descriptor::new(OCI_MANIFEST.into(), attached.digest.clone(), 1234), fields));
        }
        roots.push((source.clone(), Descriptor::new(OCI_INDEX.into(), manifests[0].clone(), 1234)));
        let platform = |name: &str, digest: &Digest| PlatformManifest {
            platform: name.parse().unwrap(),
            digest: digest.clone(),
        };
        lock.images.push(LockedImage {
            digest: Some(manifests[0].clone()),
            media_type: Some(OCI_INDEX.into()),
            kind: crate::oci::ArtifactKind::Image,
            optional: false,
            platforms: vec![platform("linux/amd64", &manifests[1]), platform("linux/arm64", &manifests[2])],
            waived: Vec::new(),
            blobs,
            attached,
            destinations: vec![LockedCopy { to: None, reference: source.clone(), confirmed: true }],
            source,
        });
    }
    let index = index::write_with_referrers(
        roots.iter().map(|(name, root)| (name, root)),
        referrers.iter().map(|(descriptor, fields)| (descriptor, fields)),
        Some(&Digest::sha256(&lock.to_bytes())),
    );
    (lock, index)
}

/// Locks and indexes grow with the number of images, so those of a hundred tell what ten thousand need.
#[test]
fn the_limits_admit_ten_thousand_signed_images() {
    const TIMES: u64 = 100;
    let (lock, index) = signed_images(100);
    let (bytes, entries) = (lock.to_bytes(), index::images_at_most(&index));
    assert!(entries >= 400);
    assert!(index.len() as u64 * TIMES < index::MAX_SIZE, "{} bytes of index", index.len());
    let limit = index::largest_lock(entries * 100);
    assert!(bytes.len() as u64 * TIMES < limit, "{} bytes of lock, at most {limit}", bytes.len());
    let values = bytes.split(|byte| *byte == b',').count();
    assert!(values * 100 < head::most_lock_values(entries * 100), "{values} values");
    assert!(bytes.len() as u64 * TIMES < crate::lock::MAX_RECEIPT_SIZE);
    Head::new(index.into(), Some(content::Content::from(Bytes::from(bytes))), Path::new("x")).unwrap();
}
