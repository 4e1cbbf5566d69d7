//! The public interface of the module against a scripted registry and token server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::WWW_AUTHENTICATE};
use http_body_util::Full;
use reqwest::{Client, redirect::Policy};

use super::{
    Access, AuthError, Authenticator, Credential, Credentials, Environment, Origin, Scheme, Scope,
    authenticator::Clients,
    test_server::{Seen, TestServer, reply},
};
use crate::oci::Repository;

mod tokens;
mod trust;

const TOKEN: &str = r#"{"token":"t","expires_in":300}"#;

/// A registry at a loopback address that names itself as the token server.
struct Fixture {
    server: TestServer,
    registry: Origin,
    repository: Repository,
    authenticator: Authenticator,
}

impl Fixture {
    /// `credentials` receives the registry.
    async fn start(
        credentials: impl FnOnce(Credentials, &Origin) -> Credentials,
        answer: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let server = TestServer::start(answer).await;
        let host = server.address.to_string();
        let registry = Origin::of_registry(&host, Scheme::Http).unwrap();
        let repository = Repository::new(&host, "team/app").unwrap();
        let credentials = credentials(Credentials::new(&Environment::default()), &registry);
        Self {
            server,
            registry,
            repository,
            authenticator: Authenticator::new(
                credentials,
                clients(),
                Arc::default(),
                Duration::from_secs(60),
            ),
        }
    }

    async fn with_password(answer: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Self::start(password, answer).await
    }

    fn bearer(&self, more: &str) -> HeaderMap {
        headers(&format!(r#"Bearer realm="{}/token",service="the registry"{more}"#, self.registry))
    }

    /// Handles the 401 of a request without a header and returns the header for the retry.
    async fn challenged(&self, headers: &HeaderMap) -> Result<String, AuthError> {
        let scopes = [Scope::pull(&self.repository)];
        let header = self.authenticator.challenged(self.access(&scopes), headers, None).await?;
        assert!(header.is_sensitive());
        Ok(header.to_str().unwrap().to_owned())
    }

    fn access<'a>(&'a self, scopes: &'a [Scope]) -> Access<'a> {
        Access { registry: &self.registry, repository: &self.repository, scopes }
    }
}

fn password(credentials: Credentials, registry: &Origin) -> Credentials {
    credentials.with_explicit(registry.clone(), Credential::basic("me", "s3cret"), "--to-username")
}

fn no_credential(credentials: Credentials, _: &Origin) -> Credentials {
    credentials
}

fn headers(challenge: &str) -> HeaderMap {
    HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_str(challenge).unwrap())])
}

fn clients() -> Clients {
    let client = Client::builder().redirect(Policy::none()).referer(false).no_proxy().build().unwrap();
    Arc::new(move |_| Ok(client.clone()))
}
