//! Policy files, and what people read.

use std::{fs, path::Path};

use bytes::Bytes;
use serde_json::json;
use thoras_mirror::{
    error::{Failure, Kind},
    internals::trust::{Attached, Keys, Policy, Requirement, Verdict, Verifier},
    oci::{Digest, Reference},
};

use crate::support::{
    sigstore::{SigstoreInstance, TestSigner, bundle_without_log},
    tls::Authority,
};

/// A referrer with one bundle.
fn attached(bundle: &str) -> Attached {
    let layer = Digest::sha256(bundle.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "digest": layer, "size": bundle.len(),
        }],
    });
    Attached::referrer(manifest.to_string().into(), [Bytes::from(bundle.to_owned())])
}

fn key_policy(file: &Path) -> Policy {
    let files = vec![file.to_owned()];
    Policy::for_every_image(Requirement::Keys(Keys { files, ignore_log: true, trusted_root: None }))
}

fn shown(failure: &Failure) -> String {
    let causes = failure.causes.join("\n  ");
    format!("{}\n  {causes}\nhint: {}", failure.message, failure.hint.as_deref().unwrap_or("none"))
}

#[test]
fn the_first_rule_that_matches_an_image_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (TestSigner::with_key(), TestSigner::with_key());
    fs::create_dir(folder.path().join("keys")).unwrap();
    old.write_public_key(&folder.path().join("keys/old.pub"));
    new.write_public_key(&folder.path().join("keys/new.pub"));
    SigstoreInstance::new().write_trusted_root(&folder.path().join("root.json"));
    let policy = folder.path().join("policy.yaml");
    let text = "images:\n- match: quay.io/acme/web\n  unsigned: true\n- match: quay.io/acme/*\n  \
                key: [keys/old.pub, keys/new.pub]\n  ignore-tlog: true\n- match: ghcr.io/*\n  identity: me@acme.example\n  \
                issuer: https://accounts.example\n  trusted-root: root.json\n";
    let digest = Digest::sha256(b"image");
    let by_new = [attached(&bundle_without_log(&new, &digest).to_string())];
    for otherwise in ["allow", "require"] {
        fs::write(&policy, format!("{text}otherwise: {otherwise}\n")).unwrap();
        let verifier = Verifier::new(Policy::from_file(&policy, None).unwrap()).unwrap();
        let verdict = |image: &str, attached: &[Attached]| {
            let reference: Reference = image.parse().unwrap();
            let verdict = verifier.verify(&reference, &digest, attached);
            assert_eq!(
                verifier.needs_signature(&reference),
                !matches!(verdict, Verdict::NotRequired | Verdict::NoRule)
            );
            verdict
        };
        assert_eq!(verdict("quay.io/acme/web:1", &[]), Verdict::NotRequired);
        assert!(matches!(verdict("quay.io/acme/app:1", &by_new), Verdict::Verified { .. }));
        assert_eq!(verdict("quay.io/acme/app:1", &[]), Verdict::Unsigned);
        assert!(matches!(verdict("ghcr.io/a/b:1", &by_new), Verdict::Rejected(_)));
        let expected = if otherwise == "allow" { Verdict::NotRequired } else { Verdict::NoRule };
        assert_eq!(verdict("docker.io/library/nginx:1", &by_new), expected);
    }
}

