//! One chart, rendered several times with other values on top of the user's.
//!
//! The chart is pulled and identified once, and values from standard input are read once. What a chart's values are in
//! the end (defaults of its subcharts under their aliases, imported values, the user's files and assignments) only Helm
//! knows, so Helm is asked: a copy of the chart, without its templates if they change no values, gets one that prints them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    super::EnumerateError,
    ChartOptions, Rendered,
    annotations::{self, AnnotatedImage},
    arguments,
    helm::Helm,
    identify, lighter, obtain, show, template_keys, unpacked, values,
};
use crate::oci::ChartIdentity;

/// Marks the line with the values in a rendering.
const VALUES_LINE: &str = "{\"thorasMirrorValues\":";
/// Prints the values of the whole chart.
const VALUES_TEMPLATE: &str = "{\"thorasMirrorValues\": {{ .Values | toJson }}}\n";
/// The name of that template.
const VALUES_FILE: &str = "thoras-mirror-values.yaml";

/// What values that are put on top of the user's win over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precedence {
    /// Everything but `--set-file`.
    OverAssignments,
    /// The values files only, as in `helm install -f user.yaml -f these.yaml --set …`.
    OverFiles,
}

/// A copy of a chart without the templates that name no image.
pub(crate) struct LighterChart {
    folder: PathBuf,
}

/// A chart on this machine, and the user's settings for it.
pub(crate) struct ChartSession {
    helm: Helm,
    options: ChartOptions,
    passed: arguments::HelmArguments,
    chart: PathBuf,
    /// An unpacked copy.
    copy: PathBuf,
    identity: ChartIdentity,
    annotated: Vec<AnnotatedImage>,
}

impl ChartSession {
    /// Pulls the chart if needed, and identifies it.
    pub(crate) async fn open(options: &ChartOptions) -> Result<Self, EnumerateError> {
        let passed = arguments::check(&options.helm_args)?;
        let helm = Helm::new(options)?;
        let chart = obtain(&helm, options, &passed).await?;
        let metadata = show(&helm, &chart).await?;
        let identity = identify(&metadata, &chart).await?;
        let files = values::files(&helm, &options.values).await?;
        let options = ChartOptions { values: files, ..options.clone() };
        let copy = unpacked::copy(&chart, &helm.private_folder("copy")?)?;
        Ok(Self { helm, options, passed, chart, copy, identity, annotated: annotations::read(&metadata) })
    }

    /// The chart's name, version and digest.
    pub(crate) fn identity(&self) -> &ChartIdentity {
        &self.identity
    }

    /// Renders the chart with the user's values, and `more` on top of them.
    pub(crate) async fn render(
        &self,
        more: Option<(&Map<String, Value>, Precedence)>,
    ) -> Result<String, EnumerateError> {
        self.render_copy(&self.chart, more).await
    }

    /// Renders a lighter copy of the chart.
    pub(crate) async fn render_lighter(
        &self,
        lighter: &LighterChart,
        more: Option<(&Map<String, Value>, Precedence)>,
    ) -> Result<String, EnumerateError> {
        self.render_copy(&lighter.folder, more).await
    }

    /// A copy of the chart without the templates that name no image in this rendering of it; `None` if the copy would not
    /// save time. `naming` are the templates that name images.
    pub(crate) fn lighter(
        &self,
        manifests: &str,
        naming: &BTreeSet<&str>,
    ) -> Result<Option<LighterChart>, EnumerateError> {
        if !lighter::is_worth_it(manifests) {
            return Ok(None);
        }
        let folder = self.helm.private_folder("lighter")?;
        lighter::write(&self.copy, &folder, manifests, naming).map_err(EnumerateError::Workspace)?;
        Ok(Some(LighterChart { folder }))
    }

