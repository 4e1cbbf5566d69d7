//! Helm is missing or fails, and Helm sees none of our secrets.

use super::{images, sample};
use crate::support::{
    documents,
    fake_helm::{FakeHelm, chart},
    process::Mirror,
};

#[tokio::test]
async fn a_missing_helm_is_reported_with_the_alternatives() {
    let empty = tempfile::tempdir().unwrap();
    let outcome = Mirror::new(["images", "--chart", &chart("sample")])
        .env("PATH", empty.path())
        .run()
        .await
        .expect_code(3);
    assert!(outcome.stderr.contains("`helm` was not found"), "{outcome}");
    for way in ["https://helm.sh/docs/intro/install/", "--helm", "--rendered FILE", "--images FILE"] {
        assert!(outcome.stderr.contains(way), "{way}: {outcome}");
    }
    let outcome = images(&["--chart", &chart("sample"), "--helm", "/absent/helm"]).await.expect_code(3);
    assert!(outcome.stderr.contains("`/absent/helm` was not found"), "{outcome}");
}

#[tokio::test]
async fn helms_own_error_is_shown() {
    let outcome = sample(&["--set", "image=broken"]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("helm template failed"), "{outcome}");
    assert!(outcome.stderr.contains("can't evaluate field registry"), "{outcome}");
    assert_eq!(outcome.stdout, "");

    let outcome = sample(&["--set", "image=broken", "--output", "json"]).run().await.expect_code(3);
    let document = documents::run(&outcome);
    assert_eq!(document["failures"][0]["kind"], "input");

    let helm = FakeHelm::failing("Error: the \u{1b}[31mmoon is in the wrong house\n");
    let program = helm.program();
    let outcome =
        images(&["--chart", &chart("sample"), "--helm", program.to_str().unwrap()]).await.expect_code(3);
    assert!(outcome.stderr.contains("moon is in the wrong house"), "{outcome}");
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
}

#[tokio::test]
async fn helm_gets_values_only_on_standard_input_and_none_of_our_credentials() {
    let helm =
        FakeHelm::rendering("kind: Pod\napiVersion: v1\nspec: {containers: [{image: 'quay.io/a/b:1'}]}\n");
    let program = helm.program();
    let arguments = ["images", "--chart", &chart("sample"), "--helm", program.to_str().unwrap()];
    let values = ["--set", "password=set-s3cret", "--set-string", "token=string-s3cret"];
    let outcome = Mirror::new(arguments.into_iter().chain(values))
        .env("THORAS_LICENSE", "license-s3cret")
        .env("THORAS_LICENSE_FILE", "/file-s3cret")
        .env("THORAS_MIRROR_TO_PASSWORD", "password-s3cret")
        .env("THORAS_MIRROR_ANYTHING", "any-s3cret")
        .env("HELM_CACHE_HOME", "/kept")
        .run()
        .await
        .expect_success();
    assert_eq!(outcome.stdout, "quay.io/a/b:1\n");
    let (shown, environment) = (helm.arguments(), helm.environment());
    assert!(!shown.contains("s3cret"), "the process list showed {shown}");
    assert!(!environment.contains("s3cret"), "the environment held {environment}");
    assert!(environment.contains("HELM_CACHE_HOME=/kept"), "what is Helm's own stays: {environment}");
    let values: serde_json::Value = serde_json::from_str(&helm.standard_input("template")).unwrap();
    assert_eq!(values, serde_json::json!({ "password": "set-s3cret", "token": "string-s3cret" }));
}

#[tokio::test]
async fn a_password_in_an_image_is_not_repeated() {
    for image in ["https://user:pa55@quay.io/a/b:1", "user:pa55@quay.io/a/b:1", "user:p@pa55@quay.io/a/b:1"] {
        for command in ["images", "inspect"] {
            let outcome = Mirror::new([command, "--output", "json", image]).run().await.expect_code(2);
            assert!(outcome.stderr.contains("***@quay.io/a/b:1`"), "what it was about: {outcome}");
            assert!(!outcome.to_string().contains("pa55"), "{outcome}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_added_names_the_flag_bug() {
    let outcome = Mirror::new(["images", "--add", "not an image", "--images", "-"])
        .stdin("quay.io/a/b:1\n")
        .run()
        .await;
    let stderr = outcome.expect_code(2).stderr;
    assert!(stderr.contains("error: --add: `library/not an image` is not a repository name"), "{stderr}");
}
