//! A source with an additional chart that this program packaged as an artifact and that no registry has.

use super::{BlobStream, Cause, EndpointError, Error, Location, Operation, Source, body::stream_of, forward};
use crate::oci::{Attachment, ChartArtifact, Descriptor, Digest, RawManifest, Reference, Repository, Target};

/// A chart that this program packaged as an artifact.
#[derive(Debug, Clone)]
pub(crate) struct PackagedChart {
    /// Its name, in a repository that holds nothing else.
    pub reference: Reference,
    /// Its bytes; `None` when an earlier run packaged it and only its name is known. Then reading it is an error.
    pub artifact: Option<ChartArtifact>,
}

/// Serves the chart from memory and everything else from `inner`.
#[derive(Debug)]
pub(crate) struct ChartSource<S> {
    inner: S,
    chart: Option<PackagedChart>,
}

/// An earlier run packaged this chart, but this run did not.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("an earlier run packaged this chart, and no registry has it")]
struct NotPackaged;

impl EndpointError for NotPackaged {
    fn remedy(&self, _: &Location) -> Option<String> {
        let remedy =
            "package it again: pass --with-chart with the --chart and --repo of the run that wrote the lock";
        Some(remedy.to_owned())
    }
}

impl<S: Source> ChartSource<S> {
    /// Adds the chart, if there is one, to the source.
    pub(crate) fn new(inner: S, chart: Option<PackagedChart>) -> Self {
        Self { inner, chart }
    }

    /// The same chart with another source.
    pub(crate) fn with_inner<T: Source>(&self, change: impl FnOnce(&S) -> T) -> ChartSource<T> {
        ChartSource { inner: change(&self.inner), chart: self.chart.clone() }
    }

    fn chart_in(&self, repository: &Repository) -> Option<&PackagedChart> {
        self.chart.as_ref().filter(|chart| chart.reference.repository() == repository)
    }

    fn error(&self, operation: Operation, chart: &PackagedChart, cause: impl Into<Cause>) -> Error {
        Error::new(operation, self.inner.side(), chart.reference.to_string(), cause)
    }

    fn artifact<'a>(
        &self,
        operation: Operation,
        chart: &'a PackagedChart,
    ) -> Result<&'a ChartArtifact, Error> {
        chart.artifact.as_ref().ok_or_else(|| self.error(operation, chart, NotPackaged))
    }
}

impl<S: Source> Source for ChartSource<S> {
    forward!(inner: side, blob_location);

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        let Some(chart) = self.chart_in(repository) else { return self.inner.digest(repository, tag).await };
        let artifact = self.artifact(Operation::ReadManifest, chart)?;
        Ok((chart.reference.tag() == Some(tag)).then(|| artifact.manifest().digest().clone()))
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        let Some(chart) = self.chart_in(repository) else {
            return self.inner.manifest(repository, target).await;
        };
        let manifest = self.artifact(Operation::ReadManifest, chart)?.manifest();
        let is_it = match target {
            Target::Tag(tag) => chart.reference.tag() == Some(tag),
            Target::Digest(digest) => manifest.digest() == digest,
        };
        Ok(is_it.then(|| manifest.clone()))
    }

    /// A chart that is packaged here has no attachments.
    async fn attachments(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Attachment>, Error> {
        match self.chart_in(repository) {
            Some(_) => Ok(Vec::new()),
            None => self.inner.attachments(repository, subject).await,
        }
    }

    async fn expect_attachments(&self, repository: &Repository) {
        if self.chart_in(repository).is_none() {
            self.inner.expect_attachments(repository).await;
        }
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let Some(chart) = self.chart_in(repository) else {
            return self.inner.blob_size(repository, digest).await;
        };
        let artifact = self.artifact(Operation::CheckBlob, chart)?;
        Ok(artifact.blob(digest).map(|bytes| bytes.len() as u64))
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let Some(chart) = self.chart_in(repository) else {
            return self.inner.open_blob(repository, blob, offset).await;
        };
        let bytes = self.artifact(Operation::ReadBlob, chart)?.blob(&blob.digest);
        let bytes = bytes.ok_or_else(|| self.error(Operation::ReadBlob, chart, Cause::NoSuchBlob))?;
        Ok(stream_of(bytes, offset))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::TryStreamExt as _;
    use serde_json::json;

    use super::*;
    use crate::{
        endpoint::empty::EmptyDestination,
        oci::{Contents, chart},
    };

    fn packaged() -> ChartArtifact {
        let metadata = json!({ "name": "shop", "version": "1.0.0" });
        ChartArtifact::new(&metadata, Bytes::from_static(b"package")).unwrap()
    }

    fn chart_source(artifact: Option<ChartArtifact>) -> (ChartSource<EmptyDestination>, Repository) {
        let reference = chart::local_chart("shop", "1.0.0").unwrap();
        let repository = reference.repository().clone();
        (ChartSource::new(EmptyDestination, Some(PackagedChart { reference, artifact })), repository)
    }

    #[tokio::test]
    async fn the_chart_comes_from_memory_and_the_rest_from_the_source() {
        let artifact = packaged();
        let digest = artifact.manifest().digest().clone();
        let (source, repository) = chart_source(Some(artifact.clone()));
        assert_eq!(source.digest(&repository, "1.0.0").await.unwrap(), Some(digest.clone()));
        assert_eq!(source.digest(&repository, "2.0.0").await.unwrap(), None);
        for target in [Target::Tag("1.0.0".to_owned()), Target::Digest(digest)] {
            let manifest = source.manifest(&repository, &target).await.unwrap();
            assert_eq!(manifest.as_ref(), Some(artifact.manifest()));
        }
        let Contents::Image { layers, .. } = artifact.manifest().contents().unwrap() else { panic!() };
        let size = source.blob_size(&repository, &layers[0].digest).await.unwrap();
        assert_eq!(size, Some(layers[0].size));
        let read = |offset| source.open_blob(&repository, &layers[0], offset);
        let rest: Vec<Bytes> = read(4).await.unwrap().try_collect().await.unwrap();
        assert_eq!(rest.concat(), b"age");
        let other = chart::local_chart("other", "1.0.0").unwrap();
        assert_eq!(
            source.digest(other.repository(), "1.0.0").await.unwrap(),
            None,
            "EmptyDestination has nothing"
        );
    }

    #[tokio::test]
    async fn the_error_for_a_chart_that_was_not_packaged_again_has_a_hint() {
        let (source, repository) = chart_source(None);
        let error = source.manifest(&repository, &Target::Tag("1.0.0".to_owned())).await.unwrap_err();
        let failure = error.failure();
        assert!(failure.message.contains("localhost/charts/shop:1.0.0"), "{failure:?}");
        assert!(failure.hint.unwrap().contains("--with-chart"));
    }
}
