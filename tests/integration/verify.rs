//! `verify`: every difference of a mirror is reported with the command that repairs it.

mod chart;
mod damage;
mod levels;
mod lock;
mod signals;
mod source;
mod trust;

use std::path::{Path, PathBuf};

use serde_json::Value;
use thoras_mirror::oci::Digest;

use crate::support::{
    client, documents,
    graph::{Child, children},
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
};

/// A source and a mirror of it, with the lock that the sync wrote.
struct Site {
    source: Registry,
    mirror: Registry,
    /// Keeps the folder with the lock.
    synced: Outcome,
}

impl Site {
    /// Mirrors these images, which the source has as `vendor/NAME:NAME`.
    async fn of(images: &[&SampleImage]) -> Self {
        let (source, mirror) = tokio::join!(Registry::start(), Registry::start());
        for image in images {
            client::push(image, source.address(), &vendor(image)).await;
        }
        let references = images.iter().map(|image| source.address().image(&vendor(image), &image.tag));
        let to = format!("{}/mirror", mirror.address().host_port);
        let arguments = ["sync", "--to", &to].map(str::to_owned).into_iter().chain(references);
        // A single image would be named after everything before its last component.
        let prefix = format!("{}/vendor", source.address().host_port);
        let synced = Mirror::new(arguments.chain(["--source-prefix".to_owned(), prefix])).run().await;
        Self { source, mirror, synced: synced.expect_success() }
    }

    fn to(&self) -> String {
        format!("{}/mirror", self.mirror.address().host_port)
    }

    fn reference(&self, image: &SampleImage) -> String {
        self.source.address().image(&vendor(image), &image.tag)
    }

    fn folder(&self) -> PathBuf {
        self.synced.folder()
    }

    /// Runs in the folder with the lock.
    async fn run<const N: usize>(&self, arguments: [&str; N]) -> Outcome {
        Mirror::new(arguments).in_folder(&self.folder()).run().await
    }

    /// `verify --level LEVEL --output json`: the exit code, and what was found.
    async fn verify_json(&self, level: &str) -> (Option<i32>, Value) {
        let outcome = self.run(["verify", "--level", level, "--output", "json"]).await;
        let document = documents::run(&outcome);
        assert_eq!(document["exitCode"], outcome.status.code().unwrap(), "{outcome}");
        assert_eq!((&document["command"], &document["level"]), (&"verify".into(), &level.into()));
        (outcome.status.code(), document)
    }

    /// Runs the repair command of a report verbatim.
    async fn repair(&self, command: &str) -> Outcome {
        run_printed(command, &self.folder()).await
    }
}

fn vendor(image: &SampleImage) -> String {
    format!("vendor/{}", image.tag)
}

fn mirrored(image: &SampleImage) -> String {
    format!("mirror/{}", image.tag)
}

/// Runs a command as if it were pasted into a shell.
async fn run_printed(command: &str, folder: &Path) -> Outcome {
    let words = shlex::split(command).unwrap();
    assert_eq!(words[0], "thoras-mirror", "{command}");
    Mirror::new(&words[1..]).in_folder(folder).run().await
}

/// The commands after `repair:`, each once.
fn repair_commands(stderr: &str) -> Vec<String> {
    let mut commands: Vec<String> = stderr
        .lines()
        .filter_map(|line| line.trim().strip_prefix("repair: "))
        .filter(|command| command.starts_with("thoras-mirror "))
        .map(str::to_owned)
        .collect();
    commands.sort();
    commands.dedup();
    commands
}

/// The kinds of problems of each image in a document, by tag.
fn problem_kinds(document: &Value, image: &SampleImage) -> Vec<String> {
    let found = find(document, image)["problems"].as_array().cloned().unwrap_or_default();
    found.iter().map(|problem| problem["kind"].as_str().unwrap().to_owned()).collect()
}

fn find<'a>(document: &'a Value, image: &SampleImage) -> &'a Value {
    let mut images = document["images"].as_array().unwrap().iter();
    let ending = format!(":{}", image.tag);
    images.find(|found| found["destination"].as_str().unwrap().ends_with(&ending)).unwrap()
}

/// The layer of an image's first platform that no other image shares.
fn own_layer(image: &SampleImage) -> Digest {
    let Child::Blob(layer) = children(&image.manifests[0].bytes).pop().unwrap() else { panic!("a blob") };
    layer
}

/// The final output: results and failures, without progress, whose order varies.
fn final_output(outcome: &Outcome) -> String {
    let failures = outcome.stderr.find("\nerror:").map_or("", |start| &outcome.stderr[start..]);
    format!("{}\n{failures}", outcome.stdout)
}

/// Replaces ports, digests and times, so that a snapshot matches.
fn redact(site: &Site) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&site.source.address().host_port, "SOURCE");
    settings.add_filter(&site.mirror.address().host_port, "MIRROR");
    settings.add_filter(r"sha256:([0-9a-f]{4})[0-9a-f]{60}", "sha256:$1…");
    settings.add_filter(r" +(\d+ min )?\d+(\.\d)? s\b", " TIME");
    settings.set_omit_expression(true);
    settings
}
