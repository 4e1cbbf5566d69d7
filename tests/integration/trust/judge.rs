//! A registry with signed images, and two judges of them: cosign and this program.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};
use thoras_mirror::{
    internals::trust::{
        Attached, Identity, Keys, Matcher, Policy, Reason, Requirement, Verdict, Verifier, signature_layers,
    },
    oci::Digest,
};

use crate::support::{Address, client, cosign::Cosign, images::SampleImage, serving::Serving};

/// The type of a Sigstore bundle.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Whose signature an image needs, for both judges.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// A key in a file; without a trusted root, the log is ignored.
    Key(PathBuf, Option<PathBuf>),
    /// A subject and its issuer. A text between slashes is a regular expression.
    Identity { subject: String, issuer: String, trusted_root: PathBuf, ignore_certificate_log: bool },
}

impl Wanted {
    fn cosign_arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        match self {
            Self::Key(key, None) => {
                vec!["--key".into(), path(key), "--insecure-ignore-tlog".into()]
            }
            Self::Key(key, Some(root)) => {
                vec!["--key".into(), path(key), "--trusted-root".into(), path(root)]
            }
            Self::Identity { subject, issuer, trusted_root, ignore_certificate_log } => {
                let flag = |name: &str, text: &str| match inner(text) {
                    Some(pattern) => [format!("--{name}-regexp"), pattern.to_owned()],
                    None => [format!("--{name}"), text.to_owned()],
                };
                let mut arguments = vec!["--trusted-root".into(), path(trusted_root)];
                arguments.extend(flag("certificate-identity", subject));
                arguments.extend(flag("certificate-oidc-issuer", issuer));
                arguments.extend(ignore_certificate_log.then(|| "--insecure-ignore-sct".to_owned()));
                arguments
            }
        }
    }

    fn policy(&self) -> Policy {
        Policy::for_every_image(match self.clone() {
            Self::Key(file, root) => {
                Requirement::Keys(Keys { files: vec![file], ignore_log: root.is_none(), trusted_root: root })
            }
            Self::Identity { subject, issuer, trusted_root, ignore_certificate_log } => {
                let matcher = |text: String| match inner(&text) {
                    Some(pattern) => Matcher::Pattern(regex::Regex::new(pattern).unwrap()),
                    None => Matcher::Exact(text),
                };
                Requirement::Identity(Identity {
                    subject: matcher(subject),
                    issuer: matcher(issuer),
                    ignore_certificate_log,
                    trusted_root: Some(trusted_root),
                })
            }
        })
    }
}

fn inner(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/')
}

/// What both judges should say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    Accepted,
    /// This program's reason, for the first signature.
    Rejected(fn(&Reason) -> bool),
    Unsigned,
}

/// A registry with the referrers API.
pub(super) struct Court {
    serving: Serving,
    http: reqwest::Client,
    pub(super) cosign: Cosign,
    cases: usize,
    disagreements: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Court {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Nothing reads its log, and a full pipe would stop it.
        let serving = Serving::start(folder.path(), &["--quiet"]).await;
        let http = serving.address.http_client();
        Self { serving, http, cosign: Cosign::new(), cases: 0, disagreements: Vec::new(), _folder: folder }
    }

    pub(super) fn address(&self) -> &Address {
        &self.serving.address
    }

    /// Pushes a two-platform image and returns the digest of its index.
    pub(super) async fn push(&self, repository: &str) -> Digest {
        self.push_image(repository).await.root().digest.clone()
    }

    /// The same, and returns the image.
    pub(super) async fn push_image(&self, repository: &str) -> SampleImage {
        let image = SampleImage::multi_platform(repository);
        client::push(&image, self.address(), repository).await;
        image
    }

    /// `HOST/REPOSITORY@DIGEST`
    pub(super) fn image(&self, repository: &str, digest: &Digest) -> String {
        format!("{}/{repository}@{digest}", self.address().host_port)
    }

    /// Attaches a bundle to an image.
    pub(super) async fn attach_bundle(&self, repository: &str, image: &Digest, bundle: &Value) {
        self.attach(repository, image, BUNDLE, bundle.to_string()).await;
    }

