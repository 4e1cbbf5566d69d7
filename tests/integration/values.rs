//! `values`: the printed values, rendered by the real Helm, make charts pull everything from the mirror.

mod guide;
mod renderings;

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use thoras_mirror::oci::Digest;

use crate::support::{
    client, helm,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    skopeo,
};

const TO: &str = "reg.example.com/m";
const VENDOR: &str = "us-east4-docker.pkg.dev/thoras-registry/platform";

fn chart(name: &str) -> String {
    std::path::absolute(format!("testdata/charts/{name}")).unwrap().display().to_string()
}

fn values(name: &str) -> Mirror {
    Mirror::new(["values", "--to", TO, "--chart", &chart(name)]).env("THORAS_MIRROR_HELM", helm::program())
}

/// The images in a pod spec of the rendering with these values files.
async fn rendered(chart: &str, files: &[&Path]) -> BTreeSet<String> {
    let files: Vec<String> = files.iter().map(|file| format!("--values={}", file.display())).collect();
    let arguments: Vec<&str> =
        ["template", "x", chart].into_iter().chain(files.iter().map(String::as_str)).collect();
    let text = helm::run(&arguments).await;
    let list = Mirror::new(["images", "--mentions", "none", "--rendered", "-"]).stdin(text).run().await;
    list.expect_success().stdout.lines().map(str::to_owned).collect()
}

/// The values that were printed, as a file.
fn printed(outcome: &Outcome) -> PathBuf {
    let path = outcome.folder().join("printed.yaml");
    std::fs::write(&path, &outcome.stdout).unwrap();
    path
}

/// The keys that were printed, without comments.
fn lines(outcome: &Outcome) -> Vec<&str> {
    outcome.stdout.lines().filter(|line| !line.trim_start().starts_with('#')).collect()
}

/// What was printed, with the lines of each comment put together.
fn unfolded(outcome: &Outcome) -> String {
    let lines = outcome.stdout.lines().map(|line| line.trim_start().trim_start_matches("# "));
    lines.collect::<Vec<_>>().join(" ")
}

fn digest(source: &str) -> Digest {
    Digest::sha256(source.as_bytes())
}

/// A lock of these images below `TO`; `confirmed` says which are confirmed.
fn write_lock(path: &Path, prefix: &str, images: &[&str], confirmed: impl Fn(&str) -> bool) {
    let image = |name: &&str| {
        let source = format!("{prefix}/{name}");
        json!({
            "source": source, "digest": digest(&source).to_string(), "platforms": [], "blobs": [],
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "destinations": [{"to": TO, "reference": format!("{TO}/{name}"), "confirmed": confirmed(name)}],
        })
    };
    let lock = json!({
        "schema": "thoras-mirror/lock/v2", "platforms": ["linux/amd64"], "blobs": {},
        "destinations": [{"to": TO, "naming": "relative", "sourcePrefix": prefix}],
        "images": images.iter().map(image).collect::<Vec<_>>(),
    });
    std::fs::write(path, lock.to_string()).unwrap();
}

const OPERATOR_IMAGES: [&str; 3] = ["forecast:4.40.0", "services:4.40.0", "timescaledb:2.21.3-pg16"];

/// `values` of the vendor-like chart in a folder with a lock of its images.
fn locked(confirmed: impl Fn(&str) -> bool) -> (tempfile::TempDir, Mirror) {
    let folder = tempfile::tempdir().unwrap();
    write_lock(&folder.path().join("thoras-mirror.lock"), VENDOR, &OPERATOR_IMAGES, confirmed);
    let run = values("operator").in_folder(folder.path());
    (folder, run)
}

#[tokio::test]
async fn one_registry_moves_the_vendors_chart() {
    let (_folder, run) = locked(|_| true);
    let outcome = run.run().await.expect_success();
    assert_eq!(lines(&outcome), ["imageCredentials:", "  registry: reg.example.com/m"]);
    assert!(unfolded(&outcome).contains(&format!("replaces the chart's {VENDOR}")), "{outcome}");
    let found = rendered(&chart("operator"), &[&printed(&outcome)]).await;
    assert_eq!(found, OPERATOR_IMAGES.iter().map(|name| format!("{TO}/{name}")).collect());
}

