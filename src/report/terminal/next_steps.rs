//! The next steps: commands to paste. A terminal shows long ones on several lines, which a shell reads as one command.

use console::measure_text_width;

/// Before a command.
const INDENT: &str = "  ";
/// Before the rest of a command.
const REST: &str = "    ";
/// The end of a line that continues: the shell joins it to the next.
const CONTINUED: &str = " \\";

/// The lines of a command. `width` is the terminal's; without one, a command is one line.
pub(super) fn lines(command: &str, width: Option<usize>) -> Vec<String> {
    let whole = format!("{INDENT}{command}");
    let Some(width) = width.filter(|width| measure_text_width(&whole) > *width) else { return vec![whole] };
    let mut lines: Vec<String> = Vec::new();
    for unit in units(command) {
        let room = width.saturating_sub(CONTINUED.len());
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(&unit) <= room => {
                line.push(' ');
                line.push_str(&unit);
            }
            Some(_) => lines.push(format!("{REST}{unit}")),
            None => lines.push(format!("{INDENT}{unit}")),
        }
    }
    let last = lines.len().saturating_sub(1);
    for line in lines.iter_mut().take(last) {
        line.push_str(CONTINUED);
    }
    lines
}

/// The parts that stay on one line: a flag with its value, the end of a pipe, a comment.
fn units(command: &str) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    let mut takes_next = false;
    for word in words(command) {
        let is_in_end = units.last().is_some_and(|unit| unit.starts_with(['|', '#']));
        let is_flag = word.starts_with('-') && !is_in_end;
        match units.last_mut() {
            Some(unit) if is_in_end && word != "#" || takes_next && !is_flag => {
                unit.push(' ');
                unit.push_str(&word);
            }
            _ => units.push(word.clone()),
        }
        takes_next = is_flag && !word.contains('=');
    }
    units
}

/// The words as the shell sees them, with their quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quote, mut is_escaped) = (None, false);
    for character in command.chars() {
        let is_end = character == ' ' && quote.is_none() && !is_escaped;
        if is_end {
            words.push(String::new());
            continue;
        }
        match quote {
            _ if is_escaped => {}
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ => {}
        }
        is_escaped = character == '\\' && quote != Some('\'') && !is_escaped;
        if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: &str = "thoras-mirror values --to reg.example.com:5000/a/mirror --chart oci://reg.example.com:5000/a/mirror/charts/thoras --set 'key=a b' --fixed-workers --pull-secret thoras-mirror-pull | kubectl apply -f -  # replace each *** with your own value";

    #[test]
    fn a_command_fits_the_terminal_and_stays_one_command() {
        assert_eq!(lines(COMMAND, None), [format!("  {COMMAND}")]);
        let folded = lines(COMMAND, Some(80));
        for line in &folded {
            assert!(measure_text_width(line) <= 80, "{line}");
        }
        assert_eq!(
            folded,
            [
                r"  thoras-mirror values --to reg.example.com:5000/a/mirror \",
                r"    --chart oci://reg.example.com:5000/a/mirror/charts/thoras --set 'key=a b' \",
                r"    --fixed-workers --pull-secret thoras-mirror-pull | kubectl apply -f - \",
                "    # replace each *** with your own value",
            ]
        );
        let joined = folded.join("\n").replace("\\\n", "");
        assert_eq!(shlex::split(&joined), shlex::split(COMMAND));
    }

    #[test]
    fn words_that_are_too_long_are_not_broken() {
        let name = format!("'{}'", "long name ".repeat(12));
        assert_eq!(
            lines(&format!("helm install x {name}"), Some(40)),
            ["  helm install x \\".to_owned(), format!("    {name}")]
        );
    }
}
