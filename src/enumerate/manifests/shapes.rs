//! Every rendering in `testdata/rendered/shapes` gives exactly the images and the notes (after `# `) in the file next to
//! it.
//!
//! After a change: `THORAS_MIRROR_UPDATE_SHAPES=1 cargo test --lib shapes`, and read the difference.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::enumerate::{Note, note};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/rendered/shapes")
}

fn found_in(rendering: &str) -> String {
    let mut images = ImageSet::default();
    let options = ScanOptions { prefixes: &[], test_hooks: true };
    let notes = scan("file.yaml", rendering, options, &mut images).unwrap();
    let images = images.into_sorted().into_iter().map(|image| image.reference.to_string());
    let notes = note::deduplicated(notes);
    let notes = notes.iter().map(Note::message).map(|message| format!("# {message}"));
    images.chain(notes).flat_map(|line| [line, "\n".to_owned()]).collect()
}

#[test]
fn every_shape_gives_its_images_and_nothing_else() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        count += 1;
        let found = found_in(&fs::read_to_string(&path).unwrap());
        let expected = path.with_extension("txt");
        if std::env::var_os("THORAS_MIRROR_UPDATE_SHAPES").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        let expected = fs::read_to_string(expected).unwrap_or_default();
        if expected != found {
            wrong.push(format!("{}\nexpected\n{expected}\nfound\n{found}", path.display()));
        }
    }
    assert!(count >= 30, "the shapes are there");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A Secret may hold anything; none of it may appear in an image, a note or an error.
#[test]
fn no_shape_leaks_a_secret() {
    for entry in fs::read_dir(folder()).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        if text.contains("/secret/") {
            assert!(!found_in(&text).contains("/secret/"));
        }
    }
}
