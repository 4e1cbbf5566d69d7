//! `images`: what a chart, manifests or a list name, found with the real Helm and printed in every format.

mod chart;
mod failures;
mod input;
mod selection;

use crate::support::{
    fake_helm::chart,
    helm,
    process::{Mirror, Outcome},
};

/// `thoras-mirror images` on the sample chart, with the real Helm.
fn sample(more: &[&str]) -> Mirror {
    let program = helm::program().display().to_string();
    let chart = chart("sample");
    Mirror::new(["images", "--chart", &chart, "--helm", &program].iter().chain(more))
}

async fn images(arguments: &[&str]) -> Outcome {
    Mirror::new(["images"].iter().chain(arguments)).run().await
}

/// `testdata/rendered/sample.yaml`.
fn rendered() -> String {
    format!("{}/testdata/rendered/sample.yaml", env!("CARGO_MANIFEST_DIR"))
}
