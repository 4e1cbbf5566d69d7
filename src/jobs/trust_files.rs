//! Reads trust files for `bundle export`, and takes them from a bundle for `bundle import`.

use std::path::PathBuf;

use crate::{
    endpoint::bundle::{
        Bundle, BundleError, Head,
        trust::{MAX_TRUST_FILE_SIZE, MAX_TRUST_FILES, TrustFile, is_file_name},
    },
    error::{Failure, Kind},
    outcome::inspection::BundledTrustFile,
    request::read_file,
    trust::{TrustFileKind, TrustFiles, Verifier},
    units,
};

/// A warning about trust files in a bundle that is not signed.
pub(super) const NOT_SIGNED: &str = "the bundle is not signed, so no import will use its trust files: sign it with \
                                     --sign-key, and import it with --bundle-key and --trust-bundle";

/// Reads the files of `--trust`, and checks that an import can use them.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<TrustFile>, Failure> {
    let refused = |message: String| Failure::new(Kind::Usage, format!("--trust: {message}"));
    if paths.len() > MAX_TRUST_FILES {
        return Err(refused(format!("a bundle can hold at most {MAX_TRUST_FILES} trust files")));
    }
    let mut files = Vec::new();
    for path in paths {
        let bytes = read_file(path, "--trust")?;
        if bytes.len() as u64 > MAX_TRUST_FILE_SIZE {
            let limit = units::bytes(MAX_TRUST_FILE_SIZE);
            return Err(refused(format!("{} is larger than {limit}", path.display()))
                .with_hint("check that it is the right file: a public key, a trusted root or a policy"));
        }
        let kind = TrustFileKind::of(path, &bytes)?;
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_file_name(name));
        let name =
            name.ok_or_else(|| refused(format!("the name of {} is not a plain file name", path.display())))?;
        let media_type = kind.media_type().to_owned();
        files.push(TrustFile { name: name.to_owned(), media_type, bytes: bytes.into() });
    }
    let all = collected(&files)?;
    // As an import does. If several trusted roots come with keys, the import must name one.
    if (all.has_policy() || all.trusted_root().is_ok())
        && let Some(policy) = all.policy(None, false)?
        && cfg!(feature = "verify-signatures")
    {
        Verifier::with_files(policy, all).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    }
    Ok(files)
}

/// Reads the files of a bundle, whose signature has been checked.
pub(super) fn of_bundle(bundle: &Bundle) -> Result<TrustFiles, Failure> {
    let files = bundle.read_trust_files().map_err(|error| error.failure())?;
    collected(&files)
}

/// The files that a bundle lists.
pub(super) fn listed(head: &Head) -> Result<Vec<BundledTrustFile>, BundleError> {
    let files = head.trust_files()?;
    let shown = files.into_iter().map(|file| BundledTrustFile {
        kind: TrustFileKind::from_media_type(file.blob.media_type.as_str()),
        name: file.name,
        digest: file.blob.digest,
        size: file.blob.size,
    });
    Ok(shown.collect())
}

/// Files of kinds that a later release adds are left out.
fn collected(files: &[TrustFile]) -> Result<TrustFiles, Failure> {
    let known = files.iter().filter_map(|file| {
        let kind = TrustFileKind::from_media_type(&file.media_type)?;
        Some((file.name.clone(), kind, file.bytes.clone()))
    });
    TrustFiles::new(known)
}
