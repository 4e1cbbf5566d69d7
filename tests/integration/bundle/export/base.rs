//! Deltas: only what the far side lacks is exported.

use super::*;

/// A base with image `a` in the requested form; returns its path.
async fn base(site: &Site, form: &str) -> PathBuf {
    let first = [site.images[0].clone()];
    match form {
        "sync's lock" => {
            let destination = Scripted::start().await;
            let lock = site.path("base.lock");
            let to = format!("{}/mirror", destination.address().host_port);
            let sync = Mirror::new(["sync", "--to", &to, &first[0], "--lock"]).arg(&lock);
            sync.run().await.expect_success();
            lock
        }
        "bundle" => {
            export(&first, &site.path("base.tar"), &[]).run().await.expect_success();
            site.path("base.tar")
        }
        "volumes" => {
            export(&first, &site.path("base.tar"), &["--split", "70000"]).run().await.expect_success();
            site.path("base.tar.volumes.json")
        }
        "first volume" => {
            export(&first, &site.path("base.tar"), &["--split", "70000"]).run().await.expect_success();
            site.path("base.tar.001")
        }
        "bundle's lock" => {
            let lock = site.path("base.lock");
            let more = ["--lock", lock.to_str().unwrap()];
            export(&first, &site.path("base.tar"), &more).run().await.expect_success();
            lock
        }
        "delta" => {
            let older = site.path("older.tar");
            export(&first, &older, &[]).run().await.expect_success();
            let more = ["--base", older.to_str().unwrap()];
            export(&first, &site.path("delta.tar"), &more).run().await.expect_success();
            site.path("delta.tar")
        }
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn a_delta_contains_only_blobs_that_the_base_lacks() {
    let (a, b) = (SampleImage::multi_platform("a"), SampleImage::multi_platform("b"));
    let only_b = |digest: &&Digest| !a.blobs.contains_key(*digest);
    let mut wanted: Vec<Digest> = b.blobs.keys().filter(only_b).cloned().collect();
    wanted.sort();
    for form in ["sync's lock", "bundle", "volumes", "first volume", "bundle's lock", "delta"] {
        let site = Site::with(&[&a, &b]).await;
        let base = base(&site, form).await;
        site.source.clear();
        let more = ["--base", base.to_str().unwrap(), "--format", "json"];
        let outcome = site.export("d.tar", &more).run().await.expect_success();
        let mut fetched = site.fetched();
        fetched.sort();
        assert_eq!(fetched, wanted, "{form}");
        let document = document(&outcome);
        assert_eq!(document["written"]["leftOut"], a.blob_bytes(), "{form}: {outcome}");
        assert!(outcome.stderr.contains("other tools cannot use a bundle written with --base"), "{outcome}");
        let lock = lock_of(&site.path("d.tar"));
        let absent: Vec<&String> = lock["base"]["blobs"].as_object().unwrap().keys().collect();
        assert_eq!(absent, a.blobs.keys().map(Digest::as_str).collect::<Vec<_>>(), "{form}");
        // The same again, as a stream.
        site.source.clear();
        site.export("d.tar", &more[..2]).run().await.expect_success();
        assert_eq!(site.fetched(), []);
        let streamed = export(&site.images, Path::new("-"), &more[..2]).run_captured().await;
        assert!(streamed.stdout == site.read("d.tar"), "{form}: {}", streamed.stderr);
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_base_is_refused() {
    let a = SampleImage::multi_platform("a");
    let site = Site::with(&[&a]).await;
    a.write_oci_layout(&site.path("foreign"));
    let registry = Scripted::start().await;
    let lock = site.path("unconfirmed.lock");
    let missing = registry.address().image("no/such", "1");
    let to = format!("{}/mirror", registry.address().host_port);
    Mirror::new(["sync", "--to", &to, &missing, "--lock"]).arg(&lock).run().await.expect_code(1);
    std::fs::write(site.path("json"), "{}").unwrap();
    std::fs::write(site.path("text"), "hello").unwrap();
    for (name, reason) in [
        ("foreign", "another program wrote this bundle"),
        ("unconfirmed.lock", "it contains no confirmed image"),
        ("json", "json"),
        ("text", "is not a bundle"),
        ("missing", "error: --base: cannot read"),
    ] {
        site.source.clear();
        let base = site.path(name);
        let outcome = site.export("d.tar", &["--base", base.to_str().unwrap()]).run().await;
        assert!(matches!(outcome.status.code(), Some(2 | 3 | 6)), "{name}: {outcome}");
        assert!(outcome.stderr.contains(reason), "{name}: {outcome}");
        assert_eq!(site.source.requests().len(), 0, "{name}");
        assert!(!site.files().iter().any(|name| name.starts_with("d.tar")));
    }
}

#[tokio::test]
async fn blobs_of_a_failed_image_are_not_left_out() {
    let (a, b) = (SampleImage::multi_platform("a"), SampleImage::docker("b"));
    let site = Site::with(&[&a, &b]).await;
    let base = site.path("base.tar");
    // The base has everything that the failing image needs except one blob.
    let older = SampleImage { tag: "older".to_owned(), ..b.clone() };
    let older_site = Site::with(&[&older]).await;
    export(&older_site.images, &base, &[]).run().await.expect_success();
    let amd64 = SampleImage::single_platform("b", "amd64");
    site.retag("b", &amd64);
    let more = ["--base", base.to_str().unwrap(), "--keep-going"];
    site.export("d.tar", &more).run().await.expect_code(1);
    let verified = Mirror::new(["bundle", "verify"]).arg(site.path("d.tar")).run().await;
    assert!(!verified.stderr.contains("is wrong about"), "{verified}");
}

/// An image without an index names its platform only in its config, which the base has.
#[tokio::test]
async fn an_image_without_an_index_whose_config_is_in_the_base_is_exported() {
    let old = SampleImage::single_platform("a", "amd64");
    let new = SampleImage { tag: "b".to_owned(), ..old.clone() };
    let other = SampleImage::multi_platform("c");
    let site = Site::with(&[&old, &new, &other]).await;
    let (first, second) = ([site.images[0].clone()], [site.images[1].clone(), site.images[2].clone()]);
    let (base, delta) = (site.path("base.tar"), site.path("delta.tar"));
    let platform = ["--platform", "linux/amd64"];
    export(&first, &base, &platform).run().await.expect_success();
    let more = [&platform[..], &["--base", base.to_str().unwrap()]].concat();
    export(&second, &delta, &more).run().await.expect_success();
    let destination = Scripted::start().await;
    let to = format!("{}/mirror", destination.address().host_port);
    for bundle in [&base, &delta] {
        let import = Mirror::new(["bundle", "import", "--to", &to]).arg(bundle);
        import.arguments(["--platform", "linux/amd64"]).run().await.expect_success();
    }
}
