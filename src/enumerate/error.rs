//! Why images could not be enumerated.

use std::{io, path::PathBuf};

use crate::{
    error::{Failure, Kind},
    oci::reference::ReferenceError,
};

use super::chart::SetError;

/// What kind of failure it is; the program's exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was typed cannot be done.
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
    /// Helm is not installed.
    #[error("`{}` was not found, and rendering a chart takes Helm", .program.display())]
    HelmMissing {
        /// The program that was looked up.
        program: PathBuf,
    },
    /// Helm is there but could not be started or talked to.
    #[error("`{}` could not be run", .program.display())]
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
    /// Helm succeeded but its output cannot be used.
    #[error("the output of helm {operation} {reason}")]
    HelmOutput {
        /// Helm's subcommand.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The private folder for Helm could not be set up.
    #[error("a private folder for Helm could not be prepared")]
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
    #[error("{input} could not be read")]
    Read {
        /// Its name.
        input: String,
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
    /// A pod spec has an image field with nothing, or no text, in it.
    #[error("{location}: the image is {found}")]
    PodImageMissing {
        /// Resource, path and template.
        location: String,
        /// What is there instead of a reference.
        found: &'static str,
    },
    /// A prefix is not `HOST[/PATH]`.
    #[error("`{}` is not an image prefix", .prefix.escape_debug())]
    Prefix {
        /// As it was written.
        prefix: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// A filter is not a glob.
    #[error("`{}` is not a pattern", .pattern.escape_debug())]
    Pattern {
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// The chart was requested, but the images do not come from a chart.
    #[error("--with-chart needs a chart, and the images come from {}", .from.escape_debug())]
    NoChart {
        /// What names the images.
        from: String,
    },
    /// A registry does not accept the chart's name or version.
    #[error("the chart `{}` cannot be kept in a registry", .name.escape_debug())]
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
    },
    /// A list without a reference.
    #[error("{input} lists no image")]
    EmptyList {
        /// The list.
        input: String,
    },
    /// The filters match no image.
    #[error("--include/--exclude match none of the {found} images")]
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
            | Self::Set { .. }
            | Self::Argument(_)
            | Self::Prefix { .. }
            | Self::Pattern { .. }
            | Self::NoChart { .. }
            | Self::FilteredOut { .. } => ErrorKind::Usage,
            _ => ErrorKind::Input,
        }
    }

    /// What to do about it, where that is not plain from the error itself.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::HelmMissing { .. } => {
                "install Helm 3 (https://helm.sh/docs/intro/install/) or name it with `--helm PATH`; without \
                 Helm, pass rendered manifests with `--rendered FILE`, or a list of images \
                 with `--images FILE`"
            }
            Self::HelmFailed { operation: "pull", .. } => {
                "check `--chart`, `--repo` and `--chart-version`; without access to the chart repository, pass \
                 a chart file, `--rendered FILE` or `--images FILE`"
            }
            Self::HelmFailed { operation: "template", .. } => {
                "pass the values that the chart asks for with `--values` or `--set`; `helm template` with the \
                 same options says the same"
            }
            Self::Set { reason, .. } => return reason.hint().map(str::to_owned),
            Self::PodImage { .. } | Self::PodImageMissing { .. } => {
                "set the chart value that this image is made of with `--set` or `--values`"
            }
            Self::Yaml { .. } => {
                "pass the output of `helm template`, or use `--images` for a plain list of images"
            }
            Self::HelmFailed { operation: "package", .. } => {
                "`helm package` of the same folder says the same; without --with-chart, the chart is not packaged"
            }
            Self::NoChart { .. } => "omit --with-chart, or name the chart with --chart",
            Self::ChartName { .. } => "omit --with-chart, and carry the chart package as a file",
            Self::NoImages { notes, .. } if !notes.is_empty() => return Some(notes.join("\n")),
            Self::NoImages { .. } => {
                "check the chart's values; `--image-prefix HOST/PATH` finds more images in environment values, \
                 arguments and ConfigMaps, and `--add IMAGE` adds one"
            }
            Self::Read { .. } => "check the path (relative to the current directory) and its permissions",
            Self::Pods { .. } => "pass the output of `kubectl get pods -A -o json`",
            Self::EmptyList { .. } => {
                "write one image a line, for example quay.io/team/app:1.0; a line that begins with # is a comment"
            }
            Self::ListedReference { .. } => {
                "write one image a line; for rendered manifests, pass `--rendered FILE` instead of `--images`"
            }
            Self::HelmUnusable { .. } => {
                "check that it is a program that this user may run, or name another with `--helm PATH`"
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
        Self::from_error(error.kind().into(), &error).with_optional_hint(error.hint())
    }
}
