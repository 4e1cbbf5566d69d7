//! Fetching, caching and replacing tokens.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use http::Method;
use secrecy::SecretString;

use super::*;

/// Base64 of `me:s3cret`.
const BASIC: &str = "Basic bWU6czNjcmV0";

/// A new token for every request: `t1`, `t2`, …
fn numbered() -> impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync {
    let count = AtomicUsize::new(0);
    move |_| reply(200, format!(r#"{{"token":"t{}"}}"#, count.fetch_add(1, Ordering::Relaxed) + 1))
}

#[tokio::test]
async fn requests_carry_no_header_until_the_registry_sends_a_challenge() {
    let fixture = Fixture::with_password(|_| reply(200, TOKEN)).await;
    let scopes = [Scope::pull(&fixture.repository)];
    assert!(fixture.authenticator.authorization(fixture.access(&scopes)).await.unwrap().is_none());
    assert!(fixture.server.seen().is_empty());
}

#[tokio::test]
async fn a_password_is_exchanged_once_with_get_and_basic() {
    let fixture = Fixture::with_password(|_| reply(200, TOKEN)).await;
    assert_eq!(fixture.challenged(&fixture.bearer("")).await.unwrap(), "Bearer t");
    let scopes = [Scope::pull(&fixture.repository)];
    let again = fixture.authenticator.authorization(fixture.access(&scopes)).await.unwrap().unwrap();
    assert_eq!(again.to_str().unwrap(), "Bearer t");
    let seen = fixture.server.seen();
    assert_eq!(seen.len(), 1, "the second header came from memory");
    assert_eq!((&seen[0].method, seen[0].path.as_str()), (&Method::GET, "/token"));
    assert_eq!(seen[0].authorization(), Some(BASIC));
    assert_eq!(seen[0].parameters("service"), ["the registry"]);
    assert_eq!(seen[0].parameters("scope"), ["repository:team/app:pull"]);
}

#[tokio::test]
async fn one_authenticator_serves_tasks_on_many_threads() {
    let fixture = Arc::new(Fixture::with_password(numbered()).await);
    let tasks = (0..8).map(|_| {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(async move { fixture.challenged(&fixture.bearer("")).await })
    });
    for token in join_all(tasks).await {
        assert_eq!(token.unwrap().unwrap(), "Bearer t1");
    }
}

#[tokio::test]
async fn the_query_of_a_realm_is_kept() {
    let fixture = Fixture::with_password(|_| reply(200, TOKEN)).await;
    fixture
        .challenged(&headers(&format!("Bearer realm=\"{}/token?tenant=a%2Fb\"", fixture.registry)))
        .await
        .unwrap();
    let seen = fixture.server.seen();
    assert_eq!(seen[0].parameters("tenant"), ["a/b"]);
    assert!(seen[0].parameters("service").is_empty());
}

#[tokio::test]
async fn the_push_scope_comes_first() {
    let fixture = Fixture::with_password(|_| reply(200, TOKEN)).await;
    let from = Scope { repository: "a/first".to_owned(), pull: true, push: false };
    let scopes = [from, Scope::push(&fixture.repository)];
    fixture.authenticator.challenged(fixture.access(&scopes), &fixture.bearer(""), None).await.unwrap();
    assert_eq!(
        fixture.server.seen()[0].parameters("scope"),
        ["repository:team/app:pull,push", "repository:a/first:pull"]
    );
}

#[tokio::test]
async fn the_challenges_scopes_are_requested_without_duplicates() {
    let fixture = Fixture::with_password(|_| reply(200, TOKEN)).await;
    let more = r#",scope="repository:team/app:pull repository:proxied/team/app:pull""#;
    fixture.challenged(&fixture.bearer(more)).await.unwrap();
    assert_eq!(
        fixture.server.seen()[0].parameters("scope"),
        ["repository:team/app:pull", "repository:proxied/team/app:pull"]
    );
}

#[tokio::test]
async fn fifty_concurrent_misses_cause_one_request() {
    let fixture = Fixture::with_password(numbered()).await;
    let challenge = fixture.bearer("");
    let tokens = join_all((0..50).map(|_| fixture.challenged(&challenge))).await;
    assert!(tokens.into_iter().all(|token| token.unwrap() == "Bearer t1"));
    assert_eq!(fixture.server.seen().len(), 1);
}

#[tokio::test]
async fn a_shared_refusal_is_not_cached() {
    let fixture = Fixture::with_password(|_| reply(401, "")).await;
    let challenge = fixture.bearer("");
    let outcomes = join_all((0..50).map(|_| fixture.challenged(&challenge))).await;
    assert!(outcomes.into_iter().all(|outcome| matches!(outcome, Err(AuthError::Denied(_)))));
    assert_eq!(fixture.server.seen().len(), 1);
    fixture.challenged(&challenge).await.unwrap_err();
    assert_eq!(fixture.server.seen().len(), 2);
}

#[tokio::test]
async fn tokens_are_cached_per_repository_and_scope() {
    let fixture = Fixture::with_password(numbered()).await;
    let other = Repository::new(fixture.repository.registry(), "team/other").unwrap();
    let (pull, push) = ([Scope::pull(&fixture.repository)], [Scope::push(&fixture.repository)]);
    let foreign = [Scope::pull(&other)];
    fixture.challenged(&fixture.bearer("")).await.unwrap();
    for (repository, scopes, expected) in [
        (&fixture.repository, &push, "Bearer t2"),
        (&other, &foreign, "Bearer t3"),
        (&fixture.repository, &pull, "Bearer t1"),
        (&fixture.repository, &push, "Bearer t2"),
    ] {
        let access = Access { registry: &fixture.registry, repository, scopes };
        assert_eq!(fixture.authenticator.authorization(access).await.unwrap().unwrap(), expected);
    }
    assert_eq!(fixture.server.seen().len(), 3);
}

#[tokio::test]
async fn a_token_refused_many_times_is_replaced_once() {
    let fixture = Fixture::with_password(numbered()).await;
    let challenge = fixture.bearer("");
    let scopes = [Scope::pull(&fixture.repository)];
    let old = fixture.authenticator.challenged(fixture.access(&scopes), &challenge, None).await.unwrap();
    let again = || fixture.authenticator.challenged(fixture.access(&scopes), &challenge, Some(&old));
    for token in join_all((0..50).map(|_| again())).await {
        assert_eq!(token.unwrap(), "Bearer t2");
    }
    assert_eq!(again().await.unwrap(), "Bearer t2", "a late refusal of the old token changes nothing");
    assert_eq!(fixture.server.seen().len(), 2);
    fixture.authenticator.invalidate(fixture.access(&scopes), &HeaderValue::from_static("Bearer t2"));
    let third = fixture.authenticator.authorization(fixture.access(&scopes)).await.unwrap().unwrap();
    assert_eq!(third, "Bearer t3");
}

#[tokio::test]
async fn access_token_suffices_and_an_expiry_of_zero_has_a_minimum() {
    let fixture = Fixture::with_password(|_| reply(200, r#"{"access_token":"t","expires_in":0}"#)).await;
    let scopes = [Scope::pull(&fixture.repository)];
    assert_eq!(fixture.challenged(&fixture.bearer("")).await.unwrap(), "Bearer t");
    for _ in 0..5 {
        fixture.authenticator.authorization(fixture.access(&scopes)).await.unwrap().unwrap();
    }
    assert_eq!(fixture.server.seen().len(), 1);
}

fn identity(credentials: Credentials, registry: &Origin) -> Credentials {
    let token = Credential::IdentityToken(SecretString::from("refresh/me"));
    credentials.with_explicit(registry.clone(), token, "--to-token")
}

#[tokio::test]
async fn an_identity_token_is_exchanged_with_post() {
    let fixture = Fixture::start(identity, |_| reply(200, r#"{"access_token":"t"}"#)).await;
    assert_eq!(fixture.challenged(&fixture.bearer("")).await.unwrap(), "Bearer t");
    let seen = fixture.server.seen();
    assert_eq!((seen.len(), &seen[0].method), (1, &Method::POST));
    assert!(seen[0].query.is_empty() && seen[0].authorization().is_none());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        seen[0].form(),
        [
            pair("grant_type", "refresh_token"),
            pair("service", "the registry"),
            pair("client_id", "thoras-mirror"),
            pair("scope", "repository:team/app:pull"),
            pair("refresh_token", "refresh/me"),
        ]
    );
}

#[tokio::test]
async fn servers_without_post_are_queried_with_get() {
    for status in [400, 401, 404, 405] {
        let fixture = Fixture::start(identity, move |seen| match seen.method {
            Method::POST => reply(status, ""),
            _ => reply(200, TOKEN),
        })
        .await;
        assert_eq!(fixture.challenged(&fixture.bearer("")).await.unwrap(), "Bearer t", "{status}");
        let seen = fixture.server.seen();
        assert_eq!((seen.len(), &seen[1].method), (2, &Method::GET));
        assert!(seen[1].authorization().unwrap().starts_with("Basic "));
    }
    let fixture = Fixture::start(identity, |_| reply(403, "")).await;
    assert!(matches!(fixture.challenged(&fixture.bearer("")).await, Err(AuthError::Denied(_))));
    assert_eq!(fixture.server.seen().len(), 1, "a plain refusal is one");
}

#[tokio::test]
async fn a_401_without_a_challenge_requests_v2_once() {
    let address = Arc::new(std::sync::OnceLock::<Origin>::new());
    let known = Arc::clone(&address);
    let fixture = Fixture::with_password(move |seen| {
        if seen.path != "/v2/" {
            return reply(200, TOKEN);
        }
        assert!(seen.authorization().is_none());
        let mut response = reply(401, "");
        let challenge =
            format!(r#"Bearer realm="{}/token",scope="registry:catalog:*""#, known.get().unwrap());
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_str(&challenge).unwrap());
        response
    })
    .await;
    address.set(fixture.registry.clone()).unwrap();
    let none = HeaderMap::new();
    for token in join_all((0..20).map(|_| fixture.challenged(&none))).await {
        assert_eq!(token.unwrap(), "Bearer t");
    }
    fixture.challenged(&none).await.unwrap();
    let seen = fixture.server.seen();
    let paths: Vec<&str> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/v2/", "/token"]);
    assert_eq!(seen[1].parameters("scope"), ["repository:team/app:pull"]);
}

#[tokio::test]
async fn a_registry_that_never_sends_a_challenge_is_named() {
    let fixture = Fixture::with_password(|_| reply(401, "")).await;
    for _ in 0..2 {
        let error = fixture.challenged(&HeaderMap::new()).await.unwrap_err();
        assert!(matches!(error, AuthError::NoChallenge { .. }), "{error}");
    }
    assert_eq!(fixture.server.seen().len(), 1, "/v2/ is asked once");
}

#[tokio::test]
async fn basic_is_answered_with_the_credential_and_a_second_refusal_is_final() {
    let fixture = Fixture::with_password(|_| reply(200, "")).await;
    let challenge = headers(r#"Basic realm="x""#);
    assert_eq!(fixture.challenged(&challenge).await.unwrap(), BASIC);
    let scopes = [Scope::push(&fixture.repository)];
    let sent = fixture.authenticator.authorization(fixture.access(&scopes)).await.unwrap().unwrap();
    assert_eq!(sent, BASIC);
    let error =
        fixture.authenticator.challenged(fixture.access(&scopes), &challenge, Some(&sent)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("denied push access to") && text.contains("with --to-username"), "{text}");
    assert!(fixture.server.seen().is_empty());
}

#[tokio::test]
async fn a_temporary_failure_of_the_token_server_is_retried() {
    let count = AtomicUsize::new(0);
    let fixture = Fixture::with_password(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => reply(503, ""),
        _ => reply(200, TOKEN),
    })
    .await;
    assert_eq!(fixture.challenged(&fixture.bearer("")).await.unwrap(), "Bearer t");
    assert_eq!(fixture.server.seen().len(), 2);
}
