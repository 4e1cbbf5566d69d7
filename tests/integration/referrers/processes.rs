//! Processes that attach to one image at the same time, or that are killed: real registries, real programs.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream};
use serde_json::json;
use thoras_mirror::{
    endpoint::{Destination, Source},
    oci::{Digest, RawManifest, Target, media_type::OCI_INDEX},
    problem::Side,
};

use super::{
    Answer, Scripted, digests, entry, index, page, referrer, registries, repository, store_tag, subject,
    tag_of,
};
use crate::support::{
    Address,
    client::RepositoryClient,
    dice::Dice,
    images::SampleImage,
    kill::{Moment, kill},
    process::Mirror,
    programs,
    registry::Registry,
    serving::Serving,
};

/// More runs: `THORAS_MIRROR_TEST_RACES=200`.
const RUNS: usize = 8;
/// The runs that share the registry, and the processors.
const CONCURRENCY: usize = 2;

fn runs() -> usize {
    std::env::var("THORAS_MIRROR_TEST_RACES").map_or(RUNS, |runs| runs.parse().unwrap())
}

/// Stores an image without blobs of its own for its referrers, which a fallback index lists.
fn store(source: &Scripted, name: &str, image: &SampleImage, referrers: &[RawManifest]) {
    source.with_store(|store| store.insert(name, image));
    for manifest in referrers {
        store_tag(source, name, "referrer", manifest.media_type().as_str(), manifest.bytes());
    }
    source.with_store(|store| store.repository(name).tags.remove("referrer"));
    let entries: Vec<_> = referrers.iter().map(entry).collect();
    let bytes = index(&entries).to_string();
    store_tag(source, name, &tag_of(&image.root().digest), OCI_INDEX, bytes.as_bytes());
}

async fn source() -> Scripted {
    let source = Scripted::start().await;
    source.on("GET", "/referrers/").answer(Answer::status(404));
    source
}

fn sync(source: &Scripted, name: &str, to: &Address) -> Mirror {
    let to = format!("{}/m", to.host_port);
    Mirror::new(["sync", "--to", &to, &source.address().image(name, "1"), "--platform", "linux/amd64"])
}

/// The referrers of an image at a mirror, asked by a client that knows nothing yet.
async fn listed(at: &Address, name: &str, image: &SampleImage) -> BTreeSet<Digest> {
    let repository = repository(at, &format!("m/{name}"));
    let found = registries(Side::Source).attachments(&repository, &image.root().digest).await.unwrap();
    digests(&found).into_iter().cloned().collect()
}

fn set(manifests: &[RawManifest]) -> BTreeSet<Digest> {
    manifests.iter().map(|manifest| manifest.digest().clone()).collect()
}

/// An image for each seed, under the tag `1`.
fn image(seed: usize) -> SampleImage {
    SampleImage { tag: "1".to_owned(), ..subject(&format!("seed-{seed}")) }
}

