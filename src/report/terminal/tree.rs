//! `inspect --tree`: each manifest of an image with its attachments.

use super::one_line;
use crate::{
    oci::{AttachmentKind, Digest},
    outcome::inspection::{InspectedAttachment, InspectedImage},
    report::style::Symbols,
    units,
};

/// The images, separated by empty lines.
pub(super) fn images_text(images: &[InspectedImage], symbols: Symbols) -> String {
    images.iter().map(|image| image_text(image, symbols)).collect::<Vec<_>>().join("\n\n")
}

/// One line of the tree with its branches.
struct Branch {
    text: String,
    below: Vec<Branch>,
}

fn image_text(image: &InspectedImage, symbols: Symbols) -> String {
    let attached = |digest: &Digest, path: &mut Vec<Digest>| attached_to(digest, &image.attached, path);
    let mut below = Vec::new();
    for platform in image.platforms.iter().filter(|platform| platform.digest != image.digest) {
        let text =
            format!("{}  {}  {}", platform.platform, platform.digest, units::bytes(platform.total_size));
        below.push(Branch { text, below: attached(&platform.digest, &mut Vec::new()) });
    }
    for attestation in &image.attestations {
        let text = format!("attestation in the index  {}", attestation.digest);
        below.push(Branch { text, below: attached(&attestation.digest, &mut Vec::new()) });
    }
    below.extend(attached(&image.digest, &mut Vec::new()));
    let attached = image.counts.in_words();
    let attached = if attached.is_empty() { "nothing is attached".to_owned() } else { attached };
    let mut lines = vec![format!("{}  {}", image.reference, image.digest), format!("  {attached}")];
    draw(&below, "", symbols, &mut lines);
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
        let tag = manifest.tag.as_ref().map(|tag| format!("  tag {}", one_line(tag))).unwrap_or_default();
        let text = format!(
            "{}  {}  {}  {}{tag}",
            name(attachment.kind),
            one_line(&manifest.artifact_type),
            manifest.digest,
            units::bytes(manifest.size.saturating_add(attachment.blobs)),
        );
        branches.push(Branch { text, below: attached_to(&manifest.digest, all, path) });
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

fn draw(branches: &[Branch], indent: &str, symbols: Symbols, lines: &mut Vec<String>) {
    let [branch, last, line] = symbols.tree;
    for (at, Branch { text, below }) in branches.iter().enumerate() {
        let is_last = at + 1 == branches.len();
        lines.push(format!("{indent}{}{text}", if is_last { last } else { branch }));
        let below_indent = format!("{indent}{}", if is_last { "   " } else { line });
        draw(below, &below_indent, symbols, lines);
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
        assert_snapshot!(images_text(&[image], Symbols::UNICODE));
    }

    #[test]
    fn a_loop_ends() {
        let mut image = samples::inspected();
        let there = attachment(AttachmentKind::Other, "other", &image.digest);
        let mut back = attachment(AttachmentKind::Other, "back", &there.manifest.digest);
        back.manifest.digest = image.digest.clone();
        image.attached = vec![there, back];
        assert!(images_text(&[image], Symbols::ASCII).lines().count() < 12);
    }
}
