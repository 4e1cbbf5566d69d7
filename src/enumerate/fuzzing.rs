//! The reader of renderings without the file around it, for the targets in `fuzz/`.

use super::{
    EnumerateError, Image,
    image::ImageSet,
    manifests::{self, ScanOptions},
};

/// The images of a rendering; `prefixes` as in [`super::Selection::image_prefixes`].
pub fn rendered(text: &str, prefixes: &[String]) -> Result<Vec<Image>, EnumerateError> {
    let mut images = ImageSet::default();
    let options = ScanOptions { prefixes: &manifests::parse_prefixes(prefixes)?, test_hooks: true };
    manifests::scan("rendering", text, options, &mut images)?;
    Ok(images.into_sorted())
}
