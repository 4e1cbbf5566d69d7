//! Authentication and redirects: the built program against misbehaving registries. Each run also asserts that no secret
//! was printed or written.

mod challenges;
mod credentials;
mod redirects;
mod token_servers;
mod tokens;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Answer, Scripted},
    secrets,
};

/// The user and the password of these tests.
const LOGIN: (&str, &str) = ("puller", "acc3ss s3cret/+");
/// The token that scripted token servers hand out.
const TOKEN: &str = "t0ken-s3cret";

/// `Basic …` for [`LOGIN`].
fn basic() -> String {
    basic_of(LOGIN)
}

fn basic_of((user, password): (&str, &str)) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// `Bearer …` for [`TOKEN`].
fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// A Docker configuration with [`LOGIN`] under a key.
fn config(key: &str) -> Value {
    config_of(key, LOGIN)
}

fn config_of(key: &str, (user, password): (&str, &str)) -> Value {
    json!({ "auths": { key: { "auth": BASE64_STANDARD.encode(format!("{user}:{password}")) } } })
}

/// A registry that holds `team/app:1`.
async fn registry() -> Scripted {
    let registry = Scripted::start().await;
    registry.with_store(|store| store.insert("team/app", &SampleImage::multi_platform("1")));
    registry
}

/// The same, but requiring a token from its own `/token`.
async fn token_registry() -> Scripted {
    let registry = registry().await;
    registry.demand(&challenge(&registry), &[&bearer()]);
    registry.on("GET", "/token").answer(token());
    registry
}

fn challenge(registry: &Scripted) -> String {
    format!("Bearer realm=\"{}/token\",service=\"scripted\"", registry.address().url())
}

fn token() -> Answer {
    Answer::json(200, &json!({ "token": TOKEN, "expires_in": 300 }))
}

/// `inspect` of its image, with [`LOGIN`] for its host.
fn inspect(registry: &Scripted) -> Mirror {
    inspect_with(registry, &config(&registry.address().host_port))
}

fn inspect_with(registry: &Scripted, config: &Value) -> Mirror {
    Mirror::new(["inspect", "-v", &registry.address().image("team/app", "1")])
        .env("DOCKER_AUTH_CONFIG", config.to_string())
}

/// Runs to the end and asserts that no secret was printed or written.
async fn run(mirror: Mirror, code: i32) -> Outcome {
    let outcome = mirror.run().await.expect_code(code);
    secrets::assert_hidden(&outcome, &[LOGIN, ("", TOKEN)]);
    outcome
}

/// The `Authorization` headers of the requests whose path and query contain a text.
fn authorizations(registry: &Scripted, path: &str) -> Vec<Option<String>> {
    let requests = registry.requests().into_iter().filter(|request| request.path.contains(path));
    requests.map(|request| request.header("authorization").map(str::to_owned)).collect()
}
