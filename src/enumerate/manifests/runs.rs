//! A line as runs: the stretches of characters that a reference can have, and the text between them.

/// A run of characters that a reference can be made of, with the text around it.
pub(super) struct Run<'t> {
    pub(super) text: &'t str,
    /// What separates it from the run before it.
    pub(super) gap: &'t str,
    pub(super) before: Option<char>,
    pub(super) after: &'t str,
}

pub(super) fn runs(line: &str) -> Vec<Run<'_>> {
    let mut runs = Vec::new();
    let (mut position, mut gap_start) = (0, 0);
    while let Some(start) = line.get(position..).and_then(start_of_run) {
        let start = position + start;
        let rest = line.get(start..).unwrap_or_default();
        let host = ipv6_host(rest).unwrap_or_default();
        let after_host = rest.get(host..).unwrap_or_default();
        let length = after_host.find(|character| !is_reference_character(character));
        let length = length.map_or(rest.len(), |length| host + length);
        // `${IMAGE:-acme/web:1}`: a tag cannot begin with a dash, so this always separates.
        let length =
            rest.get(..length).and_then(|run| run.find(":-")).filter(|at| *at > 0).map_or(length, |at| at);
        runs.push(Run {
            text: rest.get(..length).unwrap_or_default(),
            gap: line.get(gap_start..start).unwrap_or_default(),
            before: line.get(..start).and_then(|before| before.chars().next_back()),
            after: rest.get(length..).unwrap_or_default(),
        });
        position = start + length;
        gap_start = position;
        if line.get(position..).is_some_and(|rest| rest.starts_with(":-")) {
            position += 2;
        }
    }
    runs
}

/// Where the next run begins in a text.
fn start_of_run(text: &str) -> Option<usize> {
    let start = text.find(is_reference_character)?;
    let bracket = start.checked_sub(1).filter(|at| text.get(*at..).and_then(ipv6_host).is_some());
    // Nothing else that an address may begin with: `[::1]`.
    Some(bracket.unwrap_or(start))
}

/// The length of `[fd00::1]` at the start of a text, if a port or a path follows.
fn ipv6_host(text: &str) -> Option<usize> {
    let (address, after) = text.strip_prefix('[')?.split_once(']')?;
    let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
    (is_address && after.starts_with([':', '/'])).then_some(address.len() + 2)
}

fn is_reference_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | '/' | ':' | '@')
}
