//! One pass over standard input: nothing is stored locally, and no incomplete image is tagged.

use std::io::Write as _;

use super::importing::*;
use crate::support::{
    images::pseudo_random,
    scripted::{Answer, Scripted},
};

/// `thoras-mirror bundle import - --to TO MORE…` with these bytes on standard input.
fn import_bytes(bytes: &[u8], to: &str, more: &[&str]) -> Mirror {
    import(Path::new("-"), to, more).stdin(bytes)
}

#[tokio::test]
async fn a_bundle_is_imported_in_one_pass_and_each_blob_sent_once() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let outcome = import_bytes(&bundle.bytes, &team.to(), &[]).run().await.expect_success();
    team.assert_imported();
    assert!(outcome.stdout.contains(bundle.id.as_str()), "{outcome}");
    let blobs: std::collections::BTreeSet<_> = team.app.blobs.keys().chain(team.web.blobs.keys()).collect();
    assert_eq!(team.registry.count("PUT", "/blobs/uploads/").await, blobs.len());
    Mirror::new(["verify", "--level", "bytes"]).in_folder(&outcome.folder()).run().await.expect_success();
}

/// They were reported as already present, because the pipeline finds them at the destination.
#[tokio::test]
async fn blobs_read_from_the_stream_count_as_copied() {
    let team = Team::start().await;
    let bundle = team.bundle().bytes;
    let outcome = import_bytes(&bundle, &team.to(), &["--output", "json"]).run().await.expect_success();
    let bytes = |image: &SampleImage| image.blobs.values().map(|blob| blob.len() as u64).sum::<u64>();
    let shared = team.app.blobs.iter().filter(|(digest, _)| team.web.blobs.contains_key(*digest));
    let shared: u64 = shared.map(|(_, blob)| blob.len() as u64).sum();
    let totals = &document(&outcome)["totals"]["bytes"];
    assert_eq!(totals["copied"], bytes(&team.app) + bytes(&team.web) - shared, "{outcome}");
    assert_eq!((&totals["mounted"], &totals["present"]), (&shared.into(), &0.into()), "{outcome}");

    let outcome = import_bytes(&bundle, &team.to(), &["--output", "json"]).run().await.expect_success();
    let totals = &document(&outcome)["totals"]["bytes"];
    assert_eq!(totals["copied"], 0, "{outcome}");
    assert_eq!(totals["present"], bytes(&team.app) + bytes(&team.web), "{outcome}");
}

/// Padding in files was always checked.
#[tokio::test]
async fn padding_in_a_stream_must_be_zeros() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let padded = bundle.entries.values().filter(|place| place.end % 512 != 0);
    for place in padded {
        let mut bytes = bundle.bytes.clone();
        bytes[place.end.next_multiple_of(512) - 1] = 1;
        let outcome = import_bytes(&bytes, &team.to(), &["--dry-run"]).run().await.expect_code(6);
        let expected = format!("the bundle is damaged at byte {}", place.end.next_multiple_of(512) - 1);
        assert!(outcome.stderr.contains(&expected), "{expected}: {outcome}");
    }
    team.assert_untouched().await;
}

/// The reading end of a pipe into which these bytes are written repeatedly until it is closed.
fn endless(bytes: &[u8]) -> std::io::PipeReader {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let bytes = bytes.to_vec();
    std::thread::spawn(move || while writer.write_all(&bytes).is_ok() {});
    reader
}

/// `/dev/zero` is an endless end of an archive. The random bytes are the same in every run: a few in a million random
/// inputs start like an archive or a compressed file, as the next test shows.
#[tokio::test]
async fn an_endless_stream_is_refused() {
    let team = Team::start().await;
    let run = || import(Path::new("-"), &team.to(), &[]);
    let device = |name: &str| run().stdin_from(std::fs::File::open(name).unwrap());
    let noise = run().stdin_from(endless(&pseudo_random("noise", 4096)));
    for run in [device("/dev/zero"), device("/dev/null"), noise] {
        let outcome = run.run().await.expect_code(3);
        assert!(outcome.stderr.contains("error: ") && outcome.stderr.contains("standard input"), "{outcome}");
        assert!(outcome.stderr.contains("hint: a bundle is a tar archive"), "{outcome}");
    }
    team.assert_untouched().await;
}

#[tokio::test]
async fn random_input_that_starts_like_another_format_is_reported_as_that_format() {
    let team = Team::start().await;
    for (at, beginning, code, expected) in
        [(0, &[0x1f, 0x8b][..], 3, "it is compressed (gzip)"), (257, b"ustar", 6, "there is no tar header")]
    {
        let mut noise = pseudo_random("noise", 4096);
        noise[at..at + beginning.len()].copy_from_slice(beginning);
        let run = import(Path::new("-"), &team.to(), &[]).stdin_from(endless(&noise));
        let outcome = run.run().await.expect_code(code);
        assert!(outcome.stderr.contains(expected), "{outcome}");
    }
    team.assert_untouched().await;
}

#[tokio::test]
async fn blobs_already_present_are_skipped() {
    let team = Team::start().await;
    let bundle = team.bundle();
    import_bytes(&bundle.bytes, &team.to(), &[]).run().await.expect_success();
    team.registry.clear_requests().await;
    import_bytes(&bundle.bytes, &team.to(), &[]).run().await.expect_success();
    team.assert_untouched().await;
}

