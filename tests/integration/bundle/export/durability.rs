//! What a power cut or a kill leaves, proved by the order of system calls: bytes are synced before a rename, folders
//! are synced before anything depends on a name, and the volume index is renamed after the volumes.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use super::*;
use crate::support::strace::{Call, Strace, Trace};

const SPLIT: [&str; 2] = ["--split", "70000"];

/// An export under strace, and the bundle that it wrote.
async fn traced(site: &Site, more: &[&str]) -> (Trace, Vec<u8>) {
    let strace = Strace::new();
    site.export("b.tar", more).traced_by(&strace).run().await.expect_success();
    (strace.trace().await, site.joined("b.tar"))
}

#[tokio::test]
async fn a_bundle_is_synced_before_its_rename_and_its_folder_after() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    let (trace, _) = traced(&site, &[]).await;
    let rename = trace.durable_rename_to(&site.path("b.tar"));
    trace.sync_of_folder(site.folder.path(), rename);
}

/// The head records the position of each blob: without it, a later run cannot recognize what it finds.
#[tokio::test]
async fn the_head_and_name_of_the_partial_file_are_durable_before_the_first_blob() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    let (trace, bundle) = traced(&site, &[]).await;
    let (partial, blobs) = (site.path("b.tar.partial"), extents(&bundle));
    let is_of_a_blob = |call: &&Call| {
        let offset = call.offset().unwrap();
        blobs.iter().any(|(_, extent)| (extent.offset..extent.end()).contains(&offset))
    };
    let writes = trace.calls.iter().filter(|call| call.writes_to(&partial));
    let (blobs, frame): (Vec<&Call>, Vec<&Call>) = writes.partition(is_of_a_blob);
    let first_blob = blobs.into_iter().min_by_key(|call| call.begins).unwrap();
    let last_of_frame = frame.into_iter().max_by_key(|call| call.ends).unwrap();
    let is_between = |call: &Call| last_of_frame.is_before(call) && call.is_before(first_blob);
    for path in [partial.as_path(), site.folder.path()] {
        let is_synced = trace.calls.iter().any(|call| call.syncs(path) && is_between(call));
        assert!(is_synced, "{} is not synced before the first blob is written", path.display());
    }
}

#[tokio::test]
async fn volumes_are_durable_under_their_final_names_before_their_index() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    let (trace, _) = traced(&site, &SPLIT).await;
    let (indexes, volumes): (Vec<_>, Vec<_>) =
        site.files().into_iter().partition(|name| name.ends_with(".volumes.json"));
    let index = trace.durable_rename_to(&site.path(&indexes[0]));
    assert!(volumes.len() > 1, "{volumes:?}");
    for volume in &volumes {
        let rename = trace.durable_rename_to(&site.path(volume));
        let names = trace.sync_of_folder(site.folder.path(), rename);
        assert!(names.is_before(index), "the index describes {volume} before it has its name");
    }
    trace.sync_of_folder(site.folder.path(), index);
}

/// Kills an export at each of its final renames: each volume, then the index.
#[tokio::test]
async fn an_export_killed_at_any_rename_leaves_no_index_and_the_same_command_finishes_it() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    let expected = site.undisturbed(&[]).await;
    let volumes = expected.len().div_ceil(70_000);
    let names: Vec<String> = (1..=volumes).map(|number| format!("b.tar.{number:03}")).collect();
    for rename in 1..=volumes + 1 {
        // strace counts each system call by itself: the volumes are renamed by `rename`, the index by `renameat`.
        let strace = match rename {
            rename if rename > volumes => Strace::killing_at("/^renameat", 1),
            rename => Strace::killing_at("rename", rename),
        };
        let outcome = site.export("b.tar", &SPLIT).traced_by(&strace).run().await;
        assert_eq!(outcome.status.signal(), Some(Signal::KILL.as_raw()), "{rename}: {outcome}");
        let mut left: Vec<String> = names.clone();
        left[rename - 1..].iter_mut().for_each(|name| name.push_str(".partial"));
        left.extend((rename > volumes).then(|| "b.tar.volumes.json.partial".to_owned()));
        assert_eq!(site.files(), left, "killed at rename {rename}");
        // Volumes without an index can be read if all of them are named.
        let paths = names.iter().map(|name| site.path(name));
        let verified = Mirror::new(["bundle", "verify"]).arguments(paths).run().await;
        assert_eq!(verified.status.success(), rename > volumes, "killed at rename {rename}: {verified}");

        site.source.clear();
        site.export("b.tar", &SPLIT).run().await.expect_success();
        assert_eq!(site.fetched(), [], "killed at rename {rename}");
        assert!(names.iter().flat_map(|name| site.read(name)).eq(expected.iter().copied()), "{rename}");
        let index = ["b.tar.volumes.json".to_owned()];
        assert_eq!(site.files(), [names.as_slice(), &index].concat(), "killed at rename {rename}");
        site.files().iter().for_each(|name| std::fs::remove_file(site.path(name)).unwrap());
    }
}
