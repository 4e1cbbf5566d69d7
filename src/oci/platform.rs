//! Platforms: `os/architecture[/variant]`, as in the OCI image index specification.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One platform that an image was built for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a platform: expected OS/ARCHITECTURE[/VARIANT], for example linux/arm64", .0.escape_debug())]
pub struct PlatformError(String);

impl Platform {
    /// From the fields of an index or a config. An empty variant counts as none; invalid characters, which only a
    /// broken or hostile registry sends, become `_`.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let clean = |text: &str| {
            let text = if text.is_empty() { "unknown" } else { text };
            text.chars().map(|character| if is_allowed(character) { character } else { '_' }).collect()
        };
        Self {
            os: clean(os),
            architecture: clean(architecture),
            variant: variant.filter(|text| !text.is_empty()).map(clean),
        }
    }

    /// Whether it is `unknown/unknown`, which build tools write for attestation manifests.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    /// Whether a node with platform `self` can run an image for `available`: they are equal without baseline variants
    /// (arm64/v8, amd64/v1, arm/v7).
    #[must_use]
    pub fn is_served_by(&self, available: &Self) -> bool {
        self.os == available.os
            && self.architecture == available.architecture
            && self.variant_beyond_baseline() == available.variant_beyond_baseline()
    }

    fn variant_beyond_baseline(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) | ("arm", Some("v7" | "7")) => None,
            (_, variant) => variant,
        }
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let fine = |part: &&str| !part.is_empty() && part.chars().all(is_allowed);
        match parts.as_slice() {
            [os, architecture] if parts.iter().all(fine) => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] if parts.iter().all(fine) => {
                Ok(Self::new(os, architecture, Some(variant)))
            }
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;

    fn try_from(text: String) -> Result<Self, PlatformError> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl JsonSchema for Platform {
    fn schema_name() -> Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "OS/ARCHITECTURE[/VARIANT]" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(required: &str, available: &str) -> bool {
        required.parse::<Platform>().unwrap().is_served_by(&available.parse().unwrap())
    }

    #[test]
    fn baseline_variants_count_as_none() {
        assert!(served("linux/arm64", "linux/arm64/v8"));
        assert!(served("linux/arm64/v8", "linux/arm64"));
        assert!(served("linux/arm", "linux/arm/v7"));
        assert!(!served("linux/arm", "linux/arm/v6"));
        assert!(!served("linux/amd64", "linux/amd64/v3"), "a v3 image does not run on every amd64 node");
        assert!(!served("linux/amd64", "windows/amd64"));
    }

    #[test]
    fn refuses_malformed_platforms() {
        for text in ["", "linux", "linux/", "linux/arm/v7/x", "linux /arm"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
