//! Signatures: whose an image must have, and those of bundles and receipts.

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

    /// The authorities and logs to trust [default: those of the public Sigstore instance]
    ///
    /// The file that cosign trusted-root create writes.
    ///
    /// [env: THORAS_MIRROR_TRUSTED_ROOT]
    // `request` reads this variable: it has no effect where no signature is verified, which is an error for a flag.
    #[arg(hide_short_help = true, long, value_name = "FILE", verbatim_doc_comment)]
    pub trusted_root: Option<PathBuf>,

    /// A policy file: which images need which signatures, by cosign or (with notation on PATH) of the Notary Project
    #[arg(hide_short_help = true, long, value_name = "FILE", env = "THORAS_MIRROR_VERIFY_POLICY")]
    pub verify_policy: Option<PathBuf>,
}

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
