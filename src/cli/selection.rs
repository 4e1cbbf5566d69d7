//! Which images: a chart, rendered manifests, a list or references, and which of them.

use std::path::PathBuf;

use clap::Args;

use crate::enumerate::Mentions;

/// Which images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which images")]
pub struct SelectionArgs {
    /// Image references, instead of a chart's
    #[arg(value_name = "IMAGE", conflicts_with_all = ["rendered", "images", "chart"])]
    pub image: Vec<String>,

    /// A chart: a name in --repo, a folder, a .tgz file or an oci:// reference
    ///
    /// [env: THORAS_MIRROR_CHART] [default: thoras]
    // The environment is read in `settings`: here, a variable would count as a flag that conflicts with others.
    #[arg(long, value_name = "CHART", verbatim_doc_comment, conflicts_with_all = ["rendered", "images"])]
    pub chart: Option<String>,

    /// The Helm repository of a chart that is only a name [default: the vendor's]
    #[arg(long, value_name = "URL", env = "THORAS_MIRROR_REPO")]
    pub repo: Option<String>,

    /// The chart's version [default: the latest]
    #[arg(long, value_name = "VERSION", env = "THORAS_MIRROR_CHART_VERSION")]
    pub chart_version: Option<String>,

    /// Values for the chart (repeatable)
    #[arg(long, short = 'f', value_name = "FILE", env = "THORAS_MIRROR_VALUES", value_delimiter = ',')]
    pub values: Vec<String>,

    /// One value for the chart, as helm's --set (repeatable)
    #[arg(long, value_name = "KEY=VALUE", hide_env_values = true)]
    pub set: Vec<String>,

    /// One value that is always text, as helm's --set-string (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set_string: Vec<String>,

    /// One value from a file, as helm's --set-file (repeatable)
    #[arg(long, value_name = "KEY=FILE")]
    pub set_file: Vec<String>,

    /// The namespace to render the chart for
    #[arg(long, short, value_name = "NAMESPACE", env = "THORAS_MIRROR_NAMESPACE")]
    pub namespace: Option<String>,

    /// The Kubernetes version to render the chart for
    #[arg(long, value_name = "VERSION", env = "THORAS_MIRROR_KUBE_VERSION")]
    pub kube_version: Option<String>,

    /// A Kubernetes API that the cluster has (repeatable)
    #[arg(long, value_name = "GROUP/VERSION")]
    pub api_versions: Vec<String>,

    /// Render the chart's custom resource definitions as well
    #[arg(long)]
    pub include_crds: bool,

    /// One more argument for helm template (repeatable)
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub helm_arg: Vec<String>,

    /// The helm program [default: helm on PATH]
    #[arg(long, value_name = "FILE", env = "THORAS_MIRROR_HELM")]
    pub helm: Option<PathBuf>,

    /// Manifests that are rendered already; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    pub rendered: Option<String>,

    /// A list of images, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub images: Option<String>,

    /// Include images that are only mentioned in environment variables, arguments and ConfigMaps: all complete
    /// references, those that a key calls an image, or none
    #[arg(long, value_enum, value_name = "WHICH", env = "THORAS_MIRROR_MENTIONS", default_value_t)]
    pub mentions: Mentions,

    /// A registry or an organization whose images count wherever they are mentioned, also by a short name:
    /// docker.io/acme matches acme/web:1 (repeatable)
    #[arg(long, value_name = "HOST[/PATH]", env = "THORAS_MIRROR_IMAGE_PREFIX", value_delimiter = ',')]
    pub image_prefix: Vec<String>,

    /// Add an image to those of the chart or the manifests (repeatable)
    #[arg(long, value_name = "IMAGE", env = "THORAS_MIRROR_ADD", value_delimiter = ',')]
    pub add: Vec<String>,

    /// Add a list of images, one a line; - is standard input (repeatable)
    #[arg(long, value_name = "FILE", env = "THORAS_MIRROR_ADD_IMAGES", value_delimiter = ',')]
    pub add_images: Vec<String>,

    /// Add the images that the chart's annotations list
    #[arg(long)]
    pub annotated: bool,

    /// Leave out images that only helm test uses
    #[arg(long)]
    pub no_test_hooks: bool,

    /// Keep only images that this glob matches, such as '*services*' (repeatable)
    ///
    /// [env: THORAS_MIRROR_INCLUDE]
    // The environment of this and of `exclude` is read in `settings`, like that of `chart`.
    #[arg(long, value_name = "GLOB", verbatim_doc_comment, value_delimiter = ',')]
    pub include: Vec<String>,

    /// Leave out images that this glob matches (repeatable)
    ///
    /// [env: THORAS_MIRROR_EXCLUDE]
    #[arg(long, value_name = "GLOB", verbatim_doc_comment, value_delimiter = ',')]
    pub exclude: Vec<String>,
}
