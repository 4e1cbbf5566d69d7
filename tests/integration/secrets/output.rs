//! Every way to pass a credential, against registries that fail in every way, with `--verbose`: the credential is never
//! printed or written.

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, stream};
use serde_json::json;
use tempfile::TempDir;

use super::{assert_hidden, basic};
use crate::support::{
    Address, ClosedPort,
    images::SampleImage,
    process::Mirror,
    scripted::{Action, Answer, Scripted},
    tls::Authority,
};

const USER: &str = "robot";
/// With characters that look different in base64 and in URLs.
const PASSWORD: &str = "pa55>w?rd/s3cret+~ÿ";
/// A token, as a token server issues it.
const TOKEN: &str = "dDBrZW4tczNjcmV0/+a.b-c_d==";
/// The number of concurrent runs.
const CONCURRENCY: usize = 4;

/// How a credential is passed.
#[derive(Debug, Clone, Copy)]
enum Given {
    Stdin,
    Environment,
    DockerConfig,
    Authfile,
    KubernetesSecret,
}

const EVERY_WAY: [Given; 5] =
    [Given::Stdin, Given::Environment, Given::DockerConfig, Given::Authfile, Given::KubernetesSecret];

impl Given {
    /// A command with the credential for `host`; files go into `folder`.
    fn command(self, arguments: &[String], host: &str, folder: &TempDir) -> Mirror {
        let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let config = json!({ "auths": { host: { "auth": auth } } }).to_string();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let with = |more: &[&str]| {
            Mirror::new(arguments.iter().cloned().chain(more.iter().map(ToString::to_string)))
        };
        match self {
            Self::Stdin => with(&["--to-username", USER, "--to-password-stdin"]).stdin(PASSWORD),
            Self::Environment => with(&["--to-username", USER]).env("THORAS_MIRROR_TO_PASSWORD", PASSWORD),
            Self::DockerConfig => {
                write("config.json", &config);
                with(&[]).env("DOCKER_CONFIG", folder.path())
            }
            Self::Authfile => with(&["--authfile", &write("auth.json", &config)]),
            Self::KubernetesSecret => {
                let data = BASE64_STANDARD.encode(&config);
                let secret = json!({
                    "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                    "metadata": { "name": "pull" }, "data": { ".dockerconfigjson": data },
                });
                with(&["--authfile", &write("secret.yaml", &secret.to_string())])
            }
        }
    }
}

/// A registry with one public image.
async fn open_source() -> (Scripted, String) {
    let source = Scripted::start().await;
    source.with_store(|store| store.insert("vendor/web", &SampleImage::multi_platform("web")));
    let image = source.address().image("vendor/web", "web");
    (source, image)
}

fn sync(to: &Address, image: &str) -> Vec<String> {
    let to = format!("{}/mirror", to.host_port);
    ["--verbose", "sync", "--output", "json", "--to", &to, image].map(str::to_owned).to_vec()
}

fn verify(to: &Address, image: &str) -> Vec<String> {
    let to = format!("{}/mirror", to.host_port);
    ["--verbose", "verify", "--to", &to, image].map(str::to_owned).to_vec()
}

