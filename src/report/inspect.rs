//! What `inspect` shows of an image: its platforms, digests and sizes, as JSON and as text.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    grid::{Column, Grid},
    units,
};
use crate::{
    error::{Failure, escape},
    outcome::inspection::InspectedImage,
};

/// The schema of [`InspectDocument`].
pub const INSPECT_SCHEMA: &str = "thoras-mirror/inspect/v1";

/// What `inspect --output json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InspectDocument {
    #[schemars(extend("const" = INSPECT_SCHEMA))]
    schema: &'static str,
    /// The images that could be read, in the order in which they were asked for.
    pub images: Vec<InspectedImage>,
    /// Why the others could not.
    pub failures: Vec<Failure>,
    /// What the process exits with.
    pub exit_code: u8,
}

impl InspectDocument {
    /// The document about these images.
    #[must_use]
    pub fn new(images: Vec<InspectedImage>, failures: Vec<Failure>) -> Self {
        let exit_code = crate::error::exit_code_of(failures.iter().map(|failure| failure.kind));
        Self { schema: INSPECT_SCHEMA, images, failures, exit_code }
    }
}

/// All images as text, with an empty line between them. `width` is the terminal's, in columns.
#[must_use]
pub fn inspect_text(images: &[InspectedImage], width: Option<usize>) -> String {
    images.iter().map(|image| image_text(image, width)).collect::<Vec<_>>().join("\n\n")
}

fn image_text(image: &InspectedImage, width: Option<usize>) -> String {
    let mut lines = vec![
        image.reference.to_string(),
        format!("digest      {}", image.digest),
        format!("media type  {}", escape(image.media_type.as_str()).replace('\n', " ")),
        format!(
            "size        {} (manifest {})",
            units::bytes(image.total_size),
            units::bytes(image.manifest_size)
        ),
        String::new(),
    ];
    let columns =
        [Column::Left("PLATFORM"), Column::Left("DIGEST"), Column::Right("LAYERS"), Column::Right("SIZE")];
    let mut grid = Grid::new(columns, 2);
    for platform in &image.platforms {
        grid.push([
            platform.platform.to_string(),
            platform.digest.to_string(),
            platform.layers.to_string(),
            units::bytes(platform.total_size),
        ]);
    }
    lines.extend(grid.lines(width));
    lines.extend(attestation_lines(image, width));
    lines.join("\n")
}

fn attestation_lines(image: &InspectedImage, width: Option<usize>) -> Vec<String> {
    if image.attestations.is_empty() {
        return Vec::new();
    }
    let mut grid = Grid::new([Column::Left("ATTESTATION"), Column::Left("ABOUT")], 1);
    for attestation in &image.attestations {
        let about = attestation.about.as_ref().map_or_else(
            || "-".to_owned(),
            |digest| {
                // The platform says more than the digest, which stands in the table above.
                let platform = image.platforms.iter().find(|platform| platform.digest == *digest);
                platform.map_or_else(|| digest.to_string(), |platform| platform.platform.to_string())
            },
        );
        grid.push([attestation.digest.to_string(), about]);
    }
    std::iter::once(String::new()).chain(grid.lines(width)).collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        error::Kind,
        oci::media_type::{OCI_INDEX, OCI_MANIFEST},
        outcome::inspection::{Attestation, InspectedPlatform},
        report::{samples, schema},
    };

    fn image() -> InspectedImage {
        let platform = |platform: &str, layers| InspectedPlatform {
            platform: platform.parse().unwrap(),
            digest: samples::digest(platform),
            media_type: OCI_MANIFEST.into(),
            manifest_size: 1234,
            config_digest: samples::digest("config"),
            layers,
            total_size: 64_000_000,
        };
        InspectedImage {
            reference: samples::source("services:4.53.0"),
            digest: samples::digest("index"),
            media_type: OCI_INDEX.into(),
            manifest_size: 1609,
            total_size: 128_000_000,
            platforms: vec![platform("linux/amd64", 8), platform("linux/arm64", 11)],
            attestations: vec![
                Attestation {
                    digest: samples::digest("provenance"),
                    about: Some(samples::digest("linux/amd64")),
                },
                Attestation { digest: samples::digest("orphan"), about: None },
            ],
        }
    }

    #[test]
    fn an_image_on_a_wide_terminal() {
        assert_snapshot!(inspect_text(&[image()], None), @r#"
        us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0
        digest      sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6
        media type  application/vnd.oci.image.index.v1+json
        size        122.1 MiB (manifest 1.6 KiB)

        PLATFORM     DIGEST                                                                   LAYERS      SIZE
        linux/amd64  sha256:baf0239e48ff4c47ebac3ba02b5cf1506b69cd5a0c0d0c825a53ba65976fb942       8  61.0 MiB
        linux/arm64  sha256:b3e3ab55f887c56c0bd8bec3743b0fb54daaa17861e03db5133ef2835eb0da5a      11  61.0 MiB

        ATTESTATION                                                              ABOUT
        sha256:96d815328a42cb4ef89d5e0b7a1df6be43b484832c83a7b4596d8402c7c0b12b  linux/amd64
        sha256:88f6811ab5d8fc6d3177f9b7609ae0fcebfda187e5046b62d38bb539e88b74d7  -
        "#);
    }

    #[test]
    fn an_image_on_a_narrow_terminal() {
        assert_snapshot!(inspect_text(&[image()], Some(90)), @r#"
        us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0
        digest      sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6
        media type  application/vnd.oci.image.index.v1+json
        size        122.1 MiB (manifest 1.6 KiB)

        PLATFORM     DIGEST
          LAYERS      SIZE
        linux/amd64  sha256:baf0239e48ff4c47ebac3ba02b5cf1506b69cd5a0c0d0c825a53ba65976fb942
               8  61.0 MiB
        linux/arm64  sha256:b3e3ab55f887c56c0bd8bec3743b0fb54daaa17861e03db5133ef2835eb0da5a
              11  61.0 MiB

        ATTESTATION                                                              ABOUT
        sha256:96d815328a42cb4ef89d5e0b7a1df6be43b484832c83a7b4596d8402c7c0b12b  linux/amd64
        sha256:88f6811ab5d8fc6d3177f9b7609ae0fcebfda187e5046b62d38bb539e88b74d7  -
        "#);
    }

    #[test]
    fn a_media_type_cannot_write_to_the_terminal() {
        let image = InspectedImage { media_type: "x\u{1b}[2J\nimage".into(), ..image() };
        assert!(inspect_text(&[image], None).contains("media type  x\\u{1b}[2J image"));
    }

    #[test]
    fn the_schema_is_current() {
        schema::assert_current("inspect.v1.json", &schemars::schema_for!(InspectDocument));
    }

    #[test]
    fn documents_follow_their_schema() {
        let failure = Failure::new(Kind::Image, "no such tag");
        let document = InspectDocument::new(vec![image()], vec![failure]);
        assert_eq!(document.exit_code, 1);
        schema::assert_valid("inspect.v1.json", &serde_json::to_value(document).unwrap());
    }
}
