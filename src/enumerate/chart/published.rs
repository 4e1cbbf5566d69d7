//! A chart in a registry (`oci://…`), fetched with this program's own client and handed to Helm as a file.
//!
//! So every credential, certificate and retry setting applies to the chart as to its images, and Helm never needs a
//! credential: the license in particular stays in this process.

use bytes::Bytes;
use futures::StreamExt as _;

use super::{
    super::EnumerateError,
    ChartOptions, arguments,
    package::MAX_PACKAGE_SIZE,
    versions::{self, Range},
};
use crate::{
    endpoint::{Cause, Error, Operation, Source, registry::Registries},
    oci::{
        Descriptor, Digest, Reference, Repository, Target,
        chart::{HELM_CONFIG, HELM_CONTENT, tag_of},
        manifest::Contents,
        reference::{ReferenceError, normalize_registry},
        verified::DigestVerifier,
    },
    problem::Side,
};

const SCHEME: &str = "oci://";
/// The layer's media type in charts of Helm 3.7 and before.
const OLD_CONTENT: &str = "application/tar+gzip";
/// How many versions an error lists.
const MAX_LISTED: usize = 5;

/// `oci://REGISTRY/PATH[:TAG][@DIGEST]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Published {
    /// `None` if the chart is not in a registry.
    pub(super) fn parse(chart: &str) -> Result<Option<Self>, EnumerateError> {
        let Some(rest) = chart.strip_prefix(SCHEME) else { return Ok(None) };
        let published = Self::parse_rest(rest);
        published
            .map(Some)
            .map_err(|source| EnumerateError::ChartReference { chart: chart.to_owned(), source })
    }

    /// Unlike in an image reference, the first component is always a registry.
    fn parse_rest(text: &str) -> Result<Self, ReferenceError> {
        if text.contains('@') && !text.contains("@sha256:") && !text.contains("@sha512:") {
            return Err(ReferenceError::Login("oci://***".to_owned()));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let (registry, path) = name.split_once('/').unwrap_or((name, ""));
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned())),
            None => (path, None),
        };
        let repository = Repository::new(&normalize_registry(registry), path.trim_end_matches('/'))?;
        if let Some(tag) = &tag {
            Reference::tagged(repository.clone(), tag)?;
        }
        Ok(Self { repository, tag, digest })
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }
}

/// The package of a chart in a registry; `None` if the chart is elsewhere.
pub(crate) async fn fetch(
    options: &ChartOptions,
    registries: impl AsyncFnOnce() -> Result<Registries, crate::error::Failure>,
) -> Result<Option<Bytes>, crate::error::Failure> {
    let Some(published) = Published::parse(&options.chart)? else { return Ok(None) };
    let devel = arguments::check_for_published(&options.helm_args)?;
    let source = registries().await?;
    let target = published.target(options.version.as_deref(), devel, &source).await?;
    Ok(Some(published.package(&target, &source).await?))
}

impl Published {
    /// What to request: a digest, a tag, or the newest version in a range.
    async fn target(
        &self,
        version: Option<&str>,
        devel: bool,
        source: &Registries,
    ) -> Result<Target, EnumerateError> {
        let twice = |named: &str, version: &str| EnumerateError::ChartVersionTwice {
            named: named.to_owned(),
            version: version.to_owned(),
        };
        match (&self.digest, &self.tag, version) {
            (Some(digest), _, Some(version)) => Err(twice(digest.as_str(), version)),
            (Some(digest), _, None) => Ok(Target::Digest(digest.clone())),
            (None, Some(tag), Some(version)) if tag_of(version) != *tag => Err(twice(tag, version)),
            (None, Some(tag), _) => Ok(Target::Tag(tag.clone())),
            (None, None, Some(version)) if versions::is_exact(version) => {
                let tag = tag_of(version);
                Reference::tagged(self.repository.clone(), &tag).map_err(|source| {
                    EnumerateError::ChartReference { chart: self.repository.to_string(), source }
                })?;
                Ok(Target::Tag(tag))
            }
            (None, None, version) => {
                let range = match version {
                    Some(text) => Range::parse(text)
                        .ok_or_else(|| EnumerateError::ChartRange { version: text.to_owned() })?,
                    None => Range::any(devel),
                };
                self.newest(&range, version, source).await.map(Target::Tag)
            }
        }
    }

