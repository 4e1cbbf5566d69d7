//! What a registry adds to an error, in words: the specification leaves the form of `detail` open.

use serde_json::Value;

/// The longest detail that is repeated to a person, in characters.
const LONGEST: usize = 200;

/// Text as it is, objects as `name=value`, without what is empty; a long one is cut. Control characters
/// are the caller's to escape.
pub(super) fn words(detail: &Value) -> String {
    let text = written(detail);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) => join(items.iter().map(written), "; "),
        Value::Object(fields) => join(fields.iter().map(|(name, value)| field(name, value)), ", "),
        other => other.to_string(),
    }
}

fn field(name: &str, value: &Value) -> String {
    match (value, written(value)) {
        (_, text) if text.is_empty() => String::new(),
        (Value::Object(_), text) => format!("{name}: {{{text}}}"),
        (_, text) => format!("{name}={text}"),
    }
}

fn join(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn details_of_well_known_registries_read_like_sentences() {
        for (detail, read) in [
            (json!(null), ""),
            (json!({}), ""),
            (json!("http: request body too large"), "http: request body too large"),
            (json!({ "Tag": "1.0" }), "Tag=1.0"),
            // CNCF distribution
            (
                json!([{ "Type": "repository", "Class": "", "Name": "team/app", "Action": "pull" }]),
                "Type=repository, Name=team/app, Action=pull",
            ),
            (json!({ "name": "a", "digest": "sha256:0" }), "name=a, digest=sha256:0"),
            (
                json!({ "limit": 5, "hit": true, "who": { "ip": "10.0.0.1" } }),
                "limit=5, hit=true, who: {ip=10.0.0.1}",
            ),
            (json!(["one", "two"]), "one; two"),
        ] {
            assert_eq!(words(&detail), read, "{detail}");
        }
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        assert_eq!(words(&json!("ü".repeat(1000))).chars().count(), LONGEST + 1);
    }
}
