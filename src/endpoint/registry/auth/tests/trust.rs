//! Which servers receive a credential, and what the errors say.

use std::error::Error as _;

use super::*;
use crate::endpoint::registry::auth::{License, authfile, realm::RealmRefusal};
use crate::problem::Side;

fn license(place: &str) -> License {
    License::from_content("s3cret", "in license.key").unwrap().bound_to(place).unwrap()
}

fn refusal(error: &AuthError) -> RealmRefusal {
    match error {
        AuthError::Realm { refusal, .. } => *refusal,
        other => panic!("expected the realm to be refused: {other}"),
    }
}

#[tokio::test]
async fn without_a_credential_the_token_is_requested_anonymously() {
    let fixture = Fixture::start(no_credential, |_| reply(200, TOKEN)).await;
    assert_eq!(fixture.challenged(&fixture.bearer("")).await.unwrap(), "Bearer t");
    assert_eq!(fixture.server.seen()[0].authorization(), None);
}

#[tokio::test]
async fn without_a_credential_basic_is_denied_with_a_hint() {
    let fixture = Fixture::start(no_credential, |_| reply(200, "")).await;
    let error = fixture.challenged(&headers("Basic")).await.unwrap_err();
    assert!(error.to_string().ends_with("none is configured"), "{error}");
    assert!(error.hint(Side::Source).unwrap().contains("docker login"));
}

#[tokio::test]
async fn a_refused_credential_is_never_followed_by_an_anonymous_attempt() {
    let fixture = Fixture::with_password(|seen| match seen.authorization() {
        Some(_) => reply(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}"#),
        None => reply(200, TOKEN),
    })
    .await;
    let error = fixture.challenged(&fixture.bearer("")).await.unwrap_err();
    assert!(matches!(error, AuthError::Denied(_)));
    let text = error.to_string();
    assert!(text.contains("/token") && text.contains("with --to-username: wrong password"), "{text}");
    assert_eq!(fixture.server.seen().len(), 1);
}

