//! Outcomes and documents that the tests of this module share.

use super::DoctorDocument;
use crate::{
    enumerate::{Confidence, Enumeration, Image, ImageUse},
    error::{Failure, Kind},
    graph::{AttachedCounts, PlatformManifest},
    jobs::{
        doctor::{CheckResult, DoctorCheck},
        running::{ClusterComparison, LockMatch, Origin, RunningImage},
        values::{ImageState, InstalledImage, ValuesOutcome},
    },
    oci::{
        ArtifactKind, ChartIdentity, Digest, Naming, Reference,
        mapping::Namer,
        media_type::{OCI_INDEX, OCI_MANIFEST},
    },
    outcome::{
        Bytes, ImageOutcome, MergeOutcome, ShardOutcome, Status,
        inspection::{
            Attestation, BundleContents, BundledImage, DeltaBase, InspectedImage, InspectedPlatform,
        },
    },
    problem::Problem,
    shard::{Repeated, ShardNumber},
    vendor,
};

const VENDOR: &str = "us-east4-docker.pkg.dev/thoras-registry/platform";
const MEBIBYTE: u64 = 1024 * 1024;

pub(super) fn source(name: &str) -> Reference {
    format!("{VENDOR}/{name}").parse().unwrap()
}

pub(super) fn digest(seed: &str) -> Digest {
    Digest::sha256(seed.as_bytes())
}

fn outcome(name: &str, status: Status) -> ImageOutcome {
    let platform = |platform: &str| PlatformManifest {
        platform: platform.parse().unwrap(),
        digest: digest(&format!("{name} {platform}")),
    };
    ImageOutcome {
        source: source(name),
        destination: format!("registry.example.com/thoras/{name}"),
        status,
        digest: Some(digest(name)),
        media_type: Some(OCI_INDEX.into()),
        kind: ArtifactKind::Image,
        platforms: vec![platform("linux/amd64"), platform("linux/arm64")],
        attestations: 2,
        attached: AttachedCounts::default(),
        attached_new: AttachedCounts::default(),
        signature: None,
        kept_tags: Vec::new(),
        blobs: Vec::new(),
        requests: None,
        waived: Vec::new(),
        moved_from: None,
        bytes: Bytes::default(),
        milliseconds: 840,
        problems: Vec::new(),
        failure: None,
        optional: false,
        skipped_because: None,
    }
}

pub(super) fn copied() -> ImageOutcome {
    let bytes = Bytes { copied: 146 * MEBIBYTE, mounted: 30 * MEBIBYTE, present: 0 };
    ImageOutcome {
        bytes,
        milliseconds: 12_400,
        moved_from: Some(digest("before")),
        ..outcome("services:4.53.0", Status::Copied)
    }
}

pub(super) fn up_to_date() -> ImageOutcome {
    let bytes = Bytes { copied: 0, mounted: 0, present: 61 * MEBIBYTE };
    let waived = vec!["linux/arm64".parse().unwrap()];
    let mut outcome = outcome("nginx:1.29.4-alpine3.23-slim", Status::UpToDate);
    outcome.platforms.truncate(1);
    ImageOutcome { waived, bytes, ..outcome }
}

pub(super) fn planned() -> ImageOutcome {
    let bytes = Bytes { copied: 1300 * MEBIBYTE, mounted: 3 * MEBIBYTE, present: 512 };
    ImageOutcome { bytes, ..outcome("thoras-forecast:4.53.0", Status::Planned) }
}

pub(super) fn verified() -> ImageOutcome {
    outcome("thoras-dashboard-v2:4.53.0", Status::Verified)
}

pub(super) fn failed() -> ImageOutcome {
    let failure = Failure {
        kind: Kind::Authentication,
        message: "source: cannot read the manifest of timescaledb:2.21.3-pg16".to_owned(),
        causes: vec!["the registry answered 403 Forbidden: DENIED: no rights".to_owned()],
        hint: Some("check the license with `thoras-mirror doctor`".to_owned()),
        reason: None,
        cause_key: None,
    };
    ImageOutcome {
        digest: None,
        media_type: None,
        platforms: Vec::new(),
        attestations: 0,
        failure: Some(failure),
        ..outcome("timescaledb:2.21.3-pg16", Status::Failed)
    }
}

