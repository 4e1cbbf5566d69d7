//! Signatures by long-lived keys, by real cosign and with any flaw.

use serde_json::json;
use thoras_mirror::internals::trust::{Reason, Signer, Verdict};

use super::judge::{Court, Expected, Wanted};
use crate::support::sigstore::{
    Flaws, SigstoreInstance, TestSigner, bundle_without_log, simple_signing_without_log,
};

const WRONG_KEY: Expected = Expected::Rejected(|reason| matches!(reason, Reason::WrongKey { .. }));
const OTHER_IMAGE: Expected = Expected::Rejected(|reason| matches!(reason, Reason::OtherImage { .. }));
const NOT_LOGGED: Expected = Expected::Rejected(|reason| matches!(reason, Reason::NotLogged));

#[tokio::test]
async fn signatures_by_cosign_are_accepted_with_the_right_key_only() {
    let mut court = Court::new().await;
    let mut keys = vec![("p256", court.cosign.generate_key("p256").await)];
    let rsa = TestSigner::with_algorithm(&rcgen::PKCS_RSA_SHA256).private_key();
    keys.push(("rsa", court.cosign.import_key("rsa", &rsa).await));
    let wrong = Wanted::Key(court.cosign.generate_key("wrong").await, None);
    for (name, file) in keys {
        let right = Wanted::Key(file, None);
        for older in [false, true] {
            let repository = format!("{name}-{}", if older { "tag" } else { "bundle" });
            let image = court.push(&repository).await;
            court.judge("unsigned", &repository, &image, &right, Expected::Unsigned).await;
            let reference = court.image(&repository, &image);
            if older {
                court.cosign.sign_as_tag(name, &reference, &[]).await;
            } else {
                court.cosign.sign(name, &reference, &[]).await;
            }
            court.judge(&repository, &repository, &image, &right, Expected::Accepted).await;
            court.judge(&repository, &repository, &image, &wrong, WRONG_KEY).await;
        }
    }
    court.adjourn();
}

/// cosign 3.1 rejects what it signs with a P-384 key: it signs a SHA-384 digest and verifies a SHA-256 digest.
#[tokio::test]
async fn signatures_by_cosign_with_p384_are_accepted() {
    let court = Court::new().await;
    let key = TestSigner::with_algorithm(&rcgen::PKCS_ECDSA_P384_SHA384).private_key();
    let file = court.cosign.import_key("p384", &key).await;
    let image = court.push("bundle").await;
    court.cosign.sign("p384", &court.image("bundle", &image), &[]).await;
    let tagged = court.push("tag").await;
    court.cosign.sign_as_tag("p384", &court.image("tag", &tagged), &[]).await;
    for (repository, image) in [("bundle", &image), ("tag", &tagged)] {
        let Verdict::Verified { signer, .. } =
            court.verdict(repository, image, &Wanted::Key(file.clone(), None)).await
        else {
            panic!("{repository}")
        };
        assert_eq!(signer, Signer::Key { file: file.display().to_string() });
    }
}

#[tokio::test]
async fn an_index_and_its_children_have_their_own_signatures() {
    let mut court = Court::new().await;
    let key = Wanted::Key(court.cosign.generate_key("key").await, None);
    for older in [false, true] {
        let suffix = if older { "tag" } else { "bundle" };
        // All of them: `cosign sign --recursive`.
        let repository = format!("recursive-{suffix}");
        let image = court.push_image(&repository).await;
        let root = image.root().digest.clone();
        sign(&court, older, &court.image(&repository, &root), &["--recursive"]).await;
        for manifest in &image.manifests {
            court.judge(&repository, &repository, &manifest.digest, &key, Expected::Accepted).await;
        }
        // One child: the index that lists it is not signed, nor is the other child.
        let repository = format!("child-{suffix}");
        let image = court.push_image(&repository).await;
        let child = &image.manifests[0].digest;
        sign(&court, older, &court.image(&repository, child), &[]).await;
        for manifest in &image.manifests {
            let expected = if manifest.digest == *child { Expected::Accepted } else { Expected::Unsigned };
            court.judge(&repository, &repository, &manifest.digest, &key, expected).await;
        }
    }
    court.adjourn();
}

async fn sign(court: &Court, older: bool, image: &str, more: &[&str]) {
    if older {
        court.cosign.sign_as_tag("key", image, more).await;
    } else {
        court.cosign.sign("key", image, more).await;
    }
}

