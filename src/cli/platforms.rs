//! Which platforms must be there.

use clap::Args;

use crate::{oci::Platform, waiver::Waiver};

/// The platforms that every image must have unless others are named: those of the clusters that the vendor
/// supports. Sorted.
pub const DEFAULT_PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// Which platforms must be there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Platforms")]
pub struct PlatformArgs {
    /// A platform that every image must have (repeatable)
    #[arg(
        long,
        value_name = "OS/ARCHITECTURE",
        env = "THORAS_MIRROR_PLATFORM",
        value_delimiter = ',',
        default_values = DEFAULT_PLATFORMS
    )]
    pub platform: Vec<Platform>,

    /// Let an image lack a platform, or any (repeatable)
    #[arg(
        long,
        value_name = "IMAGE[=PLATFORM]",
        env = "THORAS_MIRROR_ALLOW_MISSING_PLATFORM",
        value_delimiter = ','
    )]
    pub allow_missing_platform: Vec<Waiver>,
}
