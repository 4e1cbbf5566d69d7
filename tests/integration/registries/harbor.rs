//! Harbor behind a web server that limits the bodies of requests (nginx's `client_max_body_size`).
//!
//! - openai/tart#295, dotnet/sdk-container-builds#418: Harbor sets cookies, and asks for a CSRF token when they come back.
//! - goharbor/harbor#21684: an interrupted upload is lost (404 `BLOB_UPLOAD_INVALID`).
//! - goharbor/harbor, `src/server/middleware/immutable`: the text about an immutable tag, with 412.
//! - What Harbor answers about a project that does not exist is assumed.

use super::{
    flows::a_missing_repository_is_named,
    profile::{Chunks, DISTRIBUTION, Login, Profile, Repositories, Whole, error, page, stateful},
};

const MAX_BODY_SIZE: u64 = 3 * 1024 * 1024;

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
    whole: Whole::RefusedAbove(MAX_BODY_SIZE, || page(413, "413 Request Entity Too Large")),
    chunks: Chunks::UpTo(202, MAX_BODY_SIZE, || page(413, "413 Request Entity Too Large")),
    immutable: Some(|repository, tag| {
        let message =
            format!("Failed to process request due to '{repository}:{tag}' configured as immutable.");
        error(412, "PRECONDITION", &message)
    }),
    repositories: Repositories::MustExist(1, |name| {
        let project = name.split('/').next().unwrap_or_default();
        error(404, "NOT_FOUND", &format!("project {project} not found"))
    }),
    headers: &[
        ("docker-distribution-api-version", "registry/2.0"),
        ("set-cookie", "sid=0a1b2c; Path=/; HttpOnly"),
        ("set-cookie", "_gorilla_csrf=MTY; Path=/; HttpOnly; Secure"),
    ],
    ..DISTRIBUTION
};

passes_all_flows!(&PROFILE);

#[tokio::test]
async fn a_project_that_does_not_exist_is_named() {
    let says = ["project mirror not found", "create harbor.example.com/mirror/app first"];
    a_missing_repository_is_named(&PROFILE, &says).await;
}
