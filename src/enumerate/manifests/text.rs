//! Finds image references in text: a single value, a list, a shell line, a properties file.
//!
//! Nothing here knows what the text is for. Each [`Mention`] says what was read and under which key it was
//! written in the text itself; the walk decides whether it counts.

use crate::oci::Reference;

use super::{
    line_keys::{KeyPosition, is_keyed_value, is_value_of, key_at, key_position, property},
    objects::{has_registry, has_version},
    runs::{Run, runs},
};

/// The programs that pull images, and their commands that take one.
const CONTAINER_TOOLS: [&str; 9] =
    ["docker", "podman", "nerdctl", "crictl", "buildah", "ctr", "FROM", "kubectl", "oc"];
/// `image` is that of `kubectl set image`.
const PULLS: [&str; 6] = ["pull", "run", "create", "from", "FROM", "image"];

/// How many runs before an image are searched for the command that pulls it: a line may have a million of them.
const LONGEST_COMMAND: usize = 256;

/// How the tools of containers and Kubewarden write a transport; any other scheme begins a URL.
const TRANSPORTS: [&str; 4] = ["docker://", "docker-pullable://", "docker-image://", "registry://"];

/// A piece of text that reads as an image reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mention {
    /// As it is written.
    pub(super) written: String,
    pub(super) reference: Reference,
    /// The key in front of it: `init` of `--init=quay.io/a/b:1`.
    pub(super) key: Option<String>,
    /// Whether the text, or the value of the key, is nothing but this reference.
    pub(super) is_whole: bool,
    pub(super) has_registry: bool,
    /// Whether a program pulls it: `docker pull acme/web:1`, `FROM golang:1.22`, `docker://alpine:3.19`.
    pub(super) is_pulled: bool,
}

impl Mention {
    pub(super) fn has_version(&self) -> bool {
        has_version(&self.written)
    }
}

/// A `key=value` or `key: value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: String,
    /// The line on which the command or the setting begins, which `\` continues on the next one.
    pub(super) line: usize,
}

/// What a text holds.
#[derive(Debug, Default)]
pub(super) struct TextContent {
    pub(super) mentions: Vec<Mention>,
    /// For images that are written in parts.
    pub(super) pairs: Vec<Pair>,
    /// References that end or begin in a placeholder: `quay.io/a/b:${TAG}`.
    pub(super) unfinished: Vec<String>,
    /// References behind `oci://`: charts, or images.
    pub(super) artifacts: Vec<String>,
    /// Whether the text is nothing but references, several of them.
    pub(super) is_list: bool,
}

/// Reads a text. Lines that are comments are skipped.
pub(super) fn read(text: &str) -> TextContent {
    let mut content = TextContent::default();
    let mut is_continued = false;
    let mut first_line = 0;
    for (number, line) in text.lines().map(without_comment).enumerate() {
        first_line = if is_continued { first_line } else { number };
        is_continued = line.trim_end().ends_with('\\');
        if !line.trim().is_empty() {
            read_line(line, first_line, &mut content);
        }
    }
    let lines = text.lines().map(without_comment);
    let items = lines.flat_map(|line| line.split([',', ';', ' ', '\t'])).filter(|item| !item.is_empty());
    let written: Vec<&str> = items.collect();
    content.is_list = written.len() > 1
        && written.len() == content.mentions.len()
        && written.iter().zip(&content.mentions).all(|(item, mention)| *item == mention.written);
    if let [mention] = content.mentions.as_mut_slice() {
        mention.is_whole |= mention.written == text.trim();
    }
    content
}

/// The text of a manifest without the documents that are Secrets, for text that cannot be parsed.
pub(super) fn without_secrets(text: &str) -> String {
    let mut kept: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            kept.push(Vec::new());
        }
        if let Some(document) = kept.last_mut() {
            document.push(line);
        }
    }
    let is_secret = |document: &Vec<&str>| {
        document.iter().any(|line| {
            let squeezed: String = line
                .chars()
                .filter(|character| !character.is_whitespace() && !"\"'".contains(*character))
                .collect();
            squeezed.contains("kind:Secret") || squeezed.contains("kind:SealedSecret")
        })
    };
    kept.retain(|document| !is_secret(document));
    kept.concat().join("\n")
}

