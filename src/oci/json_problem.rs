//! Describes what is wrong with a JSON document.
//!
//! `serde_json` describes wrong fields only in text. This file alone depends on its wording; text that it does not know
//! is shown as it is.

use serde_json::error::Category;

/// Why a document could not be read: `it is not JSON`, or which field is wrong.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof if error.column() == 0 => "it is empty".to_owned(),
        Category::Eof => "it ends in the middle of its JSON".to_owned(),
        Category::Syntax => "it is not JSON".to_owned(),
        // Where it is in a document on one line does not help.
        Category::Data => {
            let text = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            wrong_field(text.strip_suffix(&place).unwrap_or(&text))
        }
        Category::Io => error.to_string(),
    }
}

/// The same, with the line where it helps to look: in a file of many lines.
pub(crate) fn json_problem_in_line(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Data | Category::Syntax => format!("{} (line {})", json_problem(error), error.line()),
        Category::Eof | Category::Io => json_problem(error),
    }
}

fn wrong_field(text: &str) -> String {
    let field = |prefix: &str| {
        let (name, _) = text.strip_prefix(prefix)?.split_once('`')?;
        Some(name)
    };
    if let Some(name) = field("missing field `") {
        return format!("the field `{name}` is missing");
    }
    if let Some(name) = field("unknown field `") {
        return format!("the field `{name}` is not known");
    }
    if let Some(name) = field("duplicate field `") {
        return format!("the field `{name}` appears twice");
    }
    // The program's own types read a list as their fields, in order.
    if text.starts_with("invalid length ") && text.contains(", expected struct ") {
        return "a field is a list, not an object".to_owned();
    }
    let types = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    match types.and_then(|types| types.rsplit_once(", expected ")) {
        Some((found, expected)) if kind_of(found) == kind_of(expected) => {
            format!("a field has a value that is not allowed: {found}")
        }
        Some((found, expected)) => format!("a field is {}, not {}", kind_of(found), kind_of(expected)),
        None => wrong_digest(text).unwrap_or_else(|| format!("a field is wrong: {text}")),
    }
}

/// What `oci_spec` says about digests, in words that fit into a sentence.
fn wrong_digest(text: &str) -> Option<String> {
    if text == "missing ':' in digest" {
        return Some("a digest has no `:`".to_owned());
    }
    if let Some(lengths) = text.strip_prefix("Invalid digest length ") {
        let (found, expected) = lengths.split_once(" expected ")?;
        return Some(format!("a digest has {found} digits, not {expected}"));
    }
    let value = text.strip_prefix("Invalid non-hexadecimal character in digest: ");
    let value = value.or_else(|| text.strip_prefix("Invalid encoded value "))?;
    Some(format!("a digest is not lower-case hexadecimal: `{value}`"))
}

/// The kind of a JSON value: `u64` and `integer` are numbers.
fn kind_of(described: &str) -> String {
    let word = described.split([' ', '`']).find(|word| !matches!(*word, "a" | "an" | "borrowed" | ""));
    let kind = match word.unwrap_or_default() {
        "string" | "str" | "character" => "text",
        "integer" | "floating" | "u8" | "u16" | "u32" | "u64" | "usize" | "i64" | "f64" => "a number",
        "sequence" | "tuple" => "a list",
        "map" | "struct" => "an object",
        "boolean" => "true or false",
        "null" | "unit" | "Option" => "null",
        _ => return described.to_owned(),
    };
    kind.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        #[expect(dead_code, reason = "only read")]
        size: u64,
        #[expect(dead_code, reason = "only read")]
        #[serde(default)]
        names: Vec<String>,
        #[expect(dead_code, reason = "only read")]
        #[serde(default)]
        map: BTreeMap<String, bool>,
    }

    #[test]
    fn every_problem_has_words_of_its_own() {
        for (text, expected) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("{\"size\":", "it ends in the middle of its JSON"),
            ("<html>", "it is not JSON"),
            ("{}", "the field `size` is missing"),
            (r#"{"size":1,"size":1}"#, "the field `size` appears twice"),
            (r#"{"size":1,"other":1}"#, "the field `other` is not known"),
            (r#"{"size":"1"}"#, "a field is text, not a number"),
            (r#"{"size":-1}"#, "a field has a value that is not allowed: integer `-1`"),
            (r#"{"size":1.5}"#, "a field has a value that is not allowed: floating point `1.5`"),
            (r#"{"size":1,"names":7}"#, "a field is a number, not a list"),
            (r#"{"size":1,"names":[null]}"#, "a field is null, not text"),
            (r#"{"size":1,"map":[]}"#, "a field is a list, not an object"),
            (r#"{"size":1,"map":{"a":"b, expected c"}}"#, "a field is text, not true or false"),
            ("7", "a field is a number, not an object"),
            ("[]", "a field is a list, not an object"),
        ] {
            let error = serde_json::from_str::<Document>(text).unwrap_err();
            assert_eq!(json_problem(&error), expected, "{error}");
        }
        for (digest, expected) in [
            ("x", "a digest has no `:`"),
            ("sha256:ab", "a digest has 2 digits, not 64"),
            ("sha256:\n", "a digest is not lower-case hexadecimal: `\n`"),
            (&format!("sha256:{}", "A".repeat(64)), "a digest is not lower-case hexadecimal: `AAAA"),
        ] {
            let text = serde_json::json!({"mediaType": "x", "size": 1, "digest": digest}).to_string();
            let error = serde_json::from_str::<oci_spec::image::Descriptor>(&text).unwrap_err();
            assert!(json_problem(&error).starts_with(expected), "{error}");
        }
        let error = serde_json::from_str::<Document>("{\n\"size\": \"1\"}").unwrap_err();
        assert_eq!(json_problem_in_line(&error), "a field is text, not a number (line 2)");
    }
}
