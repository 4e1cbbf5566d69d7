//! Which hosts get a client certificate: a global certificate is for all registries, not for every host that an answer
//! or a manifest names.

use std::path::Path;

use serde_json::json;

use crate::support::{
    http_server::CLIENT_CERTIFICATE,
    images::SampleImage,
    process::Mirror,
    scripted::{Action, Answer, Scripted},
    tls::Authority,
};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Whether all requests, or none, came over connections with a client certificate.
#[track_caller]
fn assert_shown(server: &Scripted, path: &str, expected: bool) {
    let requests = server.requests();
    let mut about: Vec<_> = requests.iter().filter(|request| request.path.contains(path)).collect();
    assert!(!about.is_empty(), "no request for {path}");
    about.retain(|request| request.header(CLIENT_CERTIFICATE).is_some() != expected);
    assert!(about.is_empty(), "expected {expected}: {about:#?}");
}

/// `sync` of an image over TLS, with a client certificate for `scope` (`""`: for all).
fn sync(authority: &Authority, scope: &str, image: &str, to: &str) -> Mirror {
    let scoped = |path: &Path| format!("{scope}{}", text(path));
    Mirror::new(["sync", image, "--to", to, "--platform", "linux/amd64", "--ca-cert"])
        .arg(authority.certificate_file())
        .arguments(["--client-cert", &scoped(&authority.client_certificate_file())])
        .arguments(["--client-key", &scoped(&authority.client_key_file())])
}

/// A registry that names a token server and redirects every blob download to another host.
struct Site {
    authority: Authority,
    source: Scripted,
    storage: Scripted,
    tokens: Scripted,
    destination: Scripted,
}

impl Site {
    async fn start() -> Self {
        let authority = Authority::new();
        let (source, storage, tokens, destination) = tokio::join!(
            Scripted::start_tls(&authority),
            Scripted::start_tls(&authority),
            Scripted::start_tls(&authority),
            Scripted::start_tls(&authority),
        );
        let image = SampleImage::single_platform("1", "amd64");
        for registry in [&source, &storage] {
            registry.with_store(|store| store.insert("app", &image));
        }
        for digest in image.blobs.keys() {
            let place = format!("{}/v2/app/blobs/{digest}", storage.address().url());
            source.on("GET", digest.as_str()).then(Action::redirect(&place));
        }
        tokens.on("GET", "/token").answer(Answer::json(200, &json!({ "token": "t" })));
        let realm = format!("{}/token", tokens.address().url());
        source.demand(&format!("Bearer realm=\"{realm}\",service=\"s\""), &["Bearer t"]);
        Self { authority, source, storage, tokens, destination }
    }

    async fn sync(&self, scope: &str) {
        let (from, to) = (self.source.address().image("app", "1"), &self.destination.address().host_port);
        let _ = sync(&self.authority, scope, &from, to).run().await.expect_success();
    }
}

#[tokio::test]
async fn a_global_certificate_is_presented_to_registries_but_not_to_hosts_they_name_bug() {
    let site = Site::start().await;
    site.sync("").await;
    assert_shown(&site.source, "/v2/", true);
    assert_shown(&site.destination, "/blobs/uploads/", true);
    assert_shown(&site.storage, "/blobs/", false);
    assert_shown(&site.tokens, "/token", false);
}

#[tokio::test]
async fn a_host_named_by_a_registry_gets_the_certificate_configured_for_it() {
    for to_storage in [true, false] {
        let site = Site::start().await;
        let named = if to_storage { &site.storage } else { &site.tokens };
        site.sync(&format!("{}=", named.address().host_port)).await;
        assert_shown(&site.source, "/v2/", false);
        assert_shown(&site.storage, "/blobs/", to_storage);
        assert_shown(&site.tokens, "/token", !to_storage);
    }
}

#[tokio::test]
async fn an_upload_to_another_host_presents_no_certificate() {
    let authority = Authority::new();
    let (source, storage, destination) = tokio::join!(
        Scripted::start_tls(&authority),
        Scripted::start_tls(&authority),
        Scripted::start_tls(&authority),
    );
    source.with_store(|store| store.insert("app", &SampleImage::single_platform("1", "amd64")));
    let session = format!("{}/v2/app/blobs/uploads/elsewhere", storage.address().url());
    destination.on("POST", "/blobs/uploads/").answer(Answer::status(202).header("location", &session));
    storage.on("PUT", "/elsewhere").answer(Answer::error(403, "DENIED"));
    let (from, to) = (source.address().image("app", "1"), &destination.address().host_port);
    let _ = sync(&authority, "", &from, to).run().await.expect_code(4);
    assert_shown(&storage, "/elsewhere", false);
    assert_shown(&destination, "/blobs/uploads/", true);
}

#[tokio::test]
async fn a_foreign_layer_url_never_gets_a_certificate() {
    let authority = Authority::new();
    let (source, elsewhere, destination) = tokio::join!(
        Scripted::start_tls(&authority),
        Scripted::start_tls(&authority),
        Scripted::start_tls(&authority),
    );
    for place in [&elsewhere, &source] {
        let url = format!("{}/v2/layers/blobs/{{}}", place.address().url());
        let (image, layers) = SampleImage::with_foreign_layers("1", &[&url]);
        source.with_store(|store| store.insert("app", &image));
        place.with_store(|store| store.repository("layers").blobs = layers);
        let (from, to) = (source.address().image("app", "1"), &destination.address().host_port);
        let own = format!("{}=", place.address().host_port);
        for (run, scope) in ["", &own].into_iter().enumerate() {
            let to = format!("{to}/{run}-{}", place.address().host_port.replace([':', '.'], "-"));
            let run = sync(&authority, scope, &from, &to).arg("--foreign-layers").run().await;
            let _ = run.expect_success();
        }
        assert_shown(place, "/v2/layers/", false);
    }
}
