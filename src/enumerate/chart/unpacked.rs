//! Unpacked copies of a chart in a private folder: its files can be read there, and templates added or emptied.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

use super::super::{EnumerateError, ReadAs};

/// The largest that a packaged chart may unpack to, in bytes.
const MAX_UNPACKED_SIZE: u64 = 256 * 1024 * 1024;
/// Folders nest at most this deep, so that a link to a parent ends.
const MAX_FOLDER_DEPTH: usize = 32;

/// The files of a chart that decide its values.
const VALUES_FILES: [&str; 4] = ["Chart.yaml", "values.yaml", "requirements.yaml", "requirements.lock"];

/// Copies or unpacks `chart` with its subcharts below `folder`, and returns the folder that holds its `Chart.yaml`.
pub(super) fn copy(chart: &Path, folder: &Path) -> Result<PathBuf, EnumerateError> {
    let failed =
        |source| EnumerateError::Read { input: chart.display().to_string(), read_as: ReadAs::Chart, source };
    let target = if chart.is_dir() {
        let target = folder.join("chart");
        copy_folder(chart, &target, 0).map_err(failed)?;
        target
    } else {
        unpack(chart, folder).map_err(failed)?
    };
    unpack_subcharts(&target, 0).map_err(failed)?;
    Ok(target)
}

/// Copies an unpacked chart whole.
pub(super) fn copy_again(copy: &Path, target: &Path) -> io::Result<()> {
    copy_folder(copy, target, 0)
}

/// Copies what decides the values of an unpacked chart and its subcharts, without their templates.
pub(super) fn copy_values(copy: &Path, target: &Path) -> io::Result<()> {
    copy_values_below(copy, target, 0)
}

fn copy_values_below(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    let is_of_values =
        |path: &Path| path.file_name().is_some_and(|name| VALUES_FILES.iter().any(|wanted| name == *wanted));
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)?.flatten().filter(|entry| is_of_values(&entry.path())) {
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    if depth > MAX_FOLDER_DEPTH {
        return Err(too_deep());
    }
    for subchart in subfolders(&from.join("charts")) {
        let name = subchart.file_name().unwrap_or_default();
        copy_values_below(&subchart, &to.join("charts").join(name), depth + 1)?;
    }
    Ok(())
}

/// Turns the packages below `charts/` into folders.
fn unpack_subcharts(chart: &Path, depth: usize) -> io::Result<()> {
    if depth > MAX_FOLDER_DEPTH {
        return Err(too_deep());
    }
    let charts = chart.join("charts");
    let Ok(entries) = fs::read_dir(&charts) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().map(ToOwned::to_owned).unwrap_or_default();
        let is_read = !name.to_string_lossy().starts_with(['_', '.']);
        if path.is_file() && is_read && path.extension().is_some_and(|extension| extension == "tgz") {
            let temporary = tempfile::tempdir_in(chart)?;
            // Helm says better what is wrong with a package.
            let Ok(folder) = unpack(&path, temporary.path()) else { continue };
            if fs::rename(folder, charts.join(&name)).is_ok() {
                fs::remove_file(&path)?;
            }
        }
    }
    subfolders(&charts).iter().try_for_each(|subchart| unpack_subcharts(subchart, depth + 1))
}

/// The folders in a folder.
pub(super) fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn too_deep() -> io::Error {
    io::Error::other("its folders nest too deep")
}

/// Unpacks a packaged chart below `folder`, and returns the chart's folder.
pub(super) fn unpack(package: &Path, folder: &Path) -> io::Result<PathBuf> {
    let bytes = GzDecoder::new(File::open(package)?).take(MAX_UNPACKED_SIZE);
    // Entries outside the folder are skipped.
    tar::Archive::new(bytes).unpack(folder)?;
    let holds_chart = |path: &PathBuf| path.join("Chart.yaml").is_file();
    let found = fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    found.into_iter().find(holds_chart).ok_or_else(|| io::Error::other("it contains no Chart.yaml"))
}

fn copy_folder(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > MAX_FOLDER_DEPTH {
        return Err(too_deep());
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
