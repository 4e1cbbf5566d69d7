//! Lines that fit the terminal and break between words, so that no digest, name or word is cut in two.

use console::measure_text_width;

/// What the lines begin with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indent<'a> {
    /// The first line.
    pub(super) first: &'a str,
    /// All other lines.
    pub(super) rest: &'a str,
}

/// The words of a text. `width` is the terminal's, in columns; without one, it is one line.
pub(super) fn wrapped(text: &str, indent: Indent<'_>, width: Option<usize>) -> Vec<String> {
    joined_parts(text.split(' '), " ", indent, width)
}

/// Parts that stay whole, with `gap` between those that share a line. A part that is wider than the terminal has a line of
/// its own.
pub(super) fn joined_parts<'a>(
    parts: impl IntoIterator<Item = &'a str>,
    gap: &str,
    indent: Indent<'_>,
    width: Option<usize>,
) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if fits(line, gap, part, width) => {
                line.push_str(gap);
                line.push_str(part);
            }
            Some(line) => {
                line.truncate(line.trim_end().len());
                lines.push(format!("{}{part}", indent.rest));
            }
            None => lines.push(format!("{}{part}", indent.first)),
        }
    }
    lines
}

fn fits(line: &str, gap: &str, part: &str, width: usize) -> bool {
    [line, gap, part].into_iter().map(measure_text_width).sum::<usize>() <= width
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDENT: Indent<'_> = Indent { first: "- ", rest: "  " };

    #[test]
    fn lines_break_between_words() {
        let text = "the registry accepts images";
        assert_eq!(wrapped(text, INDENT, None), ["- the registry accepts images"]);
        assert_eq!(wrapped(text, INDENT, Some(29)), ["- the registry accepts images"]);
        assert_eq!(wrapped(text, INDENT, Some(28)), ["- the registry accepts", "  images"]);
        assert_eq!(wrapped("id   sha256:01", INDENT, Some(13)), ["- id", "  sha256:01"]);
        assert_eq!(wrapped(text, INDENT, Some(3)), ["- the", "  registry", "  accepts", "  images"]);
    }

    #[test]
    fn parts_stay_whole() {
        let lines = joined_parts(["646 B", "sha256:01"], "  ", INDENT, Some(10));
        assert_eq!(lines, ["- 646 B", "  sha256:01"]);
    }
}
