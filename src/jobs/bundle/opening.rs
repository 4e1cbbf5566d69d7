//! Opening what was named, and saying which it was when that fails.

use std::path::{Path, PathBuf};

use crate::{
    endpoint::bundle::{Bundle, BundleError},
    error::{Failure, Kind, escape, hide_logins},
    report::print,
};

/// Opens what was named. Blocks.
pub(in crate::jobs) fn open(paths: &[PathBuf]) -> Result<Bundle, Failure> {
    refuse_standard_input(paths)?;
    warn_of_unfinished(paths);
    Bundle::open_all(paths).map_err(|error| failure(&error, paths))
}

/// Standard input runs once and forward; only an import can do with that.
pub(in crate::jobs) fn refuse_standard_input(paths: &[PathBuf]) -> Result<(), Failure> {
    if !paths.iter().any(|path| path.as_path() == Path::new("-")) {
        return Ok(());
    }
    Err(Failure::new(Kind::Usage, "only `bundle import` reads a bundle from standard input")
        .with_hint("store it in a file first, and name the file"))
}

/// An export gives a bundle its name when it is whole; until then it may be read, but parts of it are missing.
pub(in crate::jobs) fn warn_of_unfinished(paths: &[PathBuf]) {
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "partial")) {
        let path = hide_logins(&path.display().to_string());
        print::warning(&format!(
            "{path} is what an export wrote that has not ended: the same `bundle export` again finishes it"
        ));
    }
}

/// Why files cannot be opened, with their name.
pub(in crate::jobs) fn failure(error: &BundleError, paths: &[PathBuf]) -> Failure {
    let failure = error.failure();
    let first = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    let first = escape(&hide_logins(&first));
    if failure.message.contains(&first) {
        return failure;
    }
    let message = format!("cannot read {}: {}", escape(&hide_logins(&shown(paths))), failure.message);
    Failure { message, ..failure }
}

/// Several files in a few words.
pub(in crate::jobs) fn shown(paths: &[PathBuf]) -> String {
    let first = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    match paths.len() {
        0 | 1 => first,
        2 => format!("{first} and another file"),
        count => format!("{first} and {} other files", count - 1),
    }
}
