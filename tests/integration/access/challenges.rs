//! Challenges in a 401, and token servers that must not be contacted.

use super::{LOGIN, authorizations, basic, bearer, challenge, inspect, registry, run, token, token_registry};
use crate::support::{
    images::SampleImage,
    process::Mirror,
    proxy::Proxy,
    scripted::{Action, Scripted},
    tls::{Authority, REMOTE_HOST},
};

#[tokio::test]
async fn unusual_challenges_are_parsed() {
    for form in [
        "Bearer realm=\"URL\",service=\"a, b\",scope=\"repository:team/app:pull\"",
        "bEARER REALM=\"URL\" , SERVICE=\"x\",error=\"insufficient_scope\"",
        "Basic realm=\"x, y\", Bearer realm=\"URL\"",
        "Bearer realm=URL,service=x",
        "Negotiate, Bearer service=\"x\", realm=\"URL\"",
    ] {
        let registry = registry().await;
        let realm = format!("{}/token", registry.address().url());
        registry.demand(&form.replace("URL", &realm), &[&bearer()]);
        registry.on("GET", "/token").answer(token());
        let outcome = run(inspect(&registry), 0).await;
        assert_eq!(authorizations(&registry, "/token"), [Some(basic())], "{form}: {outcome}");
    }
}

#[tokio::test]
async fn a_401_without_a_challenge_requests_v2_once() {
    let registry = token_registry().await;
    registry.on("GET", "/manifests/").then(Action::alter(|mut answer| {
        answer.headers.remove("www-authenticate");
        answer
    }));
    let inspect = inspect(&registry).arg("--plain-http").arg(&registry.address().host_port);
    let _ = run(inspect, 0).await;
    assert_eq!(registry.requests().iter().filter(|request| request.path == "/v2/").count(), 1);
    assert_eq!(registry.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_registry_that_never_sends_a_challenge_is_reported() {
    let registry = registry().await;
    registry.on("GET", "/manifests/").then(Action::error(401, "UNAUTHORIZED"));
    let outcome = run(inspect(&registry), 4).await;
    assert!(outcome.stderr.contains("requires a login but sends no WWW-Authenticate header"), "{outcome}");
}

/// Runs against a registry whose challenge names a realm that must not be contacted.
async fn assert_realm_refused(registry: &Scripted, inspect: Mirror, realm: &str, reason: &str) {
    registry.demand(&format!("Bearer realm=\"{realm}\",service=\"x\""), &[&bearer()]);
    let outcome = run(inspect, 4).await;
    assert!(outcome.stderr.contains("refused the token server"), "{outcome}");
    assert!(outcome.stderr.contains(reason), "{realm}: {outcome}");
    assert!(registry.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn a_foreign_realm_over_http_gets_no_credential() {
    let registry = registry().await;
    let realm = "http://tokens.test/token";
    assert_realm_refused(&registry, inspect(&registry), realm, "plain http on another host").await;
}

#[tokio::test]
async fn an_https_registry_cannot_name_an_http_realm() {
    let (authority, elsewhere) = (Authority::new(), registry().await);
    let registry = Scripted::start_tls(&authority).await;
    registry.with_store(|store| store.insert("team/app", &SampleImage::multi_platform("1")));
    let inspect = inspect(&registry).arg("--ca-cert").arg(authority.certificate_file());
    let realm = format!("{}/token", elsewhere.address().url());
    assert_realm_refused(&registry, inspect, &realm, "the registry itself is reached over https").await;
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_remote_registry_cannot_name_a_realm_on_loopback() {
    let (registry, victim, proxy) = (registry().await, registry().await, Proxy::start().await);
    let remote = registry.address().host_port.replace("127.0.0.1", REMOTE_HOST);
    let inspect = Mirror::new(["inspect", &format!("{remote}/team/app:1"), "--plain-http", &remote])
        .env("DOCKER_AUTH_CONFIG", super::config(&remote).to_string())
        .env("HTTP_PROXY", proxy.url());
    let realm = format!("{}/token", victim.address().url());
    assert_realm_refused(&registry, inspect, &realm, "loopback or link-local").await;
    assert!(victim.requests().is_empty());
}

#[tokio::test]
async fn the_license_is_sent_only_to_a_realm_on_the_registrys_origin() {
    let (registry, elsewhere) = (registry().await, registry().await);
    elsewhere.on("GET", "/token").answer(token());
    registry.demand(&challenge(&elsewhere), &[&bearer()]);
    let host = &registry.address().host_port;
    let image = registry.address().image("team/app", "1");
    let arguments = ["inspect", &image, "--license", "-", "--license-for", host];
    let outcome = run(Mirror::new(arguments).stdin("bGljZW5jZS1zM2NyZXQ="), 4).await;
    assert!(outcome.stderr.contains("sent only to a token server on the registry's own host"), "{outcome}");
    assert!(!outcome.stderr.contains("bGljZW5jZS1zM2NyZXQ"), "{outcome}");
    assert!(elsewhere.requests().is_empty());

    registry.demand(&challenge(&registry), &[&bearer()]);
    registry.on("GET", "/token").answer(token());
    let _ = run(Mirror::new(arguments).stdin("bGljZW5jZS1zM2NyZXQ="), 0).await;
    let sent = super::basic_of(("_json_key_base64", "bGljZW5jZS1zM2NyZXQ="));
    assert_eq!(authorizations(&registry, "/token"), [Some(sent)]);
}

#[tokio::test]
async fn a_token_servers_message_is_shown_without_the_credentials_sent_to_it() {
    let registry = token_registry().await;
    let words = format!("bad login {} {}\u{1b}[2J", LOGIN.1, basic());
    let body = serde_json::json!({ "errors": [{ "code": "DENIED", "message": words }] });
    registry.on("GET", "/token").answer(crate::support::scripted::Answer::json(403, &body));
    let outcome = run(inspect(&registry), 4).await;
    assert!(outcome.stderr.contains("bad login [redacted] Basic [redacted]\\u{1b}[2J"), "{outcome}");
}
