//! `sync` as a person runs it: the built program between real registries, and between registries that misbehave.
//!
//! - [`servers`]: which registries and credentials it works with; [`contents`]: what must arrive unchanged;
//!   [`shapes`]: manifests that say too little, too much, or name what is not there;
//! - [`order`]: children before parents, held at a gate;
//! - [`sharing`], [`requests`], [`idle`], [`repair`]: how little is moved and asked, counted at the servers;
//! - [`naming`], [`platforms`], [`moving`], [`lock`], [`output`], [`messages`]: what it is told, and what it says;
//! - [`integrity`], [`failures`], [`interrupt`], [`kill`]: what holds whatever happens.

mod contents;
mod failures;
mod idle;
mod integrity;
mod interrupt;
mod kill;
mod lock;
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

/// Two CNCF registries that are open to everyone.
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

    /// How many requests that write the destination has seen.
    fn writes(&self) -> usize {
        let requests = self.destination.requests();
        requests.iter().filter(|request| is_write(request.method.as_str())).count()
    }
}

/// What is behind `--to` in most tests.
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
