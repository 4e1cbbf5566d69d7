//! What can be typed: clap types only. What it means is decided in [`crate::request`].
//!
//! A file for each command, and one for each group of arguments that several commands share.

#![expect(clippy::doc_markdown, reason = "these comments are the help, where backticks are noise")]

mod bundle;
mod destination;
mod doctor;
mod images;
mod inspect;
mod platforms;
mod registries;
mod selection;
mod serve;
mod sync;
mod verify;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use bundle::{Bundle, BundleInspect, BundleVerify, Export, Import};
pub use destination::{DestinationArgs, LoginArgs, NamingArgs};
pub use doctor::Doctor;
pub use images::Images;
pub use inspect::Inspect;
pub use platforms::{DEFAULT_PLATFORMS, PlatformArgs};
pub use registries::RegistryArgs;
pub use selection::SelectionArgs;
pub use serve::{Serve, ServeAccess};
pub use sync::{Check, Sync};
pub use verify::Verify;

const AFTER_HELP: &str = "\
Begin with:
  thoras-mirror images                     what would be mirrored
  thoras-mirror sync --to REGISTRY/PATH    mirror it
  thoras-mirror verify                     prove that it is all there

Exit codes: 0 all there and confirmed; 1 an image failed, or failures of several kinds;
2 usage or settings; 3 unreadable input; 4 authentication refused; 5 verify found a difference;
6 digest or size mismatch while copying, or a damaged bundle (one that only lacks images which
export --keep-going went on without: 1); 130 or 143 ended by a signal.";

/// Mirror the images of a Helm chart into your own registry, every platform kept and confirmed.
#[derive(Debug, Parser)]
#[command(name = "thoras-mirror", version, after_help = AFTER_HELP, max_term_width = 100)]
// Help is the same wherever it is read; what the environment holds (a URL with a password, say) is not part of it.
#[command(mut_subcommands(hide_environment))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Of a command, and of the commands below it.
fn hide_environment(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hide_environment)
}

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, Args)]
pub struct Verbosity {
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, display_order = 100, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more: what is skipped and why, what is tried again
    #[arg(short, long, global = true, display_order = 101)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the images that would be mirrored, and why each is there
    Images(Box<Images>),
    /// Copy the images, read them again at the destination, and write the lock
    Sync(Box<Sync>),
    /// Read the mirror again and compare it with the lock, or with the source
    Verify(Box<Verify>),
    /// Show platforms, digests and sizes of images
    Inspect(Inspect),
    /// Carry images across an air gap in one file, an OCI image layout
    #[command(subcommand)]
    Bundle(Bundle),
    /// Find out before a long run what would go wrong: helm, credentials, push rights, TLS
    Doctor(Box<Doctor>),
    /// Serve a folder or a bundle as a registry
    Serve(Serve),
}

/// A choice as it is typed.
#[must_use]
pub fn value_name(choice: &impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
