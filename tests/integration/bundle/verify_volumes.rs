//! `bundle verify` of volumes: they are found, recognized, and named if missing or damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::importing::*;

/// So small that a layer spans several.
const SIZE: usize = 10_000;

/// The volume that contains a byte.
fn volume_of(offset: usize) -> String {
    format!("b.tar.{:03}", offset / SIZE + 1)
}

/// A bundle of two images in volumes.
struct Volumes {
    team: Team,
    bundle: SampleBundle,
    folder: tempfile::TempDir,
    count: usize,
}

impl Volumes {
    async fn new() -> Self {
        let (team, folder) = (Team::start().await, tempfile::tempdir().unwrap());
        let bundle = team.bundle();
        let count = bundle.write_volumes(folder.path(), "b.tar", SIZE).volumes.len();
        Self { team, bundle, folder, count }
    }

    fn index(&self) -> PathBuf {
        self.folder.path().join("b.tar.volumes.json")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Flips one bit; a second call restores it.
    fn flip(&self, offset: usize) {
        let path = self.path(&volume_of(offset));
        let mut bytes = fs::read(&path).unwrap();
        bytes[offset % SIZE] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// A blob that both images share.
    fn shared(&self) -> std::ops::Range<usize> {
        let shared = self.team.app.blobs.keys().find(|digest| self.team.web.blobs.contains_key(digest));
        self.bundle.blob(shared.unwrap())
    }
}

async fn verify<P: AsRef<Path>>(paths: &[P], code: i32) -> Outcome {
    let paths = paths.iter().map(|path| path.as_ref().to_owned());
    Mirror::new(["bundle", "verify"]).arguments(paths).run().await.expect_code(code)
}

#[tokio::test]
async fn a_complete_set_is_verified_by_any_volume_by_its_index_or_by_all_volumes() {
    let volumes = Volumes::new().await;
    let all: Vec<PathBuf> = (0..volumes.count).rev().map(|at| volumes.path(&volume_of(at * SIZE))).collect();
    for paths in [vec![volumes.index()], vec![all[0].clone()], vec![all[3].clone()], all] {
        let outcome = verify(&paths, 0).await;
        assert!(outcome.stdout.contains("2 images verified"), "{outcome}");
        assert!(outcome.stdout.contains(volumes.bundle.id.as_str()), "{outcome}");
    }
}

#[tokio::test]
async fn renamed_volumes_are_recognized_and_reported_with_both_names() {
    let volumes = Volumes::new().await;
    let shared = volumes.shared();
    let (name, disk) = (volume_of(shared.start + 1), volumes.path("the second disk"));
    fs::rename(volumes.path(&name), &disk).unwrap();
    verify(&[volumes.index(), disk.clone()], 0).await;

    let mut bytes = fs::read(&disk).unwrap();
    // Volumes this small have no content to be recognized by: only the name is left.
    bytes[(shared.start + 1) % SIZE] ^= 1;
    fs::write(&disk, bytes).unwrap();
    let outcome = verify(&[volumes.index(), disk.clone()], 3).await;
    assert!(outcome.stderr.contains("the second disk is not a volume"), "{outcome}");
    assert!(outcome.stderr.contains("hint: omit the file, or copy it again"), "{outcome}");
}

#[tokio::test]
async fn a_missing_or_truncated_volume_is_named_with_the_affected_images() {
    let volumes = Volumes::new().await;
    let name = volume_of(volumes.shared().start + 1);
    let path = volumes.path(&name);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..SIZE - 1]).unwrap();
    let outcome = verify(&[volumes.index()], 6).await;
    let expected = format!("volume {name} (it has 9999 bytes instead of 10000) is missing");
    assert!(outcome.stderr.contains(&expected), "{outcome}");
    fs::remove_file(path).unwrap();
    let run = Mirror::new(["bundle", "verify", "-o", "json"]).arg(volumes.index());
    let outcome = run.run().await.expect_code(6);
    let document = document(&outcome);
    assert_eq!(document["failures"][0]["message"], format!("volume {name} is missing"));
    for (image, called) in document["images"].as_array().unwrap().iter().zip([APP, WEB]) {
        assert_eq!(image["source"], called);
        let reason = image["problems"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(&name), "{outcome}");
    }
}

