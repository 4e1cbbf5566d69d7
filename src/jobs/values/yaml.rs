//! Writes values as YAML with comments.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value};

use super::{
    super::file_comments::write_comment,
    path::{Step, ValuePath},
};
use crate::error::escape_json;

/// Comments for values, by their paths as text.
pub(crate) type Comments = BTreeMap<String, Vec<String>>;

/// The text of a values file. Comments may have several lines.
pub(crate) fn write(head: &[String], values: &Map<String, Value>, comments: &Comments) -> String {
    let mut text = String::new();
    for comment in head {
        write_comment(&mut text, 0, comment);
    }
    if values.is_empty() {
        text.push_str("{}\n");
    } else {
        write_map(&mut text, values, &mut Vec::new(), comments, 0);
    }
    text
}

fn write_map(
    text: &mut String,
    fields: &Map<String, Value>,
    path: &mut Vec<Step>,
    comments: &Comments,
    indent: usize,
) {
    for (key, value) in fields {
        path.push(Step::Key(key.clone()));
        let here = ValuePath::new(path.clone()).to_string();
        for line in comments.get(&here).into_iter().flatten() {
            write_comment(text, indent, line);
        }
        let _ = write!(text, "{:indent$}{}:", "", scalar(key));
        write_value(text, value, path, comments, indent);
        path.pop();
    }
}

/// What is behind `key:` or `-`.
fn write_value(text: &mut String, value: &Value, path: &mut Vec<Step>, comments: &Comments, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            write_map(text, fields, path, comments, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Index(index));
                let _ = write!(text, "{:1$}-", "", indent + 2);
                match item {
                    // The first key is on the line of the dash.
                    Value::Object(fields) if !fields.is_empty() => {
                        let mut item = String::new();
                        write_map(&mut item, fields, path, comments, indent + 4);
                        let _ = write!(text, " {}", item.trim_start());
                    }
                    other => write_value(text, other, path, comments, indent + 2),
                }
                path.pop();
            }
        }
        Value::String(string) => {
            let _ = writeln!(text, " {}", scalar(string));
        }
        other => {
            let _ = writeln!(text, " {other}");
        }
    }
}

/// A plain text where every YAML reader takes it for that text, else a quoted one.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "._/@:-".contains(character))
        && !text.ends_with(':')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
        );
    // JSON is YAML.
    if is_plain { text.to_owned() } else { escape_json(Value::from(text).to_string()) }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    #[test]
    fn comments_fit_80_columns_whatever_they_name() {
        let long = "a-key-of-a-subchart-with-a-long-name.controller.containers.sidecar.image.repository";
        let name = "registry.example.com:5000/mirror/team/an-operator-with-a-long-name";
        let comment = format!("replaces the chart's {name}; set {long} as well … {}", "word ".repeat(40));
        let mut values = json!({"image": name});
        for key in ["d", "c", "b", "a"] {
            values = json!({ key: values });
        }
        let comments = Comments::from([("a.b.c.d.image".to_owned(), vec![comment.clone()])]);
        let text = write(&[comment], values.as_object().unwrap(), &comments);
        let longest_word = long.len() + "        # ".len();
        for line in text.lines().filter(|line| line.trim_start().starts_with('#')) {
            let is_one_word = line.trim_start_matches([' ', '#']).split(' ').count() == 1;
            let most = if is_one_word { longest_word } else { 80 };
            assert!(line.chars().count() <= most, "{line}");
        }
        // No line is left short: the next word would not have fitted.
        assert!(text.lines().filter(|line| line.len() > 70).count() >= 6, "{text}");
    }

    #[test]
    fn what_is_written_reads_back() {
        let values = json!({
            "a": {"registry": "reg:5000/m", "tag": "1.10", "empty": {}, "none": null, "text": "x: y #\u{9b}\n"},
            "list": [{"name": "x", "env": [{"name": "A", "value": "yes"}]}, "plain", [1, 2], {}],
            "on": true,
        });
        let comments = Comments::from([("a.registry".to_owned(), vec!["was quay.io".to_owned()])]);
        let text = write(&["One\ntwo".to_owned()], values.as_object().unwrap(), &comments);
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), values, "{text}");
        assert_snapshot!(text, @r#"
        # One
        # two
        a:
          # was quay.io
          registry: reg:5000/m
          tag: "1.10"
          empty: {}
          none: null
          text: "x: y #\u009b\n"
        list:
          - name: x
            env:
              - name: A
                value: "yes"
          - plain
          -
            - 1
            - 2
          - {}
        "on": true
        "#);
    }
}
