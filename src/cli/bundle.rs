//! What `bundle` can be told.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::BoolishValueParser};

use super::{NamingArgs, PlatformArgs, RegistryArgs, SelectionArgs};
use crate::{
    oci::{Digest, Platform},
    report::Format,
    waiver::Waiver,
};

/// `thoras-mirror bundle`
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Write the images into one file, or into volumes, to be carried elsewhere
    Export(Box<Export>),
    /// Read a bundle whole, and name everything that is wrong with it
    Verify(Box<BundleVerify>),
    /// Show what is in a bundle, without reading its layers
    Inspect(Box<BundleInspect>),
}

/// `thoras-mirror bundle export`
#[derive(Debug, Args)]
pub struct Export {
    /// The bundle to write; - is standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Write volumes of at most this size: a number of bytes, 4GiB, 700MB, dvd or fat32
    #[arg(long, value_name = "SIZE")]
    pub split: Option<String>,

    /// Leave out the blobs that this lock or bundle has: the far side must have imported it. Only thoras-mirror
    /// reads such a bundle
    #[arg(long, value_name = "LOCK|BUNDLE")]
    pub base: Option<PathBuf>,

    /// Write the bundle without the images that fail
    #[arg(long, env = "THORAS_MIRROR_KEEP_GOING", value_parser = BoolishValueParser::new())]
    pub keep_going: bool,

    /// Write the record that is inside the bundle to this file as well
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,

    /// Move at most this many blobs at once [default: adaptive, at most 16]
    #[arg(long, value_name = "N", env = "THORAS_MIRROR_JOBS", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub jobs: Option<u16>,

    /// The form of the answer
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// How images will be named at the far side.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,

    /// Which platforms must be there.
    #[command(flatten)]
    pub platforms: PlatformArgs,
}

/// `thoras-mirror bundle verify`
#[derive(Debug, Args)]
pub struct BundleVerify {
    /// The bundle: an archive, its volumes in any order, or an OCI layout's folder
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// Refuse a bundle with another id
    #[arg(long, value_name = "ID", env = "THORAS_MIRROR_EXPECT")]
    pub expect: Option<Digest>,

    /// A platform that every image must have (repeatable) [default: those of the bundle's lock]
    #[arg(long, value_name = "OS/ARCHITECTURE", env = "THORAS_MIRROR_PLATFORM", value_delimiter = ',')]
    pub platform: Vec<Platform>,

    /// Let an image lack a platform, or any (repeatable)
    #[arg(
        long,
        value_name = "IMAGE[=PLATFORM]",
        env = "THORAS_MIRROR_ALLOW_MISSING_PLATFORM",
        value_delimiter = ','
    )]
    pub allow_missing_platform: Vec<Waiver>,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,
}

/// `thoras-mirror bundle inspect`
#[derive(Debug, Args)]
pub struct BundleInspect {
    /// The bundle: an archive, its volumes in any order, or an OCI layout's folder
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,
}
