//! A copy of a chart without the templates that name no image, so that rendering it with markers takes less time.
//!
//! Most of a large chart is dashboards and alerts. A template that made resources but named no image is emptied; it stays
//! as a file, because others may include it for its checksum. Templates that made nothing stay as they are: they may define
//! what others include, or refuse values.

use std::{collections::BTreeSet, fs, io, path::Path};

use super::{template_keys, unpacked};

/// Renderings of fewer bytes take too little time to be worth a copy.
const MIN_SIZE: usize = 256 * 1024;
/// How Helm's output names the template of the next resource.
const SOURCE: &str = "# Source: ";
/// Folders and subcharts nest at most this deep.
const MAX_DEPTH: usize = 16;

/// Whether a lighter copy is worth its own rendering.
pub(super) fn is_worth_it(manifests: &str) -> bool {
    manifests.len() >= MIN_SIZE
}

/// Copies an unpacked chart to `target` without the templates that name no image in this rendering. `naming` are those
/// that do.
pub(super) fn write(copy: &Path, target: &Path, manifests: &str, naming: &BTreeSet<&str>) -> io::Result<()> {
    unpacked::copy_again(copy, target)?;
    let sources: BTreeSet<&str> = manifests.lines().filter_map(|line| line.strip_prefix(SOURCE)).collect();
    let name = template_keys::name(target).unwrap_or_default();
    empty_templates(target, &[name], 0, &|source| sources.contains(source) && !naming.contains(source))
}

/// `names` are how Helm's output names the chart: several if it is used under several aliases.
fn empty_templates(
    chart: &Path,
    names: &[String],
    depth: usize,
    is_idle: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    let below =
        |folder: &str| -> Vec<String> { names.iter().map(|name| format!("{name}/{folder}")).collect() };
    empty_files(&chart.join("templates"), &below("templates"), 0, is_idle)?;
    for (folder, aliases) in template_keys::subcharts(chart) {
        let names: Vec<String> = aliases.iter().flat_map(|alias| below(&format!("charts/{alias}"))).collect();
        empty_templates(&folder, &names, depth + 1, is_idle)?;
    }
    Ok(())
}

fn empty_files(
    folder: &Path,
    names: &[String],
    depth: usize,
    is_idle: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let (path, file) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let names: Vec<String> = names.iter().map(|name| format!("{name}/{file}")).collect();
        if path.is_dir() && depth < MAX_DEPTH {
            empty_files(&path, &names, depth + 1, is_idle)?;
        } else if names.iter().all(|name| is_idle(name)) && !defines(&path) {
            fs::write(&path, "")?;
        }
    }
    Ok(())
}

/// Whether other templates may include a part of this one.
fn defines(template: &Path) -> bool {
    fs::read_to_string(template).is_ok_and(|text| text.contains("define ") || text.contains("block "))
}
