//! Nothing is claimed that did not happen, and nothing is replaced or ignored silently.
//!
//! - [`own_source`]: copies to where an image comes from;
//! - [`nothing`]: work on no images;
//! - [`sizes`]: one digest with two sizes; [`sha512`]: digests other than sha256;
//! - [`refused_push`]: what is reported after a refused push;
//! - [`flags`]: flags without an effect, and an unused license;
//! - [`files`]: files that would be replaced; [`selection`]: `bundle import --include/--exclude`.

mod files;
mod flags;
mod nothing;
mod own_source;
mod refused_push;
mod selection;
mod sha512;
mod sizes;

use crate::support::{
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::Scripted,
};

/// A scripted registry with these images in `vendor/TAG`, and their references.
async fn vendor(images: &[&SampleImage]) -> (Scripted, Vec<String>) {
    let source = Scripted::start().await;
    let mut references = Vec::new();
    for image in images {
        let repository = format!("vendor/{}", image.tag);
        source.with_store(|store| store.insert(&repository, image));
        references.push(source.address().image(&repository, &image.tag));
    }
    (source, references)
}

/// `thoras-mirror WORDS… MORE…`
fn run(words: &str, more: &[String]) -> Mirror {
    Mirror::new(words.split_whitespace()).arguments(more.iter().map(String::as_str))
}

/// Fails unless standard error has this text.
fn assert_says(outcome: &Outcome, text: &str) {
    assert!(outcome.stderr.contains(text), "{text}\n{outcome}");
}
