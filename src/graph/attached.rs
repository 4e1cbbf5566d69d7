//! The attachments of an image: signatures, attestations and SBOMs, and the attachments of those in turn.

use std::{collections::HashSet, fmt};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Node;
use crate::oci::{Attachment, AttachmentKind, Digest, Link, attachment_kind::type_of_tag};

/// A manifest that is attached to a manifest of an image, or to another attached manifest.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The manifest.
    pub node: Node,
    /// The manifests below it, children before parents. Empty unless it is an index.
    pub below: Vec<Node>,
    /// The manifest that it is attached to.
    pub subject: Digest,
    /// How it is attached.
    pub link: Link,
    /// Its artifact type, or what says the same in older formats.
    pub artifact_type: String,
    /// What it is.
    pub kind: AttachmentKind,
}

impl Attached {
    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.node.descriptor.digest
    }

    /// Its tag, if it is attached by one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.link.tag()
    }

    /// What its place among others follows from. No two have the same.
    fn position(&self) -> (&Digest, Option<&str>, &Digest) {
        (&self.subject, self.tag(), self.digest())
    }

    /// All its manifests, children before parents: it is the last.
    pub fn manifests(&self) -> impl Iterator<Item = &Node> {
        self.below.iter().chain([&self.node])
    }

    /// How an endpoint lists it.
    #[must_use]
    pub fn attachment(&self) -> Attachment {
        Attachment {
            descriptor: self.node.descriptor.clone(),
            artifact_type: Some(self.artifact_type.clone()),
            link: self.link.clone(),
        }
    }

    /// What a lock records about it.
    #[must_use]
    pub fn record(&self) -> AttachedManifest {
        AttachedManifest {
            digest: self.digest().clone(),
            artifact_type: self.artifact_type.clone(),
            subject: self.subject.clone(),
            size: self.node.descriptor.size,
            tag: self.tag().map(str::to_owned),
        }
    }
}

/// A record of a manifest that is attached to another manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachedManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its artifact type, or the media type of its config.
    #[serde(rename = "type")]
    pub artifact_type: String,
    /// The manifest that it refers to.
    pub subject: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The tag that attaches it, in cosign's older format; absent if it names its subject itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl AttachedManifest {
    /// How it is attached.
    #[must_use]
    pub fn link(&self) -> Link {
        self.tag.clone().map_or(Link::Subject, Link::Tag)
    }
}

/// Sorts attached manifests so that each comes after its subject, and those of one subject always in the same order.
/// `image` has the manifests of the image itself.
#[must_use]
pub(crate) fn in_order(image: &HashSet<Digest>, attached: Vec<Attached>) -> Vec<Attached> {
    let mut waiting = attached;
    waiting.sort_unstable_by(|a, b| a.position().cmp(&b.position()));
    waiting.dedup_by(|a, b| a.position() == b.position());
    let mut placed = image.clone();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let is_next = |attached: &Attached| placed.contains(&attached.subject);
        // There may be thousands, which are moved only if they must be. A lock may record an attachment whose subject it
        // does not record.
        let mut next = if waiting.iter().all(is_next) || !waiting.iter().any(is_next) {
            std::mem::take(&mut waiting)
        } else {
            waiting.extract_if(.., |attached| is_next(attached)).collect()
        };
        placed.extend(next.iter().flat_map(Attached::manifests).map(|node| node.descriptor.digest.clone()));
        if ordered.is_empty() { ordered = next } else { ordered.append(&mut next) }
    }
    ordered
}

/// How many of an image's attached manifests are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachedCounts {
    /// Signatures.
    pub signatures: usize,
    /// Attestations.
    pub attestations: usize,
    /// SBOMs.
    pub sboms: usize,
    /// Everything else.
    pub others: usize,
}

