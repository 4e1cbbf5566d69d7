//! Output settings: the format, and how much progress is shown.
//!
//! The command line and [`crate::report`] share these types, so they are below both.

use std::fmt;

/// `--output`: the format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A table.
    Table,
    /// One JSON document.
    Json,
    /// A values file. Only `values` offers it.
    Yaml,
    /// One name per line, for the next program in a pipe. Only `images` offers it.
    List,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::List => "list",
        })
    }
}

/// `redirect --format`: what redirects the pulls of nodes to the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedirectFormat {
    /// containerd: a `hosts.toml` for each source registry.
    Containerd,
    /// CRI-O, Podman and skopeo: `registries.conf`.
    Crio,
    /// `OpenShift`: `ImageDigestMirrorSet` and `ImageTagMirrorSet`.
    Idms,
    /// A Kyverno `ClusterPolicy`.
    Kyverno,
}

impl fmt::Display for RedirectFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Idms => "idms",
            Self::Kyverno => "kyverno",
        })
    }
}

/// How much is written to standard error during a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// `-q`: warnings and errors.
    Quiet,
    /// Progress, and the result of every image.
    #[default]
    Normal,
    /// `-v`: also every blob, every retry and every detail.
    Verbose,
}

/// `--log-format`: the form of the lines on standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}
