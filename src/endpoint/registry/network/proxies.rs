//! Which proxy, if any, is used for a registry: the variables that curl and Go programs honor.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; upper case takes precedence. As in every container tool
//! written in Go, loopback addresses bypass the proxy, and an entry of `NO_PROXY` may name a port. [`Matcher`]
//! implements the other rules of `NO_PROXY`.

use std::{fmt, io};

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::super::{
    auth::{Origin, Reach, Scheme},
    error::RegistryError,
};

/// Never contacted: only tests whether a proxy would be used.
const SOME_PROXY: &str = "http://proxy.invalid";

/// In bytes.
const MAX_STATUS_LINE_LENGTH: u64 = 1024;

/// The proxy variables of the environment. [`Default`] has none set.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Variable>,
    https: Option<Variable>,
    /// `NO_PROXY`.
    exceptions: String,
}

/// A proxy variable. Its value may hold a password.
#[derive(Debug, Clone)]
struct Variable {
    name: String,
    value: SecretString,
}

/// A proxy for a registry.
#[derive(Clone)]
pub(crate) struct Route {
    /// The proxy's address, without user and password.
    address: Uri,
    /// `Proxy-Authorization`, marked as sensitive.
    authorization: Option<HeaderValue>,
    variable: String,
}

impl Proxies {
    /// Reads the environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        // A value that is not UTF-8 is not a URL: it is refused, not ignored.
        Self::of(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// Reads each variable with `variable`. An empty variable counts as unset.
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()].into_iter().find_map(|name| {
                let value = variable(&name).filter(|value| !value.trim().is_empty())?;
                Some(Variable { name, value: SecretString::from(value.trim()) })
            })
        };
        let all = first("ALL_PROXY");
        Self {
            http: first("HTTP_PROXY").or_else(|| all.clone()),
            https: first("HTTPS_PROXY").or(all),
            exceptions: first("NO_PROXY")
                .map(|found| found.value.expose_secret().to_owned())
                .unwrap_or_default(),
        }
    }

    /// The proxy for an origin; `None` for a direct connection. An invalid variable is an error only if it would be
    /// used.
    pub(super) fn route(&self, origin: &Origin) -> Result<Option<Route>, RegistryError> {
        let variable = match origin.scheme() {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        let Some(variable) = variable.as_ref().filter(|_| origin.reach() != Reach::Loopback) else {
            return Ok(None);
        };
        let refused = || {
            RegistryError::Settings(format!(
                "{} is not the URL of an http or https proxy, for example http://proxy.example.com:3128",
                variable.name
            ))
        };
        let target = origin.to_string().parse::<Uri>().map_err(|_| refused())?;
        let exceptions = exceptions_for(&self.exceptions, origin.port());
        let intercept =
            |proxy: &str| Matcher::builder().all(proxy).no(exceptions.as_str()).build().intercept(&target);
        if intercept(SOME_PROXY).is_none() {
            return Ok(None);
        }
        let found = intercept(variable.value.expose_secret()).ok_or_else(refused)?;
        if !matches!(found.uri().scheme_str(), Some("http" | "https")) {
            return Err(refused());
        }
        Ok(Some(Route {
            address: found.uri().clone(),
            authorization: found.basic_auth().cloned(),
            variable: variable.name.clone(),
        }))
    }
}

/// The exceptions for a port: `HOST:PORT` becomes `HOST` on that port and is dropped on any other.
fn exceptions_for(exceptions: &str, port: u16) -> String {
    let holds = |entry: &str| match entry.rsplit_once(':') {
        // More than one colon outside brackets is an IPv6 address without a port.
        Some((host, own)) if !host.contains(':') || host.ends_with(']') => {
            (own.parse() == Ok(port)).then(|| host.to_owned())
        }
        _ => Some(entry.to_owned()),
    };
    let kept = exceptions.split(',').map(str::trim).filter_map(holds);
    // The matcher expects addresses without brackets.
    kept.map(|entry| entry.trim_matches(['[', ']']).to_owned()).collect::<Vec<_>>().join(",")
}

impl Route {
    /// The proxy for the HTTP client.
    pub(super) fn proxy(&self) -> reqwest::Result<reqwest::Proxy> {
        let proxy = reqwest::Proxy::all(self.address.to_string())?;
        Ok(match &self.authorization {
            Some(header) => proxy.custom_http_auth(header.clone()),
            None => proxy,
        })
    }

