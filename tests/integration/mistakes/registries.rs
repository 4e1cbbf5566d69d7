//! Registries that are down, addressed by the wrong scheme, or refuse; and misspelled names.

use super::{TO, assert_read, assert_said, with_helm};
use crate::support::{
    ClosedPort,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Action, Answer, Scripted},
    tls::Authority,
};

/// A source with an image for linux/amd64 and linux/arm64, and an empty destination.
struct Pair {
    source: Scripted,
    destination: Scripted,
}

impl Pair {
    async fn start() -> Self {
        let (source, destination) = tokio::join!(Scripted::start(), Scripted::start());
        source.with_store(|store| store.insert("team/app", &SampleImage::multi_platform("1")));
        Self { source, destination }
    }

    fn sync(&self, more: &[&str]) -> Mirror {
        let to = format!("{}/mirror", self.destination.address().host_port);
        let image = self.source.address().image("team/app", "1");
        Mirror::new(["sync", "-q", "--to", &to, &image]).arguments(more.iter().copied())
    }
}

/// If several uploads are refused at once, the message names any of them.
const ONE_BLOB_AT_A_TIME: [&str; 2] = ["--jobs", "1"];

/// Compares the standard error of a failed run with a snapshot.
fn assert_failed(name: &str, outcome: &Outcome, code: i32) {
    assert_eq!(outcome.status.code(), Some(code), "{outcome}");
    assert_read(name, &outcome.stderr);
}

#[tokio::test]
async fn a_destination_that_is_down() {
    let pair = Pair::start().await;
    let image = pair.source.address().image("team/app", "1");
    let closed = ClosedPort::new();
    let run = Mirror::new(["sync", "-q", "--to", &format!("{}/mirror", closed.host_port), &image]);
    assert_failed("destination_down", &run.run().await, 1);
}

#[tokio::test]
async fn plain_http_to_an_https_registry() {
    let registry = Scripted::start_tls(&Authority::new()).await;
    let image = registry.address().image("team/app", "1");
    let run = Mirror::new(["inspect", &image, "--plain-http", &registry.address().host_port]);
    assert_failed("http_for_https", &run.run().await, 1);

    // Servers written in Go say so in plain http.
    let registry = Scripted::start().await;
    let message = "Client sent an HTTP request to an HTTPS server.\n";
    registry.on("", "").answer(Answer::status(400).body(message));
    let host = &registry.address().host_port;
    let outcome =
        Mirror::new(["inspect", &registry.address().image("app", "1"), "--plain-http", host]).run().await;
    assert!(
        outcome.stderr.contains("HTTPS server")
            && outcome.stderr.contains("speaks https, remove --plain-http"),
        "{outcome}"
    );
}

#[tokio::test]
async fn https_to_a_plain_http_registry() {
    let pair = Pair::start().await;
    let run = pair.sync(&["--insecure", &pair.destination.address().host_port]);
    assert_failed("https_for_http", &run.run().await, 1);
}

#[tokio::test]
async fn certificates_that_cannot_be_trusted() {
    for (name, authority) in [
        ("certificate_unknown", Authority::new()),
        ("certificate_expired", Authority::expired()),
        ("certificate_of_another_name", Authority::for_another_name()),
    ] {
        let registry = Scripted::start_tls(&authority).await;
        let mut run = Mirror::new(["inspect", &registry.address().image("team/app", "1")]);
        if name != "certificate_unknown" {
            run = run.arg("--ca-cert").arg(authority.certificate_file());
        }
        assert_failed(name, &run.run().await, 1);
    }
}

#[tokio::test]
async fn a_wrong_password() {
    let pair = Pair::start().await;
    pair.destination.demand("Basic realm=\"registry\"", &["Basic right"]);
    let run = pair.sync(&["--to-username", "robot"]).env("THORAS_MIRROR_TO_PASSWORD", "wrong");
    assert_failed("wrong_password", &run.run().await, 4);
}

#[tokio::test]
async fn no_password_at_all() {
    let pair = Pair::start().await;
    pair.destination.demand("Basic realm=\"registry\"", &["Basic right"]);
    assert_failed("no_password", &pair.sync(&[]).run().await, 4);
}

#[tokio::test]
async fn a_user_without_push_access() {
    let pair = Pair::start().await;
    pair.destination.on("POST", "/blobs/uploads/").then(Action::error(403, "DENIED"));
    assert_failed("no_push_right", &pair.sync(&ONE_BLOB_AT_A_TIME).run().await, 4);
}

#[tokio::test]
async fn a_repository_that_must_be_created_first() {
    let pair = Pair::start().await;
    pair.destination.on("POST", "/blobs/uploads/").then(Action::error(404, "NAME_UNKNOWN"));
    assert_failed("no_repository", &pair.sync(&ONE_BLOB_AT_A_TIME).run().await, 1);
}

#[tokio::test]
async fn a_tag_that_cannot_be_moved() {
    let pair = Pair::start().await;
    let mut other = SampleImage::docker("other");
    other.tag = "1".to_owned();
    pair.destination.with_store(|store| store.insert("mirror/app", &other));
    pair.destination.on("PUT", "/manifests/1").then(Action::error(409, "TAG_INVALID"));
    assert_failed("immutable_tag", &pair.sync(&[]).run().await, 1);
}

#[tokio::test]
async fn a_missing_tag() {
    let pair = Pair::start().await;
    let run = Mirror::new(["inspect", &pair.source.address().image("team/app", "2")]);
    assert_failed("no_such_tag", &run.run().await, 1);
}

#[tokio::test]
async fn a_misspelled_platform() {
    let pair = Pair::start().await;
    assert_failed("misspelt_platform", &pair.sync(&["--platform", "linux/arm46"]).run().await, 1);
}

#[tokio::test]
async fn a_chart_missing_in_the_repository() {
    let repository = Scripted::start().await;
    let index = "apiVersion: v1\nentries:\n  other:\n  - name: other\n    version: 1.0.0\n    urls: \
                 [other-1.0.0.tgz]\n";
    repository.on("GET", "/index.yaml").answer(Answer::status(200).body(index));
    let url = repository.address().url();
    let run = with_helm(&["sync", "--to", TO, "--chart", "thoars", "--repo", &url]);
    assert_said("no_such_chart", &run.run().await.expect_code(3));
}

#[tokio::test]
async fn a_destination_with_uppercase_letters() {
    let run = Mirror::new(["doctor", "--to", "registry.example.com/Thoras", "quay.io/team/app:1"]);
    assert_said("capitals_in_destination", &run.run().await.expect_code(2));
}

#[tokio::test]
async fn an_image_with_uppercase_letters() {
    let run = Mirror::new(["inspect", "quay.io/team/App:1"]);
    assert_said("capitals_in_image", &run.run().await.expect_code(2));
}

#[tokio::test]
async fn verify_without_a_lock() {
    assert_said("verify_without_a_lock", &Mirror::new(["verify"]).run().await.expect_code(2));
}
