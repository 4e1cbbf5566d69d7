//! The secrets that this process has sent or received, so that no text that repeats one is shown.
//!
//! A server may repeat what it received: in a message, but also in a path, a media type or a name. Every text from
//! outside passes [`super::escape`], which hides them. Nothing is ever removed from the list: a token that has expired
//! may still be repeated.
//!
//! A password that may be a word of the output, such as `registry`, is hidden only in text that a server sent:
//! [`hide_repeated`].

use std::{borrow::Cow, ffi::OsStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use tokio::process::Command;

/// Replaces a secret.
const HIDDEN: &str = "[redacted]";
/// Shorter texts occur by chance. In bytes.
const MIN_LENGTH: usize = 6;
/// A text of letters in one case may be a word of the output, unless it is this long. In bytes.
const MAX_WORD_LENGTH: usize = 12;

/// A shorter word is hidden only if it is not part of another. In bytes.
const MIN_PART_LENGTH: usize = 6;

/// What is known.
#[derive(Default)]
struct KnownSecrets {
    /// Hidden in all text, the longest first.
    secrets: Vec<SecretString>,
    /// Secrets that may be words of the output: hidden in text that a server sent.
    words: Vec<SecretString>,
}

/// Remembers a secret in the forms in which a text may repeat it.
pub(crate) fn remember_secret(secret: &str) {
    if !is_distinct(secret) {
        store::with(|known| {
            let is_known = known.words.iter().any(|word| word.expose_secret() == secret);
            if !secret.is_empty() && !is_known {
                known.words.push(SecretString::from(secret));
            }
        });
        // No word of the output.
        let encoded = BASE64_STANDARD.encode(secret);
        if secret.len() >= MIN_LENGTH {
            remember_secret(encoded.trim_end_matches('='));
        }
        return;
    }
    let json = serde_json::to_string(secret).unwrap_or_default();
    let encoded = BASE64_STANDARD.encode(secret);
    let forms = [
        secret.to_owned(),
        super::escape_controls(secret),
        secret.escape_debug().to_string(),
        json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned(),
        in_url(secret),
        in_url(&encoded),
        // The padding may be cut off.
        encoded.trim_end_matches('=').to_owned(),
    ];
    store::with(|known| {
        for form in forms {
            if is_distinct(&form) && !known.secrets.iter().any(|other| other.expose_secret() == form) {
                known.secrets.push(SecretString::from(form));
            }
        }
        // The longest first, or a part would leave the rest of a longer one.
        known.secrets.sort_by_key(|form| std::cmp::Reverse(form.expose_secret().len()));
    });
}

/// The text without the secrets that are known.
#[must_use]
pub(crate) fn hide_secrets(text: &str) -> Cow<'_, str> {
    store::with(|known| {
        known.secrets.iter().map(ExposeSecret::expose_secret).fold(Cow::Borrowed(text), |text, secret| {
            if is_word(secret, char::is_alphabetic) {
                if text.contains(secret) { Cow::Owned(text.replace(secret, HIDDEN)) } else { text }
            } else {
                hide_in_any_case(text, secret)
            }
        })
    })
}

/// Text that a server sent, without all secrets that it may repeat: also without a password that is an ordinary word.
#[must_use]
pub(crate) fn hide_repeated(text: &str) -> String {
    let shown = hide_secrets(text);
    store::with(|known| {
        let words = known.words.iter().map(ExposeSecret::expose_secret);
        words.fold(shown.into_owned(), |text, word| hide_word(&text, word))
    })
}

fn hide_word(text: &str, word: &str) -> String {
    if word.len() >= MIN_PART_LENGTH {
        return text.replace(word, HIDDEN);
    }
    let mut shown = String::with_capacity(text.len());
    let mut end = 0;
    for (start, found) in text.match_indices(word) {
        let after = start + found.len();
        let is_inside = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
        let before = text.get(..start).and_then(|text| text.chars().next_back());
        let next = text.get(after..).and_then(|text| text.chars().next());
        if !is_inside(before) && !is_inside(next) {
            shown.push_str(text.get(end..start).unwrap_or_default());
            shown.push_str(HIDDEN);
            end = after;
        }
    }
    shown.push_str(text.get(end..).unwrap_or_default());
    shown
}

/// A server may change the case of what it repeats: paths and media types are often printed in lower case, and `%2b` is
/// `%2B`. A secret of letters alone may be a word of the output in another case, so this is not for those.
fn hide_in_any_case<'t>(text: Cow<'t, str>, secret: &str) -> Cow<'t, str> {
    // Of the same length as the texts, so positions are the same.
    let (lower, wanted) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let (mut shown, mut end) = (String::new(), 0);
    for (start, found) in lower.match_indices(&wanted) {
        shown.push_str(text.get(end..start).unwrap_or_default());
        shown.push_str(HIDDEN);
        end = start + found.len();
    }
    if end == 0 {
        return text;
    }
    shown.push_str(text.get(end..).unwrap_or_default());
    Cow::Owned(shown)
}

fn is_word(text: &str, is_letter: impl Fn(char) -> bool) -> bool {
    text.chars().all(is_letter)
}

