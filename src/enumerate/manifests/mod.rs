//! Finds images in rendered Kubernetes manifests.
//!
//! [`scan`] walks every resource once and then settles what was not certain:
//!
//! - [`documents`] splits a rendering and reads each document as YAML;
//! - [`resource`] says what a document is, and what is never examined: Secrets, CRD schemas, live records;
//! - [`walk`] goes through a resource and knows where it is; [`pod_specs`] reads containers, [`settings`] environment
//!   variables, arguments and `ConfigMap` data, [`mentions`] a single text, [`embedded`] manifests and settings in text,
//!   [`charts`], [`flux`] and [`installers`] resources that name a chart, [`kubeadm`] and [`operators`] those that other
//!   rules complete;
//! - [`keys`] says what a key means, [`text`] finds references in text ([`runs`] cuts a line, [`line_keys`] knows the
//!   keys in it), [`not_images`] knows what only looks like an image, and [`hosts`] whether a host is a registry;
//! - [`composed`] assembles images that are written in parts: [`objects`] knows the shapes of objects, [`parts`] the keys
//!   that belong together;
//! - [`findings`] decides on finds that depend on others, with [`known`] registries and organizations.

mod charts;
mod composed;
mod documents;
mod embedded;
mod findings;
mod flux;
mod hosts;
mod installers;
mod keys;
mod known;
mod kubeadm;
mod line_keys;
mod mentions;
mod not_images;
mod objects;
mod operators;
mod parts;
mod path;
mod pod_specs;
mod resource;
mod runs;
mod settings;
mod text;
mod walk;

pub(super) use known::parse_prefixes;

use std::io;

use super::{EnumerateError, Note, ReadAs, image::ImageSet};
use findings::Findings;

/// What to look for in a rendering.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanOptions<'o> {
    /// Normalized prefixes (`HOST[/PATH]`) below which every mention counts.
    pub(super) prefixes: &'o [String],
    /// Whether resources that only `helm test` creates count.
    pub(super) test_hooks: bool,
}

/// Scans a rendering and adds its images to `images`. `input` names it in errors.
pub(super) fn scan(
    input: &str,
    text: &str,
    options: ScanOptions<'_>,
    images: &mut ImageSet,
) -> Result<Vec<Note>, EnumerateError> {
    let mut findings = Findings::default();
    for document in documents::split(text) {
        let value = documents::parse(document.text).map_err(|error| EnumerateError::Yaml {
            input: input.to_owned(),
            line: document.first_line + error.line.saturating_sub(1),
            reason: error.reason,
        })?;
        let resources = resource::unfold(&value, document.template);
        for resource in resources.iter().filter(|resource| options.test_hooks || !resource.is_test_hook) {
            walk::walk(resource, &mut findings)?;
        }
    }
    Ok(findings.settle(options.prefixes, images))
}

/// Scans a rendering on a separate thread, so that signals are handled meanwhile: a long text takes seconds.
pub(super) async fn scan_on_thread(
    input: &str,
    text: String,
    options: ScanOptions<'_>,
) -> Result<(ImageSet, Vec<Note>), EnumerateError> {
    let (name, prefixes, test_hooks) = (input.to_owned(), options.prefixes.to_vec(), options.test_hooks);
    let scanning = tokio::task::spawn_blocking(move || {
        let mut images = ImageSet::default();
        let notes = scan(&name, &text, ScanOptions { prefixes: &prefixes, test_hooks }, &mut images)?;
        Ok((images, notes))
    });
    scanning.await.unwrap_or_else(|error| {
        Err(EnumerateError::Read {
            input: input.to_owned(),
            read_as: ReadAs::Manifests,
            source: io::Error::other(error),
        })
    })
}

#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;
