//! Translates the errors of the HTTP client, of TLS and of proxies into [`RegistryError`]: the only code that knows
//! how those libraries report errors. It looks at types, except for [`says_not_http`].

use std::error::Error;

use http::Uri;
use hyper_util::client::legacy::connect::{HttpConnector, proxy::Tunnel};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, InvalidMessage};
use tower_service::Service;

use super::{
    connection_problem::{CertificateProblem, ConnectionProblem},
    error::RegistryError,
    limits,
    message_text::says_not_http,
    network::names::UnresolvedName,
};
use crate::error::escape;

/// hyper-util does not export the type of a tunnel's errors under a name, only as this.
type TunnelError = <Tunnel<HttpConnector> as Service<Uri>>::Error;

/// Why a request failed. Without the URL, which may be signed.
pub(super) fn translate(error: &reqwest::Error) -> RegistryError {
    let reason = innermost(error);
    if find::<rustls::Error>(error).is_some_and(|error| {
        matches!(error, rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType))
    }) {
        return RegistryError::NotTls;
    }
    if matches!(find(error), Some(TunnelError::ProxyAuthRequired)) {
        return RegistryError::ProxyRefused(407);
    }
    // In TLS 1.3, a server that requires a client certificate reports that only after the handshake.
    let is_alert = matches!(find(error), Some(rustls::Error::AlertReceived(_)));
    if error.is_connect() || is_alert {
        RegistryError::Unreachable { problem: connection_problem(error), reason }
    } else if error.is_timeout() {
        RegistryError::Stalled(limits::STALL_TIMEOUT)
    } else if find::<hyper::Error>(error).is_some_and(says_not_http) {
        RegistryError::NotHttp(reason)
    } else {
        RegistryError::Broken(in_words(error).map_or(reason, str::to_owned))
    }
}

/// What the HTTP library says in its own terms, in words for people.
fn in_words(error: &reqwest::Error) -> Option<&'static str> {
    let error = find::<hyper::Error>(error)?;
    if error.is_incomplete_message() {
        Some("the server closed it before its response was complete")
    } else if error.is_parse() {
        Some("the response is not valid HTTP")
    } else {
        None
    }
}

/// Whether a proxy answered `CONNECT` with neither success nor 407. The library does not expose the status.
pub(super) fn is_refused_tunnel(error: &reqwest::Error) -> bool {
    matches!(find(error), Some(TunnelError::TunnelUnsuccessful))
}

/// Whether the response could not be parsed as HTTP.
pub(super) fn is_unreadable(error: &reqwest::Error) -> bool {
    find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse)
}

/// The innermost cause of an error: the outer ones of an HTTP stack only say that something failed. It contains no URL
/// and no header.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let innermost = sources(error).last().unwrap_or(error);
    escape(&innermost.to_string())
}

fn connection_problem(error: &reqwest::Error) -> ConnectionProblem {
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(error)) => {
            ConnectionProblem::Certificate(certificate_problem(error))
        }
        Some(rustls::Error::AlertReceived(alert)) if is_about_our_certificate(*alert) => {
            ConnectionProblem::ClientCertificate
        }
        _ if find::<TunnelError>(error).is_some() => ConnectionProblem::Tunnel,
        _ if find::<UnresolvedName>(error).is_some() => ConnectionProblem::UnknownHost,
        _ if error.is_timeout() => ConnectionProblem::TimedOut,
        _ => ConnectionProblem::Other,
    }
}

fn certificate_problem(error: &CertificateError) -> CertificateProblem {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateProblem::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateProblem::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateProblem::WrongName
        }
        // A bad signature: a different authority with the same name is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            CertificateProblem::UnknownAuthority
        }
        CertificateError::Other(other) => match find::<webpki::Error>(&*other.0) {
            Some(webpki::Error::CaUsedAsEndEntity) => CertificateProblem::IsAuthority,
            _ => CertificateProblem::Other,
        },
        _ => CertificateProblem::Other,
    }
}

