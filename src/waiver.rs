//! Permission to lack a platform: `IMAGE[=PLATFORM]`.

use std::{fmt, str::FromStr};

use globset::{Glob, GlobMatcher};

use crate::oci::{Platform, Reference, platform::PlatformError};

/// Permits images that match a glob to lack one platform, or any.
#[derive(Debug, Clone)]
pub struct Waiver {
    image: GlobMatcher,
    platform: Option<Platform>,
}

impl Waiver {
    /// Whether it matches an image's normalized reference, its repository, or its last path component with or without
    /// the tag.
    fn matches(&self, image: &Reference) -> bool {
        // Match against the name without the digest.
        let tag = image.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let whole = format!("{}{tag}", image.repository());
        let repository = image.repository().to_string();
        let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
        let names = [last(&whole), last(&repository), whole, repository, image.to_string()];
        names.iter().any(|name| self.image.is_match(name))
    }

    /// Permits only this image to lack only this platform; `None` if the name is not a valid pattern.
    #[must_use]
    pub fn exact(image: &Reference, platform: &Platform) -> Option<Self> {
        let tag = image.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let glob = Glob::new(&globset::escape(&format!("{}{tag}", image.repository()))).ok()?;
        Some(Self { image: glob.compile_matcher(), platform: Some(platform.clone()) })
    }
}

impl fmt::Display for Waiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.image.glob().glob())?;
        self.platform.iter().try_for_each(|platform| write!(formatter, "={platform}"))
    }
}

/// Why a text is not a waiver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaiverError {
    /// The image part is not a pattern.
    #[error("`{}` is not an image or a glob of images", .0.escape_debug())]
    Image(String),
    /// The platform part is not a platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

impl FromStr for Waiver {
    type Err = WaiverError;

    fn from_str(text: &str) -> Result<Self, WaiverError> {
        let (image, platform) = match text.split_once('=') {
            Some((image, platform)) => (image, Some(Platform::parse_typed(platform)?)),
            None => (text, None),
        };
        let refused = || WaiverError::Image(image.to_owned());
        if image.is_empty() {
            return Err(refused());
        }
        // Expand short names as everywhere else: `nginx` is docker.io/library/nginx:latest.
        let glob = Glob::new(image).map_err(|_| refused())?;
        Ok(Self { image: glob.compile_matcher(), platform })
    }
}

/// All waivers of a run.
#[derive(Debug, Clone, Default)]
pub struct Waivers(Vec<Waiver>);

impl Waivers {
    /// All of these waivers.
    #[must_use]
    pub fn new(waivers: Vec<Waiver>) -> Self {
        Self(waivers)
    }

    /// Whether an image may lack a platform.
    #[must_use]
    pub fn covers(&self, image: &Reference, platform: &Platform) -> bool {
        self.0.iter().any(|waiver| {
            waiver.platform.as_ref().is_none_or(|waived| waived.is_served_by(platform))
                && waiver.matches(image)
        })
    }

    /// Splits platforms into those that an image may lack and those that it must have.
    #[must_use]
    pub fn split(&self, image: &Reference, platforms: &[Platform]) -> (Vec<Platform>, Vec<Platform>) {
        self.split_locked(image, &[], platforms)
    }

    /// As [`Self::split`], but the image may also lack the platforms that it lacked when it was locked.
    pub(crate) fn split_locked(
        &self,
        image: &Reference,
        locked: &[Platform],
        platforms: &[Platform],
    ) -> (Vec<Platform>, Vec<Platform>) {
        platforms
            .iter()
            .cloned()
            .partition(|platform| locked.contains(platform) || self.covers(image, platform))
    }

    /// The waivers that match none of the images, probably misspelled.
    pub(crate) fn idle<'a>(&'a self, images: &'a [Reference]) -> impl Iterator<Item = &'a Waiver> {
        self.0.iter().filter(|waiver| !images.iter().any(|image| waiver.matches(image)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(waiver: &str, platform: &str) -> bool {
        let image = "quay.io/a/services:4.53.0".parse().unwrap();
        Waivers::new(vec![waiver.parse().unwrap()]).covers(&image, &platform.parse().unwrap())
    }

    #[test]
    fn names_references_and_globs() {
        for waiver in
            ["services", "services:4.53.0", "quay.io/a/services", "quay.io/a/services:4.53.0", "*services*"]
        {
            assert!(covers(waiver, "linux/arm64"), "{waiver}");
        }
        assert!(!covers("service", "linux/arm64"));
        let digest = crate::oci::Digest::sha256(b"");
        let pinned: Reference = format!("quay.io/a/services:4.53.0@{digest}").parse().unwrap();
        let waivers = Waivers::new(vec!["services:4.53.0".parse().unwrap()]);
        assert!(waivers.covers(&pinned, &"linux/arm64".parse().unwrap()));
        assert!(covers("services=linux/arm64", "linux/arm64/v8"));
        assert!(!covers("services=linux/arm64", "linux/amd64"));
    }

    #[test]
    fn refuses_empty_and_invalid_waivers() {
        assert!("".parse::<Waiver>().is_err());
        assert!("=linux/arm64".parse::<Waiver>().is_err());
        assert!("a=arm64".parse::<Waiver>().is_err());
        assert!("a[".parse::<Waiver>().is_err());
    }
}
