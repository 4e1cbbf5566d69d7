//! The files of a CNCF registry: reads them independently of HTTP, and damages them.
//!
//! The layout is that of distribution's `registry/storage/paths.go`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use thoras_mirror::oci::Digest;

use super::graph::missing_below;

/// The timeout for writing a link, on a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A registry's storage folder.
#[derive(Debug, Clone)]
pub struct Storage {
    root: PathBuf,
}

impl Storage {
    /// The storage of a registry whose `rootdirectory` is `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { root: folder.join("docker/registry/v2") }
    }

    /// All tags of all repositories, `REPOSITORY:TAG` -> digest.
    pub fn tags(&self) -> BTreeMap<String, Digest> {
        let mut tags = BTreeMap::new();
        for repository in self.repositories() {
            for tag in entries(&self.repository(&repository).join("_manifests/tags")) {
                let name = tag.file_name().unwrap().to_str().unwrap();
                // A tag's folder briefly exists before its link.
                if let Some(digest) = read_link(&tag.join("current/link")) {
                    tags.insert(format!("{repository}:{name}"), digest);
                }
            }
        }
        tags
    }

    /// The repositories' names.
    pub fn repositories(&self) -> Vec<String> {
        let repositories = self.root.join("repositories");
        let mut found = Vec::new();
        let mut queue = entries(&repositories);
        while let Some(folder) = queue.pop() {
            if folder.join("_manifests").is_dir() {
                found.push(folder.strip_prefix(&repositories).unwrap().to_str().unwrap().to_owned());
            }
            let is_internal = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with('_');
            queue.extend(entries(&folder).into_iter().filter(|path| !is_internal(path)));
        }
        found
    }

    /// A manifest's or blob's bytes, if the registry has them in any repository.
    pub fn read(&self, digest: &Digest) -> Option<Vec<u8>> {
        fs::read(self.data(digest)).ok()
    }

    /// Whether a repository has this blob, undamaged.
    pub fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        self.is_whole(&self.layer_link(repository, digest), digest)
    }

    /// Whether a repository has this manifest, undamaged.
    pub fn has_manifest(&self, repository: &str, digest: &Digest) -> bool {
        self.is_whole(&self.manifest_link(repository, digest), digest)
    }

    /// Follows a link, which names its data by SHA-256 even for a SHA-512 digest.
    fn is_whole(&self, link: &Path, digest: &Digest) -> bool {
        read_link(link).and_then(|target| self.read(&target)).is_some_and(|data| digest.matches(&data))
    }

    /// Every tag that points to an incomplete graph, and what is missing or damaged below it.
    pub fn incomplete_tags(&self) -> BTreeMap<String, Vec<Digest>> {
        let mut incomplete = BTreeMap::new();
        for (name, root) in self.tags() {
            let (repository, _) = name.split_once(':').unwrap();
            let manifest =
                |digest: &Digest| self.has_manifest(repository, digest).then(|| self.read(digest)).flatten();
            let missing = missing_below(&root, &manifest, &|digest| self.has_blob(repository, digest));
            if !missing.is_empty() {
                incomplete.insert(name, missing.into_iter().collect());
            }
        }
        incomplete
    }

    /// Removes a manifest from a repository and leaves its tags, like faulty garbage collection.
    pub fn delete_manifest(&self, repository: &str, digest: &Digest) {
        fs::remove_dir_all(self.revision(repository, digest)).unwrap();
    }

    /// Removes a blob from a repository; other repositories keep it.
    pub fn unlink_blob(&self, repository: &str, digest: &Digest) {
        fs::remove_file(self.layer_link(repository, digest)).unwrap();
    }

    /// Removes the bytes of a digest and leaves the links of all repositories.
    pub fn delete_data(&self, digest: &Digest) {
        fs::remove_file(self.data(digest)).unwrap();
    }

    /// Flips one bit in the middle of the bytes of a digest.
    pub fn corrupt_data(&self, digest: &Digest) {
        let mut data = self.read(digest).unwrap();
        let middle = data.len() / 2;
        data[middle] ^= 1;
        fs::write(self.data(digest), data).unwrap();
    }

    /// Truncates the bytes of a digest to this length.
    pub fn truncate_data(&self, digest: &Digest, length: u64) {
        fs::File::options().write(true).open(self.data(digest)).unwrap().set_len(length).unwrap();
    }

    /// The link file of a manifest in a repository.
    pub fn manifest_link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.revision(repository, digest).join("link")
    }

    fn repository(&self, repository: &str) -> PathBuf {
        self.root.join("repositories").join(repository)
    }

    fn revision(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.repository(repository).join("_manifests/revisions").join(path_of(digest))
    }

    fn layer_link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.repository(repository).join("_layers").join(path_of(digest)).join("link")
    }

    fn data(&self, digest: &Digest) -> PathBuf {
        let (algorithm, hex) = digest.as_str().split_once(':').unwrap();
        self.root.join("blobs").join(algorithm).join(&hex[..2]).join(hex).join("data")
    }
}

/// The digest in a link file; `None` if there is no such link.
///
/// CNCF distribution writes links in place, and rewrites them whenever a manifest is pushed or a blob is mounted again:
/// it truncates the file, then writes it. An empty or truncated link is being written, perhaps for a client that was
/// killed long ago. It is read again until it is complete; a missing link is not waited for.
fn read_link(path: &Path) -> Option<Digest> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let target = fs::read_to_string(path).ok()?;
        let digest = target.parse().ok();
        if digest.is_some() || Instant::now() >= deadline {
            return digest;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// `sha256/HEX`.
fn path_of(digest: &Digest) -> String {
    digest.as_str().replace(':', "/")
}

/// The folders in a folder; empty if it does not exist.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten();
    read.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}