#[tokio::test]
async fn pins_are_the_digests_of_the_lock_on_every_key_that_exists() {
    let (_folder, run) = locked(|_| true);
    let outcome = run.arg("--pin").run().await.expect_success();
    let found = rendered(&chart("operator"), &[&printed(&outcome)]).await;
    let pinned = |name: &&str| format!("{TO}/{name}@{}", digest(&format!("{VENDOR}/{name}")));
    assert_eq!(found, OPERATOR_IMAGES.iter().map(pinned).collect());
    // The monitor does not run with these values, but its tag is pinned for the day that it does.
    let services = digest(&format!("{VENDOR}/services:4.40.0"));
    let written = format!("imageTag: \"4.40.0@{services}\"");
    assert_eq!(outcome.stdout.matches(&written).count(), 3, "{outcome}");
    assert!(!lines(&outcome).iter().any(|line| line.starts_with("thorasVersion")), "{outcome}");
}

#[tokio::test]
async fn an_image_that_the_lock_lacks_or_holds_unconfirmed_is_a_difference() {
    let (_folder, run) = locked(|name| !name.starts_with("services"));
    let outcome = run.arguments(["--workloads", "20"]).run().await.expect_code(5);
    assert!(outcome.stdout.contains("registry: reg.example.com/m"), "the values are printed all the same");
    assert!(
        outcome.stderr.contains("reg.example.com/m/services:4.40.0 is not confirmed in the lock"),
        "{outcome}"
    );
    // Storage needs one more image, which was not mirrored without it.
    assert!(outcome.stderr.contains("reg.example.com/m/alpine:3.22 is not in the lock"), "{outcome}");
    assert!(outcome.stderr.contains(&format!("--add {VENDOR}/alpine:3.22")), "{outcome}");
    assert_eq!(outcome.stderr.matches("error:").count(), 2, "{outcome}");
}

#[tokio::test]
async fn images_that_lack_the_same_are_one_error() {
    let (_folder, run) = locked(|_| false);
    let outcome = run.run().await.expect_code(5);
    assert_eq!(outcome.stderr.matches("error:").count(), 1, "{outcome}");
    assert_eq!(outcome.stderr.matches("hint:").count(), 1, "{outcome}");
    let count = format!("error: {} images are not confirmed in the lock", OPERATOR_IMAGES.len());
    assert!(outcome.stderr.contains(&count), "{outcome}");
    for image in OPERATOR_IMAGES {
        assert_eq!(outcome.stderr.matches(&format!("{TO}/{image} (")).count(), 1, "{outcome}");
    }
}

#[tokio::test]
async fn one_global_registry_is_preferred_and_permitted() {
    let outcome = values("registry").run().await.expect_success();
    assert_eq!(
        lines(&outcome),
        ["global:", "  imageRegistry: reg.example.com/m", "  security:", "    allowInsecureImages: true"]
    );
    let found = rendered(&chart("registry"), &[&printed(&outcome)]).await;
    assert_eq!(found, ["other/worker:8", "team/web:2.0.0"].map(|name| format!("{TO}/{name}")).into());
}

#[tokio::test]
async fn a_tag_that_is_also_a_label_is_pinned_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("run.lock");
    let sources = ["quay.io/team/web:2.0.0", "docker.io/other/worker:8"];
    let image = |source: &&str| {
        let (_, name) = source.split_once('/').unwrap();
        json!({
            "source": source, "digest": digest(source).to_string(), "platforms": [], "blobs": [],
            "destinations": [{"to": TO, "reference": format!("{TO}/{name}"), "confirmed": true}],
        })
    };
    let written = json!({
        "schema": "thoras-mirror/lock/v2", "platforms": [], "blobs": {},
        "destinations": [{"to": TO, "naming": "relative"}],
        "images": sources.iter().map(image).collect::<Vec<_>>(),
    });
    std::fs::write(&lock, written.to_string()).unwrap();
    let lock = lock.display().to_string();
    let outcome = values("registry").arguments(["--pin", "--lock", &lock]).run().await.expect_success();
    let found = rendered(&chart("registry"), &[&printed(&outcome)]).await;
    let pinned = |source: &&str| {
        let (_, name) = source.split_once('/').unwrap();
        format!("{TO}/{}@{}", name.split(':').next().unwrap(), digest(source))
    };
    assert_eq!(found, sources.iter().map(pinned).collect());
}