#[tokio::test]
async fn a_credential_that_cannot_be_read_is_never_replaced_by_an_anonymous_attempt() {
    let broken = |credentials: Credentials, registry: &Origin| {
        let host = registry.to_string().replace("http://", "");
        let config = format!(r#"{{"auths":{{"{host}":{{"auth":"s3cret!"}}}}}}"#);
        credentials.with_authfile(authfile::parse(&config, "/h/config.json").unwrap())
    };
    let fixture = Fixture::start(broken, |_| reply(200, TOKEN)).await;
    let error = fixture.challenged(&fixture.bearer("")).await.unwrap_err();
    assert!(matches!(error, AuthError::Credential(_)) && error.to_string().contains("/h/config.json"));
    assert!(fixture.server.seen().is_empty());
}

#[tokio::test]
async fn the_license_goes_to_a_realm_on_the_registrys_own_origin_only() {
    let licensed = |credentials: Credentials, registry: &Origin| {
        credentials.with_license(license(&registry.to_string().replace("http://", "")))
    };
    let fixture = Fixture::start(licensed, |_| reply(200, TOKEN)).await;
    let other = TestServer::start(|_| reply(200, TOKEN)).await;
    let elsewhere = headers(&format!("Bearer realm=\"http://{}/token\"", other.address));
    let error = fixture.challenged(&elsewhere).await.unwrap_err();
    assert_eq!(refusal(&error), RealmRefusal::NotTheLicensedHost);
    assert!(other.seen().is_empty() && fixture.server.seen().is_empty());
    assert_eq!(fixture.challenged(&fixture.bearer("")).await.unwrap(), "Bearer t");
    assert!(fixture.server.seen()[0].authorization().is_some());
}

#[tokio::test]
async fn the_license_is_not_sent_for_another_path() {
    let licensed = |credentials: Credentials, registry: &Origin| {
        credentials.with_license(license(&format!("{}/tea", registry.to_string().replace("http://", ""))))
    };
    let fixture = Fixture::start(licensed, |_| reply(200, TOKEN)).await;
    fixture.challenged(&fixture.bearer("")).await.unwrap();
    assert_eq!(fixture.server.seen()[0].authorization(), None);
}

#[tokio::test]
async fn a_public_registry_cannot_name_a_loopback_realm() {
    let server = TestServer::start(|_| reply(200, TOKEN)).await;
    let authenticator = Authenticator::new(
        Credentials::new(&Environment::default()),
        clients(),
        Arc::default(),
        Duration::from_secs(60),
    );
    let repository: Repository = "registry.example/team/app".parse().unwrap();
    let scopes = [Scope::pull(&repository)];
    for (scheme, realm) in [
        (Scheme::Https, format!("http://{}/token", server.address)),
        (Scheme::Http, format!("http://{}/token", server.address)),
        (Scheme::Https, "https://169.254.169.254/token".to_owned()),
    ] {
        let registry = Origin::of_registry("registry.example", scheme).unwrap();
        let access = Access { registry: &registry, repository: &repository, scopes: &scopes };
        let challenge = headers(&format!("Bearer realm=\"{realm}\""));
        let error = authenticator.challenged(access, &challenge, None).await.unwrap_err();
        assert_eq!(refusal(&error), RealmRefusal::Local);
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_https_registry_cannot_name_an_http_realm() {
    let fixture = Fixture::with_password(|_| reply(200, TOKEN)).await;
    let host = fixture.server.address.to_string();
    let registry = Origin::of_registry(&host, Scheme::Https).unwrap();
    let credentials = password(Credentials::new(&Environment::default()), &registry);
    let authenticator = Authenticator::new(credentials, clients(), Arc::default(), Duration::from_secs(60));
    let access = Access { registry: &registry, repository: &fixture.repository, scopes: &[] };
    let error = authenticator.challenged(access, &fixture.bearer(""), None).await.unwrap_err();
    assert_eq!(refusal(&error), RealmRefusal::PlainHttp);
    assert!(fixture.server.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_target_gets_no_credential_even_if_it_sends_a_challenge() {
    let fixture = Fixture::with_password(|_| reply(200, "")).await;
    let elsewhere = Origin::of_registry("127.0.0.1:1", Scheme::Http).unwrap();
    let access = Access { registry: &elsewhere, ..fixture.access(&[]) };
    let error = fixture.authenticator.challenged(access, &headers("Basic"), None).await.unwrap_err();
    assert!(error.to_string().ends_with("none is configured"), "{error}");
}

#[tokio::test]
async fn a_token_servers_redirect_is_not_followed() {
    let fixture = Fixture::with_password(|_| {
        let mut response = reply(307, "");
        response.headers_mut().insert(http::header::LOCATION, HeaderValue::from_static("/elsewhere"));
        response
    })
    .await;
    let error = fixture.challenged(&fixture.bearer("")).await.unwrap_err();
    assert!(matches!(&error, AuthError::Redirected { status: 307, .. }), "{error}");
    assert_eq!(fixture.server.seen().len(), 1);
}

#[tokio::test]
async fn an_oversized_token_response_is_refused() {
    let fixture =
        Fixture::with_password(|_| reply(200, format!(r#"{{"token":"{}"}}"#, "x".repeat(200_000)))).await;
    let error = fixture.challenged(&fixture.bearer("")).await.unwrap_err();
    assert!(error.to_string().contains("longer than 128 KiB"), "{error}");
}

#[tokio::test]
async fn an_unreachable_token_server_is_named_without_its_query() {
    let fixture = Fixture::with_password(|_| reply(200, TOKEN)).await;
    // Nothing listens on it, and no other process can take it.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let gone = reserved.local_addr().unwrap();
    let challenge = headers(&format!("Bearer realm=\"http://{gone}/token?key=s3cret\""));
    let error = fixture.challenged(&challenge).await.unwrap_err();
    assert!(matches!(error, AuthError::Unreachable { .. }));
    let mut shown = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(next) = cause {
        shown.push_str(&next.to_string());
        cause = next.source();
    }
    assert!(shown.contains("key=…") && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_secret_that_a_server_repeats_is_redacted() {
    let fixture = Fixture::with_password(|seen| {
        let sent = seen.authorization().unwrap_or_default();
        reply(403, format!(r#"{{"message":"me with s3cret as {sent} has no access"}}"#))
    })
    .await;
    let error = fixture.challenged(&fixture.bearer("")).await.unwrap_err();
    let shown = format!("{error} {error:?} {:?}", fixture.authenticator);
    assert!(shown.contains("has no access"), "{shown}");
    assert!(!shown.contains("s3cret") && !shown.contains("bWU6czNjcmV0"), "{shown}");
}

#[tokio::test]
async fn a_partial_grant_ends_as_a_denial_of_repository_and_action() {
    let fixture = Fixture::with_password(|_| reply(200, TOKEN)).await;
    fixture.challenged(&fixture.bearer("")).await.unwrap();
    let scopes = [Scope::push(&fixture.repository)];
    let words = Some("requested access to the resource is denied for s3cret".to_owned());
    let error = fixture.authenticator.denied(fixture.access(&scopes), "push", words).await;
    assert_eq!(
        error.to_string(),
        format!(
            "{} denied push access to {} with --to-username: requested access to the resource is denied for [redacted]",
            fixture.registry, fixture.repository
        )
    );
}
