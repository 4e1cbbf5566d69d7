//! The arguments of `values`.

use std::path::PathBuf;

use clap::{Arg, Args, ValueEnum, builder::BoolishValueParser};

use super::{ConnectionArgs, LoginArgs, NamingArgs, SelectionArgs, choice, examples, variable};
use crate::output::Format;

const FORMATS: &[(Format, &str)] =
    &[(Format::Yaml, "A values file with comments"), (Format::Json, "One JSON document")];

/// `thoras-mirror values`
#[derive(Debug, Args)]
#[command(after_long_help = examples::VALUES)]
pub(crate) struct Values {
    /// The mirror that the chart will pull from
    ///
    /// Without it, the values are for an install straight from the vendor.
    ///
    /// [env: THORAS_MIRROR_TO]
    // `request` reads the variables of this flag and of `lock`.
    #[arg(long, value_name = "REGISTRY/PATH", verbatim_doc_comment)]
    pub to: Option<String>,

    /// Pin the images to the digests in the lock
    ///
    /// Where the chart's values permit it.
    #[arg(long, env = "THORAS_MIRROR_PIN", value_parser = BoolishValueParser::new())]
    pub pin: bool,

    /// The lock that sync wrote
    ///
    /// Its names are used, and images that it does not confirm are reported.
    ///
    /// [env: THORAS_MIRROR_LOCK] [default: thoras-mirror.lock, if it exists]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub lock: Option<PathBuf>,

    /// Write the values to this file
    ///
    /// Without it, they go to standard output.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// Replace the --write file if it exists
    #[arg(hide_short_help = true, long, requires = "write")]
    pub force: bool,

    /// Output format: yaml or json
    ///
    /// If the variable holds a format of the other commands, it means yaml.
    ///
    /// [env: THORAS_MIRROR_OUTPUT] [default: yaml]
    #[arg(hide_possible_values = true, long, short, value_parser = choice(FORMATS), verbatim_doc_comment)]
    pub output: Option<Format>,

    /// Which chart.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// How images are named at the destination.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// How the cluster logs in at the mirror.
    #[command(flatten)]
    pub pull: PullArgs,

    /// The size of the installation.
    #[command(flatten)]
    pub size: SizeArgs,

    /// A Docker configuration or a Kubernetes Secret with credentials, for an oci:// chart
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        env = "THORAS_MIRROR_AUTHFILE",
        help_heading = "Credentials (in addition to Docker's configuration)"
    )]
    pub authfile: Option<PathBuf>,

    /// How to connect to the registry of an oci:// chart.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl Values {
    /// The flag, else the variable; the word in the variable if it is no format.
    pub(crate) fn format(&self) -> Result<Format, String> {
        let word = std::env::var(variable::OUTPUT).unwrap_or_default();
        match (self.output, word.as_str()) {
            (Some(format), _) => Ok(format),
            (None, "json") => Ok(Format::Json),
            // `table` and `list` suit the other commands.
            (None, "" | "yaml" | "table" | "list") => Ok(Format::Yaml),
            (None, _) => Err(word),
        }
    }
}

/// Elsewhere, this flag is a login for the run itself.
pub(super) fn describe_username(arg: Arg) -> Arg {
    arg.help("The user name at the mirror: the chart creates the pull secret; needs --write")
        .long_help(
            "The user name at the mirror: the chart creates the pull secret; needs --write\n\nThe file is then readable \
             only by you. Not with --pull-secret.",
        )
        .help_heading(LOGIN_HEADING)
}

/// The same for its password.
pub(super) fn describe_password(arg: Arg) -> Arg {
    arg.help_heading(LOGIN_HEADING)
}

const LOGIN_HEADING: &str = "How the cluster logs in (Thoras chart)";

/// How the cluster logs in.
#[derive(Debug, Args)]
#[command(next_help_heading = LOGIN_HEADING)]
pub(crate) struct PullArgs {
    /// An existing pull secret in the cluster
    // `request` refuses --to-username and --license together with it: a login in the environment is for `sync`.
    #[arg(long, value_name = "NAME", conflicts_with = "license")]
    pub pull_secret: Option<String>,

    /// Name the pull secret in the pods too, not only in the service accounts
    #[arg(hide_short_help = true, long, requires = "pull_secret")]
    pub pull_secret_in_pods: bool,

    /// Without --to: the file with your license key
    ///
    /// The chart creates a pull secret from it. - is standard input.
    #[arg(long, value_name = "FILE")]
    pub license: Option<String>,

    /// The chart creates the pull secret from this login; needs --write.
    #[command(flatten)]
    pub login: LoginArgs,
}

/// `--storage`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storage {
    /// Grows by itself (EFS, Filestore, Azure Files, CephFS): needs no size
    Growable,
    /// Has a fixed size (EBS, persistent disks): needs --workloads or --storage-size
    Fixed,
}

/// The size of the installation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Size and storage (Thoras chart)")]
pub(crate) struct SizeArgs {
    /// How many workloads Thoras will manage
    ///
    /// Determines the storage size and the number of forecast workers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub workloads: Option<u32>,

    /// Set the number of forecast workers even if the chart scales them by itself
    #[arg(hide_short_help = true, long, requires = "workloads")]
    pub fixed_workers: bool,

    /// The kind of storage: growable or fixed
    #[arg(hide_possible_values = true, long, value_name = "KIND")]
    pub storage: Option<Storage>,

    /// The storage size, such as 100Gi
    #[arg(long, value_name = "SIZE")]
    pub storage_size: Option<String>,

    /// The storage class
    #[arg(hide_short_help = true, long, value_name = "NAME")]
    pub storage_class: Option<String>,

    /// An existing volume
    #[arg(hide_short_help = true, long, value_name = "NAME")]
    pub volume_name: Option<String>,

    /// The volume's access mode, such as ReadWriteOnce
    #[arg(hide_short_help = true, long, value_name = "MODE")]
    pub access_mode: Option<String>,

    /// An EFS file system for which the chart creates the storage class; needs --storage-class
    #[arg(hide_short_help = true, long, value_name = "ID", requires = "storage_class")]
    pub efs_file_system: Option<String>,
}
