//! What `verify` can be told.

use std::path::PathBuf;

use clap::Args;

use super::{LoginArgs, NamingArgs, PlatformArgs, RegistryArgs, SelectionArgs};
use crate::{confirm::Level, report::Format};

/// `thoras-mirror verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// Compare this mirror with the source, instead of reading a lock
    ///
    /// Which digest a tag has there is the source's word; --level bytes reads its manifest.
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
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,

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
