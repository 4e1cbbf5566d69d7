//! Verifies signatures of the Notary Project: reads them, and has the program `notation` verify each.

use bytes::Bytes;

use super::Signed;
use crate::{
    endpoint::{Cause, Error, Operation, Source, body::read_whole},
    graph,
    oci::{Attachment, Contents, Digest, Link, RawManifest, Target, attachment_kind::describe},
    trust::{
        NOTATION_SIGNATURE, NotationAnswer, NotationQuestion, NotationTrust, Reason, Rejection, Signer,
        Verdict, Verifier,
    },
};

/// The most signatures of one image that are verified, as in notation.
const MAX_SIGNATURES: usize = 100;
/// The largest layer of a signature, in bytes. Signatures have a few thousand.
const MAX_LAYER_SIZE: u64 = 4 * 1024 * 1024;

/// Whether notation accepts one of the signatures among these attachments.
pub(super) async fn verdict<S: Source>(
    source: &S,
    signed: &Signed<'_>,
    listed: &[Attachment],
    (verifier, trust): (&Verifier, &NotationTrust),
) -> Result<Verdict, Error> {
    let mut root = None;
    let mut rejections = Vec::new();
    for attachment in candidates(listed) {
        if rejections.len() == MAX_SIGNATURES {
            break;
        }
        let Some((signature, layers)) = read(source, signed, attachment).await? else { continue };
        let image = match root.take() {
            Some(root) => root,
            None => manifest(source, signed, signed.digest).await?,
        };
        let question = NotationQuestion { image: &image, signature: (&signature, &layers), trust };
        let manifest = signature.digest().clone();
        match verifier.ask_notation(question).await {
            NotationAnswer::Valid => {
                let trusted = trust.name.clone();
                return Ok(Verdict::Verified { manifest, signer: Signer::Notation { trusted } });
            }
            NotationAnswer::Refused(why) => {
                rejections.push(Rejection { manifest, reason: Reason::RefusedByNotation(why) });
            }
            NotationAnswer::Missing => {
                return Ok(Verdict::Unverifiable {
                    reason: "the policy needs the program notation, which is not on PATH".to_owned(),
                    remedy: "install notation (https://notaryproject.dev), then run the command again",
                });
            }
            NotationAnswer::Failed(reason) => {
                let remedy = "check that notation runs: notation version";
                return Ok(Verdict::Unverifiable { reason, remedy });
            }
        }
        root = Some(image);
    }
    Ok(if rejections.is_empty() { Verdict::Unsigned } else { Verdict::Rejected(rejections) })
}

/// The referrers that may be signatures, the most likely first: a list may name no type or a wrong one.
fn candidates(listed: &[Attachment]) -> Vec<&Attachment> {
    let mut referrers: Vec<&Attachment> =
        listed.iter().filter(|attachment| attachment.link == Link::Subject).collect();
    referrers.sort_by_key(|attachment| attachment.artifact_type.as_deref() != Some(NOTATION_SIGNATURE));
    referrers
}

/// A signature with its layers; `None` for anything else.
async fn read<S: Source>(
    source: &S,
    signed: &Signed<'_>,
    attachment: &Attachment,
) -> Result<Option<(RawManifest, Vec<(Digest, Bytes)>)>, Error> {
    let signature = manifest(source, signed, &attachment.descriptor.digest).await?;
    let Ok(contents) = signature.contents() else { return Ok(None) };
    let is_about_it = graph::subject(&contents).is_some_and(|subject| subject.digest == *signed.digest);
    if !is_about_it || describe(&signature, &attachment.link).0 != NOTATION_SIGNATURE {
        return Ok(None);
    }
    let Contents::Image { layers, .. } = &contents else { return Ok(None) };
    let mut read = Vec::new();
    // notation says what is wrong with a signature whose layer is missing.
    for layer in layers.iter().filter(|layer| layer.size <= MAX_LAYER_SIZE) {
        match read_whole(source, signed.repository, layer).await {
            Ok(bytes) => read.push((layer.digest.clone(), bytes)),
            Err(Error { cause: Cause::NoSuchBlob | Cause::Mismatch(_), .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some((signature, read)))
}

async fn manifest<S: Source>(source: &S, signed: &Signed<'_>, digest: &Digest) -> Result<RawManifest, Error> {
    let repository = signed.repository;
    let found = source.manifest(repository, &Target::Digest(digest.clone())).await?;
    let at = format!("{repository}@{digest}");
    found.ok_or_else(|| Error::new(Operation::ReadManifest, source.side(), at, Cause::NoSuchManifest))
}
