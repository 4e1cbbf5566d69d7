//! The command line: clap types only. [`crate::request`] decides what it means.
//!
//! - [`commands`]: the arguments of `images`, `sync`, `verify`, `inspect` and `doctor`;
//! - [`bundle`]: those of its four commands; [`serve`]: those of `serve`;
//! - [`nodes`]: those of the commands that connect a cluster to the mirror;
//! - [`shared`]: arguments that several commands share (images, destination, platforms);
//! - [`values`]: those of `values`; [`login`]: those of `login` and `logout`;
//! - [`shard`]: sharing the work between machines;
//! - [`signatures`]: whose signatures images need, and the keys and signatures of bundles;
//! - [`registries`]: how to connect to registries, and with which credentials;
//! - [`examples`]: the examples in the help.
//!
//! No other module sees a clap type: only `request` reads these, and `run` parses the command line.

#![expect(clippy::doc_markdown, reason = "these comments are the help, where backticks are noise")]

mod bundle;
mod commands;
mod examples;
mod login;
mod nodes;
mod registries;
mod serve;
mod shard;
mod shared;
mod signatures;
mod values;

use std::fmt::Display;

use clap::{
    ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

use crate::output::LogFormat;

pub(crate) use self::{
    bundle::{Bundle, BundleInspect, BundleVerify, Export, Import},
    commands::{Against, Doctor, Images, Inspect, Sync, Verify},
    login::{Login, Logout},
    nodes::{PullSecret, Redirect, Running},
    registries::{ConnectionArgs, RateArgs, RegistryArgs},
    serve::{Serve, ServeAccess},
    shard::{LockCommand, LockMerge, ShardArgs},
    shared::{
        CopyArgs, DEFAULT_LOCK, DestinationArgs, DestinationsArgs, FilterArgs, LoginArgs, NamingArgs,
        OutputArgs, PlatformArgs, ReferrerArgs, SelectionArgs,
    },
    signatures::{REQUIRED_SIGNATURES, SignatureArgs, SigningArgs, TrustArgs},
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
    /// The format. `request` reads it only for `values`, which prints YAML.
    pub(crate) const OUTPUT: &str = "THORAS_MIRROR_OUTPUT";
    /// Which authorities and logs of signatures to trust.
    pub(crate) const TRUSTED_ROOT: &str = "THORAS_MIRROR_TRUSTED_ROOT";
    /// The quotas of registries.
    pub(crate) const QUOTA: &str = "THORAS_MIRROR_QUOTA";
    /// The destination.
    pub(crate) const TO: &str = "THORAS_MIRROR_TO";
    /// The user name for the destination.
    pub(crate) const TO_USERNAME: &str = "THORAS_MIRROR_TO_USERNAME";
    /// The password for the destination.
    pub(crate) const TO_PASSWORD: &str = "THORAS_MIRROR_TO_PASSWORD";
    /// The password of the key that signs bundles and receipts.
    pub(crate) const SIGN_PASSWORD: &str = "THORAS_MIRROR_SIGN_PASSWORD";
    /// The same, as cosign calls it.
    pub(crate) const COSIGN_PASSWORD: &str = "COSIGN_PASSWORD";
    /// The license key itself.
    pub(crate) const LICENSE: &str = "THORAS_LICENSE";
    /// A file with the license key.
    pub(crate) const LICENSE_FILE: &str = "THORAS_LICENSE_FILE";
    /// The format of the lines on standard error; also read to report an error in the command line.
    pub(crate) const LOG_FORMAT: &str = "THORAS_MIRROR_LOG_FORMAT";
}

/// The version and the commit; `build.rs` sets it.
const VERSION: &str = env!("THORAS_MIRROR_VERSION");

macro_rules! getting_started {
    () => {
        "\
Getting started:
  thoras-mirror images                     list what would be mirrored
  thoras-mirror sync --to REGISTRY/PATH    mirror it
  thoras-mirror verify                     prove that the mirror is complete"
    };
}

const LONG_AFTER_HELP: &str = concat!(
    getting_started!(),
    "

Exit codes:
  0         everything is in place and confirmed
  1         an image failed, or there were failures of several kinds
  2         wrong usage or settings
  3         unreadable input
  4         authentication failed
  5         verify, values or running found a difference
  6         wrong digest or size, damaged bundle, or no acceptable signature
  129-143   interrupted by a signal: 128 plus its number"
);

/// Mirror every image of a Helm chart into your own registry, for every platform, and confirm each one.
#[derive(Debug, Parser)]
#[command(name = "thoras-mirror", version = VERSION, after_help = getting_started!(), after_long_help = LONG_AFTER_HELP, max_term_width = 100)]
#[command(disable_help_flag = true)]
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

/// A command line.
pub(crate) struct Parsed {
    /// Its arguments.
    pub(crate) cli: Cli,
    /// All commands and flags.
    pub(crate) command: clap::Command,
    /// Which flags were typed.
    pub(crate) matches: clap::ArgMatches,
}

/// Parses the command line of this process. `-h` is a summary, so it does not name the environment variables.
pub(crate) fn parse() -> Result<Parsed, clap::Error> {
    let mut command = Cli::command();
    if std::env::args_os().any(|word| word == "-h") {
        command = command.mut_subcommands(hide_variables);
    }
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Ok(Parsed { cli: Cli::from_arg_matches(&matches)?, command, matches })
}

fn hide_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env(true)).mut_subcommands(hide_variables)
}

