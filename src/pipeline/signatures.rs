//! Verifies the signatures of an image: at its source before it is copied, or in the mirror.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    endpoint::{Cause, Error, Operation, Source, VerifiedBody},
    error::{Failure, Kind},
    oci::{Attachment, Descriptor, Digest, Link, Reference, Repository, Target, chart::is_local_chart},
    outcome::AcceptedSignature,
    trust::{Attached, SIGNATURE_TAG_SUFFIX, Verdict, Verifier, is_signature_type, signature_layers},
};

/// How many attached manifests of an image are read at once.
const READ_AT_ONCE: usize = 4;

/// An image where its signatures are read.
pub(super) struct Signed<'a> {
    /// Its name at the source, which the policy knows.
    pub(super) image: &'a Reference,
    /// The repository that is read.
    pub(super) repository: &'a Repository,
    /// The digest of its root manifest.
    pub(super) digest: &'a Digest,
}

/// What the signatures of an image say.
pub(super) struct Judgment {
    /// The signature that satisfies the policy, or why the image is refused. `None` if the image needs no signature.
    pub(super) result: Result<Option<AcceptedSignature>, Failure>,
    /// What is attached to the root manifest, if that was asked.
    pub(super) listed: Option<Vec<Attachment>>,
}

/// Applies the policy of the verifier to an image. A refusal is a failure of this kind.
pub(super) async fn judge<S: Source>(
    source: &S,
    signed: Signed<'_>,
    verifier: &Verifier,
    kind: Kind,
) -> Result<Judgment, Error> {
    let Signed { image, digest, .. } = signed;
    // It was packaged on this machine.
    if is_local_chart(image) {
        return Ok(Judgment { result: Ok(None), listed: None });
    }
    let (verdict, listed) = verdict(source, &signed, verifier).await?;
    let result = match (verdict.failure(image, digest, kind), verdict) {
        (Some(refusal), _) => Err(refusal),
        (None, Verdict::Verified { manifest, signer }) => Ok(Some(AcceptedSignature { manifest, signer })),
        (None, _) => Ok(None),
    };
    Ok(Judgment { result, listed })
}

/// Reads what can be a signature, the most likely first, until the policy is satisfied. Returns what is attached as well.
async fn verdict<S: Source>(
    source: &S,
    &Signed { image, repository, digest }: &Signed<'_>,
    verifier: &Verifier,
) -> Result<(Verdict, Option<Vec<Attachment>>), Error> {
    let mut attached = Vec::new();
    let mut verdict = verifier.verify(image, digest, &attached);
    if !verifier.needs_signature(image) {
        return Ok((verdict, None));
    }
    let listed = source.attachments(repository, digest).await?;
    for group in groups(listed.clone()) {
        let read = stream::iter(group).map(|attachment| read(source, repository, attachment));
        attached.extend(read.buffered(READ_AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().flatten());
        verdict = verifier.verify(image, digest, &attached);
        if matches!(verdict, Verdict::Verified { .. }) {
            break;
        }
    }
    Ok((verdict, Some(listed)))
}

/// What can be a signature: referrers of that type, all other referrers, because their type may be missing or wrong, and
/// the tag of the older format, which counts only if no referrer is a bundle.
fn groups(attachments: Vec<Attachment>) -> [Vec<Attachment>; 3] {
    let [mut likely, mut others, mut tags] = [const { Vec::new() }; 3];
    for attachment in attachments {
        match &attachment.link {
            Link::Tag(tag) if tag.ends_with(SIGNATURE_TAG_SUFFIX) => tags.push(attachment),
            Link::Tag(_) => {}
            Link::Subject if attachment.artifact_type.as_deref().is_some_and(is_signature_type) => {
                likely.push(attachment);
            }
            Link::Subject => others.push(attachment),
        }
    }
    [likely, others, tags]
}

/// An attached manifest with the layers that its signatures need; `None` if it holds none.
async fn read<S: Source>(
    source: &S,
    repository: &Repository,
    attachment: Attachment,
) -> Result<Option<Attached>, Error> {
    let is_tag = matches!(attachment.link, Link::Tag(_));
    let digest = attachment.descriptor.digest;
    let Some(manifest) = source.manifest(repository, &Target::Digest(digest.clone())).await? else {
        let at = format!("{repository}@{digest}");
        return Err(Error::new(Operation::ReadManifest, source.side(), at, Cause::NoSuchManifest));
    };
    let layers = signature_layers(manifest.bytes(), is_tag);
    if layers.is_empty() {
        return Ok(None);
    }
    let mut contents = Vec::new();
    for layer in layers {
        contents.push(blob(source, repository, &layer).await?);
    }
    let bytes = manifest.bytes().clone();
    Ok(Some(if is_tag {
        Attached::signature_tag(bytes, contents)
    } else {
        Attached::referrer(bytes, contents)
    }))
}

async fn blob<S: Source>(source: &S, repository: &Repository, blob: &Descriptor) -> Result<Bytes, Error> {
    let stream = source.open_blob(repository, blob, 0).await?;
    let location = source.blob_location(repository, &blob.digest);
    let body = VerifiedBody::new(stream, blob, location, Box::new(|_| ()));
    let whole = body.try_fold(Vec::new(), |mut whole, piece| async move {
        whole.extend_from_slice(&piece);
        Ok(whole)
    });
    Ok(whole.await?.into())
}
