//! Users: who may pull, who may push, and what unauthenticated clients see.

use thoras_mirror::serve::{LineProblem, UserFile, UsersError};

use super::*;

/// The lowest cost that bcrypt supports, for speed.
const CHEAPEST: u32 = 4;

fn line(name: &str, password: &str) -> String {
    format!("{name}:{}\n", bcrypt::hash(password, CHEAPEST).unwrap())
}

/// A registry that `writer` (password `pen`) may push to and `reader` (password `glasses`) may not.
async fn registry_with_users() -> (tempfile::TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let htpasswd = folder.path().join("htpasswd");
    std::fs::write(&htpasswd, line("writer", "pen") + &line("reader", "glasses")).unwrap();
    let users = UserFile { htpasswd, pushers: vec!["writer".to_owned()] };
    let options = Options { users: Some(users), ..Options::new(folder.path().join("registry")) };
    let registry = Registry::with(options).await.unwrap();
    (folder, registry)
}

fn login(request: RequestBuilder, name: &str, password: &str) -> RequestBuilder {
    request.basic_auth(name, Some(password))
}

#[tokio::test]
async fn unauthenticated_clients_get_only_the_challenge() {
    let (_folder, registry) = registry_with_users().await;
    let digest = Digest::sha256(b"x");
    for (method, path) in [
        (Method::GET, "/v2/".to_owned()),
        (Method::GET, "/".to_owned()),
        (Method::GET, "/v2/A/../x".to_owned()),
        (Method::GET, format!("/v2/a/blobs/{digest}")),
        (Method::POST, "/v2/a/blobs/uploads/".to_owned()),
        (Method::PUT, "/v2/a/manifests/x".to_owned()),
        (Method::DELETE, format!("/v2/a/manifests/{digest}")),
    ] {
        let answer = registry.request(method, &path).send().await.unwrap();
        let challenge = header(&answer, "www-authenticate");
        assert!(challenge.starts_with("Basic realm=\"thoras-mirror\""), "{challenge}");
        assert_refused(answer, StatusCode::UNAUTHORIZED, "UNAUTHORIZED").await;
    }
    assert_eq!(registry.head("/v2/").await.status(), StatusCode::UNAUTHORIZED);
    for (name, password) in
        [("writer", "glasses"), ("writer", ""), ("", "pen"), ("nobody", "pen"), ("writer", "pen ")]
    {
        let answer = login(registry.request(Method::GET, "/v2/"), name, password).send().await.unwrap();
        assert_refused(answer, StatusCode::UNAUTHORIZED, "UNAUTHORIZED").await;
    }
    for value in ["Basic", "Basic %%%", "Bearer cGVu", "pen"] {
        let request = registry.request(Method::GET, "/v2/").header("authorization", value);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{value}");
    }
}

/// Clients that wait for a 401 before they log in saw a broken connection instead if the manifest was large.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending_a_large_manifest_bug() {
    let (_folder, registry) = registry_with_users().await;
    let mut stream = registry.connect().await;
    let body = vec![b' '; 7 * 1024 * 1024];
    let head = format!("PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    assert_eq!(status_line(&mut stream).await, 401);
}

#[tokio::test]
async fn writers_push_and_readers_pull() {
    let (_folder, registry) = registry_with_users().await;
    let digest = Digest::sha256(b"blob");
    let push = format!("/v2/a/blobs/uploads/?digest={digest}");
    let answer =
        login(registry.request(Method::POST, &push), "writer", "pen").body("blob").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let blob = format!("/v2/a/blobs/{digest}");
    for (name, password) in [("writer", "pen"), ("reader", "glasses")] {
        let answer = login(registry.request(Method::GET, &blob), name, password).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "blob");
    }
    for (method, path) in [
        (Method::POST, push.as_str()),
        (Method::POST, "/v2/b/blobs/uploads/"),
        (Method::PUT, "/v2/a/manifests/x"),
        (Method::DELETE, &blob),
    ] {
        let answer = login(registry.request(method, path), "reader", "glasses").send().await.unwrap();
        let error = assert_refused(answer, StatusCode::FORBIDDEN, "DENIED").await;
        assert!(error["message"].as_str().unwrap().contains("`reader` may pull"), "{error}");
    }
}

