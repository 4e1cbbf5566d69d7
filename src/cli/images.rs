//! What `images` can be told.

use clap::Args;

use super::SelectionArgs;
use crate::report::ImagesOutput;

/// `thoras-mirror images`
#[derive(Debug, Args)]
pub struct Images {
    /// Show every place that names an image
    #[arg(long)]
    pub why: bool,

    /// The form of the answer
    #[arg(long, short, value_enum, env = "THORAS_MIRROR_OUTPUT", default_value_t = ImagesOutput::List)]
    pub output: ImagesOutput,

    /// Which images.
    #[command(flatten)]
    pub selection: SelectionArgs,
}
