//! `redirect`: configuration that makes nodes pull from the mirror what manifests name at its source.
//!
//! For images that no chart value reaches. Generated from the lock, one module for each format:
//!
//! | format | how it finds the mirror's name | what it can redirect |
//! |---|---|---|
//! | [`containerd`] | appends the whole source path to an address, for each source registry | names that keep the path |
//! | [`registries`] (CRI-O, Podman, `OpenShift`) | replaces a prefix | every name, one mirror repository for each source |
//! | [`kyverno`] | rewrites the name in the pod | the same |
//!
//! [`mod@moves`] computes the prefixes. No format contains a secret; comments say how each runtime logs in to the mirror.

mod containerd;
mod kyverno;
mod moves;
mod registries;

use std::path::PathBuf;

use self::moves::{Move, moves};
use super::{
    locked_names::{LockedName, locked_names, read_lock},
    write_file::{Readers, check_absent, write_file},
};
use crate::{
    error::{Failure, Kind, escape},
    event::{EventSink, warn},
    oci::mapping::Root,
    output::RedirectFormat,
    request::{NodeConnection, Redirect},
    units,
};

/// A file to install.
struct ConfigFile {
    /// Its path below the folder with the configuration.
    path: PathBuf,
    text: String,
}

/// What every format needs.
struct Settings<'a> {
    root: &'a Root,
    name: &'a str,
    /// Whether nodes may pull from the source what the mirror lacks.
    fallback: bool,
    connection: &'a NodeConnection,
}

/// Returns the configuration, or, if it was written to a folder, the names of the files.
pub(crate) fn run(request: &Redirect, events: &dyn EventSink) -> Result<String, Failure> {
    let Redirect { root, format, lock: path, folder, overwrite, name, fallback, connection } = request;
    let lock = read_lock(path)?;
    let names = locked_names(&lock, path, Some(root))?;
    let is_from_bundle = lock.destinations.iter().all(|placement| placement.to.is_none());
    let is_missing = |name: &&LockedName<'_>| !name.confirmed && !is_from_bundle;
    let missing: Vec<String> = names.iter().filter(is_missing).map(|name| name.mirror.to_string()).collect();
    match missing.as_slice() {
        [] => {}
        [name] => warn(events, format!("{name} is not confirmed at the mirror: run sync again")),
        names => warn(
            events,
            format!(
                "{} are not confirmed at the mirror ({}): run sync again",
                units::counted(names.len(), "image"),
                names.join(", ")
            ),
        ),
    }
    let moves = moves(&names)?;
    if moves.is_empty() {
        return Err(Failure::new(Kind::Input, format!("the lock {} contains no images", path.display())));
    }
    let settings = Settings { root, name, fallback: *fallback, connection };
    let files = match format {
        RedirectFormat::Containerd => containerd::files(&moves, &settings)?,
        RedirectFormat::Crio => vec![registries::drop_in(&moves, &settings)],
        RedirectFormat::Idms => vec![registries::mirror_sets(&moves, &settings)?],
        RedirectFormat::Kyverno => {
            if !fallback {
                let message = "--no-fallback has no meaning for kyverno: the policy rewrites names, so nothing falls back";
                return Err(Failure::new(Kind::Usage, message).with_hint("omit --no-fallback"));
            }
            vec![kyverno::policy(&moves, &settings)]
        }
    };
    match folder {
        None => Ok(joined(files)),
        Some(folder) => written(&files, folder, *overwrite),
    }
}

/// The files for standard output, each after a comment with its name if there are several.
fn joined(files: Vec<ConfigFile>) -> String {
    if files.len() == 1 {
        return files.into_iter().map(|file| file.text).collect();
    }
    let marked = files.into_iter().map(|file| format!("# ==> {} <==\n{}", file.path.display(), file.text));
    marked.collect::<Vec<_>>().join("\n")
}

/// Writes all files or, if one exists, none.
fn written(files: &[ConfigFile], folder: &std::path::Path, overwrite: bool) -> Result<String, Failure> {
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(&file.path)).collect();
    for path in &paths {
        check_absent(path, overwrite)?;
    }
    let mut lines = Vec::new();
    for (path, file) in paths.iter().zip(files) {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| {
                Failure::new(Kind::Usage, format!("cannot create {}: {error}", parent.display()))
            })?;
        }
        write_file(path, file.text.as_bytes(), Readers::Everyone, overwrite)?;
        lines.push(escape(&path.display().to_string()));
    }
    Ok(lines.join("\n"))
}

/// A TOML, YAML or JSON string: JSON strings are valid in all three.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