#[tokio::test]
async fn flaws_are_found_without_a_log() {
    let mut court = Court::new().await;
    let file = court.cosign.file("key.pub");
    let signer = TestSigner::with_key();
    signer.write_public_key(&file);
    let key = Wanted::Key(file, None);
    let stranger = TestSigner::with_key();
    let other = court.push("other").await;

    for (case, expected) in [
        ("valid", Expected::Accepted),
        ("other-image", OTHER_IMAGE),
        ("altered", WRONG_KEY),
        ("second-of-two", Expected::Accepted),
        ("beside-an-sbom", Expected::Accepted),
    ] {
        let repository = format!("{case}-bundle");
        let image = court.push(&repository).await;
        let about = if case == "other-image" { &other } else { &image };
        let mut bundle = bundle_without_log(&signer, about);
        match case {
            "altered" => {
                let another = bundle_without_log(&signer, &other);
                bundle["dsseEnvelope"]["signatures"] = another["dsseEnvelope"]["signatures"].clone();
            }
            "second-of-two" => {
                court.attach_bundle(&repository, &image, &bundle_without_log(&stranger, &image)).await;
            }
            "beside-an-sbom" => {
                court.attach(&repository, &image, "application/spdx+json", "{}".to_owned()).await;
            }
            _ => {}
        }
        court.attach_bundle(&repository, &image, &bundle).await;
        court.judge(&repository, &repository, &image, &key, expected).await;

        let repository = format!("{case}-tag");
        let image = court.push(&repository).await;
        let about = if case == "other-image" { &other } else { &image };
        let (payload, annotations) = simple_signing_without_log(&signer, about);
        let layers = match case {
            "altered" => {
                vec![(simple_signing_without_log(&signer, &other).0.replace("app", "ap"), annotations)]
            }
            "second-of-two" => {
                vec![simple_signing_without_log(&stranger, &image), (payload, annotations)]
            }
            _ => vec![(payload, annotations)],
        };
        if case == "beside-an-sbom" {
            court.attach(&repository, &image, "application/spdx+json", "{}".to_owned()).await;
            // Not a bundle, although its type says so.
            let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
            court.attach(&repository, &image, kind, "not a bundle".to_owned()).await;
        }
        court.attach_signature_tag(&repository, &image, &layers).await;
        court.judge(&repository, &repository, &image, &key, expected).await;
    }

    // As in cosign 3, a tag does not count if there is a bundle.
    let image = court.push("both").await;
    court.attach_bundle("both", &image, &bundle_without_log(&stranger, &image)).await;
    court.attach_signature_tag("both", &image, &[simple_signing_without_log(&signer, &image)]).await;
    court.judge("both", "both", &image, &key, WRONG_KEY).await;
    court.adjourn();
}

#[tokio::test]
async fn an_ed25519_signature_is_accepted() {
    let mut court = Court::new().await;
    let signer = TestSigner::with_algorithm(&rcgen::PKCS_ED25519);
    let file = court.cosign.file("ed25519.pub");
    signer.write_public_key(&file);
    let image = court.push("bundle").await;
    court.attach_bundle("bundle", &image, &bundle_without_log(&signer, &image)).await;
    let key = Wanted::Key(file, None);
    court.judge("bundle", "bundle", &image, &key, Expected::Accepted).await;
    let image = court.push("tag").await;
    court.attach_signature_tag("tag", &image, &[simple_signing_without_log(&signer, &image)]).await;
    court.judge("tag", "tag", &image, &key, Expected::Accepted).await;
    court.adjourn();
}

