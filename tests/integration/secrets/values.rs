//! Values of `--set` are often passwords: they never appear in Helm's messages, the lock or a document.

use super::assert_hidden;
use crate::support::{
    fake_helm::{FakeHelm, chart},
    images::SampleImage,
    process::Mirror,
    scripted::Scripted,
};

const VALUE: &str = "set~s3cret+value";

fn with_values(command: &[&str], helm: &FakeHelm) -> Mirror {
    let (program, chart) = (helm.program().display().to_string(), chart("sample"));
    let values = [format!("password={VALUE}"), format!("nested.list[0]={VALUE}")];
    let more = ["--chart", &chart, "--helm", &program, "--set", &values[0], "--set-string", &values[1]];
    Mirror::new(["-v"].iter().chain(command).chain(&more))
}

#[tokio::test]
async fn values_are_removed_from_helms_messages() {
    let helm = FakeHelm::failing(&format!("Error: cannot use {VALUE} here, nor \"{VALUE}\"\n"));
    for command in [
        &["images"] as &[&str],
        &["images", "-o", "json"],
        &["sync", "--to", "127.0.0.1:1/a"],
        &["verify", "--to", "127.0.0.1:1/a", "-o", "json"],
    ] {
        let outcome = with_values(command, &helm).run().await;
        assert_hidden(&outcome, &[VALUE], &command.join(" "));
        assert!(outcome.expect_code(3).stderr.contains("cannot use *** here"));
    }
}

#[tokio::test]
async fn rendered_secrets_and_values_never_reach_a_lock_or_report() {
    let registry = Scripted::start().await;
    registry.with_store(|store| store.insert("vendor/web", &SampleImage::multi_platform("web")));
    let helm = FakeHelm::rendering(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: '{VALUE}'}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - image: {}\n    \
         env: [{{name: PASSWORD, value: '{VALUE}'}}]\n",
        registry.address().image("vendor/web", "web")
    ));
    let to = format!("{}/mirror", registry.address().host_port);
    for command in [
        &["images", "--why"] as &[&str],
        &["images", "-o", "json"],
        &["sync", "--to", &to, "-o", "json"],
        &["sync", "--to", &to, "--dry-run"],
        &["verify", "--to", &to, "-o", "json"],
    ] {
        let outcome = with_values(command, &helm).run().await.expect_success();
        assert_hidden(&outcome, &[VALUE], &command.join(" "));
    }
    // The printed repair command has the key; the user puts the value back.
    registry.with_store(|store| store.repository("mirror/web").tags.clear());
    let outcome = with_values(&["verify", "--to", &to], &helm).run().await.expect_code(5);
    assert_hidden(&outcome, &[VALUE], "verify");
    assert!(outcome.stderr.contains("--set 'password=***'"), "{outcome}");
}

#[tokio::test]
async fn a_value_that_cannot_be_set_is_not_repeated() {
    let helm = FakeHelm::rendering("");
    for assignment in [VALUE.to_owned(), format!("a[={VALUE}"), format!("a[99999999]={VALUE}")] {
        let (program, chart) = (helm.program().display().to_string(), chart("sample"));
        let outcome =
            Mirror::new(["images", "--chart", &chart, "--helm", &program, "--set", &assignment]).run().await;
        assert_hidden(&outcome, &[VALUE], &assignment);
        assert_ne!(outcome.status.code(), Some(0), "{outcome}");
    }
}

#[tokio::test]
async fn the_password_of_a_chart_repository_is_removed_from_helms_message_bug() {
    let helm = FakeHelm::failing(&format!("Error: looks like \"https://me:{VALUE}@charts\" is not valid\n"));
    let program = helm.program().display().to_string();
    let repository = format!("https://me:{VALUE}@charts.example.com");
    let attached = format!("--helm-arg=--password={VALUE}");
    let separate = format!("--helm-arg={VALUE}");
    for more in [&["--repo", &repository] as &[&str], &[&attached], &["--helm-arg=--password", &separate]] {
        let images = ["-v", "images", "--chart", "private", "--helm", &program];
        let outcome = Mirror::new(images.iter().chain(more)).run().await;
        assert_hidden(&outcome, &[VALUE], &more.join(" "));
        assert!(outcome.expect_code(3).stderr.contains("https://me:***@charts"), "helm's own words stay");
    }
}
