//! The values that may be part of an image reference.
//!
//! A key's name and a value's text only suggest that; rendering with a marker in the value's place shows it. Values that
//! are empty, that only templates mention, or that are templates themselves are *optional*: giving them a text can change
//! which other values a chart uses.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::path::{Step, ValuePath};

/// The longest text that can be part of a reference.
const MAX_LENGTH: usize = 512;

/// What part of a reference a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A registry, a repository or a whole reference.
    Name,
    /// A tag.
    Tag,
    /// A digest.
    Digest,
}

/// A value that may be part of an image reference.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) path: ValuePath,
    pub(super) part: Part,
    /// Kept before the slot.
    pub(super) head: String,
    /// The text that changes.
    pub(super) slot: String,
    /// Kept after the slot: the tag of a whole reference.
    pub(super) tail: String,
    /// Stands for the slot in a rendering.
    pub(super) marker: String,
    /// Whether giving it a text can change which other values are used.
    pub(super) is_optional: bool,
    /// Whether it is shared: on the first levels, or below `global`.
    pub(super) is_shared: bool,
}

impl Leaf {
    /// Whether it applies to components that do not set their own: at the root, or below `global`, `image` or `defaults`.
    pub(super) fn is_default(&self) -> bool {
        let first = self.path.keys().next().unwrap_or_default().to_ascii_lowercase();
        let names = ["global", "default", "common", "shared"];
        self.path.steps().len() == 1 || says_image(&first) || names.iter().any(|name| first.contains(name))
    }

    /// The whole value with this text in the slot.
    pub(super) fn value(&self, slot: &str) -> String {
        format!("{}{slot}{}", self.head, self.tail)
    }
}

/// Whether a text can be a name or a part of one.
fn is_name_like(text: &str) -> bool {
    let is_part = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || "./:@_-".contains(character)
    };
    !text.is_empty() && text.len() <= MAX_LENGTH && text.chars().all(is_part)
}

/// Whether a key says that its value, or the values below it, name an image.
fn says_image(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["registry", "repository", "image", "repo", "hub"].iter().any(|word| key.contains(word))
}

/// Whether a key says that its value is something else about an image.
fn says_other(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let ends = ["tag", "digest", "sha", "version", "policy", "secret", "secrets", "url"];
    ends.iter().any(|word| key.ends_with(word)) || matches!(key.as_str(), "name" | "enabled" | "type")
}

fn is_tag_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.ends_with("tag") || key == "version" || key.ends_with("imageversion")
}

fn is_digest_key(key: &str) -> bool {
    key.to_ascii_lowercase().ends_with("digest")
}

/// A reference's name, and the tag or digest behind it.
pub(super) fn split_name(text: &str) -> (&str, &str) {
    let (name, _) = text.split_once('@').unwrap_or((text, ""));
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let end =
        name.get(last..).and_then(|component| component.find(':')).map_or(name.len(), |colon| last + colon);
    // A host with a port and no path has no tag.
    let end = if last == 0 && is_port(text.get(end + 1..).unwrap_or_default()) { text.len() } else { end };
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `host:5000` rather than `nginx:1`: a registry of its own.
fn is_port(text: &str) -> bool {
    text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Every value with its path. Of `global`, only that at the root counts: Helm copies it into subcharts.
fn walk(value: &Value, path: &mut Vec<Step>, found: &mut Vec<(ValuePath, Value)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "global" && !path.is_empty() {
                    continue;
                }
                path.push(Step::Key(key.clone()));
                walk(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                path.push(Step::Index(index));
                walk(value, path, found);
                path.pop();
            }
        }
        scalar => found.push((ValuePath::new(path.clone()), scalar.clone())),
    }
}

fn is_shared(path: &ValuePath) -> bool {
    path.steps().len() <= 2 || path.keys().next() == Some("global")
}

