//! Checks the URLs that a registry sends: redirects, the `Location` of an upload, the URLs in a manifest.
//!
//! Credentials are re-evaluated at every hop: they go only to the registry's own origin. HTTP libraries have leaked
//! tokens on the second hop, so ours does not follow redirects.

use http::{Method, StatusCode, header};
use reqwest::Response;
use url::Url;

use super::{
    auth::{Origin, Reach, origin::redacted},
    error::RegistryError,
};

/// Where a response redirects a request; `None` if it does not.
///
/// A request that changes something is repeated only by a status that keeps its method (307, 308), and only within the
/// registry: its body belongs there.
pub(super) fn target(from: &Url, method: &Method, response: &Response) -> Result<Option<Url>, RegistryError> {
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(header::LOCATION) else { return Ok(None) };
    let location =
        location.to_str().map_err(|_| RegistryError::Redirect("its `Location` is not text".to_owned()))?;
    let target = resolve(from, location)?;
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(Some(target));
    }
    let keeps_method = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    if !keeps_method {
        return Err(RegistryError::Redirect(format!(
            "it redirects a {method} with status {}",
            status.as_u16()
        )));
    }
    let is_here = matches!((Origin::of(from), Origin::of(&target)), (Ok(from), Ok(to)) if from == to);
    if !is_here {
        let target = redacted(&target);
        return Err(RegistryError::Redirect(format!("it redirects a {method} to another host: {target}")));
    }
    Ok(Some(target))
}

/// Resolves `location` against the URL that returned it. Refuses schemes other than http(s), a downgrade from https to
/// http, and a step from a public host to a loopback or link-local address (where clouds serve credentials).
pub(super) fn resolve(from: &Url, location: &str) -> Result<Url, RegistryError> {
    let to = from
        .join(location)
        .map_err(|_| RegistryError::Redirect("its `Location` is not a valid URL".to_owned()))?;
    let refused = |reason: &str| RegistryError::Redirect(format!("{reason}: {}", redacted(&to)));
    let (Ok(here), Ok(there)) = (Origin::of(from), Origin::of(&to)) else {
        return Err(refused("its `Location` is neither http nor https"));
    };
    if here.is_https() && !there.is_https() {
        return Err(refused("it downgrades https to http"));
    }
    if leads_inside(&here, &there) {
        return Err(refused("it leads from a public host to a loopback or link-local address"));
    }
    Ok(to)
}

/// Checks the URL of a layer in a manifest of this registry. It may be http although the registry is https: no
/// credential is sent, and the digest is verified. Redirects from there are followed as usual.
pub(super) fn named_in_manifest(registry: &Origin, text: &str) -> Result<Url, RegistryError> {
    // Do not repeat a text that is not a URL: it could be anything.
    let to = Url::parse(text)
        .map_err(|_| RegistryError::Redirect("the manifest holds an invalid URL".to_owned()))?;
    let refused = |reason: &str| RegistryError::Redirect(format!("{reason}: {}", redacted(&to)));
    let Ok(there) = Origin::of(&to) else {
        return Err(refused("the manifest's URL is neither http nor https"));
    };
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused("the manifest's URL contains a user name"));
    }
    if leads_inside(registry, &there) {
        return Err(refused(
            "the manifest's URL leads from a public host to a loopback or link-local address",
        ));
    }
    Ok(to)
}

