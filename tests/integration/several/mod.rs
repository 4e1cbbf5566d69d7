//! `--to` given several times: `sync`, `bundle import` and `verify`.
//!
//! - [`syncing`]: each manifest and blob is read once; the lock, the table and the document cover every destination;
//! - [`stalling`]: a slow, refusing or dead destination affects itself alone, and what is read again is counted;
//! - [`importing`]: bundles as files and from standard input;
//! - [`mistakes`]: logins and lists that are refused.

mod importing;
mod mistakes;
mod stalling;
mod syncing;

use std::path::Path;

use serde_json::Value;

use crate::support::{
    client,
    documents::run as document,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    scripted::{Action, Gate, Scripted},
    serving::Serving,
};

/// `thoras-mirror sync IMAGE… --to … --to …`
fn sync(images: &[String], to: &[String], more: &[&str]) -> Mirror {
    let to = to.iter().flat_map(|to| ["--to".to_owned(), to.clone()]);
    Mirror::new(["sync"]).arguments(images.iter().cloned()).arguments(to).arguments(more.iter().copied())
}

/// Both images at the source, with the names that the program is given.
async fn source() -> (Scripted, [SampleImage; 2], Vec<String>) {
    let source = Scripted::start().await;
    let images = [SampleImage::multi_platform("1"), SampleImage::nested("2")];
    source.with_store(|store| {
        store.insert("team/app", &images[0]);
        store.insert("team/web", &images[1]);
    });
    let names = vec![source.address().image("team/app", "1"), source.address().image("team/web", "2")];
    (source, images, names)
}

/// An empty folder that is served.
async fn serving() -> (tempfile::TempDir, Serving, String) {
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(&folder.path().join("registry"), &[]).await;
    let to = format!("{}/mirror", server.address.host_port);
    (folder, server, to)
}

/// How often the source sent each blob.
fn blob_reads(source: &Scripted) -> Vec<(String, usize)> {
    let mut reads = std::collections::BTreeMap::<String, usize>::new();
    for request in source.requests().iter().filter(|request| request.is("GET", "/blobs/sha256:")) {
        *reads.entry(request.path.clone()).or_default() += 1;
    }
    reads.into_iter().collect()
}

/// What the document says about each destination, in their order.
fn destinations(document: &Value) -> &Vec<Value> {
    document["destinations"].as_array().unwrap()
}

/// The lock that a run wrote.
fn lock_of(outcome: &Outcome) -> Value {
    lock_in(&outcome.folder())
}

fn lock_in(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("thoras-mirror.lock")).unwrap()).unwrap()
}

/// Where the lock says that copies are confirmed, and where not.
fn confirmations(lock: &Value) -> Vec<(String, bool)> {
    let images = lock["images"].as_array().unwrap().iter();
    let copies = images.flat_map(|image| image["destinations"].as_array().unwrap());
    let mut found: Vec<(String, bool)> = copies
        .map(|copy| (copy["reference"].as_str().unwrap().to_owned(), copy["confirmed"].as_bool().unwrap()))
        .collect();
    found.sort();
    found
}

async fn assert_mirrored(images: &[SampleImage; 2], address: &crate::support::Address, path: &str) {
    client::assert_present(&images[0], address, &format!("{path}/app")).await;
    client::assert_present(&images[1], address, &format!("{path}/web")).await;
}

/// `thoras-mirror verify MORE…` in the folder of a run's lock.
fn verify(folder: &Path, more: &[&str]) -> Mirror {
    Mirror::new(["verify"]).in_folder(folder).arguments(more.iter().copied())
}