pub(super) fn different() -> ImageOutcome {
    let problems = vec![
        Problem::CorruptBlob { digest: digest("c"), reason: "its bytes hash to \u{1b}[31mothers".to_owned() },
        Problem::MissingPlatform {
            platform: "linux/arm64".parse().unwrap(),
            available: vec!["linux/amd64".parse().unwrap()],
        },
        Problem::MissingBlob { digest: digest("m"), size: 1234 },
        Problem::OtherDigest { expected: digest("e"), found: digest("f") },
    ];
    ImageOutcome { problems, ..outcome("services:4.53.0", Status::Different) }
}

pub(super) fn chart() -> ChartIdentity {
    ChartIdentity { name: "thoras".to_owned(), version: "4.53.0".to_owned(), digest: Some(digest("chart")) }
}

pub(super) fn enumeration() -> Enumeration {
    let used = |kind: &str, path: &str, confidence| ImageUse {
        kind: kind.to_owned(),
        namespace: None,
        name: "api".to_owned(),
        path: path.to_owned(),
        template: Some("thoras/templates/api.yaml".to_owned()),
        confidence,
        embedded: false,
        test_hook: false,
    };
    let image = |reference: &str, uses| Image {
        reference: reference.parse().unwrap(),
        written: reference.to_owned(),
        uses,
        optional: false,
        test_only: false,
        added: false,
    };
    Enumeration {
        images: vec![
            image(
                "quay.io/a/forecast:1",
                vec![
                    used("Deployment", "spec.template.spec.containers[0].image", Confidence::PodSpec),
                    used("Deployment", "spec.template.spec.containers[0].env[2].value", Confidence::Named),
                ],
            ),
            image("quay.io/a/listed:1", Vec::new()),
        ],
        chart: None,
        package: None,
        source_prefix: Some("quay.io/a".to_owned()),
        notes: Vec::new(),
        idle_filters: Vec::new(),
    }
}

fn platform(name: &str, layers: usize) -> InspectedPlatform {
    InspectedPlatform {
        platform: name.parse().unwrap(),
        digest: digest(name),
        media_type: OCI_MANIFEST.into(),
        manifest_size: 1234,
        config_digest: digest("config"),
        layers,
        total_size: 64_000_000,
    }
}

pub(super) fn inspected() -> InspectedImage {
    InspectedImage {
        reference: source("services:4.53.0"),
        digest: digest("index"),
        media_type: OCI_INDEX.into(),
        manifest_size: 1609,
        total_size: 128_000_000,
        platforms: vec![platform("linux/amd64", 8), platform("linux/arm64", 11)],
        attestations: vec![
            Attestation { digest: digest("provenance"), about: Some(digest("linux/amd64")) },
            Attestation { digest: digest("orphan"), about: None },
        ],
        counts: AttachedCounts::default(),
        attached: Vec::new(),
    }
}

pub(super) fn bundle() -> BundleContents {
    let named = BundledImage {
        reference: Some(source("services:4.53.0")),
        label: None,
        destination: Some("services:4.53.0".to_owned()),
        digest: digest("index"),
        media_type: OCI_INDEX.into(),
        total_size: 128_000_000,
        platforms: vec![platform("linux/amd64", 8), platform("linux/arm64", 8)],
        attestations: 2,
        attached: AttachedCounts::default(),
    };
    let labeled = BundledImage {
        reference: None,
        label: Some("latest\u{1b}[2J".to_owned()),
        destination: None,
        platforms: Vec::new(),
        ..named.clone()
    };
    let failures = vec![Failure::new(Kind::Integrity, "a manifest is damaged")];
    BundleContents {
        trust: Vec::new(),
        id: digest("bundle"),
        path: "thoras.tar".to_owned(),
        size: 128_001_024,
        volumes: Vec::new(),
        missing_volumes: Vec::new(),
        volumes_beside: vec!["thoras.tar.001".to_owned(), "thoras.tar.volumes.json".to_owned()],
        chart: Some(chart()),
        base: Some(DeltaBase { id: digest("base"), absent_blobs: 3, absent_bytes: 2_000_000 }),
        images: vec![named, labeled],
        left_out: vec![source("forecast:4.53.0")],
        skipped: Vec::new(),
        failures,
    }
}

