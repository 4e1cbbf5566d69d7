//! What can be typed: clap types only. What it means is decided in [`crate::settings`].

#![expect(clippy::doc_markdown, reason = "these comments are the help, where backticks are noise")]

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{BoolishValueParser, NonEmptyStringValueParser},
};

use crate::{
    confirm::Level,
    oci::{Naming, Platform},
    waiver::Waiver,
};

/// The platforms that every image must have unless others are named: those of the clusters that the vendor
/// supports. Sorted.
pub const DEFAULT_PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

const AFTER_HELP: &str = "\
Begin with:
  thoras-mirror images                     what would be mirrored
  thoras-mirror sync --to REGISTRY/PATH    mirror it
  thoras-mirror verify                     prove that it is all there

Exit codes: 0 all there and confirmed; 1 an image failed, or failures of several kinds;
2 usage or settings; 3 unreadable input; 4 authentication refused; 5 verify found a difference;
6 digest or size mismatch while copying; 130 or 143 ended by a signal.";

/// Mirror the images of a Helm chart into your own registry, every platform kept and confirmed.
#[derive(Debug, Parser)]
#[command(name = "thoras-mirror", version, after_help = AFTER_HELP, max_term_width = 100)]
// Help is the same wherever it is read; what the environment holds (a URL with a password, say) is not part of it.
#[command(mut_subcommands(|command| command.mut_args(|arg| arg.hide_env_values(true))))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, Args)]
pub struct Verbosity {
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, display_order = 100, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more: what is skipped and why, what is tried again
    #[arg(short, long, global = true, display_order = 101)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the images that would be mirrored, and why each is there
    Images(Box<Images>),
    /// Copy the images, read them again at the destination, and write the lock
    Sync(Box<Sync>),
    /// Read the mirror again and compare it with the lock, or with the source
    Verify(Box<Verify>),
    /// Show platforms, digests and sizes of images
    Inspect(Inspect),
    /// Find out before a long run what would go wrong: helm, credentials, push rights, TLS
    Doctor(Box<Doctor>),
    /// Serve a folder as a registry, to push to and pull from
    Serve(Serve),
}

/// `thoras-mirror images`
#[derive(Debug, Args)]
pub struct Images {
    /// Show every place that names an image
    #[arg(long)]
    pub why: bool,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = ImagesOutput::List)]
    pub output: ImagesOutput,

    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,
}

/// The forms of `images`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImagesOutput {
    /// One reference a line, sorted.
    List,
    /// A table.
    Table,
    /// One JSON document.
    Json,
}

/// The forms of every other answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table.
    Table,
    /// One JSON document.
    Json,
}

/// `thoras-mirror sync`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct Sync {
    /// Show what would be copied, and copy nothing
    #[arg(long)]
    pub dry_run: bool,

    /// How closely the destination is read, before and after
    #[arg(long, value_enum, default_value_t = Check::Manifests, env = "THORAS_MIRROR_CHECK")]
    pub check: Check,

    /// Copy exactly the digests of the lock, with the names that it gave them
    #[arg(long, conflicts_with_all = ["rendered", "images", "image", "chart", "include", "exclude"])]
    pub locked: bool,

    /// The record of the run, which verify reads
    #[arg(long, value_name = "FILE", env = "THORAS_MIRROR_LOCK", default_value = "thoras-mirror.lock")]
    pub lock: PathBuf,

    /// Fail an image whose tag names another digest at the destination, instead of moving the tag
    #[arg(long, env = "THORAS_MIRROR_NO_OVERWRITE", value_parser = BoolishValueParser::new())]
    pub no_overwrite: bool,

    /// Move at most this many blobs at once [default: adaptive, at most 16]
    #[arg(long, value_name = "N", env = "THORAS_MIRROR_JOBS", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub jobs: Option<u16>,

    /// Begin no further image after the first that fails
    #[arg(long, env = "THORAS_MIRROR_FAIL_FAST", value_parser = BoolishValueParser::new())]
    pub fail_fast: bool,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Output::Table)]
    pub output: Output,

    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Where to.
    #[command(flatten)]
    pub destination: DestinationArgs,

    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// Which platforms must be there.
    #[command(flatten)]
    pub platforms: PlatformArgs,
}

