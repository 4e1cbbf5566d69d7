//! Harbor behind a web server that limits the bodies of requests (nginx's `client_max_body_size`).
//!
//! - openai/tart#295, dotnet/sdk-container-builds#418: Harbor sets cookies, and asks for a CSRF token when they come back.
//! - goharbor/harbor#21684: an interrupted upload is lost (404 `BLOB_UPLOAD_INVALID`).
//! - goharbor/harbor, `src/server/middleware/immutable`: the text about an immutable tag, with 412.
//! - What Harbor answers about a project that does not exist is assumed.

use super::{
    flows::{World, ends},
    profile::{
        Blobs, Broken, Chunks, Login, Mounts, Profile, Repositories, Whole, error, invalid_upload, page,
        stateful, usual_range,
    },
};
use crate::support::images::SampleImage;

const LARGEST_BODY: u64 = 3 * 1024 * 1024;

const PROFILE: Profile = Profile {
    registry: "harbor.example.com",
    host: "harbor.example.com",
    login: Login::Token {
        realm: "https://harbor.example.com/service/token",
        service: "harbor-registry",
        is_posted: false,
    },
    folder: "mirror",
    source: "harbor.example.com/platform/app",
    source_path: "platform/app",
    location: |repository, id, received| stateful("https://harbor.example.com", repository, id, received),
    range: usual_range,
    whole: Whole::RefusedAbove(LARGEST_BODY, || page(413, "413 Request Entity Too Large")),
    chunks: Chunks::UpTo(202, LARGEST_BODY, || page(413, "413 Request Entity Too Large")),
    broken: Broken::Lost(invalid_upload),
    mounts: Mounts::All,
    blobs: Blobs::Direct,
    large_layer: 6 * 1024 * 1024,
    immutable: Some(|repository, tag| {
        let message =
            format!("Failed to process request due to '{repository}:{tag}' configured as immutable.");
        error(412, "PRECONDITION", &message)
    }),
    repositories: Repositories::MustExist(1, |name| {
        let project = name.split('/').next().unwrap_or_default();
        error(404, "NOT_FOUND", &format!("project {project} not found"))
    }),
    existing_blob: None,
    has_referrers: true,
    hides_tags: false,
    headers: &[
        ("docker-distribution-api-version", "registry/2.0"),
        ("set-cookie", "sid=0a1b2c; Path=/; HttpOnly"),
        ("set-cookie", "_gorilla_csrf=MTY; Path=/; HttpOnly; Secure"),
    ],
};

passes_all_flows!(&PROFILE);

#[tokio::test]
async fn a_project_that_does_not_exist_is_named() {
    let world = World::start(&PROFILE).await;
    let reference = world.offer("app", &SampleImage::multi_platform("1"));
    let outcome = ends(world.sync(&[reference]), 1).await;
    assert!(outcome.stderr.contains("project mirror not found"), "{outcome}");
    assert!(outcome.stderr.contains("create harbor.example.com/mirror/app first"), "{outcome}");
}
