//! `redirect`: containerd and skopeo really pull from the mirror under the names of sources that are gone.

use std::process::Command;

use serde_json::json;

use super::*;
use crate::support::{
    client, containerd::Containerd, images::SampleImage, process::Outcome, programs, registry::Registry,
};

/// A mirror of `team/app` and `other/deep/web` whose source is gone.
struct Mirrored {
    destination: Registry,
    source: String,
    image: SampleImage,
    synced: Outcome,
    to: String,
}

impl Mirrored {
    async fn with(naming: &[&str]) -> Self {
        Self::of(SampleImage::multi_platform("1"), naming).await
    }

    async fn of(image: SampleImage, naming: &[&str]) -> Self {
        let (source, destination) = tokio::join!(Registry::start(), Registry::start());
        let mut names = Vec::new();
        for repository in ["team/app", "other/deep/web"] {
            client::push(&image, source.address(), repository).await;
            names.push(source.address().image(repository, &image.tag));
        }
        let to = format!("{}/m", destination.address().host_port);
        let sync = Mirror::new(["sync", "--to", &to]).arguments(names).arguments(naming.iter().copied());
        let synced = sync.run().await.expect_success();
        destination.clear_requests().await;
        let source = source.address().host_port.clone();
        Self { destination, source, image, synced, to }
    }

    fn redirect(&self, more: &[&str]) -> Mirror {
        let run = Mirror::new(["redirect", "--to", &self.to]).arguments(more.iter().copied());
        run.in_folder(&self.synced.folder())
    }

    /// The names that manifests have.
    fn sources(&self) -> [String; 2] {
        ["team/app", "other/deep/web"].map(|name| format!("{}/{name}:{}", self.source, self.image.tag))
    }
}

#[tokio::test]
async fn containerd_pulls_from_the_mirror_under_the_names_of_the_source() {
    for fallback in [&[] as &[&str], &["--no-fallback"]] {
        let mirrored = Mirrored::with(&["--naming", "full"]).await;
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("certs.d");
        let run = mirrored.redirect(&["--format", "containerd", "--output-dir"]).arg(&hosts);
        let outcome = run.arguments(fallback.iter().copied()).run().await.expect_success();
        let file = hosts.join(&mirrored.source).join("hosts.toml");
        assert_eq!(outcome.stdout.trim_end(), file.to_str().unwrap());
        let containerd = Containerd::start().await;
        for name in mirrored.sources() {
            // The samples' layers are no archives, so they are fetched without unpacking them.
            let hosts = hosts.to_str().unwrap();
            containerd.ctr(&["content", "fetch", "--all-platforms", "--hosts-dir", hosts, &name]).await;
            assert_eq!(containerd.digest(&name).await, Some(mirrored.image.root().digest.to_string()));
        }
        assert!(mirrored.destination.count("GET", "/manifests/").await > 0);
    }
}

/// The whole pull, as a node does it: resolve, fetch, unpack. Unpacking mounts, so it needs root; the native snapshotter
/// needs no kernel module.
#[tokio::test]
async fn containerd_pulls_and_unpacks_from_the_mirror() {
    if !rustix::process::getuid().is_root() {
        eprintln!("not tested: containerd unpacks images only as root");
        return;
    }
    let image = SampleImage::unpackable("1", "greeting", "from the mirror");
    let mirrored = Mirrored::of(image, &["--naming", "full"]).await;
    let folder = tempfile::tempdir().unwrap();
    let run = mirrored.redirect(&["--format", "containerd", "--no-fallback", "--output-dir"]);
    run.arg(folder.path().join("certs.d")).run().await.expect_success();
    let hosts = folder.path().join("certs.d").display().to_string();
    let containerd = Containerd::start().await;
    let [name, _] = mirrored.sources();
    containerd.ctr(&["images", "pull", "--snapshotter", "native", "--hosts-dir", &hosts, &name]).await;
    assert_eq!(containerd.digest(&name).await, Some(mirrored.image.root().digest.to_string()));
    assert_eq!(containerd.unpacked("greeting"), ["from the mirror"]);
    assert!(mirrored.destination.count("GET", "/blobs/").await > 0);
}