impl AttachedCounts {
    /// Counts manifests. One that is attached twice counts once.
    #[must_use]
    pub fn of<'a>(attached: impl IntoIterator<Item = &'a Attached>) -> Self {
        Self::of_kinds(attached.into_iter().map(|attached| (attached.digest(), attached.kind)))
    }

    /// Counts manifests by kind. A digest counts once.
    pub(crate) fn of_kinds<'a>(attached: impl IntoIterator<Item = (&'a Digest, AttachmentKind)>) -> Self {
        let mut counts = Self::default();
        let mut seen = HashSet::new();
        for (_, kind) in attached.into_iter().filter(|(digest, _)| seen.insert(*digest)) {
            *match kind {
                AttachmentKind::Signature => &mut counts.signatures,
                AttachmentKind::Attestation => &mut counts.attestations,
                AttachmentKind::Sbom => &mut counts.sboms,
                AttachmentKind::Other => &mut counts.others,
            } += 1;
        }
        counts
    }

    /// Whether there are none. Takes a reference because serde requires it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each kind of which there are some, with its name and its abbreviation.
    fn named(&self) -> impl Iterator<Item = (usize, &'static str, &'static str)> {
        let Self { signatures, attestations, sboms, others } = *self;
        let named = [
            (signatures, "signature", "sig"),
            (attestations, "attestation", "att"),
            (sboms, "SBOM", "sbom"),
            (others, "other", "other"),
        ];
        named.into_iter().filter(|(count, ..)| *count > 0)
    }

    /// `2 signatures, 1 SBOM`; empty if there is nothing.
    #[must_use]
    pub(crate) fn in_words(&self) -> String {
        let words = self.named().map(|(count, name, _)| match name {
            name if count == 1 || name == "other" => format!("{count} {name}"),
            name => format!("{count} {name}s"),
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// `2sig,1sbom`, or `-`: one word, for a column.
    #[must_use]
    pub(crate) fn in_short(&self) -> String {
        let words: Vec<String> = self.named().map(|(count, _, short)| format!("{count}{short}")).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(",") }
    }
}

/// Which attached manifests are wanted: `--referrers`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Referrers {
    /// All of them.
    #[default]
    All,
    /// Only signatures, and sigstore bundles, which may hold attestations.
    Signatures,
    /// None: no request is made for them.
    None,
}

impl fmt::Display for Referrers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::All => "all",
            Self::Signatures => "signatures",
            Self::None => "none",
        })
    }
}

/// Which attached manifests are wanted: `--referrers` and `--referrer-type`.
#[derive(Debug, Clone, Default)]
pub struct ReferrerSelection {
    referrers: Referrers,
    types: Option<GlobSet>,
}

impl ReferrerSelection {
    /// `types` are globs on artifact types; an empty list admits every type. Fails with the pattern that is no glob.
    pub fn new(referrers: Referrers, types: &[String]) -> Result<Self, globset::Error> {
        let compiled = |types: &[String]| {
            let mut set = GlobSetBuilder::new();
            for pattern in types {
                set.add(GlobBuilder::new(pattern).case_insensitive(true).build()?);
            }
            set.build()
        };
        let types = if types.is_empty() { None } else { Some(compiled(types)?) };
        Ok(Self { referrers, types })
    }

    /// No attachments.
    #[must_use]
    pub fn none() -> Self {
        Self { referrers: Referrers::None, types: None }
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.referrers == Referrers::None
    }

    /// Whether an attachment may be wanted, going by where it was found.
    #[must_use]
    pub fn may_want(&self, attachment: &Attachment) -> bool {
        match type_of_tag(&attachment.link).or(attachment.artifact_type.as_deref()) {
            Some(artifact_type) => {
                self.wants(artifact_type, AttachmentKind::of(artifact_type, &attachment.link))
            }
            None => !self.is_none(),
        }
    }

    /// Those records that are wanted.
    #[must_use]
    pub(crate) fn of_recorded(&self, recorded: &[AttachedManifest]) -> Vec<AttachedManifest> {
        let is_wanted = |recorded: &&AttachedManifest| {
            self.wants(&recorded.artifact_type, AttachmentKind::of(&recorded.artifact_type, &recorded.link()))
        };
        recorded.iter().filter(is_wanted).cloned().collect()
    }

