//! The referrers API (distribution specification, "Listing Referrers").
//!
//! Requests are not filtered, because servers may ignore a filter, or apply another one.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{
    super::{
        auth::Scope,
        error::RegistryError,
        host::{Call, Host},
        manifests::{Answered, Page, Pages},
        referrers_support::Subject,
        retry::Attempts,
    },
    list::AttachmentList,
};
use crate::{
    endpoint::{Error, Operation, retry::attempts},
    oci::{Attachment, Digest, Repository, media_type::OCI_INDEX},
};

/// The maximum number of pages.
const MAX_PAGES: usize = 2000;
/// The statuses of a registry without the API, or of one that does not know the manifest.
const REFUSALS: [StatusCode; 5] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_ACCEPTABLE,
    StatusCode::NOT_IMPLEMENTED,
];

/// The referrers of a manifest; `None` if the API does not list them.
pub(super) async fn list(
    host: &Host,
    repository: &Repository,
    subject: &Digest,
) -> Result<Option<Vec<Attachment>>, Error> {
    let Some((first, mut pages)) = begin_in_turn(host, repository, subject).await? else { return Ok(None) };
    let mut found = AttachmentList::default();
    let mut page = Some(first);
    while let Some(current) = page {
        found.add(&current.bytes).map_err(|cause| pages.failed(&Attempts::new(1), cause))?;
        page = match pages.next(&[]).await? {
            Some(Answered::Page(next)) if is_index(&next.headers) => Some(next),
            Some(_) => {
                return Err(
                    pages.protocol_error("a page of the list of referrers is not an index".to_owned())
                );
            }
            None => None,
        };
    }
    Ok(Some(found.into_attachments()))
}

/// Whether the repository has the API; `None` if its answer about this manifest does not tell.
pub(super) async fn is_supported(
    host: &Host,
    repository: &Repository,
    digest: &Digest,
    subject: Subject,
) -> Result<Option<bool>, Error> {
    let support = &host.capabilities.referrers;
    if support.of(repository).is_none() {
        begin(host, repository, digest, subject).await?;
    }
    Ok(support.of(repository))
}

/// Asks about a manifest that does not exist, before any digest is known: the answer may tell whether the repositories with
/// the same parent have the API. One request for all of them.
pub(super) async fn expect(host: &Host, repository: &Repository) {
    let support = &host.capabilities.referrers;
    if support.of(repository).is_none()
        && let Some(first) = support.first(repository)
    {
        // If it fails, the requests about real manifests report why.
        let ask = async {
            let _ = begin(host, repository, &Digest::sha256(b""), Subject::Unknown).await;
        };
        first.get_or_init(|| Box::pin(ask)).await;
    }
}

/// The first page. While it is not known whether this repository has the API, waits for an answer about another one with
/// the same parent: that may be enough. `None` if the API does not list the referrers.
async fn begin_in_turn<'a>(
    host: &'a Host,
    repository: &'a Repository,
    subject: &Digest,
) -> Result<Option<(Page, Pages<'a>)>, Error> {
    let support = &host.capabilities.referrers;
    let mut own = None;
    if support.of(repository).is_none()
        && let Some(first) = support.first(repository)
    {
        // If it fails, the others make their own requests at the same time.
        first
            .get_or_init(|| async {
                own = Some(Box::pin(begin(host, repository, subject, Subject::Exists)).await);
            })
            .await;
    }
    match own {
        Some(begun) => begun,
        None if support.of(repository) == Some(false) => Ok(None),
        None => Box::pin(begin(host, repository, subject, Subject::Exists)).await,
    }
}

/// Requests the first page, and records what the answer says about the API. `None` if it is no index.
async fn begin<'a>(
    host: &'a Host,
    repository: &'a Repository,
    digest: &Digest,
    subject: Subject,
) -> Result<Option<(Page, Pages<'a>)>, Error> {
    let support = &host.capabilities.referrers;
    let mut pages = Pages::new(host, call(host, repository, digest)?, MAX_PAGES);
    match pages.next(&REFUSALS).await {
        Ok(Some(Answered::Page(page))) if is_index(&page.headers) => {
            support.answered(repository);
            Ok(Some((page, pages)))
        }
        Ok(Some(Answered::Refused(refusal))) => {
            support.refused(repository, &refusal, subject);
            Ok(None)
        }
        Ok(_) => Ok(None),
        // A server may answer unknown routes with a page for people.
        Err(error) if is_web_page(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_web_page(error: &Error) -> bool {
    matches!(error.cause.downcast_ref(), Some(RegistryError::WebPage))
}

fn is_index(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(OCI_INDEX)
}

fn call<'a>(host: &Host, repository: &'a Repository, subject: &Digest) -> Result<Call<'a>, Error> {
    let name = format!("{repository}@{subject}");
    let url = host.url(repository, &format!("referrers/{subject}"));
    let url = url.map_err(|cause| host.error(Operation::ListReferrers, &name, &Attempts::new(1), cause))?;
    Ok(Call {
        operation: Operation::ListReferrers,
        repository,
        name,
        scopes: vec![Scope::pull(repository)],
        method: Method::GET,
        url,
        headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(OCI_INDEX))]),
        body: None,
        attempts: attempts(),
    })
}
