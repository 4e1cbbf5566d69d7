//! What `bundle verify` and `bundle inspect` can be told.

use std::path::PathBuf;

use clap::Args;

use crate::{
    oci::{Digest, Platform},
    report::Format,
    waiver::Waiver,
};

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
