//! Registries as they are: for each one, images are copied to it and from it by the built program.
//!
//! | module | registry | what is particular |
//! |---|---|---|
//! | [`artifact_registry`] | Google Artifact Registry | no chunks; uploads and downloads at relative paths outside `/v2/`; repositories must exist; immutable tags |
//! | [`ecr`] | Amazon ECR | Basic; 201 and a stale `Range` after chunks; mounts only what a manifest references; repositories must exist; immutable tags; quotas |
//! | [`ghcr`] | GitHub | chunks of at most 4 MiB; a HEAD of a blob leads to a storage that refuses it; no referrers API |
//! | [`acr`] | Azure | resets a PUT of more than 20 MB; identity tokens are posted; locked tags |
//! | [`quay`] | Quay | `Range: bytes=…`; immutable tags |
//! | [`harbor`] | Harbor behind a proxy that limits bodies | cookies that must not come back; projects must exist; immutable tags |
//! | [`artifactory`] | Artifactory | 404 for a PUT with bytes; 403 for a tag that does not exist; tags that may not be overwritten |
//! | [`nexus`] | Nexus | Basic; repositories share blobs, and a blob is not uploaded twice; redeployment disabled |
//! | [`gitlab`] | GitLab | its token server is another host and denies absent projects |
//! | [`docker_hub`] | Docker Hub | three hosts; `library/`; a quota of pulls; immutable tags |
//!
//! A [`profile::Profile`] is a registry's behavior as data, [`simulation`] enforces it: [`access`] for logins, [`uploads`] for
//! sessions. [`flows`] are the copies that every registry has to pass; a registry's module holds its profile, with the
//! issues that it was learned from, and the tests that only it needs. Where no public source says what a registry does, the
//! profile says "assumed". [`quotas`] is about limits on requests.

macro_rules! passes_all_flows {
    ($profile:expr) => {
        #[tokio::test]
        async fn images_with_shared_blobs_arrive_and_a_second_run_is_idle() {
            crate::registries::flows::images_arrive($profile).await;
        }

        #[tokio::test]
        async fn a_moved_tag_is_moved_or_the_error_says_why_not() {
            crate::registries::flows::a_tag_moves($profile).await;
        }

        #[tokio::test]
        async fn an_interrupted_upload_arrives() {
            crate::registries::flows::an_upload_is_interrupted($profile).await;
        }

        #[tokio::test]
        async fn images_are_copied_from_it() {
            crate::registries::flows::images_are_read($profile).await;
        }
    };
}

mod access;
mod acr;
mod artifact_registry;
mod artifactory;
mod docker_hub;
mod ecr;
mod flows;
mod ghcr;
mod gitlab;
mod harbor;
mod nexus;
mod profile;
mod quay;
mod quotas;
mod simulation;
mod uploads;