    async fn render_copy(
        &self,
        chart: &Path,
        more: Option<(&Map<String, Value>, Precedence)>,
    ) -> Result<String, EnumerateError> {
        let prepared = match more {
            Some((more, Precedence::OverFiles)) => {
                let bytes =
                    serde_json::to_vec(more).map_err(|error| EnumerateError::Workspace(error.into()))?;
                let file = values::private_file(&self.helm, "more.yaml", &bytes)?;
                let mut options = self.options.clone();
                options.values.push(file.display().to_string());
                values::prepare(&self.helm, &options).await?
            }
            Some((more, Precedence::OverAssignments)) => {
                values::prepare_under(&self.helm, &self.options, Some(more)).await?
            }
            None => values::prepare(&self.helm, &self.options).await?,
        };
        let arguments = arguments::template(&self.options, &prepared.flags, &self.passed, chart);
        self.helm.run("template", arguments, prepared.standard_input).await
    }

    /// The values that the templates see: the chart's own, its subcharts' and the user's.
    pub(crate) async fn effective_values(&self) -> Result<Map<String, Value>, EnumerateError> {
        let chart = self.helm.private_folder("values-of-chart")?;
        let templates = chart.join("templates");
        let write = || {
            // The chart's own templates take time, and few charts change values in them.
            if template_keys::change_values(&self.copy) {
                unpacked::copy_again(&self.copy, &chart)?;
            } else {
                unpacked::copy_values(&self.copy, &chart)?;
            }
            std::fs::create_dir_all(&templates)?;
            std::fs::write(templates.join(VALUES_FILE), VALUES_TEMPLATE)
        };
        write().map_err(EnumerateError::Workspace)?;
        let prepared = values::prepare(&self.helm, &self.options).await?;
        let arguments = arguments::template(&self.options, &prepared.flags, &self.passed, &chart);
        let output = self.helm.run("template", arguments, prepared.standard_input).await?;
        let line = output.lines().find_map(|line| line.strip_prefix(VALUES_LINE));
        let found = line
            .and_then(|line| line.trim_end().strip_suffix('}'))
            .and_then(|values| serde_json::from_str::<Value>(values).ok());
        match found {
            Some(Value::Object(values)) => Ok(values),
            _ => Err(EnumerateError::HelmOutput {
                operation: "template",
                reason: "does not contain the chart's values".to_owned(),
            }),
        }
    }

    /// What the chart's own `values.yaml` sets.
    pub(crate) fn own_values(&self) -> Map<String, Value> {
        let text = std::fs::read_to_string(self.copy.join("values.yaml")).unwrap_or_default();
        match serde_saphyr::from_str::<Value>(&text) {
            Ok(Value::Object(values)) => values,
            // Helm has read it; what cannot be read here only loses comments.
            _ => Map::new(),
        }
    }

    /// The keys that the templates read, from the root of the values.
    pub(crate) fn template_keys(&self) -> Vec<Vec<String>> {
        template_keys::of_chart(&self.copy)
    }

    /// The keys below which the values of its subcharts are.
    pub(crate) fn subchart_keys(&self) -> Vec<String> {
        template_keys::subcharts(&self.copy).into_iter().flat_map(|(_, names)| names).collect()
    }

    /// The lines of the chart's own templates that read this key.
    pub(crate) fn lines_reading(&self, key: &str) -> Vec<String> {
        template_keys::lines_reading(&self.copy, key)
    }

    /// What the user's files and assignments set, without the contents of `--set-file`.
    pub(crate) async fn given_values(&self) -> Result<Map<String, Value>, EnumerateError> {
        values::given(&self.helm, &self.options).await
    }

    /// What the user's assignments alone set. They win over every values file.
    pub(crate) fn assigned_values(&self) -> Result<Map<String, Value>, EnumerateError> {
        values::assigned(&self.options)
    }

    /// The rendering with what is known about the chart.
    pub(in crate::enumerate) fn rendered(&self, manifests: String) -> Rendered {
        Rendered {
            manifests,
            identity: self.identity.clone(),
            package: None,
            annotated: self.annotated.clone(),
        }
    }
}