fn without_comment(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with(['#', ';']) || trimmed.starts_with("//") || trimmed.starts_with("! ") {
        return "";
    }
    line.find(" #").map_or(line, |comment| line.get(..comment).unwrap_or(line))
}

/// Whether the line is a command that pulls the image at `at`, or a line of a Dockerfile.
fn is_pulled(runs: &[Run<'_>], at: usize) -> bool {
    let start = at.saturating_sub(LONGEST_COMMAND);
    let before = runs.get(start..at).unwrap_or_default();
    let Some(tool) = before.iter().position(|run| CONTAINER_TOOLS.contains(&run.text)) else { return false };
    let is_command = |run: &Run<'_>| PULLS.contains(&run.text);
    let is_line = start == 0 && tool == 0 && before.first().is_some_and(|run| run.gap.trim().is_empty());
    let is_next = |run: &Run<'_>| run.gap.contains([';', '&', '|']);
    let pulls = before.iter().skip(tool).any(is_command) && !before.iter().skip(tool + 1).any(is_next);
    pulls && (is_line || before.get(tool).is_some_and(|run| run.text != "FROM"))
}

fn read_line(line: &str, number: usize, content: &mut TextContent) {
    let runs = runs(line);
    // The key in force, and whether it was just read.
    let mut key: Option<(&str, bool)> = None;
    let mut in_url = false;
    let property = property(&runs);
    for (at, run) in runs.iter().enumerate() {
        let is_separated =
            run.gap.contains(|character: char| character.is_whitespace() || "\"'`,;".contains(character));
        in_url &= !is_separated;
        if run.text == ":" {
            key = at.checked_sub(1).and_then(|before| runs.get(before)).map(|before| (before.text, true));
            continue;
        }
        let is_list = run.gap.trim_start().starts_with([',', ';']);
        key = key
            .filter(|(_, is_new)| *is_new || is_list || !run.gap.contains(char::is_whitespace))
            .map(|(key, _)| (key, false));
        if let Some(property) = property.filter(|_| at == 0) {
            key = Some((property, true));
            continue;
        }
        let text = TRANSPORTS.iter().find_map(|transport| without_transport(run.text, transport));
        let text = text.unwrap_or(run.text);
        if text.contains("://") {
            content.artifacts.extend(artifact(text, run).map(str::to_owned));
            in_url = true;
            continue;
        }
        let next_gap = runs.get(at + 1).map_or("", |next| next.gap);
        // `3.1:quay.io/acme/web:1`: what is before the first colon is neither a registry nor a name.
        let (text, is_keyed) = match text.split_once(':') {
            Some((before, value)) if text.parse::<Reference>().is_err() && is_keyed_value(before, value) => {
                key = Some((before, false));
                (value, true)
            }
            _ => (text, false),
        };
        if let Some(name) = key_at(text, run.gap, run.after, next_gap) {
            key = Some((name, true));
            continue;
        }
        if in_url {
            continue;
        }
        if let Some((key, _)) = key
            && !is_cut_before(run)
            && !is_cut_after(run.after)
            && key_position(key, at, &runs).is_some_and(|position| position != KeyPosition::Expression)
        {
            let (key, value) = (key.to_owned(), trimmed(text).to_owned());
            content.pairs.push(Pair { key, value, line: number });
        }
        let is_whole = key.is_some_and(|(key, _)| is_keyed || is_value_of(key, at, &runs));
        let has_transport = text.len() < run.text.len() && !is_keyed;
        let count = content.mentions.len();
        push(run, text, key.map(|(key, _)| key), is_whole, content);
        if let Some(mention) = content.mentions.get_mut(count) {
            mention.is_pulled = has_transport || is_pulled(&runs, at);
        }
    }
}

/// The complete reference in `oci://…`.
fn artifact<'t>(url: &'t str, run: &Run<'_>) -> Option<&'t str> {
    let written = trimmed(url.strip_prefix("oci://")?);
    let is_complete = has_registry(written) && has_version(written) && !is_cut_after(run.after);
    (is_complete && written.parse::<Reference>().is_ok()).then_some(written)
}

/// The reference behind a transport, which may have a name in front, as in the labels of Gitea's runners:
/// `ubuntu:docker://acme/runner:1`.
fn without_transport<'t>(text: &'t str, transport: &str) -> Option<&'t str> {
    let (before, after) = text.split_once(transport)?;
    (before.is_empty() || before.ends_with(':') && !before.contains("://")).then_some(after)
}

fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['.', ',', ':', '-', '_', '/', '@'])
}

fn push(run: &Run<'_>, text: &str, key: Option<&str>, is_whole: bool, content: &mut TextContent) {
    let written = trimmed(text);
    // `quay.io/acme/web:__TAG__`
    let is_cut = is_cut_before(run) || is_cut_after(run.after) || text.ends_with("__");
    if is_cut {
        if has_registry(written)
            && !is_cut_before(run)
            && written.len() > 3
            && written.parse::<Reference>().is_ok()
        {
            content
                .unfinished
                .push(format!("{text}{}", run.after.split([' ', '"', '\'']).next().unwrap_or_default()));
        }
        return;
    }
    let Ok(reference) = written.parse::<Reference>() else { return };
    content.mentions.push(Mention {
        written: written.to_owned(),
        key: key.map(str::to_owned),
        is_whole,
        has_registry: has_registry(written),
        is_pulled: false,
        reference,
    });
}

/// Whether the run continues something else: a placeholder, a path, a pattern.
fn is_cut_before(run: &Run<'_>) -> bool {
    let is_open = run.before.is_some_and(|before| "})]*\\$~+^%#&?!".contains(before));
    // `\n` and `\"` in text that is escaped twice.
    is_open && !(run.before == Some('\\') && run.text.starts_with('n'))
}