#[test]
fn a_rejected_image_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("team.pub");
    let signer = TestSigner::with_key();
    signer.write_public_key(&file);
    let verifier = Verifier::new(key_policy(&file)).unwrap();
    let image: Reference = "quay.io/acme/app:1".parse().unwrap();
    let (digest, other) = (Digest::sha256(b"image"), Digest::sha256(b"other"));
    let explained = |attached: &[Attached]| {
        let verdict = verifier.verify(&image, &digest, attached);
        let failure = verdict.failure(&image, &digest, Kind::Integrity).unwrap();
        assert_eq!(failure.kind.exit_code(), 6);
        shown(&failure).replace(file.parent().unwrap().to_str().unwrap(), "FOLDER")
    };
    let unsigned = explained(&[]);
    assert!(unsigned.starts_with("quay.io/acme/app:1 is not signed\n"), "{unsigned}");

    let moved = bundle_without_log(&signer, &other).to_string();
    let strange = bundle_without_log(&TestSigner::with_key(), &digest).to_string();
    let text = explained(&[attached(&moved), attached(&strange), attached("{\u{1b}")]);
    assert!(
        text.starts_with("quay.io/acme/app:1 has no acceptable signature: all 3 are rejected\n"),
        "{text}"
    );
    assert!(text.contains(&format!(": it signs another image: {other}\n")), "{text}");
    assert!(
        text.contains(": it was made with a key other than FOLDER/team.pub, or its content was altered\n"),
        "{text}"
    );
    // The one that got furthest decides what to do.
    assert!(text.ends_with(
        "hint: the signature was moved here from another image: ask the publisher to sign this digest"
    ));
    assert!(!text.contains('\u{1b}'), "{text}");

    // The bytes of another layer are never taken for those that the manifest names.
    let valid = attached(&bundle_without_log(&signer, &digest).to_string());
    assert!(matches!(verifier.verify(&image, &digest, &[valid]), Verdict::Verified { .. }));
}

#[test]
fn a_layer_with_other_bytes_than_the_manifest_names_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("team.pub");
    let signer = TestSigner::with_key();
    signer.write_public_key(&file);
    let digest = Digest::sha256(b"image");
    let bundle = bundle_without_log(&signer, &digest).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "digest": Digest::sha256(b"another bundle"), "size": bundle.len(),
        }],
    });
    let attached = Attached::referrer(manifest.to_string().into(), [Bytes::from(bundle)]);
    let verifier = Verifier::new(key_policy(&file)).unwrap();
    let verdict = verifier.verify(&"quay.io/a/b:1".parse().unwrap(), &digest, &[attached]);
    assert!(matches!(verdict, Verdict::Rejected(_)), "{verdict:?}");
}

#[test]
fn a_file_that_is_not_a_public_key_or_trusted_root_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    let key = TestSigner::with_key();
    key.write_public_key(&path("good.pub"));
    write("private", &key.private_key());
    write(
        "sealed",
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nYQ==\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
    );
    write("text", "ssh-ed25519 AAAA");
    write("empty", "");
    write("garbage", "-----BEGIN PUBLIC KEY-----\nYWJj\n-----END PUBLIC KEY-----\n");
    fs::copy(Authority::new().certificate_file(), path("certificate")).unwrap();
    for (file, expected) in [
        ("private", "holds a private key, not a public key"),
        ("sealed", "holds a private key, not a public key"),
        ("certificate", "holds a certificate, not a public key"),
        ("text", "does not hold a public key in PEM"),
        ("empty", "does not hold a public key in PEM"),
        ("garbage", "holds a key that cannot be used"),
        ("missing", "cannot read the public key"),
    ] {
        let failure = Verifier::new(key_policy(&path(file))).err().unwrap();
        assert_eq!(failure.kind, Kind::Input, "{failure:?}");
        assert!(failure.message.contains(expected) && failure.message.contains(file), "{failure:?}");
        assert!(failure.hint.is_some(), "{failure:?}");
    }
    for (file, expected) in
        [("text", "is not a Sigstore trusted root"), ("missing", "cannot read the trusted root")]
    {
        let files = vec![path("good.pub")];
        let keys = Keys { files, ignore_log: false, trusted_root: Some(path(file)) };
        let failure = Verifier::new(Policy::for_every_image(Requirement::Keys(keys))).err().unwrap();
        assert!(failure.message.contains(expected) && failure.hint.is_some(), "{failure:?}");
    }
    // The public instance's root is built in.
    let keys = Keys { files: vec![path("good.pub")], ignore_log: false, trusted_root: None };
    assert!(Verifier::new(Policy::for_every_image(Requirement::Keys(keys))).is_ok());
}
