//! Content discovery: OCI distribution specification, "Listing Tags" and "Listing Referrers".

use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    names::{RepositoryName, TagName},
    response::{Answer, ErrorCode, OCI_FILTERS_APPLIED, Refusal, checked_value, json_answer},
    service::{Query, Registry},
};
use crate::oci::{Digest, media_type::OCI_INDEX};

impl Registry {
    /// `GET …/tags/list?n=&last=`
    pub(super) async fn list_tags(&self, name: RepositoryName, query: &Query) -> Result<Answer, Refusal> {
        let limit = query.get("n").map(|text| text.parse::<usize>()).transpose().map_err(|_| {
            let message = "n must be a number of tags";
            Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
        })?;
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
        let names: Vec<&str> = page.tags.iter().map(TagName::as_str).collect();
        let mut answer = json_answer(&json!({ "name": name.as_str(), "tags": names }));
        if let (Some(last), Some(limit)) = (page.next_after, limit) {
            let link = format!("</v2/{name}/tags/list?n={limit}&last={last}>; rel=\"next\"");
            answer.headers_mut().insert(header::LINK, checked_value(link));
        }
        Ok(answer)
    }

    /// `GET …/referrers/DIGEST?artifactType=`. A missing subject, or a subject without referrers, has an empty list.
    pub(super) async fn list_referrers(
        &self,
        name: RepositoryName,
        subject: Digest,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        let entries = self.storage(move |storage| storage.referrers(&name, &subject)).await??;
        let wanted = query.get("artifactType");
        let mut manifests = Vec::with_capacity(entries.len());
        for entry in entries {
            let damaged = |error: serde_json::Error| Refusal::from(std::io::Error::from(error));
            let shown: Shown = serde_json::from_str(&entry).map_err(damaged)?;
            if wanted.is_none() || wanted.as_deref() == shown.artifact_type.as_deref() {
                manifests.push(RawValue::from_string(entry).map_err(damaged)?);
            }
        }
        let mut answer = json_answer(&Index { schema_version: 2, media_type: OCI_INDEX, manifests });
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
        if wanted.is_some() {
            headers.insert(OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(answer)
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

/// A page of a list of tags.
struct Page<'a> {
    tags: &'a [TagName],
    /// The last tag of this page, if more follow.
    next_after: Option<&'a TagName>,
}

/// At most `limit` tags after `last`; `tags` are in ASCII order. `last` does not have to be among them.
fn page<'a>(tags: &'a [TagName], last: Option<&str>, limit: Option<usize>) -> Page<'a> {
    let start = last.map_or(0, |last| tags.partition_point(|tag| tag.as_str() <= last));
    let rest = tags.get(start..).unwrap_or_default();
    let tags = rest.get(..limit.unwrap_or(rest.len())).unwrap_or(rest);
    Page { tags, next_after: if tags.len() < rest.len() { tags.last() } else { None } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(names: &[&str]) -> Vec<TagName> {
        names.iter().map(|name| TagName::new(name).unwrap()).collect()
    }

    #[test]
    fn pages_begin_behind_last_and_end_at_n() {
        let tags = named(&["1", "2", "3", "4"]);
        let shown = |last, limit| {
            let page = page(&tags, last, limit);
            (page.tags.iter().map(TagName::as_str).collect::<String>(), page.next_after.map(TagName::as_str))
        };
        assert_eq!(shown(None, None), ("1234".to_owned(), None));
        assert_eq!(shown(None, Some(2)), ("12".to_owned(), Some("2")));
        assert_eq!(shown(Some("2"), Some(2)), ("34".to_owned(), None));
        assert_eq!(shown(Some("2.5"), Some(1)), ("3".to_owned(), Some("3")));
        assert_eq!(shown(Some("9"), Some(1)), (String::new(), None));
        assert_eq!(shown(None, Some(0)), (String::new(), None));
    }

    proptest! {
        #[test]
        fn following_the_pages_shows_every_tag_once(count in 0_usize..30, limit in 1_usize..8) {
            let mut tags: Vec<TagName> = (0..count).map(|n| TagName::new(&format!("t{n}")).unwrap()).collect();
            tags.sort_unstable();
            let (mut seen, mut last) = (Vec::new(), None);
            loop {
                let page = page(&tags, last, Some(limit));
                seen.extend_from_slice(page.tags);
                let Some(next) = page.next_after else { break };
                last = Some(next.as_str());
            }
            prop_assert_eq!(seen, tags);
        }
    }
}
