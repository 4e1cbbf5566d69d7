//! Forwards methods of [`Source`](super::Source) and [`Destination`](super::Destination), for endpoints that change only some
//! of another one.

/// Implements methods of an endpoint by the same method of a field: `forward!(inner: side, digest, attachments);`. A new
/// method of a trait is missing in every wrapper until it is listed there or written.
macro_rules! forward {
    ($inner:tt: $($method:ident),+) => {
        $($crate::endpoint::forward!(@ $method $inner);)+
    };
    (@ side $inner:tt) => {
        fn side(&self) -> $crate::problem::Side {
            self.$inner.side()
        }
    };
    (@ is_far $inner:tt) => {
        fn is_far(&self, repository: &$crate::oci::Repository) -> bool {
            self.$inner.is_far(repository)
        }
    };
    (@ digest $inner:tt) => {
        async fn digest(
            &self,
            repository: &$crate::oci::Repository,
            tag: &str,
        ) -> Result<Option<$crate::oci::Digest>, $crate::endpoint::Error> {
            self.$inner.digest(repository, tag).await
        }
    };
    (@ manifest $inner:tt) => {
        async fn manifest(
            &self,
            repository: &$crate::oci::Repository,
            target: &$crate::oci::Target,
        ) -> Result<Option<$crate::oci::RawManifest>, $crate::endpoint::Error> {
            self.$inner.manifest(repository, target).await
        }
    };
    (@ blob_size $inner:tt) => {
        async fn blob_size(
            &self,
            repository: &$crate::oci::Repository,
            digest: &$crate::oci::Digest,
        ) -> Result<Option<u64>, $crate::endpoint::Error> {
            self.$inner.blob_size(repository, digest).await
        }
    };
    (@ open_blob $inner:tt) => {
        async fn open_blob(
            &self,
            repository: &$crate::oci::Repository,
            blob: &$crate::oci::Descriptor,
            offset: u64,
        ) -> Result<$crate::endpoint::BlobStream, $crate::endpoint::Error> {
            self.$inner.open_blob(repository, blob, offset).await
        }
    };
    (@ attachments $inner:tt) => {
        async fn attachments(
            &self,
            repository: &$crate::oci::Repository,
            subject: &$crate::oci::Digest,
        ) -> Result<Vec<$crate::oci::Attachment>, $crate::endpoint::Error> {
            self.$inner.attachments(repository, subject).await
        }
    };
    (@ expect_attachments $inner:tt) => {
        async fn expect_attachments(&self, repository: &$crate::oci::Repository) {
            self.$inner.expect_attachments(repository).await;
        }
    };
    (@ blob_location $inner:tt) => {
        fn blob_location(
            &self,
            repository: &$crate::oci::Repository,
            digest: &$crate::oci::Digest,
        ) -> $crate::endpoint::Location {
            self.$inner.blob_location(repository, digest)
        }
    };
    (@ put_manifest $inner:tt) => {
        async fn put_manifest(
            &self,
            repository: &$crate::oci::Repository,
            target: &$crate::oci::Target,
            manifest: &$crate::oci::RawManifest,
        ) -> Result<(), $crate::endpoint::Error> {
            self.$inner.put_manifest(repository, target, manifest).await
        }
    };
}
pub(crate) use forward;
