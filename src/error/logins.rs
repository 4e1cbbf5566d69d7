//! Removes users and passwords from text that repeats what was typed.
//!
//! People put credentials into URLs (`--plain-http https://user:password@host`), and messages that repeat a refused
//! value end up in build logs. [`crate::oci::reference::hide_login`] is exact if the whole value is known; this module
//! is the last step before any text is shown.

/// Replaces a user and a password.
const HIDDEN: &str = "***";

/// Hides `user:password` in words such as `user:password@host` or `scheme://user:password`.
#[must_use]
pub(crate) fn hide_logins(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(hide_in_word).collect()
}

fn hide_in_word(word: &str) -> String {
    let begin = match word.split_once("://") {
        Some((scheme, _)) => scheme.len() + "://".len(),
        None => word.find(char::is_alphanumeric).unwrap_or_default(),
    };
    let (before, rest) = word.split_at(begin);
    let has_scheme = before.ends_with("://");
    match end_of_login(rest) {
        // The password is already hidden, and the user was kept on purpose.
        Some(at) if rest.get(..at).is_some_and(|login| login.ends_with(":***")) => word.to_owned(),
        Some(at) if has_scheme || holds_colon(rest, at) => {
            format!("{before}{HIDDEN}{}", rest.get(at..).unwrap_or_default())
        }
        None if has_scheme => hide_half(before, rest),
        _ => word.to_owned(),
    }
}

/// The position of the at sign that ends a login: the last at sign before a host. (An at sign before a digest ends a
/// name.)
fn end_of_login(rest: &str) -> Option<usize> {
    let is_before_host = |at: &usize| {
        let after = rest.get(at + 1..).unwrap_or_default();
        let is_digest = after.starts_with("sha256:") || after.starts_with("sha512:");
        !is_digest && after.starts_with(|first: char| first.is_alphanumeric() || first == '[')
    };
    rest.rmatch_indices('@').map(|(at, _)| at).find(is_before_host)
}

fn holds_colon(rest: &str, end: usize) -> bool {
    rest.get(..end).is_some_and(|login| login.contains(':'))
}

/// Whether this is a login without its at sign, which happens if the password contains the separator of values: the
/// text after the first colon is not a port.
fn hide_half(before: &str, rest: &str) -> String {
    let end = rest.find(|character: char| "/?#'`\"()<>,".contains(character) || character.is_whitespace());
    let (authority, behind) = rest.split_at(end.unwrap_or(rest.len()));
    let bare = authority.trim_end_matches([':', '.', ';']);
    let port = if bare.starts_with('[') { None } else { bare.split_once(':').map(|(_, port)| port) };
    if port.is_none_or(|port| port == "PORT" || port.bytes().all(|byte| byte.is_ascii_digit())) {
        return format!("{before}{rest}");
    }
    format!("{before}{HIDDEN}{}{behind}", authority.get(bare.len()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_login_is_hidden_wherever_it_occurs() {
        for (text, shown) in [
            ("--repo https://u:p@a.example/x: no", "--repo https://***@a.example/x: no"),
            ("`u:p/q@[::1]:5000`: no", "`***@[::1]:5000`: no"),
            ("'https://u:p@q@host' for", "'https://***@host' for"),
            ("https://token@host/x", "https://***@host/x"),
            ("cannot read https://u:pa", "cannot read https://***"),
            ("tip: '-- https://u:pa/x'.", "tip: '-- https://***/x'."),
            ("reg.example/u:p@host/x@sha256:00", "***@host/x@sha256:00"),
        ] {
            assert_eq!(hide_logins(text), shown);
            assert_eq!(hide_logins(shown), shown, "once is enough");
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in [
            "cannot read manifest quay.io/a/b:1@sha256:00 (source)",
            "cannot reach https://a.example:5000: refused, http://[::1]:80/x, https://a.example.",
            "write an image reference without `user:password@`",
            "git@github.com: denied\n  and  two spaces",
            "http://HOST:PORT/charts",
            "https://me:***@charts.example.com",
            "",
        ] {
            assert_eq!(hide_logins(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_password_before_a_host_survives(password in "[!-~]{8,20}", before in "[a-z` '=-]{0,8}") {
            let text = format!("{before}https://user:{password}@host.example is refused");
            prop_assert!(!hide_logins(&text).contains(&password), "{}", hide_logins(&text));
        }
    }
}
