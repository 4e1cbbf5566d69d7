//! Which images of a layout are imported, and under which names.

use std::{collections::HashMap, path::Path};

use crate::{
    endpoint::bundle::{BundleError, Head, index::IndexEntry},
    error::{Failure, Kind},
    oci::{Descriptor, Digest, Reference},
};

/// An image of a bundle under its full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) reference: Reference,
    pub(super) root: Descriptor,
}

/// Names every image. `typed` holds the values of `--as`.
pub(super) fn images(head: &Head, typed: &[String], path: &Path) -> Result<Vec<Imported>, Failure> {
    let mut unnamed: Vec<&IndexEntry> = head.top_images().filter(|image| image.reference.is_none()).collect();
    // Some programs also list referrers in `index.json`.
    unnamed.retain(|image| image.label.is_some() || !head.has_subject(&image.root.digest));
    unnamed.dedup_by(|a, b| a.label == b.label && a.root.digest == b.root.digest);
    let mut images: Vec<Imported> = head
        .index
        .images
        .iter()
        .filter_map(|image| Some(Imported { reference: image.reference.clone()?, root: image.root.clone() }))
        .collect();
    for text in typed {
        images.push(named_by_hand(text, &mut unnamed, path)?);
    }
    if !unnamed.is_empty() {
        return Err(nameless(&unnamed, path));
    }
    if images.is_empty() {
        return Err(BundleError::NoImages { path: path.to_owned() }.failure());
    }
    without_duplicates(images)
}

/// Applies one `--as`: takes the image that it names out of `unnamed`.
fn named_by_hand(text: &str, unnamed: &mut Vec<&IndexEntry>, path: &Path) -> Result<Imported, Failure> {
    let (label, name) = match text.split_once('=') {
        Some((label, name)) => (Some(label), name),
        None => (None, text),
    };
    let reference: Reference =
        name.parse().map_err(|error| Failure::new(Kind::Usage, format!("--as {text}: {error}")))?;
    let is_meant = |image: &&IndexEntry| match label {
        Some(label) => image.label.as_deref() == Some(label) || image.root.digest.as_str() == label,
        None => true,
    };
    let meant: Vec<usize> = unnamed
        .iter()
        .enumerate()
        .filter(|(_, image)| is_meant(image))
        .map(|(position, _)| position)
        .collect();
    match meant.as_slice() {
        [position] => Ok(Imported { reference, root: unnamed.remove(*position).root.clone() }),
        [] => {
            let message = format!("--as {text}: {} has no unnamed image", path.display());
            let which = if label.is_some() { " under that label" } else { "" };
            Err(Failure::new(Kind::Usage, format!("{message}{which}"))
                .with_hint("`thoras-mirror bundle inspect FILE` lists what is in it"))
        }
        _ => Err(nameless(unnamed, path)),
    }
}

fn nameless(unnamed: &[&IndexEntry], path: &Path) -> Failure {
    let label = |image: &IndexEntry| image.label.clone().unwrap_or_else(|| image.root.digest.to_string());
    let message = match unnamed {
        [_] => format!("an image in {} has no full name", path.display()),
        several => format!("{} images in {} have no full name", several.len(), path.display()),
    };
    let mut failure = Failure::new(Kind::Usage, message);
    failure.causes = unnamed
        .iter()
        .map(|image| match &image.label {
            Some(label) => format!("`{}` is {}", label.escape_debug(), image.root.digest),
            None => format!("{} has no name at all", image.root.digest),
        })
        .collect();
    let example = match unnamed {
        [_] => "--as registry.example.com/team/app:1.0".to_owned(),
        several => {
            let first = several.first().map(|image| label(image)).unwrap_or_default();
            format!("--as {first}=registry.example.com/team/app:1.0, and so on for each")
        }
    };
    failure.with_hint(format!("pass {example}"))
}

/// One entry for each name. Two images with the same name are an error: the name would be ambiguous.
fn without_duplicates(images: Vec<Imported>) -> Result<Vec<Imported>, Failure> {
    let mut kept: Vec<Imported> = Vec::with_capacity(images.len());
    let mut digests: HashMap<Reference, Digest> = HashMap::with_capacity(images.len());
    for image in images {
        match digests.insert(image.reference.clone(), image.root.digest.clone()) {
            None => kept.push(image),
            Some(same) if same == image.root.digest => {}
            Some(first) => {
                let second = &image.root.digest;
                let message = format!(
                    "two images of the bundle have the name {}: {first} and {second}",
                    image.reference
                );
                return Err(Failure::new(Kind::Integrity, message));
            }
        }
    }
    Ok(kept)
}
