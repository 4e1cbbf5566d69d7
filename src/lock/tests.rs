//! The format, refused locks, the previous format.

mod joining;

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{
    error::{LockError, NotALock},
    *,
};
use crate::{
    committed_schema,
    error::Kind,
    graph::{AttachedManifest, ForeignLayers, PlatformManifest},
    oci::{ArtifactKind, Digest, Naming, Platform, Reference},
};

const LOCK_SCHEMA: &str = "lock/schema.v2.json";
const PROD: &str = "prod.example.com/a";
const STAGE: &str = "stage.example.com/b";

pub(super) fn placement(to: &str) -> Placement {
    Placement {
        to: Some(to.to_owned()),
        naming: Naming::Last,
        source_prefix: None,
        chart: None,
        in_full: BTreeSet::new(),
    }
}

pub(super) fn empty() -> Lock {
    let platforms = ["linux/arm64", "linux/amd64"].map(|platform| platform.parse().unwrap());
    Lock::new(None, placement(PROD), &platforms, ForeignLayers::Optional, &[])
}

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn image(name: &str, to: &str, content: &str) -> LockedImage {
    let reference = format!("{to}/{name}:1").parse().unwrap();
    LockedImage {
        source: source(name),
        digest: Some(digest(content)),
        media_type: Some("application/vnd.oci.image.index.v1+json".into()),
        kind: ArtifactKind::Image,
        optional: false,
        platforms: vec![PlatformManifest { platform: amd64(), digest: digest("amd64") }],
        waived: Vec::new(),
        blobs: vec![digest("config"), digest(content)],
        attached: Vec::new(),
        destinations: vec![LockedCopy { to: Some(to.to_owned()), reference, confirmed: true }],
    }
}