/// containerd appends the whole path of the source, so it would ask for a repository that does not exist.
#[tokio::test]
async fn containerd_is_refused_where_the_mirror_cut_the_path() {
    let mirrored = Mirrored::with(&["--naming", "last"]).await;
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("certs.d");
    let run = mirrored.redirect(&["--format", "containerd", "--output-dir"]).arg(&hosts);
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("cannot strip a prefix"), "{outcome}");
    assert!(outcome.stderr.contains(&format!("sync --to {} --naming full", mirrored.to)), "{outcome}");
    assert!(outcome.stderr.contains("team/app"), "{outcome}");
    assert!(!hosts.exists());
}

#[tokio::test]
async fn skopeo_pulls_from_the_mirror_under_every_naming() {
    for naming in ["relative", "last", "full"] {
        let mirrored = Mirrored::with(&["--naming", naming]).await;
        let outcome = mirrored.redirect(&["--format", "crio"]).run().await.expect_success();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registries.conf");
        std::fs::write(&file, &outcome.stdout).unwrap();
        let program = programs::find("THORAS_MIRROR_TEST_SKOPEO", "skopeo");
        for name in mirrored.sources() {
            let mut command = Command::new(&program);
            // Newer versions read CONTAINERS_REGISTRIES_CONF, older ones only this flag.
            command.arg("--registries-conf").arg(&file).args([
                "inspect",
                "--raw",
                &format!("docker://{name}"),
            ]);
            let output = command.output().unwrap();
            assert!(output.stdout == mirrored.image.root().bytes, "{naming}: {output:?}");
        }
    }
}

fn string_list(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The fields and the patterns of the published custom resource definitions of `config.openshift.io/v1`.
fn openshift_schema(kind: &str, field: &str) -> Value {
    let host = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:(?:\\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))+)?(?::[0-9]+)?";
    let location = format!("^({host})(?:(?:/[a-z0-9]+(?:(?:(?:[._]|__|[-]*)[a-z0-9]+)+)?)+)?$");
    let entry = json!({
        "type": "object", "required": ["source"], "additionalProperties": false,
        "properties": {
            "source": {"type": "string", "pattern": location},
            "mirrors": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "string", "pattern": location}},
            "mirrorSourcePolicy": {"enum": ["NeverContactSource", "AllowContactingSource"]},
        },
    });
    json!({
        "type": "object", "required": ["apiVersion", "kind", "metadata", "spec"], "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": "config.openshift.io/v1"},
            "kind": {"const": kind},
            "metadata": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}, "additionalProperties": false},
            "spec": {"type": "object", "additionalProperties": false, "required": [field],
                     "properties": {field: {"type": "array", "items": entry, "minItems": 1}}},
        },
    })
}

const IMAGES: [Locked<'static>; 3] = [
    ("us-east4-docker.pkg.dev/thoras-registry/platform/services:4", "services:4", ['1', '2', '3']),
    ("us-east4-docker.pkg.dev/thoras-registry/platform/deep/web:4", "deep/web:4", ['1', '2', '3']),
    ("docker.io/library/nginx:1", "library/nginx:1", ['4', '5', '6']),
];

