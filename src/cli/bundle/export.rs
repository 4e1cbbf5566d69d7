//! What `bundle export` can be told.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};

use crate::{
    cli::{NamingArgs, PlatformArgs, RegistryArgs, SelectionArgs},
    report::Format,
};

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

    /// Put foreign layers into it as well, from the source or from the URLs in their manifests
    #[arg(long, env = "THORAS_MIRROR_FOREIGN_LAYERS", value_parser = BoolishValueParser::new())]
    pub foreign_layers: bool,

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
