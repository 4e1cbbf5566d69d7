//! Tokens: how few are requested, partial grants, and early expiry.

use serde_json::{Value, json};

use super::{
    LOGIN, TOKEN, authorizations, basic, bearer, challenge, inspect, inspect_with, registry, run, token,
    token_registry,
};
use crate::support::{
    images::SampleImage,
    process::Mirror,
    registry::{Options, Registry},
    scripted::{Action, Answer, Scripted},
    token_server::TokenServer,
};

#[tokio::test]
async fn an_access_token_with_an_expiry_of_zero_is_requested_once() {
    let registry = token_registry().await;
    let body = json!({ "access_token": TOKEN, "expires_in": 0 });
    registry.on("GET", "/token").answer(Answer::json(200, &body));
    let _ = run(inspect(&registry), 0).await;
    assert_eq!(registry.count("GET", "/token"), 1);
    assert!(registry.count("GET", "/v2/team/app/") > 2, "several requests shared it");
}

#[tokio::test]
async fn fifty_images_of_one_repository_request_one_token() {
    let (source, mirror) = (token_registry().await, Registry::start().await);
    let names: Vec<String> = (0..50).map(|number| format!("v{number}")).collect();
    source.with_store(|store| {
        for name in &names {
            store.insert("team/app", &SampleImage::single_platform(name, "amd64"));
        }
    });
    let mut sync = Mirror::new(["sync", "--platform", "linux/amd64", "--to", &mirror.address().host_port])
        .env("DOCKER_AUTH_CONFIG", super::config(&source.address().host_port).to_string());
    for name in &names {
        sync = sync.arg(source.address().image("team/app", name));
    }
    let _ = run(sync, 0).await;
    assert_eq!(source.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_partial_grant_fails_and_names_the_repository_and_the_action() {
    let (source, tokens) = (registry().await, TokenServer::start(None).await);
    tokens.allow(LOGIN.0, LOGIN.1, "*", &["pull"]);
    let mirror = Registry::start_with(Options::default().tokens(&tokens)).await;
    let to = format!("{}/mirror", mirror.address().host_port);
    let sync = Mirror::new([
        "sync",
        &source.address().image("team/app", "1"),
        "--to",
        &to,
        "--to-username",
        LOGIN.0,
    ])
    .env("THORAS_MIRROR_TO_PASSWORD", LOGIN.1);
    let outcome = run(sync, 4).await;
    assert!(
        outcome.stderr.contains(&format!("denied push access to {to}/app with --to-username")),
        "{outcome}"
    );
    assert_eq!(mirror.count("PUT", "").await, 0);
}

#[tokio::test]
async fn an_anonymous_token_is_requested_only_if_no_credential_matches() {
    let registry = token_registry().await;
    let _ = run(inspect_with(&registry, &super::config("elsewhere.test")), 0).await;
    assert_eq!(authorizations(&registry, "/token"), [None]);
}

#[tokio::test]
async fn a_refused_credential_is_never_followed_by_an_anonymous_attempt() {
    let registry = token_registry().await;
    registry.on("GET", "/token").answer(Answer::error(401, "UNAUTHORIZED"));
    let outcome = run(inspect(&registry), 4).await;
    assert!(outcome.stderr.contains("denied pull access to"), "{outcome}");
    assert!(outcome.stderr.contains("with DOCKER_AUTH_CONFIG, key `127.0.0.1:"), "{outcome}");
    assert!(authorizations(&registry, "/token").iter().all(|sent| *sent == Some(basic())));
}

#[tokio::test]
async fn a_refused_mount_token_falls_back_to_an_upload() {
    let (source, mirror) = (registry().await, token_registry().await);
    source.with_store(|store| store.insert("team/two", &SampleImage::multi_platform("1")));
    // Two repositories in one token.
    mirror.on("GET", "push&scope=").answer(Answer::error(403, "DENIED"));
    let to = &mirror.address().host_port;
    let [one, two] = ["team/app", "team/two"].map(|name| source.address().image(name, "1"));
    let sync = Mirror::new(["sync", &one, &two, "--to", to])
        .env("DOCKER_AUTH_CONFIG", super::config(to).to_string());
    let _ = run(sync, 0).await;
    assert!(mirror.count("GET", "push&scope=") > 0, "a mount was tried");
}

#[tokio::test]
async fn a_token_that_expires_between_post_and_put_is_replaced_and_the_blob_restarted() {
    let (source, mirror) = (registry().await, token_registry().await);
    let refusal = Answer::error(401, "UNAUTHORIZED").header("www-authenticate", &challenge(&mirror));
    mirror.on("PUT", "/blobs/uploads/").first(1).answer(refusal);
    let to = &mirror.address().host_port;
    let sync = Mirror::new(["sync", &source.address().image("team/app", "1"), "--to", to])
        .env("DOCKER_AUTH_CONFIG", super::config(to).to_string());
    let _ = run(sync, 0).await;
    let blobs = SampleImage::multi_platform("1").blobs.len();
    assert_eq!(mirror.count("PUT", "/blobs/uploads/"), blobs + 1, "one blob went twice, the others once");
    assert_eq!(source.count("GET", "/blobs/sha256:"), blobs + 1);
}

/// The registry checks the token again after a large blob has streamed, as some front ends do. (One that answers before
/// reading everything resets the connection, and no client sees that 401.)
#[tokio::test]
async fn a_token_refused_during_a_put_costs_one_token_and_one_restart_of_that_blob() {
    const LARGE: usize = 8 * 1024 * 1024;
    let (source, mirror, tokens) =
        tokio::join!(Scripted::start(), Scripted::start(), TokenServer::start(None));
    tokens.allow(LOGIN.0, LOGIN.1, "*", &["pull", "push"]);
    let image = SampleImage::with_large_layer("1", LARGE);
    source.with_store(|store| store.insert("team/app", &image));
    let (large, _) = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let challenge = format!("Bearer realm=\"{}\",service=\"test registry\"", tokens.realm());
    let refusal = Answer::error(401, "UNAUTHORIZED").header("www-authenticate", &challenge);
    mirror.on("POST", "/blobs/uploads/").first(1).answer(refusal.clone());
    let put = format!("digest={large}");
    mirror.on("PUT", &put).nth(1).answer(refusal);
    let to = &mirror.address().host_port;
    let from = source.address().image("team/app", "1");
    let sync = Mirror::new(["sync", &from, "--to", to, "--platform", "linux/amd64", "--jobs", "1"])
        .env("DOCKER_AUTH_CONFIG", super::config(to).to_string());
    let _ = run(sync, 0).await;

    let pushes = tokens.requests().into_iter().filter(|request| request.scopes.concat().contains("push"));
    assert_eq!(pushes.count(), 2, "the first token, and one in place of the refused");
    assert_eq!(mirror.count("PUT", &put), 2);
    assert_eq!(mirror.count("PUT", "/blobs/uploads/"), image.blobs.len() + 1, "no other blob went twice");
    assert_eq!(source.count("GET", &format!("/blobs/{large}")), 2);
}

fn identity(host: &str) -> Value {
    json!({ "auths": { host: { "auth": "", "identitytoken": LOGIN.1 } } })
}

#[tokio::test]
async fn an_identity_token_is_exchanged_with_post_and_never_sent_as_a_password() {
    let registry = token_registry().await;
    registry.on("POST", "/token").answer(token());
    let _ = run(inspect_with(&registry, &identity(&registry.address().host_port)), 0).await;
    assert_eq!((registry.count("POST", "/token"), registry.count("GET", "/token")), (1, 0));
    assert_eq!(authorizations(&registry, "/token"), [None], "it is sent in the form");
}

#[tokio::test]
async fn a_token_server_without_post_is_queried_with_get() {
    let registry = token_registry().await;
    registry.on("POST", "/token").then(Action::error(405, "UNSUPPORTED"));
    let _ = run(inspect_with(&registry, &identity(&registry.address().host_port)), 0).await;
    assert_eq!((registry.count("POST", "/token"), registry.count("GET", "/token")), (1, 1));
    let granted = authorizations(&registry, "/v2/team/app/manifests/1");
    assert_eq!(granted, [None, Some(bearer())]);
}