/// What a sync looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// The manifest under the tag and its children.
    Manifests,
    /// Every blob as well.
    Blobs,
}

/// `thoras-mirror verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// Compare this mirror with the source, instead of reading a lock
    ///
    /// [env: THORAS_MIRROR_TO]
    // The environment of this and of `lock` is read in `settings`: here, the variables would conflict like flags.
    #[arg(long, value_name = "REGISTRY/PATH", verbatim_doc_comment)]
    pub to: Option<String>,

    /// How closely to read; each level includes those before it
    #[arg(long, value_enum, default_value_t = Level::Blobs, env = "THORAS_MIRROR_LEVEL")]
    pub level: Level,

    /// The record to compare with, as sync wrote it
    ///
    /// [env: THORAS_MIRROR_LOCK] [default: thoras-mirror.lock]
    #[arg(long, value_name = "FILE", verbatim_doc_comment, conflicts_with = "to")]
    pub lock: Option<PathBuf>,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Output::Table)]
    pub output: Output,

    /// Which images, with `--to`.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// How the destination is asked.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// Who we are there.
    #[command(flatten)]
    pub login: LoginArgs,

    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// Which platforms must be there.
    #[command(flatten)]
    pub platforms: PlatformArgs,
}

/// `thoras-mirror inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// The images to show
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,

    /// Print the manifest's bytes exactly as the registry holds them, whatever --output says
    #[arg(long)]
    pub raw: bool,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Output::Table)]
    pub output: Output,

    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// `thoras-mirror doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Where to.
    #[command(flatten)]
    pub destination: DestinationArgs,

    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// The record that a sync would write
    #[arg(long, value_name = "FILE", env = "THORAS_MIRROR_LOCK", default_value = "thoras-mirror.lock")]
    pub lock: PathBuf,

    /// How long a check may take, in seconds; rendering a chart may take a minute
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub timeout: u16,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Output::Table)]
    pub output: Output,
}

/// `thoras-mirror serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The folder to serve; created if it does not exist
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000", env = "THORAS_MIRROR_LISTEN")]
    pub listen: SocketAddr,
}

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

    /// A registry whose images also count where only an environment value, an argument or a ConfigMap names
    /// them (repeatable)
    #[arg(long, value_name = "HOST[/PATH]", env = "THORAS_MIRROR_IMAGE_PREFIX", value_delimiter = ',')]
    pub image_prefix: Vec<String>,

    /// Keep only images that this glob matches, such as '*services*' (repeatable)
    #[arg(long, value_name = "GLOB", env = "THORAS_MIRROR_INCLUDE", value_delimiter = ',')]
    pub include: Vec<String>,

    /// Leave out images that this glob matches (repeatable)
    #[arg(long, value_name = "GLOB", env = "THORAS_MIRROR_EXCLUDE", value_delimiter = ',')]
    pub exclude: Vec<String>,
}

/// Where images go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where to")]
pub struct DestinationArgs {
    /// The registry, and the path below it, that the images go to
    #[arg(long, value_name = "REGISTRY/PATH", env = "THORAS_MIRROR_TO")]
    pub to: String,

    /// How names are made.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// Who we are there.
    #[command(flatten)]
    pub login: LoginArgs,
}

/// How images are named at the destination.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where to")]
pub struct NamingArgs {
    /// How images are named there [default: relative, or with --locked as in the lock]
    #[arg(long, value_enum, env = "THORAS_MIRROR_NAMING")]
    pub naming: Option<Naming>,

    /// What relative naming cuts off [default: the vendor's prefix, else what all images share]
    #[arg(long, value_name = "HOST[/PATH]", env = "THORAS_MIRROR_SOURCE_PREFIX")]
    pub source_prefix: Option<String>,
}

/// Who we are at the destination.
#[derive(Debug, Args)]
#[command(next_help_heading = "Credentials (besides Docker's own configuration)")]
pub struct LoginArgs {
    /// User name for --to
    #[arg(long, value_name = "NAME", env = "THORAS_MIRROR_TO_USERNAME", value_parser = NonEmptyStringValueParser::new())]
    pub to_username: Option<String>,

