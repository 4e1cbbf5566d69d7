//! The arguments of the commands that find, copy, compare and show images: `images`, `sync`, `verify`, `inspect` and
//! `doctor`.

use std::{fmt, path::PathBuf};

use clap::{Arg, Args, builder::BoolishValueParser};

use super::{
    CopyArgs, DEFAULT_LOCK, DestinationArgs, DestinationsArgs, LoginArgs, NamingArgs, OutputArgs,
    PlatformArgs, RateArgs, ReferrerArgs, RegistryArgs, SelectionArgs, ShardArgs, TrustArgs, choice,
    examples,
    registries::describe_quota_to_read,
    shared::{describe_username, without_default},
    variable,
};
use crate::{confirm::Level, output::Format};

const IMAGES_FORMATS: &[(Format, &str)] = &[
    (Format::List, "One reference per line, sorted"),
    (Format::Table, "A table"),
    (Format::Json, "One JSON document"),
];

const LEVELS: &[(Level, &str)] = &[
    (Level::Platforms, "The manifest under the tag and every child manifest, hashed"),
    (Level::Blobs, "Also every blob: it exists and has the right size"),
    (Level::Bytes, "Also every byte of every blob, hashed"),
];

/// `thoras-mirror images`
#[derive(Debug, Args)]
#[command(after_long_help = examples::IMAGES)]
pub(crate) struct Images {
    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Show where each image was found
    #[arg(help_heading = "What to show", long)]
    pub why: bool,

    /// Output format
    #[arg(help_heading = "What to show", long, short, value_parser = choice(IMAGES_FORMATS), env = variable::OUTPUT, default_value_t = Format::List)]
    pub output: Format,

    /// How to connect to the registry of an oci:// chart.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// `thoras-mirror sync`
#[derive(Debug, Args)]
#[command(after_long_help = examples::SYNC)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub(crate) struct Sync {
    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Where to.
    #[command(flatten)]
    pub destination: DestinationsArgs,

    /// Which platforms every image must have.
    #[command(flatten)]
    pub platforms: PlatformArgs,

    /// Which signatures, attestations and SBOMs.
    #[command(flatten)]
    pub referrers: ReferrerArgs,

    /// Whose signatures images need.
    #[command(flatten)]
    pub trust: TrustArgs,

    /// Show what would be copied, without copying anything
    #[arg(help_heading = "How to copy", long)]
    pub dry_run: bool,

    /// Copy exactly the digests in the lock
    ///
    /// The images get the names that the lock records.
    #[arg(help_heading = "How to copy", long, conflicts_with_all = ["rendered", "images", "image", "include", "exclude"])]
    pub locked: bool,

    /// Also copy the packaged chart
    ///
    /// It goes to charts/NAME below --to, for helm install oci://REGISTRY/PATH/charts/NAME.
    #[arg(help_heading = "How to copy", long, env = "THORAS_MIRROR_WITH_CHART", value_parser = BoolishValueParser::new())]
    pub with_chart: bool,

    /// The lock file to write; verify and --locked read it
    #[arg(help_heading = "How to copy", long, value_name = "FILE", env = variable::LOCK, default_value = DEFAULT_LOCK)]
    pub lock: PathBuf,

    /// Also copy foreign layers, from the source or from the URLs in their manifests
    #[arg(help_heading = "How to copy", hide_short_help = true, long, env = "THORAS_MIRROR_FOREIGN_LAYERS", value_parser = BoolishValueParser::new())]
    pub foreign_layers: bool,

    /// What to check and overwrite, and how many blobs at once.
    #[command(flatten, next_help_heading = "How to copy")]
    pub copy: CopyArgs,

    /// Which part of the images.
    #[command(flatten)]
    pub sharding: ShardArgs,

    /// How to print the result.
    #[command(flatten, next_help_heading = "How to copy")]
    pub output: OutputArgs,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// How fast to copy.
    #[command(flatten)]
    pub rates: RateArgs,
}

const AGAINST: &[(Against, &str)] = &[
    (Against::Lock, "The digests that a run recorded"),
    (
        Against::Source,
        "The current digest of each tag at the source; --level bytes also reads the manifests there",
    ),
];

/// What `verify` compares a mirror with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// The lock.
    Lock,
    /// The source.
    Source,
}

impl fmt::Display for Against {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lock => "lock",
            Self::Source => "source",
        })
    }
}

/// Describes flags that mean something else for `verify`.
fn describe(arg: Arg) -> Arg {
    let platform = "A platform that every image must have (repeatable)";
    match arg.get_id().as_str() {
        "platform" => without_default(arg).help(platform).long_help(format!(
            "{platform}\n\nWith a lock, in addition to those that it records [default: without a lock, linux/amd64 and linux/arm64]."
        )),
        "to_username" => describe_username(arg),
        "quota" => describe_quota_to_read(arg),
        _ => arg,
    }
}

