//! Listing the tags of a repository (distribution specification, "Listing Tags").

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use super::{
    super::{
        auth::Scope,
        error::RegistryError,
        host::{Call, Host},
        retry::Attempts,
    },
    pages::{Answered, Pages},
};
use crate::{
    endpoint::{Error, Operation, retry::attempts},
    oci::Repository,
};

/// How many tags to request at once. Registries have limits of their own.
const PAGE: usize = 1000;
/// The maximum number of pages.
const MAX_PAGES: usize = 200;

#[derive(Deserialize)]
struct Page {
    /// Some registries write `null` for an empty repository.
    tags: Option<Vec<String>>,
}

/// All tags, in the registry's order; `None` if there is no such repository.
pub(in super::super) async fn tags(
    host: &Host,
    repository: &Repository,
) -> Result<Option<Vec<String>>, Error> {
    let mut pages = Pages::new(host, call(host, repository)?, MAX_PAGES);
    let mut tags = Vec::new();
    while let Some(answered) = pages.next(&[StatusCode::NOT_FOUND]).await? {
        match answered {
            Answered::Page(page) => tags.extend(read(host, repository, &page.bytes)?),
            Answered::Refused(_) => return Ok(None),
        }
    }
    Ok(Some(tags))
}

/// The tags of this many pages that pass a filter, and the number of all tags; `None` if there are more pages.
pub(in super::super) async fn tags_within(
    host: &Host,
    repository: &Repository,
    most_pages: usize,
    filter: impl Fn(&str) -> bool,
) -> Result<Option<(Vec<String>, usize)>, Error> {
    let mut pages = Pages::new(host, call(host, repository)?, MAX_PAGES);
    let (mut tags, mut count) = (Vec::new(), 0);
    for _ in 0..most_pages {
        let Some(Answered::Page(page)) = pages.next(&[]).await? else { break };
        let found = read(host, repository, &page.bytes)?;
        count += found.len();
        tags.extend(found.into_iter().filter(|tag| filter(tag)));
    }
    Ok(pages.are_over().then_some((tags, count)))
}

fn read(host: &Host, repository: &Repository, bytes: &[u8]) -> Result<Vec<String>, Error> {
    let page = serde_json::from_slice::<Page>(bytes);
    let page = page.map_err(|_| {
        failed(host, repository, RegistryError::Protocol("the list of tags is not JSON".to_owned()))
    })?;
    Ok(page.tags.unwrap_or_default())
}

fn call<'a>(host: &Host, repository: &'a Repository) -> Result<Call<'a>, Error> {
    let url = host
        .url(repository, &format!("tags/list?n={PAGE}"))
        .map_err(|cause| failed(host, repository, cause))?;
    Ok(Call {
        operation: Operation::ListTags,
        repository,
        name: repository.to_string(),
        scopes: vec![Scope::pull(repository)],
        method: Method::GET,
        url,
        headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]),
        body: None,
        attempts: attempts(),
    })
}

fn failed(host: &Host, repository: &Repository, cause: RegistryError) -> Error {
    host.error(Operation::ListTags, &repository.to_string(), &Attempts::new(1), cause)
}