/// Whether a server's alert concerns our client certificate or its absence.
fn is_about_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
    )
}

/// The first error of this type: the error itself, or one of its causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    sources(error).find_map(|error| error.downcast_ref())
}

/// An error and its causes, outermost first. `io::Error` does not expose its inner error as `source`, so it is
/// unwrapped here.
fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(within) => Some(within),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), |error| within(*error))
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc, time::Duration};

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
    use reqwest::{Certificate, Client, ClientBuilder, Proxy};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket, TcpStream},
    };
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{
            RootCertStore, ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivatePkcs8KeyDer,
            server::WebPkiClientVerifier,
        },
    };

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn client_that_trusts(authority: &Authority) -> ClientBuilder {
        let certificate = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        Client::builder().no_proxy().tls_certs_only([certificate])
    }

    /// A server configuration with a certificate for 127.0.0.1, modified by `change`.
    fn server(
        authority: &Authority,
        change: impl FnOnce(&mut CertificateParams),
        requires_client: bool,
    ) -> TlsAcceptor {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = if requires_client {
            config.with_client_cert_verifier(verifier)
        } else {
            config.with_no_client_auth()
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap()))
    }

    /// Listens on a free port and handles each connection with `handle`. Returns `127.0.0.1:PORT`.
    async fn listen<F: Future<Output = ()> + Send + 'static>(
        handle: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handle(stream));
            }
        });
        address
    }

    async fn listen_tls(acceptor: TlsAcceptor) -> String {
        listen(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await
    }

    /// A server that reads one request and answers with these bytes.
    async fn listen_plain(answer: &'static str) -> String {
        listen(move |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        })
        .await
    }

    async fn get(client: ClientBuilder, url: String) -> reqwest::Error {
        client.build().unwrap().get(url).send().await.unwrap_err()
    }

    fn problem_of(error: &RegistryError) -> ConnectionProblem {
        let RegistryError::Unreachable { problem, .. } = error else { panic!("{error:?}") };
        *problem
    }

    #[tokio::test]
    async fn certificate_problems_are_classified() {
        let (authority, stranger, namesake) = (authority("a"), authority("b"), authority("a"));
        let valid = |_: &mut CertificateParams| ();
        for (acceptor, client, expected) in [
            (
                server(&authority, |params| params.not_after = date_time_ymd(2002, 1, 1), false),
                client_that_trusts(&authority),
                CertificateProblem::Expired,
            ),
            (
                server(&authority, |params| params.not_before = date_time_ymd(4000, 1, 1), false),
                client_that_trusts(&authority),
                CertificateProblem::NotYetValid,
            ),
            (
                server(
                    &authority,
                    |params| *params = CertificateParams::new(["other.example".to_owned()]).unwrap(),
                    false,
                ),
                client_that_trusts(&authority),
                CertificateProblem::WrongName,
            ),
            (
                server(&authority, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), false),
                client_that_trusts(&authority),
                CertificateProblem::IsAuthority,
            ),
            (
                server(&authority, valid, false),
                client_that_trusts(&stranger),
                CertificateProblem::UnknownAuthority,
            ),
            (
                server(&authority, valid, false),
                client_that_trusts(&namesake),
                CertificateProblem::UnknownAuthority,
            ),
        ] {
            let url = format!("https://{}/", listen_tls(acceptor).await);
            let error = translate(&get(client, url).await);
            assert_eq!(problem_of(&error), ConnectionProblem::Certificate(expected), "{error}");
        }
        let good = listen_tls(server(&authority, valid, false)).await;
        let client = client_that_trusts(&authority).build().unwrap();
        client.get(format!("https://{good}/")).send().await.unwrap();
    }

    #[tokio::test]
    async fn a_required_client_certificate_is_classified() {
        let authority = authority("a");
        let address = listen_tls(server(&authority, |_| (), true)).await;
        let error = translate(&get(client_that_trusts(&authority), format!("https://{address}/")).await);
        assert_eq!(problem_of(&error), ConnectionProblem::ClientCertificate, "{error}");
    }

    #[tokio::test]
    async fn the_other_scheme_is_recognized() {
        let authority = authority("a");
        let plain = listen_plain("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        let error = translate(&get(client_that_trusts(&authority), format!("https://{plain}/")).await);
        assert!(matches!(error, RegistryError::NotTls), "{error:?}");
        let encrypted = listen_tls(server(&authority, |_| (), false)).await;
        let error = get(Client::builder().no_proxy(), format!("http://{encrypted}/")).await;
        assert!(is_unreadable(&error));
        assert!(matches!(translate(&error), RegistryError::NotHttp(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_proxys_refusal_is_classified() {
        let through = |proxy: String| {
            Client::builder().tls_certs_only([]).proxy(Proxy::all(format!("http://{proxy}")).unwrap())
        };
        let url = || "https://reg.example/".to_owned();
        let denying = listen_plain("HTTP/1.1 403 Forbidden\r\n\r\n").await;
        let error = get(through(denying), url()).await;
        assert!(is_refused_tunnel(&error), "{error:?}");
        assert_eq!(problem_of(&translate(&error)), ConnectionProblem::Tunnel);
        let asking = listen_plain("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let error = get(through(asking), url()).await;
        assert!(!is_refused_tunnel(&error));
        assert!(matches!(translate(&error), RegistryError::ProxyRefused(407)), "{error:?}");
        let (closed, _reserved) = closed_port();
        let error = translate(&get(through(closed.to_string()), url()).await);
        assert_eq!(problem_of(&error), ConnectionProblem::Tunnel, "{error}");
    }

    #[tokio::test]
    async fn a_failed_lookup_is_recognized_and_has_a_hint_of_its_own() {
        let client =
            || Client::builder().no_proxy().dns_resolver(Arc::new(super::super::network::SystemResolver));
        let error = translate(&get(client(), "http://no-such-host.invalid/".to_owned()).await);
        assert_eq!(problem_of(&error), ConnectionProblem::UnknownHost, "{error}");
        let location = crate::endpoint::Location::new(
            crate::endpoint::Operation::Connect,
            crate::problem::Side::Source,
            "no-such-host.invalid:5000",
        );
        let hint = crate::endpoint::EndpointError::remedy(&error, &location).unwrap();
        assert!(hint.contains("DNS") && hint.contains("getent hosts no-such-host.invalid`"), "{hint}");
    }

    /// A port on which nothing listens. No other process can take it while the socket lives.
    fn closed_port() -> (SocketAddr, TcpSocket) {
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
        (reserved.local_addr().unwrap(), reserved)
    }

    #[tokio::test]
    async fn other_connection_failures_are_classified() {
        let client = || Client::builder().no_proxy();
        let (closed, _reserved) = closed_port();
        let error = translate(&get(client(), format!("http://{closed}/")).await);
        assert_eq!(problem_of(&error), ConnectionProblem::Other, "{error}");
        let error = get(client(), format!("http://{}/", listen_plain("").await)).await;
        let translated = translate(&error);
        assert!(matches!(&translated, RegistryError::Broken(_)), "{error:?}");
        assert!(translated.to_string().ends_with("the server closed it before its response was complete"));
        let error =
            get(client(), format!("http://{}/", listen_plain("HTTP/1.1 200 OK\r\n : x\r\n\r\n").await)).await;
        assert!(is_unreadable(&error) && matches!(translate(&error), RegistryError::Broken(_)), "{error:?}");
        let silent = listen(|stream| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(stream);
        })
        .await;
        let error = get(client().timeout(Duration::from_millis(50)), format!("http://{silent}/")).await;
        assert!(matches!(translate(&error), RegistryError::Stalled(_)), "{error:?}");
    }
}
