//! `bundle export`: the built program against real and misbehaving registries.
//!
//! - [`contents`]: the bytes that are written, and the requests for them; [`names`]: the names of images in a bundle;
//! - [`resume`], [`changed`], [`kill`]: a later run reuses what an earlier run left;
//! - [`failures`], [`output`], [`usage`]: what is refused, and the messages; [`base`]: deltas;
//! - [`disk`]: failing disks; [`durability`]: what a power cut leaves; [`limits`]: memory and secrets.

mod base;
mod changed;
mod contents;
mod disk;
mod durability;
mod failures;
mod kill;
mod limits;
mod names;
mod output;
mod resume;
mod usage;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;
use thoras_mirror::{
    endpoint::bundle::Bundle,
    internals::bundle::{Extent, layout},
    oci::Digest,
};

use crate::support::{
    documents::run as document,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Action, Answer, Scripted},
};

/// `thoras-mirror bundle export -o OUTPUT IMAGES… MORE…`
fn export(images: &[String], output: &Path, more: &[&str]) -> Mirror {
    let program = Mirror::new(["bundle", "export", "-o"]).arg(output);
    program.arguments(images.iter().map(String::as_str)).arguments(more.iter().copied())
}

/// A scripted registry with images, and an output folder.
struct Site {
    source: Scripted,
    images: Vec<String>,
    folder: TempDir,
}

impl Site {
    /// Each image in the repository `team/TAG`.
    async fn with(images: &[&SampleImage]) -> Self {
        let mut site = Self {
            source: Scripted::start().await,
            images: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        for image in images {
            site.add(image);
        }
        site
    }

    fn add(&mut self, image: &SampleImage) {
        let repository = format!("team/{}", image.tag);
        self.source.with_store(|store| store.insert(&repository, image));
        self.images.push(self.source.address().image(&repository, &image.tag));
    }

    /// Moves the tag to another image.
    fn retag(&self, tag: &str, image: &SampleImage) {
        let image = SampleImage { tag: tag.to_owned(), ..image.clone() };
        self.source.with_store(|store| store.insert(&format!("team/{tag}"), &image));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn export(&self, name: &str, more: &[&str]) -> Mirror {
        export(&self.images, &self.path(name), more)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// What an undisturbed export writes. Clears the recorded requests afterwards.
    async fn undisturbed(&self, more: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.tar");
        export(&self.images, &path, more).run().await.expect_success();
        self.source.clear();
        std::fs::read(path).unwrap()
    }

    /// Removes this blob from the source.
    fn lose(&self, blob: &Digest) {
        self.source.on("GET", blob.as_str()).answer(Answer::error(404, "BLOB_UNKNOWN"));
    }

    /// The blobs that were requested, one entry per request.
    fn fetched(&self) -> Vec<Digest> {
        let requests = self.source.requests().into_iter().filter(|request| request.is("GET", "/blobs/"));
        requests.map(|request| request.path.rsplit('/').next().unwrap().parse().unwrap()).collect()
    }

    /// The bytes of a bundle, complete or partial, with its volumes joined.
    fn joined(&self, name: &str) -> Vec<u8> {
        let is_part = |file: &String| file.starts_with(name) && !file.contains("volumes.json");
        self.files().iter().filter(|file| is_part(file)).flat_map(|file| self.read(file)).collect()
    }

    /// The names in the folder, sorted.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A blob that only this image has.
fn own_blob(image: &SampleImage, others: &[&SampleImage]) -> Digest {
    let shared = |digest: &&Digest| others.iter().any(|other| other.blobs.contains_key(*digest));
    image.blobs.keys().find(|digest| !shared(digest)).unwrap().clone()
}

/// The config of a single-platform image. Only the config names the platform, so it is read first.
fn config_of(image: &SampleImage) -> Digest {
    let manifest: Value = serde_json::from_slice(&image.manifests[0].bytes).unwrap();
    manifest["config"]["digest"].as_str().unwrap().parse().unwrap()
}

/// The blobs whose bytes are complete and at their position.
///
/// After a failure, the result depends on timing: transfers of the failed image are dropped.
fn intact(bytes: &[u8], expected: &[u8]) -> HashSet<Digest> {
    let is_there = |(_, extent): &(Digest, Extent)| at(bytes, *extent) == at(expected, *extent);
    extents(expected).into_iter().filter(is_there).map(|(digest, _)| digest).collect()
}

/// Where a bundle's blobs are.
fn extents(bundle: &[u8]) -> Vec<(Digest, Extent)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    std::fs::write(&path, bundle).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let layout = layout(&bundle).expect("one of ours");
    layout.blobs().iter().map(|entry| (entry.blob.digest.clone(), entry.extent)).collect()
}

/// The bytes of an extent; `None` if the file ends before it.
fn at(bytes: &[u8], extent: Extent) -> &[u8] {
    let range = usize::try_from(extent.offset).unwrap()..usize::try_from(extent.end()).unwrap();
    bytes.get(range).unwrap_or_default()
}

/// A bundle's lock.
fn lock_of(path: &Path) -> Value {
    let bundle = Bundle::open_all(&[path.to_owned()]).unwrap();
    serde_json::from_slice(&bundle.head().lock.as_ref().unwrap().to_bytes()).unwrap()
}

/// An action that stalls after some bytes and leaves the connection open.
fn stall_after(bytes: usize) -> Action {
    Action::end(crate::support::scripted::End::StallAfter(bytes))
}