/// All values, then the keys that only templates mention, as empty values.
fn all(effective: &Map<String, Value>, template_keys: &[Vec<String>]) -> Vec<(ValuePath, Value)> {
    let mut found = Vec::new();
    for (key, value) in effective {
        walk(value, &mut vec![Step::Key(key.clone())], &mut found);
    }
    let known: BTreeSet<ValuePath> = found.iter().map(|(path, _)| path.clone()).collect();
    for keys in template_keys {
        let path = ValuePath::new(keys.iter().cloned().map(Step::Key).collect());
        let is_absent = path.get(effective).is_none() && !known.contains(&path);
        let parents_are_maps = (1..keys.len()).all(|count| {
            let parent = ValuePath::new(path.steps().get(..count).unwrap_or_default().to_vec());
            parent.get(effective).is_none_or(|value| value.is_object() || value.is_null())
        });
        if is_absent && parents_are_maps {
            found.push((path, Value::Null));
        }
    }
    found
}

/// The values that may be names or parts of names. `names` are those of all images, as written.
pub(super) fn names(
    effective: &Map<String, Value>,
    template_keys: &[Vec<String>],
    names: &BTreeSet<String>,
) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for (path, value) in all(effective, template_keys) {
        let last = path.keys().next_back().unwrap_or_default().to_owned();
        let above = path.keys().rev().take(3).any(says_image);
        let number = leaves.len();
        let leaf = match &value {
            Value::String(text) if text.contains("{{") => {
                ((above && !says_other(&last)) || text.contains('/')).then(|| template(path, text, number))
            }
            Value::String(text) if text.is_empty() => empty_name(path, &last, number),
            Value::Null => empty_name(path, &last, number),
            Value::String(text) if is_name_like(text) => {
                let (name, _) = split_name(text);
                let is_part = names.iter().any(|known| has_components(known, name.trim_matches('/')));
                let is_named = above && !says_other(&last);
                (is_part || is_named).then(|| name_leaf(path, text, number))
            }
            _ => None,
        };
        leaves.extend(leaf);
    }
    leaves
}

