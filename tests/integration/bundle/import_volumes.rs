//! Volumes are read in place, in any order and under any names; missing volumes are named.

use std::{fs, path::PathBuf};

use super::importing::*;

const SIZE: usize = 40_000;

/// A bundle split into volumes, in its own folder.
fn sliced(team: &Team) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let set = team.bundle().write_volumes(folder.path(), "thoras.tar", SIZE);
    let volumes = set.volumes.iter().map(|volume| folder.path().join(&volume.name)).collect();
    (folder, volumes)
}

#[tokio::test]
async fn renamed_volumes_are_imported_in_place_in_any_order() {
    let team = Team::start().await;
    let (folder, volumes) = sliced(&team);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut moved: Vec<String> = Vec::new();
    for (position, volume) in volumes.iter().enumerate().rev() {
        let path = elsewhere.path().join(format!("disk {position}"));
        fs::rename(volume, &path).unwrap();
        moved.push(path.display().to_string());
    }
    let index = folder.path().join("thoras.tar.volumes.json");
    let more: Vec<&str> = moved.iter().map(String::as_str).collect();
    import(&index, &team.to(), &more).run().await.expect_success();
    team.assert_imported();
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), moved.len(), "nothing was joined");
}

#[tokio::test]
async fn the_other_volumes_are_found_from_any_volume_or_the_index() {
    let team = Team::start().await;
    let (folder, volumes) = sliced(&team);
    for file in [&volumes[2], &folder.path().join("thoras.tar.volumes.json")] {
        import(file, &team.to(), &["--dry-run"]).run().await.expect_success();
    }
    import(&volumes[0], &team.to(), &[]).run().await.expect_success();
    team.assert_imported();
}

#[tokio::test]
async fn a_missing_volume_is_named_with_its_images_and_keep_going_imports_the_others() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let folder = tempfile::tempdir().unwrap();
    let set = bundle.write_volumes(folder.path(), "thoras.tar", 4096);
    let own = team.web.blobs.keys().find(|digest| !team.app.blobs.contains_key(digest)).unwrap();
    let lost = &set.volumes[bundle.blob(own).start / 4096].name;
    // Other blobs in the volume may belong to the other image.
    let shares = team.app.blobs.keys().any(|digest| {
        let (ours, theirs) = (bundle.blob(digest), bundle.blob(own).start / 4096 * 4096);
        ours.start < theirs + 4096 && theirs < ours.end
    });
    fs::remove_file(folder.path().join(lost)).unwrap();
    let index = folder.path().join("thoras.tar.volumes.json");
    let outcome = import(&index, &team.to(), &[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains(lost.as_str()), "{outcome}");
    assert!(outcome.stderr.contains(WEB), "{outcome}");
    assert_eq!(outcome.stderr.contains(APP), shares, "{outcome}");
    team.assert_untouched().await;
    let outcome = import(&index, &team.to(), &["--keep-going"]).run().await.expect_code(1);
    assert!(outcome.stderr.contains(lost.as_str()), "{outcome}");
    let tags = team.registry.storage().tags();
    assert_eq!(tags.contains_key("mirror/app:1"), !shares);
    assert!(!tags.contains_key("mirror/web:2"));
    assert!(team.registry.storage().incomplete_tags().is_empty());
}

#[tokio::test]
async fn the_first_volume_may_be_missing_if_it_contains_only_the_head() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let folder = tempfile::tempdir().unwrap();
    let set = bundle.write_volumes(folder.path(), "thoras.tar", bundle.head);
    fs::remove_file(folder.path().join(&set.volumes[0].name)).unwrap();
    import(&folder.path().join("thoras.tar.volumes.json"), &team.to(), &[]).run().await.expect_success();
    team.assert_imported();
}

#[tokio::test]
async fn a_damaged_volume_is_never_accepted() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let (folder, _) = sliced(&team);
    let shared = team.app.blobs.keys().find(|digest| team.web.blobs.contains_key(digest)).unwrap();
    let at = bundle.blob(shared).start + 5;
    let volume = folder.path().join(format!("thoras.tar.{:03}", at / SIZE + 1));
    let mut bytes = fs::read(&volume).unwrap();
    bytes[at % SIZE] ^= 4;
    fs::write(&volume, bytes).unwrap();
    let outcome = import(&volume, &team.to(), &[]).run().await.expect_code(6);
    let name = volume.file_name().unwrap().to_str().unwrap();
    let failure = format!(": cannot read blob {shared} in {name} (source)");
    // One line per image, or one for both: a line contains the elapsed time, and equal lines are merged.
    let errors = outcome.stderr.lines().filter_map(|line| line.strip_prefix("error: ")?.split_once(&failure));
    let failed: Vec<&str> = errors.flat_map(|(images, _)| images.split(", ")).collect();
    assert_eq!(failed, ["app:1", "web:2"], "{outcome}");
    team.assert_nothing_imported();
}

#[tokio::test]
async fn a_file_that_is_not_a_volume_of_the_set_is_named() {
    let team = Team::start().await;
    let (folder, _) = sliced(&team);
    let index = folder.path().join("thoras.tar.volumes.json");
    for (name, hint) in
        [("holiday.jpg", "it may be truncated"), ("._thoras.tar.001", "metadata that macOS adds")]
    {
        let stranger = folder.path().join(name);
        fs::write(&stranger, "x").unwrap();
        let outcome = import(&index, &team.to(), &[stranger.to_str().unwrap()]).run().await.expect_code(3);
        assert!(outcome.stderr.contains(&format!("{name} is not a volume")), "{outcome}");
        assert!(outcome.stderr.contains(hint), "{outcome}");
    }
    team.assert_untouched().await;
}

/// The index contained every manifest in base64.
#[tokio::test]
async fn the_index_stays_small_whatever_the_manifests_weigh() {
    let team = Team::start().await;
    let folder = tempfile::tempdir().unwrap();
    // A lock is in the head as well.
    let padding: Vec<Value> =
        (0..1500).map(|number| format!("linux/{}{number}", "x".repeat(200)).into()).collect();
    let images = [(APP, &team.app), (WEB, &team.web)];
    let bundle = BundleBuilder::new(&images).lock(|lock| {
        lock["images"][0]["waived"] = padding.into();
    });
    let bundle = bundle.build();
    assert!(bundle.head > 256 * 1024, "{}", bundle.head);
    let set = bundle.write_volumes(folder.path(), "thoras.tar", bundle.head);
    let index = folder.path().join("thoras.tar.volumes.json");
    assert!(index.metadata().unwrap().len() < 10_000);
    import(&index, &team.to(), &["--naming", "last"]).run().await.expect_success();
    team.assert_imported();
    // Without the first volume nothing is known about the images.
    fs::remove_file(folder.path().join(&set.volumes[0].name)).unwrap();
    let outcome = import(&index, &team.to(), &[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("a volume of the bundle is missing: thoras.tar.001"), "{outcome}");
}
