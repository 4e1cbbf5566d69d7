//! Proxies: the variables that curl and Go programs honor, with a real forward proxy.

use http::Method;

use crate::support::{
    Address,
    images::SampleImage,
    process::Mirror,
    proxy::Proxy,
    registry::Registry,
    scripted::Scripted,
    secrets,
    tls::{Authority, REMOTE_HOST},
};

const LOGIN: (&str, &str) = ("me", "pr0xy-s3cret");

/// A registry's name that only the proxy can resolve.
fn remote(address: &Address) -> String {
    address.host_port.replace("127.0.0.1", REMOTE_HOST)
}

async fn registry(authority: Option<&Authority>) -> Scripted {
    let registry = match authority {
        Some(authority) => Scripted::start_tls(authority).await,
        None => Scripted::start().await,
    };
    registry.with_store(|store| store.insert("team/app", &SampleImage::multi_platform("1")));
    registry
}

#[tokio::test]
async fn https_uses_a_tunnel_and_loopback_is_reached_directly() {
    let authority = Authority::new();
    let (source, mirror) = (registry(Some(&authority)).await, Registry::start().await);
    let proxy = Proxy::start_with_login(LOGIN.0, LOGIN.1).await;
    let from = remote(source.address());
    let ca = authority.certificate_file();
    let arguments =
        ["sync", &format!("{from}/team/app:1"), "--to", &mirror.address().host_port, "-v", "--ca-cert"];
    let run = Mirror::new(arguments)
        .arg(ca)
        .env("HTTPS_PROXY", proxy.url_with(LOGIN.0, LOGIN.1))
        .env("HTTP_PROXY", proxy.url_with(LOGIN.0, LOGIN.1));
    let outcome = run.run().await.expect_success();
    secrets::assert_hidden(&outcome, &[LOGIN]);
    let asked = proxy.requests();
    assert!(!asked.is_empty());
    for request in asked {
        assert_eq!((request.method, request.target), (Method::CONNECT, from.clone()));
        assert_eq!(request.authorization.as_deref(), Some("Basic bWU6cHIweHktczNjcmV0"));
    }
    assert!(source.requests().iter().all(|request| request.header("proxy-authorization").is_none()));
    assert_eq!(mirror.count("PUT", "/manifests/1").await, 1);
}

#[tokio::test]
async fn plain_http_requests_are_forwarded_by_the_proxy() {
    let source = registry(None).await;
    let proxy = Proxy::start_with_login(LOGIN.0, LOGIN.1).await;
    let from = remote(source.address());
    let run = Mirror::new(["inspect", &format!("{from}/team/app:1"), "--plain-http", &from])
        .env("ALL_PROXY", proxy.url_with(LOGIN.0, LOGIN.1));
    secrets::assert_hidden(&run.run().await.expect_success(), &[LOGIN]);
    let asked = proxy.requests();
    assert_eq!(asked[0].target, format!("http://{from}/v2/team/app/manifests/1"));
    assert_eq!(asked.len(), source.requests().len());
    assert!(asked.iter().all(|request| request.authorization.is_some()));
}

#[tokio::test]
async fn a_no_proxy_entry_with_the_registrys_port_is_honored() {
    let source = registry(None).await;
    let proxy = Proxy::start().await;
    let from = remote(source.address());
    let inspect = |exceptions: &str| {
        Mirror::new(["inspect", &format!("{from}/team/app:1"), "--plain-http", &from])
            .env("http_proxy", proxy.url())
            .env("no_proxy", exceptions)
            .run()
    };
    // Without the proxy, the name does not resolve.
    let _ = inspect(&from).await.expect_code(1);
    assert!(proxy.requests().is_empty());
    let _ = inspect(&format!("{REMOTE_HOST}:1,other.test")).await.expect_success();
    assert!(!proxy.requests().is_empty());
}

#[tokio::test]
async fn a_refusing_proxy_is_named_without_its_password() {
    let authority = Authority::new();
    let source = registry(Some(&authority)).await;
    let proxy = Proxy::start_with_login("someone", "else").await;
    let run = Mirror::new(["inspect", &format!("{}/team/app:1", remote(source.address()))])
        .env("HTTPS_PROXY", proxy.url_with(LOGIN.0, LOGIN.1));
    let outcome = run.run().await.expect_code(1);
    let said = "the proxy answered 407 Proxy Authentication Required to CONNECT\nhint: set the proxy's login in \
                HTTPS_PROXY";
    assert!(outcome.stderr.contains(said), "{outcome}");
    secrets::assert_hidden(&outcome, &[LOGIN]);
    assert!(source.requests().is_empty());
    assert_eq!(proxy.requests().len(), 1, "a password that is wrong stays wrong");
}

/// Every attempt makes two requests: the HTTP client does not report the status of a tunnel, so a second request asks
/// for it.
#[tokio::test]
async fn a_proxys_403_is_not_retried_and_its_503_is() {
    for (status, attempts, message) in [
        (403, 1, "the proxy answered 403 Forbidden to CONNECT"),
        (503, 5, "503 Service Unavailable to CONNECT"),
    ] {
        let proxy = Proxy::start_refusing(status).await;
        let run = Mirror::new(["inspect", &format!("{REMOTE_HOST}/team/app:1")])
            .env("HTTPS_PROXY", proxy.url_with(LOGIN.0, LOGIN.1));
        let outcome = run.run().await.expect_code(1);
        assert!(outcome.stderr.contains(message), "{outcome}");
        assert!(outcome.stderr.contains("hint: allow registry.test at the proxy, or bypass "), "{outcome}");
        secrets::assert_hidden(&outcome, &[LOGIN]);
        assert_eq!(proxy.requests().len(), 2 * attempts, "{outcome}");
        assert!(proxy.requests().iter().all(|request| request.target == format!("{REMOTE_HOST}:443")));
    }
}

#[tokio::test]
async fn an_unusable_proxy_is_a_usage_error_only_if_it_would_be_used() {
    let value = format!("socks5://{}:{}@127.0.0.1:1080", LOGIN.0, LOGIN.1);
    let run = Mirror::new(["inspect", "registry.test/team/app:1"]).env("HTTPS_PROXY", &value);
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("HTTPS_PROXY is not the URL of an http or https proxy"), "{outcome}");
    secrets::assert_hidden(&outcome, &[LOGIN]);

    let source = registry(None).await;
    let run = Mirror::new(["inspect", &source.address().image("team/app", "1")]).env("ALL_PROXY", value);
    let _ = run.run().await.expect_success();
}
