//! The command line: clap types only. [`crate::request`] decides what it means.
//!
//! - [`commands`]: the arguments of most commands; [`bundle`]: those of its four commands;
//! - [`nodes`]: those of the commands that connect a cluster to the mirror;
//! - [`shared`]: arguments that several commands share (images, destination, platforms);
//! - [`values`]: those of `values`;
//! - [`registries`]: how to connect to registries, and with which credentials.
//!
//! No other module sees a clap type: only `request` reads these, and `main.rs` parses the command line.

#![expect(clippy::doc_markdown, reason = "these comments are the help, where backticks are noise")]

mod bundle;
mod commands;
mod nodes;
mod registries;
mod shared;
mod values;

use std::fmt::Display;

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

pub(crate) use self::{
    bundle::{Bundle, BundleInspect, BundleVerify, Export, Import},
    commands::{Doctor, Images, Inspect, Serve, ServeAccess, Sync, Verify},
    nodes::{PullSecret, Redirect, Running},
    registries::RegistryArgs,
    shared::{
        DEFAULT_LOCK, DEFAULT_PLATFORMS, DestinationArgs, LoginArgs, NamingArgs, PlatformArgs, SelectionArgs,
    },
    values::{PullArgs, SizeArgs, Storage, Values},
};

/// The environment variables that `request` reads itself. If clap read them, they would count as flags and conflict
/// with real flags.
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
Getting started:
  thoras-mirror images                     list what would be mirrored
  thoras-mirror sync --to REGISTRY/PATH    mirror it
  thoras-mirror verify                     prove that the mirror is complete

Exit codes:
  0         everything is in place and confirmed
  1         an image failed, or there were failures of several kinds
  2         wrong usage or settings
  3         unreadable input
  4         authentication failed
  5         verify, values or running found a difference
  6         digest or size mismatch, or a damaged bundle
  130, 143  interrupted by a signal";

/// Mirror every image of a Helm chart into your own registry, for every platform, and confirm each one.
#[derive(Debug, Parser)]
#[command(name = "thoras-mirror", version, after_help = AFTER_HELP, max_term_width = 100)]
// Help does not show the values of environment variables: one may hold a URL with a password.
#[command(mut_subcommands(hide_environment))]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,

    /// How much is printed.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Hides the values of environment variables in the help of a command and its subcommands.
fn hide_environment(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hide_environment)
}

/// How much is printed to stderr.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Verbosity {
    /// Print only warnings and errors
    #[arg(short, long, global = true, display_order = 100, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Also print what is skipped or retried, and why
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
    /// Print Helm values that make the chart pull everything from the mirror, proven by rendering it
    Values(Box<Values>),
    /// Show platforms, digests and sizes of images
    Inspect(Inspect),
    /// Carry images across an air gap in a single file (an OCI image layout)
    #[command(subcommand)]
    Bundle(Bundle),
    /// Check everything before a long run: helm, credentials, push rights, TLS
    Doctor(Box<Doctor>),
    /// Print the Kubernetes secret with which a cluster pulls from the mirror
    PullSecret(Box<PullSecret>),
    /// Print the configuration that redirects nodes to the mirror
    Redirect(Redirect),
    /// Compare the images that a cluster runs with the lock
    Running(Box<Running>),
    /// Serve a folder or a bundle as a registry
    Serve(Serve),
}

/// A parser for one of a few words, each with its line of help.
fn choice<T: Copy + Display + Send + std::marker::Sync + 'static>(
    choices: &'static [(T, &'static str)],
) -> impl TypedValueParser<Value = T> {
    let words = choices.iter().map(|(choice, help)| PossibleValue::new(choice.to_string()).help(*help));
    PossibleValuesParser::new(words).try_map(|word| {
        let chosen = choices.iter().map(|(choice, _)| *choice).find(|choice| choice.to_string() == word);
        chosen.ok_or("not one of the possible values")
    })
}

/// Every command and flag, for the tests.
#[must_use]
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