#[tokio::test]
async fn many_shapes_are_moved_and_a_literal_is_named() {
    let outcome = values("mixed").run().await.expect_code(5);
    let found = rendered(&chart("mixed"), &[&printed(&outcome)]).await;
    let outside: Vec<&String> = found.iter().filter(|image| !image.starts_with(TO)).collect();
    assert_eq!(outside, ["quay.io/team/literal:1"]);
    assert_eq!(found.len(), 8, "{found:?}");
    let named = "error: quay.io/team/literal:1 is still pulled from outside reg.example.com/m (Pod mixed at";
    assert!(outcome.stderr.contains(named) && outcome.stderr.contains("redirect"), "{outcome}");
    assert_eq!(outcome.stderr.matches("error:").count(), 1, "{outcome}");
    // The subchart's second alias has its own key, and a list is repeated with its siblings.
    assert!(unfolded(&outcome).contains("Helm replaces lists as a whole"), "{outcome}");
    assert!(outcome.stdout.contains("value: \"yes\"") && outcome.stdout.contains("stock:\n"), "{outcome}");
}

/// A chart with this `values.yaml` and a pod for each line of `images`, a template.
fn write_chart(folder: &Path, values: &str, images: &[&str]) -> String {
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.0.0\n").unwrap();
    std::fs::write(folder.join("values.yaml"), values).unwrap();
    let pod = |(number, image): (usize, &&str)| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}}}\nspec:\n  containers:\n  - name: main\n    image: {image}\n"
        )
    };
    let pods: String = images.iter().enumerate().map(pod).collect();
    std::fs::write(folder.join("templates/pods.yaml"), pods).unwrap();
    folder.display().to_string()
}

async fn values_of(chart: &str, more: &[&str]) -> Outcome {
    let run = Mirror::new(["values", "--to", TO, "--chart", chart]).arguments(more.iter().copied());
    run.env("THORAS_MIRROR_HELM", helm::program()).run().await
}

/// The registry, empty in the chart, goes in front of a repository that has several components itself.
#[tokio::test]
async fn an_empty_registry_is_not_mistaken_for_part_of_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let values = "global: {image: {registry: }}\nweb: {repository: team/web, tag: 1}\nproxy: {repository: proxy, tag: 2, fullName: }\n";
    let named = |name: &str| {
        format!(
            "{{{{ with .Values.{name} }}}}{{{{ .fullName | default (printf \"%s%s:%v\" (ternary \"\" (printf \"%s/\" ($.Values.global.image.registry | default \"\")) (empty $.Values.global.image.registry)) .repository .tag) }}}}{{{{ end }}}}"
        )
    };
    let chart = write_chart(folder.path(), values, &[&named("web"), &named("proxy")]);
    let outcome = values_of(&chart, &[]).await.expect_success();
    let found = rendered(&chart, &[&printed(&outcome)]).await;
    assert_eq!(
        found,
        ["team/web:1", "library/proxy:2"].map(|name| format!("{TO}/{name}")).into(),
        "{outcome}"
    );
}

#[tokio::test]
async fn a_registry_for_all_is_set_once_beside_the_repositories() {
    let folder = tempfile::tempdir().unwrap();
    let component = |name: &str| format!("{name}: {{registry: ghcr.io, repository: team/{name}}}\n");
    let names = ["one", "two", "three"];
    let values = names.map(component).concat() + "global: {image: {registry: }}\n";
    let images = names.map(|name| {
        format!(
            "{{{{ .Values.global.image.registry | default .Values.{name}.registry }}}}/{{{{ .Values.{name}.repository }}}}:1"
        )
    });
    let chart = write_chart(folder.path(), &values, &images.each_ref().map(String::as_str));
    let outcome = values_of(&chart, &[]).await.expect_success();
    assert_eq!(outcome.stdout.matches("registry: reg.example.com/m").count(), 1, "{outcome}");
    let found = rendered(&chart, &[&printed(&outcome)]).await;
    assert_eq!(found, names.map(|name| format!("{TO}/{name}:1")).into(), "{outcome}");
}

