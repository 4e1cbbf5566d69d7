//! Searches for leaked secrets.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::process::Outcome;

/// Asserts that a run shows none of these user names and passwords on stdout, on stderr or in any file in its working
/// directory: plain, in base64 with the user, and URL-encoded.
pub fn assert_hidden(outcome: &Outcome, logins: &[(&str, &str)]) {
    let mut texts = vec![("stdout", outcome.stdout.clone()), ("stderr", outcome.stderr.clone())];
    for entry in std::fs::read_dir(outcome.folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            texts.push(("a file", String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()));
        }
    }
    for (user, password) in logins {
        for form in forms(user, password) {
            for (place, text) in &texts {
                assert!(!text.contains(&form), "{place} shows {form}: {outcome}");
            }
        }
    }
}

fn forms(user: &str, password: &str) -> [String; 4] {
    [
        password.to_owned(),
        BASE64_STANDARD.encode(password),
        BASE64_STANDARD.encode(format!("{user}:{password}")),
        url::form_urlencoded::byte_serialize(password.as_bytes()).collect(),
    ]
}
