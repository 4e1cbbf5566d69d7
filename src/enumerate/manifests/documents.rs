//! A rendering as documents: split at its markers, each read as YAML within bounds.
//!
//! The split is ours so that each document keeps its line in the whole file and Helm's `# Source:` comment,
//! and so that one broken document can be named. A `---` at the start of a line is always a marker: inside
//! a block scalar every line is indented, and YAML 1.2 (section 9.1.4) forbids it elsewhere.

use serde_json::Value;

/// One document of a rendering.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct YamlDocument<'t> {
    /// Everything after the marker.
    pub(super) text: &'t str,
    /// The line of the whole text on which `text` begins, counted from 1.
    pub(super) first_line: usize,
    /// What Helm's `# Source:` comment says.
    pub(super) template: Option<&'t str>,
}

/// Why a document cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The line within the document, counted from 1.
    pub(super) line: usize,
    /// A fixed text: the parser's own messages quote the document, which may hold secrets.
    pub(super) reason: &'static str,
}

/// Splits a rendering into the documents that hold more than comments.
pub(super) fn split(text: &str) -> Vec<YamlDocument<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line) {
            push(&mut documents, text.get(start..offset).unwrap_or_default(), first_line);
            // A document may begin on the marker's own line: `--- {kind: Pod}`.
            (start, first_line) = (offset + 3, index + 1);
        }
        offset += line.len();
    }
    push(&mut documents, text.get(start..).unwrap_or_default(), first_line);
    documents
}

fn push<'t>(documents: &mut Vec<YamlDocument<'t>>, text: &'t str, first_line: usize) {
    let is_content = |line: &str| !line.trim().is_empty() && !line.starts_with(['#', '%']);
    if !text.lines().any(|line| is_content(line.trim_start())) {
        return;
    }
    let template = text
        .lines()
        .take_while(|line| !is_content(line))
        .find_map(|line| line.strip_prefix("# Source: "))
        .map(str::trim);
    documents.push(YamlDocument { text, first_line, template });
}

/// `---` or `...` at the start of a line and followed by white space or nothing.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .or_else(|| line.strip_prefix("..."))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Reads one document. The parser's default budget bounds aliases, depth and size; its 64 levels are what a thread's
/// stack can take (schemas of large CRDs have about forty). Of repeated keys, the last one wins, as in the Kubernetes API
/// server.
pub(super) fn parse(text: &str) -> Result<Value, Unreadable> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        // A tag such as 0755 or 1_000 is not a number, and one odd float must not fail the whole rendering.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Unreadable {
        line: error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1).max(1)),
        reason: reason(&error),
    })
}

fn reason(error: &serde_saphyr::Error) -> &'static str {
    use serde_saphyr::Error;
    match error {
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            "the document is too large or too deep, aliases counted"
        }
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => reason(error),
        Error::UnknownAnchor { .. } => "an alias names an anchor that does not exist",
        Error::Eof { .. } => "the document ends too early",
        _ => "this is not valid YAML",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markers_split_and_lines_are_those_of_the_file() {
        let text = "\u{feff}# head\n---\n# Source: a/templates/x.yaml\nkind: A\ntext: |\n  ---\n  kind: no\n--- {kind: B}\n...\n---\r\n# only a comment\n---\n\n# Source: a/y.yaml\nkind: C\n---not: a marker\n";
        let documents = split(text);
        let seen: Vec<_> =
            documents.iter().map(|document| (document.first_line, document.template)).collect();
        assert_eq!(seen, [(2, Some("a/templates/x.yaml")), (8, None), (12, Some("a/y.yaml"))]);
        assert_eq!(parse(documents[0].text).unwrap()["text"], "---\nkind: no\n");
        assert_eq!(parse(documents[1].text).unwrap()["kind"], "B");
    }

    #[test]
    fn errors_hold_a_line_and_nothing_of_the_text() {
        let unreadable = parse("a: 1\nb: [hunter2\nc: hunter2: x\n").unwrap_err();
        assert!(unreadable.line >= 2, "{unreadable:?}");
        assert!(!unreadable.reason.contains("hunter2"));
    }

    #[test]
    fn odd_scalars_do_not_break_a_document() {
        let text = "a: .nan\nb: 1e999\nc: 123456789012345678901234567890\nd: !!binary aGk=\ne: !custom x\n\
                    1: y\ntrue: z\nf: 2020-01-01\ng: 0o17\nh: -.inf\ni: ~\ntag: 0755\na: again\n";
        let value = parse(text).unwrap();
        assert_eq!(value["1"], true);
        assert_eq!(value["tag"], "0755");
        assert_eq!(value["a"], "again", "the last one counts");
        assert_eq!(value["f"], "2020-01-01");
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            text = format!("{text}a{level}: &a{level} [{aliases}]\n");
        }
        assert_eq!(
            parse(&text).unwrap_err().reason,
            "the document is too large or too deep, aliases counted"
        );
        for opening in ["[", "{a: ", "- ", "a: {"] {
            assert!(parse(&opening.repeat(100_000)).is_err(), "{opening}");
        }
    }

    proptest! {
        #[test]
        fn splitting_loses_no_content(lines in prop::collection::vec("(---|--- a|\\.\\.\\.|kind: x|  y|# z|)", 0..20)) {
            let text = lines.join("\n");
            let content = |text: &str| text.lines().filter(|line| line.contains("kind: x")).count();
            let split: usize = split(&text).iter().map(|document| content(document.text)).sum();
            prop_assert_eq!(split, content(&text));
        }

        #[test]
        fn reading_never_panics(text in "(?s).{0,300}") {
            for document in split(&text) {
                let _ = parse(document.text);
            }
        }
    }
}
