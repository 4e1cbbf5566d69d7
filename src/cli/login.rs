//! The arguments of `login` and `logout`.

use std::path::PathBuf;

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{examples, registries::ConnectionArgs};

/// `thoras-mirror login`
#[derive(Debug, Args)]
#[command(after_long_help = examples::LOGIN)]
pub(crate) struct Login {
    /// The registry: HOST, HOST:PORT or docker.io
    #[arg(help_heading = "Login", value_name = "REGISTRY")]
    pub registry: String,

    /// The user name [default: ask, on a terminal]
    #[arg(help_heading = "Login", long, short, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub username: Option<String>,

    /// Read the password from standard input [default: ask, on a terminal]
    #[arg(help_heading = "Login", long)]
    pub password_stdin: bool,

    /// The configuration to store the login in [default: Docker's: $DOCKER_CONFIG/config.json or
    /// ~/.docker/config.json]
    #[arg(help_heading = "Login", long, value_name = "FILE", env = "THORAS_MIRROR_AUTHFILE")]
    pub authfile: Option<PathBuf>,

    /// How to connect.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `thoras-mirror logout`
#[derive(Debug, Args)]
#[command(after_long_help = examples::LOGOUT)]
pub(crate) struct Logout {
    /// The registry: HOST, HOST:PORT or docker.io
    #[arg(help_heading = "Login", value_name = "REGISTRY")]
    pub registry: String,

    /// The configuration that holds the login [default: Docker's: $DOCKER_CONFIG/config.json or ~/.docker/config.json]
    #[arg(help_heading = "Login", long, value_name = "FILE", env = "THORAS_MIRROR_AUTHFILE")]
    pub authfile: Option<PathBuf>,
}
