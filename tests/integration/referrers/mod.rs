//! Referrers in registries: the endpoint alone, through its traits.

mod copying;
mod cost;
mod listing;
mod many;
mod order;
mod processes;
mod race;
mod real;
mod tags;
mod writing;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use thoras_mirror::{
    endpoint::{
        Error,
        registry::{
            Connector, NetworkSettings, Registries,
            auth::{Credentials, Environment},
        },
    },
    event::{Event, EventSink},
    oci::{
        Attachment, Digest, Link, RawManifest, Repository,
        media_type::{OCI_INDEX, OCI_MANIFEST},
    },
    problem::Side,
};

use crate::support::{
    Address,
    images::SampleImage,
    scripted::{Answer, Scripted},
};

const EMPTY: &str = "{}";

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// One side of a copy that has sent no request yet.
fn registries(side: Side) -> Registries {
    let connector = Connector::new(NetworkSettings::default(), Arc::new(Recorder::default()));
    connector.open(side, Credentials::new(&Environment::default()))
}

fn repository(address: &Address, path: &str) -> Repository {
    format!("{}/{path}", address.host_port).parse().unwrap()
}

/// An image that its referrers can be pushed to: it has the blob of their config.
fn subject(name: &str) -> SampleImage {
    let mut image = SampleImage::single_platform(name, "amd64");
    image.blobs.insert(Digest::sha256(EMPTY.as_bytes()), Bytes::from_static(EMPTY.as_bytes()));
    image
}

/// A manifest about another one.
fn referrer(subject: &Digest, name: &str) -> RawManifest {
    referrer_with(subject, name, &json!({ "artifactType": "application/x.signature" }))
}

fn referrer_with(subject: &Digest, name: &str, more: &Value) -> RawManifest {
    let empty = json!({
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": Digest::sha256(EMPTY.as_bytes()),
        "size": EMPTY.len(),
    });
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": empty,
        "layers": [empty],
        "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 },
        "annotations": { "name": name },
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    RawManifest::read(Some(OCI_MANIFEST), Bytes::from(document.to_string()), None).unwrap()
}

/// The entry of a manifest in a list of referrers.
fn entry(manifest: &RawManifest) -> Value {
    json!({ "mediaType": OCI_MANIFEST, "digest": manifest.digest(), "size": manifest.size() })
}

fn index(entries: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries })
}

/// The answer of the referrers API.
fn page(entries: &[Value]) -> Answer {
    Answer::status(200).header("content-type", OCI_INDEX).body(index(entries).to_string())
}

fn next_page(entries: &[Value], url: &str) -> Answer {
    page(entries).header("link", &format!("<{url}>; rel=\"next\""))
}

/// Stores a manifest in a scripted registry under a tag.
fn store_tag(registry: &Scripted, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    registry.with_store(|store| {
        let contents = store.repository(repository);
        let manifest = (media_type.to_owned(), Bytes::copy_from_slice(bytes));
        contents.manifests.insert(digest.clone(), manifest);
        contents.tags.insert(tag.to_owned(), digest.clone());
    });
    digest
}

/// The tag `sha256-HEX`, written without this project's code.
fn tag_of(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

fn digests(attachments: &[Attachment]) -> Vec<&Digest> {
    attachments.iter().map(|attachment| &attachment.descriptor.digest).collect()
}

fn links(attachments: &[Attachment]) -> Vec<&Link> {
    attachments.iter().map(|attachment| &attachment.link).collect()
}

/// An error with its causes and its hint.
fn text(error: &Error) -> String {
    let failure = error.failure();
    format!("{}\n{}\n{}", failure.message, failure.causes.join("\n"), failure.hint.unwrap_or_default())
}
