//! Errors of finding images, with hints.

use std::{io, path::PathBuf};

use crate::{
    endpoint,
    error::{Failure, Kind},
    oci::reference::{ReferenceError, hide_login},
};

use super::{chart::SetError, read_as::ReadAs};

/// What to do if Helm cannot download a chart.
const CHECK_CHART: &str = "check --chart, --repo and --chart-version; without access to the chart repository, pass \
                           a chart file, --rendered FILE or --images FILE";

/// What kind of failure it is; the program's exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line asks for something impossible.
    Usage,
    /// What was named cannot be read, or does not hold what it should.
    Input,
}

impl From<ErrorKind> for Kind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Input => Self::Input,
        }
    }
}

/// Why images could not be enumerated. No text repeats what a manifest or a value holds, except a
/// reference that was found in an image's place.
#[derive(Debug, thiserror::Error)]
pub enum EnumerateError {
    /// A chart could not be read from a registry.
    #[error(transparent)]
    Registry(Box<endpoint::Error>),
    /// `oci://…` is not followed by a registry and a repository.
    #[error("`{}` is not a chart in a registry: {source}", hide_login(.chart).escape_debug())]
    ChartReference {
        /// What was typed.
        chart: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The chart's version was given twice, differently.
    #[error("the chart's reference names `{}`, but --chart-version is `{}`", .named.escape_debug(), .version.escape_debug())]
    ChartVersionTwice {
        /// The tag or digest in the reference.
        named: String,
        /// `--chart-version`
        version: String,
    },
    /// `--chart-version` is neither a version nor a range of versions.
    #[error("--chart-version `{}` is neither a version nor a range of versions", .version.escape_debug())]
    ChartRange {
        /// What was typed.
        version: String,
    },
    /// A registry has no such version of a chart.
    #[error("{chart} has no version{wanted}")]
    NoChartVersion {
        /// The chart.
        chart: String,
        /// ` that matches …`; empty for any version.
        wanted: String,
        /// Some tags that it has.
        available: Vec<String>,
    },
    /// What a registry has under a chart's name is something else.
    #[error("{chart} is not a Helm chart: {reason}")]
    NotAChart {
        /// The chart.
        chart: String,
        /// What is wrong.
        reason: String,
    },
    /// Helm is not installed.
    #[error("`{}` was not found; rendering a chart requires Helm", .program.display())]
    HelmMissing {
        /// The program that was looked up.
        program: PathBuf,
    },
    /// Helm is there but could not be started or talked to.
    #[error("cannot run `{}`", .program.display())]
    HelmUnusable {
        /// What was started.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Helm failed.
    #[error("helm {operation} failed ({status}): {message}")]
    HelmFailed {
        /// Helm's subcommand.
        operation: &'static str,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error: escaped, without values that were set, in lines.
        message: String,
    },
    /// Helm cannot download the chart, and a file or folder on this machine has its name.
    #[error("{pulled}")]
    NotPulled {
        /// Helm's failure.
        pulled: Box<EnumerateError>,
        /// The chart, which is also a path.
        chart: String,
    },
    /// Helm succeeded but its output cannot be used.
    #[error("the output of helm {operation} {reason}")]
    HelmOutput {
        /// Helm's subcommand.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The private folder for Helm could not be set up.
    #[error("cannot create a private folder for Helm in {}", std::env::temp_dir().display())]
    Workspace(#[source] io::Error),
    /// An argument for Helm that has its own option here, or that would break a guarantee.
    #[error("`--helm-arg={}` is refused: {reason}", .argument.escape_debug())]
    HelmArgument {
        /// The flag, without its value.
        argument: String,
        /// Why, and what to write instead.
        reason: &'static str,
    },
    /// A `--set`, `--set-string` or `--set-file` that Helm would not accept, or that cannot reach it unseen.
    #[error("`{flag}` number {number} {reason}")]
    Set {
        /// The option.
        flag: &'static str,
        /// Which of them, counted from 1: the text itself may be secret.
        number: usize,
        /// What is wrong with it.
        reason: SetError,
    },
    /// A file, or standard input, could not be read.
    #[error("cannot read {input}")]
    Read {
        /// Its name.
        input: String,
        /// What it is read as.
        read_as: ReadAs,
        /// The system's reason.
        source: io::Error,
    },
    /// A document is not YAML.
    #[error("{input}, line {line}: {reason}")]
    Yaml {
        /// The file.
        input: String,
        /// The line in the whole file, counted from 1.
        line: usize,
        /// What is wrong, without quoting the document.
        reason: &'static str,
    },
    /// The output of `kubectl` cannot be used.
    #[error("{input} {reason}")]
    Pods {
        /// The file.
        input: String,
        /// What is wrong, without quoting the document.
        reason: &'static str,
    },
    /// A line of a list is not a reference.
    #[error("{input}, line {line}: {source}")]
    ListedReference {
        /// The list.
        input: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The value of `--add` is not a reference.
    #[error("--add: {0}")]
    Add(#[source] ReferenceError),
    /// An argument is not a reference.
    #[error(transparent)]
    Argument(#[from] ReferenceError),
    /// A pod spec names an image that no registry could hold.
    #[error("{location}: {source}")]
    PodImage {
        /// Resource, path and template.
        location: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The image of a pod spec is not text.
    #[error("{location}: the image is not text")]
    PodImageNotText {
        /// Resource, path and template.
        location: String,
    },
    /// A prefix is not `HOST[/PATH]`.
    #[error("--image-prefix: `{}` is not HOST[/PATH]", .prefix.escape_debug())]
    Prefix {
        /// As it was written.
        prefix: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// A filter is not a glob.
    #[error("{flag} {} is not a pattern", .pattern.escape_debug())]
    Pattern {
        /// `--include` or `--exclude`.
        flag: &'static str,
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// The chart was requested, but the images do not come from a chart.
    #[error("--with-chart needs a chart, but the images come from {}", .from.escape_debug())]
    NoChart {
        /// What names the images.
        from: String,
    },
    /// The chart on this machine has another version.
    #[error("the chart {} has version {}, not {}", .chart.escape_debug(), .found.escape_debug(), .wanted.escape_debug())]
    ChartVersion {
        /// Its folder or file.
        chart: String,
        /// The version that was asked for.
        wanted: String,
        /// Its version.
        found: String,
    },
    /// A registry does not accept the chart's name or version.
    #[error("the chart `{}` cannot be stored in a registry", .name.escape_debug())]
    ChartName {
        /// The chart's own name.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// No image was found.
    #[error("{} names no image", .from.escape_debug())]
    NoImages {
        /// What was read.
        from: String,
        /// What needs an image all the same, as lines.
        notes: Vec<String>,
        /// Whether a chart was rendered, rather than a file read.
        is_chart: bool,
    },
    /// A list without a reference.
    #[error("{input} lists no image")]
    EmptyList {
        /// The list.
        input: String,
    },
    /// The filters leave out every image.
    #[error("--include/--exclude {}", match .found {
        1 => "leave out the only image".to_owned(),
        found => format!("leave out all {found} images"),
    })]
    FilteredOut {
        /// How many images there were before the filters.
        found: usize,
    },
}

impl EnumerateError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::HelmArgument { .. }
            | Self::ChartReference { .. }
            | Self::ChartVersionTwice { .. }
            | Self::ChartRange { .. }
            | Self::Set { .. }
            | Self::Argument(_)
            | Self::Add(_)
            | Self::Prefix { .. }
            | Self::Pattern { .. }
            | Self::NoChart { .. }
            | Self::ChartVersion { .. }
            | Self::FilteredOut { .. } => ErrorKind::Usage,
            _ => ErrorKind::Input,
        }
    }

    /// What to do about it, where that is not plain from the error itself.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::ChartReference { .. } => {
                "write oci://REGISTRY/PATH/CHART; pass a login with `docker login`, `helm registry login` or --authfile"
            }
            Self::ChartVersionTwice { .. } => "omit one of them",
            Self::Pattern { .. } => {
                "write a pattern such as '*services*'; put a backslash before each of * ? [ ] { } that is part of a name"
            }
            Self::ChartRange { .. } => {
                "write a version such as 4.53.0, or a range such as ~4.53 or \">=4.50, <5\""
            }
            Self::NoChartVersion { available, .. } if !available.is_empty() => {
                return Some(format!("it has, for example: {}", available.join(", ")));
            }
            Self::NotAChart { .. } | Self::NoChartVersion { .. } => "check --chart and --chart-version",
            Self::HelmMissing { .. } => {
                "install Helm (https://helm.sh/docs/intro/install/) or name it with --helm FILE; without Helm, \
                 pass --rendered FILE or --images FILE"
            }
            Self::NotPulled { chart, .. } => {
                return Some(format!(
                    "for {chart} in this folder, pass --chart ./{chart}; otherwise {CHECK_CHART}"
                ));
            }
            Self::HelmFailed { operation: "pull", .. } => CHECK_CHART,
            Self::HelmFailed { operation: "template", .. } => {
                "pass the values that the chart asks for with --values or --set; `helm template` with the \
                 same options shows the same error"
            }
            Self::Set { reason, .. } => return reason.hint().map(str::to_owned),
            Self::PodImage { .. } | Self::PodImageNotText { .. } => {
                "set the chart value that this image is made of with --set or --values"
            }
            Self::Yaml { .. } => {
                "pass the output of `helm template`, or use --images for a plain list of images"
            }
            Self::HelmFailed { operation: "package", .. } => {
                "`helm package` on the same folder shows the same error; without --with-chart, the chart is not packaged"
            }
            Self::NoChart { .. } => "omit --with-chart, or name the chart with --chart",
            Self::ChartVersion { .. } => {
                "omit --chart-version for a chart folder or file, or pass another --chart"
            }
            Self::ChartName { .. } => "omit --with-chart, and carry the chart package as a file",
            Self::NoImages { notes, .. } if !notes.is_empty() => return Some(notes.join("\n")),
            Self::NoImages { is_chart: false, .. } => {
                "pass the output of `helm template`; --image-prefix HOST/PATH finds more images in environment values, \
                 arguments and ConfigMaps, and --add IMAGE adds one"
            }
            Self::NoImages { is_chart: true, .. } => {
                "check the chart's values; --image-prefix HOST/PATH finds more images in environment values, \
                 arguments and ConfigMaps, and --add IMAGE adds one"
            }
            Self::Read { read_as, source, .. } => read_as.hint(source),
            Self::Pods { .. } => "pass the output of `kubectl get pods -A -o json`",
            Self::EmptyList { .. } => {
                "write one image per line, for example quay.io/team/app:1.0; a line that begins with # is a comment"
            }
            Self::ListedReference { .. } => {
                "write one image per line; for rendered manifests, pass --rendered FILE instead of --images"
            }
            Self::Workspace(_) => "check that this user may write there, or set TMPDIR to another folder",
            Self::HelmUnusable { .. } => {
                "check that it is a program that this user may run, or name another with --helm FILE"
            }
            Self::FilteredOut { .. } => {
                "patterns match the whole normalized reference, for example `--include '*services*'` or \
                 `--exclude 'quay.io/**'`; `thoras-mirror images` without filters lists the references"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<EnumerateError> for Failure {
    fn from(error: EnumerateError) -> Self {
        if let EnumerateError::Registry(error) = &error {
            let failure = error.failure();
            // No image has failed yet: a chart that cannot be read is unreadable input.
            let kind = if failure.kind == Kind::Image { Kind::Input } else { failure.kind };
            return Self { kind, ..failure };
        }
        Self::from_error(error.kind().into(), &error).with_optional_hint(error.hint())
    }
}

impl From<endpoint::Error> for EnumerateError {
    fn from(error: endpoint::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}
