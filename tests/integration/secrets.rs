//! No secret leaks: output, lock, foreign hosts, Helm. The process list is in `images::failures`.

mod directed;
mod foreign_hosts;
mod output;
mod typed;
mod values;

use std::path::Path;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};

use crate::support::process::Outcome;

/// The `Authorization` header for a user and a password.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// Every form in which a text could leak: plain, in base64, and both URL-encoded.
fn forms(secret: &str) -> Vec<String> {
    let mut forms =
        vec![secret.to_owned(), BASE64_STANDARD.encode(secret), BASE64_URL_SAFE_NO_PAD.encode(secret)];
    let in_urls = forms.iter().map(|form| url::form_urlencoded::byte_serialize(form.as_bytes()).collect());
    forms.extend(in_urls.collect::<Vec<String>>());
    forms
}

/// Searches standard output, standard error and every file that a run left for secrets in all their forms.
fn assert_hidden(outcome: &Outcome, secrets: &[&str], what: &str) {
    let mut places = vec![outcome.stdout.clone(), outcome.stderr.clone()];
    read_files(&outcome.folder(), &mut places);
    for form in secrets.iter().flat_map(|secret| forms(secret)) {
        for place in &places {
            assert!(!place.contains(&form), "{what}: {form} is in\n{place}");
        }
    }
}

fn read_files(folder: &Path, texts: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_files(&path, texts);
        } else {
            texts.push(String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
        }
    }
}
