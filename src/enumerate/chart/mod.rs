//! Renders a chart with the Helm that is installed.
//!
//! Helm runs in an empty private folder, because it prefers a local folder of a chart's name to the
//! repository; every path is made absolute before. A chart that is not local is pulled first, so that what
//! is identified, hashed and rendered is one and the same file. What the sub-modules are for:
//!
//! - [`published`] fetches a chart from a registry, at a version that [`versions`] chooses as Helm does;
//! - [`location`] tells a local chart from one to pull, and makes paths absolute;
//! - [`arguments`] writes Helm's command lines and checks raw ones;
//! - [`values`] brings `--set` and `--set-string` to Helm without showing them to `ps`, with [`strvals`]
//!   reading their grammar;
//! - [`package`] makes the chart itself into something that can be copied;
//! - [`naming_values`] finds the values that name an image;
//! - [`session`] renders one chart several times with other values: [`unpacked`] copies it, [`template_keys`] finds the
//!   values that its templates read, and [`lighter`] leaves out the templates that name no image;
//! - [`helm`] runs the program, and keeps what [`secrets`] finds out of its messages.

mod arguments;
mod helm;
mod lighter;
mod location;
mod naming_values;
mod package;
mod published;
mod secrets;
mod session;
mod strvals;
mod template_keys;
mod unpacked;
mod values;
mod versions;

pub(crate) use naming_values::{ValueKey, values_naming};
pub(crate) use package::ChartPackage;
pub(crate) use published::fetch as fetch_published;
pub(crate) use session::{ChartSession, LighterChart, Precedence};
pub(super) use strvals::SetError;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::oci::{Algorithm, Digest, Hasher};

use super::{
    EnumerateError, ReadAs,
    annotations::{self, AnnotatedImage},
};
use crate::{oci::ChartIdentity, vendor};
use helm::Helm;
use location::Location;

/// Options for Helm, named like its own flags.
#[derive(Debug, Clone)]
pub struct ChartOptions {
    /// A bare name (looked up in `repository`), `ALIAS/NAME`, `oci://…`, a URL, a folder or a `.tgz`.
    pub chart: String,
    /// The chart repository's URL; it applies to a bare name only.
    pub repository: String,
    /// A version or a range; the newest if absent.
    pub version: Option<String>,
    /// Values files: paths, URLs, or `-` for standard input.
    pub values: Vec<String>,
    /// `KEY=VALUE`, typed as Helm types them. Kept secret: a value may be a password.
    pub set: Vec<SecretString>,
    /// `KEY=VALUE`, always text. Kept secret.
    pub set_string: Vec<SecretString>,
    /// `KEY=PATH`: the file's content is the value.
    pub set_file: Vec<String>,
    /// The namespace to render for.
    pub namespace: Option<String>,
    /// The Kubernetes version to render for.
    pub kube_version: Option<String>,
    /// API versions that the chart may find.
    pub api_versions: Vec<String>,
    /// Whether custom resource definitions are part of the output; they name no images either way.
    pub include_crds: bool,
    /// More arguments for `helm template`; those about downloads go to `helm pull` as well.
    pub helm_args: Vec<String>,
    /// The program; `helm` on the `PATH` if absent.
    pub helm: Option<PathBuf>,
    /// The package of an `oci://…` chart, which Helm does not fetch itself.
    pub package: Option<Bytes>,
}

impl Default for ChartOptions {
    fn default() -> Self {
        Self {
            chart: vendor::CHART.to_owned(),
            repository: vendor::CHART_REPOSITORY.to_owned(),
            version: None,
            values: Vec::new(),
            set: Vec::new(),
            set_string: Vec::new(),
            set_file: Vec::new(),
            namespace: None,
            kube_version: None,
            api_versions: Vec::new(),
            include_crds: false,
            helm_args: Vec::new(),
            helm: None,
            package: None,
        }
    }
}

/// What Helm made of a chart. The manifests hold Secrets: they are never written anywhere.
pub(super) struct Rendered {
    pub(super) manifests: String,
    pub(super) identity: ChartIdentity,
    /// The chart itself, where it was asked for.
    pub(super) package: Option<ChartPackage>,
    /// The images that the chart's annotations list.
    pub(super) annotated: Vec<AnnotatedImage>,
}

