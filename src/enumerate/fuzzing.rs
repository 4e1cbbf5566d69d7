//! The reader of renderings without the file around it, for the targets in `fuzz/`.

use super::{EnumerateError, Image, image::ImageSet, manifests};

/// The images of a rendering; `prefixes` as in [`super::Selection::image_prefixes`].
pub fn rendered(text: &str, prefixes: &[String]) -> Result<Vec<Image>, EnumerateError> {
    let mut images = ImageSet::default();
    manifests::scan("rendering", text, &manifests::parse_prefixes(prefixes)?, &mut images)?;
    Ok(images.into_sorted())
}
