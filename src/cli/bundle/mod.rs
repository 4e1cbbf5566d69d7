//! What the commands on bundles can be told.

mod export;
mod reading;

use clap::Subcommand;

pub use self::{
    export::Export,
    reading::{BundleInspect, BundleVerify},
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
