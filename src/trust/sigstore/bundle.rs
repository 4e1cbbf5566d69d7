//! Sigstore bundles: an in-toto statement about the image, signed in a DSSE envelope.

use sigstore_verify::types::{
    Bundle, Sha256Hash, SignatureContent, Statement, TimestampVerificationData, VerificationMaterialContent,
};

use super::{Authority, Key, certificate_policy, errors, without_log};
use crate::{
    oci::Digest,
    trust::{policy::Identity, rejection::Reason, verdict::Signer},
};

/// The media type of in-toto statements.
const IN_TOTO: &str = "application/vnd.in-toto+json";

pub(super) fn verify(authority: &Authority, mut bundle: Bundle, subject: &Digest) -> Result<Signer, Reason> {
    let digest =
        Sha256Hash::from_hex(subject.hex()).map_err(|error| Reason::Unsupported(error.to_string()))?;
    let signed = signed_digests(&bundle)?;
    let other_image = || Reason::OtherImage { signed: signed.clone() };
    match authority {
        Authority::Key(key) => {
            if !matches!(bundle.verification_material.content, VerificationMaterialContent::PublicKey(_)) {
                return Err(Reason::HasNoKey);
            }
            match &key.log {
                None => without_log::verify_envelope(key, &bundle)?,
                Some(log) => {
                    require_log_entry(&bundle)?;
                    // A key does not expire, so cosign does not look at timestamps either.
                    bundle.verification_material.timestamp_verification_data =
                        TimestampVerificationData::default();
                    log.verify(digest, &bundle, &key.policy())
                        .map_err(|error| errors::with_key(error, key, other_image))?;
                }
            }
            // Both paths have verified the envelope; only one of them has checked the digest.
            let is_signed = signed.iter().any(|signed| signed == subject.as_str());
            if is_signed { Ok(key.signer()) } else { Err(other_image()) }
        }
        Authority::Identity(identity, verifier) => {
            if matches!(bundle.verification_material.content, VerificationMaterialContent::PublicKey(_)) {
                return Err(Reason::HasNoIdentity);
            }
            require_log_entry(&bundle)?;
            let evidence = verifier
                .verify(digest, &bundle, &certificate_policy(identity))
                .map_err(|error| errors::with_certificate(error, other_image))?;
            signer(identity, &evidence)
        }
    }
}

/// Whether a verified certificate is for the right identity.
pub(super) fn signer(
    identity: &Identity,
    verified: &sigstore_verify::VerificationResult,
) -> Result<Signer, Reason> {
    let subject = verified.identity().map(|subject| subject.as_str().to_owned());
    let issuer = verified.issuer().map(str::to_owned);
    match (subject, issuer) {
        (Some(subject), Some(issuer))
            if identity.subject.matches(&subject) && identity.issuer.matches(&issuer) =>
        {
            Ok(Signer::Identity { subject, issuer })
        }
        (subject, issuer) if subject.as_deref().is_some_and(|subject| identity.subject.matches(subject)) => {
            Err(Reason::OtherIssuer { expected: identity.issuer.to_string(), found: issuer })
        }
        (subject, _) => Err(Reason::OtherIdentity { expected: identity.subject.to_string(), found: subject }),
    }
}

fn require_log_entry(bundle: &Bundle) -> Result<(), Reason> {
    if bundle.verification_material.tlog_entries.is_empty() { Err(Reason::NotLogged) } else { Ok(()) }
}

/// The sha256 digests that the statement in a bundle is about, not yet verified.
fn signed_digests(bundle: &Bundle) -> Result<Vec<String>, Reason> {
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
        return Err(Reason::Unsupported("it signs bytes, not a statement about an image".to_owned()));
    };
    if envelope.payload_type != IN_TOTO {
        return Err(Reason::Unsupported(format!(
            "it signs `{}`, not an in-toto statement",
            envelope.payload_type
        )));
    }
    let statement: Statement = serde_json::from_slice(envelope.payload.as_bytes())
        .map_err(|error| Reason::Unreadable(format!("its in-toto statement: {error}")))?;
    let digests = statement.subject.iter().filter_map(|subject| subject.digest.sha256.as_ref());
    Ok(digests.map(|digest| format!("sha256:{}", digest.to_hex())).collect())
}

/// What the key of `without_log` needs of a bundle.
pub(super) fn envelope(bundle: &Bundle) -> Option<&sigstore_verify::types::DsseEnvelope> {
    match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => Some(envelope),
        _ => None,
    }
}

/// For messages.
pub(super) fn wrong_key(key: &Key) -> Reason {
    Reason::WrongKey { key: key.file.clone() }
}
