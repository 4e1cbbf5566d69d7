//! Recognizes archives and folders that are not an OCI image layout, so that the message says what they are.

use std::path::Path;

use super::{
    error::BundleError,
    header::Entry,
    names::{self, DOCKER, MARKER, MAX_MARKER_SIZE, Name},
    storage::Storage,
};

/// The file that `skopeo copy` writes beside `manifest.json` for its transport `dir:`.
const SKOPEO_VERSION: &str = "version";
/// Why a layout without a marker, but with its metadata, is refused.
const ONLY_METADATA: &str =
    "it has no `oci-layout` file, only `._oci-layout`, the metadata that macOS adds beside a file";

/// What the names in an archive tell about it if it is not a layout.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// The first link, in an archive that may be one of Docker.
    link: Option<BundleError>,
    /// The first folder of a layout below the root of the archive.
    nested: Option<String>,
    /// Whether the metadata of macOS for the marker was seen.
    is_metadata: bool,
    /// Whether `manifest.json` is at the root.
    has_docker: bool,
    /// The first folder with a `version`, and the first with a `manifest.json`. The root's name is empty.
    version: Option<String>,
    manifest: Option<String>,
}

impl Traces {
    /// Notes an error because of a link. It counts only if the archive is a layout.
    pub(crate) fn note_link(&mut self, error: BundleError) {
        self.link.get_or_insert(error);
    }

    /// Notes an entry. Returns which file of a layout it is; `None` for a folder and for any other file. At the marker,
    /// an earlier link is an error: the archive is a layout.
    pub(crate) fn note_entry(&mut self, entry: &Entry) -> Result<Option<Name>, BundleError> {
        let name = names::read(&entry.path)
            .map_err(|error| BundleError::Name { path: entry.path.clone(), error })?;
        if entry.folder {
            return Ok(None);
        }
        self.note_file(&entry.path);
        match name {
            Name::Other => Ok(None),
            Name::Marker => self.link.take().map_or(Ok(Some(name)), Err),
            _ => Ok(Some(name)),
        }
    }

    /// Notes the path of a file.
    fn note_file(&mut self, path: &str) {
        let path = path.strip_prefix("./").unwrap_or(path);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.is_metadata |= name == "._oci-layout";
        self.has_docker |= path == DOCKER;
        let first = match name {
            MARKER if !folder.is_empty() => &mut self.nested,
            SKOPEO_VERSION => &mut self.version,
            DOCKER => &mut self.manifest,
            _ => return,
        };
        first.get_or_insert_with(|| folder.to_owned());
    }

    /// Why an archive without the marker of a layout is refused, with the reason that helps most.
    pub(crate) fn refusal(self, path: &Path) -> Option<BundleError> {
        let path = path.to_owned();
        let is_skopeo = self.version.is_some() && self.version == self.manifest;
        match (self.link, self.nested) {
            (None, _) if is_skopeo => Some(BundleError::SkopeoFolder { path, in_archive: true }),
            (Some(_), _) | (None, None) if self.has_docker => Some(BundleError::OldDocker { path }),
            (Some(link), _) => Some(link),
            (None, Some(folder)) => Some(BundleError::Subfolder { path, folder, in_archive: true }),
            (None, None) if self.is_metadata => Some(BundleError::NotALayout { path, reason: ONLY_METADATA }),
            (None, None) => None,
        }
    }
}

/// Why a folder without the marker of a layout is refused, if that is known.
pub(crate) fn of_folder(path: &Path) -> Option<BundleError> {
    let owned = || path.to_owned();
    if let Some(folder) = layout_below(path) {
        return Some(BundleError::Subfolder { path: owned(), folder, in_archive: false });
    }
    if is_skopeo_folder(path) {
        return Some(BundleError::SkopeoFolder { path: owned(), in_archive: false });
    }
    let is_metadata = path.join("._oci-layout").exists();
    is_metadata.then(|| BundleError::NotALayout { path: owned(), reason: ONLY_METADATA })
}

/// The name of the first folder in this folder that is an OCI image layout.
fn layout_below(path: &Path) -> Option<String> {
    let folders = path.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let layouts = folders.filter(|folder| folder.join(names::MARKER).is_file());
    layouts.filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned())).min()
}

/// Whether `skopeo copy` wrote a folder for its transport `dir:`.
fn is_skopeo_folder(path: &Path) -> bool {
    let Ok(storage) = Storage::open_folder(path) else { return false };
    let version = storage.small(SKOPEO_VERSION, MAX_MARKER_SIZE).ok().flatten();
    version.is_some_and(|version| version.starts_with(b"Directory Transport Version"))
        && matches!(storage.file(DOCKER), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(paths: &[&str]) -> Option<BundleError> {
        let mut traces = Traces::default();
        for path in paths {
            traces.note_file(path);
        }
        traces.refusal(Path::new("x.tar"))
    }

    #[test]
    fn a_folder_of_skopeo_in_an_archive_is_recognized_bug() {
        for paths in
            [["./version", "./manifest.json"], ["manifest.json", "version"], ["a/version", "a/manifest.json"]]
        {
            let found = refusal(&paths);
            assert!(matches!(found, Some(BundleError::SkopeoFolder { in_archive: true, .. })), "{found:?}");
        }
        assert!(matches!(refusal(&["manifest.json", "a/version"]), Some(BundleError::OldDocker { .. })));
        assert!(refusal(&["a/manifest.json", "version"]).is_none());
    }

    #[test]
    fn the_reason_that_helps_most_is_given() {
        let nested = refusal(&["./thoras/oci-layout", "thoras/._oci-layout"]);
        assert!(matches!(nested, Some(BundleError::Subfolder { folder, .. }) if folder == "thoras"));
        let metadata = refusal(&["._oci-layout"]);
        assert!(matches!(metadata, Some(BundleError::NotALayout { reason: ONLY_METADATA, .. })));
        assert!(refusal(&["index.json", "version"]).is_none());
    }
}