async fn redirect(images: &[Locked<'_>], more: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let lock = write_lock(folder.path(), images);
    with_lock("redirect", &lock, &["--to", "reg.example.com/m"]).arguments(more.iter().copied()).run().await
}

#[tokio::test]
async fn openshift_mirror_sets_follow_their_definitions() {
    for (flags, policy) in
        [(&[] as &[&str], "AllowContactingSource"), (&["--no-fallback"], "NeverContactSource")]
    {
        let outcome = redirect(&IMAGES, &[&["--format", "idms"], flags].concat()).await.expect_success();
        let sets: Vec<Value> = serde_saphyr::from_multiple(&outcome.stdout).unwrap();
        let kinds =
            [("ImageDigestMirrorSet", "imageDigestMirrors"), ("ImageTagMirrorSet", "imageTagMirrors")];
        assert_eq!(sets.len(), kinds.len());
        for (set, (kind, field)) in sets.iter().zip(kinds) {
            crate::support::documents::assert_follows(set, &openshift_schema(kind, field));
            let entries = set["spec"][field].as_array().unwrap();
            let pairs: Vec<(&str, Vec<&str>)> = entries
                .iter()
                .map(|entry| (entry["source"].as_str().unwrap(), string_list(&entry["mirrors"])))
                .collect();
            assert_eq!(
                pairs,
                [
                    ("docker.io", vec!["reg.example.com/m"]),
                    ("us-east4-docker.pkg.dev/thoras-registry/platform", vec!["reg.example.com/m"]),
                ]
            );
            assert!(entries.iter().all(|entry| entry["mirrorSourcePolicy"] == policy));
        }
    }
}

/// A lock with the names of `--naming full`, of two registries.
const FULL: [Locked<'static>; 2] = [
    ("quay.io/a/b:1", "quay.io/a/b:1", ['1', '2', '3']),
    ("docker.io/library/nginx:1", "docker.io/library/nginx:1", ['4', '5', '6']),
];

#[tokio::test]
async fn containerd_gets_one_file_for_each_registry() {
    let flags = ["--format", "containerd", "--node-ca-cert", "/etc/ssl/mirror \"ca\".pem"];
    let outcome = redirect(&FULL, &flags).await.expect_success();
    let text = &outcome.stdout;
    let (hub, quay) = text.split_once("# ==> quay.io/hosts.toml <==").unwrap();
    assert!(hub.starts_with("# ==> docker.io/hosts.toml <==\n"), "{text}");
    for (file, server, address) in [
        (hub, "https://registry-1.docker.io", "https://reg.example.com/v2/m/docker.io"),
        (quay, "https://quay.io", "https://reg.example.com/v2/m/quay.io"),
    ] {
        let settings: Vec<&str> =
            file.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(
            settings,
            [
                &format!("server = \"{server}\"") as &str,
                &format!("[host.\"{address}\"]"),
                "  capabilities = [\"pull\", \"resolve\"]",
                "  override_path = true",
                "  ca = \"/etc/ssl/mirror \\\"ca\\\".pem\"",
            ]
        );
    }
}

#[tokio::test]
async fn the_connection_of_nodes_is_configured() {
    let outcome = redirect(&FULL, &["--format", "containerd", "--insecure", "reg.example.com"]).await;
    assert!(outcome.expect_success().stdout.contains("skip_verify = true"));
    let outcome = redirect(&FULL, &["--format", "containerd", "--plain-http", "reg.example.com"]).await;
    assert!(outcome.expect_success().stdout.contains("[host.\"http://reg.example.com/v2/m/quay.io\"]"));
    let outcome = redirect(&FULL, &["--format", "crio", "--plain-http", "reg.example.com"]).await;
    assert!(outcome.expect_success().stdout.contains("insecure = true"));
    let outcome = redirect(&FULL, &["--format", "crio"]).await.expect_success();
    assert!(!outcome.stdout.contains("insecure") && !outcome.stdout.contains("\nblocked"), "{outcome}");
    let outcome = redirect(&FULL, &["--format", "crio", "--no-fallback"]).await.expect_success();
    assert_eq!(outcome.stdout.matches("\nblocked = true").count(), 2, "{outcome}");
}

#[tokio::test]
async fn every_format_says_how_nodes_log_in() {
    for (format, way) in [
        ("containerd", "authorization = \"Basic BASE64\""),
        ("crio", "global_auth_file"),
        ("idms", "global pull secret"),
        ("kyverno", "thoras-mirror pull-secret"),
    ] {
        let outcome = redirect(&FULL, &["--format", format]).await.expect_success();
        assert!(outcome.stdout.contains("# Login:") && outcome.stdout.contains(way), "{outcome}");
        let longest = outcome.stdout.lines().filter(|line| line.starts_with('#')).map(str::len).max();
        assert!(longest <= Some(80), "{outcome}");
    }
}

#[tokio::test]
async fn no_file_is_written_if_one_exists() {
    let folder = tempfile::tempdir().unwrap();
    let existing = folder.path().join("quay.io/hosts.toml");
    std::fs::create_dir(folder.path().join("quay.io")).unwrap();
    std::fs::write(&existing, "mine").unwrap();
    let write = |more: &[&'static str]| {
        let more =
            [&["--format", "containerd", "--output-dir", folder.path().to_str().unwrap()], more].concat();
        async move { redirect(&FULL, &more).await }
    };
    let outcome = write(&[]).await.expect_code(2);
    assert!(
        outcome.stderr.contains("quay.io/hosts.toml exists") && outcome.stderr.contains("--force"),
        "{outcome}"
    );
    assert_eq!(std::fs::read_to_string(&existing).unwrap(), "mine");
    assert!(!folder.path().join("docker.io").exists());
    write(&["--force"]).await.expect_success();
    assert!(std::fs::read_to_string(&existing).unwrap().contains("reg.example.com"));
}

#[tokio::test]
async fn a_mirror_that_the_lock_does_not_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lock = write_lock(folder.path(), &FULL);
    let outcome =
        with_lock("redirect", &lock, &["--to", "reg.example.com/n", "--format", "crio"]).run().await;
    let outcome = outcome.expect_code(2);
    assert!(outcome.stderr.contains("it has reg.example.com/m"), "{outcome}");
}