    /// Whether a manifest of this type and kind is wanted.
    #[must_use]
    pub fn wants(&self, artifact_type: &str, kind: AttachmentKind) -> bool {
        let is_wanted = match self.referrers {
            Referrers::All => true,
            Referrers::Signatures => {
                kind == AttachmentKind::Signature
                    || AttachmentKind::of(artifact_type, &Link::Subject) == AttachmentKind::Signature
            }
            Referrers::None => false,
        };
        is_wanted && self.types.as_ref().is_none_or(|types| types.is_match(artifact_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Contents, Descriptor};

    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

    fn attachment(artifact_type: Option<&str>, link: Link) -> Attachment {
        let descriptor = Descriptor::new("x/y".into(), Digest::sha256(b"x"), 1);
        Attachment { descriptor, artifact_type: artifact_type.map(str::to_owned), link }
    }

    fn tag(suffix: &str) -> Link {
        Link::Tag(format!("sha256-{}.{suffix}", "0".repeat(64)))
    }

    /// A manifest without layers that is attached to `subject`.
    fn attached(name: &str, subject: &Digest, link: Link) -> Attached {
        let descriptor = Descriptor::new("x/y".into(), Digest::sha256(name.as_bytes()), 1);
        let contents = Contents::Image { config: descriptor.clone(), layers: Vec::new(), subject: None };
        let node = Node { media_type: "x/y".into(), descriptor, manifest: None, contents, height: 0 };
        let kind = AttachmentKind::Other;
        Attached {
            node,
            below: Vec::new(),
            subject: subject.clone(),
            link,
            artifact_type: String::new(),
            kind,
        }
    }

    #[test]
    fn each_attached_manifest_comes_once_and_after_its_subject() {
        let name = |text: &str| Digest::sha256(text.as_bytes());
        let image = name("image");
        let by_subject = |text: &str, subject: &str| attached(text, &name(subject), Link::Subject);
        let sbom = || by_subject("sbom", "image");
        let of_sbom = || by_subject("signature of sbom", "sbom");
        let tagged = || attached("signature", &image, tag("sig"));
        let orphan = || by_subject("orphan", "nothing");
        let given =
            vec![by_subject("of orphan", "orphan"), of_sbom(), tagged(), orphan(), sbom(), sbom(), of_sbom()];
        let ordered = in_order(&HashSet::from([image.clone()]), given);
        let digests: Vec<&Digest> = ordered.iter().map(Attached::digest).collect();
        let wanted = [sbom(), tagged(), of_sbom(), orphan(), by_subject("of orphan", "orphan")];
        let wanted: Vec<&Digest> = wanted.iter().map(Attached::digest).collect();
        assert_eq!((digests.len(), digests[4]), (5, wanted[4]));
        // An orphan's subject is unknown, so both may come when nothing else is left.
        assert_eq!(digests[..3], wanted[..3], "{ordered:#?}");
    }

    /// An image may have thousands of attached manifests, and each has several descriptors.
    #[test]
    fn what_is_kept_of_an_attached_manifest_is_small() {
        assert!(size_of::<Descriptor>() <= 112, "{}", size_of::<Descriptor>());
        assert!(size_of::<Attached>() <= 544, "{}", size_of::<Attached>());
    }

    #[test]
    fn signatures_are_bundles_notation_and_the_sig_tag() {
        let signatures = ReferrerSelection::new(Referrers::Signatures, &[]).unwrap();
        let may = |artifact_type, link| signatures.may_want(&attachment(artifact_type, link));
        assert!(may(Some(BUNDLE), Link::Subject));
        assert!(may(Some("application/vnd.cncf.notary.signature"), Link::Subject));
        assert!(may(None, tag("sig")));
        assert!(may(None, Link::Subject), "it must be read first");
        assert!(!may(Some("application/spdx+json"), Link::Subject));
        assert!(!may(None, tag("att")));
        assert!(signatures.wants(BUNDLE, AttachmentKind::Attestation), "a bundle may hold both");
        assert!(!signatures.wants("text/spdx", AttachmentKind::Sbom));
    }

    #[test]
    fn types_select_among_what_is_wanted() {
        let spdx = ReferrerSelection::new(Referrers::All, &["*spdx*".to_owned(), "A/*".to_owned()]).unwrap();
        assert!(spdx.wants("text/spdx+json", AttachmentKind::Sbom));
        assert!(spdx.wants("a/b", AttachmentKind::Other));
        assert!(!spdx.wants(BUNDLE, AttachmentKind::Signature));
        assert!(!spdx.may_want(&attachment(None, tag("sig"))));
        assert!(spdx.may_want(&attachment(None, tag("sbom"))), "its type is in the manifest");
        assert!(ReferrerSelection::new(Referrers::All, &["a[".to_owned()]).is_err());
        assert!(!ReferrerSelection::none().may_want(&attachment(None, Link::Subject)));
    }
}
