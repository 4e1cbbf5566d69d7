//! Token servers that are overloaded, unreachable or not token servers at all: they are treated as registries are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{TOKEN, challenge, inspect, registry, run, token, token_registry};
use crate::support::{
    ClosedPort,
    images::SampleImage,
    process::Mirror,
    registry::Registry,
    scripted::{Action, Answer, Scripted},
};

#[tokio::test]
async fn an_overloaded_token_server_is_waited_for() {
    for refusal in [
        Answer::status(429),
        Answer::error(503, "UNAVAILABLE"),
        Answer::error(400, "ThrottlingException"),
        Answer::error(429, "TOOMANYREQUESTS").header("retry-after", "1"),
        Answer::status(502),
    ] {
        let registry = token_registry().await;
        registry.on("GET", "/token").first(3).answer(refusal.clone());
        let _ = run(inspect(&registry), 0).await;
        assert_eq!(registry.count("GET", "/token"), 4, "{refusal:?}");
    }
}

#[tokio::test]
async fn a_token_server_that_is_down_is_not_a_refused_login() {
    for (status, expected) in [(503, "503 Service Unavailable"), (429, "429 Too Many Requests")] {
        let registry = token_registry().await;
        registry.on("GET", "/token").answer(Answer::status(status));
        let outcome = run(inspect(&registry), 1).await;
        let expected = format!("/token answered {expected}, tried 5 times in ");
        assert!(outcome.stderr.contains(&expected), "{outcome}");
        assert!(!outcome.stderr.contains("refused") && !outcome.stderr.contains("denied"), "{outcome}");
        assert_eq!(registry.count("GET", "/token"), 5);
    }
}

#[tokio::test]
async fn a_token_server_that_stalls_has_the_stall_timeout_bug() {
    let registry = token_registry().await;
    registry.on("GET", "/token").then(Action::Stall);
    let run = inspect(&registry).arguments(["--stall-timeout", "1", "--retries", "1"]);
    let outcome = run.run().await.expect_code(1);
    assert_eq!(registry.count("GET", "/token"), 2);
    assert!(outcome.stderr.contains("no data arrived for 1 s"), "{outcome}");
    assert!(outcome.stderr.contains("raise --stall-timeout SECONDS"), "{outcome}");
}

#[tokio::test]
async fn a_token_server_that_asks_for_a_long_pause_fails_at_once() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2 * 3600 + 60));
    for (retry_after, expected) in [("1800", "it asks to wait 30 min"), (&date, "it asks to wait 2 h ")] {
        let registry = token_registry().await;
        let answer = Answer::status(429).header("retry-after", retry_after);
        registry.on("GET", "/token").answer(answer);
        let outcome = run(inspect(&registry), 1).await;
        assert!(outcome.stderr.contains(expected), "{outcome}");
        assert_eq!(registry.count("GET", "/token"), 1);
    }
}

/// The first response tells how long to wait; the requests for other repositories are not sent, and tell the same.
#[tokio::test]
async fn all_images_state_why_their_token_server_gives_no_token() {
    let (source, mirror) = (token_registry().await, Registry::start().await);
    source.on("GET", "/token").answer(Answer::status(429).header("retry-after", "400"));
    let port = ClosedPort::new();
    let closed = &port.host_port;
    let other = Scripted::start().await;
    let challenge = format!("Bearer realm=\"http://{closed}/token\"");
    other.on("", "/v2/").then(Action::Answer(Answer::status(401).header("www-authenticate", &challenge)));
    for (registry, expected) in
        [(&source, "it asks to wait 6 min 40 s"), (&other, "no connection: Connection refused")]
    {
        let mut sync = Mirror::new(["sync", "--naming", "full", "--retries", "1"])
            .arguments(["--to", &mirror.address().host_port]);
        for number in 0..4 {
            sync = sync.arg(registry.address().image(&format!("team/app{number}"), "1"));
        }
        let outcome = run(sync, 1).await;
        let rows: Vec<&str> = outcome.stdout.lines().filter(|line| line.contains(" failed ")).collect();
        assert!(rows.len() >= 4 && rows.iter().all(|row| row.contains(expected)), "{outcome}");
    }
}

