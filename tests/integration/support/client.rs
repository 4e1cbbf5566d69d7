//! Pushes sample images and reads images back through `oci-client`, which shares no code with this project's client.

use bytes::Bytes;
use oci_client::{
    Client, Reference,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};
use thoras_mirror::oci::{Digest, media_type::ACCEPTED};

use super::{Address, images::SampleImage};

/// One repository of a registry, as `oci-client` sees it. Reuse it: creating one takes a quarter of a second, because
/// it reads the system's certificates.
pub struct RepositoryClient {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
}

impl RepositoryClient {
    /// An anonymous client.
    pub async fn new(address: &Address, repository: &str) -> Self {
        Self::with_auth(address, repository, RegistryAuth::Anonymous).await
    }

    /// A client that logs in.
    pub async fn signed_in(address: &Address, repository: &str, user: &str, password: &str) -> Self {
        let auth = RegistryAuth::Basic(user.to_owned(), password.to_owned());
        Self::with_auth(address, repository, auth).await
    }

    async fn with_auth(address: &Address, repository: &str, auth: RegistryAuth) -> Self {
        let authorities = address.authority.iter().map(|file| Certificate {
            encoding: CertificateEncoding::Pem,
            data: std::fs::read(file).unwrap(),
        });
        let client = Client::new(ClientConfig {
            protocol: if address.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: authorities.collect(),
            use_monolithic_push: true,
            ..ClientConfig::default()
        });
        let reference: Reference = address.image(repository, "unused").parse().unwrap();
        client.store_auth_if_needed(reference.resolve_registry(), &auth).await;
        Self { client, reference, auth }
    }

    /// Pushes an image: blobs, child manifests by digest, the root by its tag.
    pub async fn push(&self, image: &SampleImage) -> oci_client::errors::Result<()> {
        for (digest, bytes) in &image.blobs {
            // As a stream, because `push_blob` refuses blobs of no bytes.
            let (size, piece) = (bytes.len() as u64, Ok(bytes.clone()));
            let stream = futures::stream::iter([piece]);
            self.client.push_blob_stream(&self.reference, stream, digest.as_str(), Some(size)).await?;
        }
        for manifest in &image.manifests {
            let is_root = manifest.digest == image.root().digest;
            let target = if is_root { self.tagged(&image.tag) } else { self.pinned(&manifest.digest) };
            let media_type = manifest.media_type.parse().unwrap();
            self.client.push_manifest_raw(&target, manifest.bytes.clone(), media_type).await?;
        }
        Ok(())
    }

    /// The manifest under a tag.
    pub async fn manifest(&self, tag: &str) -> oci_client::errors::Result<Bytes> {
        self.raw_manifest(&self.tagged(tag)).await
    }

    /// The manifest with a digest.
    pub async fn manifest_by_digest(&self, digest: &Digest) -> oci_client::errors::Result<Bytes> {
        self.raw_manifest(&self.pinned(digest)).await
    }

    /// A blob's bytes.
    pub async fn blob(&self, digest: &Digest) -> oci_client::errors::Result<Bytes> {
        let mut bytes = Vec::new();
        self.client.pull_blob(&self.reference, digest.as_str(), &mut bytes).await?;
        Ok(bytes.into())
    }

    /// Reads the whole image back under `tag` and compares every byte with the sample.
    pub async fn assert_present_as(&self, image: &SampleImage, tag: &str) {
        assert_eq!(self.manifest(tag).await.unwrap(), image.root().bytes, "{tag} of {}", self.reference);
        for manifest in &image.manifests {
            let found = self.manifest_by_digest(&manifest.digest).await.unwrap();
            assert_eq!(found, manifest.bytes, "manifest {}", manifest.digest);
        }
        for (digest, bytes) in &image.blobs {
            assert!(self.blob(digest).await.unwrap() == *bytes, "blob {digest}");
        }
    }

    /// The same under the sample's own tag.
    pub async fn assert_present(&self, image: &SampleImage) {
        self.assert_present_as(image, &image.tag).await;
    }

    async fn raw_manifest(&self, reference: &Reference) -> oci_client::errors::Result<Bytes> {
        Ok(self.client.pull_manifest_raw(reference, &self.auth, &ACCEPTED).await?.0)
    }

    fn tagged(&self, tag: &str) -> Reference {
        let (registry, repository) = self.names();
        Reference::with_tag(registry, repository, tag.to_owned())
    }

    fn pinned(&self, digest: &Digest) -> Reference {
        let (registry, repository) = self.names();
        Reference::with_digest(registry, repository, digest.to_string())
    }

    fn names(&self) -> (String, String) {
        (self.reference.registry().to_owned(), self.reference.repository().to_owned())
    }
}

/// Pushes a sample anonymously.
pub async fn push(image: &SampleImage, address: &Address, repository: &str) {
    RepositoryClient::new(address, repository).await.push(image).await.unwrap();
}

/// Reads a sample back anonymously and compares every byte.
pub async fn assert_present(image: &SampleImage, address: &Address, repository: &str) {
    RepositoryClient::new(address, repository).await.assert_present(image).await;
}
