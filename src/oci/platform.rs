//! Platforms: `os/architecture[/variant]`, as in the OCI image index specification.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quoted;

/// The platforms of almost every image. They share memory: ten thousand images have tens of thousands of manifests.
static COMMON: LazyLock<[Arc<str>; 8]> = LazyLock::new(|| {
    [
        "linux/amd64",
        "linux/arm64",
        "linux/arm64/v8",
        "linux/arm/v7",
        "linux/arm/v6",
        "linux/ppc64le",
        "linux/s390x",
        "unknown/unknown",
    ]
    .map(Arc::from)
});

/// One platform that an image was built for: `OS/ARCHITECTURE[/VARIANT]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Platform(Arc<str>);

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// It does not have the form of a platform.
    #[error("`{}` is not a platform: expected OS/ARCHITECTURE[/VARIANT], for example linux/arm64", quoted(.0))]
    Form(String),
    /// It has another name in registries, which use those of the Go language.
    #[error("registries call the platform `{}` {name}: pass {name}", quoted(.written))]
    OtherName {
        /// What was written.
        written: String,
        /// The name in registries.
        name: String,
    },
}

/// Names that `uname`, Debian, Rust or people use, and those of registries.
const OTHER_NAMES: [(&str, &str); 15] = [
    ("x86_64", "amd64"),
    ("x86-64", "amd64"),
    ("x64", "amd64"),
    ("aarch64", "arm64"),
    ("armv8", "arm64"),
    ("arm64v8", "arm64"),
    ("armv7", "arm/v7"),
    ("armv7l", "arm/v7"),
    ("armhf", "arm/v7"),
    ("armv6", "arm/v6"),
    ("armel", "arm/v6"),
    ("i386", "386"),
    ("i686", "386"),
    ("x86", "386"),
    ("ppc64el", "ppc64le"),
];

/// The name in registries, if a platform that a person wrote has another: `linux/x86_64`, or `amd64` alone.
fn other_name(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (os, architecture) = lower.split_once('/').unwrap_or(("linux", &lower));
    let os = if matches!(os, "macos" | "osx") { "darwin" } else { os };
    let known =
        |written: &str| OTHER_NAMES.iter().find(|(other, _)| *other == written).map(|(_, name)| *name);
    let is_name = |written: &str| OTHER_NAMES.iter().any(|(_, name)| *name == written);
    let named = known(architecture).or_else(|| is_name(architecture).then_some(architecture));
    let name = format!("{os}/{}", named.unwrap_or(architecture));
    let is_complete = text.contains('/') || named.is_some();
    (is_complete && name != text).then_some(name)
}

impl Platform {
    /// From the fields of an index or a config. An empty variant counts as none; invalid characters, which only a
    /// broken or hostile registry sends, become `_`.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let clean = |text: &str| -> String {
            let text = if text.is_empty() { "unknown" } else { text };
            text.chars().map(|character| if is_allowed(character) { character } else { '_' }).collect()
        };
        let mut name = format!("{}/{}", clean(os), clean(architecture));
        if let Some(variant) = variant.filter(|text| !text.is_empty()) {
            name = format!("{name}/{}", clean(variant));
        }
        let common = COMMON.iter().find(|common| ***common == *name);
        Self(common.map_or_else(|| name.into(), Arc::clone))
    }

    /// Operating system, architecture and variant. None of them contains a slash.
    fn parts(&self) -> (&str, &str, Option<&str>) {
        let mut parts = self.0.split('/');
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next())
    }

    /// Whether it is `unknown/unknown`, which build tools write for attestation manifests.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        let (os, architecture, _) = self.parts();
        os == "unknown" || architecture == "unknown"
    }

    /// Whether a node with platform `self` can run an image for `available`: they are equal without baseline variants
    /// (arm64/v8, amd64/v1, arm/v7).
    #[must_use]
    pub fn is_served_by(&self, available: &Self) -> bool {
        self.without_baseline() == available.without_baseline()
    }

    /// Its parts, in which a baseline variant counts as none.
    fn without_baseline(&self) -> (&str, &str, Option<&str>) {
        match self.parts() {
            (os, architecture @ "arm64", Some("v8" | "8"))
            | (os, architecture @ "amd64", Some("v1"))
            | (os, architecture @ "arm", Some("v7" | "7")) => (os, architecture, None),
            parts => parts,
        }
    }
}

/// By operating system, architecture and variant.
impl Ord for Platform {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Platform {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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
            _ => Err(PlatformError::Form(text.to_owned())),
        }
    }
}

impl Platform {
    /// Parses a platform that a person wrote: the names of other programs would match no image.
    pub(crate) fn parse_typed(text: &str) -> Result<Self, PlatformError> {
        let parsed = text.parse();
        match other_name(text) {
            Some(name) if parsed.is_ok() || !text.contains('/') => {
                Err(PlatformError::OtherName { written: text.to_owned(), name })
            }
            _ => parsed,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
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
    fn names_of_other_programs_are_refused_with_the_name_in_registries() {
        for (typed, name) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/X86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/i386", "linux/386"),
            ("Linux/amd64", "linux/amd64"),
            ("amd64", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            let error = Platform::parse_typed(typed).unwrap_err();
            assert!(error.to_string().ends_with(&format!(": pass {name}")), "{typed}: {error}");
        }
        for typed in
            ["linux/amd64", "linux/arm64/v8", "linux/arm/v7", "windows/amd64", "linux/riscv64", "plan9/mips"]
        {
            assert_eq!(Platform::parse_typed(typed).unwrap().to_string(), typed);
        }
        assert!(matches!(Platform::parse_typed("linux"), Err(PlatformError::Form(_))));
    }

    #[test]
    fn common_platforms_share_memory() {
        let (read, parsed) =
            (Platform::new("linux", "arm64", Some("v8")), "linux/arm64/v8".parse::<Platform>());
        assert!(Arc::ptr_eq(&read.0, &parsed.unwrap().0));
    }

    #[test]
    fn platforms_are_sorted_part_by_part() {
        let mut sorted: Vec<Platform> = ["linux/arm64", "linux/arm/v7", "linux/arm-x", "linux/arm"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        sorted.sort();
        let sorted: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["linux/arm", "linux/arm/v7", "linux/arm-x", "linux/arm64"]);
    }

    #[test]
    fn refuses_malformed_platforms() {
        for text in ["", "linux", "linux/", "linux/arm/v7/x", "linux /arm"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
