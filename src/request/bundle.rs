//! The commands below `bundle`.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use super::{
    CopySettings, Destinations, NamingRule, Platforms, ReferrerSettings, RegistrySettings, RequiredSignature,
    RequiredSignatures, SigningKey, Stdin, check_stdin, selection::selection, setting::flags_or_variable,
    usage, volume::VolumeSize,
};
use crate::{
    cli::{self, SignatureArgs, variable},
    confirm::CheckLevel,
    endpoint::bundle::{SIGNATURE_SUFFIX, with_suffix},
    enumerate::Selection,
    error::Failure,
    oci::{Digest, Platform, mapping::Root},
    output::Format,
    waiver::Waiver,
};

/// `bundle export`
pub(crate) struct Export {
    pub(crate) to: ExportTo,
    /// A lock, bundle or receipt whose blobs are left out.
    pub(crate) base: Option<Base>,
    pub(crate) signing: Option<Signing>,
    /// Trust files for the bundle.
    pub(crate) trust_files: Vec<PathBuf>,
    /// If images fail, write the bundle without them.
    pub(crate) keep_going: bool,
    /// Replace files that are something else.
    pub(crate) force: bool,
    /// A file for a copy of the bundle's lock.
    pub(crate) lock: Option<PathBuf>,
    pub(crate) selection: Selection,
    pub(crate) naming: NamingRule,
    pub(crate) registries: RegistrySettings,
    pub(crate) platforms: Platforms,
    pub(crate) foreign_layers: bool,
    pub(crate) copy: CopySettings,
}

/// The state of the far side.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// A lock, a bundle or a receipt.
    pub(crate) path: PathBuf,
    /// The id that it must have.
    pub(crate) id: Option<Digest>,
    /// The signature that it must have.
    pub(crate) signed: Option<RequiredSignature>,
}

/// What signs a bundle.
#[derive(Debug, Clone)]
pub(crate) struct Signing {
    pub(crate) key: SigningKey,
    /// The file of the signature.
    pub(crate) signature: PathBuf,
}

/// Where a bundle is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExportTo {
    /// Standard output.
    Stdout,
    /// A file, or volumes whose names start with the file's.
    Files { path: PathBuf, volume: Option<VolumeSize> },
}

impl Export {
    pub(super) fn new(args: cli::Export) -> Result<Self, Failure> {
        let to = export_to(&args)?;
        let signature = args.signature.clone();
        check_stdin(&Stdin {
            sign_password: args.signing.sign_password_stdin,
            selection: Some(&args.selection),
            registries: Some(&args.registries),
            ..Stdin::default()
        })?;
        let strict = args.selection.strict;
        let signatures = RequiredSignatures::new(args.trust)?;
        Ok(Self {
            signing: signing(SigningKey::new(args.signing), signature, &to, args.lock.as_deref())?,
            to,
            base: args.base.map(|path| Base {
                path,
                id: args.base_id,
                signed: args.bundle_key.map(|key| RequiredSignature { key, signature: None }),
            }),
            trust_files: args.trust_files,
            keep_going: args.keep_going,
            force: args.force,
            lock: args.lock,
            selection: selection(args.selection, args.with_chart),
            naming: args.naming.into(),
            registries: RegistrySettings::new(args.registries)?.with_rates(args.rates)?,
            platforms: args.platforms.into(),
            foreign_layers: args.foreign_layers,
            copy: CopySettings {
                check: CheckLevel::Blobs,
                referrers: ReferrerSettings::new(args.referrers)?,
                jobs: args.jobs,
                strict,
                signatures,
                ..CopySettings::default()
            },
        })
    }
}

/// The file of the signature: in the folder of the bundle, unless a flag names it.
fn signing(
    key: Option<SigningKey>,
    signature: Option<PathBuf>,
    to: &ExportTo,
    lock: Option<&Path>,
) -> Result<Option<Signing>, Failure> {
    let Some(key) = key else { return Ok(None) };
    let signature = match (signature, to) {
        (Some(signature), _) => signature,
        (None, ExportTo::Files { path, .. }) => with_suffix(path, SIGNATURE_SUFFIX),
        (None, ExportTo::Stdout) => {
            return Err(usage(
                "--sign-key needs a file for the signature, because the bundle goes to standard output",
            )
            .with_hint("pass --signature FILE"));
        }
    };
    let is_taken = matches!(to, ExportTo::Files { path, .. } if *path == signature);
    if is_taken || lock == Some(&*signature) {
        let message = format!("--signature {} is also the name of another output", signature.display());
        return Err(usage(message).with_hint("pass another --signature"));
    }
    Ok(Some(Signing { key, signature }))
}

