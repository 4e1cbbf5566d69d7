//! The arguments of the commands that connect a cluster to the mirror: `pull-secret`, `redirect`, `running`.

use std::path::PathBuf;

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{DEFAULT_LOCK, LoginArgs, OutputArgs, RegistryArgs, choice, examples, variable};
use crate::output::RedirectFormat;

const REDIRECT_FORMATS: &[(RedirectFormat, &str)] = &[
    (RedirectFormat::Containerd, "A hosts.toml for each source registry"),
    (RedirectFormat::Crio, "A registries.conf drop-in for CRI-O and Podman"),
    (RedirectFormat::Idms, "ImageDigestMirrorSet and ImageTagMirrorSet for OpenShift"),
    (RedirectFormat::Kyverno, "A Kyverno ClusterPolicy that rewrites image names in pods"),
];

/// `thoras-mirror pull-secret`
#[derive(Debug, Args)]
#[command(after_long_help = examples::PULL_SECRET)]
pub(crate) struct PullSecret {
    /// The registry of the mirror
    ///
    /// [env: THORAS_MIRROR_TO]
    // `request` reads this variable: if clap read it, it would conflict with --vendor.
    #[arg(long, value_name = "REGISTRY[/PATH]", verbatim_doc_comment, conflicts_with = "vendor")]
    pub to: Option<String>,

    /// Print the secret for the vendor's registry instead, from --license
    #[arg(long)]
    pub vendor: bool,

    /// The secret's name [default: thoras-mirror-pull, or thoras-license with --vendor]
    #[arg(long, value_name = "NAME", value_parser = parse_secret_name)]
    pub name: Option<String>,

    /// The secret's namespace
    #[arg(long, short, value_name = "NAMESPACE", env = "THORAS_MIRROR_NAMESPACE", default_value = "thoras", value_parser = parse_namespace)]
    pub namespace: String,

    /// Print the secret even if standard output is a terminal
    #[arg(long)]
    pub show: bool,

    /// Write the secret to this file, readable only by you, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long, requires = "write")]
    pub force: bool,

    /// Read the password for --to from this file
    #[arg(
        long,
        value_name = "FILE",
        requires = "to_username",
        conflicts_with = "to_password_stdin",
        help_heading = "Credentials (in addition to Docker's configuration)"
    )]
    pub to_password_file: Option<PathBuf>,

    /// How to log in at the mirror.
    #[command(flatten)]
    pub login: LoginArgs,

    /// The other credentials.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// `thoras-mirror running`
#[derive(Debug, Args)]
#[command(after_long_help = examples::RUNNING)]
pub(crate) struct Running {
    /// The output of kubectl get pods -A -o json (or -o yaml); - is standard input
    #[arg(value_name = "FILE")]
    pub file: String,

    /// The lock file to compare with
    #[arg(long, value_name = "FILE", env = variable::LOCK, default_value = DEFAULT_LOCK)]
    pub lock: PathBuf,

    /// The mirror that the cluster uses [default: every destination in the lock]
    #[arg(long, value_name = "REGISTRY/PATH", env = variable::TO)]
    pub to: Option<String>,

    /// Only look at this namespace (repeatable)
    #[arg(long, short, value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespace: Vec<String>,

    /// Nodes are not redirected to the mirror: an image under its source name is not from the mirror
    #[arg(long)]
    pub no_redirect: bool,

    /// How to print the result.
    #[command(flatten)]
    pub output: OutputArgs,

    /// How to log in at the mirror.
    #[command(flatten)]
    pub login: LoginArgs,

    /// How to connect to the mirror, if the lock does not know the platforms of an image.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// `thoras-mirror redirect`
#[derive(Debug, Args)]
#[command(after_long_help = examples::REDIRECT)]
pub(crate) struct Redirect {
    /// The mirror, as in the lock
    #[arg(long, value_name = "REGISTRY/PATH", env = variable::TO)]
    pub to: String,

    /// What redirects the pulls
    #[arg(long, value_name = "FORMAT", value_parser = choice(REDIRECT_FORMATS))]
    pub format: RedirectFormat,

    /// The lock file with the images
    #[arg(long, value_name = "FILE", env = variable::LOCK, default_value = DEFAULT_LOCK)]
    pub lock: PathBuf,

    /// Write the files to this folder instead of standard output
    #[arg(long, value_name = "DIRECTORY")]
    pub output_dir: Option<PathBuf>,

    /// Replace files that exist
    #[arg(long, requires = "output_dir")]
    pub force: bool,

    /// The name of the Kubernetes objects, and part of the file names
    #[arg(long, value_name = "NAME", default_value = "thoras-mirror", value_parser = parse_secret_name)]
    pub name: String,

    /// Never fall back to the source registries if the mirror lacks an image
    #[arg(long)]
    pub no_fallback: bool,

    /// The file on the nodes with the certificate authority of the mirror
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    pub node_ca_cert: Option<String>,

    /// The nodes use plain http for this registry (repeatable) [default for loopback addresses]
    #[arg(long, value_name = "HOST[:PORT]", env = "THORAS_MIRROR_PLAIN_HTTP", value_delimiter = ',')]
    pub plain_http: Vec<String>,

    /// The nodes do not check the certificate of this registry (repeatable)
    #[arg(long, value_name = "HOST[:PORT]", env = "THORAS_MIRROR_INSECURE", value_delimiter = ',')]
    pub insecure: Vec<String>,
}

/// The name of a Kubernetes object: an RFC 1123 subdomain.
fn parse_secret_name(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err("expected lower-case letters, digits, `-` and `.`".to_owned())
}

/// The name of a namespace: an RFC 1123 label.
fn parse_namespace(text: &str) -> Result<String, String> {
    if text.len() <= 63 && is_label(text) {
        return Ok(text.to_owned());
    }
    Err("expected lower-case letters, digits and `-`, 63 characters at most".to_owned())
}

fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}
