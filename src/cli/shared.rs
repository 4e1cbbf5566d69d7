//! Arguments that several commands share: which images, where to, which platforms.

use std::path::PathBuf;

use clap::{
    Arg, Args,
    builder::{BoolishValueParser, NonEmptyStringValueParser},
};

use super::{choice, variable};
use crate::{
    confirm::CheckLevel,
    enumerate::Mentions,
    graph::Referrers,
    oci::{Naming, Platform, Repository},
    output::Format,
    vendor,
    waiver::Waiver,
};

/// The default of `--lock`.
pub(crate) const DEFAULT_LOCK: &str = "thoras-mirror.lock";

pub(super) const FORMATS: &[(Format, &str)] =
    &[(Format::Table, "A table"), (Format::Json, "One JSON document")];

/// `--mentions`
const MENTIONS: &[(Mentions, &str)] = &[
    (Mentions::All, "Complete references, and values whose key says that they are an image"),
    (
        Mentions::Named,
        "Only values whose key says that they are an image, and references below --image-prefix",
    ),
    (Mentions::None, "Only pod specs and custom resources"),
];

const CHECK_LEVELS: &[(CheckLevel, &str)] = &[
    (CheckLevel::Manifests, "The manifest under the tag and every child manifest"),
    (CheckLevel::Blobs, "Also that every blob exists"),
];

/// `--referrers`
const REFERRERS: &[(Referrers, &str)] = &[
    (Referrers::All, "Everything: referrers, and cosign's .sig, .att and .sbom tags"),
    (Referrers::Signatures, "Only signatures, and sigstore bundles, which may hold attestations"),
    (Referrers::None, "Nothing: no request is made for them"),
];

const NAMINGS: &[(Naming, &str)] = &[
    (Naming::Relative, "The path below the source prefix; outside that prefix, the path without the host"),
    (Naming::Last, "Only the last path component"),
    (Naming::Full, "The host and the path"),
];

/// How a command prints its result. The command sets the heading.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(long, short, value_parser = choice(FORMATS), env = variable::OUTPUT, default_value_t = Format::Table)]
    pub output: Format,
}

/// How images are copied to a registry. The command sets the heading.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct CopyArgs {
    /// What to check at the destination, before and after copying
    #[arg(hide_short_help = true, long, value_parser = choice(CHECK_LEVELS), default_value_t = CheckLevel::Manifests, env = "THORAS_MIRROR_CHECK")]
    pub check: CheckLevel,

    /// Fail an image whose tag points to a different digest at the destination, instead of moving the tag
    #[arg(hide_short_help = true, long, env = "THORAS_MIRROR_NO_OVERWRITE", value_parser = BoolishValueParser::new())]
    pub no_overwrite: bool,

    /// Copy at most this many blobs at once, to each destination [default: adaptive, at most 16]
    #[arg(hide_short_help = true, long, value_name = "N", env = "THORAS_MIRROR_JOBS", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub jobs: Option<u16>,

    /// After the first failure at a destination, start no more images there
    #[arg(hide_short_help = true, long, env = "THORAS_MIRROR_FAIL_FAST", value_parser = BoolishValueParser::new())]
    pub fail_fast: bool,
}

/// Which signatures, attestations and SBOMs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signatures and other attachments")]
pub(crate) struct ReferrerArgs {
    /// Which signatures, attestations and other attached manifests to include
    #[arg(hide_short_help = true, long, value_name = "WHICH", value_parser = choice(REFERRERS), default_value_t = Referrers::All, env = "THORAS_MIRROR_REFERRERS")]
    pub referrers: Referrers,

    /// Include only attached manifests whose artifact type matches a glob such as '*spdx*' (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "GLOB",
        env = "THORAS_MIRROR_REFERRER_TYPE",
        value_delimiter = ','
    )]
    pub referrer_type: Vec<String>,
}

