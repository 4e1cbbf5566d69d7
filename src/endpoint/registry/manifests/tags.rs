//! Listing the tags of a repository (distribution specification, "Listing Tags"), page by page.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use url::Url;

use super::{
    super::{
        auth::Scope,
        error::RegistryError,
        host::{Call, Host, discard},
        redirect,
        retry::Attempts,
    },
    read::{Memory, read_body},
};
use crate::{
    endpoint::{Error, Operation, retry::attempts},
    oci::Repository,
};

/// How many tags to request at once. Registries have limits of their own.
const PAGE: usize = 1000;
/// The maximum number of pages: a registry could link pages in a circle.
const MOST_PAGES: usize = 200;

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
    let failed = |cause| host.error(Operation::ListTags, &repository.to_string(), &Attempts::new(1), cause);
    let mut next = Some(host.url(repository, &format!("tags/list?n={PAGE}")).map_err(failed)?);
    let mut tags = Vec::new();
    for _ in 0..MOST_PAGES {
        let Some(url) = next else { return Ok(Some(tags)) };
        let Some((page, headers)) = page(host, repository, url.clone()).await? else { return Ok(None) };
        tags.extend(page.tags.unwrap_or_default());
        let link = headers.get(header::LINK).and_then(|link| link.to_str().ok()).and_then(next_page);
        next = link.map(|link| redirect::resolve(&url, link)).transpose().map_err(failed)?;
    }
    Err(failed(RegistryError::Protocol(format!("the list of tags has more than {MOST_PAGES} pages"))))
}

/// Requests one page until all of it has arrived.
async fn page(host: &Host, repository: &Repository, url: Url) -> Result<Option<(Page, HeaderMap)>, Error> {
    let call = Call {
        operation: Operation::ListTags,
        repository,
        name: repository.to_string(),
        scopes: vec![Scope::pull(repository)],
        method: Method::GET,
        url,
        headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]),
        body: None,
        attempts: attempts(),
    };
    let mut tries = Attempts::new(call.attempts);
    loop {
        tries.begin();
        let response = host.send(&call, &[StatusCode::NOT_FOUND]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            discard(response).await;
            return Ok(None);
        }
        let headers = response.headers().clone();
        let cause = match read_body(response, host.tuning().stall, Memory::Unlimited).await {
            Ok(bytes) => {
                let page = serde_json::from_slice::<Page>(&bytes).map_err(|_| {
                    let cause = RegistryError::Protocol("the list of tags is not JSON".to_owned());
                    host.error(call.operation, &call.name, &tries, cause)
                })?;
                return Ok(Some((page, headers)));
            }
            Err(cause) => cause,
        };
        let Some(pause) = tries.next_pause(&cause, host.pace.answers()) else {
            return Err(host.error(call.operation, &call.name, &tries, cause));
        };
        host.wait(&call, &cause, pause).await;
    }
}

/// The target of `</v2/…>; rel="next"` (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        let (name, value) = parameter.trim().split_once('=').unwrap_or_default();
        name.eq_ignore_ascii_case("rel") && value.trim_matches('"').eq_ignore_ascii_case("next")
    };
    parameters.split([';', ',']).any(is_next).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_next_link_is_followed() {
        for (link, expected) in [
            ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("/v2/a/tags/list?n=2&last=b")),
            ("</x>;rel=next", Some("/x")),
            ("</x>; rel=\"prev\"", None),
            ("</x>", None),
            ("/x; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_page(link), expected, "{link}");
        }
    }
}
