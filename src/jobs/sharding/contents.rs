//! The blobs of images and their sizes, known before the images are resolved: from a lock or from the JSON of a dry
//! run.

use std::{collections::HashMap, fs::File, io::BufReader, path::Path};

use serde::Deserialize;

use crate::{
    error::{Failure, Kind},
    lock::Lock,
    oci::{Digest, Reference, json_problem::json_problem},
    outcome::{ImageBlob, Status},
    shard::BlobSizes,
};

/// The prefix of the schemas of all locks.
const LOCKS: &str = "thoras-mirror/lock/";
/// The schema of the JSON of a run.
const RUN: &str = "thoras-mirror/run/v1";

/// The blobs of images, as far as they are known.
#[derive(Debug, Default)]
pub(in crate::jobs) struct BlobsByImage(HashMap<Reference, Vec<(Digest, u64)>>);

/// The field that says what a file is.
#[derive(Deserialize)]
struct Header {
    schema: Option<String>,
}

/// What the JSON of a dry run says about the contents of images.
#[derive(Deserialize)]
struct Plan {
    images: Vec<PlannedImage>,
}

#[derive(Deserialize)]
struct PlannedImage {
    source: Reference,
    status: Status,
    #[serde(default)]
    blobs: Vec<ImageBlob>,
}

impl BlobsByImage {
    /// What a lock records.
    pub(in crate::jobs) fn of_lock(lock: &Lock) -> Self {
        let known = lock.images.iter().filter(|image| image.digest.is_some() && !image.blobs.is_empty());
        let sized = |blob: &Digest| Some((blob.clone(), *lock.blobs.get(blob)?));
        let blobs = |blobs: &[Digest]| blobs.iter().filter_map(sized).collect();
        Self(known.map(|image| (image.source.clone(), blobs(&image.blobs))).collect())
    }

    /// What the file of `--plan` says: a lock, or the JSON of a dry run.
    pub(in crate::jobs) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let refused = |message: String| {
            Failure::new(Kind::Input, message).with_hint(
                "pass a lock, or write a plan: thoras-mirror sync --to REGISTRY/PATH --dry-run --output json > plan.json",
            )
        };
        let open = || {
            let file = File::open(path);
            file.map(BufReader::new)
                .map_err(|error| refused(format!("cannot read the plan {shown}: {error}")))
        };
        let not_json =
            |error: serde_json::Error| refused(format!("{shown} is not a plan: {}", json_problem(&error)));
        let header: Header = serde_json::from_reader(open()?).map_err(not_json)?;
        let contents = match header.schema.as_deref() {
            Some(schema) if schema.starts_with(LOCKS) => {
                return Lock::read(path).map(|lock| Self::of_lock(&lock)).map_err(|error| error.failure());
            }
            Some(RUN) => {
                let plan: Plan = serde_json::from_reader(open()?).map_err(not_json)?;
                Self::of_plan(plan)
            }
            _ => return Err(refused(format!("{shown} is neither a lock nor the JSON of a dry run"))),
        };
        if contents.0.is_empty() {
            return Err(refused(format!("{shown} has no sizes: it is not the JSON of a dry run")));
        }
        Ok(contents)
    }

    /// Images that the destination already has cost only requests.
    fn of_plan(plan: Plan) -> Self {
        let images =
            plan.images.into_iter().filter_map(|PlannedImage { source, status, blobs }| match status {
                Status::UpToDate => Some((source, Vec::new())),
                _ if blobs.is_empty() => None,
                _ => Some((
                    source,
                    blobs.into_iter().map(|ImageBlob { digest, size }| (digest, size)).collect(),
                )),
            });
        Self(images.collect())
    }

    /// The blobs of an image.
    pub(in crate::jobs) fn of(&self, source: &Reference) -> BlobSizes<'_> {
        self.0.get(source).map(Vec::as_slice)
    }

    /// Whether nothing is known about any of these images.
    pub(in crate::jobs) fn knows_none_of<'a>(
        &self,
        sources: impl IntoIterator<Item = &'a Reference>,
    ) -> bool {
        !sources.into_iter().any(|source| self.0.contains_key(source))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(document: &Value) -> Result<BlobsByImage, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), document.to_string()).unwrap();
        BlobsByImage::read(file.path()).map_err(|failure| failure.message)
    }

    #[test]
    fn a_dry_run_says_what_has_to_be_copied() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let image = |name: &str, status: &str, blobs: Value| json!({"source": name, "status": status, "blobs": blobs});
        let plan = json!({"schema": "thoras-mirror/run/v1", "images": [
            image("quay.io/a:1", "planned", json!([{"digest": a, "size": 7}])),
            image("quay.io/b:1", "up-to-date", json!([{"digest": b, "size": 8}])),
            {"source": "quay.io/c:1", "status": "failed"},
        ]});
        let contents = read(&plan).unwrap();
        let of = |name: &str| contents.of(&name.parse().unwrap()).map(<[_]>::to_vec);
        assert_eq!(of("quay.io/a:1"), Some(vec![(a, 7)]));
        assert_eq!(of("quay.io/b:1"), Some(Vec::new()));
        assert_eq!(of("quay.io/c:1"), None);
        assert!(contents.knows_none_of(&["quay.io/c:1".parse().unwrap()]));
    }

    #[test]
    fn a_lock_is_a_plan() {
        let blob = Digest::sha256(b"a");
        let lock = json!({"schema": "thoras-mirror/lock/v2", "platforms": [], "blobs": {blob.as_str(): 7},
            "destinations": [{"to": "r.io/m", "naming": "last"}],
            "images": [{"source": "quay.io/a:1", "digest": blob, "platforms": [], "blobs": [blob],
                "destinations": [{"to": "r.io/m", "reference": "r.io/m/a:1", "confirmed": true}]}]});
        assert_eq!(read(&lock).unwrap().of(&"quay.io/a:1".parse().unwrap()), Some([(blob, 7)].as_slice()));
    }

    #[test]
    fn anything_else_is_refused() {
        let refused = |document: Value| read(&document).unwrap_err();
        assert!(refused(json!({"schema": "thoras-mirror/images/v1"})).contains("neither a lock nor"));
        assert!(refused(json!([])).contains("is not a plan"));
        let without_sizes = json!({"schema": "thoras-mirror/run/v1", "images": [{"source": "quay.io/a:1", "status": "copied"}]});
        assert!(refused(without_sizes).contains("has no sizes"));
    }
}