/// Which images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image selection")]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub(crate) struct SelectionArgs {
    /// Images to use instead of a chart's
    #[arg(value_name = "IMAGE", conflicts_with_all = ["rendered", "images", "chart"])]
    pub image: Vec<String>,

    /// A chart: its name in --repo, a folder, a .tgz file or oci://HOST/PATH
    ///
    /// [env: THORAS_MIRROR_CHART] [default: thoras]
    // `request` reads this variable: if clap read it, it would count as a flag and conflict with real flags.
    #[arg(long, value_name = "CHART", verbatim_doc_comment, conflicts_with_all = ["rendered", "images"])]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub chart: Option<String>,

    /// The Helm repository of a chart given by name [default: the vendor's]
    #[arg(hide_short_help = true, long, value_name = "URL", env = "THORAS_MIRROR_REPO")]
    pub repo: Option<String>,

    /// The chart's version, or a range such as ~4.53 [default: the latest]
    #[arg(long, value_name = "RANGE", env = "THORAS_MIRROR_CHART_VERSION")]
    pub chart_version: Option<String>,

    /// Values for the chart (repeatable)
    #[arg(long, short = 'f', value_name = "FILE", env = "THORAS_MIRROR_VALUES", value_delimiter = ',')]
    pub values: Vec<String>,

    /// A value for the chart, as in helm (repeatable)
    #[arg(long, value_name = "KEY=VALUE", hide_env_values = true)]
    pub set: Vec<String>,

    /// A string value, like helm --set-string (repeatable)
    #[arg(hide_short_help = true, long, value_name = "KEY=VALUE")]
    pub set_string: Vec<String>,

    /// A value read from a file, like helm --set-file (repeatable)
    #[arg(hide_short_help = true, long, value_name = "KEY=FILE")]
    pub set_file: Vec<String>,

    /// The namespace to render the chart for
    #[arg(hide_short_help = true, long, short, value_name = "NAMESPACE", env = "THORAS_MIRROR_NAMESPACE")]
    pub namespace: Option<String>,

    /// The Kubernetes version to render the chart for
    #[arg(hide_short_help = true, long, value_name = "VERSION", env = "THORAS_MIRROR_KUBE_VERSION")]
    pub kube_version: Option<String>,

    /// A Kubernetes API that the cluster provides (repeatable)
    #[arg(hide_short_help = true, long, value_name = "GROUP/VERSION")]
    pub api_versions: Vec<String>,

    /// Also render the chart's custom resource definitions
    #[arg(hide_short_help = true, long)]
    pub include_crds: bool,

    /// An additional argument for helm template (repeatable)
    #[arg(hide_short_help = true, long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub helm_arg: Vec<String>,

    /// The helm program [default: helm on PATH]
    #[arg(hide_short_help = true, long, value_name = "FILE", env = "THORAS_MIRROR_HELM")]
    pub helm: Option<PathBuf>,

    /// Rendered manifests; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    pub rendered: Option<String>,

    /// Images, one per line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub images: Option<String>,

    /// Which mentions of images in environment variables, arguments and ConfigMaps to include
    #[arg(hide_short_help = true, long, value_parser = choice(MENTIONS), value_name = "WHICH", env = "THORAS_MIRROR_MENTIONS", default_value_t = Mentions::All)]
    pub mentions: Mentions,

    /// A registry or an organization whose images are found wherever they are mentioned, even by a short name:
    /// docker.io/acme also finds acme/web:1 (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "HOST[/PATH]",
        env = "THORAS_MIRROR_IMAGE_PREFIX",
        value_delimiter = ','
    )]
    pub image_prefix: Vec<String>,

    /// Add an image to those of the chart or the manifests (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "IMAGE",
        env = "THORAS_MIRROR_ADD",
        value_delimiter = ','
    )]
    pub add: Vec<String>,

    /// Add a list of images, one per line; - is standard input (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        env = "THORAS_MIRROR_ADD_IMAGES",
        value_delimiter = ','
    )]
    pub add_images: Vec<String>,

    /// Add the images that a cluster runs (repeatable)
    ///
    /// The file is the output of kubectl get pods -A -o json; - is standard input. Images below --to are left out.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        env = "THORAS_MIRROR_ADD_RUNNING",
        value_delimiter = ','
    )]
    pub add_running: Vec<String>,

    /// Add the images that the chart's annotations list
    #[arg(hide_short_help = true, long)]
    pub annotated: bool,

    /// Leave out images that only helm test uses
    #[arg(hide_short_help = true, long)]
    pub no_test_hooks: bool,

    /// Fail if an optional image is missing, or a chart is not rendered
    ///
    /// An image is optional if it is only mentioned: neither a pod spec nor a custom resource names it.
    #[arg(long, env = "THORAS_MIRROR_STRICT", value_parser = BoolishValueParser::new())]
    pub strict: bool,

    /// Which of them.
    #[command(flatten)]
    pub filters: FilterArgs,
}

