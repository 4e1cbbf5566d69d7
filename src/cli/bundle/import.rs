//! What `bundle import` can be told.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};

use crate::{
    cli::{Check, DestinationArgs, RegistryArgs},
    oci::{Digest, Platform},
    report::Format,
    waiver::Waiver,
};

/// `thoras-mirror bundle import`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct Import {
    /// The bundle: an archive, its volumes or their index, or the folder of an OCI layout; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Refuse every bundle but the one with this id
    #[arg(long, value_name = "ID", env = "THORAS_MIRROR_EXPECT")]
    pub expect: Option<Digest>,

    /// The name of an image that has none in its layout; where there are several, LABEL is the layout's own name for
    /// it, or its digest (repeatable)
    #[arg(long = "as", value_name = "[LABEL=]NAME:TAG")]
    pub names: Vec<String>,

    /// Import what is whole when parts of the bundle are missing or damaged
    #[arg(long, env = "THORAS_MIRROR_KEEP_GOING", value_parser = BoolishValueParser::new())]
    pub keep_going: bool,

    /// Show what would be copied, and copy nothing
    #[arg(long)]
    pub dry_run: bool,

    /// How closely the destination is read, before and after
    #[arg(long, value_enum, default_value_t = Check::Manifests, env = "THORAS_MIRROR_CHECK")]
    pub check: Check,

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
    #[arg(long, env = "THORAS_MIRROR_FAIL_FAST", value_parser = BoolishValueParser::new(), conflicts_with = "keep_going")]
    pub fail_fast: bool,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,

    /// Where to.
    #[command(flatten)]
    pub destination: DestinationArgs,

    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// A platform that every image must have (repeatable) [default: as in the bundle's lock, else linux/amd64 and
    /// linux/arm64]
    #[arg(
        long,
        value_name = "OS/ARCHITECTURE",
        env = "THORAS_MIRROR_PLATFORM",
        value_delimiter = ',',
        help_heading = "Platforms"
    )]
    pub platform: Vec<Platform>,

    /// Let an image lack a platform, or any, besides those that the bundle's lock lets it lack (repeatable)
    #[arg(
        long,
        value_name = "IMAGE[=PLATFORM]",
        env = "THORAS_MIRROR_ALLOW_MISSING_PLATFORM",
        value_delimiter = ',',
        help_heading = "Platforms"
    )]
    pub allow_missing_platform: Vec<Waiver>,
}
