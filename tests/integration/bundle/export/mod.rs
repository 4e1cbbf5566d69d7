//! `bundle export` as a person runs it, and as an enemy would: built program, real and misbehaving registries.
//!
//! - [`contents`]: which bytes are written, and how little is asked for them; [`names`]: what images are called in them;
//! - [`resume`], [`changed`], [`kill`]: what an earlier run left is used, whatever happened to it;
//! - [`failures`], [`output`], [`usage`]: what is refused, and what is said; [`base`]: deltas;
//! - [`disk`]: disks that fail; [`durability`]: what a power cut leaves; [`limits`]: memory and secrets.

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

/// A scripted registry with images, and a folder for what is written.
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

    /// From now on the tag names another image.
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

    /// What an export that nothing disturbs writes; the requests for it are forgotten.
    async fn undisturbed(&self, more: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.tar");
        export(&self.images, &path, more).run().await.expect_success();
        self.source.clear();
        std::fs::read(path).unwrap()
    }

    /// The source no longer has this blob.
    fn lose(&self, blob: &Digest) {
        self.source.on("GET", blob.as_str()).answer(Answer::error(404, "BLOB_UNKNOWN"));
    }

    /// The blobs that were asked for, one entry for each request.
    fn fetched(&self) -> Vec<Digest> {
        let requests = self.source.requests().into_iter().filter(|request| request.is("GET", "/blobs/"));
        requests.map(|request| request.path.rsplit('/').next().unwrap().parse().unwrap()).collect()
    }

    /// The volumes, or the one file, of a bundle that may be only begun, joined.
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

/// A blob that no other of these images has.
fn own_blob(image: &SampleImage, others: &[&SampleImage]) -> Digest {
    let shared = |digest: &&Digest| others.iter().any(|other| other.blobs.contains_key(*digest));
    image.blobs.keys().find(|digest| !shared(digest)).unwrap().clone()
}

/// The config of an image for one platform: which platform that is stands there alone, so it is read before all else.
fn config_of(image: &SampleImage) -> Digest {
    let manifest: Value = serde_json::from_slice(&image.manifests[0].bytes).unwrap();
    manifest["config"]["digest"].as_str().unwrap().parse().unwrap()
}

/// The blobs whose bytes are all where they belong.
///
/// Which these are after a failure is chance: what the failed image was still bringing is let go.
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

/// The bytes at an extent; none where the file ends before.
fn at(bytes: &[u8], extent: Extent) -> &[u8] {
    let range = usize::try_from(extent.offset).unwrap()..usize::try_from(extent.end()).unwrap();
    bytes.get(range).unwrap_or_default()
}

/// A bundle's lock.
fn lock_of(path: &Path) -> Value {
    let bundle = Bundle::open_all(&[path.to_owned()]).unwrap();
    serde_json::from_slice(&bundle.head().lock.as_ref().unwrap().to_bytes()).unwrap()
}

/// An action after which the connection stays open, silent.
fn stall_after(bytes: usize) -> Action {
    Action::end(crate::support::scripted::End::StallAfter(bytes))
}