/// Hides the values of environment variables in the help of a command and its subcommands.
fn hide_environment(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hide_environment)
}

/// How much is printed to stderr, and how.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Verbosity {
    /// Print only warnings and errors
    #[arg(short, long, global = true, display_order = 100, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Also print what is skipped or retried, and why
    #[arg(short, long, global = true, display_order = 101)]
    pub verbose: bool,

    /// The format of progress, warnings and errors on stderr
    #[arg(hide_short_help = true, long, global = true, display_order = 102, value_parser = choice(LOG_FORMATS))]
    #[arg(default_value_t = LogFormat::Text, env = variable::LOG_FORMAT, hide_env_values = true)]
    pub log_format: LogFormat,

    /// Print a summary with -h, everything with --help
    #[arg(short, long, global = true, display_order = 103, action = ArgAction::Help)]
    pub help: Option<bool>,
}

const LOG_FORMATS: &[(LogFormat, &str)] = &[
    (LogFormat::Text, "For people; with the time in UTC if stderr is not a terminal"),
    (LogFormat::Json, "A JSON object per line, with time, level and message"),
];

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the images that would be mirrored, and why
    Images(Box<Images>),
    /// Copy the images, read them back from the destination, and write the lock
    #[command(visible_alias = "copy")]
    Sync(Box<Sync>),
    /// Read the mirror and compare it with the lock, or with the source
    Verify(Box<Verify>),
    /// Print the Helm values that make the chart pull everything from the mirror
    #[command(
        mut_arg("to_username", values::describe_username),
        mut_arg("to_password_stdin", values::describe_password)
    )]
    Values(Box<Values>),
    /// Show platforms, digests and sizes of images
    Inspect(Inspect),
    /// Carry images across an air gap in a single file (an OCI image layout)
    #[command(subcommand, after_long_help = examples::BUNDLE)]
    Bundle(Bundle),
    /// Write the images to one file, like bundle export
    Export(Box<Export>),
    /// Copy the images of a bundle into a registry, like bundle import
    Import(Box<Import>),
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
    /// Join the locks of machines that shared a sync
    #[command(subcommand, after_long_help = examples::LOCK)]
    Lock(LockCommand),
    /// Store a login for a registry in Docker's configuration, without Docker
    Login(Login),
    /// Remove a login from Docker's configuration
    Logout(Logout),
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
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands without subcommands, with their full names.
    fn leaves(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        let leaves: Vec<_> =
            below.flat_map(|below| leaves(below, &format!("{name} {}", below.get_name()))).collect();
        if leaves.is_empty() { vec![(name.to_owned(), command.clone())] } else { leaves }
    }

    #[test]
    fn every_command_has_examples_and_a_short_summary() {
        let mut whole = Cli::command().mut_subcommands(hide_variables);
        whole.build();
        for (name, command) in leaves(&whole, "thoras-mirror") {
            let examples = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains("    thoras-mirror "), "{name} has no examples");
            // As wide as help is at most.
            let summary = command.clone().term_width(100).render_help().to_string();
            assert!(summary.lines().count() <= 50, "{name}: {} lines\n{summary}", summary.lines().count());
        }
    }

    /// A wrapped command would be two when it is pasted.
    #[test]
    fn examples_fit_into_eighty_columns() {
        fn check(command: &clap::Command) {
            let end = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            for line in end.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_version_names_the_commit() {
        let version = Cli::command().render_version();
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
        let follows = version.contains('(') || !std::path::Path::new(".git").exists();
        assert!(follows, "{version}");
    }

    #[test]
    fn aliases_mean_the_long_commands() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().command;
        assert!(matches!(parse("thoras-mirror copy --to a.example/b"), Command::Sync(_)));
        assert!(matches!(parse("thoras-mirror export -o a.tar"), Command::Export(_)));
        assert!(matches!(parse("thoras-mirror import a.tar --to a.example/b"), Command::Import(_)));
    }
}
