//! The arguments of the commands below `bundle`.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::BoolishValueParser};

use super::{
    DEFAULT_LOCK, DestinationsArgs, NamingArgs, PlatformArgs, REQUIRED_SIGNATURES, RateArgs, ReferrerArgs,
    RegistryArgs, SelectionArgs, SignatureArgs, SigningArgs, TrustArgs, choice, examples,
    shared::{CHECK_LEVELS, FORMATS, describe_username},
    variable,
};
use crate::{
    confirm::CheckLevel,
    oci::{Digest, Platform, mapping::Root},
    output::Format,
    waiver::Waiver,
};

/// `thoras-mirror bundle`
#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// Write the images to one file, or to volumes
    Export(Box<Export>),
    /// Copy the images of a bundle into a registry, read them back, and write the lock
    #[command(mut_arg("to_username", describe_username))]
    Import(Box<Import>),
    /// Read a whole bundle and report everything that is wrong with it
    Verify(Box<BundleVerify>),
    /// Show what is in a bundle, without reading its layers
    Inspect(Box<BundleInspect>),
}

/// `thoras-mirror bundle export`
#[derive(Debug, Args)]
#[command(after_long_help = examples::EXPORT)]
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
    /// In every other command, -o is the output format; here that is --format.
    #[arg(help_heading = "The bundle", long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Add a file that says whom to trust: a trusted root (JSON), a public key or certificate (PEM) or a policy (YAML); an
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

    /// Refuse a --base with a different id: of the bundle, or of the one that the receipt is for
    #[arg(help_heading = "The bundle", hide_short_help = true, long, value_name = "ID", requires = "base")]
    pub base_id: Option<Digest>,

    /// Refuse a --base that this public key (PEM) has not signed; the signature is the --base with .sig
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
    /// In every other command, this is -o.
    #[arg(help_heading = "The bundle", long, value_parser = choice(FORMATS), default_value_t = Format::Table)]
    pub format: Format,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// How fast to copy.
    #[command(flatten)]
    pub rates: RateArgs,
}

