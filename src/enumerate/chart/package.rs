//! The chart itself as something that can be copied: where it is in a registry already, or its package made into an
//! artifact.
//!
//! A published package is kept byte for byte. A package made from a folder is written
//! again without the times that `helm package` puts into it, so that the same folder gives the same digest.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder, read::GzDecoder};
use serde_json::Value;

use super::{
    super::{EnumerateError, ReadAs},
    ChartOptions, arguments,
    helm::Helm,
    published::Published,
};
use crate::oci::{ChartArtifact, Digest, Reference, chart};

/// The largest package that is taken along, in bytes. It is held in memory; Helm installs nothing near this size,
/// because a release must fit into a Kubernetes Secret.
pub(super) const MAX_PACKAGE_SIZE: u64 = 32 * 1024 * 1024;
/// The largest that a package of a folder may unpack to, in bytes.
const MAX_UNPACKED_SIZE: u64 = 8 * MAX_PACKAGE_SIZE;

/// A chart that can be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChartPackage {
    /// Its name.
    pub reference: Reference,
    /// What was made of its package; `None` where a registry has the artifact already, under this name.
    pub artifact: Option<ChartArtifact>,
    /// The digest of the package itself, which a chart repository's index names.
    pub digest: Digest,
}

/// Makes the package of a chart, a `.tgz` file or a folder, into something that can be copied. `metadata` is its
/// `Chart.yaml`.
pub(super) async fn package(
    helm: &Helm,
    options: &ChartOptions,
    found: &Path,
    metadata: &Value,
) -> Result<ChartPackage, EnumerateError> {
    let bytes = if found.is_file() { read(found)? } else { of_folder(helm, found).await? };
    let digest = Digest::sha256(&bytes);
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
    let (name, version) = (text("name"), text("version"));
    let refused = |source| EnumerateError::ChartName { name: name.to_owned(), source };
    if let Some(published) = Published::parse(&options.chart)? {
        let reference = Reference::tagged(published.repository().clone(), &chart::tag_of(version));
        return Ok(ChartPackage { reference: reference.map_err(refused)?, artifact: None, digest });
    }
    let reference = chart::local_chart(name, version).map_err(refused)?;
    let artifact = ChartArtifact::new(metadata, bytes.into())
        .map_err(|error| unusable(&io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok(ChartPackage { reference, artifact: Some(artifact), digest })
}

fn read(package: &Path) -> Result<Vec<u8>, EnumerateError> {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(package)?.take(MAX_PACKAGE_SIZE + 1).read_to_end(&mut bytes)?;
        within(MAX_PACKAGE_SIZE, bytes)
    };
    read().map_err(|source| EnumerateError::Read {
        input: package.display().to_string(),
        read_as: ReadAs::Chart,
        source,
    })
}

async fn of_folder(helm: &Helm, folder: &Path) -> Result<Vec<u8>, EnumerateError> {
    let output = helm.private_folder("packaged")?;
    helm.run("package", arguments::package(folder, &output), None).await?;
    without_times(&read(&find(&output, "package")?)?).map_err(|error| unusable(&error))
}

/// The package that Helm has put into this folder.
pub(super) fn find(folder: &Path, operation: &'static str) -> Result<PathBuf, EnumerateError> {
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "tgz");
    let package = std::fs::read_dir(folder)
        .map_err(EnumerateError::Workspace)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(is_package);
    package.ok_or(EnumerateError::HelmOutput { operation, reason: "is not a packaged chart".to_owned() })
}

/// The same files in the same order, every one of the year 1970.
fn without_times(package: &[u8]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(package).take(MAX_UNPACKED_SIZE + 1).read_to_end(&mut unpacked)?;
    let unpacked = within(MAX_UNPACKED_SIZE, unpacked)?;
    let compressed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut written = tar::Builder::new(compressed);
    for entry in tar::Archive::new(unpacked.as_slice()).entries()? {
        let entry = entry?;
        let (mut header, path) = (entry.header().clone(), entry.path()?.into_owned());
        header.set_mtime(0);
        written.append_data(&mut header, path, entry)?;
    }
    written.into_inner()?.finish()
}

fn within(limit: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if bytes.len() as u64 <= limit {
        return Ok(bytes);
    }
    let reason = format!("it is larger than {} MiB", limit / (1024 * 1024));
    Err(io::Error::new(io::ErrorKind::FileTooLarge, reason))
}

fn unusable(error: &io::Error) -> EnumerateError {
    EnumerateError::HelmOutput { operation: "package", reason: format!("cannot be used: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `helm package` writes at this time.
    fn packaged_at(time: u64) -> Vec<u8> {
        let mtime = u32::try_from(time).unwrap();
        let compressed = GzBuilder::new().mtime(mtime).write(Vec::new(), Compression::fast());
        let mut archive = tar::Builder::new(compressed);
        for (path, content) in [("shop/Chart.yaml", "name: shop"), ("shop/templates/a.yaml", "kind: Pod")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(time);
            archive.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn the_time_of_packaging_does_not_show() {
        let [one, other] = [1_000_000_000, 2_000_000_000].map(packaged_at);
        assert_ne!(one, other);
        let written = without_times(&one).unwrap();
        assert_eq!(written, without_times(&other).unwrap());
        let mut unpacked = tar::Archive::new(GzDecoder::new(written.as_slice()));
        let files: Vec<(String, String)> = unpacked
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                (entry.path().unwrap().display().to_string(), content)
            })
            .collect();
        let expected = [("shop/Chart.yaml", "name: shop"), ("shop/templates/a.yaml", "kind: Pod")];
        assert_eq!(files, expected.map(|(path, content)| (path.to_owned(), content.to_owned())));
    }

    #[test]
    fn a_file_that_is_not_an_archive_is_refused() {
        assert!(without_times(b"no archive").is_err());
        assert!(within(1, vec![0; 2]).is_err());
    }
}
