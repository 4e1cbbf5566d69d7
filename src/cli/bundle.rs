//! What the bundle commands can be told.

mod import;

use clap::Subcommand;

pub use self::import::Import;

/// `thoras-mirror bundle`
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Copy the images of a bundle into a registry, read them again there, and write the lock
    Import(Box<Import>),
}