#[tokio::test]
async fn many_concurrent_requests_are_authenticated() {
    let (_folder, registry) = registry_with_users().await;
    let requests = (0..40).map(|_| login(registry.request(Method::GET, "/v2/"), "reader", "glasses").send());
    for answer in futures::future::join_all(requests).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_access_log_names_users_and_never_passwords() {
    let (_folder, registry) = registry_with_users().await;
    let denied = login(registry.request(Method::DELETE, "/v2/a/manifests/x"), "reader", "glasses");
    assert_eq!(denied.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(registry.answered(&Method::DELETE).await.user.as_deref(), Some("reader"));
    for (password, user) in [("pen", "writer"), ("pencil", "-")] {
        let _ = login(registry.request(Method::GET, "/v2/"), "writer", password).send().await.unwrap();
        let record = registry.answered(&Method::GET).await;
        let line = record.to_string();
        assert!(line.contains(&format!(" {user} [")), "an unauthenticated user name is not logged: {line}");
        assert!(!line.contains("pen") && !format!("{record:?}").contains("pen"), "{line}");
    }
}

#[tokio::test]
async fn a_changed_file_is_reloaded_on_demand() {
    let (folder, registry) = registry_with_users().await;
    let status = async |password| {
        let request = login(registry.request(Method::GET, "/v2/"), "writer", password);
        request.send().await.unwrap().status()
    };
    assert_eq!(status("pen").await, StatusCode::OK);
    let htpasswd = folder.path().join("htpasswd");
    std::fs::write(&htpasswd, "writer:{SHA}nonsense").unwrap();
    assert!(registry.reloader.reload().is_err());
    assert_eq!(status("pen").await, StatusCode::OK, "a wrong file changes nothing");
    std::fs::write(&htpasswd, line("writer", "quill")).unwrap();
    registry.reloader.reload().unwrap();
    assert_eq!(status("pen").await, StatusCode::UNAUTHORIZED, "what was remembered is forgotten");
    assert_eq!(status("quill").await, StatusCode::OK);
}

#[tokio::test]
async fn a_file_that_admits_no_user_is_refused_at_startup() {
    let folder = tempfile::tempdir().unwrap();
    let htpasswd = folder.path().join("htpasswd");
    let refused = async |text: Option<&str>, pushers: &[&str]| {
        if let Some(text) = text {
            std::fs::write(&htpasswd, text).unwrap();
        }
        let pushers = pushers.iter().map(ToString::to_string).collect();
        let users = Some(UserFile { htpasswd: htpasswd.clone(), pushers });
        let options = Options { users, ..Options::new(folder.path().join("registry")) };
        match Registry::with(options).await.err().unwrap() {
            ServeError::Users(error) => error,
            other => panic!("{other}"),
        }
    };
    assert!(matches!(refused(None, &[]).await, UsersError::Unreadable { .. }));
    assert!(matches!(refused(Some("# nobody\n"), &[]).await, UsersError::Nobody(_)));
    let unknown = refused(Some(&line("ann", "x")), &["ann", "bob"]).await;
    assert!(matches!(&unknown, UsersError::Unknown { name, .. } if name == "bob"), "{unknown}");
    let weak = refused(Some("ann:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00\n"), &[]).await;
    assert!(weak.to_string().contains("line 1"), "{weak}");
    let UsersError::Line { source, .. } = weak else { panic!("{weak}") };
    assert!(matches!(source.problem, LineProblem::NotBcrypt { how: "hashed with MD5", .. }), "{source}");
    assert!(!folder.path().join("registry").exists(), "nothing was created");
}

/// bcrypt hashes 72 bytes: a longer password was accepted with any end.
#[tokio::test]
async fn a_password_beyond_72_bytes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let htpasswd = folder.path().join("htpasswd");
    let longest = "p".repeat(72);
    std::fs::write(&htpasswd, line("ann", &longest)).unwrap();
    let users = Some(UserFile { htpasswd, pushers: Vec::new() });
    let options = Options { users, ..Options::new(folder.path().join("registry")) };
    let registry = Registry::with(options).await.unwrap();
    let status = async |password: &str| {
        login(registry.request(Method::GET, "/v2/"), "ann", password).send().await.unwrap()
    };
    assert_eq!(status(&longest).await.status(), StatusCode::OK);
    let answer = status(&format!("{longest}and more")).await;
    assert!(header(&answer, "www-authenticate").starts_with("Basic "));
    let error = assert_refused(answer, StatusCode::UNAUTHORIZED, "UNAUTHORIZED").await;
    assert!(error["message"].as_str().unwrap().contains("more than 72 bytes"), "{error}");
}