/// `thoras-mirror verify`
#[derive(Debug, Args)]
#[command(after_long_help = examples::VERIFY, mut_args(describe))]
pub(crate) struct Verify {
    /// Which images, against the source.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// The mirror (repeatable)
    ///
    /// With a lock, one or more of its destinations [default: all].
    ///
    /// --to-username is for this registry.
    ///
    /// [env: THORAS_MIRROR_TO]
    // `request` reads the variables of this flag and of `lock`: if clap read them, they would conflict like flags.
    #[arg(help_heading = "What to check", long, value_name = "REGISTRY/PATH", verbatim_doc_comment)]
    pub to: Vec<String>,

    /// How images are named at the destination.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// How to log in there.
    #[command(flatten)]
    pub login: LoginArgs,

    /// Which platforms every image must have.
    #[command(flatten)]
    pub platforms: PlatformArgs,

    /// Which signatures, attestations and SBOMs.
    #[command(flatten)]
    pub referrers: ReferrerArgs,

    /// Whose signatures images need.
    #[command(flatten)]
    pub trust: TrustArgs,

    /// How thoroughly to check
    ///
    /// Each level includes the previous ones.
    #[arg(help_heading = "What to check", long, value_parser = choice(LEVELS), default_value_t = Level::Blobs, env = "THORAS_MIRROR_LEVEL")]
    pub level: Level,

    /// What to compare the mirror with
    ///
    /// [default: the lock; without a lock, the source]
    #[arg(help_heading = "What to check", long, value_parser = choice(AGAINST), value_name = "WHAT", env = "THORAS_MIRROR_AGAINST")]
    pub against: Option<Against>,

    /// The lock file to compare with
    ///
    /// [env: THORAS_MIRROR_LOCK] [default: thoras-mirror.lock]
    #[arg(help_heading = "What to check", long, value_name = "FILE", verbatim_doc_comment)]
    pub lock: Option<PathBuf>,

    /// Against the source, also require foreign layers (a lock records whether they were copied)
    #[arg(help_heading = "What to check", hide_short_help = true, long, env = "THORAS_MIRROR_FOREIGN_LAYERS", value_parser = BoolishValueParser::new())]
    pub foreign_layers: bool,

    /// How to print the result.
    #[command(flatten, next_help_heading = "What to check")]
    pub output: OutputArgs,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// How fast to copy.
    #[command(flatten)]
    pub rates: RateArgs,
}

/// `thoras-mirror inspect`
#[derive(Debug, Args)]
#[command(after_long_help = examples::INSPECT)]
pub(crate) struct Inspect {
    /// The images to show
    #[arg(help_heading = "What to show", value_name = "IMAGE", required = true)]
    pub images: Vec<String>,

    /// Print the manifest exactly as the registry stores it, and ignore --output
    #[arg(help_heading = "What to show", long)]
    pub raw: bool,

    /// Show the signatures, attestations and SBOMs of each manifest, as a tree
    #[arg(help_heading = "What to show", long, conflicts_with = "raw")]
    pub tree: bool,

    /// Which signatures, attestations and SBOMs.
    #[command(flatten)]
    pub referrers: ReferrerArgs,

    /// How to print the result.
    #[command(flatten, next_help_heading = "What to show")]
    pub output: OutputArgs,

    /// The only registry that receives --to-username and its password
    ///
    /// [env: THORAS_MIRROR_TO]
    #[arg(
        long,
        value_name = "REGISTRY[/PATH]",
        verbatim_doc_comment,
        help_heading = "Credentials (in addition to Docker's configuration)"
    )]
    pub to: Option<String>,

    /// How to log in there.
    #[command(flatten)]
    pub login: LoginArgs,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// `thoras-mirror doctor`
#[derive(Debug, Args)]
#[command(after_long_help = examples::DOCTOR)]
pub(crate) struct Doctor {
    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Where to.
    #[command(flatten)]
    pub destination: DestinationArgs,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// The lock file that sync would write
    #[arg(help_heading = "What to check", long, value_name = "FILE", env = variable::LOCK, default_value = DEFAULT_LOCK)]
    pub lock: PathBuf,

    /// Give up on a check after this many seconds (at least 60 for rendering a chart)
    #[arg(help_heading = "What to check", hide_short_help = true, long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub timeout: u16,

    /// How to print the result.
    #[command(flatten, next_help_heading = "What to check")]
    pub output: OutputArgs,
}
