//! What `doctor` can be told.

use std::path::PathBuf;

use clap::Args;

use super::{DestinationArgs, RegistryArgs, SelectionArgs};
use crate::report::Format;

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
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,
}