/// Whether a public host names a loopback or link-local address.
fn leads_inside(here: &Origin, there: &Origin) -> bool {
    there.reach() != Reach::Remote && here.reach() == Reach::Remote
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(from: &str, location: &str) -> Result<String, String> {
        resolve(&Url::parse(from).unwrap(), location).map(String::from).map_err(|cause| cause.to_string())
    }

    #[test]
    fn every_form_of_location_is_resolved_and_its_query_is_kept() {
        let from = "https://reg.example.com/v2/a/blobs/uploads/";
        for (location, expected) in [
            (
                "/v2/a/blobs/uploads/1?_state=a%2Fb+c==",
                "https://reg.example.com/v2/a/blobs/uploads/1?_state=a%2Fb+c==",
            ),
            ("2", "https://reg.example.com/v2/a/blobs/uploads/2"),
            ("//cdn.example.com/x", "https://cdn.example.com/x"),
            ("https://reg.example.com:443/x", "https://reg.example.com/x"),
        ] {
            assert_eq!(go(from, location).unwrap(), expected);
        }
    }

    /// Where a response with this status and `Location` sends a request to `https://reg.example.com/v2/`.
    fn redirected(method: &Method, status: u16, location: Option<&str>) -> Result<Option<String>, String> {
        let mut response = http::Response::builder().status(status);
        if let Some(location) = location {
            response = response.header(header::LOCATION, location);
        }
        let from = Url::parse("https://reg.example.com/v2/").unwrap();
        let found = target(&from, method, &Response::from(response.body("").unwrap()));
        found.map(|to| to.map(String::from)).map_err(|cause| cause.to_string())
    }

    #[test]
    fn a_reading_request_follows_every_redirect() {
        let to = "https://cdn.example.com/x";
        for method in [Method::GET, Method::HEAD] {
            for status in [301, 302, 303, 307, 308] {
                assert_eq!(
                    redirected(&method, status, Some(to)),
                    Ok(Some(to.to_owned())),
                    "{method} {status}"
                );
            }
            for status in [200, 201, 300, 304, 404] {
                assert_eq!(redirected(&method, status, Some(to)), Ok(None), "{method} {status}");
            }
            assert_eq!(redirected(&method, 307, None), Ok(None), "it says no location");
        }
    }

    #[test]
    fn a_writing_request_is_repeated_only_here_and_only_with_its_method() {
        let (here, elsewhere) = ("https://reg.example.com/v2/x", "https://cdn.example.com/x");
        for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
            for status in [307, 308] {
                assert_eq!(redirected(&method, status, Some(here)), Ok(Some(here.to_owned())));
                let refused = redirected(&method, status, Some(elsewhere)).unwrap_err();
                assert!(refused.contains("to another host: https://cdn.example.com"), "{refused}");
            }
            for status in [301, 302, 303] {
                let refused = redirected(&method, status, Some(here)).unwrap_err();
                assert!(refused.contains(&format!("a {method} with status {status}")), "{refused}");
            }
        }
    }

    #[test]
    fn downgrades_and_local_targets_are_refused() {
        let from = "https://reg.example.com/v2/";
        for location in [
            "http://reg.example.com/x",
            "https://127.0.0.1/x",
            "https://localhost/x",
            "https://a.localhost./x",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://[fe80::1]/x",
            "https://0.0.0.0/x",
            "https://2130706433/x",
            "file:///etc/passwd",
            "ftp://x/y",
        ] {
            assert!(go(from, location).is_err(), "{location}");
        }
        assert!(go(from, "https://10.0.0.1/x").is_ok(), "registries live in private ranges");
        assert!(go("http://layers.example.com/x", "https://layers.example.com/x").is_ok());
        assert!(go("http://127.0.0.1:5000/", "http://127.0.0.1:5001/x").is_ok());
    }

    #[test]
    fn a_refused_location_is_shown_without_its_secrets() {
        let message = go("https://a.example.com/", "http://u:p@x/b?sig=abc").unwrap_err();
        assert!(!message.contains("abc") && !message.contains("u:p"), "{message}");
    }

    #[test]
    fn manifest_urls_may_be_http_or_https_but_not_local() {
        let named = |registry: &str, text: &str| {
            let registry = Origin::of(&Url::parse(registry).unwrap()).unwrap();
            named_in_manifest(&registry, text).map(String::from).map_err(|cause| cause.to_string())
        };
        let registry = "https://reg.example.com/";
        for text in
            ["https://layers.example.com/x?a=%2F", "http://layers.example.com/x", "http://10.0.0.1:8080/x"]
        {
            assert_eq!(named(registry, text).as_deref(), Ok(text));
        }
        for (text, reason) in [
            ("/x", "an invalid URL"),
            ("file:///etc/passwd", "neither http nor https"),
            ("http://user:s3cret@layers.example.com/x", "contains a user name"),
            ("http://user@layers.example.com/x", "contains a user name"),
            ("http://127.0.0.1/x", "to a loopback or link-local address"),
            ("http://[::ffff:127.0.0.1]/x", "to a loopback or link-local address"),
            ("http://localhost/x", "to a loopback or link-local address"),
            ("http://169.254.169.254/latest/meta-data", "to a loopback or link-local address"),
        ] {
            let refused = named(registry, text).unwrap_err();
            assert!(refused.contains(reason) && !refused.contains("s3cret"), "{refused}");
        }
        assert!(named("http://127.0.0.1:5000", "http://localhost:8080/x").is_ok(), "it is here as well");
    }
}
