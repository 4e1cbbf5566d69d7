//! `bundle export --trust` and `bundle import --trust-bundle`: a bundle carries keys, trusted roots and a policy, which
//! count only if the bundle is signed with a key that the user names.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    judge::Court,
    keyless::{ISSUER, RELEASE},
};
use crate::support::{
    client,
    images::SampleImage,
    process::{Mirror, Outcome},
    programs,
    registry::Registry,
    sigstore::{Flaws, SigstoreInstance},
    skopeo,
};

/// A key of `testdata/signing`, which signs bundles.
fn bundle_key(name: &str) -> String {
    format!("{}/testdata/signing/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A registry with two images, of which `app` is signed by `key`.
struct Site {
    court: Court,
    folder: tempfile::TempDir,
    images: [String; 2],
    key: PathBuf,
}

impl Site {
    async fn new() -> Self {
        let court = Court::new().await;
        let key = court.cosign.generate_key("team").await;
        let image = court.push("app").await;
        court.push("plain").await;
        court.cosign.sign("team", &court.image("app", &image), &[]).await;
        let images = ["app", "plain"].map(|repository| {
            court.address().image(repository, &SampleImage::multi_platform(repository).tag)
        });
        Self { court, folder: tempfile::tempdir().unwrap(), images, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A policy that requires the key for `app` only.
    fn policy(&self) -> String {
        let host = &self.court.address().host_port;
        let text = format!(
            "images:\n- match: {host}/app\n  key: keys/team.pub\n  ignore-tlog: true\n- match: {host}/plain\n  \
             unsigned: true\notherwise: require\n"
        );
        let path = self.path("policy.yaml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Exports the images, signed.
    fn export(&self, output: &str, images: &[String], more: &[&str]) -> Mirror {
        let plain = format!("--plain-http={}", self.court.address().host_port);
        Mirror::new(["bundle", "export", "--sign-key", &bundle_key("p256.pem"), "-o", output, &plain])
            .arguments(images)
            .arguments(more.iter().copied())
            .in_folder(self.folder.path())
    }

    fn import(&self, files: &[&str], to: &Registry, more: &[&str]) -> Mirror {
        let to = to.address();
        let plain = format!("--plain-http={}", to.host_port);
        Mirror::new(["bundle", "import", "--to", &format!("{}/mirror", to.host_port), &plain])
            .arguments(files.iter().copied())
            .arguments(more.iter().copied())
            .in_folder(self.folder.path())
    }
}

async fn assert_app_is_there(registry: &Registry) {
    client::assert_present(&SampleImage::multi_platform("app"), registry.address(), "mirror/app").await;
    // The trust files are no image.
    let catalog = registry.address().url() + "/v2/_catalog";
    let catalog: Value =
        registry.address().http_client().get(catalog).send().await.unwrap().json().await.unwrap();
    for repository in catalog["repositories"].as_array().unwrap() {
        assert!(["mirror/app", "mirror/plain"].contains(&repository.as_str().unwrap()), "{catalog}");
    }
}

async fn assert_untouched(registry: &Registry) {
    for method in ["PUT", "POST", "PATCH"] {
        assert_eq!(registry.count(method, "").await, 0, "{method}");
    }
}

fn document(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[tokio::test]
async fn a_signed_bundle_may_decide_whom_to_trust_in_every_form() {
    let site = Site::new().await;
    let (policy, key) = (site.policy(), site.key.to_str().unwrap());
    let trust = ["--trust", &policy, "--trust", key];
    site.export("b.tar", &site.images, &trust).run().await.expect_success();
    site.export("v.tar", &site.images, &[&trust[..], &["--split", "64KiB"]].concat())
        .run()
        .await
        .expect_success();
    let unpacked = site.path("layout");
    fs::create_dir(&unpacked).unwrap();
    let tar =
        Command::new("tar").arg("-C").arg(&unpacked).arg("-xf").arg(site.path("b.tar")).status().unwrap();
    assert!(tar.success());
    fs::copy(site.path("b.tar.sig"), site.path("layout.sig")).unwrap();
    let (right, wrong) = (bundle_key("p256.pub"), bundle_key("cosign.pub"));

    for form in ["b.tar", "v.tar.volumes.json", "layout"] {
        let shown = Mirror::new(["bundle", "inspect", form]).in_folder(site.folder.path()).run().await;
        let shown = shown.expect_success();
        assert!(shown.stdout.contains("trust   policy.yaml (policy, sha256:"), "{shown}");
        assert!(shown.stdout.contains("trust   team.pub (public key, sha256:"), "{shown}");
        let json = Mirror::new(["bundle", "inspect", "-o", "json", form]).in_folder(site.folder.path());
        let trust = document(&json.run().await.expect_success())["trust"].clone();
        assert_eq!(trust[1]["name"], "team.pub");
        assert_eq!((&trust[0]["kind"], &trust[1]["kind"]), (&"policy".into(), &"public-key".into()));
        Mirror::new(["bundle", "verify", form]).in_folder(site.folder.path()).run().await.expect_success();

        let registry = Registry::start().await;
        let refused = site.import(&[form], &registry, &["--trust-bundle"]).run().await.expect_code(2);
        assert!(refused.stderr.contains("--trust-bundle needs --bundle-key: without"), "{refused}");
        let refused = site.import(&[form], &registry, &["--trust-bundle", "--bundle-key", &wrong]);
        let refused = refused.run().await.expect_code(6);
        assert!(
            refused.stderr.contains("the signature does not match this bundle and this key"),
            "{refused}"
        );
        assert_untouched(&registry).await;
        let trusting = ["--trust-bundle", "--bundle-key", &right];
        let imported = site.import(&[form], &registry, &trusting).run().await.expect_success();
        assert!(imported.stdout.contains("1 image signed by key bundle:/team.pub"), "{form}: {imported}");
        assert_app_is_there(&registry).await;
    }
    let registry = Registry::start().await;
    let piped = ["--trust-bundle", "--bundle-key", &right, "--signature", "b.tar.sig"];
    let imported = site.import(&["-"], &registry, &piped).stdin(fs::read(site.path("b.tar")).unwrap());
    let imported = imported.run().await.expect_success();
    assert!(imported.stdout.contains("1 image signed by key bundle:/team.pub"), "{imported}");
    assert_app_is_there(&registry).await;
    // Without --trust-bundle, the files change nothing.
    let registry = Registry::start().await;
    let imported = site.import(&["b.tar"], &registry, &[]).run().await.expect_success();
    assert!(!imported.stdout.contains("signed by"), "{imported}");
}

#[tokio::test]
async fn the_bundles_keys_refuse_what_they_did_not_sign_and_flags_win() {
    let site = Site::new().await;
    let other = site.court.cosign.generate_key("other").await;
    let (key, other) = (site.key.to_str().unwrap(), other.to_str().unwrap());
    site.export("b.tar", &site.images, &["--trust", other, "--trust", key]).run().await.expect_success();
    let right = bundle_key("p256.pub");
    let trusting = ["--trust-bundle", "--bundle-key", &right];

    // Any of the keys; `plain` is not signed at all.
    let registry = Registry::start().await;
    let without_log = [&trusting[..], &["--insecure-ignore-tlog"]].concat();
    let refused = site.import(&["b.tar"], &registry, &without_log).run().await.expect_code(6);
    assert!(refused.stderr.contains("plain") && refused.stderr.contains("is not signed"), "{refused}");
    assert_app_is_there(&registry).await;
    assert_eq!(registry.count("PUT", "/v2/mirror/plain/manifests/").await, 0);
    let refused = site.import(&["b.tar"], &Registry::start().await, &trusting).run().await.expect_code(6);
    assert!(refused.stderr.contains("it is not in a transparency log"), "{refused}");

    // The user's key decides, although the bundle has another.
    let registry = Registry::start().await;
    let mine = [&without_log[..], &["--verify-key", other]].concat();
    let refused = site.import(&["b.tar"], &registry, &mine).run().await.expect_code(6);
    assert!(refused.stderr.contains("it was made with a key other than"), "{refused}");
    assert_eq!(registry.count("PUT", "/v2/mirror/app/manifests/").await, 0);
}

#[tokio::test]
async fn the_trusted_root_of_a_bundle_serves_an_identity_that_the_user_names() {
    let site = Site::new().await;
    let instance = SigstoreInstance::new();
    instance.write_trusted_root(&site.path("root.json"));
    let image = site.court.push("keyless").await;
    let signer = instance.issue(RELEASE, ISSUER, Flaws::default());
    site.court.attach_bundle("keyless", &image, &instance.bundle(&signer, &image)).await;
    let tag = SampleImage::multi_platform("keyless").tag;
    let images = [site.court.address().image("keyless", &tag)];
    let root = site.path("root.json");
    site.export("b.tar", &images, &["--trust", root.to_str().unwrap()]).run().await.expect_success();
    let right = bundle_key("p256.pub");
    let trusting = ["--trust-bundle", "--bundle-key", &right];
    let refused = site.import(&["b.tar"], &Registry::start().await, &trusting).run().await.expect_code(2);
    assert!(refused.stderr.contains("does not say whose signatures images need"), "{refused}");
    let identity = ["--verify-identity", RELEASE, "--verify-issuer", ISSUER];
    let named = [&trusting[..], &identity].concat();
    let imported = site.import(&["b.tar"], &Registry::start().await, &named).run().await.expect_success();
    assert!(imported.stdout.contains(&format!("1 image signed by {RELEASE}")), "{imported}");
    // Without --trust-bundle, the public instance is trusted.
    let refused = [&["--bundle-key", &right], &identity[..]].concat();
    site.import(&["b.tar"], &Registry::start().await, &refused).run().await.expect_code(6);
}

#[tokio::test]
async fn a_changed_trust_file_is_refused_by_its_digest() {
    let site = Site::new().await;
    let (policy, key) = (site.policy(), site.key.to_str().unwrap());
    site.export("b.tar", &site.images, &["--trust", &policy, "--trust", key]).run().await.expect_success();
    let right = bundle_key("p256.pub");
    let mut bytes = fs::read(site.path("b.tar")).unwrap();
    let at = bytes.windows(18).position(|window| window == b"otherwise: require").unwrap();
    bytes[at + 11..at + 18].copy_from_slice(b"allow  ");
    fs::write(site.path("bad.tar"), &bytes).unwrap();
    fs::copy(site.path("b.tar.sig"), site.path("bad.tar.sig")).unwrap();
    let trusting = ["--trust-bundle", "--bundle-key", &right];
    let registry = Registry::start().await;
    let refused = site.import(&["bad.tar"], &registry, &trusting).run().await.expect_code(6);
    let said = "trust file policy.yaml cannot be used: its bytes do not match its digest";
    assert!(refused.stderr.contains(said), "{refused}");
    let piped = [&trusting[..], &["--signature", "b.tar.sig"]].concat();
    let refused = site.import(&["-"], &registry, &piped).stdin(bytes).run().await.expect_code(6);
    assert!(refused.stderr.contains(said), "{refused}");
    assert_untouched(&registry).await;
    Mirror::new(["bundle", "verify", "bad.tar"]).in_folder(site.folder.path()).run().await.expect_code(6);
}

#[tokio::test]
async fn the_same_files_give_the_same_bytes_also_in_a_stream_and_a_delta_has_them() {
    let site = Site::new().await;
    let (policy, key) = (site.policy(), site.key.to_str().unwrap());
    let forth = ["--trust", &policy, "--trust", key];
    let back = ["--trust", key, "--trust", &policy];
    site.export("one.tar", &site.images, &forth).run().await.expect_success();
    site.export("other.tar", &site.images, &back).run().await.expect_success();
    let one = fs::read(site.path("one.tar")).unwrap();
    assert!(one == fs::read(site.path("other.tar")).unwrap());
    let again = site.export("one.tar", &site.images, &forth).run().await.expect_success();
    assert!(again.stdout.contains("up-to-date"), "{again}");
    let piped = [&back[..], &["--signature", "s.sig"]].concat();
    let streamed = site.export("-", &site.images, &piped).run_captured().await;
    assert!(streamed.stdout == one);

    // The far side has everything that the base has; the files are in the delta all the same.
    let right = bundle_key("p256.pub");
    let registry = Registry::start().await;
    site.import(&["one.tar"], &registry, &[]).run().await.expect_success();
    let delta = [&forth[..], &["--base", "one.tar"]].concat();
    site.export("delta.tar", &site.images, &delta).run().await.expect_success();
    let trusting = ["--trust-bundle", "--bundle-key", &right];
    let imported = site.import(&["delta.tar"], &registry, &trusting).run().await.expect_success();
    assert!(imported.stdout.contains("1 image signed by key bundle:/team.pub"), "{imported}");
}

#[tokio::test]
async fn files_that_no_import_could_use_are_refused_before_any_request() {
    let site = Site::new().await;
    let private = site.court.cosign.file("team.key");
    let (policy, key) = (site.policy(), site.key.to_str().unwrap().to_owned());
    let copy = site.path("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(&site.key, copy.join("team.pub")).unwrap();
    let copy = copy.join("team.pub").to_str().unwrap().to_owned();
    for (files, expected) in [
        (vec![private.to_str().unwrap()], "never put a private key into a bundle"),
        (vec![&*policy], "the public key team.pub, which is not beside it"),
        (vec![&*key, &copy], "two trust files have the name team.pub"),
        (vec!["absent.pub"], "cannot read absent.pub"),
    ] {
        let more: Vec<&str> = files.iter().flat_map(|file| ["--trust", *file]).collect();
        let refused = site.export("b.tar", &site.images, &more).run().await.expect_code(2);
        assert!(refused.stderr.contains(expected), "{refused}");
        assert!(!site.path("b.tar").exists());
    }
    let unsigned = Mirror::new(["bundle", "export", "-o", "b.tar", "--trust", &key, "--plain-http"])
        .arg(&site.court.address().host_port)
        .arguments(&site.images)
        .in_folder(site.folder.path());
    let unsigned = unsigned.run().await.expect_success();
    assert!(unsigned.stderr.contains("the bundle is not signed, so no import will use"), "{unsigned}");
}

#[tokio::test]
async fn other_tools_read_a_bundle_with_trust_files() {
    let site = Site::new().await;
    let (policy, key) = (site.policy(), site.key.to_str().unwrap());
    site.export("b.tar", &site.images, &["--trust", &policy, "--trust", key]).run().await.expect_success();
    let (bundle, registry) = (site.path("b.tar"), Registry::start().await);
    let image = SampleImage::multi_platform("app");
    let from = format!("oci-archive:{}:{}", bundle.display(), site.images[0]);
    let to = format!("docker://{}", registry.address().image("skopeo/app", &image.tag));
    skopeo::run(&["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", &from, &to]).await;
    client::assert_present(&image, registry.address(), "skopeo/app").await;
    let from = format!("{}@{}", bundle.display(), image.root().digest);
    let to = registry.address().image("oras/app", &image.tag);
    oras(&["copy", "-r", "--from-oci-layout", "--to-plain-http", &from, &to]).await;
    client::assert_present(&image, registry.address(), "oras/app").await;

    // oras takes the files out of the unpacked layout.
    let layout = site.path("layout");
    fs::create_dir(&layout).unwrap();
    assert!(Command::new("tar").arg("-C").arg(&layout).arg("-xf").arg(&bundle).status().unwrap().success());
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let kind = "application/vnd.thoras-mirror.trust.v1+json";
    let entries = index["manifests"].as_array().unwrap();
    let artifact = entries.iter().find(|entry| entry["artifactType"] == kind).unwrap();
    assert!(artifact.get("annotations").is_none(), "{artifact}");
    let from = format!("{}@{}", layout.display(), artifact["digest"].as_str().unwrap());
    let out = site.path("out");
    oras(&["pull", "--oci-layout", &from, "-o", out.to_str().unwrap()]).await;
    for file in [Path::new(&policy), Path::new(key)] {
        assert_eq!(fs::read(out.join(file.file_name().unwrap())).unwrap(), fs::read(file).unwrap());
    }
    // A server answers as if the files were not there.
    let serve = Mirror::new(["serve", "b.tar", "--listen", "127.0.0.1:0", "--quiet"])
        .in_folder(site.folder.path())
        .start();
    serve.stdout_line("http://").await;
    drop(serve);
}

async fn oras(arguments: &[&str]) -> Vec<u8> {
    programs::run(programs::find("THORAS_MIRROR_TEST_ORAS", "oras"), arguments.iter().copied()).await
}
