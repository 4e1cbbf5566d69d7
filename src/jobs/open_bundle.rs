//! Opens bundles; failures name the files.

use std::path::{Path, PathBuf};

use super::signing;
use crate::{
    endpoint::bundle::{Bundle, BundleError},
    error::{Failure, Kind, escape, hide_logins},
    event::{EventSink, warn},
    oci::Digest,
    request::RequiredSignature,
};

/// Opens a bundle, which must have this signature, if any. Blocks.
pub(super) fn open(
    paths: &[PathBuf],
    signed: Option<&RequiredSignature>,
    events: &dyn EventSink,
) -> Result<Bundle, Failure> {
    warn_of_unfinished(paths, events);
    let signed = signing::of_bundle(signed, paths)?;
    Bundle::open_signed(paths, signed.as_ref()).map_err(|error| failure(&error, paths))
}

/// Refuses a bundle whose id differs from `--expect`.
pub(super) fn expect_id(bundle: &Bundle, expected: Option<&Digest>) -> Result<(), Failure> {
    let id = bundle.head().id();
    match expected {
        Some(expected) if expected != id => {
            let message = format!("{} is bundle {id}, not {expected}", bundle.path().display());
            Err(Failure::new(Kind::Integrity, message)
                .with_hint("`thoras-mirror bundle inspect FILE` shows a bundle's id and content"))
        }
        _ => Ok(()),
    }
}

/// Why an optional image is not in a bundle.
pub(super) fn skipped_by_the_export() -> Failure {
    Failure::new(Kind::Image, "the export skipped it, because the source did not provide it")
        .with_hint("if it is needed, export again with --strict, which makes this an error")
}

/// Warns about a bundle that its export has not renamed yet: parts of it are missing.
pub(super) fn warn_of_unfinished(paths: &[PathBuf], events: &dyn EventSink) {
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "partial")) {
        let path = path.display();
        warn(
            events,
            format!("{path} is an unfinished bundle: run the same `bundle export` again to complete it"),
        );
    }
}

/// The failure of opening these files.
pub(super) fn failure(error: &BundleError, paths: &[PathBuf]) -> Failure {
    let failure = error.failure();
    let first = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    let first = escape(&hide_logins(&first));
    let failure = match error {
        BundleError::Unreadable { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            with_volumes(failure, path)
        }
        _ => failure,
    };
    if failure.message.contains(&first) {
        return failure;
    }
    let message = format!("cannot read {}: {}", escape(&hide_logins(&shown(paths))), failure.message);
    Failure { message, ..failure }
}

/// The files next to a bundle that are named like its volumes or their index: `NAME.001` or `NAME.volumes.json`.
pub(super) fn volumes_beside(path: &Path) -> Vec<String> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_volume = |file: &String| {
        let rest = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| {
            rest == "volumes.json" || rest.len() >= 3 && rest.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let files = folder.read_dir().into_iter().flatten();
    let names = files.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<String> = names.filter(is_volume).collect();
    found.sort();
    found
}

/// Points to the volumes of a bundle that does not exist as one file.
fn with_volumes(failure: Failure, path: &Path) -> Failure {
    match volumes_beside(path).pop() {
        Some(volume) => {
            let volume = escape(&path.with_file_name(volume).display().to_string());
            failure.with_hint(format!("the bundle is in volumes: pass {volume}"))
        }
        None => failure,
    }
}

/// The files in a few words.
pub(super) fn shown(paths: &[PathBuf]) -> String {
    let first = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    match paths.len() {
        0 | 1 => first,
        2 => format!("{first} and another file"),
        count => format!("{first} and {} other files", count - 1),
    }
}
