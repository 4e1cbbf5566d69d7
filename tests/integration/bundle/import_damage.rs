//! Damaged and truncated bundles are never accepted and always reported, and no incomplete image is tagged.

use futures::{StreamExt, stream};

use super::importing::*;

#[tokio::test]
async fn a_flipped_bit_in_any_region_is_never_accepted() {
    let team = Team::start().await;
    let bundle = BundleBuilder::new(&[(APP, &team.app)]).build();
    let mut places: Vec<(String, usize)> = Vec::new();
    for (name, content) in &bundle.entries {
        // The header: name, size, checksum, the end of the checksum's field, magic.
        let header = content.start - 512;
        places.extend([0, 124, 150, 155, 257].map(|at| (format!("{name}'s header"), header + at)));
        let padding = content.end.next_multiple_of(512);
        places.extend((padding > content.end).then(|| (format!("{name}'s padding"), padding - 1)));
        let middle = content.start + content.len() / 2;
        places.extend([content.start, middle, content.end - 1].map(|at| (name.clone(), at)));
    }
    places.push(("the end mark".to_owned(), bundle.bytes.len() - 700));
    let imports = places.into_iter().enumerate().map(|(number, (region, at))| {
        let (mut bytes, team) = (bundle.bytes.clone(), &team);
        async move {
            bytes[at] ^= 1;
            let path = team.folder.path().join(format!("{number}.tar"));
            std::fs::write(&path, bytes).unwrap();
            // In its own repository: blobs that another run has pushed would not be read from this file.
            let outcome = import(&path, &format!("{}/{number}", team.to()), &[]).run().await;
            assert_eq!(outcome.status.code(), Some(6), "byte {at}, {region}: {outcome}");
            assert!(outcome.stderr.contains("error: "), "{outcome}");
        }
    });
    stream::iter(imports).buffer_unordered(8).collect::<()>().await;
    team.assert_nothing_imported();
}

#[tokio::test]
async fn a_truncated_bundle_is_refused_before_any_transfer_and_names_the_affected_images() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let last =
        team.app.blobs.keys().chain(team.web.blobs.keys()).max_by_key(|digest| bundle.blob(digest).start);
    let last = last.unwrap();
    let file = team.file(&bundle.bytes[..bundle.blob(last).end - 1]);
    let outcome = import(&file, &team.to(), &[]).run().await.expect_code(6);
    assert!(outcome.stderr.contains("truncated"), "{outcome}");
    assert!(outcome.stderr.contains(last.as_str()), "{outcome}");
    team.assert_untouched().await;

    let outcome = import(&file, &team.to(), &["--keep-going"]).run().await.expect_code(1);
    let tags = team.registry.storage().tags();
    for (name, tag, image) in [(APP, "mirror/app:1", &team.app), (WEB, "mirror/web:2", &team.web)] {
        assert_eq!(tags.contains_key(tag), !image.blobs.contains_key(last), "{name}: {outcome}");
    }
    assert!(team.registry.storage().incomplete_tags().is_empty());
    // An image that was not imported is in the lock and fails verification.
    Mirror::new(["verify"]).in_folder(&outcome.folder()).run().await.expect_code(5);
}

/// The head is complete, so that nothing else that `inspect` shows tells of it.
#[tokio::test]
async fn inspect_reports_a_truncated_bundle_bug() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let file = team.file(&bundle.bytes[..=bundle.head]);
    let outcome = Mirror::new(["bundle", "inspect"]).arg(&file).run().await.expect_success();
    assert!(outcome.stdout.contains("app:1"), "{outcome}");
    assert_eq!(outcome.stderr.matches("truncated").count(), 1, "{outcome}");
    let whole = team.file(&bundle.bytes);
    let outcome = Mirror::new(["bundle", "inspect"]).arg(&whole).run().await.expect_success();
    assert_eq!(outcome.stderr, "");
}

#[tokio::test]
async fn a_bundle_truncated_within_its_head_is_refused() {
    let team = Team::start().await;
    let bundle = team.bundle();
    for length in [0, 100, 512, 2000, bundle.head - 1] {
        let file = team.file(&bundle.bytes[..length]);
        let outcome = import(&file, &team.to(), &[]).run().await;
        assert!(matches!(outcome.status.code(), Some(3 | 6)), "{length}: {outcome}");
    }
    team.assert_untouched().await;
}

#[tokio::test]
async fn a_bundle_without_its_end_marker_is_refused_unless_keep_going_is_set() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let file = team.file(&bundle.bytes[..bundle.bytes.len() - 600]);
    let outcome = import(&file, &team.to(), &[]).run().await.expect_code(6);
    assert!(outcome.stderr.contains("the archive is truncated: its last 600 bytes are missing"), "{outcome}");
    team.assert_untouched().await;
    import(&file, &team.to(), &["--keep-going"]).run().await.expect_success();
    team.assert_imported();
}