/// Below the mirror, but where `sync` copies nothing: without a lock only the names of `sync` show it.
#[tokio::test]
async fn a_name_below_the_mirror_that_sync_does_not_give_is_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let values = "registry: quay.io/team\n";
    // Another registry gets one more component.
    let second = "{{ .Values.registry }}{{ if ne .Values.registry \"quay.io/team\" }}/moved{{ end }}/two:1";
    let chart = write_chart(folder.path(), values, &["{{ .Values.registry }}/one:1", second]);
    let outcome = values_of(&chart, &[]).await.expect_code(5);
    let message =
        "reg.example.com/m/moved/two:1 is below reg.example.com/m, but sync copies no image to that name";
    assert!(outcome.stderr.contains(message), "{outcome}");
}

#[tokio::test]
async fn the_format_can_come_from_the_environment() {
    for (word, starts_with) in [("json", "{"), ("table", "#"), ("list", "#"), ("yaml", "#"), ("", "#")] {
        let outcome = values("operator").env("THORAS_MIRROR_OUTPUT", word).run().await.expect_success();
        assert!(outcome.stdout.starts_with(starts_with), "{word}: {outcome}");
    }
    let flag = values("operator").env("THORAS_MIRROR_OUTPUT", "json").arguments(["-o", "yaml"]).run().await;
    assert!(flag.expect_success().stdout.starts_with('#'));
    let outcome = values("operator").env("THORAS_MIRROR_OUTPUT", "xml").run().await.expect_code(2);
    assert!(outcome.stderr.contains("THORAS_MIRROR_OUTPUT is `xml`"), "{outcome}");
}

#[tokio::test]
async fn names_follow_the_naming_rule() {
    let outcome = values("mixed").arguments(["--naming", "full"]).run().await.expect_code(5);
    let found = rendered(&chart("mixed"), &[&printed(&outcome)]).await;
    assert!(found.contains("reg.example.com/m/quay.io/team/strict:3.1.0"), "{found:?}");
}

#[tokio::test]
async fn the_users_values_are_replaced_and_an_assignment_that_wins_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let user = folder.path().join("user.yaml");
    std::fs::write(
        &user,
        "imageCredentials: {registry: old.example.com/x}\nslackWebhookUrl: https://x.example\n",
    )
    .unwrap();
    let file = user.display().to_string();
    let outcome = values("operator").arguments(["-f", &file]).run().await.expect_success();
    assert!(unfolded(&outcome).contains("replaces old.example.com/x from your values"), "{outcome}");
    assert!(unfolded(&outcome).contains("A Slack webhook is set"), "{outcome}");
    let found = rendered(&chart("operator"), &[&user, &printed(&outcome)]).await;
    assert!(found.iter().all(|image| image.starts_with(TO)), "{found:?}");

    let set = "imageCredentials.registry=old.example.com/x";
    let outcome = values("operator").arguments(["--set", set]).run().await.expect_code(5);
    let message = "your --set of imageCredentials.registry wins over a values file";
    assert!(
        outcome.stderr.contains(message) && outcome.stderr.contains("still pulled from outside"),
        "{outcome}"
    );
    assert!(outcome.stdout.contains("registry: reg.example.com/m"), "{outcome}");
}

