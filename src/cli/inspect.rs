//! What `inspect` can be told.

use clap::Args;

use super::RegistryArgs;
use crate::report::Format;

/// `thoras-mirror inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// The images to show
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,

    /// Print the manifest's bytes exactly as the registry holds them, whatever --output says
    #[arg(long)]
    pub raw: bool,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,

    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,
}
