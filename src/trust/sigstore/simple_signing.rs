//! cosign's older format: a layer of a `.sig` tag is the signed text, its annotations are the signature and the evidence.
//!
//! A signature with an entry in a transparency log becomes a bundle of version 0.1, which holds the same: certificate,
//! signature, and the log's signed promise to include the entry.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use sigstore_verify::{
    crypto::parse_certificate_info,
    types::{Bundle, DerCertificate, SignatureBytes},
};

use super::{Authority, bundle, certificate_policy, errors, without_log};
use crate::{
    oci::Digest,
    trust::{attached::SimpleSigning, rejection::Reason, verdict::Signer, verifier::content},
};

pub(super) fn verify(
    authority: &Authority,
    entry: &SimpleSigning,
    subject: &Digest,
) -> Result<Signer, Reason> {
    let payload = content(entry.payload.as_ref())?;
    let signature =
        STANDARD.decode(entry.signature.trim()).map_err(|_| unreadable("its signature is not Base64"))?;
    let certificate = entry.certificate.as_deref().map(certificate).transpose()?;
    // The bundle names no digest of the image: the claim in the payload does.
    let mismatch = || Reason::WrongLogEntry("it is for another payload".to_owned());
    let signer = match authority {
        Authority::Key(key) => {
            match &key.log {
                None => {
                    without_log::verify_bytes(key, payload, &SignatureBytes::new(signature))?;
                    certificate.as_ref().map_or(Ok(()), is_valid_now)?;
                }
                Some(log) => {
                    let signer = json!({ "publicKey": { "hint": "" } });
                    let bundle = as_bundle(entry, payload, signer)?;
                    log.verify(payload.as_ref(), &bundle, &key.policy())
                        .map_err(|error| errors::with_key(error, key, mismatch))?;
                }
            }
            key.signer()
        }
        Authority::Identity(identity, verifier) => {
            let certificate = certificate.ok_or(Reason::HasNoIdentity)?;
            let raw = STANDARD.encode(certificate.as_bytes());
            let signer = json!({ "x509CertificateChain": { "certificates": [{ "rawBytes": raw }] } });
            let bundle = as_bundle(entry, payload, signer)?;
            let evidence = verifier
                .verify(payload.as_ref(), &bundle, &certificate_policy(identity))
                .map_err(|error| errors::with_certificate(error, mismatch))?;
            bundle::signer(identity, &evidence)?
        }
    };
    check_claim(payload, subject)?;
    Ok(signer)
}

/// What cosign puts into the annotation for the transparency log.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LogEntry {
    signed_entry_timestamp: String,
    payload: LogPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogPayload {
    /// Base64 of the entry.
    body: String,
    integrated_time: i64,
    log_index: i64,
    /// Hexadecimal.
    #[serde(rename = "logID")]
    log_id: String,
}

/// The kind of a log entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogBody {
    kind: String,
    api_version: String,
}

/// The entry as a bundle of version 0.1. `signer`: a certificate or a key, as in a bundle.
fn as_bundle(entry: &SimpleSigning, payload: &[u8], signer: Value) -> Result<Bundle, Reason> {
    let text = entry.log_entry.as_deref().ok_or(Reason::NotLogged)?;
    let log: LogEntry =
        serde_json::from_str(text).map_err(|_| unreadable("its log entry is not what cosign writes"))?;
    let body = STANDARD.decode(&log.payload.body).map_err(|_| unreadable("its log entry is not Base64"))?;
    let body: LogBody = serde_json::from_slice(&body).map_err(|_| unreadable("its log entry has no kind"))?;
    let log_id =
        bytes_of_hex(&log.payload.log_id).ok_or_else(|| unreadable("its log ID is not hexadecimal"))?;
    let entries = json!([{
        "logIndex": log.payload.log_index.to_string(),
        "logId": { "keyId": STANDARD.encode(log_id) },
        "kindVersion": { "kind": body.kind, "version": body.api_version },
        "integratedTime": log.payload.integrated_time.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": log.signed_entry_timestamp },
        "canonicalizedBody": log.payload.body,
    }]);
    let mut material = signer;
    if let Some(material) = material.as_object_mut() {
        material.insert("tlogEntries".to_owned(), entries);
    }
    let hash = bytes_of_hex(Digest::sha256(payload).hex()).unwrap_or_default();
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "verificationMaterial": material,
        "messageSignature": {
            "messageDigest": { "algorithm": "SHA2_256", "digest": STANDARD.encode(hash) },
            "signature": entry.signature.trim(),
        },
    });
    Bundle::from_json(&bundle.to_string()).map_err(|error| unreadable(&error.to_string()))
}

/// The part of the signed text that counts: `critical.image.docker-manifest-digest`.
#[derive(Deserialize)]
struct Claim {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// The name in the claim does not count, or no mirror could be verified: cosign ignores it, too.
fn check_claim(payload: &[u8], subject: &Digest) -> Result<(), Reason> {
    let claim: Claim =
        serde_json::from_slice(payload).map_err(|_| Reason::OtherImage { signed: Vec::new() })?;
    let digest = claim.critical.image.digest;
    if digest == subject.as_str() { Ok(()) } else { Err(Reason::OtherImage { signed: vec![digest] }) }
}

fn certificate(pem: &str) -> Result<DerCertificate, Reason> {
    DerCertificate::from_pem(pem).map_err(|_| unreadable("its certificate is not PEM"))
}

/// A certificate in addition to a key: cosign compares its dates with the clock if nothing else says when it signed.
fn is_valid_now(certificate: &DerCertificate) -> Result<(), Reason> {
    let info = parse_certificate_info(certificate).map_err(|error| unreadable(&error.to_string()))?;
    let now = std::time::SystemTime::now();
    let (from, to) = (info.not_before, info.not_after);
    if std::time::SystemTime::from(from) <= now && now <= std::time::SystemTime::from(to) {
        return Ok(());
    }
    Err(Reason::Expired(format!("it is valid from {from} to {to}")))
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect()
}

fn unreadable(why: &str) -> Reason {
    Reason::Unreadable(why.to_owned())
}