/// All images have their registry from one value, so that an image that is left out moves with them.
#[tokio::test]
async fn an_image_that_the_filters_leave_out_does_not_keep_the_others_outside() {
    let outcome = values("operator").arguments(["--exclude", "*/timescaledb"]).run().await.expect_code(5);
    assert_eq!(lines(&outcome), ["imageCredentials:", "  registry: reg.example.com/m"]);
    assert_eq!(outcome.stderr.matches("error:").count(), 1, "{outcome}");
    let message = format!(
        "{VENDOR}/timescaledb:2.21.3-pg16 is left out by --include or --exclude, but the chart pulls it from the mirror"
    );
    assert!(outcome.stderr.contains(&message), "{outcome}");
    // With a value of its own, it stays where it is.
    let outcome = values("mixed").arguments(["--exclude", "*/strict"]).run().await.expect_code(5);
    assert!(!outcome.stderr.contains("left out"), "{outcome}");
    assert!(!outcome.stdout.contains("strict"), "{outcome}");
}

#[tokio::test]
async fn the_license_never_goes_to_a_mirror() {
    let folder = tempfile::tempdir().unwrap();
    let license = folder.path().join("license.key");
    std::fs::write(&license, "bGljZW5zZS1odW50ZXIy").unwrap();
    let license = license.display().to_string();
    let flag = values("operator").arguments(["--license", &license, "--write", "a.yaml"]).run().await;
    assert!(flag.expect_code(2).stderr.contains("--license cannot be used with --to"));
    let own =
        values("operator").arguments(["--set", "imageCredentials.password=bGljZW5zZS1odW50ZXIy"]).run().await;
    let own = own.expect_code(2);
    assert!(own.stderr.contains("the license") && !own.stderr.contains("bGlj"), "{own}");

    let vendor = Mirror::new(["values", "--chart", &chart("operator"), "--license", &license])
        .arguments(["--write", "vendor.yaml"])
        .env("THORAS_MIRROR_HELM", helm::program())
        .run()
        .await
        .expect_success();
    let text = std::fs::read_to_string(vendor.folder().join("vendor.yaml")).unwrap();
    assert!(text.contains("password: bGljZW5zZS1odW50ZXIy") && !text.contains("registry:"), "{text}");
    assert!(!format!("{vendor}").contains("bGlj"), "{vendor}");
}

#[tokio::test]
async fn options_for_the_vendors_chart_are_refused_for_others() {
    for option in [["--pull-secret", "regcred"], ["--workloads", "10"], ["--storage-class", "fast"]] {
        let outcome = values("registry").arguments(option).run().await.expect_code(2);
        assert!(outcome.stderr.contains("is for the Thoras chart"), "{outcome}");
    }
    let outcome = Mirror::new(["values", "--to", TO, "quay.io/a/b:1"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("values needs a chart"), "{outcome}");
    let outcome = values("operator").arg("--pin").run().await.expect_code(2);
    assert!(outcome.stderr.contains("--pin needs a lock"), "{outcome}");
}

/// From a registry to a mirror to references that an independent client can pull.
#[tokio::test]
async fn what_sync_mirrored_can_be_pulled_under_the_rendered_names() {
    let (source, mirror) = tokio::join!(Registry::start(), Registry::start());
    let image = SampleImage::multi_platform("1");
    client::push(&image, source.address(), "team/web").await;
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("shop");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.0.0\n").unwrap();
    let registry = &source.address().host_port;
    std::fs::write(chart.join("values.yaml"), format!("registry: {registry}/team\ntag: \"1\"\n")).unwrap();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: web\n    image: {{ .Values.registry }}/web:{{ .Values.tag }}\n";
    std::fs::write(chart.join("templates/pod.yaml"), pod).unwrap();
    let (chart, to) = (chart.display().to_string(), format!("{}/m", mirror.address().host_port));
    let run = |command: &str| {
        Mirror::new([command, "--to", &to, "--chart", &chart]).env("THORAS_MIRROR_HELM", helm::program())
    };
    let synced = run("sync").run().await.expect_success();
    let outcome = run("values").arg("--pin").in_folder(&synced.folder()).run().await.expect_success();
    let found = rendered(&chart, &[&printed(&outcome)]).await;
    let root = image.root();
    let expected = format!("{to}/web:1@{}", root.digest);
    assert_eq!(found, BTreeSet::from([expected.clone()]));
    let pulled = skopeo::manifest(mirror.address(), &format!("m/web@{}", root.digest)).await;
    assert_eq!(Digest::sha256(&pulled), root.digest);
}