/// Refuses combinations that make no sense.
fn export_to(args: &cli::Export) -> Result<ExportTo, Failure> {
    let refused = |message: &str, hint: &str| Err(usage(message).with_hint(hint));
    if args.output == Path::new("-") {
        if args.format == Format::Json {
            return refused(
                "--output - and --format json both write to standard output",
                "write the bundle to a file, or omit --format json",
            );
        }
        if std::io::stdout().is_terminal() {
            return refused(
                "standard output is a terminal, but a bundle is binary",
                "pipe it, for example `| ssh HOST 'cat > thoras.tar'`, or name a file with --output FILE",
            );
        }
        if args.split.is_some() {
            return refused(
                "--split cannot be used with --output -",
                "name a file with --output, or split the stream yourself, for example with split(1)",
            );
        }
        return Ok(ExportTo::Stdout);
    }
    if args.lock.as_ref() == Some(&args.output) {
        return refused(
            "--output and --lock name the same file",
            "omit --lock (the bundle contains the lock), or name another file",
        );
    }
    if args.output == Path::new("json") || args.output == Path::new("table") {
        let name = args.output.display();
        return refused(
            &format!("--output {name} would write a bundle to a file named `{name}`"),
            "to choose the output format, pass --format; to write that file, pass ./json or ./table",
        );
    }
    let volume = args.split.as_deref().map(VolumeSize::parse).transpose()?;
    Ok(ExportTo::Files { path: args.output.clone(), volume })
}

/// `bundle import`
pub(crate) struct Import {
    pub(crate) from: ImportFrom,
    /// The id that the bundle must have.
    pub(crate) expect: Option<Digest>,
    /// The signature that the bundle must have.
    pub(crate) signed: Option<RequiredSignature>,
    pub(crate) receipt: Option<Receipt>,
    /// `[LABEL=]NAME:TAG` each: names for images that have no name in the bundle.
    pub(crate) names: Vec<String>,
    /// Globs: import only images that one of them matches.
    pub(crate) include: Vec<String>,
    /// Globs: leave out images that one of them matches.
    pub(crate) exclude: Vec<String>,
    /// Import the complete images of a damaged bundle.
    pub(crate) keep_going: bool,
    /// Whether an image that the export skipped is a failure.
    pub(crate) strict: bool,
    pub(crate) lock: PathBuf,
    pub(crate) destinations: Destinations,
    pub(crate) registries: RegistrySettings,
    /// The required platforms; `None` for those of the bundle's lock.
    pub(crate) platforms: Option<Vec<Platform>>,
    /// Permitted missing platforms, in addition to those in the bundle's lock.
    pub(crate) waivers: Vec<Waiver>,
    /// Whether the trust files of the bundle count.
    pub(crate) trust_bundle: bool,
    pub(crate) copy: CopySettings,
}

/// A file that records an import.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) path: PathBuf,
    /// What signs it.
    pub(crate) key: Option<SigningKey>,
    /// Replace a file that is something else.
    pub(crate) force: bool,
}

/// Where a bundle is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImportFrom {
    /// Standard input, in one pass.
    Stdin,
    /// An archive, volumes, or a folder.
    Files(Vec<PathBuf>),
}

