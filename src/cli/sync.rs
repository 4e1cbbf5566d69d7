//! What `sync` can be told.

use std::path::PathBuf;

use clap::{Args, ValueEnum, builder::BoolishValueParser};

use super::{DestinationArgs, PlatformArgs, RegistryArgs, SelectionArgs};
use crate::report::Format;

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
    #[arg(long, conflicts_with_all = ["rendered", "images", "image", "include", "exclude"])]
    pub locked: bool,

    /// Copy the packaged chart as well, to charts/NAME below --to, where helm finds it as oci://REGISTRY/PATH/charts/NAME
    #[arg(long, env = "THORAS_MIRROR_WITH_CHART", value_parser = BoolishValueParser::new())]
    pub with_chart: bool,

    /// The record of the run, which verify reads
    #[arg(long, value_name = "FILE", env = "THORAS_MIRROR_LOCK", default_value = "thoras-mirror.lock")]
    pub lock: PathBuf,

    /// Copy foreign layers as well, from the source or from the URLs in their manifests
    #[arg(long, env = "THORAS_MIRROR_FOREIGN_LAYERS", value_parser = BoolishValueParser::new())]
    pub foreign_layers: bool,

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
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,

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
