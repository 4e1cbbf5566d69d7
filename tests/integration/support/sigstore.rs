//! A Sigstore instance in memory: a certificate authority, its certificate transparency log, a transparency log for
//! signatures (Rekor 1), and the trusted root that names them.

use std::{path::Path, time::Duration, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SigningKey as _,
};
use serde_json::{Value, json};
use thoras_mirror::oci::Digest;
use x509_cert::der::{Decode as _, Encode as _};

/// The extension with the URL of the issuer that vouched for an identity.
const ISSUER: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 8];
/// The same in its older form, without an encoding; cosign reads only this one for its older format.
const OLDER_ISSUER: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 1];
/// The extension with signed certificate timestamps (RFC 6962, section 3.3).
const TIMESTAMPS: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// An instance with keys of its own.
pub struct SigstoreInstance {
    authority: CertifiedIssuer<'static, KeyPair>,
    log: KeyPair,
    certificate_log: KeyPair,
}

/// A key that signs, with the certificate for it if it is keyless.
pub struct TestSigner {
    key: KeyPair,
    certificate: Option<rcgen::Certificate>,
}

impl TestSigner {
    /// A long-lived key.
    pub fn with_key() -> Self {
        Self::with_algorithm(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// A long-lived key of another kind.
    pub fn with_algorithm(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        Self { key: KeyPair::generate_for(algorithm).unwrap(), certificate: None }
    }

    /// Writes the public key.
    pub fn write_public_key(&self, file: &Path) {
        std::fs::write(file, self.key.public_key_pem()).unwrap();
    }

    /// The private key in PKCS#8.
    pub fn private_key(&self) -> String {
        self.key.serialize_pem()
    }

    fn sign(&self, bytes: &[u8]) -> String {
        STANDARD.encode(self.key.sign(bytes).unwrap())
    }

    /// The certificate, else the public key, in PEM.
    fn pem(&self) -> String {
        let text =
            self.certificate.as_ref().map_or_else(|| self.key.public_key_pem(), rcgen::Certificate::pem);
        // cosign and Rekor write Unix line ends.
        text.replace("\r\n", "\n")
    }
}

/// How a certificate differs from a good one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flaws {
    /// It had ended a day before.
    pub expired: bool,
    /// It has no signed certificate timestamp.
    pub not_logged: bool,
    /// It may not sign code.
    pub for_servers: bool,
}

impl SigstoreInstance {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let [log, certificate_log] = [(); 2].map(|()| KeyPair::generate().unwrap());
        Self { authority, log, certificate_log }
    }

