//! Signatures by identities with short-lived certificates, verified offline.

use serde_json::Value;
use thoras_mirror::internals::trust::{Reason, Signer, Verdict};

use super::judge::{Court, Expected, Wanted};
use crate::support::sigstore::{Flaws, SigstoreInstance, TestSigner};

pub(super) const RELEASE: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main";
pub(super) const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// A way to sign an image.
type Sign = fn(&SigstoreInstance, &TestSigner, &thoras_mirror::oci::Digest) -> Signed;

/// Alters a bundle, given another one of the same image.
type Change = fn(&mut Value, &Value);

enum Signed {
    Bundle(Value),
    Tag(String, Value),
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of it is the table of cases")]
async fn keyless_signatures_are_judged_as_by_cosign() {
    let mut court = Court::new().await;
    let (instance, other) = (SigstoreInstance::new(), SigstoreInstance::new());
    let root = court.cosign.file("root.json");
    instance.write_trusted_root(&root);
    let wanted = |subject: &str, issuer: &str| Wanted::Identity {
        subject: subject.to_owned(),
        issuer: issuer.to_owned(),
        trusted_root: root.clone(),
        ignore_certificate_log: false,
    };
    let right = || wanted(RELEASE, ISSUER);
    let good = || instance.issue(RELEASE, ISSUER, Flaws::default());
    let flawed = |flaws| instance.issue(RELEASE, ISSUER, flaws);
    let unlogged = Wanted::Identity {
        subject: RELEASE.to_owned(),
        issuer: ISSUER.to_owned(),
        trusted_root: root.clone(),
        ignore_certificate_log: true,
    };
    let formats: [(&str, Sign); 2] = [
        ("bundle", |instance, signer, image| Signed::Bundle(instance.bundle(signer, image))),
        ("tag", |instance, signer, image| {
            let (payload, annotations) = instance.simple_signing(signer, image);
            Signed::Tag(payload, annotations)
        }),
    ];
    let cases: Vec<(&str, &SigstoreInstance, TestSigner, Wanted, Expected)> = vec![
        ("valid", &instance, good(), right(), Expected::Accepted),
        (
            "email",
            &instance,
            instance.issue("me@acme.example", ISSUER, Flaws::default()),
            wanted("me@acme.example", ISSUER),
            Expected::Accepted,
        ),
        (
            "patterns",
            &instance,
            good(),
            wanted("/^https://github.com/acme//", "/githubusercontent/"),
            Expected::Accepted,
        ),
        (
            "other-pattern",
            &instance,
            good(),
            wanted("/^github.com/acme//", ISSUER),
            Expected::Rejected(|reason| matches!(reason, Reason::OtherIdentity { .. })),
        ),
        (
            "other-identity",
            &instance,
            good(),
            wanted("me@acme.example", ISSUER),
            Expected::Rejected(|reason| matches!(reason, Reason::OtherIdentity { .. })),
        ),
        (
            "other-issuer",
            &instance,
            good(),
            wanted(RELEASE, "https://accounts.example"),
            Expected::Rejected(|reason| matches!(reason, Reason::OtherIssuer { .. })),
        ),
        (
            "expired",
            &instance,
            flawed(Flaws { expired: true, ..Flaws::default() }),
            right(),
            Expected::Rejected(|reason| {
                matches!(reason, Reason::Expired(_) | Reason::UntrustedCertificate(_))
            }),
        ),
        (
            "for-servers",
            &instance,
            flawed(Flaws { for_servers: true, ..Flaws::default() }),
            right(),
            Expected::Rejected(|reason| matches!(reason, Reason::UntrustedCertificate(_))),
        ),
        (
            "not-logged",
            &instance,
            flawed(Flaws { not_logged: true, ..Flaws::default() }),
            right(),
            Expected::Rejected(|reason| matches!(reason, Reason::CertificateNotLogged(_))),
        ),
        (
            "not-logged-ignored",
            &instance,
            flawed(Flaws { not_logged: true, ..Flaws::default() }),
            unlogged,
            Expected::Accepted,
        ),
        (
            "other-log",
            &other,
            good(),
            right(),
            Expected::Rejected(|reason| matches!(reason, Reason::WrongLogEntry(_) | Reason::UntrustedLog(_))),
        ),
        (
            "other-authority",
            &instance,
            other.issue(RELEASE, ISSUER, Flaws::default()),
            right(),
            Expected::Rejected(|reason| matches!(reason, Reason::UntrustedCertificate(_))),
        ),
        (
            "key",
            &instance,
            TestSigner::with_key(),
            right(),
            Expected::Rejected(|reason| matches!(reason, Reason::HasNoIdentity)),
        ),
    ];
    for (case, log, signer, wanted, expected) in &cases {
        for (format, sign) in formats {
            let repository = format!("{case}-{format}");
            let image = court.push(&repository).await;
            match sign(log, signer, &image) {
                Signed::Bundle(bundle) => court.attach_bundle(&repository, &image, &bundle).await,
                Signed::Tag(payload, annotations) => {
                    court.attach_signature_tag(&repository, &image, &[(payload, annotations)]).await;
                }
            }
            court.judge(&repository, &repository, &image, wanted, *expected).await;
        }
    }
    court.adjourn();
}

#[tokio::test]
async fn a_verdict_names_the_identity() {
    let court = Court::new().await;
    let instance = SigstoreInstance::new();
    let root = court.cosign.file("root.json");
    instance.write_trusted_root(&root);
    let image = court.push("app").await;
    let signer = instance.issue(RELEASE, ISSUER, Flaws::default());
    court.attach_bundle("app", &image, &instance.bundle(&signer, &image)).await;
    let wanted = Wanted::Identity {
        subject: "/acme/".to_owned(),
        issuer: ISSUER.to_owned(),
        trusted_root: root,
        ignore_certificate_log: false,
    };
    let Verdict::Verified { signer, .. } = court.verdict("app", &image, &wanted).await else { panic!() };
    assert_eq!(signer, Signer::Identity { subject: RELEASE.to_owned(), issuer: ISSUER.to_owned() });
    assert_eq!(signer.to_string(), format!("{RELEASE} (issuer {ISSUER})"));
}

#[tokio::test]
async fn an_altered_log_entry_or_certificate_is_rejected() {
    let mut court = Court::new().await;
    let instance = SigstoreInstance::new();
    let root = court.cosign.file("root.json");
    instance.write_trusted_root(&root);
    let wanted = Wanted::Identity {
        subject: RELEASE.to_owned(),
        issuer: ISSUER.to_owned(),
        trusted_root: root,
        ignore_certificate_log: false,
    };
    let changes: [(&str, Change); 5] = [
        ("time", |bundle, _| {
            bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1700000000".into();
        }),
        ("promise", |bundle, other| {
            bundle["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"] =
                other["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"].clone();
        }),
        ("entry", |bundle, other| {
            bundle["verificationMaterial"]["tlogEntries"] =
                other["verificationMaterial"]["tlogEntries"].clone();
        }),
        ("certificate", |bundle, other| {
            bundle["verificationMaterial"]["certificate"] =
                other["verificationMaterial"]["certificate"].clone();
        }),
        ("signature", |bundle, other| {
            bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"].clone();
        }),
    ];
    for (case, change) in changes {
        let image = court.push(case).await;
        let [mut bundle, other] =
            [(); 2].map(|()| instance.bundle(&instance.issue(RELEASE, ISSUER, Flaws::default()), &image));
        change(&mut bundle, &other);
        court.attach_bundle(case, &image, &bundle).await;
        court.judge(case, case, &image, &wanted, Expected::Rejected(|_| true)).await;
    }
    court.adjourn();
}