/// `thoras-mirror bundle import`
#[derive(Debug, Args)]
#[command(after_long_help = examples::IMPORT)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub(crate) struct Import {
    /// The bundle: an archive, its volumes or their index, or an OCI layout folder; - is standard input
    #[arg(help_heading = "How to import", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Import only images that this glob matches, such as '*services*' (repeatable)
    ///
    /// [env: THORAS_MIRROR_INCLUDE]
    #[arg(
        long,
        value_name = "GLOB",
        verbatim_doc_comment,
        value_delimiter = ',',
        help_heading = "Which images"
    )]
    pub include: Vec<String>,

    /// Leave out what this glob matches (repeatable)
    ///
    /// [env: THORAS_MIRROR_EXCLUDE]
    #[arg(
        long,
        value_name = "GLOB",
        verbatim_doc_comment,
        value_delimiter = ',',
        help_heading = "Which images"
    )]
    pub exclude: Vec<String>,

    /// Where to.
    #[command(flatten)]
    pub destination: DestinationsArgs,

    /// A platform that every image must have (repeatable) [default: as in the bundle's lock, else linux/amd64 and
    /// linux/arm64]
    #[arg(
        long,
        value_name = "OS/ARCHITECTURE", value_parser = Platform::parse_typed,
        env = "THORAS_MIRROR_PLATFORM",
        value_delimiter = ',',
        help_heading = "Platforms"
    )]
    pub platform: Vec<Platform>,

    /// Accept an image that lacks this platform, or any platform, in addition to what the bundle's lock permits
    /// (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "IMAGE[=PLATFORM]",
        env = "THORAS_MIRROR_ALLOW_MISSING_PLATFORM",
        value_delimiter = ',',
        help_heading = "Platforms"
    )]
    pub allow_missing_platform: Vec<Waiver>,

    /// Which signatures, attestations and SBOMs.
    #[command(flatten)]
    pub referrers: ReferrerArgs,

    /// Whose signatures images need.
    #[command(flatten)]
    pub trust: TrustArgs,

    /// Require the signatures that the trust files in the bundle ask for: its policy, else its keys; other flags for
    /// signatures win. Needs --bundle-key
    // No variable decides whom to trust.
    #[arg(help_heading = REQUIRED_SIGNATURES, hide_short_help = true, long)]
    pub trust_bundle: bool,

    /// Show what would be copied, without copying anything
    #[arg(help_heading = "How to import", long)]
    pub dry_run: bool,

    /// The lock file to write; verify reads it
    #[arg(help_heading = "How to import", long, value_name = "FILE", env = variable::LOCK, default_value = DEFAULT_LOCK)]
    pub lock: PathBuf,

    /// Refuse a bundle with a different id
    #[arg(help_heading = "How to import", long, value_name = "ID", env = "THORAS_MIRROR_EXPECT")]
    pub expect: Option<Digest>,

    /// The signature that the bundle must have.
    #[command(flatten)]
    pub signed: SignatureArgs,

    /// Write a receipt: what was imported where, when, and with what result; `bundle export --base` reads it. For a single
    /// --to
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
    #[arg(help_heading = "How to import", long, env = "THORAS_MIRROR_KEEP_GOING", value_parser = BoolishValueParser::new())]
    pub keep_going: bool,

    /// Fail if the export skipped an optional image
    #[arg(help_heading = "How to import", hide_short_help = true, long, env = "THORAS_MIRROR_STRICT", value_parser = BoolishValueParser::new())]
    pub strict: bool,

    /// What to check at the destination, before and after copying
    #[arg(help_heading = "How to import", hide_short_help = true, long, value_parser = choice(CHECK_LEVELS), default_value_t = CheckLevel::Manifests, env = "THORAS_MIRROR_CHECK")]
    pub check: CheckLevel,

    /// Fail an image whose tag points to another digest at the destination, instead of moving the tag
    #[arg(help_heading = "How to import", hide_short_help = true, long, env = "THORAS_MIRROR_NO_OVERWRITE", value_parser = BoolishValueParser::new())]
    pub no_overwrite: bool,

    /// Copy at most this many blobs at once, to each destination [default: adaptive, at most 16]
    #[arg(help_heading = "How to import", hide_short_help = true, long, value_name = "N", env = "THORAS_MIRROR_JOBS", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub jobs: Option<u16>,

    /// Start no more images after the first failure, at each destination
    #[arg(help_heading = "How to import", hide_short_help = true, long, env = "THORAS_MIRROR_FAIL_FAST", value_parser = BoolishValueParser::new(), conflicts_with = "keep_going")]
    pub fail_fast: bool,

    /// Output format
    #[arg(help_heading = "How to import", long, short, value_parser = choice(FORMATS), env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// How fast to copy.
    #[command(flatten)]
    pub rates: RateArgs,
}

/// `thoras-mirror bundle verify`
#[derive(Debug, Args)]
#[command(after_long_help = examples::BUNDLE_VERIFY)]
pub(crate) struct BundleVerify {
    /// The bundle: an archive, its volumes in any order, or an OCI layout folder
    #[arg(help_heading = "What to check", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// Refuse a bundle with a different id
    #[arg(help_heading = "What to check", long, value_name = "ID", env = "THORAS_MIRROR_EXPECT")]
    pub expect: Option<Digest>,

    /// The signature that the bundle must have.
    #[command(flatten)]
    pub signed: SignatureArgs,

    /// A platform that every image must have (repeatable) [default: those of the bundle's lock]
    #[arg(help_heading = "What to check", long, value_name = "OS/ARCHITECTURE", value_parser = Platform::parse_typed, env = "THORAS_MIRROR_PLATFORM", value_delimiter = ',')]
    pub platform: Vec<Platform>,

    /// Accept an image that lacks this platform, or any platform (repeatable)
    #[arg(
        hide_short_help = true,
        help_heading = "What to check",
        long,
        value_name = "IMAGE[=PLATFORM]",
        env = "THORAS_MIRROR_ALLOW_MISSING_PLATFORM",
        value_delimiter = ','
    )]
    pub allow_missing_platform: Vec<Waiver>,

    /// Fail if the export skipped an optional image
    #[arg(help_heading = "What to check", hide_short_help = true, long, env = "THORAS_MIRROR_STRICT", value_parser = BoolishValueParser::new())]
    pub strict: bool,

    /// Output format
    #[arg(help_heading = "What to check", long, short, value_parser = choice(FORMATS), env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,
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

    /// Output format
    #[arg(help_heading = "What to show", long, short, value_parser = choice(FORMATS), env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,

    /// How images will be named where the bundle is imported.
    #[command(flatten)]
    pub naming: NamingArgs,
}
