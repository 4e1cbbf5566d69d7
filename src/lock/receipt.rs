//! The receipt of an import: what arrived where, when, and with what result.
//!
//! It goes back to where the bundle was written. With the lock of the import in it, the next export knows what the far
//! side has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Lock;
use crate::{
    oci::{Digest, Reference, mapping::Root},
    outcome::{ImageOutcome, Status},
};

/// The version of the format that this program writes.
const SCHEMA: &str = "thoras-mirror/receipt/v1";
/// All versions begin like this.
const ANY_VERSION: &str = "thoras-mirror/receipt/";
/// The largest receipt that is read, in bytes: a lock, and a little more.
pub(crate) const LARGEST: u64 = 320 * 1024 * 1024;

/// The receipt of one import.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    /// `thoras-mirror/receipt/v1`
    pub schema: String,
    /// The id of the imported bundle: the digest of its `index.json`.
    pub bundle: Digest,
    /// When the import ended: RFC 3339, UTC.
    pub time: String,
    /// The version of the program.
    pub program: String,
    /// The destination: REGISTRY/PATH.
    pub to: String,
    /// Whether every image arrived.
    pub result: ReceiptResult,
    /// Every image of the bundle that was to be imported.
    pub images: Vec<ReceivedImage>,
    /// The lock of this import: what the destination has.
    pub lock: Lock,
}

/// The result of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReceiptResult {
    /// Every image is in place and confirmed, except optional images that the bundle leaves out.
    Complete,
    /// Some images failed.
    Partial,
    /// No image is confirmed.
    Failed,
}

/// One image of an import.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceivedImage {
    /// Its name in the bundle.
    pub source: Reference,
    /// Its name at the destination.
    pub destination: String,
    /// The digest of its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its result in one word.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Receipt {
    /// The receipt of an import that ends now.
    pub(crate) fn new<'a>(
        bundle: Digest,
        time: String,
        to: &Root,
        outcomes: &(impl Iterator<Item = &'a ImageOutcome> + Clone),
        lock: Lock,
    ) -> Self {
        let images = outcomes.clone().map(|image| ReceivedImage {
            source: image.source.clone(),
            destination: image.destination.clone(),
            digest: image.digest.clone(),
            status: image.status,
            failure: image.failure.as_ref().map(|failure| failure.message.clone()),
        });
        let mut all = outcomes.clone();
        let result = if all.all(|image| image.is_confirmed() || image.is_skipped_optional()) {
            ReceiptResult::Complete
        } else if outcomes.clone().any(ImageOutcome::is_confirmed) {
            ReceiptResult::Partial
        } else {
            ReceiptResult::Failed
        };
        Self {
            schema: SCHEMA.to_owned(),
            bundle,
            time,
            program: env!("THORAS_MIRROR_VERSION").to_owned(),
            to: to.to_string(),
            result,
            images: images.collect(),
            lock,
        }
    }

    /// Whether these bytes are a receipt of any version.
    pub(crate) fn is_receipt(bytes: &[u8]) -> bool {
        version(bytes).is_some_and(|version| version.starts_with(ANY_VERSION))
    }

    /// Parses a receipt. Errors are one line of text.
    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Parts<'a> {
            #[serde(borrow)]
            lock: &'a serde_json::value::RawValue,
        }
        match version(bytes) {
            None => return Err("it is not a receipt".to_owned()),
            Some(version) if version != SCHEMA => {
                return Err(format!("its format is `{version}`; this program reads `{SCHEMA}`"));
            }
            Some(_) => {}
        }
        let receipt: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        // The lock has checks of its own.
        let parts: Parts<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let lock = Lock::from_slice(parts.lock.get().as_bytes())?;
        let is_bound = lock.placement().and_then(|placement| placement.to.as_ref()) == Some(&receipt.to);
        if !is_bound {
            return Err(format!("the lock in it is not the one of an import to {}", receipt.to));
        }
        Ok(Self { lock, ..receipt })
    }

    /// The bytes of the file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Text, numbers, and maps with text keys are always JSON.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

fn version(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Version {
        schema: String,
    }
    serde_json::from_slice::<Version>(bytes).ok().map(|version| version.schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committed_schema;

    #[test]
    fn the_committed_schema_is_current() {
        committed_schema::assert_current("lock/receipt.v1.json", &schemars::schema_for!(Receipt));
    }
}
