//! Blobs of a repository, and the private files of uploads.

use std::{fs::File, io};

use super::{FolderStorage, blob_link, content_path, files::UPLOADS};
use crate::{
    oci::Digest,
    serve::{
        names::{RepositoryName, UploadId},
        storage::OpenContent,
    },
};

impl FolderStorage {
    /// The blob's size in bytes; `None` if the repository does not have it.
    pub(in crate::serve) fn blob_size(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<u64>> {
        if !self.folder.exists(&blob_link(name, digest))? {
            return Ok(None);
        }
        self.folder.size(&content_path(digest))
    }

    /// Opens a blob; `None` if the repository does not have it.
    pub(in crate::serve) fn open_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<OpenContent>> {
        if !self.folder.exists(&blob_link(name, digest))? {
            return Ok(None);
        }
        self.folder.open(&content_path(digest))
    }

    /// Mounts a blob of `from` (or, without `from`, of any repository) into the repository `name`. `false` if it does
    /// not exist.
    pub(in crate::serve) fn mount_blob(
        &self,
        name: &RepositoryName,
        from: Option<&RepositoryName>,
        digest: &Digest,
    ) -> io::Result<bool> {
        let _adding = self.adding_references();
        let present = match from {
            Some(from) => self.blob_size(from, digest)?.is_some(),
            None => self.folder.size(&content_path(digest))?.is_some(),
        };
        if present {
            self.folder.mark(&blob_link(name, digest))?;
        }
        Ok(present)
    }

    /// Removes the blob from the repository, and its bytes from the disk if no other repository has them. `false` if
    /// the repository does not have it.
    pub(in crate::serve) fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<bool> {
        let _removing = self.removing_references();
        let removed = self.folder.remove(&blob_link(name, digest))?;
        if removed {
            self.discard_unreferenced(digest)?;
        }
        Ok(removed)
    }

    /// The private file of an upload, open for appending.
    pub(in crate::serve) fn append_upload(&self, id: &UploadId) -> io::Result<File> {
        self.folder.append(&upload_path(id))
    }

    /// Turns an upload, whose bytes match `digest`, into a blob of the repository. Existing content is replaced, which
    /// repairs it if it was damaged.
    pub(in crate::serve) fn commit_upload(
        &self,
        id: &UploadId,
        bytes: &File,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<()> {
        bytes.sync_all()?;
        let _adding = self.adding_references();
        self.folder.publish(&upload_path(id), &content_path(digest))?;
        self.folder.mark(&blob_link(name, digest))
    }

    /// Removes the private file of an upload, if it has one.
    pub(in crate::serve) fn discard_upload(&self, id: &UploadId) -> io::Result<()> {
        self.folder.discard(&upload_path(id))
    }
}

fn upload_path(id: &UploadId) -> String {
    format!("{UPLOADS}/{id}")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn push(storage: &FolderStorage, name: &RepositoryName, bytes: &[u8]) -> Digest {
        let (id, digest) = (UploadId::random().unwrap(), Digest::sha256(bytes));
        let mut file = storage.append_upload(&id).unwrap();
        file.write_all(bytes).unwrap();
        storage.commit_upload(&id, &file, name, &digest).unwrap();
        digest
    }

    #[test]
    fn a_blob_belongs_to_a_repository_until_mounted_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let storage = FolderStorage::open_writable(root.path()).unwrap();
        let [one, two, three] = ["one", "two", "three/deep"].map(|name| RepositoryName::new(name).unwrap());
        let digest = push(&storage, &one, b"blob");
        assert_eq!(storage.blob_size(&one, &digest).unwrap(), Some(4));
        assert_eq!(storage.blob_size(&two, &digest).unwrap(), None);
        assert!(!storage.mount_blob(&two, Some(&three), &digest).unwrap());
        assert!(storage.mount_blob(&two, Some(&one), &digest).unwrap());
        assert!(storage.mount_blob(&three, None, &digest).unwrap());
        assert_eq!(storage.open_blob(&three, &digest).unwrap().unwrap().read_all().unwrap(), b"blob");
    }

    #[test]
    fn content_is_deleted_with_its_last_reference() {
        let root = tempfile::tempdir().unwrap();
        let storage = FolderStorage::open_writable(root.path()).unwrap();
        let [one, deep] = ["one", "one/deep"].map(|name| RepositoryName::new(name).unwrap());
        let digest = push(&storage, &one, b"blob");
        push(&storage, &deep, b"blob");
        let content = root.path().join(content_path(&digest));
        assert!(storage.delete_blob(&one, &digest).unwrap());
        assert!(!storage.delete_blob(&one, &digest).unwrap());
        assert!(content.exists());
        assert_eq!(storage.blob_size(&one, &digest).unwrap(), None);
        assert!(storage.delete_blob(&deep, &digest).unwrap());
        assert!(!content.exists());
    }

    #[test]
    fn pushing_again_repairs_damaged_content() {
        let root = tempfile::tempdir().unwrap();
        let storage = FolderStorage::open_writable(root.path()).unwrap();
        let name = RepositoryName::new("one").unwrap();
        let digest = push(&storage, &name, b"blob");
        std::fs::write(root.path().join(content_path(&digest)), b"bl").unwrap();
        push(&storage, &name, b"blob");
        assert_eq!(storage.blob_size(&name, &digest).unwrap(), Some(4));
    }
}