/// Renders a chart: pull if needed, identify, template; and package it if `with_chart`.
pub(super) async fn render(options: &ChartOptions, with_chart: bool) -> Result<Rendered, EnumerateError> {
    let passed = arguments::check(&options.helm_args)?;
    let helm = Helm::new(options)?;
    let chart = obtain(&helm, options, &passed).await?;
    let values = values::prepare(&helm, options).await?;
    let metadata = show(&helm, &chart).await?;
    let mut identity = identify(&metadata, &chart).await?;
    check_version(options, &identity.version)?;
    let package = if with_chart {
        let package = package::package(&helm, options, &chart, &metadata).await?;
        identity.digest = Some(package.digest.clone());
        Some(package)
    } else {
        None
    };
    let arguments = arguments::template(options, &values.flags, &passed, &chart);
    let manifests = helm.run("template", arguments, values.standard_input).await?;
    Ok(Rendered { manifests, identity, package, annotated: annotations::read(&metadata) })
}

/// Packages a chart without rendering it.
pub(crate) async fn package_chart(options: &ChartOptions) -> Result<ChartPackage, EnumerateError> {
    let passed = arguments::check(&options.helm_args)?;
    let helm = Helm::new(options)?;
    let chart = obtain(&helm, options, &passed).await?;
    let metadata = show(&helm, &chart).await?;
    check_version(options, &ChartYaml::deserialize(&metadata).map_err(|_| not_a_chart())?.version)?;
    package::package(&helm, options, &chart, &metadata).await
}

/// The chart as a folder or a package on this machine.
async fn obtain(
    helm: &Helm,
    options: &ChartOptions,
    passed: &arguments::HelmArguments,
) -> Result<PathBuf, EnumerateError> {
    if let Some(package) = &options.package {
        let path = helm.private_folder("fetched")?.join("chart.tgz");
        tokio::fs::write(&path, package).await.map_err(EnumerateError::Workspace)?;
        return Ok(path);
    }
    match Location::find(&options.chart)? {
        Location::Local(path) => Ok(path),
        Location::Remote => pull(helm, options, passed).await,
    }
}

/// Downloads the packaged chart into the private folder.
async fn pull(
    helm: &Helm,
    options: &ChartOptions,
    passed: &arguments::HelmArguments,
) -> Result<PathBuf, EnumerateError> {
    let folder = helm.private_folder("pulled")?;
    let pulled = helm.run("pull", arguments::pull(options, passed, &folder), None).await;
    pulled.map_err(|error| match error {
        EnumerateError::HelmFailed { .. }
            if location::is_bare_name(&options.chart) && Path::new(&options.chart).exists() =>
        {
            EnumerateError::NotPulled { pulled: Box::new(error), chart: options.chart.clone() }
        }
        other => other,
    })?;
    package::find(&folder, "pull")
}

/// The fields of `Chart.yaml` that are recorded.
#[derive(Deserialize)]
struct ChartYaml {
    name: String,
    version: String,
}

/// `Chart.yaml` as Helm reads it.
async fn show(helm: &Helm, chart: &Path) -> Result<Value, EnumerateError> {
    let shown = helm.run("show", arguments::show(chart), None).await?;
    serde_saphyr::from_str(&shown).map_err(|_| not_a_chart())
}

fn not_a_chart() -> EnumerateError {
    let reason = "is not a Chart.yaml with a name and a version".to_owned();
    EnumerateError::HelmOutput { operation: "show", reason }
}

async fn identify(metadata: &Value, chart: &Path) -> Result<ChartIdentity, EnumerateError> {
    let ChartYaml { name, version } = ChartYaml::deserialize(metadata).map_err(|_| not_a_chart())?;
    let digest = if chart.is_file() { Some(hash(chart).await?) } else { None };
    Ok(ChartIdentity { name, version, digest })
}

/// Refuses another version of a chart on this machine: there is only one, and Helm would ignore the version.
fn check_version(options: &ChartOptions, found: &str) -> Result<(), EnumerateError> {
    let Some(wanted) = &options.version else { return Ok(()) };
    let plain = |version: &str| version.strip_prefix('v').unwrap_or(version).to_owned();
    if matches!(Location::find(&options.chart)?, Location::Remote) || plain(wanted) == plain(found) {
        return Ok(());
    }
    let (chart, wanted, found) = (options.chart.clone(), wanted.clone(), found.to_owned());
    Err(EnumerateError::ChartVersion { chart, wanted, found })
}

/// The digest of a packaged chart, as a chart repository's index and an OCI registry give it.
async fn hash(package: &Path) -> Result<Digest, EnumerateError> {
    let failed = |source| EnumerateError::Read {
        input: package.display().to_string(),
        read_as: ReadAs::Chart,
        source,
    };
    let mut file = tokio::fs::File::open(package).await.map_err(failed)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).await.map_err(failed)?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => hasher.update(bytes),
            _ => return Ok(hasher.finish()),
        }
    }
}

#[cfg(test)]
mod comparison;