    /// Writes the trusted root.
    pub fn write_trusted_root(&self, file: &Path) {
        let valid = json!({ "start": "2020-01-01T00:00:00Z" });
        let log = |name: &str, key: &KeyPair| {
            let spki = key.subject_public_key_info();
            json!([{
                "baseUrl": format!("https://{name}.test"),
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(&spki),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": valid,
                },
                "logId": { "keyId": STANDARD.encode(sha256(&spki)) },
            }])
        };
        let root = json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": log("rekor", &self.log),
            "certificateAuthorities": [{
                "subject": { "organization": "test", "commonName": "test" },
                "uri": "https://fulcio.test",
                "certChain": { "certificates": [{ "rawBytes": STANDARD.encode(self.authority.der()) }] },
                "validFor": valid,
            }],
            "ctlogs": log("ctlog", &self.certificate_log),
            "timestampAuthorities": [],
        });
        std::fs::write(file, root.to_string()).unwrap();
    }

    /// A key with a certificate for an identity: an email address or a URI.
    pub fn issue(&self, identity: &str, issuer: &str, flaws: Flaws) -> TestSigner {
        let mut params = CertificateParams::default();
        // Fulcio's certificates have no names in the subject.
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serial_number = Some(42.into());
        let text = identity.try_into().unwrap();
        let is_uri = identity.contains("://");
        params.subject_alt_names = vec![if is_uri { SanType::URI(text) } else { SanType::Rfc822Name(text) }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let usage = if flaws.for_servers {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::CodeSigning
        };
        params.extended_key_usages = vec![usage];
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let until =
            if flaws.expired { SystemTime::now() - minutes(24 * 60) } else { SystemTime::now() + minutes(5) };
        params.not_before = (until - minutes(10)).into();
        params.not_after = until.into();
        let mut utf8 = vec![0x0c, u8::try_from(issuer.len()).unwrap()];
        utf8.extend(issuer.bytes());
        params.custom_extensions = vec![
            CustomExtension::from_oid_content(&OLDER_ISSUER, issuer.as_bytes().to_vec()),
            CustomExtension::from_oid_content(&ISSUER, utf8),
        ];

        let key = KeyPair::generate().unwrap();
        if !flaws.not_logged {
            let before = params.signed_by(&key, &self.authority).unwrap();
            let timestamps = self.certificate_timestamps(&before);
            params.custom_extensions.push(CustomExtension::from_oid_content(&TIMESTAMPS, timestamps));
        }
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        TestSigner { key, certificate: Some(certificate) }
    }

    /// The content of the extension with one timestamp of the certificate log (RFC 6962, sections 3.2 and 3.3).
    fn certificate_timestamps(&self, before: &rcgen::Certificate) -> Vec<u8> {
        let certificate = x509_cert::Certificate::from_der(before.der()).unwrap();
        let to_be_signed = certificate.tbs_certificate().to_der().unwrap();
        let issuer = x509_cert::Certificate::from_der(self.authority.der()).unwrap();
        let issuer_key = issuer.tbs_certificate().subject_public_key_info().to_der().unwrap();
        let time = u64::try_from(since_epoch().as_millis()).unwrap().to_be_bytes();

        let mut signed = vec![0, 0];
        signed.extend(time);
        signed.extend([0, 1]);
        signed.extend(sha256(&issuer_key));
        signed.extend(&u32::try_from(to_be_signed.len()).unwrap().to_be_bytes()[1..]);
        signed.extend(&to_be_signed);
        signed.extend([0, 0]);
        let signature = self.certificate_log.sign(&signed).unwrap();

        let mut timestamp = vec![0];
        timestamp.extend(sha256(&self.certificate_log.subject_public_key_info()));
        timestamp.extend(time);
        // No extensions; SHA-256 and ECDSA.
        timestamp.extend([0, 0, 4, 3]);
        timestamp.extend(with_length(&signature));
        let list = with_length(&with_length(&timestamp));
        let mut octets = vec![0x04];
        if list.len() > 127 {
            octets.push(0x81);
        }
        octets.push(u8::try_from(list.len()).unwrap());
        octets.extend(list);
        octets
    }

    /// An entry in the log, as in a bundle: with the log's promise and a proof that it is the only entry.
    fn entry(&self, kind: &str, body: &str) -> Value {
        let spki = self.log.subject_public_key_info();
        let time = since_epoch().as_secs();
        let promised = self.promise(body, time);
        let mut leaf = vec![0];
        leaf.extend(body.bytes());
        let root = STANDARD.encode(sha256(&leaf));
        let note = format!("rekor.test - 1\n1\n{root}\n");
        let mut signature = sha256(&spki)[..4].to_vec();
        signature.extend(self.log.sign(note.as_bytes()).unwrap());
        let checkpoint = format!("{note}\n\u{2014} rekor.test {}\n", STANDARD.encode(signature));
        json!({
            "logIndex": "0",
            "logId": { "keyId": STANDARD.encode(sha256(&spki)) },
            "kindVersion": { "kind": kind, "version": "0.0.1" },
            "integratedTime": time.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": promised },
            "inclusionProof": {
                "logIndex": "0", "rootHash": root, "treeSize": "1", "hashes": [],
                "checkpoint": { "envelope": checkpoint },
            },
            "canonicalizedBody": STANDARD.encode(body),
        })
    }

    /// The log's promise to include an entry, in Base64.
    fn promise(&self, body: &str, time: u64) -> String {
        let canonical = json!({
            "body": STANDARD.encode(body), "integratedTime": time, "logID": self.log_id(), "logIndex": 0,
        });
        STANDARD.encode(self.log.sign(canonical.to_string().as_bytes()).unwrap())
    }

    fn log_id(&self) -> String {
        Digest::sha256(&self.log.subject_public_key_info()).hex().to_owned()
    }

    /// A bundle with a statement about an image, as `cosign sign` writes it, with an entry in the log.
    pub fn bundle(&self, signer: &TestSigner, image: &Digest) -> Value {
        let mut bundle = bundle_without_log(signer, image);
        let envelope = &bundle["dsseEnvelope"];
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let hash = |bytes: &[u8]| json!({ "algorithm": "sha256", "value": Digest::sha256(bytes).hex() });
        // Canonical JSON: the keys are sorted.
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": hash(envelope.to_string().as_bytes()),
                "payloadHash": hash(&payload),
                "signatures": [{
                    "signature": envelope["signatures"][0]["sig"],
                    "verifier": STANDARD.encode(signer.pem()),
                }],
            },
        });
        let entry = self.entry("dsse", &body.to_string());
        bundle["verificationMaterial"]["tlogEntries"] = json!([entry]);
        bundle
    }

    /// A layer of a `.sig` tag: its bytes and its annotations, as older versions of `cosign sign` write them, with an
    /// entry in the log.
    pub fn simple_signing(&self, signer: &TestSigner, image: &Digest) -> (String, Value) {
        let (payload, mut annotations) = simple_signing_without_log(signer, image);
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": Digest::sha256(payload.as_bytes()).hex() } },
                "signature": {
                    "content": annotations["dev.cosignproject.cosign/signature"],
                    "publicKey": { "content": STANDARD.encode(signer.pem()) },
                },
            },
        })
        .to_string();
        let time = since_epoch().as_secs();
        let entry = json!({
            "SignedEntryTimestamp": self.promise(&body, time),
            "Payload": {
                "body": STANDARD.encode(&body), "integratedTime": time, "logIndex": 0, "logID": self.log_id(),
            },
        });
        annotations["dev.sigstore.cosign/bundle"] = entry.to_string().into();
        if signer.certificate.is_some() {
            annotations["dev.sigstore.cosign/chain"] = self.authority.pem().into();
        }
        (payload, annotations)
    }
}

