//! What can be typed: clap types only. [`crate::request`] decides what it means.
//!
//! - [`commands`]: the arguments of every command but `bundle`; [`bundle`]: those of its four commands;
//! - [`shared`]: arguments that several commands share (images, destination, platforms);
//! - [`registries`]: how registries are reached, and with which credentials.
//!
//! No other module sees a clap type: only `request` reads these, and `main.rs` parses the command line.

#![expect(clippy::doc_markdown, reason = "these comments are the help, where backticks are noise")]

mod bundle;
mod commands;
mod registries;
mod shared;

use std::fmt::Display;

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

pub(crate) use self::{
    bundle::{Bundle, BundleInspect, BundleVerify, Export, Import},
    commands::{Doctor, Images, Inspect, Serve, ServeAccess, Sync, Verify},
    registries::RegistryArgs,
    shared::{
        DEFAULT_LOCK, DEFAULT_PLATFORMS, DestinationArgs, LoginArgs, NamingArgs, PlatformArgs, SelectionArgs,
    },
};

/// The environment variables that `request` reads itself. Read by clap, each would count as a flag that conflicts with
/// others.
pub(crate) mod variable {
    /// The chart.
    pub(crate) const CHART: &str = "THORAS_MIRROR_CHART";
    /// Which images to keep.
    pub(crate) const INCLUDE: &str = "THORAS_MIRROR_INCLUDE";
    /// Which images to leave out.
    pub(crate) const EXCLUDE: &str = "THORAS_MIRROR_EXCLUDE";
    /// The lock.
    pub(crate) const LOCK: &str = "THORAS_MIRROR_LOCK";
    /// The destination.
    pub(crate) const TO: &str = "THORAS_MIRROR_TO";
    /// The password for the destination.
    pub(crate) const TO_PASSWORD: &str = "THORAS_MIRROR_TO_PASSWORD";
    /// The license key itself.
    pub(crate) const LICENSE: &str = "THORAS_LICENSE";
    /// A file with the license key.
    pub(crate) const LICENSE_FILE: &str = "THORAS_LICENSE_FILE";
}

const AFTER_HELP: &str = "\
Begin with:
  thoras-mirror images                     what would be mirrored
  thoras-mirror sync --to REGISTRY/PATH    mirror it
  thoras-mirror verify                     prove that it is all there

Exit codes: 0 all there and confirmed; 1 an image failed, or failures of several kinds;
2 usage or settings; 3 unreadable input; 4 authentication refused; 5 verify found a difference;
6 digest or size mismatch while copying, or a damaged bundle (one that only lacks images which
export --keep-going left out: 1); 130 or 143 ended by a signal.";

/// Mirror the images of a Helm chart into your own registry, every platform kept and confirmed.
#[derive(Debug, Parser)]
#[command(name = "thoras-mirror", version, after_help = AFTER_HELP, max_term_width = 100)]
// Help is the same wherever it is read; what the environment holds (a URL with a password, say) is not part of it.
#[command(mut_subcommands(hide_environment))]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How much to print.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Every command and flag, for the tests.
#[must_use]
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Of a command, and of the commands below it.
fn hide_environment(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hide_environment)
}

/// How much is printed to stderr.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Verbosity {
    /// Print only warnings and errors
    #[arg(short, long, global = true, display_order = 100, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print more: what is skipped and why, what is retried
    #[arg(short, long, global = true, display_order = 101)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the images that would be mirrored, and why
    Images(Box<Images>),
    /// Copy the images, read them back from the destination, and write the lock
    Sync(Box<Sync>),
    /// Read the mirror and compare it with the lock, or with the source
    Verify(Box<Verify>),
    /// Show platforms, digests and sizes of images
    Inspect(Inspect),
    /// Carry images across an air gap in one file, an OCI image layout
    #[command(subcommand)]
    Bundle(Bundle),
    /// Check everything before a long run: helm, credentials, push rights, TLS
    Doctor(Box<Doctor>),
    /// Serve a folder or a bundle as a registry
    Serve(Serve),
}

/// One of a few words. Each comes with its line of help.
fn choice<T: Copy + Display + Send + std::marker::Sync + 'static>(
    choices: &'static [(T, &'static str)],
) -> impl TypedValueParser<Value = T> {
    let words = choices.iter().map(|(choice, help)| PossibleValue::new(choice.to_string()).help(*help));
    PossibleValuesParser::new(words).try_map(|word| {
        let chosen = choices.iter().map(|(choice, _)| *choice).find(|choice| choice.to_string() == word);
        chosen.ok_or("not one of the possible values")
    })
}
