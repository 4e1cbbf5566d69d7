//! What `serve` can be told.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

/// `thoras-mirror serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The folder to serve; created if it does not exist
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000", env = "THORAS_MIRROR_LISTEN")]
    pub listen: SocketAddr,
}
