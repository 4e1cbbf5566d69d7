//! Fallback indexes (distribution specification, "Referrers Tag Schema"): the entry of a referrer, and adding entries.
//!
//! Entries are inserted into the text of an index. Other clients' entries and everything else keep their bytes.

use std::{collections::HashSet, ops::Range};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::oci::{
    Digest, ManifestError, RawManifest, json_problem::json_problem, media_type::OCI_INDEX, referrer::Referrer,
};

/// Whether a tag points to an index of referrers of this manifest, and not to the manifest.
pub(super) fn is_index_of(found: &RawManifest, subject: &Digest) -> bool {
    found.media_type().as_str() == OCI_INDEX && found.digest() != subject
}

/// The entry of a referrer in the index of its subject.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) digest: Digest,
    fields: Map<String, Value>,
}

impl Entry {
    /// The subject of a manifest and its entry in the subject's index; `None` if it has no subject. The entry has the
    /// manifest's artifact type, or the media type of its config, and all of its annotations.
    pub(super) fn of(manifest: &RawManifest) -> Option<(Digest, Self)> {
        let read = Referrer::read(manifest).ok()?;
        let artifact_type = read.listed_type();
        let Referrer { subject: Some(subject), annotations, .. } = read else { return None };
        let mut fields = Map::new();
        fields.insert("mediaType".to_owned(), json!(manifest.media_type()));
        fields.insert("digest".to_owned(), json!(manifest.digest()));
        fields.insert("size".to_owned(), json!(manifest.size()));
        if let Some(annotations) = annotations.filter(|annotations| !annotations.is_empty()) {
            fields.insert("annotations".to_owned(), Value::Object(annotations));
        }
        if let Some(artifact_type) = artifact_type {
            fields.insert("artifactType".to_owned(), Value::String(artifact_type));
        }
        Some((subject, Self { digest: manifest.digest().clone(), fields }))
    }

    /// What to write instead of an existing entry of the same manifest; `None` if it lacks nothing. Older clients left
    /// annotations and artifact types out.
    fn completed(&self, existing: &Map<String, Value>) -> Option<Map<String, Value>> {
        let mut completed = existing.clone();
        for (name, value) in &self.fields {
            match (completed.get_mut(name), value) {
                (Some(Value::Object(there)), Value::Object(ours)) => {
                    there.extend(ours.iter().map(|(name, value)| (name.clone(), value.clone())));
                }
                _ => {
                    completed.insert(name.clone(), value.clone());
                }
            }
        }
        (completed != *existing).then_some(completed)
    }
}

/// The entries of an index, as written. Those without a valid digest are left out.
pub(super) fn entries(index: &RawManifest) -> Vec<Entry> {
    #[derive(Deserialize)]
    struct Listed {
        manifests: Vec<Map<String, Value>>,
    }
    let listed =
        serde_json::from_slice(index.bytes()).map_or_else(|_| Vec::new(), |Listed { manifests }| manifests);
    let entry = |fields: Map<String, Value>| {
        let digest = fields.get("digest")?.as_str()?.parse().ok()?;
        Some(Entry { digest, fields })
    };
    listed.into_iter().filter_map(entry).collect()
}

#[derive(Deserialize)]
struct Index<'a> {
    #[serde(borrow)]
    manifests: &'a RawValue,
}

