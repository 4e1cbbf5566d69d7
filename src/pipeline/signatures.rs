//! Verifies the signatures of an image: at its source before it is copied, or in the mirror.

mod notation;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    endpoint::{Cause, Error, Operation, Source, body::read_whole},
    error::{Failure, Kind},
    oci::{Attachment, Digest, Link, Reference, Repository, Target, chart::is_local_chart},
    outcome::AcceptedSignature,
    trust::{Attached, SIGNATURE_TAG_SUFFIX, Verdict, Verifier, is_signature_type, signature_layers},
};

/// How many attached manifests of an image are read at once.
const CONCURRENT_READS: usize = 4;

/// An image, and where its signatures are read.
pub(super) struct Signed<'a> {
    /// Its name at the source, which the policy knows.
    pub(super) image: &'a Reference,
    /// The repository that is read.
    pub(super) repository: &'a Repository,
    /// The digest of its root manifest.
    pub(super) digest: &'a Digest,
}

/// What the signatures of an image say.
pub(super) struct SignatureCheck {
    /// The signature that satisfies the policy, or why the image is refused. `None` if the image needs no signature.
    pub(super) result: Result<Option<Box<AcceptedSignature>>, Failure>,
    /// The attachments of the root manifest, if they were listed.
    pub(super) listed: Option<Vec<Attachment>>,
}

/// Applies the policy of the verifier to an image. A refusal is a failure of this kind.
pub(super) async fn check<S: Source>(
    source: &S,
    signed: Signed<'_>,
    verifier: &Verifier,
    kind: Kind,
) -> Result<SignatureCheck, Error> {
    let Signed { image, digest, .. } = signed;
    // It was packaged on this machine.
    if is_local_chart(image) {
        return Ok(SignatureCheck { result: Ok(None), listed: None });
    }
    let (verdict, listed) = verdict(source, &signed, verifier).await?;
    let result = match (verdict.failure(image, digest, kind), verdict) {
        (Some(refusal), _) => Err(refusal),
        (None, Verdict::Verified { manifest, signer }) => {
            Ok(Some(Box::new(AcceptedSignature { manifest, signer })))
        }
        (None, _) => Ok(None),
    };
    Ok(SignatureCheck { result, listed })
}

/// Reads what can be a signature, the most likely first, until the policy is satisfied. Also returns the attachments.
async fn verdict<S: Source>(
    source: &S,
    signed: &Signed<'_>,
    verifier: &Verifier,
) -> Result<(Verdict, Option<Vec<Attachment>>), Error> {
    let Signed { image, repository, digest } = *signed;
    let mut attached = Vec::new();
    let mut verdict = verifier.verify(image, digest, &attached);
    if !verifier.needs_signature(image) {
        return Ok((verdict, None));
    }
    let listed = source.attachments(repository, digest).await?;
    if let Some(trust) = verifier.notation_trust(image) {
        let verdict = notation::verdict(source, signed, &listed, (verifier, trust)).await?;
        return Ok((verdict, Some(listed)));
    }
    for group in groups(&listed) {
        let read = stream::iter(group).map(|candidate| read(source, repository, candidate));
        attached.extend(read.buffered(CONCURRENT_READS).try_collect::<Vec<_>>().await?.into_iter().flatten());
        verdict = verifier.verify(image, digest, &attached);
        if matches!(verdict, Verdict::Verified { .. }) {
            break;
        }
    }
    Ok((verdict, Some(listed)))
}

/// A manifest that can be a signature.
struct Candidate {
    digest: Digest,
    /// Whether a tag of the older format names it.
    is_tag: bool,
}

/// What can be a signature: referrers of that type, all other referrers, because their type may be missing or wrong, and
/// the tag of the older format, which counts only if no referrer is a bundle.
fn groups(attachments: &[Attachment]) -> [Vec<Candidate>; 3] {
    let [mut likely, mut others, mut tags] = [const { Vec::new() }; 3];
    for Attachment { descriptor, artifact_type, link } in attachments {
        let candidate = |is_tag| Candidate { digest: descriptor.digest.clone(), is_tag };
        match link {
            Link::Tag(tag) if tag.ends_with(SIGNATURE_TAG_SUFFIX) => tags.push(candidate(true)),
            Link::Tag(_) => {}
            Link::Subject if artifact_type.as_deref().is_some_and(is_signature_type) => {
                likely.push(candidate(false));
            }
            Link::Subject => others.push(candidate(false)),
        }
    }
    [likely, others, tags]
}

/// An attached manifest with the layers that its signatures need; `None` if it holds none.
async fn read<S: Source>(
    source: &S,
    repository: &Repository,
    Candidate { digest, is_tag }: Candidate,
) -> Result<Option<Attached>, Error> {
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
        contents.push(read_whole(source, repository, &layer).await?);
    }
    let bytes = manifest.bytes().clone();
    Ok(Some(if is_tag {
        Attached::signature_tag(bytes, contents)
    } else {
        Attached::referrer(bytes, contents)
    }))
}
