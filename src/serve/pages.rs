//! Pages of lists that may be long: tags, repositories, referrers. A page is small, so that no number of concurrent
//! requests takes much memory, and a `Link` leads to the next (RFC 5988).

use http::{HeaderValue, StatusCode, header};
use url::form_urlencoded;

use super::{
    response::{Answer, ErrorCode, Refusal, checked_value},
    service::Query,
};

/// The largest page, in bytes of its items. A single larger item is a page of its own.
pub(super) const PAGE_BYTES: usize = 256 * 1024;

/// A page of a sorted list.
pub(super) struct Page<'a, T> {
    pub(super) items: &'a [T],
    /// The last item of this page, if more follow.
    pub(super) next_after: Option<&'a T>,
}

/// At most `limit` items after `last`; `items` are in ASCII order. `last` does not have to be among them.
pub(super) fn page<'a, T: AsRef<str>>(
    items: &'a [T],
    last: Option<&str>,
    limit: Option<usize>,
) -> Page<'a, T> {
    let start = last.map_or(0, |last| items.partition_point(|item| item.as_ref() <= last));
    let rest = items.get(start..).unwrap_or_default();
    let mut bytes = 0;
    let fits = |item: &&T| {
        let is_first = bytes == 0;
        // Quotes and a comma.
        bytes += item.as_ref().len() + 3;
        is_first || bytes <= PAGE_BYTES
    };
    let count = rest.iter().take(limit.unwrap_or(rest.len())).take_while(fits).count();
    let items = rest.get(..count).unwrap_or(rest);
    Page { items, next_after: if items.len() < rest.len() { items.last() } else { None } }
}

/// The parameter `n`: the most items that the client wants.
pub(super) fn limit(query: &Query) -> Result<Option<usize>, Refusal> {
    query.get("n").map(|text| text.parse::<usize>()).transpose().map_err(|_| {
        let message = "n must be a number";
        Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
    })
}

/// Adds the link to the next page: the same request with another `last`.
pub(super) fn link_next(answer: &mut Answer, path: &str, query: &Query, last: &str) {
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    for name in ["n", "artifactType"] {
        if let Some(value) = query.get(name) {
            parameters.append_pair(name, &value);
        }
    }
    parameters.append_pair("last", last);
    let link: HeaderValue = checked_value(format!("<{path}?{}>; rel=\"next\"", parameters.finish()));
    answer.headers_mut().insert(header::LINK, link);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::serve::names::TagName;

    fn named(names: &[&str]) -> Vec<TagName> {
        names.iter().map(|name| TagName::new(name).unwrap()).collect()
    }

    #[test]
    fn pages_begin_after_last_and_end_at_n() {
        let tags = named(&["1", "2", "3", "4"]);
        let shown = |last, limit| {
            let page = page(&tags, last, limit);
            (page.items.iter().map(TagName::as_str).collect::<String>(), page.next_after.map(TagName::as_str))
        };
        assert_eq!(shown(None, None), ("1234".to_owned(), None));
        assert_eq!(shown(None, Some(2)), ("12".to_owned(), Some("2")));
        assert_eq!(shown(Some("2"), Some(2)), ("34".to_owned(), None));
        assert_eq!(shown(Some("2.5"), Some(1)), ("3".to_owned(), Some("3")));
        assert_eq!(shown(Some("9"), Some(1)), (String::new(), None));
        assert_eq!(shown(None, Some(0)), (String::new(), None));
    }

    #[test]
    fn a_page_without_a_limit_is_small_nevertheless() {
        let tags: Vec<TagName> =
            (0..4000).map(|number| TagName::new(&format!("{number:0>100}")).unwrap()).collect();
        let first = page(&tags, None, None);
        assert_eq!(first.items.len(), PAGE_BYTES / 103);
        assert_eq!(first.next_after, first.items.last());
    }

    proptest! {
        #[test]
        fn following_the_pages_shows_every_tag_once(count in 0_usize..30, limit in 1_usize..8) {
            let mut tags: Vec<TagName> = (0..count).map(|n| TagName::new(&format!("t{n}")).unwrap()).collect();
            tags.sort_unstable();
            let (mut seen, mut last) = (Vec::new(), None);
            loop {
                let page = page(&tags, last, Some(limit));
                seen.extend_from_slice(page.items);
                let Some(next) = page.next_after else { break };
                last = Some(next.as_str());
            }
            prop_assert_eq!(seen, tags);
        }
    }
}