/// Runs `sync` and `verify` with every credential against a registry and returns the exit codes that were seen.
async fn run_all(to: &Address, what: &str) -> Vec<i32> {
    let (_source, image) = open_source().await;
    let commands = [sync(to, &image), verify(to, &image)];
    let runs = EVERY_WAY.into_iter().flat_map(|given| commands.iter().map(move |command| (given, command)));
    let codes = stream::iter(runs).map(|(given, command)| async move {
        let folder = tempfile::tempdir().unwrap();
        let outcome = given.command(command, &to.host_port, &folder).run().await;
        let header = basic(USER, PASSWORD);
        let encoded = header.strip_prefix("Basic ").unwrap();
        assert_hidden(&outcome, &[PASSWORD, encoded, TOKEN], &format!("{what}, {given:?}: {command:?}"));
        outcome.status.code().unwrap()
    });
    let mut codes: Vec<i32> = codes.buffered(CONCURRENCY).collect().await;
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Without this, a test that never sent the credential would prove nothing.
fn assert_was_sent(registry: &Scripted, header: &str) {
    let sent =
        registry.requests().iter().filter(|request| request.header("authorization") == Some(header)).count();
    assert!(sent > 0, "{header} was never sent");
}

fn demand_basic(registry: &Scripted, accepted: &[&str]) {
    registry.demand("Basic realm=\"test\"", accepted);
}

fn demand_token(registry: &Scripted) {
    let realm = format!("{}/token", registry.address().url());
    let accepted = format!("Bearer {TOKEN}");
    registry.demand(&format!("Bearer realm=\"{realm}\",service=\"test\""), &[&accepted]);
}

/// A refusal that repeats the credential.
fn echo(status: u16, heard: &[&str]) -> Answer {
    let said = heard.join(" ");
    let error = json!({ "code": "DENIED", "message": said, "detail": { "said": said } });
    Answer::json(status, &json!({ "errors": [error] }))
}

#[tokio::test]
async fn a_registry_that_accepts() {
    let registry = Scripted::start().await;
    demand_basic(&registry, &[&basic(USER, PASSWORD)]);
    let codes = run_all(registry.address(), "accepts").await;
    assert!(codes == [0] || codes == [0, 5], "verify may come before the first sync: {codes:?}");
}

#[tokio::test]
async fn a_registry_that_refuses_the_password() {
    let registry = Scripted::start().await;
    demand_basic(&registry, &[]);
    assert_eq!(run_all(registry.address(), "refuses").await, [4]);
    assert_was_sent(&registry, &basic(USER, PASSWORD));
}

#[tokio::test]
async fn a_token_server_that_denies() {
    for status in [401, 403, 500] {
        let registry = Scripted::start().await;
        demand_token(&registry);
        registry.on("GET", "/token").then(Action::error(status, "DENIED"));
        let codes = run_all(registry.address(), "no token").await;
        assert!(!codes.contains(&0), "{codes:?}");
        assert_was_sent(&registry, &basic(USER, PASSWORD));
    }
}

#[tokio::test]
async fn a_token_server_that_repeats_the_credential() {
    let registry = Scripted::start().await;
    demand_token(&registry);
    registry.on("GET", "/token").answer(echo(403, &[PASSWORD, &basic(USER, PASSWORD)]));
    assert_eq!(run_all(registry.address(), "token server echoes").await, [4]);
    assert_was_sent(&registry, &basic(USER, PASSWORD));
}

#[tokio::test]
async fn a_token_that_is_accepted() {
    let registry = Scripted::start().await;
    demand_token(&registry);
    registry.on("GET", "/token").answer(Answer::json(200, &json!({ "token": TOKEN })));
    let codes = run_all(registry.address(), "token").await;
    assert!(codes == [0] || codes == [0, 5], "verify may come before the first sync: {codes:?}");
    assert_was_sent(&registry, &format!("Bearer {TOKEN}"));
}

#[tokio::test]
async fn an_insufficient_token() {
    let registry = Scripted::start().await;
    demand_token(&registry);
    registry.on("GET", "/token").answer(Answer::json(200, &json!({ "token": "t0ken-s3cret-for-nothing" })));
    let (_source, image) = open_source().await;
    let folder = tempfile::tempdir().unwrap();
    let arguments = sync(registry.address(), &image);
    let outcome = Given::Stdin.command(&arguments, &registry.address().host_port, &folder).run().await;
    assert_hidden(&outcome, &[PASSWORD, "t0ken-s3cret-for-nothing"], "denied token");
    let _ = outcome.expect_code(4);
    assert_was_sent(&registry, "Bearer t0ken-s3cret-for-nothing");
}

#[tokio::test]
async fn a_registry_that_redirects_elsewhere() {
    let (registry, elsewhere) = (Scripted::start().await, Scripted::start().await);
    demand_basic(&registry, &[&basic(USER, PASSWORD)]);
    let web = SampleImage::multi_platform("web");
    registry.with_store(|store| store.insert("mirror/web", &web));
    for method in ["GET", "HEAD"] {
        let away = format!("{}/signed?sig=t0ken", elsewhere.address().as_localhost().url());
        registry.on(method, "/blobs/sha256:").then(Action::redirect(&away));
    }
    run_all(registry.address(), "redirects").await;
    for request in elsewhere.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        assert_eq!(request.header("referer"), None, "{request:?}");
    }
}

#[tokio::test]
async fn an_unreachable_host() {
    let closed = ClosedPort::new();
    let address = Address { host_port: closed.host_port.clone(), plain_http: true, authority: None };
    assert_eq!(run_all(&address, "unreachable").await, [1]);
}

#[tokio::test]
async fn an_untrusted_certificate() {
    let authority = Authority::new();
    let registry = Scripted::start_tls(&authority).await;
    demand_basic(&registry, &[&basic(USER, PASSWORD)]);
    assert_eq!(run_all(registry.address(), "untrusted").await, [1]);
    assert!(registry.requests().is_empty(), "nothing is sent before the certificate is verified");
}

#[tokio::test]
async fn unreadable_credentials_are_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    for content in [
        format!("{{\"auths\": {{\"h\": {{\"auth\": \"{PASSWORD}\" x"),
        format!("{{\"auths\": \"{PASSWORD}\"}}"),
        format!("auths: [{PASSWORD}"),
        format!("apiVersion: v1\nkind: Secret\ndata: {{.dockerconfigjson: \"{PASSWORD}\"}}\n"),
        format!("{{\"auths\": {{\"127.0.0.1:1\": {{\"auth\": \"{PASSWORD}\"}}}}}}"),
    ] {
        let file = write("broken", &content).display().to_string();
        let outcome = Mirror::new(["-v", "inspect", "--authfile", &file, "127.0.0.1:1/a/b:1"]).run().await;
        assert_hidden(&outcome, &[PASSWORD], &content);
        assert_ne!(outcome.status.code(), Some(0));
        let license = Mirror::new(["-v", "inspect", "--license", &file, "127.0.0.1:1/a/b:1"]).run().await;
        assert_hidden(&license, &[PASSWORD], &content);
    }
}

