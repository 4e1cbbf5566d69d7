//! TLS: private authorities, unverified registries, client certificates.

use std::path::Path;

use crate::support::{
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::{Options, Registry},
    scripted::Scripted,
    serving::Serving,
    tls::Authority,
};

/// `inspect` of an image with some flags.
async fn inspect(image: &str, flags: &[&str]) -> Outcome {
    Mirror::new(["inspect", image].iter().chain(flags)).run().await
}

async fn tls_registry(authority: &Authority) -> Scripted {
    let registry = Scripted::start_tls(authority).await;
    registry.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    registry
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_if_configured() {
    let authority = Authority::new();
    let registry = tls_registry(&authority).await;
    let image = registry.address().image("app", "1");
    let refused = inspect(&image, &[]).await.expect_code(1);
    assert!(refused.stderr.contains("invalid peer certificate: UnknownIssuer"), "{refused}");
    assert!(
        refused.stderr.contains("hint: pass the registry's certificate authority with --ca-cert FILE"),
        "{refused}"
    );
    assert!(!refused.stderr.contains("tried"), "a certificate is not tried again: {refused}");

    let file = authority.certificate_file();
    let _ = inspect(&image, &["--ca-cert", text(&file)]).await.expect_success();
    let host = &registry.address().host_port;
    let _ = inspect(&image, &["--ca-cert", &format!("{host}={}", text(&file))]).await.expect_success();
    let elsewhere = format!("reg.example={}", text(&file));
    let _ = inspect(&image, &["--ca-cert", &elsewhere]).await.expect_code(1);
}

/// The server's own certificate is passed, as to curl, crane and skopeo: with our own server and CNCF distribution.
#[tokio::test]
async fn a_self_signed_certificate_works_for_its_host_and_no_other_bug() {
    let own = Authority::self_signed();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (own.server_certificate_file(), own.server_key_file());
    let flags = ["--tls-cert", text(&certificate), "--tls-key", text(&key)];
    let ours = Serving::start(&folder.path().join("registry"), &flags).await;
    let theirs = Registry::start_with(Options::default().tls(&own)).await;
    let source = Scripted::start().await;
    source.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    let from = source.address().image("app", "1");
    for host in [&ours.address.host_port, &theirs.address().host_port] {
        let sync = async |flags: &[&str]| {
            Mirror::new(["sync", &from, "--to", &format!("{host}/a")].iter().chain(flags)).run().await
        };
        let refused = sync(&[]).await.expect_code(1);
        assert!(refused.stderr.contains(&format!("--ca-cert {host}=FILE")), "{refused}");
        let scoped = format!("{host}={}", text(&certificate));
        let _ = sync(&["--ca-cert", &scoped]).await.expect_success();
        let _ = sync(&["--ca-cert", text(&certificate)]).await.expect_success();
        let elsewhere = format!("reg.example={}", text(&certificate));
        let _ = sync(&["--ca-cert", &elsewhere]).await.expect_code(1);
        // Another certificate with the same names is another certificate.
        let imposter = Authority::self_signed();
        let _ = sync(&["--ca-cert", text(&imposter.server_certificate_file())]).await.expect_code(1);
    }
}

/// Together with `--ca-cert`, the connection is set up another way.
#[tokio::test]
async fn a_client_certificate_is_presented_to_a_self_signed_registry() {
    let own = Authority::self_signed();
    let clients = Authority::new();
    let registry = Registry::start_with(Options::default().mutual_tls_for(&own, &clients)).await;
    let source = Scripted::start().await;
    source.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    let (from, to) = (source.address().image("app", "1"), registry.address().host_port.clone());
    let (ca, certificate) = (own.server_certificate_file(), clients.client_certificate_file());
    let key = clients.client_key_file();
    let base = ["sync", &from, "--to", &to, "--ca-cert", text(&ca)];
    let _ = Mirror::new(base).run().await.expect_code(1);
    let with = ["--client-cert", text(&certificate), "--client-key", text(&key)];
    let _ = Mirror::new(base.iter().chain(&with)).run().await.expect_success();
}

#[tokio::test]
async fn an_authority_from_ssl_cert_file_is_trusted() {
    let authority = Authority::new();
    let registry = tls_registry(&authority).await;
    let run = Mirror::new(["inspect", &registry.address().image("app", "1")])
        .env("SSL_CERT_FILE", authority.certificate_file());
    let _ = run.run().await.expect_success();
}

#[tokio::test]
async fn insecure_applies_only_to_its_host_and_port() {
    let authority = Authority::new();
    let (one, other) = (tls_registry(&authority).await, tls_registry(&authority).await);
    let insecure = ["--insecure", &one.address().host_port];
    let _ = inspect(&one.address().image("app", "1"), &insecure).await.expect_success();
    let refused = inspect(&other.address().image("app", "1"), &insecure).await.expect_code(1);
    assert!(refused.stderr.contains("UnknownIssuer"), "{refused}");
    assert!(other.requests().is_empty(), "nothing was sent to it");
    let by_name = one.address().as_localhost();
    let _ = inspect(&by_name.image("app", "1"), &insecure).await.expect_code(1);
}

#[tokio::test]
async fn a_redirect_from_an_unverified_registry_is_verified() {
    let authority = Authority::new();
    let (registry, storage) = (tls_registry(&authority).await, tls_registry(&authority).await);
    let target = format!("{}/v2/app/manifests/1", storage.address().url());
    registry.on("GET", "/manifests/1").then(crate::support::scripted::Action::redirect(&target));
    let run =
        inspect(&registry.address().image("app", "1"), &["--insecure", &registry.address().host_port]).await;
    assert!(run.expect_code(1).stderr.contains("UnknownIssuer"));
    assert!(storage.requests().is_empty());
}

#[tokio::test]
async fn a_client_certificate_is_presented_to_a_registry_that_requests_one() {
    let authority = Authority::new();
    let mirror = Registry::start_with(Options::default().mutual_tls(&authority)).await;
    let source = Scripted::start().await;
    source.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    let (from, to) = (source.address().image("app", "1"), mirror.address().host_port.clone());
    let ca = authority.certificate_file();
    let (certificate, key) = (authority.client_certificate_file(), authority.client_key_file());
    let sync = async |flags: &[&str]| {
        Mirror::new(["sync", &from, "--to", &to, "--ca-cert", text(&ca)].iter().chain(flags)).run().await
    };

    let refused = sync(&[]).await.expect_code(1);
    // Go says `BadCertificate` or `CertificateRequired`, depending on its age.
    assert!(refused.stderr.contains("received fatal alert: "), "{refused}");
    assert!(refused.stderr.contains("--client-cert FILE --client-key FILE"), "{refused}");
    assert!(!refused.stderr.contains("tried"), "asking again does not help: {refused}");

    let elsewhere = ["reg.example=", "reg.example="].map(str::to_owned);
    let [cert_elsewhere, key_elsewhere] = [(&elsewhere[0], &certificate), (&elsewhere[1], &key)]
        .map(|(host, file)| format!("{host}{}", text(file)));
    let _ = sync(&["--client-cert", &cert_elsewhere, "--client-key", &key_elsewhere]).await.expect_code(1);
    assert_eq!(mirror.count("PUT", "/manifests/").await, 0);

    let (own_certificate, own_key) = (format!("{to}={}", text(&certificate)), format!("{to}={}", text(&key)));
    let _ = sync(&["--client-cert", &own_certificate, "--client-key", &own_key]).await.expect_success();
    assert_eq!(mirror.count("PUT", "/v2/app/manifests/1").await, 1);
    let _ = sync(&["--client-cert", text(&certificate), "--client-key", text(&key)]).await.expect_success();
    assert_eq!(mirror.count("PUT", "/v2/app/manifests/1").await, 1, "the second run is idle");
}

#[tokio::test]
async fn unusable_files_are_usage_errors_before_any_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let registry = tls_registry(&authority).await;
    let image = registry.address().image("app", "1");
    let (certificate, key) = (authority.client_certificate_file(), authority.client_key_file());
    let foreign = other.client_key_file();
    let cases: [(&[&str], &str); 8] = [
        (&["--ca-cert", text(&key)], "it contains no certificate in PEM form"),
        (&["--ca-cert", "/no/such/file"], "cannot read /no/such/file"),
        (&["--client-cert", text(&certificate)], "it contains no private key in PEM form"),
        (&["--client-cert", text(&key)], "it contains no certificate in PEM form"),
        (
            &["--client-cert", text(&certificate), "--client-key", text(&foreign)],
            "the certificate and the private key do not match",
        ),
        (&["--client-key", text(&key)], "has no matching --client-cert"),
        (&["--insecure", "https://reg.example"], "expected HOST or HOST:PORT"),
        (&["--connect-timeout", "0"], "0 is not in 1..=65535"),
    ];
    for (flags, message) in cases {
        let run = inspect(&image, flags).await.expect_code(2);
        assert!(run.stderr.contains(message), "{flags:?}: {run}");
        assert!(!run.stderr.contains("PRIVATE KEY"), "{run}");
    }
    assert!(registry.requests().is_empty());
}

/// Loading the system's certificates takes memory and a quarter of a second, and a broken store must not stop a run
/// that needs none.
#[tokio::test]
async fn a_plain_http_run_never_reads_certificates() {
    let registry = Scripted::start().await;
    registry.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    let inspect = |image: String| Mirror::new(["inspect", &image]).env("SSL_CERT_FILE", "/no/such/file");
    let _ = inspect(registry.address().image("app", "1")).run().await.expect_success();
    let authority = Authority::new();
    let encrypted = tls_registry(&authority).await;
    let run = inspect(encrypted.address().image("app", "1")).run().await.expect_code(2);
    assert!(run.stderr.contains("cannot set up TLS"), "{run}");
}