fn source(name: &str) -> Reference {
    format!("source.example.com/team/{name}:1").parse().unwrap()
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// A run of these images to one destination.
fn run(to: &str, images: Vec<LockedImage>) -> Lock {
    let blobs = images.iter().flat_map(|image| image.blobs.iter().map(|blob| (blob.clone(), 7))).collect();
    Lock { destinations: vec![placement(to)], images, blobs, ..empty() }
}

fn parsed(document: &Value) -> Result<Lock, String> {
    Lock::from_slice(document.to_string().as_bytes())
}

#[test]
fn the_committed_schema_is_current_and_locks_follow_it() {
    committed_schema::assert_current(LOCK_SCHEMA, &schemars::schema_for!(Lock));
    let mut full = run(PROD, vec![image("app", PROD, "app")]);
    full.shard = Some(Shard { index: 1, count: 2, list: digest("list") });
    full.foreign_layers = true;
    let attached = AttachedManifest {
        digest: digest("signature"),
        artifact_type: "application/vnd.dev.sigstore.bundle.v0.3+json".to_owned(),
        subject: digest("app"),
        size: 9,
        tag: None,
    };
    let tag = Some(crate::oci::attachment::cosign_tags(&digest("app"))[0].clone());
    full.images[0].attached.push(AttachedManifest { digest: digest("older"), tag, ..attached.clone() });
    full.images[0].attached.push(attached);
    full.images[0].optional = true;
    full.images[0].waived.push("linux/arm64".parse().unwrap());
    for lock in [empty(), full] {
        let document: Value = serde_json::from_slice(&lock.to_bytes()).unwrap();
        committed_schema::assert_valid(LOCK_SCHEMA, &document);
        assert_eq!(Lock::from_slice(&lock.to_bytes()), Ok(lock));
    }
    let mut other = serde_json::to_value(empty()).unwrap();
    other["unknown"] = json!(1);
    assert!(!committed_schema::validator(LOCK_SCHEMA).is_valid(&other));
}

#[test]
fn what_a_lock_does_not_need_is_not_in_it() {
    let text = String::from_utf8(run(PROD, vec![image("app", PROD, "app")]).to_bytes()).unwrap();
    for absent in ["foreignLayers", "optional", "attached", "waived", "shard", "base", "chart", "kind"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    let with = Lock { foreign_layers: true, ..empty() };
    assert_eq!(Lock::from_slice(&with.to_bytes()), Ok(with));
}

#[test]
fn equal_digests_share_their_memory() {
    let lock = run(PROD, vec![image("app", PROD, "app"), image("web", PROD, "web")]);
    let lock = Lock::from_slice(&lock.to_bytes()).unwrap();
    let config = |at: usize| {
        let found = lock.images[at].blobs.iter().find(|blob| **blob == digest("config"));
        found.unwrap().as_str().as_ptr()
    };
    assert_eq!(config(0), config(1));
}

#[test]
fn unknown_fields_and_later_versions_are_refused_by_name() {
    let whole = serde_json::to_value(run(PROD, vec![image("app", PROD, "app")])).unwrap();
    for pointer in ["", "/destinations/0", "/images/0", "/images/0/destinations/0"] {
        let mut changed = whole.clone();
        changed.pointer_mut(pointer).unwrap()["surprise"] = json!(true);
        let error = parsed(&changed).unwrap_err();
        assert!(error.contains("the field `surprise` is not known"), "{pointer}: {error}");
    }
    let mut later = whole;
    later["schema"] = json!("thoras-mirror/lock/v3");
    let error = parsed(&later).unwrap_err();
    assert!(error.contains("`thoras-mirror/lock/v3`") && error.contains(SCHEMA), "{error}");
}

#[test]
fn a_lock_that_contradicts_itself_is_refused() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 8] = [
        ("`destinations` is empty", |lock| lock["destinations"] = json!([])),
        ("prod.example.com/a is listed twice", |lock| {
            let twice = json!([lock["destinations"][0], lock["destinations"][0]]);
            lock["destinations"] = twice;
        }),
        ("team/app:1 is listed twice", |lock| {
            let twice = json!([lock["images"][0], lock["images"][0]]);
            lock["images"] = twice;
        }),
        ("team/app:1 has no destination", |lock| lock["images"][0]["destinations"] = json!([])),
        ("has a copy at other.example.com/a, which", |lock| {
            lock["images"][0]["destinations"][0]["to"] = json!("other.example.com/a");
        }),
        ("has a copy at an unnamed destination, which", |lock| {
            drop(lock["images"][0]["destinations"][0].as_object_mut().unwrap().remove("to"));
        }),
        ("is not in `blobs`", |lock| lock["blobs"] = json!({})),
        ("shard 2 of 2 does not exist", |lock| {
            lock["shard"] = json!({ "index": 2, "count": 2, "list": Digest::sha256(b"") });
        }),
    ];
    for (expected, change) in changes {
        let mut lock = serde_json::to_value(run(PROD, vec![image("app", PROD, "app")])).unwrap();
        assert!(parsed(&lock).is_ok());
        change(&mut lock);
        let error = parsed(&lock).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// A lock that the previous version of this program wrote.
fn previous(file: &str) -> Lock {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/lock-v1/");
    Lock::read(&std::path::Path::new(folder).join(file)).unwrap()
}

#[test]
fn a_lock_of_version_1_means_the_same_in_version_2() {
    let lock = previous("sync.lock");
    let to = Some("127.0.0.1:5062/mirror".to_owned());
    let chart = "localhost/charts/shop:1.2.3_build.5".parse().unwrap();
    let expected = Placement {
        to: to.clone(),
        naming: Naming::Relative,
        source_prefix: Some("127.0.0.1:5061/team".to_owned()),
        chart: Some(chart),
        in_full: BTreeSet::new(),
    };
    assert_eq!(lock.destinations, [expected]);
    assert_eq!(lock.chart.as_ref().unwrap().name, "shop");
    let copies: Vec<(String, bool)> = lock
        .images
        .iter()
        .map(|image| {
            let [copy] = image.destinations.as_slice() else { panic!("{image:?}") };
            assert_eq!(copy.to, to);
            (copy.reference.to_string(), copy.confirmed)
        })
        .collect();
    let wanted = [
        ("127.0.0.1:5062/mirror/app:1", true),
        ("127.0.0.1:5062/mirror/gone:3", false),
        ("127.0.0.1:5062/mirror/tools/agent:2", true),
        ("127.0.0.1:5062/mirror/charts/shop:1.2.3_build.5", true),
    ];
    assert_eq!(copies, wanted.map(|(name, confirmed)| (name.to_owned(), confirmed)));
    let [app, gone, agent, shop] = lock.images.as_slice() else { panic!("{lock:?}") };
    assert_eq!((app.platforms.len(), app.blobs.len(), lock.blobs.len()), (2, 5, 8));
    assert_eq!((&gone.digest, gone.is_confirmed()), (&None, false));
    assert_eq!(agent.waived, ["linux/arm64".parse().unwrap()]);
    assert_eq!((shop.kind, shop.optional), (ArtifactKind::Chart, false));
    assert_eq!(Lock::from_slice(&lock.to_bytes()), Ok(lock), "and it reads back as version 2");
}

#[test]
fn an_image_is_confirmed_at_any_destination_and_skipped_only_if_it_is_optional() {
    let both = run(PROD, vec![image("app", PROD, "app")])
        .with_destination(run(STAGE, vec![image("app", STAGE, "app")]))
        .unwrap();
    let copies: Vec<_> = both.copies().map(|(image, copy)| (&image.source, copy.to.as_deref())).collect();
    assert_eq!(copies, [(&source("app"), Some(PROD)), (&source("app"), Some(STAGE))]);
    for (confirmed, optional, expected) in [
        ([true, false], true, (true, false)),
        ([false, true], false, (true, false)),
        ([false, false], true, (false, true)),
        ([false, false], false, (false, false)),
    ] {
        let mut image = both.images[0].clone();
        image.optional = optional;
        for (copy, confirmed) in image.destinations.iter_mut().zip(confirmed) {
            copy.confirmed = confirmed;
        }
        assert_eq!((image.is_confirmed(), image.is_skipped()), expected);
    }
}

#[test]
fn a_new_destination_is_named_as_the_first_one() {
    let mut lock = run(PROD, Vec::new());
    lock.destinations.push(Placement { naming: Naming::Full, ..placement(STAGE) });
    assert_eq!(lock.placement_for(STAGE).unwrap().naming, Naming::Full);
    assert_eq!(lock.placement_for("new.example.com").unwrap().naming, Naming::Last);
}

#[test]
fn says_what_is_wrong_with_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lock");
    assert!(matches!(Lock::read(&path), Err(LockError::Absent(_))));
    let read = |content: &str| {
        fs::write(&path, content).unwrap();
        Lock::read(&path).unwrap_err()
    };
    let not_a_lock = |error: LockError| match error {
        LockError::NotALock(_, reason) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(not_a_lock(read("{\n  nope")), "not JSON (line 2, column 3)");
    assert_eq!(not_a_lock(read("[1, 2]")), "the field `schema` is missing");
    assert_eq!(not_a_lock(read("{}")), "the field `schema` is missing");
    let other = r#"{"schema":"thoras-mirror/run/v1"}"#;
    assert_eq!(not_a_lock(read(other)), "its schema is `thoras-mirror/run/v1`");
    assert!(matches!(read(r#"{"schema":"thoras-mirror/lock/v2"}"#), LockError::Malformed(..)));
    assert!(matches!(read(r#"{"schema":"thoras-mirror/lock/v1"}"#), LockError::Malformed(..)));
    assert!(matches!(read(r#"{"schema":"thoras-mirror/lock/v9"}"#), LockError::Version { .. }));
}

#[test]
fn a_wrong_file_is_a_wrong_argument_and_a_damaged_lock_is_unreadable_input() {
    let path = || std::path::PathBuf::from("a.lock");
    let usage = [
        LockError::Absent(path()),
        LockError::Unwritable(path(), std::io::Error::other("full")),
        LockError::WouldOverwrite(path(), NotALock::OtherSchema("x".to_owned())),
    ];
    for error in usage {
        assert_eq!(error.failure().kind, Kind::Usage, "{error:?}");
    }
    assert_eq!(LockError::NoImages(path()).failure().kind, Kind::Input);
}

#[test]
fn the_seeds_of_the_fuzz_target_are_whole_locks() {
    let seeds: [&[u8]; 2] = [
        include_bytes!("../../fuzz/seeds/lock/one-image"),
        include_bytes!("../../fuzz/seeds/lock/two-destinations"),
    ];
    for seed in seeds {
        let lock = Lock::from_slice(seed).unwrap();
        committed_schema::assert_valid(LOCK_SCHEMA, &serde_json::from_slice(&lock.to_bytes()).unwrap());
    }
}