/// Two processes copy one image from sources with different signatures.
async fn race(sources: &[Scripted; 2], destination: &Registry, seed: usize) {
    let (image, name) = (image(seed), format!("race-{seed}"));
    let mut dice = Dice::new(&format!("processes {seed}"));
    let digest = &image.root().digest;
    let mut expected = BTreeSet::new();
    for (number, source) in sources.iter().enumerate() {
        let count = 1 + dice.below(2);
        let own: Vec<_> = (0..count).map(|n| referrer(digest, &format!("{number}-{n}"))).collect();
        expected.extend(set(&own));
        store(source, &name, &image, &own);
    }
    let delay = Duration::from_micros(dice.below(60_000) as u64);
    let [first, second] = sources.each_ref().map(|source| sync(source, &name, destination.address()));
    let later = async {
        // Not waiting for a condition: the seed determines the moment.
        tokio::time::sleep(delay).await;
        second.run().await
    };
    let (first, second) = tokio::join!(first.run(), later);
    first.expect_success();
    second.expect_success();
    assert_eq!(listed(destination.address(), &name, &image).await, expected, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_no_referrer_of_each_other() {
    let (sources, destination) = ([source().await, source().await], Registry::start().await);
    let races = stream::iter(0..runs()).map(|seed| race(&sources, &destination, seed));
    races.buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
}

/// oras reads the index, adds its entry and writes it, without a condition and without reading it again. What it undoes,
/// the sync adds again before it ends: its own referrer, and one that was there before. Only the entry of oras may be
/// lost, when the sync writes between its reading and writing: see `index_writer`.
///
/// Returns whether the entry of oras was kept.
async fn race_with_oras(source: &Scripted, destination: &Registry, seed: usize) -> bool {
    let (image, name) = (image(seed), format!("oras-{seed}"));
    let own = [referrer(&image.root().digest, "ours")];
    store(source, &name, &image, &own);
    let (path, earlier) = (format!("m/{name}"), referrer(&image.root().digest, "earlier"));
    RepositoryClient::new(destination.address(), &path).await.push(&image).await.unwrap();
    let (at, target) = (repository(destination.address(), &path), Target::Digest(earlier.digest().clone()));
    registries(Side::Destination).put_manifest(&at, &target, &earlier).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note.txt"), format!("note {seed}")).unwrap();
    let reference = destination.address().image(&path, "1");
    let mut oras = tokio::process::Command::new(programs::find("THORAS_MIRROR_TEST_ORAS", "oras"));
    oras.args(["attach", "--plain-http", "--artifact-type", "application/x.note", &reference])
        .arg("note.txt:text/plain")
        .current_dir(folder.path());
    let delay = Duration::from_micros(Dice::new(&format!("oras {seed}")).below(60_000) as u64);
    let attached = async {
        // Not waiting for a condition: the seed determines the moment.
        tokio::time::sleep(delay).await;
        let mut output = oras.output().await.unwrap();
        // The sync pushes the empty config as well. While the registry writes its link to that blob again, it finds none.
        for _ in 0..2 {
            if output.status.success() || !String::from_utf8_lossy(&output.stderr).contains("blob unknown") {
                break;
            }
            output = oras.output().await.unwrap();
        }
        output
    };
    let (synced, attached) = tokio::join!(sync(source, &name, destination.address()).run(), attached);
    assert!(attached.status.success(), "{attached:?}");
    synced.expect_success();
    let [signature] = own;
    let kept = set(&[signature, earlier]);
    let found = listed(destination.address(), &name, &image).await;
    assert!(found.is_superset(&kept), "seed {seed}, without a later run: {found:?}");
    sync(source, &name, destination.address()).run().await.expect_success();
    let later = listed(destination.address(), &name, &image).await;
    assert_eq!(later, found, "seed {seed}: a later run removes nothing");
    found.len() > kept.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_oras_attaches_at_the_same_time_undoes_no_referrer() {
    let (source, destination) = (source().await, Registry::start().await);
    let races = stream::iter(0..runs()).map(|seed| race_with_oras(&source, &destination, seed));
    let kept: Vec<bool> = races.buffer_unordered(CONCURRENCY).collect().await;
    let lost = kept.iter().filter(|kept| !**kept).count();
    assert!(lost < kept.len(), "the entry of oras was lost in all {lost} runs");
}

/// Kills a sync at a random moment. If the tag is there, so are all attachments of the image.
/// Returns whether the kill came before the tag.
async fn kill_at_seed(source: &Scripted, destination: &Address, seed: usize) -> bool {
    let (image, name) = (image(seed), format!("kill-{seed}"));
    let signature = referrer(&image.root().digest, "signature");
    let own = [signature, referrer(&image.root().digest, "SBOM")];
    store(source, &name, &image, &own);
    let moment = Moment::draw(&mut Dice::new(&format!("kill {seed}")), 0, Duration::from_millis(700));
    kill(sync(source, &name, destination), moment.comes(None)).await;
    let at = repository(destination, &format!("m/{name}"));
    let is_tagged = registries(Side::Source).digest(&at, "1").await.unwrap().is_some();
    if is_tagged {
        assert_eq!(listed(destination, &name, &image).await, set(&own), "seed {seed}, killed {moment}");
    }
    sync(source, &name, destination).run().await.expect_success();
    assert_eq!(listed(destination, &name, &image).await, set(&own), "seed {seed}");
    !is_tagged
}

/// Kills at each seed. If all came after the tag, they would show nothing.
async fn kill_at_seeds(source: &Scripted, destination: &Address, seeds: std::ops::Range<usize>) {
    let kills = stream::iter(seeds).map(|seed| kill_at_seed(source, destination, seed));
    let before: Vec<bool> = kills.buffer_unordered(CONCURRENCY).collect().await;
    let early = before.iter().filter(|before| **before).count();
    assert!(early > 0, "all of {} kills came after the tag", before.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_no_tag_comes_before_its_referrers_without_the_api() {
    let (source, destination) = (source().await, Registry::start().await);
    kill_at_seeds(&source, destination.address(), 0..20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_no_tag_comes_before_its_referrers_with_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let quiet = ["--access-log", "/dev/null"];
    let (source, destination) =
        (source().await, Serving::start(&folder.path().join("registry"), &quiet).await);
    kill_at_seeds(&source, &destination.address, 100..120).await;
}

/// The whole program: the error names the referrer, its size and the flag, and no image is tagged.
#[tokio::test]
async fn sync_of_a_referrer_larger_than_8_mib_names_it_and_the_flag() {
    let (source, destination) = (Scripted::start().await, Registry::start().await);
    let image = image(0);
    source.with_store(|store| store.insert("large", &image));
    let large = Digest::sha256(b"large");
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    source.on("GET", "/referrers/").answer(page(&[json!({
        "mediaType": manifest, "digest": large, "size": 9 << 20, "artifactType": "application/spdx+json"
    })]));
    let outcome = sync(&source, "large", destination.address()).run().await.expect_code(1);
    for text in [large.as_str(), "9.0 MiB", "8.0 MiB", "--referrer-type"] {
        assert!(outcome.stderr.contains(text) || outcome.stdout.contains(text), "{text}: {outcome}");
    }
    assert!(destination.storage().tags().is_empty());
    let selected = sync(&source, "large", destination.address()).arguments(["--referrers", "signatures"]);
    selected.run().await.expect_success();
}
