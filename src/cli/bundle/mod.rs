//! What the commands on bundles can be told.

mod export;
mod import;
mod reading;

use clap::Subcommand;

pub use self::{
    export::Export,
    import::Import,
    reading::{BundleInspect, BundleVerify},
};

/// `thoras-mirror bundle`
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Write the images into one file, or into volumes, to be carried elsewhere
    Export(Box<Export>),
    /// Copy the images of a bundle into a registry, read them again there, and write the lock
    Import(Box<Import>),
    /// Read a bundle whole, and name everything that is wrong with it
    Verify(Box<BundleVerify>),
    /// Show what is in a bundle, without reading its layers
    Inspect(Box<BundleInspect>),
}
