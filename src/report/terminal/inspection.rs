//! `inspect` and `bundle inspect`: images with their platforms, digests and sizes.

use super::{
    Column,
    fitted::{FittedColumn, Measure, fit},
    joined, one_line, table_lines,
    wrapped::{Indent, wrapped},
};
use crate::{
    outcome::inspection::{BundleContents, BundledImage, InspectedImage, InspectedPlatform},
    report::style::Symbols,
    units,
};

/// The images, separated by empty lines. `width` is the terminal's, in columns.
pub(super) fn images_text(images: &[InspectedImage], width: Option<usize>) -> String {
    images.iter().map(|image| image_text(image, width)).collect::<Vec<_>>().join("\n\n")
}

fn image_text(image: &InspectedImage, width: Option<usize>) -> String {
    let attached = image.counts.in_words();
    let attached = (!attached.is_empty()).then(|| format!("attached    {attached}"));
    let mut lines = vec![
        image.reference.to_string(),
        format!("digest      {}", image.digest),
        format!("media type  {}", one_line(image.media_type.as_str())),
        format!(
            "size        {} (manifest {})",
            units::bytes(image.total_size),
            units::bytes(image.manifest_size)
        ),
    ];
    lines.extend(attached);
    let indent = Indent { first: "", rest: "  " };
    lines = lines.iter().flat_map(|line| wrapped(line, indent, width)).collect();
    lines.push(String::new());
    let name = Column::left("PLATFORM", |platform: &InspectedPlatform| platform.platform.to_string());
    let digest = Column::left("DIGEST", |platform: &InspectedPlatform| platform.digest.to_string());
    let layers = Column::right("LAYERS", |platform: &InspectedPlatform| platform.layers.to_string());
    let size = Column::right("SIZE", |platform: &InspectedPlatform| units::bytes(platform.total_size));
    // On the second line of a row, the digest has the most room.
    lines.extend(table_lines(&[name, digest, layers, size], &image.platforms, 1..2, width));
    lines.extend(attestation_lines(image, width));
    lines.join("\n")
}

/// A line of the table of attestations.
struct AttestationRow {
    digest: String,
    about: String,
}

fn attestation_lines(image: &InspectedImage, width: Option<usize>) -> Vec<String> {
    if image.attestations.is_empty() {
        return Vec::new();
    }
    let rows: Vec<AttestationRow> = image
        .attestations
        .iter()
        .map(|attestation| {
            let about = attestation.about.as_ref().map(|digest| {
                // The platform is more readable than its digest, which is in the table above.
                let platform = image.platforms.iter().find(|platform| platform.digest == *digest);
                platform.map_or_else(|| digest.to_string(), |platform| platform.platform.to_string())
            });
            AttestationRow {
                digest: attestation.digest.to_string(),
                about: about.unwrap_or_else(|| "-".to_owned()),
            }
        })
        .collect();
    let columns = [
        Column::left("ATTESTATION", |row: &AttestationRow| row.digest.clone()),
        Column::left("ABOUT", |row| row.about.clone()),
    ];
    std::iter::once(String::new()).chain(table_lines(&columns, &rows, 1..2, width)).collect()
}

/// A bundle and its images.
pub(super) fn bundle_text(bundle: &BundleContents, width: Option<usize>) -> String {
    let mut lines = vec![
        one_line(&bundle.path),
        format!("id      {}", bundle.id),
        format!("size    {} ({} bytes)", units::bytes(bundle.size), bundle.size),
    ];
    lines.extend(volume_lines(bundle));
    if let Some(chart) = &bundle.chart {
        lines.push(format!("chart   {} {}", one_line(&chart.name), one_line(&chart.version)));
    }
    if let Some(base) = &bundle.base {
        let (blobs, bytes) = (units::counted(base.absent_blobs, "blob"), units::bytes(base.absent_bytes));
        lines.push(format!("base    {} has {blobs} ({bytes}) of these images", base.id));
    }
    lines.extend(bundle.trust.iter().map(|file| {
        let kind = file.kind.map_or_else(|| "unknown kind".to_owned(), |kind| kind.to_string());
        format!("trust   {} ({kind}, {})", one_line(&file.name), file.digest.short())
    }));
    lines.extend(bundle.left_out.iter().map(|image| format!("skipped {image}: its export failed")));
    let skipped = bundle.skipped.iter();
    lines.extend(skipped.map(|image| format!("skipped {image}: optional, the source did not provide it")));
    lines.push(String::new());
    lines.extend(bundled_lines(&bundle.images, width));
    lines.join("\n")
}

fn volume_lines(bundle: &BundleContents) -> Vec<String> {
    let BundleContents { volumes, missing_volumes, volumes_beside, .. } = bundle;
    let mut lines = Vec::new();
    if let (Some(first), Some(last)) = (volumes.first(), volumes.last()) {
        lines.push(format!("volumes {}: {} to {}", volumes.len(), one_line(first), one_line(last)));
    }
    if !missing_volumes.is_empty() {
        lines.push(format!("missing {}", one_line(&missing_volumes.join(", "))));
    }
    if !volumes_beside.is_empty() {
        let names = one_line(&volumes_beside.join(", "));
        lines.push(format!("beside  {names}: volumes that do not belong to this file"));
    }
    lines
}

/// The name that an import would give.
fn imported_as(image: &BundledImage) -> String {
    image.destination.clone().unwrap_or_else(|| "(needs --as)".to_owned())
}

