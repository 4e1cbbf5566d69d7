//! Redirects and the `Location` of an upload: credentials are re-evaluated at every step.

use super::{authorizations, basic, config, inspect, registry, run};
use crate::support::{
    images::SampleImage,
    process::Mirror,
    scripted::{Action, Answer, Scripted},
    tls::Authority,
};

const ROOT: &str = "/v2/team/app/manifests/1";

/// A registry that requires a password, and a storage host with the same image that does not.
async fn pair() -> (Scripted, Scripted) {
    let (registry, storage) = (registry().await, registry().await);
    registry.demand("Basic realm=\"scripted\"", &[&basic()]);
    (registry, storage)
}

/// Redirects requests for the root manifest that carry the password.
fn redirect(registry: &Scripted, location: &str) {
    let location = location.to_owned();
    registry.on("GET", ROOT).then(Action::alter(move |answer| {
        if answer.status == 200 { Answer::status(302).header("location", &location) } else { answer }
    }));
}

fn at(registry: &Scripted, path: &str) -> String {
    format!("{}{path}", registry.address().url())
}

#[tokio::test]
async fn a_to_b_to_a_shows_the_password_to_a_only() {
    let (registry, storage) = pair().await;
    redirect(&registry, &at(&storage, ROOT));
    let back = at(&registry, "/elsewhere?X-Signature=s1gned");
    storage.on("GET", ROOT).then(Action::redirect(&back));
    let image = SampleImage::multi_platform("1");
    let manifest = Answer::status(200).header("content-type", &image.root().media_type);
    registry.on("GET", "/elsewhere").answer(manifest.body(image.root().bytes.clone()));
    let _ = run(inspect(&registry), 0).await;
    assert_eq!(authorizations(&storage, ROOT), [None]);
    assert_eq!(authorizations(&registry, "/elsewhere"), [Some(basic())]);
}

#[tokio::test]
async fn a_to_b_to_b_never_shows_b_the_password_or_the_referring_url() {
    let (registry, storage) = pair().await;
    redirect(&registry, &at(&storage, "/first?X-Signature=s1gned"));
    storage.on("GET", "/first").then(Action::redirect(ROOT));
    let _ = run(inspect(&registry), 0).await;
    for path in ["/first", ROOT] {
        assert_eq!(authorizations(&storage, path), [None], "{path}");
    }
    assert!(storage.requests().iter().all(|request| request.header("referer").is_none()));
}

#[tokio::test]
async fn a_location_without_a_scheme_keeps_the_current_scheme() {
    let (registry, storage) = pair().await;
    redirect(&registry, &format!("//{}{ROOT}", storage.address().host_port));
    let _ = run(inspect(&registry), 0).await;
    assert_eq!(authorizations(&storage, ROOT), [None]);
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let (authority, storage) = (Authority::new(), registry().await);
    let registry = Scripted::start_tls(&authority).await;
    registry.with_store(|store| store.insert("team/app", &SampleImage::multi_platform("1")));
    redirect(&registry, &at(&storage, &format!("{ROOT}?X-Signature=s1gned")));
    let inspect = inspect(&registry).arg("--ca-cert").arg(authority.certificate_file());
    let outcome = run(inspect, 1).await;
    assert!(outcome.stderr.contains("it downgrades https to http"), "{outcome}");
    assert!(!outcome.stderr.contains("s1gned"), "{outcome}");
    assert!(storage.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let (registry, _) = pair().await;
    redirect(&registry, ROOT);
    let outcome = run(inspect(&registry), 1).await;
    assert!(outcome.stderr.contains("it redirects more than 5 times"), "{outcome}");
    assert!(!outcome.stderr.contains("tried"), "nothing is gained by going round again: {outcome}");
}

/// The push of the registry's image to `mirror`, with a password for `mirror`.
fn sync(source: &Scripted, mirror: &Scripted) -> Mirror {
    let to = &mirror.address().host_port;
    Mirror::new(["sync", &source.address().image("team/app", "1"), "--to", to])
        .env("DOCKER_AUTH_CONFIG", config(to).to_string())
}

async fn mirror_with_login() -> Scripted {
    let mirror = Scripted::start().await;
    mirror.demand("Basic realm=\"scripted\"", &[&basic()]);
    mirror
}

#[tokio::test]
async fn a_put_never_follows_a_redirect() {
    let (source, elsewhere) = (registry().await, registry().await);
    for path in ["/manifests/", "/blobs/uploads/"] {
        let mirror = mirror_with_login().await;
        mirror.on("PUT", path).then(Action::redirect(&at(&elsewhere, "/x")));
        let outcome = run(sync(&source, &mirror), 1).await;
        assert!(outcome.stderr.contains("it redirects a PUT"), "{path}: {outcome}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_signed_relative_location_is_followed_unchanged() {
    let (source, mirror) = (registry().await, Scripted::start().await);
    source.demand("Basic realm=\"scripted\"", &[&basic()]);
    let query = "X-Signature=s1gned%2Fa+b==&x=%7E";
    for (digest, bytes) in SampleImage::multi_platform("1").blobs {
        let signed = format!("/artifacts/{digest}?{query}");
        source.on("GET", &format!("/blobs/{digest}")).then(Action::redirect(&signed));
        source.on("GET", &format!("/artifacts/{digest}")).answer(Answer::status(200).body(bytes));
    }
    let host = &source.address().host_port;
    let sync = Mirror::new(["sync", "-v", &source.address().image("team/app", "1"), "--to"])
        .arg(&mirror.address().host_port)
        .env("DOCKER_AUTH_CONFIG", config(host).to_string());
    let outcome = run(sync, 0).await;
    let followed: Vec<_> =
        source.requests().into_iter().filter(|request| request.path.starts_with("/artifacts/")).collect();
    assert!(!followed.is_empty());
    assert!(followed.iter().all(|request| request.path.ends_with(&format!("?{query}"))), "{followed:?}");
    assert!(!format!("{outcome}").contains("s1gned"), "{outcome}");
}

#[tokio::test]
async fn an_upload_on_another_host_gets_the_bytes_and_no_password() {
    let (source, mirror, storage) = (registry().await, mirror_with_login().await, Scripted::start().await);
    let session = at(&storage, "/session?X-Signature=s1gned");
    mirror.on("POST", "/blobs/uploads/").then(Action::alter(move |mut answer| {
        if answer.status == 202 {
            answer.headers.insert("location", session.parse().unwrap());
        }
        answer
    }));
    storage.on("PUT", "/session").answer(Answer::status(201));
    let outcome = run(sync(&source, &mirror), 1).await;
    let sent = authorizations(&storage, "/session");
    assert!(!sent.is_empty() && sent.iter().all(Option::is_none), "{sent:?}");
    assert!(!format!("{outcome}").contains("s1gned"), "{outcome}");
    assert_eq!(
        mirror.with_store(|store| store.repository("app").tags.len()),
        0,
        "and no tag on missing blobs"
    );
    assert!(!mirror.take_violations().is_empty(), "the mirror never hears of the blobs");
}
