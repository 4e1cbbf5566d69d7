//! `sync --shard` and `lock merge`: several machines share the work, and only the registry.
//!
//! - [`merging`]: the joined lock is that of a single run, whatever happens on the way;
//! - [`dividing`]: what decides which image belongs to which shard; [`engines`]: what numbers the shards.

mod dividing;
mod engines;
mod merging;

use std::{fs, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    client,
    documents::{self, run as document},
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
};

/// Images in a real registry, an empty destination, and a list of the images.
struct Fleet {
    source: Registry,
    destination: Registry,
    folder: TempDir,
    images: Vec<String>,
}

impl Fleet {
    /// So many repositories with one image each, and one repository with three.
    async fn with(repositories: usize) -> Self {
        let (source, destination) = tokio::join!(Registry::start(), Registry::start());
        let mut fleet =
            Self { source, destination, folder: tempfile::tempdir().unwrap(), images: Vec::new() };
        for number in 0..repositories {
            fleet
                .push(&format!("team/app{number}"), &SampleImage::multi_platform(&format!("1.{number}")))
                .await;
        }
        for tag in ["1", "2", "3"] {
            fleet.push("team/tools", &SampleImage::multi_platform(tag)).await;
        }
        fleet.write_list();
        fleet
    }

    async fn push(&mut self, repository: &str, image: &SampleImage) {
        client::push(image, self.source.address(), repository).await;
        self.images.push(self.source.address().image(repository, &image.tag));
    }

    fn write_list(&self) {
        fs::write(self.file("images"), self.images.join("\n")).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn to(&self) -> String {
        format!("{}/mirror", self.destination.address().host_port)
    }

    /// `sync` of the whole list, with a lock in the fleet's folder.
    fn sync(&self, more: &[&str]) -> Mirror {
        Mirror::new(["sync", "--to", &self.to(), "--images"])
            .arg(self.file("images"))
            .arg("--lock")
            .arg(self.file("run.lock"))
            .arguments(more.iter().copied())
    }

    fn shard(&self, shard: &str) -> Mirror {
        self.sync(&["--shard", shard])
    }

    fn merge(&self, more: &[&str]) -> Mirror {
        Mirror::new(["lock", "merge", "--from", &self.to(), "-o"])
            .arg(self.file("merged.lock"))
            .arguments(more.iter().copied())
    }

    async fn run_all(&self, count: usize) -> Vec<Outcome> {
        let shards = (0..count).map(|index| self.shard(&format!("{index}/{count}")).run());
        futures::future::join_all(shards).await
    }

    fn merged(&self) -> String {
        fs::read_to_string(self.file("merged.lock")).unwrap()
    }

    /// The lock of a single run over the list. It finds everything in place after the shards.
    async fn single_lock(&self) -> String {
        let outcome = self.sync(&["--output", "json"]).run().await.expect_success();
        let statuses = document(&outcome)["images"].as_array().unwrap().clone();
        assert!(statuses.iter().all(|image| image["status"] == "up-to-date"), "{outcome}");
        let lock = fs::read_to_string(self.file("run.lock")).unwrap();
        fs::remove_file(self.file("run.lock")).unwrap();
        lock
    }
}

fn sources(document: &Value) -> Vec<String> {
    let images = document["images"].as_array().unwrap();
    images.iter().map(|image| image["source"].as_str().unwrap().to_owned()).collect()
}
