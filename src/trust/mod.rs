//! Decides whether the signatures of an image satisfy the user's policy, before anything is copied.
//!
//! It agrees with `cosign verify` and sends no requests: a job reads the attachments of an image and passes them in.
//!
//! - [`Policy`]: which images need whose signature; built from flags, or read from a file ([`Policy::from_file`]);
//! - [`TrustFiles`]: a policy, keys and trusted roots that come together, for example in a bundle;
//! - [`Attached`]: a manifest that is attached to the image, with the bytes of its layers;
//! - [`Verifier`]: a policy with its keys and trusted roots loaded. [`Verifier::verify`] is the whole interface for a job;
//! - [`Verdict`]: who signed the image, or why each of its signatures was rejected, and what to do.
//!
//! For signatures of the Notary Project, the policy says what the program `notation` must trust; a job runs it
//! ([`NotationProgram`]).
//!
//! `sigstore-verify`, behind [`sigstore`], does all other cryptography. A build without the feature `verify-signatures`
//! parses policies and reports that it cannot verify signatures.
//!
//! Like cosign, a policy is about the manifest that the reference names: the digests in an index cover its children, so
//! a signature of the index is enough, and a signature of one of its children is not.

#![cfg_attr(
    not(feature = "verify-signatures"),
    expect(dead_code, reason = "only the cryptography needs what signatures contain")
)]

mod attached;
mod files;
mod notation;
mod policy;
mod policy_file;
mod rejection;
#[cfg(feature = "verify-signatures")]
mod sigstore;
#[cfg(not(feature = "verify-signatures"))]
#[path = "without_sigstore.rs"]
mod sigstore;
mod verdict;
mod verifier;

pub use self::{
    attached::{Attached, signature_layers},
    policy::{Identity, Keys, Matcher, Policy, Requirement, Rule, UnlistedImages},
    rejection::{Reason, Rejection},
    verdict::{Signer, Verdict},
    verifier::Verifier,
};
pub(crate) use self::{
    attached::{SIGNATURE_TAG_SUFFIX, is_signature_type},
    files::{TrustFileKind, TrustFiles},
    notation::{NOTATION_SIGNATURE, NotationAnswer, NotationProgram, NotationQuestion, NotationTrust},
};
