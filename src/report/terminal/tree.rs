//! `inspect --tree`: each manifest of an image with its attachments.

use super::{
    one_line,
    wrapped::{Indent, joined_parts},
};
use crate::{
    oci::{AttachmentKind, Digest},
    outcome::inspection::{InspectedAttachment, InspectedImage},
    report::style::Symbols,
    units,
};

/// Between the parts of a line.
const GAP: &str = "  ";

/// The images, separated by empty lines. `width` is the terminal's, in columns.
pub(super) fn images_text(images: &[InspectedImage], symbols: Symbols, width: Option<usize>) -> String {
    images.iter().map(|image| image_text(image, symbols, width)).collect::<Vec<_>>().join("\n\n")
}

/// One line of the tree with its branches.
struct Branch {
    /// The longest are last: each has a line of its own on a narrow terminal.
    parts: Vec<String>,
    below: Vec<Branch>,
}

fn image_text(image: &InspectedImage, symbols: Symbols, width: Option<usize>) -> String {
    let attached = |digest: &Digest, path: &mut Vec<Digest>| attached_to(digest, &image.attached, path);
    let mut below = Vec::new();
    for platform in image.platforms.iter().filter(|platform| platform.digest != image.digest) {
        let (name, size) = (platform.platform.to_string(), units::bytes(platform.total_size));
        let parts = vec![name, size, platform.digest.to_string()];
        below.push(Branch { parts, below: attached(&platform.digest, &mut Vec::new()) });
    }
    for attestation in &image.attestations {
        let parts = vec!["attestation in the index".to_owned(), attestation.digest.to_string()];
        below.push(Branch { parts, below: attached(&attestation.digest, &mut Vec::new()) });
    }
    below.extend(attached(&image.digest, &mut Vec::new()));
    let attached = image.counts.in_words();
    let attached = if attached.is_empty() { "nothing is attached".to_owned() } else { attached };
    let (reference, digest) = (image.reference.to_string(), image.digest.to_string());
    let indent = Indent { first: "", rest: GAP };
    let mut lines = joined_parts([reference.as_str(), &digest], GAP, indent, width);
    lines.push(format!("{GAP}{attached}"));
    draw(&below, "", (symbols, width), &mut lines);
    lines.join("\n")
}

/// The attachments of a manifest. `path` has the manifests above it, so that a loop ends.
fn attached_to(subject: &Digest, all: &[InspectedAttachment], path: &mut Vec<Digest>) -> Vec<Branch> {
    if path.contains(subject) {
        return Vec::new();
    }
    path.push(subject.clone());
    let mut branches = Vec::new();
    for attachment in all.iter().filter(|attachment| attachment.manifest.subject == *subject) {
        let manifest = &attachment.manifest;
        let mut parts = vec![
            name(attachment.kind).to_owned(),
            one_line(&manifest.artifact_type),
            units::bytes(manifest.size.saturating_add(attachment.blobs)),
            manifest.digest.to_string(),
        ];
        parts.extend(manifest.tag.as_ref().map(|tag| format!("tag {}", one_line(tag))));
        branches.push(Branch { parts, below: attached_to(&manifest.digest, all, path) });
    }
    path.pop();
    branches
}

const fn name(kind: AttachmentKind) -> &'static str {
    match kind {
        AttachmentKind::Signature => "signature",
        AttachmentKind::Attestation => "attestation",
        AttachmentKind::Sbom => "SBOM",
        AttachmentKind::Other => "other",
    }
}

fn draw(branches: &[Branch], indent: &str, style: (Symbols, Option<usize>), lines: &mut Vec<String>) {
    let (symbols, width) = style;
    let [branch, last, line] = symbols.tree;
    for (at, Branch { parts, below }) in branches.iter().enumerate() {
        let is_last = at + 1 == branches.len();
        let first = format!("{indent}{}", if is_last { last } else { branch });
        let below_indent = format!("{indent}{}", if is_last { "   " } else { line });
        // The line to what is below runs past the further lines.
        let rest = format!("{below_indent}{}", if below.is_empty() { "  " } else { line });
        let parts = parts.iter().map(String::as_str);
        lines.extend(joined_parts(parts, GAP, Indent { first: &first, rest: &rest }, width));
        draw(below, &below_indent, style, lines);
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{graph::AttachedCounts, oci::attachment::cosign_tags, report::samples};

    fn attachment(kind: AttachmentKind, name: &str, subject: &Digest) -> InspectedAttachment {
        let manifest = crate::graph::AttachedManifest {
            digest: samples::digest(name),
            artifact_type: format!("application/{name}"),
            subject: subject.clone(),
            size: 1200,
            tag: None,
        };
        InspectedAttachment { kind, blobs: 800, manifest }
    }

    #[test]
    fn attached_manifests_are_below_their_subjects() {
        let mut image = samples::inspected();
        let signature = attachment(AttachmentKind::Signature, "signature", &image.digest);
        let sbom = attachment(AttachmentKind::Sbom, "sbom", &image.platforms[0].digest);
        let mut of_sbom = attachment(AttachmentKind::Signature, "of-sbom", &sbom.manifest.digest);
        of_sbom.manifest.tag = Some(cosign_tags(&sbom.manifest.digest)[0].clone());
        image.attached = vec![signature, sbom, of_sbom];
        image.counts = AttachedCounts { signatures: 2, sboms: 1, ..AttachedCounts::default() };
        assert_snapshot!(images_text(&[image.clone()], Symbols::UNICODE, None));
        assert_snapshot!("a_narrow_tree", images_text(&[image], Symbols::UNICODE, Some(80)));
    }

    #[test]
    fn a_loop_ends() {
        let mut image = samples::inspected();
        let there = attachment(AttachmentKind::Other, "other", &image.digest);
        let mut back = attachment(AttachmentKind::Other, "back", &there.manifest.digest);
        back.manifest.digest = image.digest.clone();
        image.attached = vec![there, back];
        assert!(images_text(&[image], Symbols::ASCII, None).lines().count() < 12);
    }
}
