//! The names of the files in an OCI image layout (OCI image specification, "Image Layout").

use serde::Deserialize;

use crate::oci::Digest;

pub(crate) const MARKER: &str = "oci-layout";
pub(crate) const INDEX: &str = "index.json";
pub(crate) const LOCK: &str = "thoras-mirror.lock";
pub(crate) const DOCKER: &str = "manifest.json";

/// The marker file's content.
pub(crate) const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The largest marker that is read, in bytes.
pub(crate) const MAX_MARKER_SIZE: u64 = 4096;

/// Whether this is the marker's content. There is only one version of the layout; a newer version would be misread.
pub(crate) fn is_marker(content: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Marker {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    serde_json::from_slice::<Marker>(content).is_ok_and(|marker| marker.version == "1.0.0")
}

/// The type of a file in a layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// `oci-layout`
    Marker,
    /// `index.json`
    Index,
    /// `thoras-mirror.lock`
    Lock,
    /// `manifest.json`, which Docker adds to the layout
    Docker,
    /// `blobs/ALGORITHM/HEX`
    Blob(Digest),
    /// Any other file or folder; it is ignored.
    Other,
}

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It leads out of the layout, or could be interpreted that way.
    #[error("its name leads out of the bundle")]
    Outside,
    /// Metadata that macOS adds to archives and disks.
    #[error("it is a macOS metadata file (AppleDouble), not a blob")]
    AppleDouble,
    /// It is in the folder of the blobs and is not named like a blob.
    #[error("it is in the folder of the blobs, but its name is not a digest")]
    NotADigest,
}

/// Parses a name. Some programs write a leading `./`.
pub(crate) fn read(path: &str) -> Result<Name, NameError> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let path = if path == "/" { path } else { path.strip_suffix('/').unwrap_or(path) };
    let is_plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.contains(|c: char| c == '\\' || c.is_control())
    };
    if path.is_empty() || path == "." {
        return Ok(Name::Other);
    }
    if !path.split('/').all(is_plain) {
        return Err(NameError::Outside);
    }
    match path {
        MARKER => return Ok(Name::Marker),
        INDEX => return Ok(Name::Index),
        LOCK => return Ok(Name::Lock),
        DOCKER => return Ok(Name::Docker),
        _ => {}
    }
    let Some(below) = path.strip_prefix("blobs/") else { return Ok(Name::Other) };
    match below.split_once('/') {
        // `blobs/sha256` itself, a folder.
        None => Ok(Name::Other),
        Some((_, file)) if file.starts_with("._") => Err(NameError::AppleDouble),
        Some((algorithm, hex)) => {
            format!("{algorithm}:{hex}").parse().map(Name::Blob).map_err(|_| NameError::NotADigest)
        }
    }
}

/// `blobs/ALGORITHM/HEX`
pub(crate) fn of_blob(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replacen(':', "/", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_layout() {
        let digest = Digest::sha256(b"x");
        assert_eq!(read(&of_blob(&digest)), Ok(Name::Blob(digest.clone())));
        assert_eq!(read(&format!("./{}", of_blob(&digest))), Ok(Name::Blob(digest)));
        assert_eq!(read("oci-layout"), Ok(Name::Marker));
        assert_eq!(read("index.json"), Ok(Name::Index));
        assert_eq!(read("manifest.json"), Ok(Name::Docker));
        for other in ["./", "blobs", "blobs/", "blobs/sha256/", "repositories", "a/b"] {
            assert_eq!(read(other), Ok(Name::Other), "{other}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for outside in ["/etc/passwd", "../x", "blobs/../../x", "a//b", "a/./b", "..", "a\\b", "x\0y", "/"] {
            assert_eq!(read(outside), Err(NameError::Outside), "{outside}");
        }
        for stray in ["blobs/sha256/abc", "blobs/md5/0", "blobs/sha256/../x/y"] {
            assert!(read(stray).is_err(), "{stray}");
        }
        assert_eq!(read("blobs/sha256/ABC"), Err(NameError::NotADigest));
    }
}