pub(super) fn doctor() -> DoctorDocument {
    let namer = Namer::new(
        "reg.example.com/mirror".parse().unwrap(),
        Naming::Relative,
        Some(vendor::IMAGE_PREFIX.to_owned()),
    );
    let mappings = namer.map_all(&[source("services:4.53.0")]).unwrap();
    let refused = Failure::new(Kind::Authentication, "cannot push")
        .with_hint("check that this credential is still valid");
    let findings = vec![
        CheckResult::ok(DoctorCheck::Helm, "helm is v3.10.1"),
        CheckResult::warning(DoctorCheck::Clock, "this machine's clock is 600 s behind", "set the clock"),
        CheckResult::untested(DoctorCheck::Indexes, "shows when the first is pushed"),
        CheckResult::failed(DoctorCheck::Push, refused),
    ];
    DoctorDocument::new("reg.example.com/mirror".to_owned(), findings, &mappings)
}

/// The result of `values`.
pub(super) fn values() -> ValuesOutcome {
    let root = "registry.example.com/thoras".parse().unwrap();
    let mut outcome = ValuesOutcome::new(chart(), Some(&root));
    outcome.values = serde_json::json!({"imageCredentials": {"registry": "registry.example.com/thoras"}})
        .as_object()
        .unwrap()
        .clone();
    outcome.comments.insert("imageCredentials.registry".to_owned(), vec!["replaces the chart's".to_owned()]);
    outcome.images.push(InstalledImage {
        reference: "registry.example.com/thoras/services:4.53.0".parse().unwrap(),
        state: ImageState::Confirmed,
        location: "Deployment api at spec.template.spec.containers[0].image".to_owned(),
    });
    outcome.failures.push(Failure::new(Kind::Difference, "quay.io/a/b:1 is still pulled from outside"));
    outcome
}

/// A cluster with an image of each kind.
pub(super) fn running() -> ClusterComparison {
    let image = |image: &str, origin, content, pods: &[&str]| {
        let is_locked = content != LockMatch::NotLocked;
        RunningImage {
            image: image.to_owned(),
            digest: Some(digest(image)),
            origin,
            content,
            source: is_locked.then(|| source("services:4.53.0")),
            locked_digest: is_locked.then(|| digest("services:4.53.0")),
            uses: pods
                .iter()
                .map(|pod| ImageUse {
                    kind: "Pod".to_owned(),
                    namespace: Some("thoras".to_owned()),
                    name: (*pod).to_owned(),
                    path: "spec.containers[main]".to_owned(),
                    template: None,
                    confidence: Confidence::PodSpec,
                    embedded: false,
                    test_hook: false,
                })
                .collect(),
        }
    };
    ClusterComparison {
        images: vec![
            image(
                "registry.example.com/thoras/services:4.53.0",
                Origin::Mirror,
                LockMatch::Same,
                &["a", "b"],
            ),
            image(
                "registry.example.com/thoras/forecast:4.53.0",
                Origin::Mirror,
                LockMatch::Different,
                &["c"],
            ),
            image("quay.io/operator/agent:1", Origin::Outside, LockMatch::NotLocked, &["d"]),
            image("docker.io/library/nginx:1", Origin::Unknown, LockMatch::Unknown, &["e"]),
        ],
    }
}

/// Four shards, of which one could not confirm an image.
pub(super) fn merged() -> MergeOutcome {
    MergeOutcome {
        from: "registry.example.com/thoras".to_owned(),
        lock: "thoras-mirror.lock".to_owned(),
        list: Digest::sha256(b"list"),
        shards: 4,
        images: 100,
        confirmed: 99,
        repeated: Repeated { transfers: 3, bytes: 3 * 1024 * 1024 },
        failures: vec![Failure::new(Kind::Image, "an image is not confirmed")],
    }
}

/// The second of four shards.
pub(super) fn shard() -> ShardOutcome {
    ShardOutcome {
        number: ShardNumber { index: 1, count: 4 },
        list: Digest::sha256(b"list"),
        listed: 100,
        repeated: Some(Repeated { transfers: 1, bytes: 1024 }),
        split: vec!["registry.example.com/thoras/large".to_owned()],
        lock: "registry.example.com/thoras/thoras-mirror/locks:x-1-of-4".parse().ok(),
    }
}