    async fn newest(
        &self,
        range: &Range,
        version: Option<&str>,
        source: &Registries,
    ) -> Result<String, EnumerateError> {
        let tags = source.tags(&self.repository).await?;
        let tags = tags.ok_or_else(|| {
            let name = self.repository.to_string();
            Error::new(Operation::ListTags, Side::Source, name, Cause::NoSuchManifest)
        })?;
        let found = versions::newest(&tags, range);
        found.map(str::to_owned).ok_or_else(|| EnumerateError::NoChartVersion {
            chart: format!("{SCHEME}{}", self.repository),
            wanted: version.map_or_else(String::new, |version| format!(" that matches `{version}`")),
            available: tags.into_iter().rev().take(MAX_LISTED).collect(),
        })
    }

    async fn package(&self, target: &Target, source: &Registries) -> Result<Bytes, EnumerateError> {
        let separator = if matches!(target, Target::Tag(_)) { ':' } else { '@' };
        let name = format!("{}{separator}{target}", self.repository);
        let manifest = source.manifest(&self.repository, target).await?.ok_or_else(|| {
            Error::new(Operation::ReadManifest, Side::Source, name.clone(), Cause::NoSuchManifest)
        })?;
        let refused = |reason: &str| EnumerateError::NotAChart {
            chart: format!("{SCHEME}{name}"),
            reason: reason.to_owned(),
        };
        let Ok(Contents::Image { config, layers, .. }) = manifest.contents() else {
            return Err(refused("it is not a manifest with a config and layers"));
        };
        if config.media_type.as_str() != HELM_CONFIG {
            return Err(refused(&format!("its config is `{}`", config.media_type)));
        }
        // Another layer may be its provenance, a signature that is not verified here.
        let mut layers = layers.iter();
        let layer = layers.find(|layer| matches!(layer.media_type.as_str(), HELM_CONTENT | OLD_CONTENT));
        let layer = layer.ok_or_else(|| refused("it has no layer with a packaged chart"))?;
        if layer.size > MAX_PACKAGE_SIZE {
            return Err(refused(&format!("it is larger than {} MiB", MAX_PACKAGE_SIZE / (1024 * 1024))));
        }
        match self.download(layer, source).await {
            // Damaged on the way: once more.
            Err(error) if error.retry().is_some() => Ok(self.download(layer, source).await?),
            downloaded => Ok(downloaded?),
        }
    }

    async fn download(&self, layer: &Descriptor, source: &Registries) -> Result<Bytes, Error> {
        let failed =
            |mismatch| source.blob_location(&self.repository, &layer.digest).error(Cause::Mismatch(mismatch));
        let mut stream = source.open_blob(&self.repository, layer, 0).await?;
        let (mut verifier, mut package) = (DigestVerifier::new(layer), Vec::new());
        while let Some(piece) = stream.next().await {
            package.extend(verifier.push(piece?).map_err(failed)?.into_iter().flatten());
        }
        package.extend(verifier.finish().map_err(failed)?.into_iter().flatten());
        Ok(package.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chart: &str) -> Published {
        Published::parse(chart).unwrap().unwrap()
    }

    #[test]
    fn the_first_component_is_a_registry() {
        for (chart, repository, tag) in [
            ("oci://reg.io/charts/web", "reg.io/charts/web", None),
            ("oci://intranet/web", "intranet/web", None),
            ("oci://reg.io:5000/web:1.2.3_build", "reg.io:5000/web", Some("1.2.3_build")),
            ("oci://[::1]:5000/web", "[::1]:5000/web", None),
            ("oci://index.docker.io/bitnamicharts/redis", "docker.io/bitnamicharts/redis", None),
        ] {
            let found = parse(chart);
            assert_eq!((found.repository.to_string().as_str(), found.tag.as_deref()), (repository, tag));
        }
        let digest = Digest::sha256(b"");
        let pinned = parse(&format!("oci://reg.io/web:1@{digest}"));
        assert_eq!((pinned.tag.as_deref(), pinned.digest), (Some("1"), Some(digest)));
        assert_eq!(Published::parse("https://reg.io/web").unwrap(), None);
        assert_eq!(Published::parse("thoras").unwrap(), None);
    }

    #[test]
    fn what_is_not_a_chart_reference_is_refused_without_a_password() {
        for chart in
            ["oci://", "oci://reg.io", "oci://reg.io/", "oci://reg.io/Web", "oci://u:hunter2@reg.io/web"]
        {
            let error = Published::parse(chart).unwrap_err();
            let failure = crate::error::Failure::from(error);
            assert_eq!(failure.kind, crate::error::Kind::Usage, "{chart}");
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
