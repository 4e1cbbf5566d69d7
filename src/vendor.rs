//! What is built in about the vendor, Thoras: the default chart and its registry. No behavior.
//!
//! `jobs/values/facts.rs` knows the values of the vendor's chart.

/// The default chart.
pub(crate) const CHART: &str = "thoras";

/// The chart repository in which a bare chart name is looked up by default.
pub(crate) const CHART_REPOSITORY: &str = "https://thoras-ai.github.io/helm-charts";

/// The platforms that every image must have by default: those that the vendor supports. Sorted.
pub(crate) const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// The repository prefix of the vendor's own images.
pub(crate) const IMAGE_PREFIX: &str = "us-east4-docker.pkg.dev/thoras-registry/platform";

/// The image that every release of the chart has, below [`IMAGE_PREFIX`].
pub(crate) const MAIN_IMAGE: &str = "services";

/// Where the license is valid by default: HOST/PATH.
pub(crate) const LICENSE_SCOPE: &str = "us-east4-docker.pkg.dev/thoras-registry";

/// The user name of the license: what Google's registries expect with a base64-encoded service account key.
pub(crate) const LICENSE_USER: &str = "_json_key_base64";

/// The default name of the pull secret for the vendor's registry.
pub(crate) const PULL_SECRET: &str = "thoras-license";
