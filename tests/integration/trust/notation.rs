//! A policy that needs signatures of the Notary Project: the program notation decides, and this program agrees with it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use serde_json::{Value, json};
use thoras_mirror::oci::Digest;

use super::judge::Court;
use crate::support::{
    client,
    images::SampleImage,
    notation::Notation,
    process::{Mirror, Outcome},
    registry::Registry,
};

const ANY: &str = "*";

/// A registry with images, and notation, which trusts the key `key`.
struct Site {
    court: Court,
    notation: Notation,
    certificate: PathBuf,
    folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        let notation = Notation::trusting("key");
        let certificate = notation.generate_key("key").await;
        notation.generate_key("wrong").await;
        Self { court: Court::new().await, notation, certificate, folder: tempfile::tempdir().unwrap() }
    }

    /// Writes a policy for every image; returns its file.
    fn policy(&self, identities: &str) -> String {
        let certificates = self.certificate.to_str().unwrap();
        let rule =
            json!({ "match": "*", "notation": { "certificates": certificates, "identities": identities } });
        let file = self.folder.path().join("policy.yaml");
        fs::write(&file, json!({ "images": [rule], "otherwise": "require" }).to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn sync_by(name: &str, to: &str, policy: &str) -> Mirror {
        Mirror::new(["sync", name, "--to", to, "--verify-policy", policy, "--platform", "linux/amd64"])
    }

    /// Syncs an image by digest into a registry of its own, which gets it only with exit code 0.
    async fn sync(&self, repository: &str, digest: &Digest, policy: &str) -> Outcome {
        let destination = Registry::start().await;
        let to = format!("{}/m", destination.address().host_port);
        let outcome = Self::sync_by(&self.court.image(repository, digest), &to, policy).run().await;
        let pushes = destination.count("PUT", "").await;
        assert_eq!(pushes > 0, outcome.status.success(), "{outcome}");
        outcome
    }

    /// The manifest of the only signature of an image.
    async fn signature(&self, repository: &str, image: &Digest) -> Value {
        let listed = self.court.get(repository, &format!("referrers/{image}")).await.unwrap();
        let listed: Value = serde_json::from_slice(&listed).unwrap();
        let [entry] = listed["manifests"].as_array().unwrap().as_slice() else { panic!("{listed}") };
        let digest = entry["digest"].as_str().unwrap();
        let manifest = self.court.get(repository, &format!("manifests/{digest}")).await.unwrap();
        serde_json::from_slice(&manifest).unwrap()
    }

    /// The envelope in a signature: JSON.
    async fn envelope(&self, repository: &str, signature: &Value) -> Value {
        let digest = signature["layers"][0]["digest"].as_str().unwrap();
        serde_json::from_slice(&self.court.get(repository, &format!("blobs/{digest}")).await.unwrap())
            .unwrap()
    }

    /// Attaches a signature to an image, with this envelope.
    async fn attach(&self, repository: &str, image: &Digest, signature: &Value, envelope: &Value) {
        let mut manifest = signature.clone();
        let kind = signature["layers"][0]["mediaType"].as_str().unwrap();
        manifest["layers"][0] = self.court.push_blob(repository, kind, envelope.to_string()).await;
        let config = signature["config"]["mediaType"].as_str().unwrap();
        manifest["config"] = self.court.push_blob(repository, config, "{}".to_owned()).await;
        let subject = self.court.get(repository, &format!("manifests/{image}")).await.unwrap();
        manifest["subject"]["digest"] = json!(image);
        manifest["subject"]["size"] = json!(subject.len());
        let digest = Digest::sha256(manifest.to_string().as_bytes());
        self.court.put_manifest(repository, digest.as_str(), &manifest).await;
    }

    /// Both judge the image. Returns what this program said.
    async fn agree(&self, repository: &str, image: &Digest, accepted: bool) -> String {
        let (by_notation, said) = self.notation.verifies(&self.court.image(repository, image)).await;
        assert_eq!(by_notation, accepted, "{repository}: {said}");
        let code = if accepted { 0 } else { 6 };
        let outcome = self.sync(repository, image, &self.policy(ANY)).await.expect_code(code);
        outcome.stderr
    }
}

#[tokio::test]
async fn a_signature_that_notation_accepts_is_accepted() {
    let site = Site::new().await;
    let image = site.court.push("app").await;
    let said = site.agree("app", &image, false).await;
    assert!(said.contains("is not signed"), "{said}");
    // One by a stranger does not spoil that of the publisher.
    site.notation.sign("wrong", &site.court.image("app", &image)).await;
    let said = site.agree("app", &image, false).await;
    assert!(
        said.contains("notation rejects it: ") && said.contains("hint: compare the certificates"),
        "{said}"
    );
    assert!(said.contains("does not contain any trusted certificate"), "{said}");
    site.notation.sign("key", &site.court.image("app", &image)).await;
    site.agree("app", &image, true).await;
}

#[tokio::test]
async fn a_signature_of_the_index_covers_its_children_and_not_the_other_way_round() {
    let site = Site::new().await;
    let image = site.court.push_image("app").await;
    let (index, child) = (&image.root().digest, &image.manifests[0].digest);
    assert_ne!(index, child);
    site.notation.sign("key", &site.court.image("app", child)).await;
    site.agree("app", index, false).await;
    site.agree("app", child, true).await;
    site.notation.sign("key", &site.court.image("app", index)).await;
    site.agree("app", index, true).await;
}

#[tokio::test]
async fn altered_and_moved_signatures_are_refused() {
    let site = Site::new().await;
    let signed = site.court.push("signed").await;
    site.notation.sign("key", &site.court.image("signed", &signed)).await;
    let signature = site.signature("signed", &signed).await;
    let envelope = site.envelope("signed", &signature).await;
    for repository in ["moved", "altered", "copied"] {
        let image = site.court.push(repository).await;
        match repository {
            "moved" => site.attach(repository, &image, &signature, &envelope).await,
            "altered" => {
                // It names this image, but this is not what was signed.
                let payload = json!({ "targetArtifact": {
                    "mediaType": "application/vnd.oci.image.index.v1+json",
                    "digest": image,
                    "size": site.court.get(repository, &format!("manifests/{image}")).await.unwrap().len(),
                }});
                let mut envelope = envelope.clone();
                envelope["payload"] = json!(base64(payload.to_string().as_bytes()));
                site.attach(repository, &image, &signature, &envelope).await;
            }
            _ => {
                site.notation.sign("key", &site.court.image(repository, &image)).await;
            }
        }
        site.agree(repository, &image, repository == "copied").await;
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Without a timestamp, the certificate must be valid when the signature is verified.
#[tokio::test]
async fn a_signature_with_an_expired_certificate_is_refused() {
    const VALID: Duration = Duration::from_secs(12);
    const SURELY: Duration = Duration::from_secs(10);
    let mut site = Site::new().await;
    let image = site.court.push("app").await;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut short = CertificateParams::default();
    for (kind, text) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "WA"),
        (DnType::OrganizationName, "Notary"),
        (DnType::CommonName, "short"),
    ] {
        short.distinguished_name.push(kind, text);
    }
    short.is_ca = IsCa::ExplicitNoCa;
    short.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    short.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    short.not_before = now - Duration::from_secs(60);
    short.not_after = now + VALID;
    let certificate = short.self_signed(&key).unwrap().pem();
    let begun = tokio::time::Instant::now();
    site.certificate = site.notation.add_key("short", &key.serialize_pem(), &certificate);
    site.notation.sign("short", &site.court.image("app", &image)).await;
    let (accepted, said) = site.notation.verifies(&site.court.image("app", &image)).await;
    if begun.elapsed() < SURELY {
        assert!(accepted, "{said}");
    }
    tokio::time::sleep_until(begun + VALID + Duration::from_secs(1)).await;
    let said = site.agree("app", &image, false).await;
    assert!(said.contains("expired") || said.contains("not valid"), "{said}");
}

#[tokio::test]
async fn only_the_identities_of_the_policy_count() {
    let site = Site::new().await;
    let image = site.court.push("app").await;
    site.notation.sign("key", &site.court.image("app", &image)).await;
    let right = site.policy("x509.subject: C=US, ST=WA, O=Notary");
    site.sync("app", &image, &right).await.expect_success();
    let other = site.policy("x509.subject: C=US, ST=WA, O=Other");
    let refused = site.sync("app", &image, &other).await.expect_code(6);
    assert!(refused.stderr.contains("notation rejects it: "), "{refused}");
}

#[tokio::test]
async fn verify_asks_notation_about_the_mirror() {
    let site = Site::new().await;
    let (image, name) = (SampleImage::multi_platform("app"), site.court.address().image("app", "app"));
    client::push(&image, site.court.address(), "app").await;
    let name = name.replace(":app", &format!(":{}", image.tag));
    let signed = site.court.image("app", &image.root().digest);
    site.notation.sign("key", &signed).await;
    let destination = Registry::start().await;
    let to = format!("{}/m", destination.address().host_port);
    let policy = site.policy(ANY);
    let folder = site.folder.path();
    let run = async |words: &[&str]| Mirror::new(words.iter().copied()).in_folder(folder).run().await;
    let platform = ["--platform", "linux/amd64"];
    run(&[&["sync", &name, "--to", &to, "--verify-policy", &policy], &platform[..]].concat())
        .await
        .expect_success();
    let verified = run(&["verify", "--verify-policy", &policy, "-o", "json"]).await.expect_success();
    let trusted = site.certificate.to_str().unwrap();
    let document: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(document["images"][0]["signature"]["notation"], trusted, "{document:#}");
    let other = site.policy("x509.subject: C=US, ST=WA, O=Other");
    run(&["verify", "--verify-policy", &other]).await.expect_code(5);
}

/// A folder whose `notation` is this shell script.
fn fake(folder: &Path, script: &str) -> PathBuf {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = bin.join("notation");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

#[tokio::test]
async fn without_notation_a_signed_image_is_not_copied_and_the_reason_is_reported() {
    let site = Site::new().await;
    let image = site.court.push("app").await;
    site.notation.sign("key", &site.court.image("app", &image)).await;
    let destination = Registry::start().await;
    let to = format!("{}/m", destination.address().host_port);
    let (empty, policy) = (tempfile::tempdir().unwrap(), site.policy(ANY));
    let sync = || Site::sync_by(&site.court.image("app", &image), &to, &policy);
    let refused = sync().env("PATH", empty.path()).run().await.expect_code(6);
    assert!(refused.stderr.contains("cannot be verified"), "{refused}");
    assert!(refused.stderr.contains("notation, which is not on PATH"), "{refused}");
    assert!(refused.stderr.contains("hint: install notation"), "{refused}");
    let broken = fake(empty.path(), "kill -9 $$");
    let refused = sync().env("PATH", broken).run().await.expect_code(6);
    assert!(refused.stderr.contains("it gave no reason"), "{refused}");
    assert_eq!(destination.count("PUT", "").await, 0);
}

/// notation gets no credential, no variable and no configuration of the user, and cannot flood or control the terminal.
#[tokio::test]
async fn notation_runs_with_an_environment_of_its_own() {
    let site = Site::new().await;
    let image = site.court.push("app").await;
    site.notation.sign("key", &site.court.image("app", &image)).await;
    let (folder, policy) = (tempfile::tempdir().unwrap(), site.policy(ANY));
    let seen = folder.path().join("seen");
    let script = format!(
        "{{ env; echo \"ARGUMENTS $*\"; ls -R \"$HOME\"; cat \"$HOME/notation/trustpolicy.json\"; }} > {}\n\
         printf 'Error: \\033[31mred\\n' >&2\nyes nonsense | head -c 3000000 >&2\nexit 1",
        seen.display()
    );
    let path = format!("{}:/usr/bin:/bin", fake(folder.path(), &script).display());
    let destination = Registry::start().await;
    let to = format!("{}/m", destination.address().host_port);
    let sync = Site::sync_by(&site.court.image("app", &image), &to, &policy).env("PATH", path);
    let sync = sync.env("THORAS_LICENSE", "c2VjcmV0LWxpY2Vuc2U=").env("NOTATION_PASSWORD", "secret-password");
    let home = sync.folder_named("home");
    let refused = sync.run().await.expect_code(6);
    let seen = fs::read_to_string(seen).unwrap();
    for absent in ["THORAS", "c2VjcmV0", "secret-password", home.to_str().unwrap()] {
        assert!(!seen.contains(absent), "{absent}: {seen}");
    }
    assert!(seen.contains("ARGUMENTS verify --verbose --insecure-registry 127.0.0.1:"), "{seen}");
    assert!(seen.contains(r#""level":"strict""#), "{seen}");
    assert!(!refused.stderr.contains('\u{1b}') && refused.stderr.contains("red"), "{refused}");
    assert!(refused.stderr.len() < 64 * 1024, "{}", refused.stderr.len());
}

#[tokio::test]
async fn a_bundle_carries_the_certificates_of_a_policy() {
    let site = Site::new().await;
    let image = SampleImage::multi_platform("app");
    client::push(&image, site.court.address(), "app").await;
    let name = site.court.address().image("app", &image.tag);
    let folder = site.folder.path();
    fs::copy(&site.certificate, folder.join("ca.crt")).unwrap();
    let policy =
        "images:\n- match: '*'\n  notation: {certificates: ca.crt, identities: '*'}\notherwise: require\n";
    fs::write(folder.join("policy.yaml"), policy).unwrap();
    let key = |name: &str| format!("{}/testdata/signing/{name}", env!("CARGO_MANIFEST_DIR"));
    let run = async |words: &[&str]| Mirror::new(words.iter().copied()).in_folder(folder).run().await;
    let export =
        ["bundle", "export", &name, "-o", "b.tar", "--platform", "linux/amd64", "--force", "--sign-key"];
    let (private, public) = (key("p256.pem"), key("p256.pub"));
    let trust = ["--trust", "policy.yaml", "--trust", "ca.crt"];
    let destination = Registry::start().await;
    let to = format!("{}/m", destination.address().host_port);
    let import = ["bundle", "import", "b.tar", "--to", &to, "--bundle-key", &public, "--trust-bundle"];
    run(&[&export[..], &[&private], &trust].concat()).await.expect_success();
    run(&import).await.expect_code(6);
    site.notation.sign("key", &site.court.image("app", &image.root().digest)).await;
    run(&[&export[..], &[&private], &trust].concat()).await.expect_success();
    run(&import).await.expect_success();
    let listed = run(&["bundle", "inspect", "b.tar"]).await.expect_success();
    assert!(listed.stdout.contains("ca.crt"), "{listed}");
    let alone = run(&[&export[..], &[&private], &trust[..2]].concat()).await.expect_code(2);
    assert!(alone.stderr.contains("certificate ca.crt, which is not beside it"), "{alone}");
}
