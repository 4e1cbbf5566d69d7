//! Quay.
//!
//! - quay/quay, `endpoints/v2/blob.py`: `Range: bytes=0-N`, also before the first byte (`bytes=0--1`); absolute `Location`s.
//! - quay/quay#899: older versions fail on a mount without `from`.
//! - PROJQUAY-10859: the text about an immutable tag. Its status and code are assumed.

use super::profile::{Blobs, Broken, DISTRIBUTION, Heads, Login, Profile, Progress, detailed};

const PROFILE: Profile = Profile {
    registry: "quay.io",
    host: "quay.io",
    login: Login::Token { realm: "https://quay.io/v2/auth", service: "quay.io", is_posted: false },
    folder: "thoras",
    source: "quay.io/thoras/app",
    source_path: "thoras/app",
    location: |repository, id, _| format!("https://quay.io/v2/{repository}/blobs/uploads/5c2d-{id}"),
    range: |Progress { received, .. }| {
        let last = received.checked_sub(1).map_or("-1".to_owned(), |last| last.to_string());
        Some(format!("bytes=0-{last}"))
    },
    broken: Broken::Kept,
    blobs: Blobs::Redirected {
        status: 302,
        url: |_, digest, signature| {
            format!(
                "https://cdn01.quay.io/quayio-production-s3/sha256/{digest}?Expires=1&Signature={signature}"
            )
        },
        heads: Heads::Answered,
    },
    immutable: Some(|_, tag| {
        let detail = serde_json::json!({ "message": format!("tag {tag}") });
        detailed(409, "TAG_IMMUTABLE", "tag is immutable and cannot be overwritten", &detail)
    }),
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);
