//! The arguments for sharing the work between machines: those of `sync`, and `lock merge`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DEFAULT_LOCK, LoginArgs, RegistryArgs, choice, examples, shared::FORMATS, variable};
use crate::{oci::Digest, output::Format};

/// Which part of the images this machine copies.
#[derive(Debug, Args)]
#[command(next_help_heading = "More than one machine")]
pub(crate) struct ShardArgs {
    /// Copy only part I of N (counted from 0); auto takes them from the engine that runs the machines
    ///
    /// The lock is pushed below --to instead of written; thoras-mirror lock merge joins the locks of all parts. auto
    /// reads the variables of a Kubernetes Indexed Job, a Slurm or AWS Batch array, or a parallel job of GitLab or
    /// CircleCI.
    #[arg(hide_short_help = true, long, value_name = "I/N", env = "THORAS_MIRROR_SHARD")]
    pub shard: Option<String>,

    /// The number of parts, if the engine does not name it (Kubernetes)
    #[arg(hide_short_help = true, long, value_name = "N", env = "THORAS_MIRROR_SHARDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub shards: Option<u32>,

    /// Divide the images by the sizes in this file: a lock, or the JSON of sync --dry-run [default: the lock, if it
    /// exists]
    #[arg(hide_short_help = true, long, value_name = "FILE", env = "THORAS_MIRROR_PLAN")]
    pub plan: Option<PathBuf>,
}

/// `thoras-mirror lock`
#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// Join the locks of all parts of a sync with --shard
    Merge(Box<LockMerge>),
}

/// `thoras-mirror lock merge`
#[derive(Debug, Args)]
#[command(after_long_help = examples::LOCK_MERGE)]
pub(crate) struct LockMerge {
    /// The mirror: --to of the sync
    ///
    /// --to-username is for this registry.
    #[arg(help_heading = "Locks", long, value_name = "REGISTRY/PATH", env = variable::TO)]
    pub from: String,

    /// The lock file to write
    ///
    /// The output format, which is -o in most commands, is --format here.
    #[arg(help_heading = "Locks", long, short, value_name = "FILE", env = variable::LOCK, default_value = DEFAULT_LOCK)]
    pub output: PathBuf,

    /// The list of images, if the mirror has the locks of several: the digest that sync printed
    #[arg(help_heading = "Locks", long, value_name = "DIGEST")]
    pub list: Option<Digest>,

    /// The number of parts, if the list was divided in several ways
    #[arg(help_heading = "Locks", hide_short_help = true, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shards: Option<u32>,

    /// Output format
    #[arg(help_heading = "Locks", long, value_parser = choice(FORMATS), env = variable::OUTPUT, default_value_t = Format::Table)]
    pub format: Format,

    /// How to log in there.
    #[command(flatten)]
    pub login: LoginArgs,

    /// How to connect to registries.
    #[command(flatten)]
    pub registries: RegistryArgs,
}
