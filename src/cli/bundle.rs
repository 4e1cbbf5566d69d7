//! The arguments of the commands below `bundle`.

use std::path::PathBuf;

use clap::{Arg, Args, Subcommand, builder::BoolishValueParser};

use super::{
    CopyArgs, DEFAULT_LOCK, DestinationsArgs, FilterArgs, NamingArgs, OutputArgs, PlatformArgs,
    REQUIRED_SIGNATURES, RateArgs, ReferrerArgs, RegistryArgs, SelectionArgs, SignatureArgs, SigningArgs,
    TrustArgs, choice, examples,
    registries::describe_quota_to_read,
    shared::{FORMATS, without_default},
    variable,
};
use crate::{
    oci::{Digest, mapping::Root},
    output::Format,
};

/// `thoras-mirror bundle`
#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// Write the images to one file, or to volumes
    Export(Box<Export>),
    /// Copy the images of a bundle into a registry, read them back, and write the lock
    Import(Box<Import>),
    /// Read a whole bundle and report everything that is wrong with it
    Verify(Box<BundleVerify>),
    /// Show what is in a bundle, without reading its layers
    Inspect(Box<BundleInspect>),
}

/// `thoras-mirror bundle export`
#[derive(Debug, Args)]
#[command(after_long_help = examples::EXPORT, mut_arg("quota", describe_quota_to_read))]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub(crate) struct Export {
    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// How images will be named where the bundle is imported.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// Which platforms every image must have.
    #[command(flatten)]
    pub platforms: PlatformArgs,

    /// Which signatures, attestations and SBOMs.
    #[command(flatten)]
    pub referrers: ReferrerArgs,

    /// Whose signatures images need.
    #[command(flatten)]
    pub trust: TrustArgs,

    /// The bundle to write; - is standard output
    ///
    /// The output format, which is -o in most commands, is --format here.
    #[arg(help_heading = "The bundle", long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Add a trust file: a trusted root (JSON), a public key or certificate (PEM), or a policy (YAML); bundle
    /// import uses it only with --trust-bundle (repeatable)
    #[arg(
        help_heading = "The bundle",
        hide_short_help = true,
        long = "trust",
        value_name = "FILE",
        env = "THORAS_MIRROR_TRUST",
        value_delimiter = ','
    )]
    pub trust_files: Vec<PathBuf>,

    /// Write volumes of at most this size
    ///
    /// A number of bytes, 4G or 4GB (decimal, fits FAT32), 4GiB (binary), dvd or fat32.
    #[arg(help_heading = "The bundle", long, value_name = "SIZE")]
    pub split: Option<String>,

    /// Leave out blobs that this lock, bundle or receipt already has; the far side must have imported it. Only
    /// thoras-mirror can read such a bundle
    #[arg(help_heading = "The bundle", hide_short_help = true, long, value_name = "LOCK|BUNDLE|RECEIPT")]
    pub base: Option<PathBuf>,

    /// Refuse a --base with a different id (the bundle's own, or that of the bundle that the receipt is for)
    #[arg(help_heading = "The bundle", hide_short_help = true, long, value_name = "ID", requires = "base")]
    pub base_id: Option<Digest>,

    /// Refuse a --base that this public key (PEM) has not signed; its signature is in the file of that name plus .sig
    #[arg(
        help_heading = "The bundle's signature",
        hide_short_help = true,
        long,
        value_name = "FILE",
        requires = "base"
    )]
    pub bundle_key: Option<PathBuf>,

    /// What signs the bundle.
    #[command(flatten)]
    pub signing: SigningArgs,

    /// Write the signature to this file [default: --output with .sig]
    #[arg(
        help_heading = "The bundle's signature",
        hide_short_help = true,
        long,
        value_name = "FILE",
        requires = "sign_key"
    )]
    pub signature: Option<PathBuf>,

    /// Include the packaged chart
    #[arg(help_heading = "The bundle", long, env = "THORAS_MIRROR_WITH_CHART", value_parser = BoolishValueParser::new())]
    pub with_chart: bool,

    /// Include foreign layers, from the source or from the URLs in their manifests
    #[arg(help_heading = "The bundle", hide_short_help = true, long, env = "THORAS_MIRROR_FOREIGN_LAYERS", value_parser = BoolishValueParser::new())]
    pub foreign_layers: bool,

    /// If images fail, write the bundle without them
    #[arg(help_heading = "The bundle", long, env = "THORAS_MIRROR_KEEP_GOING", value_parser = BoolishValueParser::new())]
    pub keep_going: bool,

    /// Replace an existing file even if it is something else, such as another bundle
    #[arg(help_heading = "The bundle", long)]
    pub force: bool,

    /// Also write the bundle's lock to this file
    #[arg(help_heading = "The bundle", long, value_name = "FILE")]
    pub lock: Option<PathBuf>,

    /// Copy at most this many blobs at once [default: adaptive, at most 16]
    #[arg(help_heading = "The bundle", hide_short_help = true, long, value_name = "N", env = "THORAS_MIRROR_JOBS", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub jobs: Option<u16>,

    /// Output format
    ///
    /// In most commands, this is -o.
    #[arg(help_heading = "The bundle", long, value_parser = choice(FORMATS), default_value_t = Format::Table)]
    pub format: Format,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// How fast to copy.
    #[command(flatten)]
    pub rates: RateArgs,
}

/// Which bundle is expected. The command sets the heading.
#[derive(Debug, Args)]
pub(crate) struct ExpectedArgs {
    /// Refuse a bundle with a different id
    #[arg(long, value_name = "ID", env = "THORAS_MIRROR_EXPECT")]
    pub expect: Option<Digest>,

