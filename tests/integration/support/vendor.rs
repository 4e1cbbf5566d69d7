//! A vendor like Thoras: a registry with the images of a chart, and the chart, whose value `imageCredentials.registry`
//! names that registry.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{client, helm, images::SampleImage, process::Mirror, registry::Registry};

/// The chart's name and version.
pub const CHART: (&str, &str) = ("shop", "4.53.0");

/// A vendor of these images, each by its repository below the registry's `platform/`.
pub struct Vendor {
    /// Its registry.
    pub registry: Registry,
    /// The images.
    pub images: Vec<(&'static str, SampleImage)>,
    folder: TempDir,
}

impl Vendor {
    /// Publishes the images and writes the chart.
    pub async fn start(images: Vec<(&'static str, SampleImage)>) -> Self {
        let registry = Registry::start().await;
        for (repository, image) in &images {
            client::push(image, registry.address(), &format!("platform/{repository}")).await;
        }
        let vendor = Self { registry, images, folder: tempfile::tempdir().unwrap() };
        vendor.write_chart();
        vendor
    }

    fn write_chart(&self) {
        let templates = self.chart().join("templates");
        std::fs::create_dir_all(&templates).unwrap();
        let (name, version) = CHART;
        let about = format!("apiVersion: v2\nname: {name}\nversion: {version}\ndescription: Sells\n");
        std::fs::write(self.chart().join("Chart.yaml"), about).unwrap();
        let values = format!("imageCredentials:\n  registry: {}\n", self.prefix());
        std::fs::write(self.chart().join("values.yaml"), values).unwrap();
        for (number, (repository, image)) in self.images.iter().enumerate() {
            let pod = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{number}}}\nspec:\n  containers:\n  - name: main\n    \
                 image: {{{{ .Values.imageCredentials.registry }}}}/{repository}:{}\n",
                image.tag
            );
            std::fs::write(templates.join(format!("pod-{number}.yaml")), pod).unwrap();
        }
    }

    fn chart(&self) -> PathBuf {
        self.folder.path().join(CHART.0)
    }

    /// The common prefix of all images.
    pub fn prefix(&self) -> String {
        format!("{}/platform", self.registry.address().host_port)
    }

    /// The reference of an image in the chart.
    pub fn reference(&self, position: usize) -> String {
        let (repository, image) = &self.images[position];
        format!("{}/{repository}:{}", self.prefix(), image.tag)
    }

    /// A file or folder next to the chart.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `thoras-mirror bundle export` of the chart to a file in the same folder, whose path is returned.
    pub async fn export(&self, name: &str, more: &[&str]) -> PathBuf {
        let file = self.path(name);
        let run = Mirror::new(["bundle", "export", "--chart"]).arg(self.chart()).arg("-o").arg(&file);
        let run = run.arguments(more.iter().copied()).env("THORAS_MIRROR_HELM", helm::program());
        run.run().await.expect_success();
        file
    }

    /// Unpacks a bundle, as `tar -x` does.
    pub fn unpack(&self, bundle: &Path, name: &str) -> PathBuf {
        let folder = self.path(name);
        tar::Archive::new(std::fs::File::open(bundle).unwrap()).unpack(&folder).unwrap();
        folder
    }
}