/// An index with these entries, added to an existing one if there is one; `None` if it has them all. Other entries of
/// `absent` manifests are left out.
pub(super) fn merged(
    existing: Option<&RawManifest>,
    entries: &[Entry],
    absent: &HashSet<Digest>,
) -> Result<Option<Bytes>, ManifestError> {
    let Some(existing) = existing else {
        let entries: Vec<&Map<String, Value>> = entries.iter().map(|entry| &entry.fields).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
        return Ok(Some(Bytes::from(index.to_string())));
    };
    let unreadable = |error: serde_json::Error| ManifestError::Unreadable(json_problem(&error));
    let text = std::str::from_utf8(existing.bytes())
        .map_err(|_| ManifestError::Unreadable("it is not JSON".to_owned()))?;
    let list = serde_json::from_str::<Index<'_>>(text).map_err(unreadable)?.manifests.get();
    let items = Item::read_all(list).map_err(unreadable)?;
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut new = Vec::new();
    for entry in entries {
        match items.iter().find(|item| item.digest() == Some(entry.digest.as_str())) {
            Some(item) => {
                if let Some(completed) = entry.completed(&item.fields) {
                    edits.push((range_in(text, item.text), Value::Object(completed).to_string()));
                }
            }
            None => new.push(Value::Object(entry.fields.clone()).to_string()),
        }
    }
    if edits.is_empty() && new.is_empty() {
        return Ok(None);
    }
    let is_absent = |item: &Item<'_>| absent.iter().any(|digest| item.digest() == Some(digest.as_str()));
    if items.iter().any(is_absent) {
        let kept = items.iter().filter(|item| !is_absent(item)).map(|item| item.text.to_owned());
        let rebuilt: Vec<String> = kept.chain(new).collect();
        edits = vec![(range_in(text, list), format!("[{}]", rebuilt.join(",")))];
    } else if !new.is_empty() {
        let added = new.join(",");
        edits.push(match items.last() {
            Some(final_item) => {
                let end = range_in(text, final_item.text).end;
                (end..end, format!(",{added}"))
            }
            None => (range_in(text, list), format!("[{added}]")),
        });
    }
    Ok(Some(replace(text, edits).into()))
}

/// An entry of an existing index, with its bytes.
struct Item<'a> {
    text: &'a str,
    fields: Map<String, Value>,
}

impl<'a> Item<'a> {
    fn read_all(list: &'a str) -> serde_json::Result<Vec<Self>> {
        let items: Vec<&RawValue> = serde_json::from_str(list)?;
        let read =
            |item: &'a RawValue| Ok(Self { text: item.get(), fields: serde_json::from_str(item.get())? });
        items.into_iter().map(read).collect()
    }

    fn digest(&self) -> Option<&str> {
        self.fields.get("digest")?.as_str()
    }
}

