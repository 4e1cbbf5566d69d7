//! The next steps that `sync`, `bundle import` and `verify` print work as they are.

use crate::support::{
    documents, helm,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    vendor::{CHART, Vendor},
};

/// The end of a command that renders the chart, from a lock or a bundle.
const OWN_VALUES: &str = "  # add your -f and --set";

/// The commands below `next steps:` on standard output.
fn printed(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stdout.lines().skip_while(|line| *line != "next steps:").skip(1);
    lines.map(|line| line.trim_start().to_owned()).collect()
}

/// Helm renders what the last step would install.
async fn assert_renders(steps: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("mirror.yaml");
    std::fs::write(&values, "imageCredentials: {registry: reg.example.com/m}\n").unwrap();
    let words = shlex::split(steps.last().unwrap()).unwrap();
    let [helm_word, install, rest @ ..] = words.as_slice() else { panic!("{words:?}") };
    assert_eq!([helm_word, install], ["helm", "install"]);
    let values = values.display().to_string();
    let rest = rest.iter().map(|word| if word == "mirror.yaml" { values.as_str() } else { word });
    let arguments: Vec<&str> = ["template"].into_iter().chain(rest).collect();
    assert!(helm::run(&arguments).await.contains("image: reg.example.com/m/web"));
}

#[tokio::test]
async fn every_command_that_fills_or_checks_a_mirror_ends_with_the_installation() {
    let vendor = Vendor::start(vec![("web", SampleImage::multi_platform("1"))]).await;
    let bundle = vendor.export("b.tar", &["--with-chart"]).await;
    let registry = Registry::start().await;
    let to = format!("{}/m", registry.address().host_port);
    let (name, version) = CHART;
    let oci = format!("oci://{to}/charts/{name}");
    let expected = [
        format!(
            "thoras-mirror values --to {to} --chart {oci} --chart-version {version} --write mirror.yaml{OWN_VALUES}"
        ),
        format!("thoras-mirror pull-secret --to {to} --namespace default | kubectl apply -f -"),
        format!(
            "helm install {name} {oci} --version {version} --namespace default --values mirror.yaml{OWN_VALUES}"
        ),
    ];
    let imported =
        Mirror::new(["bundle", "import"]).arg(&bundle).arguments(["--to", &to]).run().await.expect_success();
    assert_eq!(printed(&imported), expected);
    assert_renders(&printed(&imported)).await;

    let verify = |more: &[&'static str]| {
        Mirror::new(["verify"]).arguments(more.iter().copied()).in_folder(&imported.folder()).run()
    };
    assert_eq!(printed(&verify(&[]).await.expect_success()), expected);
    let document = documents::run(&verify(&["--output", "json"]).await.expect_success());
    assert_eq!(document["nextSteps"], serde_json::json!(expected));
    assert_eq!(verify(&["--quiet"]).await.expect_success().stdout, "");

    let sync = |more: &[&'static str]| {
        let run = Mirror::new(["sync", "--to", &to, "--chart"]).arg(vendor.path(name));
        run.arguments(more.iter().copied()).env("THORAS_MIRROR_HELM", helm::program()).run()
    };
    let synced = sync(&["--with-chart", "--set", "x=s3cret"]).await.expect_success();
    let steps = printed(&synced);
    assert!(steps[2].starts_with(&format!("helm install {name} {oci} --version {version}")), "{synced}");
    assert!(steps[2].contains("'x=***'") && !synced.stdout.contains("s3cret"), "{synced}");
    assert_eq!(printed(&sync(&["--dry-run"]).await.expect_success()), [""; 0]);
    let synced = sync(&[]).await.expect_success();
    let steps = printed(&synced);
    assert!(
        steps[2].starts_with(&format!("helm install {name} {} ", vendor.path(name).display())),
        "{synced}"
    );
    assert_renders(&steps).await;
}