    /// Attaches a referrer with one layer.
    pub(super) async fn attach(&self, repository: &str, image: &Digest, kind: &str, layer: String) {
        let subject = self.get(repository, &format!("manifests/{image}")).await.unwrap();
        let empty = self.push_blob(repository, "application/vnd.oci.empty.v1+json", "{}".to_owned()).await;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": empty,
            "layers": [self.push_blob(repository, kind, layer).await],
            "subject": { "mediaType": INDEX, "digest": image, "size": subject.len() },
        });
        let digest = Digest::sha256(manifest.to_string().as_bytes());
        self.put_manifest(repository, digest.as_str(), &manifest).await;
    }

    /// Writes the `.sig` tag of an image: layers with their annotations.
    pub(super) async fn attach_signature_tag(
        &self,
        repository: &str,
        image: &Digest,
        layers: &[(String, Value)],
    ) {
        let config =
            self.push_blob(repository, "application/vnd.oci.image.config.v1+json", "{}".to_owned()).await;
        let mut descriptors = Vec::new();
        for (payload, annotations) in layers {
            let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
            let mut descriptor = self.push_blob(repository, kind, payload.clone()).await;
            descriptor["annotations"] = annotations.clone();
            descriptors.push(descriptor);
        }
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors });
        self.put_manifest(repository, &format!("sha256-{}.sig", image.hex()), &manifest).await;
    }

    pub(super) async fn push_blob(&self, repository: &str, kind: &str, bytes: String) -> Value {
        let (digest, size) = (Digest::sha256(bytes.as_bytes()), bytes.len());
        let url = format!("{}/v2/{repository}/blobs/uploads/?digest={digest}", self.address().url());
        let answer = self.http.post(url).body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        json!({ "mediaType": kind, "digest": digest, "size": size })
    }

    pub(super) async fn put_manifest(&self, repository: &str, target: &str, manifest: &Value) {
        let url = format!("{}/v2/{repository}/manifests/{target}", self.address().url());
        let request = self.http.put(url).header("Content-Type", MANIFEST).body(manifest.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    pub(super) async fn get(&self, repository: &str, path: &str) -> Option<Bytes> {
        let url = format!("{}/v2/{repository}/{path}", self.address().url());
        let answer =
            self.http.get(url).header("Accept", format!("{MANIFEST}, {INDEX}")).send().await.unwrap();
        if answer.status() == 404 {
            return None;
        }
        Some(answer.error_for_status().unwrap().bytes().await.unwrap())
    }

    /// All attachments of an image.
    pub(super) async fn attached(&self, repository: &str, image: &Digest) -> Vec<Attached> {
        let mut attached = Vec::new();
        let referrers = self.get(repository, &format!("referrers/{image}")).await.unwrap();
        let referrers: Value = serde_json::from_slice(&referrers).unwrap();
        for referrer in referrers["manifests"].as_array().unwrap() {
            let digest = referrer["digest"].as_str().unwrap();
            let manifest = self.get(repository, &format!("manifests/{digest}")).await.unwrap();
            let layers = self.layers(repository, &manifest, false).await;
            attached.push(Attached::referrer(manifest, layers));
        }
        if let Some(manifest) = self.get(repository, &format!("manifests/sha256-{}.sig", image.hex())).await {
            let layers = self.layers(repository, &manifest, true).await;
            attached.push(Attached::signature_tag(manifest, layers));
        }
        attached
    }

    async fn layers(&self, repository: &str, manifest: &[u8], is_tag: bool) -> Vec<Bytes> {
        let mut layers = Vec::new();
        for layer in signature_layers(manifest, is_tag) {
            layers.push(self.get(repository, &format!("blobs/{}", layer.digest)).await.unwrap());
        }
        layers
    }

    /// What this program says.
    pub(super) async fn verdict(&self, repository: &str, image: &Digest, wanted: &Wanted) -> Verdict {
        let verifier = Verifier::new(wanted.policy()).unwrap();
        let reference = self.image(repository, image).parse().unwrap();
        verifier.verify(&reference, image, &self.attached(repository, image).await)
    }

    /// Both judges must agree with each other and with `expected`; see [`Court::adjourn`].
    pub(super) async fn judge(
        &mut self,
        case: &str,
        repository: &str,
        image: &Digest,
        wanted: &Wanted,
        expected: Expected,
    ) {
        let verdict = self.verdict(repository, image, wanted).await;
        let agrees = match (&verdict, expected) {
            (Verdict::Verified { .. }, Expected::Accepted) | (Verdict::Unsigned, Expected::Unsigned) => true,
            (Verdict::Rejected(rejections), Expected::Rejected(is_reason)) => {
                is_reason(&rejections[0].reason)
            }
            _ => false,
        };
        if !agrees {
            self.disagreements.push(format!("{case}: {verdict:?} instead of {expected:?}"));
        }
        let arguments = wanted.cosign_arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (accepts, said) = self.cosign.verifies(&arguments, &self.image(repository, image)).await;
        if accepts != matches!(expected, Expected::Accepted) {
            self.disagreements.push(format!("{case}: cosign: accepts = {accepts}: {said}"));
        }
        self.cases += 1;
    }

    /// Fails if any judgment was not as expected.
    pub(super) fn adjourn(self) {
        assert!(self.cases > 0);
        assert!(self.disagreements.is_empty(), "{}", self.disagreements.join("\n"));
    }
}