impl Import {
    pub(super) fn new(args: cli::Import) -> Result<Self, Failure> {
        let from = if !names_stdin(&args.files) {
            ImportFrom::Files(args.files)
        } else if args.files.len() == 1 {
            ImportFrom::Stdin
        } else {
            return Err(usage("- (standard input) cannot be combined with other files"));
        };
        check_stdin(&Stdin {
            bundle: from == ImportFrom::Stdin,
            sign_password: args.signing.sign_password_stdin,
            registries: Some(&args.registries),
            login: Some(&args.destination.login),
            ..Stdin::default()
        })?;
        check_signature_flags(&args.signed, args.trust_bundle, &from)?;
        let destinations = Destinations::new(args.destination)?;
        if destinations.are_several() && args.receipt.is_some() {
            return Err(usage("--receipt records one destination, but --to names several")
                .with_hint("import to each destination by itself, each with its own --receipt"));
        }
        Ok(Self {
            from,
            expect: args.expected.expect,
            signed: RequiredSignature::new(args.signed),
            receipt: args.receipt.map(|path| Receipt {
                path,
                key: SigningKey::new(args.signing),
                force: args.force,
            }),
            names: args.names,
            include: flags_or_variable(args.filters.include, variable::INCLUDE),
            exclude: flags_or_variable(args.filters.exclude, variable::EXCLUDE),
            keep_going: args.keep_going,
            strict: args.expected.strict,
            lock: args.lock,
            destinations,
            registries: RegistrySettings::new(args.registries)?.with_rates(args.rates)?,
            platforms: (!args.platforms.platform.is_empty()).then_some(args.platforms.platform),
            waivers: args.platforms.allow_missing_platform,
            copy: CopySettings {
                dry_run: args.dry_run,
                // The bundle has what its lock says: nothing in it is optional.
                strict: true,
                signatures: RequiredSignatures::with_bundle(args.trust, args.trust_bundle)?,
                ..CopySettings::new(args.copy, args.referrers)?
            },
            trust_bundle: args.trust_bundle,
        })
    }
}

/// Refuses flags for signatures that need other flags.
fn check_signature_flags(
    signed: &SignatureArgs,
    trust_bundle: bool,
    from: &ImportFrom,
) -> Result<(), Failure> {
    let has_key = signed.bundle_key.is_some();
    if trust_bundle && !has_key {
        return Err(usage(
            "--trust-bundle needs --bundle-key: without a valid signature, anyone could have added trust files to the bundle",
        )
        .with_hint("pass --bundle-key FILE, or name the trusted signers with --verify-key or --verify-policy"));
    }
    if *from == ImportFrom::Stdin && has_key && signed.signature.is_none() {
        return Err(usage(
            "--bundle-key needs a signature, but a bundle from standard input has no file beside it",
        )
        .with_hint("pass --signature FILE"));
    }
    Ok(())
}

/// `bundle verify`
pub(crate) struct BundleVerify {
    pub(crate) paths: Vec<PathBuf>,
    /// The signature that the bundle must have.
    pub(crate) signed: Option<RequiredSignature>,
    /// The id that the bundle must have.
    pub(crate) expect: Option<Digest>,
    /// The required platforms; `None` for those of the bundle's lock.
    pub(crate) platforms: Option<Vec<Platform>>,
    /// Permitted missing platforms, in addition to those in the bundle's lock.
    pub(crate) waivers: Vec<Waiver>,
    /// Whether an image that the export skipped is a failure.
    pub(crate) strict: bool,
}

impl BundleVerify {
    pub(super) fn new(args: cli::BundleVerify) -> Result<Self, Failure> {
        refuse_stdin(&args.paths)?;
        Ok(Self {
            paths: args.paths,
            signed: RequiredSignature::new(args.signed),
            expect: args.expected.expect,
            platforms: (!args.platforms.platform.is_empty()).then_some(args.platforms.platform),
            waivers: args.platforms.allow_missing_platform,
            strict: args.expected.strict,
        })
    }
}

/// `bundle inspect`
pub(crate) struct BundleInspect {
    pub(crate) paths: Vec<PathBuf>,
    /// The signature that the bundle must have.
    pub(crate) signed: Option<RequiredSignature>,
    /// The destination of the import whose names are shown.
    pub(crate) to: Option<Root>,
    pub(crate) naming: NamingRule,
}

impl BundleInspect {
    pub(super) fn new(args: cli::BundleInspect) -> Result<Self, Failure> {
        refuse_stdin(&args.paths)?;
        let signed = RequiredSignature::new(args.signed);
        Ok(Self { paths: args.paths, signed, to: args.to, naming: args.naming.into() })
    }
}

fn names_stdin(paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| path == Path::new("-"))
}

/// Standard input can be read only once and in order. Only an import can work with that.
pub(super) fn refuse_stdin(paths: &[PathBuf]) -> Result<(), Failure> {
    if names_stdin(paths) {
        return Err(usage("only `bundle import` reads a bundle from standard input")
            .with_hint("save it to a file first, and pass the file"));
    }
    Ok(())
}