/// The columns of the table of a bundle's images.
fn bundled_columns(has_attached: bool) -> Vec<FittedColumn<BundledImage>> {
    let platforms = |image: &BundledImage| joined(image.platforms.iter().map(|platform| &platform.platform));
    let mut columns = vec![
        (Column::left("IMAGE", name), Measure::LiftPath),
        (Column::left("IMPORTED AS", imported_as), Measure::Shorten),
        (Column::left("DIGEST", |image: &BundledImage| image.digest.to_string()), Measure::Digest),
        (Column::left("PLATFORMS", platforms), Measure::Lift),
    ];
    if has_attached {
        let attached = |image: &BundledImage| image.attached.in_short();
        columns.push((Column::left("ATTACHED", attached), Measure::LiftIfShared));
    }
    let size = |image: &BundledImage| units::bytes(image.total_size);
    columns.push((Column::right("SIZE", size), Measure::Keep));
    columns.into_iter().map(|(column, measure)| FittedColumn { column, measure }).collect()
}

/// The table of a bundle's images, with one line for each.
fn bundled_lines(images: &[BundledImage], width: Option<usize>) -> Vec<String> {
    let has_attached = images.iter().any(|image| !image.attached.is_empty());
    let (columns, width) = (bundled_columns(has_attached), width.unwrap_or(usize::MAX));
    let fitted = fit(columns, images, |_| None, width, Symbols::of_locale().ellipsis);
    fitted.into_lines(None, width, |row| images.get(row).map(name).unwrap_or_default())
}

fn name(image: &BundledImage) -> String {
    match (&image.reference, &image.label) {
        (Some(reference), _) => reference.to_string(),
        (None, Some(label)) => format!("({})", one_line(label)),
        (None, None) => "(unnamed)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{graph::AttachedCounts, report::samples};

    #[test]
    fn an_image_on_a_wide_terminal() {
        assert_snapshot!(images_text(&[samples::inspected()], None), @r#"
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
        assert_snapshot!(images_text(&[samples::inspected()], Some(90)), @r#"
        us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0
        digest      sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6
        media type  application/vnd.oci.image.index.v1+json
        size        122.1 MiB (manifest 1.6 KiB)

        PLATFORM     LAYERS      SIZE
          DIGEST
        linux/amd64       8  61.0 MiB
          sha256:baf0239e48ff4c47ebac3ba02b5cf1506b69cd5a0c0d0c825a53ba65976fb942
        linux/arm64      11  61.0 MiB
          sha256:b3e3ab55f887c56c0bd8bec3743b0fb54daaa17861e03db5133ef2835eb0da5a

        ATTESTATION                                                              ABOUT
        sha256:96d815328a42cb4ef89d5e0b7a1df6be43b484832c83a7b4596d8402c7c0b12b  linux/amd64
        sha256:88f6811ab5d8fc6d3177f9b7609ae0fcebfda187e5046b62d38bb539e88b74d7  -
        "#);
    }

    #[test]
    fn no_digest_is_cut_at_eighty_columns_bug() {
        let text = images_text(&[samples::inspected()], Some(80));
        assert!(text.lines().all(|line| console::measure_text_width(line) <= 80), "{text}");
    }

    #[test]
    fn a_media_type_cannot_write_to_the_terminal() {
        let image = InspectedImage { media_type: "x\u{1b}[2J\nimage".into(), ..samples::inspected() };
        assert!(images_text(&[image], None).contains("media type  x\\u{1b}[2J image"));
    }

    #[test]
    fn a_bundle_with_its_images() {
        assert_snapshot!(bundle_text(&samples::bundle(), None), @r#"
        thoras.tar
        id      sha256:1e6ed65d77d6364eeaed5a745ba5c4985ae2b700dd85d7cf7f027bdf294a33fc
        size    122.1 MiB (128001024 bytes)
        beside  thoras.tar.001, thoras.tar.volumes.json: volumes that do not belong to this file
        chart   thoras 4.53.0
        base    sha256:cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2 has 3 blobs (1.9 MiB) of these images
        skipped us-east4-docker.pkg.dev/thoras-registry/platform/forecast:4.53.0: its export failed

        IMAGE                                                             IMPORTED AS      DIGEST                                                                   PLATFORMS                     SIZE
        us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0  services:4.53.0  sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6  linux/amd64,linux/arm64  122.1 MiB
        (latest\u{1b}[2J)                                                 (needs --as)     sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6  -                        122.1 MiB
        "#);
    }

    #[test]
    fn a_bundle_shows_what_is_attached_to_its_images() {
        let mut images = samples::bundle().images;
        images[0].attached = AttachedCounts { signatures: 2, attestations: 1, sboms: 1, others: 3 };
        let wide = bundled_lines(&images, None);
        let cell = |line: &str| {
            line.split_whitespace().rev().nth(if line.contains("MiB") { 2 } else { 1 }).map(str::to_owned)
        };
        let cells: Vec<String> = wide.iter().filter_map(|line| cell(line)).collect();
        assert_eq!(cells, ["ATTACHED", "2sig,1att,1sbom,3other", "-"], "{wide:?}");
        let narrow = bundled_lines(&images, Some(100));
        assert!(narrow.iter().any(|line| line.contains("2sig,1att,1sbom,3other")), "{narrow:?}");
        assert!(narrow.iter().all(|line| console::measure_text_width(line) <= 100), "{narrow:?}");
    }

    #[test]
    fn an_image_of_a_bundle_is_one_line_at_eighty_columns() {
        let lines = bundled_lines(&samples::bundle().images, Some(80));
        assert_snapshot!(lines.join("\n"), @r#"
        platforms: linux/amd64,linux/arm64
        IMAGE                                   IMPORTED AS      DIGEST             SIZE
        us-east4-doc…/platform/services:4.53.0  services:4.53.0  1bc04b5291c2  122.1 MiB
        (latest\u{1b}[2J)                       (needs --as)     1bc04b5291c2  122.1 MiB
        (latest\u{1b}[2J): platforms -
        "#);
        assert!(lines.iter().all(|line| console::measure_text_width(line) <= 80));
    }
}
