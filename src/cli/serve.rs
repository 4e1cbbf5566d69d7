//! The arguments of `serve`.

use std::{
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

use clap::{Arg, Args};

use super::{NamingArgs, SignatureArgs, examples};
use crate::units;

/// Reads `ADDRESS:PORT`, `HOST:PORT`, `PORT` or `:PORT`.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let expected = || "expected HOST:PORT, :PORT or PORT, for example localhost:5000".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port: u16 = port.parse().map_err(|_| expected())?;
    if host.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    let found = (host, port).to_socket_addrs().map_err(|error| format!("cannot resolve {host}: {error}"))?;
    // Every client tries IPv4; not every one tries IPv6.
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| format!("{host} has no address"))
}

/// Reads a size in bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    units::parse_bytes(text)
        .map_err(|reason| format!("{reason}: use a number of bytes, 4G (decimal) or 4GiB (binary)"))
}

/// Describes the flags that other commands have as well.
fn describe(arg: Arg) -> Arg {
    let heading = "How to serve";
    match arg.get_id().as_str() {
        "naming" => arg
            .help_heading(heading)
            .help("How the images of a bundle are named [default: as recorded in the bundle, else relative]")
            .hide_short_help(false),
        // A folder has no signature, so no variable requires one.
        "bundle_key" => arg
            .help_heading(heading)
            .help("Refuse to serve a bundle that this public key (PEM) has not signed")
            .hide_short_help(true)
            .env(None),
        "source_prefix" | "signature" => arg.help_heading(heading),
        _ => arg,
    }
}

/// `thoras-mirror serve`
#[derive(Debug, Args)]
#[command(after_long_help = examples::SERVE, mut_args(describe))]
pub(crate) struct Serve {
    /// A folder to push to and pull from, created if it does not exist; or, read-only, a bundle or OCI layout: a tar,
    /// a folder, or volumes (one volume or the index is enough if the others are in the same folder)
    #[arg(help_heading = "How to serve", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// The address to listen on: HOST:PORT, PORT (on 127.0.0.1) or :PORT (on every IPv4 address); port 0 picks a free
    /// one
    #[arg(
        help_heading = "How to serve",
        long,
        value_name = "[HOST:]PORT",
        default_value = "127.0.0.1:5000",
        env = "THORAS_MIRROR_LISTEN",
        value_parser = parse_listen
    )]
    pub listen: SocketAddr,

    /// How the images of a bundle are named.
    #[command(flatten)]
    pub naming: NamingArgs,

    /// The signature that a bundle must have.
    #[command(flatten)]
    pub signed: SignatureArgs,

    /// Refuse pushes and deletions
    #[arg(help_heading = "How to serve", long)]
    pub read_only: bool,

    /// Accept manifests even if some of what they reference has not been pushed
    #[arg(help_heading = "How to serve", hide_short_help = true, long, conflicts_with = "read_only")]
    pub allow_sparse: bool,

    /// Write the access log to this file instead of stderr; SIGHUP reopens it
    #[arg(help_heading = "How to serve", hide_short_help = true, long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,

    /// Serve at most this many connections at once, three quarters of them for one address; further connections wait
    #[arg(help_heading = "How to serve", hide_short_help = true, long, value_name = "NUMBER", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Refuse blobs larger than this: a number of bytes, 4G (decimal) or 4GiB [default: no limit]
    #[arg(help_heading = "How to serve", hide_short_help = true, long, value_name = "SIZE", value_parser = parse_size)]
    pub max_blob_bytes: Option<u64>,

    /// TLS and users.
    #[command(flatten)]
    pub access: ServeAccess,
}

/// TLS and users.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS and users (SIGHUP reloads these files)")]
pub(crate) struct ServeAccess {
    /// Serve HTTPS with this certificate (PEM, followed by any intermediate certificates)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Restrict access to the users in this file (bcrypt only: create it with htpasswd -B)
    #[arg(long, value_name = "FILE")]
    pub htpasswd: Option<PathBuf>,

    /// A user who may push and delete; the other users may only pull (repeatable) [default: every user in --htpasswd]
    #[arg(
        long,
        value_name = "NAME",
        requires = "htpasswd",
        conflicts_with = "read_only",
        value_delimiter = ','
    )]
    pub push_user: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_as_people_write_them() {
        for (text, address) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("localhost:5000", "127.0.0.1:5000"),
            (":5000", "0.0.0.0:5000"),
            ("5000", "127.0.0.1:5000"),
            ("0", "127.0.0.1:0"),
        ] {
            assert_eq!(parse_listen(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in
            ["", ":", "nowhere", "localhost:", "localhost:http", "70000", "127.0.0.1:70000", "::1:5000:"]
        {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }
}