#[tokio::test]
async fn a_registry_that_repeats_the_credential() {
    for status in [400, 403, 500] {
        let registry = Scripted::start().await;
        demand_basic(&registry, &[&basic(USER, PASSWORD)]);
        // Uploads come after the first challenge, so the header has been sent.
        registry.on("POST", "/mirror/").answer(echo(status, &[PASSWORD, &basic(USER, PASSWORD)]));
        let codes = run_all(registry.address(), "registry echoes").await;
        assert!(!codes.contains(&0), "{codes:?}");
        assert_was_sent(&registry, &basic(USER, PASSWORD));
    }
}

#[tokio::test]
async fn a_registry_that_repeats_the_token() {
    let registry = Scripted::start().await;
    demand_token(&registry);
    registry.on("GET", "/token").answer(Answer::json(200, &json!({ "token": TOKEN })));
    registry.on("POST", "/mirror/").answer(echo(400, &[TOKEN]));
    let codes = run_all(registry.address(), "registry echoes the token").await;
    assert!(!codes.contains(&0), "{codes:?}");
    assert_was_sent(&registry, &format!("Bearer {TOKEN}"));
    assert!(registry.count("POST", "/mirror/") > 0);
}

/// Not only in messages: in a path, a media type, a header, a name.
#[tokio::test]
async fn a_registry_that_repeats_the_credential_elsewhere_bug() {
    for password in [WORD, "swordfish", "SWORDFISH", "tulip"] {
        repeated_elsewhere(password, password).await;
    }
    repeated_elsewhere(WORD, basic(USER, WORD).strip_prefix("Basic ").unwrap()).await;
}

async fn repeated_elsewhere(password: &str, secret: &str) {
    let header = basic(USER, password);
    let encoded = header.strip_prefix("Basic ").unwrap().to_owned();
    let media_type = format!("application/{secret}");
    let json = |document: &serde_json::Value| Action::Answer(Answer::json(200, document));
    let actions = [
        Action::redirect(&format!("ftp://elsewhere.example/{secret}")),
        Action::redirect(&format!("http://169.254.169.254/{secret}/x?{secret}=x")),
        Action::header("content-type", &media_type),
        json(&json!({ "schemaVersion": 2, "mediaType": media_type, "layers": [] })),
        json(&json!({ "schemaVersion": 2, "config": { "mediaType": media_type } })),
        Action::error(404, secret),
        Action::error(500, secret),
    ];
    let runs = actions.iter().flat_map(|action| ["table", "json"].map(|output| (action, output)));
    let runs = stream::iter(runs).map(|(action, output)| async {
        let registry = Scripted::start().await;
        registry.with_store(|store| store.insert("team/app", &SampleImage::multi_platform("1")));
        demand_basic(&registry, &[&header]);
        // The first request carries no credential yet.
        registry.on("GET", "/manifests/1").nth(2).then(action.clone());
        let host = &registry.address().host_port;
        let config = json!({ "auths": { host: { "auth": encoded } } }).to_string();
        let inspect = ["-v", "inspect", "-o", output, &registry.address().image("team/app", "1")];
        let outcome = Mirror::new(inspect).env("DOCKER_AUTH_CONFIG", &config).run().await;
        assert_hidden(&outcome, &[secret], output);
        assert_was_sent(&registry, &header);
    });
    runs.buffered(CONCURRENCY).collect::<Vec<()>>().await;
}

/// A password that is the same in a path and in a header.
const WORD: &str = "s3cret-and-l0ng";

#[tokio::test]
async fn a_token_server_whose_path_repeats_the_credential_bug() {
    let registry = Scripted::start().await;
    registry.with_store(|store| store.insert("team/app", &SampleImage::multi_platform("1")));
    let realm = format!("{}/{WORD}/token", registry.address().url());
    registry.demand(&format!("Bearer realm=\"{realm}\",service=\"{WORD}\""), &[]);
    registry.on("GET", "/token").then(Action::error(403, "DENIED"));
    let encoded = basic(USER, WORD).strip_prefix("Basic ").unwrap().to_owned();
    let config = json!({ "auths": { &registry.address().host_port: { "auth": encoded } } }).to_string();
    let inspect = Mirror::new(["-v", "inspect", &registry.address().image("team/app", "1")]);
    let outcome = inspect.env("DOCKER_AUTH_CONFIG", config).run().await.expect_code(4);
    assert_hidden(&outcome, &[WORD], "realm");
    assert_was_sent(&registry, &basic(USER, WORD));
}
