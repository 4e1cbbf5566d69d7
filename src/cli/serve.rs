//! What `serve` can be told.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::destination::parse_source_prefix;
use crate::oci::mapping::Naming;

/// `thoras-mirror serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// What to serve: a folder to push to and pull from, created if it does not exist; or, read-only, a bundle or
    /// an OCI layout, as a tar, a folder, or volumes (one of them, or their index, finds those that lie beside it)
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// The address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000", env = "THORAS_MIRROR_LISTEN")]
    pub listen: SocketAddr,

    /// How the images of a bundle are named [default: as it was exported, else relative]
    #[arg(long, value_enum, env = "THORAS_MIRROR_NAMING")]
    pub naming: Option<Naming>,

    /// What relative naming cuts off [default: the vendor's prefix, else what all images share]
    #[arg(long, value_name = "HOST[/PATH]", env = "THORAS_MIRROR_SOURCE_PREFIX", value_parser = parse_source_prefix)]
    pub source_prefix: Option<String>,

    /// Let nobody push or delete
    #[arg(long)]
    pub read_only: bool,

    /// Write the access log to this file instead of stderr; SIGHUP opens it anew
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,

    /// How many connections are served at once; further ones wait
    #[arg(long, value_name = "NUMBER", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// How many bytes a blob may have [default: as many as the disk holds]
    #[arg(long, value_name = "BYTES")]
    pub max_blob_bytes: Option<u64>,

    /// Who may come in.
    #[command(flatten)]
    pub access: ServeAccess,
}

/// Encryption and users.
#[derive(Debug, Args)]
#[command(next_help_heading = "Encryption and users (SIGHUP reads the files again)")]
pub struct ServeAccess {
    /// Speak HTTPS with this certificate (PEM, with those between it and its authority)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Let only users of this file in; `htpasswd -B` writes it (bcrypt is the only hash that is accepted)
    #[arg(long, value_name = "FILE")]
    pub htpasswd: Option<PathBuf>,

    /// A user who may push and delete; all others may only pull then (repeatable) [default: all in --htpasswd]
    #[arg(
        long,
        value_name = "NAME",
        requires = "htpasswd",
        conflicts_with = "read_only",
        value_delimiter = ','
    )]
    pub push_user: Vec<String>,
}
