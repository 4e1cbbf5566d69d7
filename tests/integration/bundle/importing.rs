//! Setup for the tests of `bundle import`: two images, a bundle with both, and the registry they are imported to.
//!
//! [`super::import`]: names, rules, the lock, refusals; [`super::import_foreign`]: layouts written by other tools;
//! [`super::import_volumes`], [`super::import_stdin`], [`super::import_delta`]: the forms in which a bundle arrives;
//! [`super::import_damage`], [`super::import_sizes`], [`super::import_kill`]: guarantees under failure.

pub(super) use std::path::Path;

pub(super) use serde_json::Value;

pub(super) use crate::support::{
    built_bundle::{BundleBuilder, SampleBundle},
    documents::run as document,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
};

/// `thoras-mirror bundle import FILE --to TO MORE…`
pub(super) fn import(file: &Path, to: &str, more: &[&str]) -> Mirror {
    Mirror::new(["bundle", "import"]).arg(file).arg("--to").arg(to).arguments(more.iter().copied())
}

/// Two images of one team, and a bundle with both.
pub(super) struct Team {
    pub(super) app: SampleImage,
    pub(super) web: SampleImage,
    pub(super) registry: Registry,
    pub(super) folder: tempfile::TempDir,
}

pub(super) const APP: &str = "registry.example.com/team/app:1";
pub(super) const WEB: &str = "registry.example.com/team/web:2";

impl Team {
    pub(super) async fn start() -> Self {
        Self {
            app: SampleImage::multi_platform("1"),
            web: SampleImage::nested("2"),
            registry: Registry::start().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn builder(&self) -> BundleBuilder<'_> {
        BundleBuilder::new(&[(APP, &self.app), (WEB, &self.web)])
            .lock(|lock| lock["destinations"][0]["sourcePrefix"] = "registry.example.com/team".into())
    }

    pub(super) fn bundle(&self) -> SampleBundle {
        self.builder().build()
    }

    /// A file with these bytes.
    pub(super) fn file(&self, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.folder.path().join("bundle.tar");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(super) fn to(&self) -> String {
        format!("{}/mirror", self.registry.address().host_port)
    }

    /// Asserts that exactly both images are present and complete.
    pub(super) fn assert_imported(&self) {
        let storage = self.registry.storage();
        let tags = storage.tags();
        assert_eq!(tags.len(), 2, "{tags:?}");
        assert_eq!(tags["mirror/app:1"], self.app.root().digest);
        assert_eq!(tags["mirror/web:2"], self.web.root().digest);
        assert!(storage.incomplete_tags().is_empty());
    }

    pub(super) fn assert_nothing_imported(&self) {
        assert!(self.registry.storage().tags().is_empty(), "{:?}", self.registry.storage().tags());
    }

    /// Asserts that nothing was written.
    pub(super) async fn assert_untouched(&self) {
        let requests = self.registry.requests().await;
        let writes: Vec<_> =
            requests.iter().filter(|request| !matches!(request.method.as_str(), "GET" | "HEAD")).collect();
        assert!(writes.is_empty(), "{writes:?}");
    }
}