/// Whether `part` is a part of `name` that begins and ends at a slash.
fn has_components(name: &str, part: &str) -> bool {
    !part.is_empty()
        && name.match_indices(part).any(|(start, _)| {
            let end = start + part.len();
            let before = start == 0 || name.get(..start).is_some_and(|text| text.ends_with('/'));
            before && name.get(end..).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

fn token(number: usize) -> String {
    format!("zq{number:05}zq")
}

fn template(path: ValuePath, text: &str, number: usize) -> Leaf {
    let token = token(number);
    let is_shared = is_shared(&path);
    let empty = String::new;
    let marker = format!("{token}.test/{token}");
    // A template may end in a tag of its own; the marker then has one as well.
    let tail = match text.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') && !before.is_empty() => format!(":{tag}"),
        _ => empty(),
    };
    let slot = text.strip_suffix(&tail).unwrap_or(text).to_owned();
    // Half of an expression cannot be kept.
    let whole = tail.matches("{{").count() == tail.matches("}}").count()
        && slot.matches("{{").count() == slot.matches("}}").count();
    let (slot, tail) = if whole { (slot, tail) } else { (text.to_owned(), empty()) };
    Leaf { path, part: Part::Name, head: empty(), slot, tail, marker, is_optional: true, is_shared }
}

fn empty_name(path: ValuePath, last: &str, number: usize) -> Option<Leaf> {
    if !says_image(last) || says_other(last) {
        return None;
    }
    let token = token(number);
    let is_host = ["registry", "hub"].iter().any(|word| last.to_ascii_lowercase().contains(word));
    let marker = if is_host { format!("{token}.test") } else { format!("{token}.test/{token}") };
    let is_shared = is_shared(&path);
    let empty = String::new;
    Some(Leaf {
        path,
        part: Part::Name,
        head: empty(),
        slot: empty(),
        tail: empty(),
        marker,
        is_optional: true,
        is_shared,
    })
}

fn name_leaf(path: ValuePath, text: &str, number: usize) -> Leaf {
    let (name, tail) = split_name(text);
    let slot = name.trim_end_matches('/');
    let tail = format!("{}{tail}", name.get(slot.len()..).unwrap_or_default());
    let token = token(number);
    let (first, below) = slot.split_once('/').map_or((slot, false), |(first, _)| (first, true));
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let marker = match (is_host, below) {
        (true, true) => format!("{token}.test/{token}"),
        (true, false) => format!("{token}.test"),
        (false, true) => format!("{token}/{token}"),
        (false, false) => token,
    };
    let is_shared = is_shared(&path);
    Leaf {
        path,
        part: Part::Name,
        head: String::new(),
        slot: slot.to_owned(),
        tail,
        marker,
        is_optional: false,
        is_shared,
    }
}

/// The values that may be tags or digests. `tags` are those of all images.
pub(super) fn versions(
    effective: &Map<String, Value>,
    template_keys: &[Vec<String>],
    tags: &BTreeSet<String>,
) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for (path, value) in all(effective, template_keys) {
        let last = path.keys().next_back().unwrap_or_default().to_owned();
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null => String::new(),
            _ => continue,
        };
        if text.contains("{{") {
            continue;
        }
        let (number, is_shared) = (leaves.len(), is_shared(&path));
        let leaf = |part, head: &str, slot: &str, marker| Leaf {
            path: path.clone(),
            part,
            head: head.to_owned(),
            slot: slot.to_owned(),
            tail: String::new(),
            marker,
            is_optional: text.is_empty(),
            is_shared,
        };
        let whole = split_name(&text);
        if is_digest_key(&last) {
            leaves.push(leaf(Part::Digest, "", &text, format!("sha256:feed{number:060x}")));
        } else if let (name, Some(tag)) = (whole.0, whole.1.strip_prefix(':'))
            && !name.is_empty()
            && is_name_like(name)
            && tags.contains(tag)
        {
            leaves.push(leaf(Part::Tag, &format!("{name}:"), tag, format!("{tag}-{}", token(number))));
        } else if tags.contains(&text)
            || is_tag_key(&last) && (is_shared || !text.is_empty() || says_tag(&last))
        {
            let version = if text.is_empty() { "1.0.0" } else { &text };
            leaves.push(leaf(Part::Tag, "", &text, format!("{version}-{}", token(number))));
        }
    }
    leaves
}

fn says_tag(key: &str) -> bool {
    key.to_ascii_lowercase().ends_with("tag")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_split_from_tags_but_ports_are_not_tags() {
        for (text, name, version) in [
            ("nginx:1.29", "nginx", ":1.29"),
            ("reg:5000", "reg:5000", ""),
            ("reg:5000/a:1", "reg:5000/a", ":1"),
            ("quay.io/a@sha256:00", "quay.io/a", "@sha256:00"),
            ("quay.io/a", "quay.io/a", ""),
        ] {
            assert_eq!(split_name(text), (name, version), "{text}");
        }
    }

    #[test]
    fn values_are_chosen_by_their_key_or_their_text() {
        let values = json!({
            "global": {"imageRegistry": ""},
            "web": {"image": {"repository": "team/web", "tag": "1", "pullPolicy": "always"}, "host": "shop.example"},
            "sub": {"global": {"imageRegistry": ""}, "source": "team/job:2"},
            "list": [{"image": "quay.io/a/b:1"}],
        });
        let known = BTreeSet::from(["team/job".to_owned()]);
        let keys = vec![vec!["job".to_owned(), "imageRegistry".to_owned()]];
        let found = names(values.as_object().unwrap(), &keys, &known);
        let shown: Vec<String> =
            found.iter().map(|leaf| format!("{} {}|{}", leaf.path, leaf.slot, leaf.tail)).collect();
        assert_eq!(
            shown,
            [
                "global.imageRegistry |",
                "web.image.repository team/web|",
                "sub.source team/job|:2",
                "list[0].image quay.io/a/b|:1",
                "job.imageRegistry |",
            ]
        );
    }
}
