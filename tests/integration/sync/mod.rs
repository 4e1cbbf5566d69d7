//! `sync`: the built program between real registries and between misbehaving ones.
//!
//! - [`servers`]: supported registries and credentials; [`contents`]: images arrive unchanged; [`shapes`]: incomplete,
//!   ambiguous and dangling manifests;
//! - [`order`]: children before parents, held at a gate;
//! - [`sharing`], [`requests`], [`idle`], [`repair`]: transfers and requests, counted at the servers;
//! - [`naming`], [`platforms`], [`moving`], [`lock`], [`output`], [`messages`]: options and output;
//! - [`kept_lock`]: what the lock records about other destinations;
//! - [`many`]: the memory that many images take;
//! - [`integrity`], [`failures`], [`interrupt`], [`kill`]: guarantees under failure.

mod contents;
mod failures;
mod idle;
mod integrity;
mod interrupt;
mod kept_lock;
mod kill;
mod lock;
mod many;
mod messages;
mod moving;
mod naming;
mod order;
mod output;
mod platforms;
mod repair;
mod requests;
mod servers;
mod shapes;
mod sharing;

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{
    Address, client,
    documents::run as document,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    scripted::Scripted,
};

/// `thoras-mirror sync IMAGES… --to TO MORE…`
fn sync(images: &[String], to: &str, more: &[&str]) -> Mirror {
    let arguments = ["sync", "--to", to].map(str::to_owned);
    Mirror::new(
        arguments.into_iter().chain(images.iter().cloned()).chain(more.iter().map(|&one| one.to_owned())),
    )
}

/// Two CNCF registries without a login.
struct RealPair {
    source: Registry,
    destination: Registry,
    images: Vec<String>,
}

impl RealPair {
    async fn start() -> Self {
        let (source, destination) = tokio::join!(Registry::start(), Registry::start());
        Self { source, destination, images: Vec::new() }
    }

    /// With these images in these repositories of the source.
    async fn with(images: &[(&str, &SampleImage)]) -> Self {
        let mut pair = Self::start().await;
        for (repository, image) in images {
            client::push(image, pair.source.address(), repository).await;
            pair.images.push(pair.source.address().image(repository, &image.tag));
        }
        pair.forget_requests().await;
        pair
    }

    async fn forget_requests(&self) {
        self.source.clear_requests().await;
        self.destination.clear_requests().await;
    }

    /// Copies all images below `mirror`.
    fn sync(&self, more: &[&str]) -> Mirror {
        sync(&self.images, &mirror_at(self.destination.address()), more)
    }
}

/// Two scripted registries.
struct ScriptedPair {
    source: Scripted,
    destination: Scripted,
    images: Vec<String>,
}

impl ScriptedPair {
    /// With these images in these repositories of the source.
    async fn with(images: &[(&str, &SampleImage)]) -> Self {
        let (source, destination) = tokio::join!(Scripted::start(), Scripted::start());
        let mut pair = Self { source, destination, images: Vec::new() };
        for (repository, image) in images {
            pair.add(repository, image);
        }
        pair
    }

    fn add(&mut self, repository: &str, image: &SampleImage) {
        self.source.with_store(|store| store.insert(repository, image));
        self.images.push(self.source.address().image(repository, &image.tag));
    }

    /// Copies all images below `mirror`.
    fn sync(&self, more: &[&str]) -> Mirror {
        sync(&self.images, &mirror_at(self.destination.address()), more)
    }

    /// The digest under a tag of the destination, `None` when there is none.
    fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.destination
            .with_store(|store| store.repository(repository).tags.get(tag).map(ToString::to_string))
    }

    /// The names of all tags of the destination, `REPOSITORY:TAG`.
    fn tags(&self) -> Vec<String> {
        self.destination.with_store(|store| {
            let repositories = store.repositories.iter();
            repositories
                .flat_map(|(name, contents)| contents.tags.keys().map(move |tag| format!("{name}:{tag}")))
                .collect()
        })
    }

    /// The number of write requests that the destination has received.
    fn writes(&self) -> usize {
        let requests = self.destination.requests();
        requests.iter().filter(|request| is_write(request.method.as_str())).count()
    }
}

/// The value of `--to` in most tests.
fn mirror_at(address: &Address) -> String {
    format!("{}/mirror", address.host_port)
}

fn is_write(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD")
}

/// The statuses of a document's images, in their order.
fn statuses(document: &Value) -> Vec<&str> {
    document["images"].as_array().unwrap().iter().map(|image| image["status"].as_str().unwrap()).collect()
}

/// The lock that a run wrote.
fn lock_of(outcome: &Outcome) -> Value {
    serde_json::from_slice(&std::fs::read(lock_path(outcome)).unwrap()).unwrap()
}

fn lock_path(outcome: &Outcome) -> PathBuf {
    outcome.folder().join("thoras-mirror.lock")
}