/// A bundle without an entry in a log.
pub fn bundle_without_log(signer: &TestSigner, image: &Digest) -> Value {
    let payload = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": image.hex() }, "annotations": {} }],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
    .to_string();
    let kind = "application/vnd.in-toto+json";
    let to_be_signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    let material = if let Some(certificate) = &signer.certificate {
        json!({ "certificate": { "rawBytes": STANDARD.encode(certificate.der()) } })
    } else {
        let hint = STANDARD.encode(sha256(&signer.key.subject_public_key_info()));
        json!({ "publicKey": { "hint": hint } })
    };
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": STANDARD.encode(&payload),
            "payloadType": kind,
            "signatures": [{ "sig": signer.sign(to_be_signed.as_bytes()) }],
        },
    })
}

/// A layer of a `.sig` tag without an entry in a log.
pub fn simple_signing_without_log(signer: &TestSigner, image: &Digest) -> (String, Value) {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": "elsewhere.test/app" },
            "image": { "docker-manifest-digest": image },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string();
    let mut annotations = json!({ "dev.cosignproject.cosign/signature": signer.sign(payload.as_bytes()) });
    if signer.certificate.is_some() {
        annotations["dev.sigstore.cosign/certificate"] = signer.pem().into();
    }
    (payload, annotations)
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut long = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    long.extend(bytes);
    long
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let hex = Digest::sha256(bytes).hex().to_owned();
    (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}
