//! Where a chart is, and paths that mean the same from every working folder.

use std::{
    io,
    path::{self, Path, PathBuf},
};

use super::super::{EnumerateError, ReadAs};

/// Where a chart is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// An unpacked folder or a package on this machine, as an absolute path.
    Local(PathBuf),
    /// In a repository or registry.
    Remote,
}

impl Location {
    /// A path is what looks like one (`/…`, `./…`, `../…`), an existing `FOLDER/CHART`, or a package (`*.tgz`) in the
    /// working directory. A bare name is neither a folder nor another file: `--chart thoras`, which is also the default,
    /// must not depend on where it is typed.
    pub(super) fn find(chart: &str) -> Result<Self, EnumerateError> {
        let on_disk = Path::new(chart);
        let is_path = on_disk.is_absolute()
            || chart.starts_with("./")
            || chart.starts_with("../")
            || matches!(chart, "." | "..");
        let is_local = is_path
            || (!chart.contains("://")
                && ((is_package(on_disk) && on_disk.is_file()) || (chart.contains('/') && on_disk.exists())));
        if !is_local {
            return Ok(Self::Remote);
        }
        let failed =
            |source| EnumerateError::Read { input: format!("chart {chart}"), read_as: ReadAs::Chart, source };
        let path = absolute(chart).map_err(failed)?;
        // Helm would take a missing folder for a repository's alias and complain about that.
        std::fs::metadata(&path).map_err(failed)?;
        Ok(Self::Local(path))
    }
}

/// `.tgz` is the only extension that `helm package` writes; `.tar.gz` is read as well.
fn is_package(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.ends_with(b".tgz") || name.ends_with(b".tar.gz")
}

/// Whether `--repo` applies: Helm looks anything else up by itself and refuses the flag.
pub(super) fn is_bare_name(chart: &str) -> bool {
    !chart.contains('/')
}

/// The path from the root, without resolving symbolic links.
pub(super) fn absolute(text: &str) -> io::Result<PathBuf> {
    path::absolute(text)
}

/// A path made absolute as text; URLs and standard input are left as they are.
pub(super) fn absolute_text(text: &str) -> String {
    if text == "-" || text.contains("://") || text.is_empty() {
        return text.to_owned();
    }
    absolute(text).map_or_else(|_| text.to_owned(), |path| path.display().to_string())
}

/// Fails where the path of a values file leads nowhere. A URL is Helm's to look up.
pub(super) fn check_readable_values(text: &str) -> Result<(), EnumerateError> {
    if text.contains("://") {
        return Ok(());
    }
    let failed = |source| EnumerateError::Read {
        input: format!("values file {text}"),
        read_as: ReadAs::Values,
        source,
    };
    std::fs::File::open(text).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_local_and_bare_names_are_not() {
        let remote =
            ["thoras", "thoras/thoras", "oci://reg.io/thoras", "https://x.io/a.tgz", "src", "Cargo.toml"];
        for remote in remote {
            assert_eq!(Location::find(remote).unwrap(), Location::Remote, "{remote}");
        }
        for local in [".", "./src", "src/enumerate", "/tmp", "./Cargo.toml"] {
            let Location::Local(path) = Location::find(local).unwrap() else { panic!("{local}") };
            assert!(path.is_absolute());
        }
        let error = Location::find("./missing").unwrap_err();
        assert_eq!(error.to_string(), "cannot read chart ./missing");
    }

    #[test]
    fn urls_and_standard_input_stay() {
        assert_eq!(absolute_text("-"), "-");
        assert_eq!(absolute_text("https://x.io/v.yaml"), "https://x.io/v.yaml");
        assert!(absolute_text("v.yaml").ends_with("/v.yaml"));
    }
}
