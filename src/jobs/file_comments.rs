//! Comments in the files that jobs write: YAML, TOML and shell-like formats, which all begin a comment with `#`.
//!
//! The text says whole sentences and is folded here, because the names in it (registries, value paths) can be long.

use std::fmt::Write as _;

use crate::error::escape;

/// The columns that a line of a comment may have. Only a word that is longer has more.
const WIDTH: usize = 80;

/// Appends a comment: each line of it is folded, an item of a list (`- …`) with its continuation indented. A line that
/// begins with a space is a command or the like, and is left as it is.
pub(super) fn write_comment(text: &mut String, indent: usize, comment: &str) {
    for line in comment.lines() {
        let line = escape(line);
        if line.starts_with(' ') {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:indent$}# {line}", "");
            continue;
        }
        let continuation = if line.starts_with("- ") { "  " } else { "" };
        let mut width = 0;
        for word in line.split(' ') {
            let length = 1 + word.chars().count();
            if width == 0 {
                let _ = write!(text, "{:indent$}#", "");
                width = indent + 1;
            } else if width + length > WIDTH {
                let _ = write!(text, "\n{:indent$}#{continuation}", "");
                width = indent + 1 + continuation.len();
            }
            let _ = write!(text, " {word}");
            width += length;
        }
        text.push('\n');
    }
}

/// The comment as the first lines of a file.
pub(super) fn comment(comment: &str) -> String {
    let mut text = String::new();
    write_comment(&mut text, 0, comment);
    text
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn lines_are_folded_items_are_indented_and_commands_stay_whole() {
        let text = comment(
            "Install this file on every node as /etc/containers/registries.conf.d/50-mirror.conf; then reload CRI-O.\n\
             - an item of a list, which needs more than one line because it names registry.example.com/team\n \
             oc set data secret/pull-secret -n openshift-config --from-file=.dockerconfigjson=FILE --and-more",
        );
        assert_snapshot!(text, @r"
        # Install this file on every node as
        # /etc/containers/registries.conf.d/50-mirror.conf; then reload CRI-O.
        # - an item of a list, which needs more than one line because it names
        #   registry.example.com/team
        #  oc set data secret/pull-secret -n openshift-config --from-file=.dockerconfigjson=FILE --and-more
        ");
    }

    #[test]
    fn control_characters_of_a_name_are_escaped() {
        assert_eq!(comment("from \u{1b}[31mred"), "# from \\u{1b}[31mred\n");
    }
}
