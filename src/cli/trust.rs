//! Whose signature an image must have.

use std::path::PathBuf;

use clap::Args;

pub(crate) const REQUIRED_SIGNATURES: &str = "Required signatures (as in cosign verify)";

/// Whose signature an image must have.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = REQUIRED_SIGNATURES)]
pub(crate) struct TrustArgs {
    /// Require a signature by this public key (repeatable: one of them is enough)
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        env = "THORAS_MIRROR_VERIFY_KEY",
        value_delimiter = ','
    )]
    pub verify_key: Vec<PathBuf>,

    /// Accept a signature by --verify-key that is in no transparency log
    // No variable weakens what is verified.
    #[arg(hide_short_help = true, long)]
    pub insecure_ignore_tlog: bool,

    /// Require a keyless signature by this email address or URI
    #[arg(hide_short_help = true, long, value_name = "IDENTITY", env = "THORAS_MIRROR_VERIFY_IDENTITY")]
    pub verify_identity: Option<String>,

    /// The same, as a regular expression; it matches anywhere unless ^ and $ anchor it
    #[arg(hide_short_help = true, long, value_name = "REGEXP", env = "THORAS_MIRROR_VERIFY_IDENTITY_REGEXP")]
    pub verify_identity_regexp: Option<String>,

    /// The OpenID Connect issuer of that identity
    #[arg(hide_short_help = true, long, value_name = "URL", env = "THORAS_MIRROR_VERIFY_ISSUER")]
    pub verify_issuer: Option<String>,

    /// The same, as a regular expression
    #[arg(hide_short_help = true, long, value_name = "REGEXP", env = "THORAS_MIRROR_VERIFY_ISSUER_REGEXP")]
    pub verify_issuer_regexp: Option<String>,

    /// Accept a certificate that is in no certificate transparency log
    #[arg(hide_short_help = true, long)]
    pub insecure_ignore_sct: bool,

    /// Which authorities and logs to trust [default: those of the public Sigstore instance]
    ///
    /// The file that cosign trusted-root create writes.
    ///
    /// [env: THORAS_MIRROR_TRUSTED_ROOT]
    // `request` reads this variable: it has no effect where no signature is verified, which is an error for a flag.
    #[arg(hide_short_help = true, long, value_name = "FILE", verbatim_doc_comment)]
    pub trusted_root: Option<PathBuf>,

    /// A file that says which images need whose signature, by cosign or (with notation on PATH) of the Notary Project
    #[arg(hide_short_help = true, long, value_name = "FILE", env = "THORAS_MIRROR_VERIFY_POLICY")]
    pub verify_policy: Option<PathBuf>,
}
