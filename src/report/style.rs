//! Colors and symbols, depending on the terminal and its user's settings.

use console::{StyledObject, style};

/// Whether words are colored. Never if the stream is not a terminal or `NO_COLOR` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Palette {
    colored: bool,
}

impl Palette {
    /// For standard error.
    pub(super) fn of_stderr() -> Self {
        Self { colored: console::colors_enabled_stderr() && !super::log::is_json() }
    }

    /// For standard output.
    pub(super) fn of_stdout() -> Self {
        Self { colored: console::colors_enabled() }
    }

    /// No colors.
    pub(super) const fn plain() -> Self {
        Self { colored: false }
    }

    /// Colors, for tests.
    #[cfg(test)]
    pub(super) const fn colored() -> Self {
        Self { colored: true }
    }

    /// The head of an error.
    pub(super) fn error(self, text: &str) -> String {
        self.paint(style(text).red().bold())
    }

    /// The head of a warning.
    pub(super) fn warning(self, text: &str) -> String {
        self.paint(style(text).yellow().bold())
    }

    /// The head of a hint.
    pub(super) fn hint(self, text: &str) -> String {
        self.paint(style(text).cyan().bold())
    }

    /// The line of an image that failed.
    pub(super) fn bad(self, text: &str) -> String {
        self.paint(style(text).red())
    }

    /// The mark of success.
    pub(super) fn good(self, text: &str) -> String {
        self.paint(style(text).green())
    }

    fn paint(self, text: StyledObject<&str>) -> String {
        text.for_stderr().force_styling(self.colored).to_string()
    }
}

/// Symbols that not every terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbols {
    /// Before an image that succeeded.
    pub(super) good: &'static str,
    /// Before an image that failed.
    pub(super) bad: &'static str,
    /// Replaces text that was cut.
    pub(super) ellipsis: &'static str,
    /// A bar's filled part, tip and rest.
    pub(super) bar: &'static str,
    /// A branch of a tree, its last branch, and the line to the left of its own branches.
    pub(super) tree: [&'static str; 3],
}

impl Symbols {
    pub(super) const UNICODE: Self =
        Self {
            good: "✓", bad: "✗", ellipsis: "…", bar: "━╸─", tree: ["├─ ", "└─ ", "│  "]
        };
    pub(super) const ASCII: Self =
        Self { good: "ok", bad: "FAILED", ellipsis: "..", bar: "=>-", tree: ["|- ", "`- ", "|  "] };

    /// The symbols that the locale supports.
    pub(super) fn of_locale() -> Self {
        Self::of_variables(|name| std::env::var(name).ok())
    }

    /// POSIX: the first of these variables that is set and not empty decides the character set.
    fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(variable)
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::UNICODE } else { Self::ASCII }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(set: &[(&str, &str)]) -> Symbols {
        Symbols::of_variables(|name| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_locale_decides_the_symbols() {
        assert_eq!(symbols(&[]), Symbols::ASCII);
        assert_eq!(symbols(&[("LANG", "de_DE.UTF-8")]), Symbols::UNICODE);
        assert_eq!(symbols(&[("LC_ALL", ""), ("LANG", "C.utf8")]), Symbols::UNICODE);
        assert_eq!(symbols(&[("LC_ALL", "C"), ("LANG", "C.utf8")]), Symbols::ASCII);
    }

    #[test]
    fn plain_means_no_escape_sequences() {
        assert_eq!(Palette::plain().error("error:"), "error:");
        assert_eq!(Palette { colored: true }.error("error:"), "\u{1b}[31m\u{1b}[1merror:\u{1b}[0m");
    }
}
