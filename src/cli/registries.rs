//! How to connect to registries, on both sides, and which credentials they get.

use std::{num::NonZeroU64, path::PathBuf};

use clap::{Arg, Args};

use super::variable;
use crate::{endpoint::registry::QuotaChange, units};

/// How to connect to registries, and with which license.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// The file with your license key
    ///
    /// - is standard input. Or set THORAS_LICENSE_FILE to the file, or THORAS_LICENSE to the key itself.
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
    /// Each credential is sent only to the registry that it names.
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

    /// Retry transient failures at most this many times [default: 4]
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

/// How fast to copy.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RateArgs {
    /// Limit the transfer rate on each side, such as 20MB/s
    ///
    /// All connections to that side share it. KB, MB and GB are decimal, KiB, MiB and GiB binary.
    #[arg(id = "limit_rate", hide_short_help = true, long = "limit-rate", value_name = "RATE", env = "THORAS_MIRROR_LIMIT_RATE", value_parser = parse_rate)]
    pub both: Option<NonZeroU64>,

    /// The limit for the registries that images come from
    #[arg(id = "limit_rate_from", hide_short_help = true, long = "limit-rate-from", value_name = "RATE", env = "THORAS_MIRROR_LIMIT_RATE_FROM", value_parser = parse_rate)]
    pub source: Option<NonZeroU64>,

    /// The limit for the registries that images go to, or that are verified
    #[arg(id = "limit_rate_to", hide_short_help = true, long = "limit-rate-to", value_name = "RATE", env = "THORAS_MIRROR_LIMIT_RATE_TO", value_parser = parse_rate)]
    pub destination: Option<NonZeroU64>,

    /// How many requests a registry permits, if your account has another quota, such as PutImage=100 (repeatable)
    ///
    /// N is per second for PutImage, InitiateLayerUpload and CompleteLayerUpload (Amazon ECR), per minute for requests
    /// (GHCR, Google Artifact Registry), and in 6 hours for pulls (Docker Hub), which only --dry-run counts. With HOST,
    /// it is for one registry.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "[HOST/]NAME=N",
        env = variable::QUOTA,
        value_delimiter = ','
    )]
    pub quota: Vec<QuotaChange>,
}

/// Describes `--quota` for commands that only read from registries.
pub(super) fn describe_quota_to_read(quota: Arg) -> Arg {
    let help = "How many requests a registry permits per minute, if your account has another quota, such as \
                requests=5000 (repeatable)";
    quota.help(help).long_help(format!(
        "{help}\n\nGHCR and Google Artifact Registry have such a quota. With HOST, it is for one registry."
    ))
}

/// The smallest rate, in bytes per second. A slower transfer would never end.
const MIN_RATE: u64 = 1000;

/// Reads bytes per second.
fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let size = text.trim();
    let bytes = units::parse_bytes(size.strip_suffix("/s").unwrap_or(size))
        .map_err(|reason| format!("{reason}: expected bytes per second, such as 20MB/s or 512KiB/s"))?;
    match NonZeroU64::new(bytes) {
        Some(rate) if rate.get() >= MIN_RATE => Ok(rate),
        _ => Err("the smallest rate is 1KB/s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_people_write_them() {
        for (text, rate) in [
            ("20MB/s", 20_000_000),
            ("20M", 20_000_000),
            ("512KiB/s", 512 * 1024),
            ("1 GB/s", 1_000_000_000),
            ("1000", 1000),
        ] {
            assert_eq!(parse_rate(text).map(NonZeroU64::get), Ok(rate), "{text}");
        }
        for text in ["", "0", "999", "-1", "20Mbit/s", "20MB/m", "fast", "1.5MB/s", "/s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