#[tokio::test]
async fn thirty_repositories_get_their_tokens_from_a_limited_server() {
    let (source, mirror) = (token_registry().await, Registry::start().await);
    let image = SampleImage::single_platform("1", "amd64");
    let to = &mirror.address().host_port;
    let mut sync = Mirror::new(["sync", "--platform", "linux/amd64", "--naming", "full", "--to", to])
        .env("DOCKER_AUTH_CONFIG", super::config(&source.address().host_port).to_string());
    // The limit concerns requests that are served; the answer is the token.
    let refused = Arc::new(AtomicUsize::new(0));
    source.on("GET", "/token").then(Action::decide({
        let (limit, refused) = (std::sync::Mutex::new(Vec::new()), Arc::clone(&refused));
        move |_| {
            let (mut served, now) = (limit.lock().unwrap(), std::time::Instant::now());
            served.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
            if served.len() >= 10 {
                refused.fetch_add(1, Ordering::Relaxed);
                return Some(Answer::status(429));
            }
            served.push(now);
            Some(token())
        }
    }));
    for number in 0..30 {
        let repository = format!("team/app{number}");
        source.with_store(|store| store.insert(&repository, &image));
        sync = sync.arg(source.address().image(&repository, "1"));
    }
    let _ = run(sync, 0).await;
    // On a slow machine, none may be refused. However many are, no token is asked for twice.
    let refused = refused.load(Ordering::Relaxed);
    assert_eq!(source.count("GET", "/token") - refused, 30);
    assert!(refused < 270, "{refused} refusals for 30 tokens");
}

#[tokio::test]
async fn an_unreachable_token_server_is_named() {
    let port = ClosedPort::new();
    let closed = &port.host_port;
    let registry = registry().await;
    registry.demand(&format!("Bearer realm=\"http://{closed}/token\",service=\"x\""), &[TOKEN]);
    let outcome = run(inspect(&registry), 1).await;
    assert!(outcome.stderr.contains(&format!("cannot get a token from http://{closed}/token")), "{outcome}");
    assert!(outcome.stderr.contains(&format!("check that a server is running at {closed}")), "{outcome}");
}

#[tokio::test]
async fn a_redirect_of_a_token_server_names_both_hosts_and_what_to_do_bug() {
    let (registry, elsewhere) = (token_registry().await, Scripted::start().await);
    let login = format!("{}/sso/login", elsewhere.address().url());
    let target = format!("{}?state=s1gned", login.replace("//", "//user:s3cret@"));
    registry.on("GET", "/token").then(Action::redirect(&target));
    let outcome = run(inspect(&registry), 4).await;
    let url = registry.address().url();
    let expected =
        format!("the token server {url}/token redirects to {login}, which is not followed (status 307)\n");
    assert!(outcome.stderr.contains(&expected), "{outcome}");
    let host = &registry.address().host_port;
    let hint = format!("hint: check that no proxy or login page answers in place of {host}; if none does, ");
    assert!(outcome.stderr.contains(&hint), "{outcome}");
    assert!(elsewhere.requests().is_empty(), "a credential follows no redirect");
}

/// A registry may lead to a storage host that requires a login of its own: its token server has nothing to do with the
/// registry's.
#[tokio::test]
async fn a_login_that_another_host_requires_is_attributed_to_that_host() {
    let (registry, storage) = (registry().await, token_registry().await);
    let path = "/v2/team/app/manifests/1";
    registry.on("GET", path).then(Action::redirect(&format!("{}{path}", storage.address().url())));
    let outcome = run(inspect(&registry), 4).await;
    let host = &storage.address().host_port;
    assert!(
        outcome.stderr.contains(&format!("{host}, to which the registry redirects, answered 401")),
        "{outcome}"
    );
    assert_eq!(storage.count("GET", "/token"), 0, "its token server gets no credential of the registry");
}

#[tokio::test]
async fn a_web_page_instead_of_a_token_is_named_as_one() {
    for content_type in ["text/html", "application/json"] {
        let registry = registry().await;
        registry.demand(&challenge(&registry), &[TOKEN]);
        let page = Answer::status(200).header("content-type", content_type).body("<html>Sign in</html>");
        registry.on("GET", "/token").answer(page);
        let outcome = run(inspect(&registry), 1).await;
        assert!(outcome.stderr.contains("answered with a web page, not with a token"), "{outcome}");
        assert!(outcome.stderr.contains("captive portal"), "{outcome}");
    }
}
