//! Where images go, how they are named there, and who we are there.

use clap::{Args, builder::NonEmptyStringValueParser};

use crate::oci::{Naming, Repository};

/// Where images go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where to")]
pub struct DestinationArgs {
    /// The registry, and the path below it, that the images go to
    #[arg(long, value_name = "REGISTRY/PATH", env = "THORAS_MIRROR_TO")]
    pub to: String,

    /// How names are made.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// Who we are there.
    #[command(flatten)]
    pub login: LoginArgs,
}

/// How images are named at the destination.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where to")]
pub struct NamingArgs {
    /// How images are named there [default: as in the lock of --locked or of a bundle, else relative]
    #[arg(long, value_enum, env = "THORAS_MIRROR_NAMING")]
    pub naming: Option<Naming>,

    /// What relative naming cuts off [default: the vendor's prefix, else what all images share]
    #[arg(long, value_name = "HOST[/PATH]", env = "THORAS_MIRROR_SOURCE_PREFIX", value_parser = parse_source_prefix)]
    pub source_prefix: Option<String>,
}

/// Who we are at the destination.
#[derive(Debug, Args)]
#[command(next_help_heading = "Credentials (besides Docker's own configuration)")]
pub struct LoginArgs {
    /// User name for --to
    #[arg(long, value_name = "NAME", env = "THORAS_MIRROR_TO_USERNAME", value_parser = NonEmptyStringValueParser::new())]
    pub to_username: Option<String>,

    /// Read the password for --to from standard input (or set THORAS_MIRROR_TO_PASSWORD)
    #[arg(long, requires = "to_username")]
    pub to_password_stdin: bool,
}

/// Refuses a prefix that no image can stand below, such as a URL: names would be other than was meant, in silence.
pub(super) fn parse_source_prefix(text: &str) -> Result<String, String> {
    let below = format!("{}/image", text.strip_suffix('/').unwrap_or(text));
    match below.parse::<Repository>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            Err("it should be a registry, and may go on with a path: registry.example.com/team".to_owned())
        }
    }
}