#[tokio::test]
async fn a_key_needs_an_entry_in_a_trusted_log() {
    let mut court = Court::new().await;
    let (instance, other) = (SigstoreInstance::new(), SigstoreInstance::new());
    let (root, file) = (court.cosign.file("root.json"), court.cosign.file("key.pub"));
    instance.write_trusted_root(&root);
    let signer = TestSigner::with_key();
    signer.write_public_key(&file);
    let key = Wanted::Key(file.clone(), Some(root));
    let ignoring = Wanted::Key(file, None);
    let bad_log =
        Expected::Rejected(|reason| matches!(reason, Reason::WrongLogEntry(_) | Reason::UntrustedLog(_)));

    let image = court.push("bundle").await;
    court.attach_bundle("bundle", &image, &instance.bundle(&signer, &image)).await;
    court.judge("logged", "bundle", &image, &key, Expected::Accepted).await;
    court.judge("logged, ignored", "bundle", &image, &ignoring, Expected::Accepted).await;
    let image = court.push("bundle-other").await;
    court.attach_bundle("bundle-other", &image, &other.bundle(&signer, &image)).await;
    court.judge("another log", "bundle-other", &image, &key, bad_log).await;
    let image = court.push("bundle-none").await;
    court.attach_bundle("bundle-none", &image, &bundle_without_log(&signer, &image)).await;
    court.judge("not logged", "bundle-none", &image, &key, NOT_LOGGED).await;
    let (image, another) = (court.push("bundle-swapped").await, court.push("bundle-another").await);
    let mut bundle = bundle_without_log(&signer, &image);
    bundle["verificationMaterial"]["tlogEntries"] =
        instance.bundle(&signer, &another)["verificationMaterial"]["tlogEntries"].clone();
    court.attach_bundle("bundle-swapped", &image, &bundle).await;
    court
        .judge("an entry of another image", "bundle-swapped", &image, &key, Expected::Rejected(|_| true))
        .await;

    let image = court.push("tag").await;
    court.attach_signature_tag("tag", &image, &[instance.simple_signing(&signer, &image)]).await;
    court.judge("logged", "tag", &image, &key, Expected::Accepted).await;
    court.judge("logged, ignored", "tag", &image, &ignoring, Expected::Accepted).await;
    let image = court.push("tag-other").await;
    court.attach_signature_tag("tag-other", &image, &[other.simple_signing(&signer, &image)]).await;
    court.judge("another log", "tag-other", &image, &key, bad_log).await;
    let image = court.push("tag-none").await;
    court.attach_signature_tag("tag-none", &image, &[simple_signing_without_log(&signer, &image)]).await;
    court.judge("not logged", "tag-none", &image, &key, NOT_LOGGED).await;
    let image = court.push("tag-moved").await;
    court.attach_signature_tag("tag-moved", &image, &[instance.simple_signing(&signer, &another)]).await;
    court.judge("a signature of another image", "tag-moved", &image, &key, OTHER_IMAGE).await;
    court.adjourn();
}

#[tokio::test]
async fn a_certificate_beside_a_key() {
    let mut court = Court::new().await;
    let instance = SigstoreInstance::new();
    for expired in [false, true] {
        let name = format!("expired-{expired}");
        let file = court.cosign.file(&format!("{name}.pub"));
        let signer = instance.issue(
            "me@acme.example",
            "https://accounts.example",
            Flaws { expired, ..Flaws::default() },
        );
        signer.write_public_key(&file);
        let key = Wanted::Key(file, None);
        // In the older format, the dates of the certificate count.
        let tag = format!("{name}-tag");
        let image = court.push(&tag).await;
        court.attach_signature_tag(&tag, &image, &[simple_signing_without_log(&signer, &image)]).await;
        let expected = if expired {
            Expected::Rejected(|reason| matches!(reason, Reason::Expired(_)))
        } else {
            Expected::Accepted
        };
        court.judge(&tag, &tag, &image, &key, expected).await;
        // A bundle holds a certificate or is signed by a key.
        let bundle = format!("{name}-bundle");
        let image = court.push(&bundle).await;
        court.attach_bundle(&bundle, &image, &bundle_without_log(&signer, &image)).await;
        let has_no_key = Expected::Rejected(|reason| matches!(reason, Reason::HasNoKey));
        court.judge(&bundle, &bundle, &image, &key, has_no_key).await;
    }
    court.adjourn();
}

/// What is not signed by a statement about an image is not accepted, even if the signature is valid.
#[tokio::test]
async fn a_bundle_must_hold_a_statement() {
    let mut court = Court::new().await;
    let file = court.cosign.file("key.pub");
    let signer = TestSigner::with_key();
    signer.write_public_key(&file);
    let key = Wanted::Key(file, None);
    let image = court.push("message").await;
    let mut bundle = bundle_without_log(&signer, &image);
    bundle.as_object_mut().unwrap().remove("dsseEnvelope");
    bundle["messageSignature"] = json!({
        "messageDigest": { "algorithm": "SHA2_256", "digest": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" },
        "signature": "MEUCIQ==",
    });
    court.attach_bundle("message", &image, &bundle).await;
    court.judge("message", "message", &image, &key, Expected::Rejected(|_| true)).await;
    let image = court.push("type").await;
    let mut bundle = bundle_without_log(&signer, &image);
    bundle["dsseEnvelope"]["payloadType"] = "text/plain".into();
    court.attach_bundle("type", &image, &bundle).await;
    court.judge("type", "type", &image, &key, Expected::Rejected(|_| true)).await;
    court.adjourn();
}
