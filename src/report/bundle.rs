//! What `bundle inspect` shows: a bundle's images, as JSON and as text.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    grid::{Column, Grid},
    print, stdout_width, units,
};
use crate::{
    error::{Failure, escape},
    oci::{ChartIdentity, Digest, Reference},
    outcome::inspection::{BundleContents, BundledImage, DeltaBase},
    output::Format,
};

/// The schema of [`BundleDocument`].
pub const BUNDLE_SCHEMA: &str = "thoras-mirror/bundle/v1";

/// What `bundle inspect --output json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundleDocument {
    #[schemars(extend("const" = BUNDLE_SCHEMA))]
    schema: &'static str,
    /// The bundle's id: the digest of its `index.json`.
    pub id: Digest,
    /// The file or folder.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The chart that the images came from, where the bundle's lock names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartIdentity>,
    /// In a delta: what it builds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<DeltaBase>,
    /// The images in the order of the index.
    pub images: Vec<BundledImage>,
    /// The images that `bundle export --keep-going` went on without.
    pub left_out: Vec<Reference>,
    /// Why other images of the index cannot be shown.
    pub failures: Vec<Failure>,
    /// What the process exits with.
    pub exit_code: u8,
}

impl From<BundleContents> for BundleDocument {
    fn from(contents: BundleContents) -> Self {
        let BundleContents { id, path, size, chart, base, images, left_out, failures } = contents;
        let exit_code = crate::error::exit_code_of(failures.iter().map(|failure| failure.kind));
        Self { schema: BUNDLE_SCHEMA, id, path, size, chart, base, images, left_out, failures, exit_code }
    }
}

/// Writes what `bundle inspect` found, then every failure in full to standard error.
pub fn present_bundle(document: &BundleDocument, format: Format) -> Result<(), Failure> {
    let printed = match format {
        Format::Json => print::document(document),
        _ => print::result(&text(document, stdout_width())),
    };
    document.failures.iter().for_each(print::print_failure);
    printed
}

fn text(document: &BundleDocument, width: Option<usize>) -> String {
    let one_line = |text: &str| escape(text).replace('\n', " ");
    let mut lines = vec![
        one_line(&document.path),
        format!("id      {}", document.id),
        format!("size    {} ({} bytes)", units::bytes(document.size), document.size),
    ];
    if let Some(chart) = &document.chart {
        lines.push(format!("chart   {} {}", one_line(&chart.name), one_line(&chart.version)));
    }
    if let Some(base) = &document.base {
        let (blobs, bytes) = (units::counted(base.absent_blobs, "blob"), units::bytes(base.absent_bytes));
        lines.push(format!("base    {}, which has {blobs} ({bytes}) of these images", base.id));
    }
    let lacks = |image: &Reference| format!("lacks   {image}, which the export went on without");
    lines.extend(document.left_out.iter().map(lacks));
    lines.push(String::new());
    let columns =
        [Column::Left("IMAGE"), Column::Left("DIGEST"), Column::Left("PLATFORMS"), Column::Right("SIZE")];
    let mut grid = Grid::new(columns, 2);
    for image in &document.images {
        let name = match (&image.reference, &image.label) {
            (Some(reference), _) => reference.to_string(),
            (None, Some(label)) => format!("({})", one_line(label)),
            (None, None) => "(unnamed)".to_owned(),
        };
        let platforms: Vec<String> = image.platforms.iter().map(|one| one.platform.to_string()).collect();
        let platforms = if platforms.is_empty() { "-".to_owned() } else { platforms.join(",") };
        grid.push([name, image.digest.to_string(), platforms, units::bytes(image.total_size)]);
    }
    lines.extend(grid.lines(width));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        error::Kind,
        oci::media_type::{OCI_INDEX, OCI_MANIFEST},
        outcome::inspection::InspectedPlatform,
        report::{samples, schema},
    };

    fn document() -> BundleDocument {
        let platform = |platform: &str| InspectedPlatform {
            platform: platform.parse().unwrap(),
            digest: samples::digest(platform),
            media_type: OCI_MANIFEST.into(),
            manifest_size: 1234,
            config_digest: samples::digest("config"),
            layers: 8,
            total_size: 64_000_000,
        };
        let named = BundledImage {
            reference: Some(samples::source("services:4.53.0")),
            label: None,
            digest: samples::digest("index"),
            media_type: OCI_INDEX.into(),
            total_size: 128_000_000,
            platforms: vec![platform("linux/amd64"), platform("linux/arm64")],
            attestations: 2,
        };
        let labeled = BundledImage {
            reference: None,
            label: Some("latest\u{1b}[2J".to_owned()),
            platforms: Vec::new(),
            ..named.clone()
        };
        let failures = vec![Failure::new(Kind::Integrity, "a manifest is damaged")];
        let contents = BundleContents {
            id: samples::digest("bundle"),
            path: "thoras.tar".to_owned(),
            size: 128_001_024,
            chart: Some(ChartIdentity {
                name: "thoras".to_owned(),
                version: "4.53.0".to_owned(),
                digest: Some(samples::digest("chart")),
            }),
            base: Some(DeltaBase { id: samples::digest("base"), absent_blobs: 3, absent_bytes: 2_000_000 }),
            images: vec![named, labeled],
            left_out: vec![samples::source("forecast:4.53.0")],
            failures,
        };
        contents.into()
    }

    #[test]
    fn a_person_reads_what_is_in_it() {
        assert_snapshot!(text(&document(), None), @r#"
        thoras.tar
        id      sha256:1e6ed65d77d6364eeaed5a745ba5c4985ae2b700dd85d7cf7f027bdf294a33fc
        size    122.1 MiB (128001024 bytes)
        chart   thoras 4.53.0
        base    sha256:cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2, which has 3 blobs (1.9 MiB) of these images
        lacks   us-east4-docker.pkg.dev/thoras-registry/platform/forecast:4.53.0, which the export went on without

        IMAGE                                                             DIGEST                                                                   PLATFORMS                     SIZE
        us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0  sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6  linux/amd64,linux/arm64  122.1 MiB
        (latest\u{1b}[2J)                                                 sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6  -                        122.1 MiB
        "#);
    }

    #[test]
    fn the_schema_is_current() {
        schema::assert_current("bundle.v1.json", &schemars::schema_for!(BundleDocument));
    }

    #[test]
    fn documents_follow_their_schema() {
        let document = document();
        assert_eq!(document.exit_code, 6);
        schema::assert_valid("bundle.v1.json", &serde_json::to_value(document).unwrap());
    }
}
