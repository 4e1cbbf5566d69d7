//! The receipt of an import: what arrived where, when, and with what result.
//!
//! It goes back to where the bundle was written. With the lock of the import in it, the next export knows what the far
//! side has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lock, file};
use crate::{
    oci::{Digest, Reference, mapping::Root},
    outcome::{ImageOutcome, Status},
};

/// The version of the format that this program writes.
const SCHEMA: &str = "thoras-mirror/receipt/v1";
/// All versions begin like this.
const ANY_VERSION: &str = "thoras-mirror/receipt/";
/// The largest receipt that is read, in bytes: a lock, and a little more.
pub(crate) const MAX_SIZE: u64 = 320 * 1024 * 1024;
const _: () = assert!(MAX_SIZE > file::MAX_SIZE, "a receipt contains a lock");

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
        // The lock has its own checks.
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
    use serde_json::{Value, json};

    use super::*;
    use crate::{committed_schema, oci::Mapping};

    /// The receipt of an import of one image to `mirror.example.com/a`, with the lock of an import to `lock_of`.
    fn receipt(status: Status, lock_of: &str) -> Receipt {
        let image = Mapping::to(
            "source.example.com/app:1".parse().unwrap(),
            &"mirror.example.com/a/app:1".parse().unwrap(),
        );
        let reference = format!("{lock_of}/app:1");
        let lock = json!({
            "schema": super::super::SCHEMA,
            "destinations": [{"to": lock_of, "naming": "last"}],
            "platforms": [],
            "images": [{
                "source": image.source,
                "platforms": [],
                "blobs": [],
                "destinations": [{"to": lock_of, "reference": reference, "confirmed": true}]
            }],
            "blobs": {}
        });
        let lock = Lock::from_slice(lock.to_string().as_bytes()).unwrap();
        let outcomes = [ImageOutcome::new(&image, status)];
        let root = "mirror.example.com/a".parse().unwrap();
        Receipt::new(
            Digest::sha256(b"bundle"),
            "2026-01-01T00:00:00Z".to_owned(),
            &root,
            &outcomes.iter(),
            lock,
        )
    }

    #[test]
    fn a_receipt_reads_back() {
        for (status, result) in
            [(Status::Copied, ReceiptResult::Complete), (Status::Failed, ReceiptResult::Failed)]
        {
            let bytes = receipt(status, "mirror.example.com/a").to_bytes();
            assert!(bytes.ends_with(b"}\n") && Receipt::is_receipt(&bytes));
            let read = Receipt::from_slice(&bytes).unwrap();
            assert_eq!((read.result, read.bundle), (result, Digest::sha256(b"bundle")));
            assert_eq!(read.lock, receipt(status, "mirror.example.com/a").lock);
            assert_eq!((read.images.len(), read.images[0].status), (1, status));
        }
    }

    #[test]
    fn what_is_not_the_receipt_of_this_import_is_refused() {
        let refused = |change: fn(&mut Value)| {
            let bytes = receipt(Status::Copied, "mirror.example.com/a").to_bytes();
            let mut document = serde_json::from_slice(&bytes).unwrap();
            change(&mut document);
            let bytes = document.to_string();
            (Receipt::is_receipt(bytes.as_bytes()), Receipt::from_slice(bytes.as_bytes()).unwrap_err())
        };
        let not_a_receipt = "it is not a receipt".to_owned();
        assert_eq!(refused(|document| *document = json!([])), (false, not_a_receipt));
        let (is_receipt, later) = refused(|document| document["schema"] = json!("thoras-mirror/receipt/v9"));
        assert!(is_receipt && later.contains("v9") && later.contains(SCHEMA), "{later}");
        let (is_receipt, _) = refused(|document| document["schema"] = json!("thoras-mirror/lock/v2"));
        assert!(!is_receipt);
        let (_, damaged) = refused(|document| document["lock"]["images"][0]["destinations"] = json!([]));
        assert!(damaged.contains("source.example.com/app:1"), "{damaged}");
        let bytes = receipt(Status::Copied, "other.example.com/a").to_bytes();
        let other = Receipt::from_slice(&bytes).unwrap_err();
        assert_eq!(other, "the lock in it is not the one of an import to mirror.example.com/a");
    }

    #[test]
    fn the_committed_schema_is_current() {
        committed_schema::assert_current("lock/receipt.v1.json", &schemars::schema_for!(Receipt));
    }
}