/// Which of the images that were found.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image selection")]
pub(crate) struct FilterArgs {
    /// Keep only images that match a glob such as '*services*' (repeatable)
    ///
    /// [env: THORAS_MIRROR_INCLUDE]
    // `request` reads these two variables: if clap read them, they would count as flags and conflict with real flags.
    #[arg(long, value_name = "GLOB", verbatim_doc_comment, value_delimiter = ',')]
    pub include: Vec<String>,

    /// Leave out what this glob matches (repeatable)
    ///
    /// [env: THORAS_MIRROR_EXCLUDE]
    #[arg(long, value_name = "GLOB", verbatim_doc_comment, value_delimiter = ',')]
    pub exclude: Vec<String>,
}

/// Where images go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub(crate) struct DestinationArgs {
    /// The registry and path to mirror to
    #[arg(hide_short_help = true, long, value_name = "REGISTRY/PATH", env = variable::TO)]
    pub to: String,

    /// How images are named at the destination.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// How to log in at the destination.
    #[command(flatten)]
    pub login: LoginArgs,
}

/// Where images go, to one or several places.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination", mut_arg("to_username", describe_username))]
pub(crate) struct DestinationsArgs {
    /// The registry and path to mirror to (repeatable: every blob is read once)
    #[arg(hide_short_help = true, long, value_name = "REGISTRY/PATH", env = variable::TO, required = true)]
    pub to: Vec<String>,

    /// How images are named at the destinations.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// How to log in at one of the destinations.
    #[command(flatten)]
    pub login: LoginArgs,
}

/// Describes `--to-username` for commands that take several destinations.
pub(super) fn describe_username(arg: Arg) -> Arg {
    arg.value_name("[HOST=]NAME").help("The user name for the registry in --to").long_help(
        "The user name for the registry in --to\n\nNo other registry receives it. With several registries, HOST says for which \
         one it is; the logins for the others come from Docker's configuration or --authfile.",
    )
}

/// How images are named at the destination.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub(crate) struct NamingArgs {
    /// How images are named at the destination [default: as recorded in the lock or bundle, else relative]
    #[arg(hide_short_help = true, long, value_parser = choice(NAMINGS), env = "THORAS_MIRROR_NAMING")]
    pub naming: Option<Naming>,

    /// The prefix that relative naming removes [default: the vendor's, else the prefix that all images share]
    #[arg(hide_short_help = true, long, value_name = "HOST[/PATH]", env = "THORAS_MIRROR_SOURCE_PREFIX", value_parser = parse_source_prefix)]
    pub source_prefix: Option<String>,
}

/// How to log in at the destination.
#[derive(Debug, Args)]
#[command(next_help_heading = "Credentials (in addition to Docker's configuration)")]
pub(crate) struct LoginArgs {
    /// The user name for the registry in --to
    ///
    /// No other registry receives it.
    #[arg(long, value_name = "NAME", env = variable::TO_USERNAME, value_parser = NonEmptyStringValueParser::new())]
    pub to_username: Option<String>,

    /// Read the password of --to-username from standard input
    ///
    /// Or set THORAS_MIRROR_TO_PASSWORD.
    #[arg(long, requires = "to_username")]
    pub to_password_stdin: bool,
}

/// Which platforms every image must have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Platforms")]
pub(crate) struct PlatformArgs {
    /// A platform that every image must have (repeatable)
    #[arg(
        long,
        value_name = "OS/ARCHITECTURE",
        value_parser = Platform::parse_typed,
        env = "THORAS_MIRROR_PLATFORM",
        value_delimiter = ',',
        default_values = vendor::PLATFORMS
    )]
    pub platform: Vec<Platform>,

    /// Accept an image that lacks this platform, or any platform (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "IMAGE[=PLATFORM]",
        env = "THORAS_MIRROR_ALLOW_MISSING_PLATFORM",
        value_delimiter = ','
    )]
    pub allow_missing_platform: Vec<Waiver>,
}

/// `--platform` for commands whose lock or bundle names the platforms.
pub(super) fn without_default(platform: Arg) -> Arg {
    platform.default_value(None)
}

/// Refuses a prefix that no image can have, such as a URL: it would silently change names.
fn parse_source_prefix(text: &str) -> Result<String, String> {
    let below = format!("{}/image", text.strip_suffix('/').unwrap_or(text));
    match below.parse::<Repository>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected a registry, optionally with a path: registry.example.com/team".to_owned()),
    }
}
