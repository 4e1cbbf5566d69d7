//! Bundles as a person uses them: the built program, real registries, and other programs beside it.
//!
//! - [`import`]: names, rules, the lock, what is refused; [`import_foreign`]: layouts that others write;
//! - [`import_volumes`], [`import_stdin`], [`import_delta`]: every shape in which a bundle arrives;
//! - [`import_damage`], [`import_kill`]: what holds whatever happens.

mod import;
mod import_damage;
mod import_delta;
mod import_foreign;
mod import_kill;
mod import_stdin;
mod import_volumes;

use std::path::Path;

use serde_json::Value;

use crate::support::{
    bundle::{BundleBuilder, SampleBundle},
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
};

/// `thoras-mirror bundle import FILE --to TO MORE…`
fn import(file: &Path, to: &str, more: &[&str]) -> Mirror {
    Mirror::new(["bundle", "import"]).arg(file).arg("--to").arg(to).arguments(more.iter().copied())
}

/// Two images of one team, and the bundle that holds them.
struct Team {
    app: SampleImage,
    web: SampleImage,
    registry: Registry,
    folder: tempfile::TempDir,
}

const APP: &str = "registry.example.com/team/app:1";
const WEB: &str = "registry.example.com/team/web:2";

impl Team {
    async fn start() -> Self {
        Self {
            app: SampleImage::multi_platform("1"),
            web: SampleImage::nested("2"),
            registry: Registry::start().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn builder(&self) -> BundleBuilder<'_> {
        BundleBuilder::new(&[(APP, &self.app), (WEB, &self.web)])
            .lock(|lock| lock["placement"]["sourcePrefix"] = "registry.example.com/team".into())
    }

    fn bundle(&self) -> SampleBundle {
        self.builder().build()
    }

    /// A file with these bytes.
    fn file(&self, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.folder.path().join("bundle.tar");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn to(&self) -> String {
        format!("{}/mirror", self.registry.address().host_port)
    }

    /// Fails the test unless both images are there, whole, and nothing else.
    fn assert_imported(&self) {
        let storage = self.registry.storage();
        let tags = storage.tags();
        assert_eq!(tags.len(), 2, "{tags:?}");
        assert_eq!(tags["mirror/app:1"], self.app.root().digest);
        assert_eq!(tags["mirror/web:2"], self.web.root().digest);
        assert!(storage.incomplete_tags().is_empty());
    }

    fn assert_nothing_imported(&self) {
        assert!(self.registry.storage().tags().is_empty(), "{:?}", self.registry.storage().tags());
    }

    /// Fails the test if anything was written.
    async fn assert_untouched(&self) {
        let requests = self.registry.requests().await;
        let writes: Vec<_> =
            requests.iter().filter(|request| !matches!(request.method.as_str(), "GET" | "HEAD")).collect();
        assert!(writes.is_empty(), "{writes:?}");
    }
}

fn document(outcome: &Outcome) -> Value {
    crate::support::documents::parse(&outcome.stdout, "run.v1.json")
}