/// Where a part of a text is in it.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The text with other parts in these places, which do not overlap.
fn replace(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut replaced = text.to_owned();
    for (range, part) in edits.into_iter().rev() {
        replaced.replace_range(range, &part);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::media_type::OCI_MANIFEST;

    fn manifest(media_type: &str, document: &Value) -> RawManifest {
        let bytes = Bytes::from(document.to_string());
        RawManifest::read(Some(media_type), bytes, None).unwrap()
    }

    fn referrer(name: &str, more: &Value) -> RawManifest {
        let mut document = json!({
            "schemaVersion": 2,
            "config": { "mediaType": "application/x.config", "digest": "sha256:0", "size": 2 },
            "layers": [],
            "subject": { "mediaType": OCI_MANIFEST, "digest": Digest::sha256(b"image"), "size": 5 },
            "annotations": { "name": name, "odd \" key": "ü\n" },
        });
        for (name, value) in more.as_object().unwrap() {
            document[name] = value.clone();
        }
        manifest(OCI_MANIFEST, &document)
    }

    fn entry(name: &str) -> Entry {
        Entry::of(&referrer(name, &json!({}))).unwrap().1
    }

    fn index(text: &str) -> RawManifest {
        RawManifest::read(Some(OCI_INDEX), Bytes::copy_from_slice(text.as_bytes()), None).unwrap()
    }

    fn merge(existing: Option<&RawManifest>, entries: &[Entry]) -> Result<Option<Bytes>, ManifestError> {
        merged(existing, entries, &HashSet::new())
    }

    #[test]
    fn entries_of_absent_manifests_are_left_out() {
        let (gone, there) = (entry("gone").digest, entry("there").digest);
        let text = format!(r#"{{"manifests":[{{"digest":"{gone}"}}, {{ "digest":"{there}" }}],"x":1}}"#);
        let absent = HashSet::from([gone]);
        let after = merged(Some(&index(&text)), &[entry("a")], &absent).unwrap().unwrap();
        let ours = Value::Object(entry("a").fields);
        assert_eq!(after, format!(r#"{{"manifests":[{{ "digest":"{there}" }},{ours}],"x":1}}"#));
        assert_eq!(
            merged(Some(&index(std::str::from_utf8(&after).unwrap())), &[entry("a")], &absent).unwrap(),
            None
        );
    }

    #[test]
    fn an_entry_is_rebuilt_from_the_manifest() {
        let of = |more: Value| Value::Object(Entry::of(&referrer("a", &more)).unwrap().1.fields);
        let shown = of(json!({ "artifactType": "application/x.sbom" }));
        assert_eq!(shown["artifactType"], "application/x.sbom");
        assert_eq!(shown["annotations"], json!({ "name": "a", "odd \" key": "ü\n" }), "all of them");
        assert_eq!(of(json!({}))["artifactType"], "application/x.config");
        assert_eq!(of(json!({ "artifactType": "" }))["artifactType"], "application/x.config");
        assert_eq!(of(json!({ "annotations": {} })).get("annotations"), None);
        let index = json!({
            "schemaVersion": 2, "manifests": [], "subject": { "digest": Digest::sha256(b"image") },
        });
        let (subject, entry) = Entry::of(&manifest(OCI_INDEX, &index)).unwrap();
        assert_eq!((subject, entry.fields.get("artifactType")), (Digest::sha256(b"image"), None));
        assert_eq!(Entry::of(&referrer("a", &json!({ "subject": null }))), None);
    }

    #[test]
    fn other_entries_and_fields_keep_their_bytes_and_their_order() {
        let before = "{ \"mediaType\":\"application/vnd.oci.image.index.v1+json\" ,\n\"x\": 1.50,\n \"manifests\" : [ {\"digest\":\"b\", \"size\" : 1e1},\n{\"digest\":\"a\"} ] ,\"annotations\":{\"z\":\"1\",\"z\":\"2\"}}\n";
        let after = merge(Some(&index(before)), &[entry("a"), entry("b")]).unwrap().unwrap();
        let after = std::str::from_utf8(&after).unwrap();
        let (head, tail) = before.split_at(before.find(" ] ,").unwrap());
        let added = after.strip_prefix(head).unwrap().strip_suffix(tail).unwrap();
        let texts = [entry("a"), entry("b")].map(|entry| Value::Object(entry.fields).to_string());
        assert_eq!(added, format!(",{},{}", texts[0], texts[1]));
        assert_eq!(merge(Some(&index(after)), &[entry("b")]).unwrap(), None, "nothing to write");
    }

    #[test]
    fn an_empty_index_gets_its_first_entry() {
        for text in [r#"{"schemaVersion":2,"manifests":[]}"#, r#"{"manifests":[ ],"schemaVersion":2}"#] {
            let after = merge(Some(&index(text)), &[entry("a")]).unwrap().unwrap();
            let after: Value = serde_json::from_slice(&after).unwrap();
            assert_eq!(after["manifests"], json!([entry("a").fields]));
            assert_eq!(after["schemaVersion"], 2);
        }
        let new = merge(None, &[entry("a"), entry("b")]).unwrap().unwrap();
        assert_eq!(merge(Some(&index(std::str::from_utf8(&new).unwrap())), &[entry("b")]).unwrap(), None);
    }

    #[test]
    fn an_entry_without_annotations_is_completed_in_its_place() {
        let digest = entry("a").digest;
        let text = format!(
            r#"{{"manifests":[{{"digest":"{digest}","platform":{{"os":"linux"}},"annotations":{{"more":"1"}}}}, {{"digest":"b"}}]}}"#
        );
        let after = merge(Some(&index(&text)), &[entry("a")]).unwrap().unwrap();
        assert!(after.ends_with(br#", {"digest":"b"}]}"#));
        let after: Value = serde_json::from_slice(&after).unwrap();
        let first = &after["manifests"][0];
        assert_eq!(first["annotations"], json!({ "more": "1", "name": "a", "odd \" key": "ü\n" }));
        assert_eq!(first["platform"]["os"], "linux");
        assert_eq!(first["artifactType"], "application/x.config");
    }

    proptest! {
        #[test]
        fn any_order_of_merges_keeps_all_entries(names in proptest::collection::vec("[a-f]", 1..12)) {
            let mut current = None;
            for name in &names {
                if let Some(bytes) = merge(current.as_ref(), &[entry(name)]).unwrap() {
                    current = Some(index(std::str::from_utf8(&bytes).unwrap()));
                }
            }
            let current = current.unwrap();
            for name in &names {
                prop_assert_eq!(merge(Some(&current), &[entry(name)]).unwrap(), None);
            }
            let document: Value = serde_json::from_slice(current.bytes()).unwrap();
            let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
            prop_assert_eq!(document["manifests"].as_array().unwrap().len(), distinct.len());
        }
    }
}