    /// The proxy's status for `CONNECT`, which decides about a retry and which the HTTP client does not report. Not
    /// available for a proxy over TLS.
    pub(super) async fn status(&self, target: &Origin) -> io::Result<u16> {
        let unreadable = || io::Error::other("no status");
        let host = self.address.host().filter(|_| !self.is_https()).ok_or_else(unreadable)?;
        let port = self.address.port_u16().unwrap_or(80);
        let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        let target = format!("{}:{}", target.host(), target.port());
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        let mut line = Vec::new();
        BufReader::new(stream).take(MAX_STATUS_LINE_LENGTH).read_until(b'\n', &mut line).await?;
        let line = String::from_utf8_lossy(&line);
        line.split_whitespace().nth(1).and_then(|status| status.parse().ok()).ok_or_else(unreadable)
    }

    /// Whether the proxy itself is reached over TLS.
    pub(super) fn is_https(&self) -> bool {
        self.address.scheme_str() == Some("https")
    }
}

/// `http://proxy.example.com:3128 (HTTPS_PROXY)`: never user or password.
impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        write!(formatter, "{} ({})", address.trim_end_matches('/').escape_debug(), self.variable)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn route(variables: &[(&str, &str)], registry: &str, scheme: Scheme) -> Option<String> {
        let origin = Origin::of_registry(registry, scheme).unwrap();
        proxies(variables).route(&origin).unwrap().map(|route| route.to_string())
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_is_the_last_resort() {
        let variables = [
            ("https_proxy", "lower:1"),
            ("HTTPS_PROXY", "http://upper:2/path"),
            ("ALL_PROXY", "http://all:3"),
            ("HTTP_PROXY", ""),
        ];
        assert_eq!(
            route(&variables, "quay.io", Scheme::Https).unwrap(),
            "http://upper:2 (HTTPS_PROXY)",
            "upper case comes first, as in Go"
        );
        assert_eq!(route(&variables, "quay.io", Scheme::Http).unwrap(), "http://all:3 (ALL_PROXY)");
        assert_eq!(
            route(&variables[..1], "quay.io", Scheme::Https).unwrap(),
            "http://lower:1 (https_proxy)",
            "a host alone is an http proxy"
        );
        assert_eq!(route(&[], "quay.io", Scheme::Https), None);
    }

    #[test]
    fn loopback_addresses_bypass_the_proxy() {
        let variables = [("ALL_PROXY", "http://proxy:1")];
        for registry in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
            assert_eq!(route(&variables, registry, Scheme::Http), None, "{registry}");
        }
        assert!(route(&variables, "10.0.0.1:5000", Scheme::Http).is_some());
    }

    #[test]
    fn exceptions_name_hosts_domains_networks_and_ports() {
        let exceptions = "a.example, .b.example,10.0.0.0/8, c.example:5000,[fd00::1]:5000,fd00::2";
        let direct = |registry: &str| {
            let variables = [("HTTPS_PROXY", "http://proxy:1"), ("NO_PROXY", exceptions)];
            route(&variables, registry, Scheme::Https).is_none()
        };
        for registry in [
            "a.example",
            "sub.a.example:8443",
            "x.b.example",
            "10.1.2.3:5000",
            "c.example:5000",
            "[fd00::1]:5000",
            "[fd00::2]:1",
        ] {
            assert!(direct(registry), "{registry}");
        }
        for registry in ["nota.example", "c.example", "c.example:5001", "11.0.0.1", "[fd00::1]:5001"] {
            assert!(!direct(registry), "{registry}");
        }
        let all = [("HTTPS_PROXY", "http://proxy:1"), ("NO_PROXY", "*")];
        assert_eq!(route(&all, "quay.io", Scheme::Https), None);
    }

    #[test]
    fn an_invalid_proxy_is_an_error_only_where_it_would_be_used() {
        let quay = Origin::of_registry("quay.io", Scheme::Https).unwrap();
        for value in ["socks5://proxy:1080", "://", "ftp://u:s3cret@proxy", "http://"] {
            let error = proxies(&[("HTTPS_PROXY", value)]).route(&quay).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY is not"), "{value}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
            let excepted = proxies(&[("HTTPS_PROXY", value), ("NO_PROXY", "quay.io")]);
            assert!(excepted.route(&quay).unwrap().is_none());
        }
    }

    #[test]
    fn a_proxys_password_is_sent_and_never_shown() {
        let quay = Origin::of_registry("quay.io", Scheme::Https).unwrap();
        let proxies = proxies(&[("HTTPS_PROXY", "http://me:s3%40cret@proxy:1")]);
        let route = proxies.route(&quay).unwrap().unwrap();
        assert_eq!(route.authorization.as_ref().unwrap(), "Basic bWU6czNAY3JldA==");
        let shown = format!("{route} {route:?} {proxies:?}");
        assert!(
            shown.contains("http://proxy:1")
                && !shown.contains("@cret")
                && !shown.contains("%40")
                && !shown.contains("bWU6"),
            "{shown}"
        );
    }
}