/// It printed one error for each image and one for the volume, with the hints to copy the bundle again and to name the
/// volume.
#[tokio::test]
async fn a_missing_volume_is_one_message_with_one_hint() {
    let volumes = Volumes::new().await;
    let name = volume_of(volumes.shared().start + 1);
    fs::remove_file(volumes.path(&name)).unwrap();
    let hint = "name every volume, or put the missing volumes in the same folder";
    let to = volumes.team.to();
    let index = volumes.index();
    let import = |more: &[&str]| super::importing::import(&index, &to, more).run();
    for outcome in [
        verify(&[&index], 6).await,
        import(&[]).await.expect_code(3),
        import(&["--keep-going"]).await.expect_code(1),
    ] {
        let starting = |start: &str| outcome.stderr.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!((starting("error: "), starting("hint: ")), (1, 1), "{outcome}");
        assert!(outcome.stderr.contains(&format!("volume {name} is missing")), "{outcome}");
        assert!(outcome.stderr.contains(hint), "{outcome}");
        assert!(!outcome.stderr.contains("copy the bundle again"), "{outcome}");
    }
}

#[tokio::test]
async fn a_flipped_bit_is_reported_with_its_blob_images_and_volume() {
    let volumes = Volumes::new().await;
    let shared = volumes.shared();
    let place = shared.end - 1;
    volumes.flip(place);
    let outcome = verify(&[volumes.index()], 6).await;
    let digest = volumes.bundle.entries.iter().find(|(_, range)| **range == shared).unwrap().0;
    let (_, hex) = digest.rsplit_once('/').unwrap();
    for image in ["app:1", "web:2"] {
        assert!(outcome.stderr.contains(&format!("error: {image}: ")), "{image}: {outcome}");
    }
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains(hex)).collect();
    assert_eq!(lines.len(), 2, "for each image: {outcome}");
    assert!(lines.iter().all(|line| line.contains(&volume_of(place))), "{outcome}");
}

/// The head is read from the volume index, because the first volume may be the wrong one.
#[tokio::test]
async fn a_flipped_bit_outside_the_blobs_is_reported_with_its_volume() {
    let volumes = Volumes::new().await;
    let bundle = &volumes.bundle;
    let padded = bundle.entries.values().find(|place| place.start > bundle.head && place.end % 512 != 0);
    let places = [
        (0, "the archive's head differs"),
        (bundle.head - 1, "the archive's head differs"),
        (bundle.head, "the header of blob sha256:"),
        (padded.unwrap().end, "the padding of blob sha256:"),
        (bundle.bytes.len() - 1, "the end mark is damaged"),
    ];
    for (place, expected) in places {
        volumes.flip(place);
        let outcome = verify(&[volumes.index()], 6).await;
        let line = outcome.stderr.lines().find(|line| line.contains(expected)).unwrap_or_default();
        let named = format!("byte {place} (in {})", volume_of(place));
        assert!(line.contains(&named), "{named}: {outcome}");
        assert!(outcome.stderr.matches("error: ").count() == 1, "{outcome}");
        volumes.flip(place);
    }
    verify(&[volumes.index()], 0).await;
}

#[tokio::test]
async fn a_damaged_index_is_distinguished_from_damaged_volumes() {
    let volumes = Volumes::new().await;
    let text = fs::read_to_string(volumes.index()).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    let head = document["head"].as_str().unwrap();
    let (first, rest) = head.split_at(2000);
    document["head"] =
        format!("{first}{}{}", if rest.starts_with('A') { 'B' } else { 'A' }, &rest[1..]).into();
    fs::write(volumes.index(), document.to_string()).unwrap();
    let outcome = verify(&[volumes.index()], 6).await;
    assert!(outcome.stderr.contains("hint: copy"), "{outcome}");
    fs::write(volumes.index(), &text[..text.len() / 2]).unwrap();
    let outcome = verify(&[volumes.index()], 3).await;
    assert!(outcome.stderr.contains("b.tar.volumes.json cannot be read as the index"), "{outcome}");
}

/// The first volume was reported as truncated, the others as not being bundles.
#[tokio::test]
async fn without_an_index_all_volumes_form_the_bundle_and_one_volume_gives_a_hint() {
    let volumes = Volumes::new().await;
    fs::remove_file(volumes.index()).unwrap();
    for offset in [0, SIZE] {
        let outcome = verify(&[volumes.path(&volume_of(offset))], 3).await;
        assert!(
            outcome.stderr.contains(" is one of several volumes, but its folder has no index"),
            "{outcome}"
        );
        assert!(outcome.stderr.contains("hint: name the index as well"), "{outcome}");
    }
    let all: Vec<PathBuf> = (0..volumes.count).map(|at| volumes.path(&volume_of(at * SIZE))).collect();
    verify(&all, 0).await;
}
