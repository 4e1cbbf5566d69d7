//! The scheme, host and port of a request. Credentials are bound to them.
//!
//! [`Origin`] is the unit of trust. Two URLs share credentials only when their origins are equal. An equal host name is
//! not enough: another port or scheme is another server.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use url::{Host, Url};

use crate::{error::hide_repeated, oci::reference::normalize_registry};

/// Docker Hub's name in references, and the host that serves it.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// The two schemes that registries speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Unencrypted: only if the user asked for it, or on loopback.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of a URL of this scheme that has none.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// How far away a host is, according to its literal name (without DNS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine: 127.0.0.0/8, `::1`, the unspecified address and `localhost`.
    Loopback,
    /// This network segment, where clouds serve instance metadata: 169.254.0.0/16 and `fe80::/10`.
    LinkLocal,
    /// Anything else, private ranges included: registries use them.
    Remote,
}

/// A text that is neither a registry's URL nor its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a registry address: expected HOST[:PORT], reached over http or https", .0.escape_debug())]
pub struct OriginError(String);

/// Scheme, host and port. The host is in lower case; an IPv6 address has brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a URL, with the default port if the URL has none.
    pub(crate) fn of(url: &Url) -> Result<Self, OriginError> {
        // The error shows only scheme and host: the rest of a URL may hold secrets.
        let refused = || OriginError(format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()));
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(refused()),
        };
        // A trailing dot stays: `registry.` is the name itself, while a resolver may complete `registry` to another name.
        let host = url.host_str().filter(|host| !host.trim_matches('.').is_empty());
        let host = host.ok_or_else(refused)?.to_owned();
        Ok(Self { scheme, host, port: url.port().unwrap_or(scheme.default_port()) })
    }

    /// The origin of a registry named `HOST[:PORT]` in references. Docker Hub's API has another host name.
    pub fn of_registry(registry: &str, scheme: Scheme) -> Result<Self, OriginError> {
        let normal = normalize_registry(registry);
        let host = if normal == DOCKER_HUB.0 { DOCKER_HUB.1 } else { normal.as_str() };
        let url = Url::parse(&format!("{}://{host}/", scheme.as_str()))
            .map_err(|_| OriginError(registry.to_owned()))?;
        let has_more = url.query().is_some() || url.fragment().is_some() || url.password().is_some();
        if has_more || url.path() != "/" || !url.username().is_empty() {
            return Err(OriginError(registry.to_owned()));
        }
        Self::of(&url)
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether connections to it are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// How far away the host is.
    #[must_use]
    pub(crate) fn reach(&self) -> Reach {
        match Host::parse(self.host.strip_suffix('.').unwrap_or(&self.host)) {
            Ok(Host::Ipv4(address)) => reach_of_v4(address),
            Ok(Host::Ipv6(address)) => reach_of_v6(address),
            Ok(Host::Domain(name)) if name == "localhost" || name.ends_with(".localhost") => Reach::Loopback,
            _ => Reach::Remote,
        }
    }

    /// The URL of an absolute path at this origin.
    pub fn url(&self, path: &str) -> Result<Url, OriginError> {
        Url::parse(&format!("{self}{path}")).map_err(|_| OriginError(self.to_string()))
    }
}

fn reach_of_v4(address: Ipv4Addr) -> Reach {
    if address.is_loopback() || address.is_unspecified() {
        Reach::Loopback
    } else if address.is_link_local() {
        Reach::LinkLocal
    } else {
        Reach::Remote
    }
}

fn reach_of_v6(address: Ipv6Addr) -> Reach {
    // `::ffff:127.0.0.1` reaches 127.0.0.1.
    if let Some(mapped) = address.to_ipv4_mapped() {
        reach_of_v4(mapped)
    } else if address.is_loopback() || address.is_unspecified() {
        Reach::Loopback
    } else if address.is_unicast_link_local() {
        Reach::LinkLocal
    } else {
        Reach::Remote
    }
}

