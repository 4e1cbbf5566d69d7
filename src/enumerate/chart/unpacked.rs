//! An unpacked copy of a chart in a private folder, so that a template can be added and its files read.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

use super::super::EnumerateError;

/// The largest that a packaged chart may unpack to, in bytes.
const LARGEST_UNPACKED: u64 = 256 * 1024 * 1024;
/// Folders nest at most this deep, so that a link to a parent ends.
const DEEPEST_FOLDER: usize = 32;

/// Copies or unpacks `chart` below `folder`, and returns the folder that holds its `Chart.yaml`.
pub(super) fn copy(chart: &Path, folder: &Path) -> Result<PathBuf, EnumerateError> {
    let failed = |source| EnumerateError::Read { input: chart.display().to_string(), source };
    if chart.is_dir() {
        let target = folder.join("chart");
        copy_folder(chart, &target, 0).map_err(failed)?;
        return Ok(target);
    }
    unpack(chart, folder).map_err(failed)
}

/// Unpacks a packaged chart below `folder`, and returns the chart's folder.
pub(super) fn unpack(package: &Path, folder: &Path) -> io::Result<PathBuf> {
    let bytes = GzDecoder::new(File::open(package)?).take(LARGEST_UNPACKED);
    // Entries outside the folder are skipped.
    tar::Archive::new(bytes).unpack(folder)?;
    let holds_chart = |path: &PathBuf| path.join("Chart.yaml").is_file();
    let found = fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    found.into_iter().find(holds_chart).ok_or_else(|| io::Error::other("it contains no Chart.yaml"))
}

fn copy_folder(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > DEEPEST_FOLDER {
        return Err(io::Error::other("its folders nest too deep"));
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        // Links are followed, as Helm follows them.
        let metadata = fs::metadata(&path)?;
        if metadata.is_dir() {
            copy_folder(&path, &target, depth + 1)?;
        } else if metadata.is_file() {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