    /// Read the password for --to from standard input (or set THORAS_MIRROR_TO_PASSWORD)
    #[arg(long, requires = "to_username")]
    pub to_password_stdin: bool,
}

/// How registries are reached, and who we are to the vendor.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub struct RegistryArgs {
    /// The file with your licence key; - is standard input (or set THORAS_LICENSE or THORAS_LICENSE_FILE)
    #[arg(long, value_name = "FILE", help_heading = "Credentials (besides Docker's own configuration)")]
    pub license: Option<String>,

    /// The one registry that the licence may be sent to [default: us-east4-docker.pkg.dev/thoras-registry]
    #[arg(
        long,
        value_name = "HOST[/PATH]",
        env = "THORAS_MIRROR_LICENSE_FOR",
        help_heading = "Credentials (besides Docker's own configuration)"
    )]
    pub license_for: Option<String>,

    /// A Docker configuration or a Kubernetes Secret with credentials
    #[arg(
        long,
        value_name = "FILE",
        env = "THORAS_MIRROR_AUTHFILE",
        help_heading = "Credentials (besides Docker's own configuration)"
    )]
    pub authfile: Option<PathBuf>,

    /// Speak plain http with this registry (repeatable)
    #[arg(long, value_name = "HOST[:PORT]", env = "THORAS_MIRROR_PLAIN_HTTP", value_delimiter = ',')]
    pub plain_http: Vec<String>,

    /// Trust this certificate authority as well as the system's, for one registry or all (repeatable)
    #[arg(long, value_name = "[HOST[:PORT]=]FILE", env = "THORAS_MIRROR_CA_CERT", value_delimiter = ',')]
    pub ca_cert: Vec<String>,

    /// Show this client certificate to a registry that asks for one, or to all (repeatable)
    #[arg(long, value_name = "[HOST[:PORT]=]FILE", env = "THORAS_MIRROR_CLIENT_CERT", value_delimiter = ',')]
    pub client_cert: Vec<String>,

    /// The private key of --client-cert, unless it stands in the same file (repeatable)
    #[arg(long, value_name = "[HOST[:PORT]=]FILE", env = "THORAS_MIRROR_CLIENT_KEY", value_delimiter = ',')]
    pub client_key: Vec<String>,

    /// Accept any certificate of this registry: whoever is on the way can read and change what passes
    /// (repeatable)
    #[arg(long, value_name = "HOST[:PORT]", env = "THORAS_MIRROR_INSECURE", value_delimiter = ',')]
    pub insecure: Vec<String>,

    /// How long a connection may take to come about, in seconds [default: 10]
    #[arg(long, value_name = "SECONDS", env = "THORAS_MIRROR_CONNECT_TIMEOUT", value_parser = clap::value_parser!(u16).range(1..))]
    pub connect_timeout: Option<u16>,

    /// How long nothing may move before an attempt counts as failed, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS", env = "THORAS_MIRROR_STALL_TIMEOUT", value_parser = clap::value_parser!(u16).range(1..))]
    pub stall_timeout: Option<u16>,

    /// How long a credential helper may take to answer, in seconds [default: 30]
    #[arg(long, value_name = "SECONDS", env = "THORAS_MIRROR_HELPER_TIMEOUT", value_parser = clap::value_parser!(u16).range(1..))]
    pub helper_timeout: Option<u16>,
}

/// Which platforms must be there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Platforms")]
pub struct PlatformArgs {
    /// A platform that every image must have (repeatable)
    #[arg(
        long,
        value_name = "OS/ARCHITECTURE",
        env = "THORAS_MIRROR_PLATFORM",
        value_delimiter = ',',
        default_values = DEFAULT_PLATFORMS
    )]
    pub platform: Vec<Platform>,

    /// Let an image lack a platform, or any (repeatable)
    #[arg(
        long,
        value_name = "IMAGE[=PLATFORM]",
        env = "THORAS_MIRROR_ALLOW_MISSING_PLATFORM",
        value_delimiter = ','
    )]
    pub allow_missing_platform: Vec<Waiver>,
}

/// A choice as it is typed.
#[must_use]
pub fn value_name(choice: &impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