    /// Fail if the export skipped an optional image
    #[arg(hide_short_help = true, long, env = "THORAS_MIRROR_STRICT", value_parser = BoolishValueParser::new())]
    pub strict: bool,
}

/// Describes flags that mean something else for `bundle import`.
fn describe_for_import(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "platform" => without_default(arg).help(
            "A platform that every image must have (repeatable) [default: as in the bundle's lock, else linux/amd64 and \
             linux/arm64]",
        ),
        "allow_missing_platform" => arg.help(
            "Accept an image that lacks this platform, or any platform, in addition to what the bundle's lock permits \
             (repeatable)",
        ),
        _ => arg,
    }
}

/// `thoras-mirror bundle import`
#[derive(Debug, Args)]
#[command(after_long_help = examples::IMPORT)]
#[command(mut_args(describe_for_import))]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub(crate) struct Import {
    /// The bundle: an archive, its volumes or their index, or an OCI layout folder; - is standard input
    #[arg(help_heading = "How to import", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Which images of the bundle.
    #[command(flatten)]
    pub filters: FilterArgs,

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

    /// Require the signatures that the trust files in the bundle ask for: its policy, else its keys; other flags for
    /// signatures win. Needs --bundle-key
    // No variable decides which signers to trust.
    #[arg(help_heading = REQUIRED_SIGNATURES, hide_short_help = true, long)]
    pub trust_bundle: bool,

    /// Show what would be copied, without copying anything
    #[arg(help_heading = "How to import", long)]
    pub dry_run: bool,

    /// The lock file to write; verify reads it
    #[arg(help_heading = "How to import", long, value_name = "FILE", env = variable::LOCK, default_value = DEFAULT_LOCK)]
    pub lock: PathBuf,

    /// Which bundle is expected.
    #[command(flatten, next_help_heading = "How to import")]
    pub expected: ExpectedArgs,

    /// The signature that the bundle must have.
    #[command(flatten)]
    pub signed: SignatureArgs,

    /// Write a receipt: what was imported where, when, and with what result; bundle export --base reads it. For a
    /// single --to
    #[arg(
        help_heading = "How to import",
        hide_short_help = true,
        long,
        value_name = "FILE",
        conflicts_with = "dry_run"
    )]
    pub receipt: Option<PathBuf>,

    /// What signs the receipt.
    #[command(flatten)]
    pub signing: SigningArgs,

    /// Replace --receipt even if it is another file
    #[arg(help_heading = "How to import", hide_short_help = true, long, requires = "receipt")]
    pub force: bool,

    /// Name an image that has no name in the bundle; if there are several, LABEL selects one by its tag or digest
    /// (repeatable)
    #[arg(help_heading = "How to import", long = "as", value_name = "[LABEL=]NAME:TAG")]
    pub names: Vec<String>,

    /// If parts of the bundle are missing or damaged, import the images that are complete
    #[arg(help_heading = "How to import", long, env = "THORAS_MIRROR_KEEP_GOING", value_parser = BoolishValueParser::new(), conflicts_with = "fail_fast")]
    pub keep_going: bool,

    /// What to check and overwrite, and how many blobs at once.
    #[command(flatten, next_help_heading = "How to import")]
    pub copy: CopyArgs,

    /// How to print the result.
    #[command(flatten, next_help_heading = "How to import")]
    pub output: OutputArgs,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// How fast to copy.
    #[command(flatten)]
    pub rates: RateArgs,
}

/// Describes flags that mean something else for `bundle verify`.
fn describe_for_verify(arg: Arg) -> Arg {
    let heading = "What to check";
    match arg.get_id().as_str() {
        "platform" => without_default(arg)
            .help_heading(heading)
            .help("A platform that every image must have (repeatable) [default: those of the bundle's lock]"),
        "allow_missing_platform" => arg.help_heading(heading),
        _ => arg,
    }
}

/// `thoras-mirror bundle verify`
#[derive(Debug, Args)]
#[command(after_long_help = examples::BUNDLE_VERIFY)]
#[command(mut_args(describe_for_verify))]
pub(crate) struct BundleVerify {
    /// The bundle: an archive, its volumes in any order, or an OCI layout folder
    #[arg(help_heading = "What to check", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// Which bundle is expected.
    #[command(flatten, next_help_heading = "What to check")]
    pub expected: ExpectedArgs,

    /// The signature that the bundle must have.
    #[command(flatten)]
    pub signed: SignatureArgs,

    /// Which platforms every image must have.
    #[command(flatten)]
    pub platforms: PlatformArgs,

    /// How to print the result.
    #[command(flatten, next_help_heading = "What to check")]
    pub output: OutputArgs,
}

/// `thoras-mirror bundle inspect`
#[derive(Debug, Args)]
#[command(after_long_help = examples::BUNDLE_INSPECT)]
pub(crate) struct BundleInspect {
    /// The bundle: an archive, its volumes in any order, or an OCI layout folder
    #[arg(help_heading = "What to show", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// The signature that the bundle must have.
    #[command(flatten)]
    pub signed: SignatureArgs,

    /// Show the names that an import with this --to would give
    #[arg(help_heading = "What to show", long, value_name = "REGISTRY[/PATH]", env = "THORAS_MIRROR_TO")]
    pub to: Option<Root>,

    /// How to print the result.
    #[command(flatten, next_help_heading = "What to show")]
    pub output: OutputArgs,

    /// How images will be named where the bundle is imported.
    #[command(flatten)]
    pub naming: NamingArgs,
}