impl Origin {
    /// `HOST[:PORT]`, as people write it.
    pub(in super::super) fn host_and_port(&self) -> String {
        let text = self.to_string();
        text.split_once("://").map_or(text.clone(), |(_, rest)| rest.to_owned())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port == self.scheme.default_port() {
            return Ok(());
        }
        write!(formatter, ":{}", self.port)
    }
}

/// A URL that is safe to show: without user, password, fragment and query values.
#[must_use]
pub(crate) fn redacted(url: &Url) -> String {
    let Ok(origin) = Origin::of(url) else {
        return format!("{}:…", url.scheme());
    };
    let names: Vec<String> =
        url.query_pairs().map(|(name, _)| format!("{}=…", name.escape_debug())).collect();
    let query = if names.is_empty() { String::new() } else { format!("?{}", names.join("&")) };
    // Path and names may repeat a secret. (The host is also in the settings.)
    format!("{origin}{}", hide_repeated(&format!("{}{query}", url.path())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&Url::parse(url).unwrap()).unwrap()
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://a.example/x?y#z"), origin("https://A.example:443/"));
        assert_ne!(
            origin("https://a.example./"),
            origin("https://a.example"),
            "it may resolve to another host"
        );
        assert_ne!(origin("https://a.example"), origin("http://a.example"));
        assert_ne!(origin("https://a.example"), origin("https://a.example:8443"));
        assert_ne!(origin("http://a.example:443"), origin("https://a.example"));
        assert_ne!(origin("https://a.example"), origin("https://b.a.example"));
    }

    #[test]
    fn registries_are_named_as_in_references() {
        let hub = Origin::of_registry("docker.io", Scheme::Https).unwrap();
        assert_eq!(hub.to_string(), "https://registry-1.docker.io");
        assert_eq!(Origin::of_registry("index.docker.io", Scheme::Https).unwrap(), hub);
        let local = Origin::of_registry("[::1]:5000", Scheme::Http).unwrap();
        assert_eq!((local.host(), local.port()), ("[::1]", 5000));
        assert_eq!(local.to_string(), "http://[::1]:5000");
        for text in ["", ".", ".?", "a?b", "a#b", "a/b", "user@host", "user:pass@host", "a b", "host:99999"] {
            assert!(Origin::of_registry(text, Scheme::Https).is_err(), "{text}");
        }
        assert!(Origin::of(&Url::parse("ftp://a.example").unwrap()).is_err());
    }

    #[test]
    fn literal_addresses_are_classified() {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "0x7f.1",
            "2130706433",
        ] {
            assert_eq!(origin(&format!("http://{host}:1/")).reach(), Reach::Loopback, "{host}");
        }
        for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.1.1]"] {
            assert_eq!(origin(&format!("http://{host}/")).reach(), Reach::LinkLocal, "{host}");
        }
        for host in ["10.0.0.1", "192.168.1.1", "[fd00::1]", "quay.io", "localhost.example.com", "128.0.0.1"]
        {
            assert_eq!(origin(&format!("http://{host}/")).reach(), Reach::Remote, "{host}");
        }
    }

    #[test]
    fn redacted_urls_hold_no_secrets() {
        let url = Url::parse("https://user:pa55@a.example:8443/token?sig=s3cret&scope=x#frag").unwrap();
        assert_eq!(redacted(&url), "https://a.example:8443/token?sig=…&scope=…");
        assert_eq!(redacted(&Url::parse("data:s3cret").unwrap()), "data:…");
    }

    proptest! {
        #[test]
        fn naming_a_registry_never_panics(text in "\\PC{0,40}") {
            if let Ok(origin) = Origin::of_registry(&text, Scheme::Https) {
                let _ = origin.reach();
                prop_assert_eq!(Origin::of(&origin.url("/v2/").unwrap()).unwrap(), origin);
            }
        }
    }
}
