//! Images that are only mentioned: skipped if the source does not provide them, recorded as optional, never renaming
//! others. And images that share a tag.
//!
//! - [`skipping`]: `sync`, `verify` and `doctor`; [`bundles`]: export, import and the commands that read a bundle;
//! - [`strict`]: `--strict`; [`names`]: which image gives way, and what an earlier lock keeps;
//! - [`one_tag`]: one tag with and without its digest.

mod bundles;
mod names;
mod one_tag;
mod skipping;
mod strict;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{
    documents::run as document,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Action, Scripted},
};

/// A host that does not resolve (RFC 2606).
const NOWHERE: &str = "registry.nowhere.invalid";

/// A source with `team/app:1`, a destination, and manifests.
struct Site {
    source: Scripted,
    destination: Scripted,
    folder: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let (source, destination) = tokio::join!(Scripted::start(), Scripted::start());
        let site = Self { source, destination, folder: tempfile::tempdir().unwrap() };
        site.add("team/app", &SampleImage::multi_platform("1"));
        site
    }

    fn add(&self, repository: &str, image: &SampleImage) {
        self.source.with_store(|store| store.insert(repository, image));
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.source.address().host_port)
    }

    fn to(&self) -> String {
        format!("{}/mirror", self.destination.address().host_port)
    }

    /// A deployment of these images, whose environment mentions the others.
    fn manifests(&self, images: &[&str], mentions: &[&str]) -> PathBuf {
        let containers = images.iter().enumerate().map(|(at, image)| {
            let mentions = mentions.iter().enumerate().filter(|_| at == 0);
            let environment: Vec<String> =
                mentions.map(|(at, image)| format!("{{name: V{at}_IMAGE, value: \"{image}\"}}")).collect();
            format!("{{name: c{at}, image: \"{image}\", env: [{}]}}", environment.join(", "))
        });
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{}]}}\n",
            containers.collect::<Vec<_>>().join(", ")
        );
        self.file(&text)
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("in.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `thoras-mirror sync --rendered FILE --to TO MORE…`, in one folder for all runs.
    fn sync(&self, rendered: &Path, more: &[&str]) -> Mirror {
        self.run(&["sync", "--to", &self.to(), "--rendered", rendered.to_str().unwrap()], more)
    }

    fn run(&self, arguments: &[&str], more: &[&str]) -> Mirror {
        Mirror::new(arguments.iter().chain(more).copied()).in_folder(self.folder.path())
    }

    fn lock(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.folder.path().join("thoras-mirror.lock")).unwrap())
            .unwrap()
    }

    /// The names of all tags of the destination, `REPOSITORY:TAG`.
    fn tags(&self) -> Vec<String> {
        let port = self.source.address().host_port.rsplit_once(':').unwrap().1.to_owned();
        self.destination.with_store(|store| {
            let repositories = store.repositories.iter();
            let tags = repositories
                .flat_map(|(name, contents)| contents.tags.keys().map(move |tag| format!("{name}:{tag}")));
            tags.map(|tag| tag.replace(&port, "PORT")).collect()
        })
    }
}

/// The entry of an image in a document or a lock.
fn entry<'a>(document: &'a Value, source: &str) -> &'a Value {
    let images = document["images"].as_array().unwrap();
    images.iter().find(|image| image["source"] == source).unwrap_or_else(|| panic!("{source}: {document}"))
}
