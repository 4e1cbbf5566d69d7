//! How to connect to registries, on both sides, and which credentials they get.

use std::path::PathBuf;

use clap::Args;

/// How to connect to registries, and with which license.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// The file with your license key
    ///
    /// - is standard input. THORAS_LICENSE_FILE names the file, too, and THORAS_LICENSE holds the key itself.
    #[arg(long, value_name = "FILE", help_heading = "Credentials (in addition to Docker's configuration)")]
    pub license: Option<String>,

    /// The only registry that receives the license [default: us-east4-docker.pkg.dev/thoras-registry]
    #[arg(
        hide_short_help = true,
        long,
        value_name = "HOST[/PATH]",
        env = "THORAS_MIRROR_LICENSE_FOR",
        help_heading = "Credentials (in addition to Docker's configuration)"
    )]
    pub license_for: Option<String>,

    /// A Docker configuration or Kubernetes Secret
    ///
    /// Its credentials are for the registries that it names.
    #[arg(
        long,
        value_name = "FILE",
        env = "THORAS_MIRROR_AUTHFILE",
        help_heading = "Credentials (in addition to Docker's configuration)"
    )]
    pub authfile: Option<PathBuf>,

    /// How to connect.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// How to connect to registries.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct ConnectionArgs {
    /// Use plain http for this registry (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "HOST[:PORT]",
        env = "THORAS_MIRROR_PLAIN_HTTP",
        value_delimiter = ','
    )]
    pub plain_http: Vec<String>,

    /// Also trust this certificate authority, or this server's own certificate, for HOST or for every registry
    /// (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "[HOST[:PORT]=]FILE",
        env = "THORAS_MIRROR_CA_CERT",
        value_delimiter = ','
    )]
    pub ca_cert: Vec<String>,

    /// Present this client certificate to HOST, or to every registry but no other hosts
    /// (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "[HOST[:PORT]=]FILE",
        env = "THORAS_MIRROR_CLIENT_CERT",
        value_delimiter = ','
    )]
    pub client_cert: Vec<String>,

    /// The private key of --client-cert, unless it is in the same file (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "[HOST[:PORT]=]FILE",
        env = "THORAS_MIRROR_CLIENT_KEY",
        value_delimiter = ','
    )]
    pub client_key: Vec<String>,

    /// Disable certificate checks for this registry: anyone on the path can read and change the traffic
    /// (repeatable)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "HOST[:PORT]",
        env = "THORAS_MIRROR_INSECURE",
        value_delimiter = ','
    )]
    pub insecure: Vec<String>,

    /// Retry a request that failed for a temporary reason at most this many times [default: 4]
    #[arg(hide_short_help = true, long, value_name = "N", env = "THORAS_MIRROR_RETRIES", value_parser = clap::value_parser!(u16).range(0..=100))]
    pub retries: Option<u16>,

    /// Give up connecting after this many seconds [default: 10]
    #[arg(hide_short_help = true, long, value_name = "SECONDS", env = "THORAS_MIRROR_CONNECT_TIMEOUT", value_parser = clap::value_parser!(u16).range(1..))]
    pub connect_timeout: Option<u16>,

    /// Abort an attempt when no data arrives for this many seconds [default: 60]
    #[arg(hide_short_help = true, long, value_name = "SECONDS", env = "THORAS_MIRROR_STALL_TIMEOUT", value_parser = clap::value_parser!(u16).range(1..))]
    pub stall_timeout: Option<u16>,

    /// Give up on a credential helper after this many seconds [default: 30]
    #[arg(hide_short_help = true, long, value_name = "SECONDS", env = "THORAS_MIRROR_HELPER_TIMEOUT", value_parser = clap::value_parser!(u16).range(1..))]
    pub helper_timeout: Option<u16>,
}