/// Whether the text is unlikely to occur in output by chance, as the password `registry` would.
fn is_distinct(secret: &str) -> bool {
    let is_lower = |character: char| character.is_ascii_lowercase();
    let is_upper = |character: char| character.is_ascii_uppercase();
    let is_word = is_word(secret, is_lower) || is_word(secret, is_upper);
    secret.len() >= if is_word { MAX_WORD_LENGTH } else { MIN_LENGTH }
}

fn in_url(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(not(test))]
mod store {
    use std::sync::{Mutex, PoisonError};

    use super::KnownSecrets;

    static KNOWN: Mutex<KnownSecrets> = Mutex::new(KnownSecrets { secrets: Vec::new(), words: Vec::new() });

    pub(super) fn with<T>(use_it: impl FnOnce(&mut KnownSecrets) -> T) -> T {
        use_it(&mut KNOWN.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Unit tests share a process: each has its own list.
#[cfg(test)]
mod store {
    use std::cell::RefCell;

    use super::KnownSecrets;

    thread_local! {
        static KNOWN: RefCell<KnownSecrets> = RefCell::default();
    }

    pub(super) fn with<T>(use_it: impl FnOnce(&mut KnownSecrets) -> T) -> T {
        KNOWN.with(|known| use_it(&mut known.borrow_mut()))
    }
}

/// Removes the license and this program's own settings, which may hold passwords, from the environment of another program.
pub(crate) fn withhold_secrets(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if may_hold_secret(&name) {
            command.env_remove(&name);
        }
    }
}

/// Whether a variable may hold one of our secrets.
fn may_hold_secret(variable: &OsStr) -> bool {
    let name = variable.as_encoded_bytes();
    name == b"THORAS_LICENSE" || name.starts_with(b"THORAS_LICENSE_") || name.starts_with(b"THORAS_MIRROR_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Failure, Kind, escape};

    #[test]
    fn our_secrets_are_not_in_the_environment_of_other_programs() {
        for name in [
            "THORAS_LICENSE",
            "THORAS_LICENSE_FILE",
            "THORAS_LICENSE_KEY",
            "THORAS_MIRROR_TO_PASSWORD",
            "THORAS_MIRROR_X",
        ] {
            assert!(may_hold_secret(OsStr::new(name)), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "DOCKER_CONFIG",
            "HELM_CACHE_HOME",
            "THORAS",
            "THORAS_LICENSES",
            "MY_THORAS_LICENSE",
        ] {
            assert!(!may_hold_secret(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_known_secret_is_hidden_in_every_form() {
        let secret = "pa55>w?rd/\"s3cret\"+\u{1}ÿ";
        assert!(escape(secret).contains("s3cret"), "not known yet");
        remember_secret(secret);
        remember_secret("pa55>w?rd");
        let json = serde_json::to_string(&format!("x/{secret}")).unwrap();
        for text in [
            secret.to_owned(),
            format!("media type {secret}/x"),
            json,
            format!("/v2/{}/blobs", in_url(secret)),
            format!("Basic {}", BASE64_STANDARD.encode(secret)),
            secret.escape_debug().to_string(),
            escape(secret),
        ] {
            let shown = escape(&text);
            assert!(!shown.contains("s3cret") && !shown.contains("pa55"), "{shown}");
            assert!(shown.contains(HIDDEN), "{shown}");
        }
        let failure = Failure::new(Kind::Image, format!("refused {secret}")).with_hint(secret);
        assert_eq!((failure.message.as_str(), failure.hint.as_deref()), ("refused [redacted]", Some(HIDDEN)));
    }

    #[test]
    fn a_secret_is_hidden_in_any_case_unless_it_may_be_a_word_bug() {
        remember_secret("S3cr+t/pw");
        for text in ["ü s3cr+t/PW é s3cr+t/pw.", "/v2/S3CR%2bT%2fPW/blobs"] {
            let shown = hide_secrets(text).to_ascii_lowercase();
            assert!(!shown.contains("s3cr"), "{shown}");
            assert!(shown.contains(HIDDEN), "{shown}");
        }
        assert_eq!(hide_secrets("ü s3cr+t/PW é"), "ü [redacted] é");
        remember_secret("Secret");
        assert_eq!(hide_secrets("kind Secret, a secret"), "kind [redacted], a secret");
    }

    #[test]
    fn a_password_that_is_a_word_does_not_spoil_the_output() {
        for word in ["", "x", "abc12", "thoras", "registry", "PASSWORD"] {
            remember_secret(word);
        }
        let text = "registry thoras PASSWORD abc12 x";
        assert_eq!(hide_secrets(text), text);
        assert_eq!(hide_repeated(text), [HIDDEN; 5].join(" "), "a server may repeat it");
        let parts = "myregistry/abc123/0x/vnd.abc12+json";
        assert_eq!(hide_repeated(parts), "my[redacted]/abc123/0x/vnd.[redacted]+json");
        for secret in ["hunter2", "Secret", "correcthorsebattery"] {
            remember_secret(secret);
            assert_eq!(hide_secrets(&format!("a {secret} b")), "a [redacted] b");
        }
    }
}