/// The same registry is below two paths of the mirror, and one source is in two repositories.
#[tokio::test]
async fn what_no_configuration_can_express_is_refused() {
    let paths =
        [("quay.io/a/b:1", "one/a/b:1", ['1', '2', '3']), ("quay.io/a/c:1", "two/a/c:1", ['1', '2', '3'])];
    let outcome = redirect(&paths, &["--format", "containerd"]).await.expect_code(2);
    assert!(outcome.stderr.contains("m/one, m/two") && outcome.stderr.contains("--naming full"), "{outcome}");
    redirect(&paths, &["--format", "crio"]).await.expect_success();
    let split = [("quay.io/a/b:1", "b:1", ['1', '2', '3']), ("quay.io/a/b:2", "a/b:2", ['4', '5', '6'])];
    for format in ["containerd", "crio", "idms", "kyverno"] {
        let outcome = redirect(&split, &["--format", format]).await.expect_code(2);
        assert!(outcome.stderr.contains("quay.io/a/b in several repositories"), "{outcome}");
    }
    let outcome = redirect(&FULL, &["--format", "kyverno", "--no-fallback"]).await.expect_code(2);
    assert!(outcome.stderr.contains("--no-fallback"), "{outcome}");
}

/// The lock of a bundle names no registry; its naming rule applies to any.
#[tokio::test]
async fn the_lock_of_a_bundle_applies_to_any_mirror() {
    let lock = json!({
        "schema": "thoras-mirror/lock/v2",
        "destinations": [{"naming": "full"}], "platforms": [], "blobs": {},
        "images": [{"source": "quay.io/a/b:1", "platforms": [], "blobs": [],
                    "destinations": [{"reference": "quay.io/a/b:1", "confirmed": true}]}],
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.lock");
    std::fs::write(&path, lock.to_string()).unwrap();
    let outcome =
        with_lock("redirect", &path, &["--to", "any.example.com", "--format", "containerd"]).run().await;
    let outcome = outcome.expect_success();
    assert!(outcome.stdout.contains("[host.\"https://any.example.com/v2/quay.io\"]"), "{outcome}");
    let outcome =
        with_lock("running", &path, &["-"]).stdin(list(&[pod("a", &[("x:1", String::new())])])).run().await;
    assert!(outcome.expect_code(2).stderr.contains("--to REGISTRY/PATH"));
}