#[tokio::test]
async fn a_dry_run_reads_everything_and_writes_nothing() {
    let team = Team::start().await;
    let mut bundle = team.bundle();
    import_bytes(&bundle.bytes, &team.to(), &["--dry-run"]).run().await.expect_success();
    let blob = team.app.blobs.keys().next().unwrap();
    let at = bundle.blob(blob).start;
    bundle.bytes[at] ^= 1;
    import_bytes(&bundle.bytes, &team.to(), &["--dry-run"]).run().await.expect_code(6);
    team.assert_untouched().await;
}

#[tokio::test]
async fn a_truncated_stream_is_an_integrity_error_and_nothing_incomplete_is_tagged() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let outcome = import_bytes(&bundle.bytes[..10], &team.to(), &[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("not a tar archive"), "{outcome}");
    for length in
        [600, bundle.head - 100, bundle.head + 700, bundle.bytes.len() - 5000, bundle.bytes.len() - 1024]
    {
        let outcome = import_bytes(&bundle.bytes[..length], &team.to(), &[]).run().await.expect_code(6);
        assert!(outcome.stderr.contains("truncated"), "{length}: {outcome}");
        team.assert_nothing_imported();
    }
    // `--keep-going` imports what is complete: here, only the end marker is missing.
    let almost = &bundle.bytes[..bundle.bytes.len() - 1024];
    import_bytes(almost, &team.to(), &["--keep-going"]).run().await.expect_success();
    team.assert_imported();
}

#[tokio::test]
async fn keep_going_imports_the_complete_images_of_a_truncated_stream() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let last = team
        .app
        .blobs
        .keys()
        .chain(team.web.blobs.keys())
        .max_by_key(|digest| bundle.blob(digest).start)
        .unwrap();
    let cut = &bundle.bytes[..bundle.blob(last).end - 1];
    let outcome = import_bytes(cut, &team.to(), &["--keep-going"]).run().await.expect_code(1);
    let tags = team.registry.storage().tags();
    for (tag, image) in [("mirror/app:1", &team.app), ("mirror/web:2", &team.web)] {
        assert_eq!(tags.contains_key(tag), !image.blobs.contains_key(last), "{outcome}");
    }
    assert!(team.registry.storage().incomplete_tags().is_empty());
}

#[tokio::test]
async fn wrong_bytes_are_never_committed() {
    let team = Team::start().await;
    let mut bundle = team.bundle();
    let blob = team.app.blobs.keys().next().unwrap().clone();
    let at = bundle.blob(&blob).start;
    bundle.bytes[at] ^= 1;
    let outcome = import_bytes(&bundle.bytes, &team.to(), &[]).run().await.expect_code(6);
    assert!(outcome.stderr.contains(&format!("cannot read blob {blob} in standard input")), "{outcome}");
    team.assert_nothing_imported();
}

#[tokio::test]
async fn a_broken_upload_cannot_be_retried_and_the_error_says_what_to_do() {
    let team = Team::start().await;
    let destination = Scripted::start().await;
    destination.on("PUT", "/blobs/uploads/").first(1).answer(Answer::error(500, "UNKNOWN"));
    let to = format!("{}/mirror", destination.address().host_port);
    let outcome = import_bytes(&team.bundle().bytes, &to, &[]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("standard input cannot be read twice"), "{outcome}");
    assert!(
        destination.with_store(|store| store.repositories.values().all(|contents| contents.tags.is_empty()))
    );
}

#[tokio::test]
async fn an_archive_whose_index_comes_last_is_refused_with_the_hint_to_import_the_file() {
    let team = Team::start().await;
    let folder = tempfile::tempdir().unwrap();
    SampleImage::with_layer_size("1", 9_000_000).write_oci_layout(folder.path());
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("blobs", folder.path().join("blobs")).unwrap();
    for name in ["index.json", "oci-layout"] {
        builder.append_path_with_name(folder.path().join(name), name).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let outcome = import_bytes(&bytes, &team.to(), &["--as", APP]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("import that file"), "{outcome}");
    team.assert_untouched().await;
}

#[tokio::test]
async fn another_tools_archive_is_imported_if_its_index_comes_first() {
    let team = Team::start().await;
    let folder = tempfile::tempdir().unwrap();
    team.app.write_oci_layout(folder.path());
    let mut builder = tar::Builder::new(Vec::new());
    for name in ["oci-layout", "index.json"] {
        builder.append_path_with_name(folder.path().join(name), name).unwrap();
    }
    // A config precedes the manifests: it is kept until its role is known.
    let config = team.app.blobs.iter().find(|(_, bytes)| bytes.starts_with(b"{")).unwrap().0;
    let manifests = team.app.manifests.iter().map(|manifest| &manifest.digest);
    let others = team.app.blobs.keys().filter(|digest| *digest != config);
    for digest in [config].into_iter().chain(manifests).chain(others) {
        let path = crate::support::built_bundle::path_of(digest);
        builder.append_path_with_name(folder.path().join(&path), &path).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    import_bytes(&bytes, &team.to(), &["--as", APP]).run().await.expect_success();
    assert_eq!(team.registry.storage().tags()["mirror/app:1"], team.app.root().digest);
    assert!(team.registry.storage().incomplete_tags().is_empty());
}

#[tokio::test]
async fn standard_input_can_be_named_only_once() {
    let team = Team::start().await;
    let outcome = import_bytes(b"", &team.to(), &["other.tar"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("cannot be combined with other files"), "{outcome}");
    import_bytes(b"", &team.to(), &["--license", "-"]).run().await.expect_code(2);
}
