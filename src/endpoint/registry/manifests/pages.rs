//! Lists in pages (distribution specification, "Listing Tags" and "Listing Referrers"): each page links to the next.

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use url::Url;

use super::{
    super::{
        answer,
        error::RegistryError,
        host::{Call, Host},
        redirect,
        refusal::Refusal,
        retry::Attempts,
    },
    read::{Memory, read_body},
};
use crate::endpoint::{Cause, Error};

/// The pages of a list, read one after the other.
pub(in super::super) struct Pages<'a> {
    host: &'a Host,
    /// The request for the next page.
    call: Call<'a>,
    is_over: bool,
    /// The pages that were requested: a registry could link pages in a circle.
    requested: HashSet<Url>,
    most: usize,
}

/// One page.
pub(in super::super) struct Page {
    pub(in super::super) headers: HeaderMap,
    pub(in super::super) bytes: Bytes,
}

/// The response to a request for a page.
pub(in super::super) enum Answered {
    Page(Page),
    /// One of the statuses that the caller expects.
    Refused(Refusal),
}

impl<'a> Pages<'a> {
    /// Sends nothing. `call` requests the first page; more than `most` pages are an error.
    pub(in super::super) fn new(host: &'a Host, call: Call<'a>, most: usize) -> Self {
        Self { host, call, is_over: false, requested: HashSet::new(), most }
    }

    /// Whether the last page has been read.
    pub(in super::super) fn are_over(&self) -> bool {
        self.is_over
    }

    /// The next page; `None` after the last one. A response with a status in `refusals` ends the list.
    pub(in super::super) async fn next(
        &mut self,
        refusals: &[StatusCode],
    ) -> Result<Option<Answered>, Error> {
        if self.is_over {
            return Ok(None);
        }
        if !self.requested.insert(self.call.url.clone()) {
            return Err(self.protocol_error("the list links back to one of its earlier pages".to_owned()));
        }
        if self.requested.len() > self.most {
            return Err(self.protocol_error(format!("the list has more than {} pages", self.most)));
        }
        let answered = self.request(refusals).await?;
        let next = match &answered {
            Answered::Page(page) => next_page(&page.headers),
            Answered::Refused(_) => None,
        };
        match next {
            Some(link) => {
                let url = redirect::resolve(&self.call.url, link);
                self.call.url = url.map_err(|cause| self.failed(&Attempts::new(1), cause))?;
            }
            None => self.is_over = true,
        }
        Ok(Some(answered))
    }

    /// Requests one page until all of it has arrived.
    async fn request(&self, refusals: &[StatusCode]) -> Result<Answered, Error> {
        let (host, call) = (self.host, &self.call);
        let mut tries = Attempts::new(call.attempts);
        loop {
            tries.begin();
            let response = host.send(call, refusals).await?;
            if !response.status().is_success() {
                return Ok(Answered::Refused(answer::refusal(response).await));
            }
            let headers = response.headers().clone();
            let cause = match read_body(response, host.tuning().stall, Memory::Page).await {
                Ok(bytes) => return Ok(Answered::Page(Page { headers, bytes })),
                Err(cause) => cause,
            };
            let Some(pause) = tries.next_pause(&cause, host.pace.answers()) else {
                return Err(self.failed(&tries, cause));
            };
            host.wait(call, &cause, pause).await;
        }
    }

    /// The failure of reading this list.
    pub(in super::super) fn protocol_error(&self, message: String) -> Error {
        self.failed(&Attempts::new(1), RegistryError::Protocol(message))
    }

    /// The failure of reading this list.
    pub(in super::super) fn failed(&self, tries: &Attempts, cause: impl Into<Cause>) -> Error {
        self.host.error(self.call.operation, &self.call.name, tries, cause)
    }
}

/// The target of the link to the next page: `</v2/…>; rel="next"` (RFC 8288), among others.
fn next_page(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(links).find(|(_, parameters)| is_next(parameters)).map(|(target, _)| target)
}

/// The targets and parameters of a `Link` header.
fn links(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let start = rest.trim_start_matches([',', ' ', '\t']);
        let (target, after) = start.strip_prefix('<')?.split_once('>')?;
        let mut is_quoted = false;
        let end = after.find(|character| {
            is_quoted ^= character == '"';
            character == ',' && !is_quoted
        });
        let (parameters, others) = after.split_at(end.unwrap_or(after.len()));
        rest = others;
        Some((target, parameters))
    })
}

fn is_next(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        let (name, value) = parameter.trim().split_once('=').unwrap_or_default();
        let mut relations = value.trim_matches('"').split_whitespace();
        name.eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
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
            ("</a>; rel=\"prev\", </b>; rel=\"next\"", Some("/b")),
            ("</a,b>; title=\"x, <y>\"; rel=\"prev next\"", Some("/a,b")),
        ] {
            let headers = HeaderMap::from_iter([(header::LINK, link.parse().unwrap())]);
            assert_eq!(next_page(&headers), expected, "{link}");
        }
        let mut several = HeaderMap::new();
        several.append(header::LINK, "</first>; rel=first".parse().unwrap());
        several.append(header::LINK, "</second>; rel=next".parse().unwrap());
        assert_eq!(next_page(&several), Some("/second"));
    }
}