fn is_cut_after(after: &str) -> bool {
    let mut characters = after.chars();
    match characters.next() {
        Some('\\') => !matches!(characters.next(), Some('n' | 't' | 'r' | '"' | '\'' | '\\')),
        Some('<') => !after.starts_with("</"),
        Some(next) => "${[(*~+^%#".contains(next),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `key>written` of every mention that has a version.
    fn found(text: &str) -> Vec<String> {
        let mentions = read(text).mentions;
        mentions
            .iter()
            .filter(|mention| mention.has_version())
            .map(|mention| format!("{}>{}", mention.key.as_deref().unwrap_or_default(), mention.written))
            .collect()
    }

    #[test]
    fn lists_of_every_kind_are_read_to_their_end() {
        for (text, expected) in [
            ("quay.io/a/b:1", &[">quay.io/a/b:1"][..]),
            ("4.0=quay.io/a/b:4.0\n4.1=quay.io/a/b:4.1\n", &["4.0>quay.io/a/b:4.0", "4.1>quay.io/a/b:4.1"]),
            ("a=quay.io/a/b:1,c=quay.io/c/d:2", &["a>quay.io/a/b:1", "c>quay.io/c/d:2"]),
            (
                "quay.io/a/b:1, quay.io/a/c:2; quay.io/a/d:3 quay.io/a/e:4",
                &[">quay.io/a/b:1", ">quay.io/a/c:2", ">quay.io/a/d:3", ">quay.io/a/e:4"],
            ),
            (
                "run --init=quay.io/a/i:1 --main quay.io/a/m:1 && x",
                &["--init>quay.io/a/i:1", "--main>quay.io/a/m:1"],
            ),
            ("export IMAGE=\"acme/x:1\"; docker run 'quay.io/a/b:2'.", &["IMAGE>acme/x:1", ">quay.io/a/b:2"]),
            ("image = \"ubuntu:22.04\" # why: not x/y:1", &["image>ubuntu:22.04"]),
            ("{\"image\": \"acme/x:1\", \"other\":\"acme/y:2\"}", &["image>acme/x:1", "other>acme/y:2"]),
            ("a:quay.io/a/b:1;3.1:c/d:2", &["a>quay.io/a/b:1", "3.1>c/d:2"]),
            ("images: a/b:1, c/d:2", &["images>a/b:1", "images>c/d:2"]),
            ("docker://quay.io/a/b:1", &[">quay.io/a/b:1"]),
            ("x:docker://quay.io/a/b:1,y:docker://c/d:2", &[">quay.io/a/b:1", ">c/d:2"]),
            ("IMAGE=\"${IMAGE:-acme/x:1}\"", &["IMAGE>acme/x:1"]),
            ("# quay.io/a/b:1\n// quay.io/a/b:2\n", &[]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn the_command_that_pulls_an_image_is_near_it_bug() {
        let is_pulled = |words: usize| {
            let mentions = read(&format!("docker run {}acme/web:1", "x ".repeat(words))).mentions;
            mentions.iter().any(|mention| mention.written == "acme/web:1" && mention.is_pulled)
        };
        assert!(is_pulled(20));
        assert!(!is_pulled(LONGEST_COMMAND), "else a line of n words takes n * n steps");
    }

    #[test]
    fn parts_of_something_else_are_not_references() {
        for text in [
            "https://quay.io/a/b:1",
            "oci://quay.io/charts/x:1",
            "${REGISTRY}/b:1",
            "quay.io/a/b:${TAG}",
            "$(R)/x:1",
            "quay.io/{{ .Name }}:1",
            "{{ .Hub }}/proxy:1",
            "quay.io/a/*:1",
            "^quay\\.io/a/b:1",
            "user@quay.io/a/b:1",
            "github.com/a/b@v1.2.3",
            "quay.io/a/b:v1-${X}",
            "http://x.io/?image=quay.io/a/b:1",
            "quay.io/A/b:1",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(read("quay.io/a/b:${TAG} x").unfinished, ["quay.io/a/b:${TAG}"]);
    }

    #[test]
    fn pairs_are_kept_for_images_in_parts() {
        let pair = |key: &str, value: &str, line| Pair { key: key.to_owned(), value: value.to_owned(), line };
        let pairs = read("worker_repository = acme/worker\nworker_tag=1.2\n").pairs;
        assert_eq!(pairs, [pair("worker_repository", "acme/worker", 0), pair("worker_tag", "1.2", 1)]);
        let pairs = read("--set image.repository=acme/web,image.tag=1").pairs;
        assert_eq!(pairs, [pair("image.repository", "acme/web", 0), pair("image.tag", "1", 0)]);
        let pairs = read("a_image=x \\\n  a_tag=1\nb_tag=2").pairs;
        assert_eq!(pairs.iter().map(|pair| pair.line).collect::<Vec<_>>(), [0, 0, 2]);
        assert_eq!(read("image=$(cat x) tag = get(\"y\") sum(a{image=\"x\"})").pairs, []);
    }

    #[test]
    fn secrets_are_taken_out_of_text_that_cannot_be_parsed() {
        let text = "kind: Pod\nimage: a/b:1\n---\nkind: \"Secret\"\nx: c/d:2\n---\nx: e/f:3";
        let kept = without_secrets(text);
        assert!(kept.contains("a/b:1") && kept.contains("e/f:3") && !kept.contains("c/d:2"));
    }

    #[test]
    fn a_value_is_whole_only_where_it_cannot_be_compared() {
        let whole = |text: &str| {
            let mentions = read(text).mentions;
            mentions
                .into_iter()
                .filter(|mention| mention.is_whole)
                .map(|mention| mention.written)
                .collect::<Vec<_>>()
        };
        for text in [
            "image = \"alpine\"",
            "  image: alpine",
            "- image: alpine",
            "export IMAGE=alpine",
            "run --image alpine now",
            "alpine",
        ] {
            assert_eq!(whole(text), ["alpine"], "{text}");
        }
        for text in ["sum(rate(x{image=\"alpine\"}[5m]))", "image: alpine and more", "x, image=alpine"] {
            assert_eq!(whole(text), Vec::<String>::new(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "(quay\\.io/|--|=|[a-z:@/é,. \"'${}\\n]){0,60}") {
            read(&text);
        }

        /// A reference is found in any ordinary text.
        #[test]
        fn a_reference_between_ordinary_text_is_found(
            before in "([a-z]{1,5}( |=|,|\"|'|;))?", after in "(( |,|\"|'|;|\\))[a-z ]{0,5})?",
        ) {
            let text = format!("{before}quay.io/team/web:1.2{after}");
            prop_assert!(read(&text).mentions.iter().any(|mention| mention.written == "quay.io/team/web:1.2"), "{text}");
        }
    }
}
