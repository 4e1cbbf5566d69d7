//! Real registries: access log, login, TLS and files.

use std::{collections::BTreeMap, fs, slice::from_ref, sync::Arc, thread};

use crate::support::{
    Address,
    client::{self, RepositoryClient},
    images::SampleImage,
    registry::{LoggedRequest, Options, Registry},
    tls::Authority,
    token_server::TokenServer,
};

#[tokio::test]
async fn the_log_counts_requests() {
    let registry = Registry::start().await;
    let image = SampleImage::multi_platform("1");
    client::push(&image, registry.address(), "app").await;
    assert_eq!(registry.count("PUT", "/manifests/").await, 3);
    assert_eq!(registry.count("PUT", "/blobs/uploads/").await, image.blobs.len());

    registry.clear_requests().await;
    assert_eq!(registry.requests().await, []);
    let client = registry.address().http_client();
    let url = format!("{}/v2/app/manifests/absent", registry.address().url());
    let answer = client.head(url).header("user-agent", "the test").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    let expected = LoggedRequest {
        method: "HEAD".to_owned(),
        path: "/v2/app/manifests/absent".to_owned(),
        status: 404,
        user_agent: "the test".to_owned(),
    };
    assert_eq!(registry.requests().await, [expected]);
}

#[tokio::test]
async fn a_restart_keeps_the_port_the_files_and_the_log() {
    let mut registry = Registry::start().await;
    let image = SampleImage::single_platform("1", "amd64");
    client::push(&image, registry.address(), "app").await;
    let before = registry.requests().await;
    let address = registry.address().clone();
    registry.restart().await;
    assert_eq!(registry.requests().await, before);
    client::assert_present(&image, &address, "app").await;
}

#[tokio::test]
async fn a_password_is_required() {
    let registry = Registry::start_with(Options::default().htpasswd("anna", "right")).await;
    let image = SampleImage::single_platform("1", "amd64");
    for (password, is_right) in [("wrong", false), ("right", true)] {
        let client = RepositoryClient::signed_in(registry.address(), "app", "anna", password).await;
        assert_eq!(client.push(&image).await.is_ok(), is_right);
    }
    assert!(RepositoryClient::new(registry.address(), "app").await.manifest("1").await.is_err());
}

#[tokio::test]
async fn tls_needs_the_authority() {
    let authority = Authority::new();
    let registry = Registry::start_with(Options::default().tls(&authority)).await;
    let image = SampleImage::multi_platform("1");
    for address in [registry.address().clone(), registry.address().as_localhost()] {
        client::push(&image, &address, "app").await;
        client::assert_present(&image, &address, "app").await;
        let stranger = Address { authority: None, ..address };
        assert!(RepositoryClient::new(&stranger, "app").await.manifest("1").await.is_err());
    }
}

#[tokio::test]
async fn tokens_grant_and_deny() {
    let authority = Authority::new();
    let tokens = TokenServer::start(Some(&authority)).await;
    tokens.allow("anna", "secret", "team/app", &["pull", "push"]);
    tokens.allow_everyone("team/app", &["pull"]);
    let registry = Registry::start_with(Options::default().tls(&authority).tokens(&tokens)).await;
    let image = SampleImage::multi_platform("1");

    let anna = RepositoryClient::signed_in(registry.address(), "team/app", "anna", "secret").await;
    anna.push(&image).await.unwrap();
    let elsewhere = RepositoryClient::signed_in(registry.address(), "other", "anna", "secret").await;
    assert!(elsewhere.push(&image).await.is_err());
    client::assert_present(&image, registry.address(), "team/app").await;
    assert!(RepositoryClient::new(registry.address(), "team/app").await.push(&image).await.is_err());

    let first = &tokens.requests()[0];
    assert_eq!(first.scopes, ["repository:team/app:pull,push"]);
    assert!(first.authorization.as_ref().unwrap().starts_with("Basic "));
    assert_eq!(first.status, 200);
}

#[tokio::test]
async fn a_wrong_password_gets_no_token() {
    let tokens = TokenServer::start(None).await;
    tokens.allow("anna", "secret", "*", &["pull"]);
    let client = tokens.address().http_client();
    let statuses = async |password: &str| {
        let asked = client.get(tokens.realm()).basic_auth("anna", Some(password)).send().await.unwrap();
        let form = format!("grant_type=refresh_token&refresh_token={password}&scope=repository:a:pull");
        let posted = client.post(tokens.realm()).body(form).send().await.unwrap();
        [asked.status().as_u16(), posted.status().as_u16()]
    };
    assert_eq!(statuses("wrong").await, [401, 401]);
    assert_eq!(statuses("secret").await, [200, 200]);
    assert_eq!(tokens.requests()[3].scopes, ["repository:a:pull"]);
}

#[tokio::test]
async fn damage_to_the_files_is_visible() {
    let registry = Registry::start().await;
    let storage = registry.storage();
    let image = SampleImage::multi_platform("1");
    let (layer, child) = (image.blobs.keys().next().unwrap(), &image.manifests[0].digest);
    for repository in ["a", "b/c", "d", "e"] {
        client::push(&image, registry.address(), repository).await;
    }
    assert_eq!(storage.incomplete_tags().len(), 0);

    storage.delete_manifest("a", child);
    assert_eq!(storage.incomplete_tags()["a:1"], from_ref(child));
    let reader = RepositoryClient::new(registry.address(), "a").await;
    assert!(reader.manifest_by_digest(child).await.is_err());
    assert_eq!(reader.manifest("1").await.unwrap(), image.root().bytes);

    storage.unlink_blob("b/c", layer);
    assert_eq!(storage.incomplete_tags()["b/c:1"], from_ref(layer));
    assert!(RepositoryClient::new(registry.address(), "b/c").await.blob(layer).await.is_err());

    storage.corrupt_data(layer);
    assert_eq!(storage.incomplete_tags()["d:1"], from_ref(layer));
    storage.delete_data(layer);
    assert!(RepositoryClient::new(registry.address(), "d").await.blob(layer).await.is_err());
}

/// When a manifest is pushed again, CNCF distribution truncates its link before rewriting it. A scan of the files in
/// between must not report its tag as incomplete.
#[tokio::test]
async fn a_link_being_rewritten_is_not_missing() {
    let registry = Registry::start().await;
    let image = SampleImage::multi_platform("1");
    client::push(&image, registry.address(), "app").await;
    let storage = registry.storage();
    let link = storage.manifest_link("app", &image.manifests[0].digest);
    let digest = fs::read(&link).unwrap();
    let (scanning, expected) = (Arc::new(()), storage.tags());
    let writes = {
        let scanning = Arc::downgrade(&scanning);
        thread::spawn(move || {
            while scanning.strong_count() > 0 {
                // Like the registry: truncate the file, then write it.
                fs::write(&link, &digest).unwrap();
            }
        })
    };
    for _ in 0..25 {
        assert_eq!(storage.incomplete_tags(), BTreeMap::new());
        assert_eq!(storage.tags(), expected);
    }
    drop(scanning);
    writes.join().unwrap();
}
