//! Arguments for signed bundles and receipts.

use std::path::PathBuf;

use clap::Args;

/// A key that signs what is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "The bundle's signature")]
pub(crate) struct SigningArgs {
    /// Sign with this private key: PKCS#8 (PEM) or cosign's
    ///
    /// The password of an encrypted key comes from THORAS_MIRROR_SIGN_PASSWORD or COSIGN_PASSWORD, or with
    /// --sign-password-stdin from standard input.
    #[arg(long, value_name = "FILE", env = "THORAS_MIRROR_SIGN_KEY")]
    pub sign_key: Option<PathBuf>,

    /// Read the password of --sign-key from standard input
    #[arg(long, hide_short_help = true, requires = "sign_key")]
    pub sign_password_stdin: bool,
}

/// The signature that a bundle must have.
#[derive(Debug, Args)]
#[command(next_help_heading = "The bundle's signature")]
pub(crate) struct SignatureArgs {
    /// Refuse a bundle that this public key (PEM) has not signed
    #[arg(long, value_name = "FILE", env = "THORAS_MIRROR_BUNDLE_KEY")]
    pub bundle_key: Option<PathBuf>,

    /// The bundle's signature [default: the name of the bundle with .sig]
    #[arg(long, hide_short_help = true, value_name = "FILE", requires = "bundle_key")]
    pub signature: Option<PathBuf>,
}
