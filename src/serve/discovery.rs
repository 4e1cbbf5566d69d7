//! Content discovery: OCI distribution specification, "Listing Tags" and "Listing Referrers"; and the catalog of the
//! registry API that preceded it.

use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    names::{RepositoryName, TagName},
    pages::{self, PAGE_BYTES, page},
    response::{Answer, ErrorCode, OCI_FILTERS_APPLIED, Refusal, json_answer, parse_digest},
    service::{Query, Registry},
};
use crate::oci::{Digest, media_type::OCI_INDEX};

impl Registry {
    /// `GET /v2/_catalog?n=&last=`
    pub(super) async fn list_repositories(&self, query: &Query) -> Result<Answer, Refusal> {
        let limit = pages::limit(query)?;
        let repositories = self.storage(|storage| storage.repositories(usize::MAX)).await??;
        let page = page(&repositories, query.get("last").as_deref(), limit);
        let names: Vec<&str> = page.items.iter().map(RepositoryName::as_str).collect();
        let mut answer = json_answer(&json!({ "repositories": names }));
        if let Some(last) = page.next_after {
            pages::link_next(&mut answer, "/v2/_catalog", query, last.as_str());
        }
        Ok(answer)
    }

    /// `GET …/tags/list?n=&last=`
    pub(super) async fn list_tags(&self, name: RepositoryName, query: &Query) -> Result<Answer, Refusal> {
        let limit = pages::limit(query)?;
        let wanted = name.clone();
        let tags = self
            .storage(move |storage| {
                let known = storage.has_repository(&wanted)?;
                if known { storage.tags(&wanted).map(Some) } else { Ok(None) }
            })
            .await??;
        let tags = tags.ok_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, "no such repository")
        })?;
        let page = page(&tags, query.get("last").as_deref(), limit);
        let names: Vec<&str> = page.items.iter().map(TagName::as_str).collect();
        let mut answer = json_answer(&json!({ "name": name.as_str(), "tags": names }));
        if let Some(last) = page.next_after {
            pages::link_next(&mut answer, &format!("/v2/{name}/tags/list"), query, last.as_str());
        }
        Ok(answer)
    }

    /// `GET …/referrers/DIGEST?artifactType=&n=&last=`. A missing subject, or a subject without referrers, has an
    /// empty list.
    pub(super) async fn list_referrers(
        &self,
        name: RepositoryName,
        subject: Digest,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        let path = format!("/v2/{name}/referrers/{subject}");
        let wanted = query.get("artifactType");
        let is_filtered = wanted.is_some();
        let last = query.get("last").map(|last| parse_digest(&last)).transpose()?;
        let mut found = Referrers::new(wanted, pages::limit(query)?);
        let found = self
            .storage(move |storage| {
                storage.visit_referrers(&name, &subject, last.as_ref(), &mut |digest, entry| {
                    found.take(digest, entry)
                })?;
                Ok::<_, std::io::Error>(found)
            })
            .await??;
        let mut answer =
            json_answer(&Index { schema_version: 2, media_type: OCI_INDEX, manifests: found.entries });
        if let (true, Some(last)) = (found.is_full, found.last) {
            pages::link_next(&mut answer, &path, query, last.as_str());
        }
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
        if is_filtered {
            headers.insert(OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(answer)
    }
}

/// A page of referrers, while it is read.
struct Referrers {
    wanted: Option<String>,
    limit: Option<usize>,
    entries: Vec<Box<RawValue>>,
    bytes: usize,
    last: Option<Digest>,
    /// Whether more entries follow.
    is_full: bool,
}

impl Referrers {
    fn new(wanted: Option<String>, limit: Option<usize>) -> Self {
        Self { wanted, limit, entries: Vec::new(), bytes: 0, last: None, is_full: false }
    }

    /// Adds an entry if it passes the filter; `false` if the page was full before.
    fn take(&mut self, digest: &Digest, entry: String) -> std::io::Result<bool> {
        let shown: Shown = serde_json::from_str(&entry)?;
        if self.wanted.is_some() && self.wanted != shown.artifact_type {
            return Ok(true);
        }
        let is_too_large = !self.entries.is_empty() && self.bytes + entry.len() > PAGE_BYTES;
        if is_too_large || self.limit.is_some_and(|limit| self.entries.len() >= limit) {
            self.is_full = true;
            return Ok(false);
        }
        self.bytes += entry.len();
        self.entries.push(RawValue::from_string(entry)?);
        self.last = Some(digest.clone());
        Ok(true)
    }
}

/// The field of a referrer's entry that lists can be filtered by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    artifact_type: Option<String>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Box<RawValue>>,
}
