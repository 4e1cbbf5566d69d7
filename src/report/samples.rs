//! Outcomes that the tests of this module share.

use crate::{
    error::{Failure, Kind},
    graph::PlatformManifest,
    oci::{ArtifactKind, Digest, Reference, media_type::OCI_INDEX},
    outcome::{Bytes, ImageOutcome, Status},
    problem::Problem,
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
        waived: Vec::new(),
        moved_from: None,
        bytes: Bytes::default(),
        milliseconds: 840,
        problems: Vec::new(),
        failure: None,
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
        hint: Some("is the license valid? `thoras-mirror doctor` tells".to_owned()),
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
