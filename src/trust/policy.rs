//! Policies: which images need which signatures.

use std::{fmt, path::PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

use crate::oci::Reference;

/// Which images need whose signature. Names files; [`Verifier::new`](super::Verifier::new) reads them.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The first rule that matches an image decides.
    pub rules: Vec<Rule>,
    /// What happens to images that no rule matches.
    pub otherwise: UnlistedImages,
}

/// What happens to images that no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlistedImages {
    /// They are rejected: nothing says whose signature they need.
    Require,
    /// They need no signature.
    Allow,
}

/// What some images need.
#[derive(Debug, Clone)]
pub struct Rule {
    images: Vec<GlobMatcher>,
    pub(super) requirement: Requirement,
}

/// Whose signature an image needs. One signature is enough.
#[derive(Debug, Clone)]
pub enum Requirement {
    /// No signature.
    Unsigned,
    /// One by any of these keys.
    Keys(Keys),
    /// One by this identity.
    Identity(Identity),
    /// One that notation accepts.
    Notation(NotationRequirement),
}

impl Requirement {
    /// Whether it needs a trusted root and names none.
    pub(crate) fn lacks_root(&self) -> bool {
        match self {
            Self::Unsigned | Self::Notation(_) => false,
            Self::Keys(keys) => !keys.ignore_log && keys.trusted_root.is_none(),
            Self::Identity(identity) => identity.trusted_root.is_none(),
        }
    }

    /// The same requirement, with this trusted root if it names none.
    pub(crate) fn with_default_root(mut self, root: Option<PathBuf>) -> Self {
        if self.lacks_root()
            && let Self::Keys(Keys { trusted_root, .. }) | Self::Identity(Identity { trusted_root, .. }) =
                &mut self
        {
            *trusted_root = root;
        }
        self
    }
}

/// Public keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The files, in PEM.
    pub files: Vec<PathBuf>,
    /// Accept a signature that is in no transparency log.
    pub ignore_log: bool,
    /// Which logs to trust; without it, those of the public Sigstore instance.
    pub trusted_root: Option<PathBuf>,
}

/// Who may sign with a short-lived certificate.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate's subject: an email address or a URI.
    pub subject: Matcher,
    /// The issuer of its identity token, a URL.
    pub issuer: Matcher,
    /// Accept a certificate that is in no certificate transparency log.
    pub ignore_certificate_log: bool,
    /// Which authorities and logs to trust; without it, those of the public Sigstore instance.
    pub trusted_root: Option<PathBuf>,
}

/// The identity that stands for all of them.
pub(super) const ANY_IDENTITY: &str = "*";

/// What a signature of the Notary Project must have. The program `notation` verifies it.
#[derive(Debug, Clone)]
pub struct NotationRequirement {
    /// The files of the certificate authorities, in PEM.
    pub certificates: Vec<PathBuf>,
    /// The files of the authorities whose timestamps count, in PEM.
    pub timestamp_certificates: Vec<PathBuf>,
    /// Who may sign: `x509.subject: C=US, ST=WA, O=acme`, or `*`.
    pub identities: Vec<String>,
}

/// What a text must be.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// This text.
    Exact(String),
    /// A text that this regular expression matches anywhere, as in cosign: only `^` and `$` anchor it.
    Pattern(Regex),
}

impl Policy {
    /// Every image needs this.
    #[must_use]
    pub fn for_every_image(requirement: Requirement) -> Self {
        let rules = vec![Rule { images: Vec::new(), requirement }];
        Self { rules, otherwise: UnlistedImages::Require }
    }

    /// The rule for an image.
    pub(super) fn position(&self, image: &Reference) -> Option<usize> {
        self.rules.iter().position(|rule| rule.matches(image))
    }
}

impl Rule {
    /// A rule for the images that match one of these globs, as in `--include`: `*` also matches slashes, and the tag may
    /// be left out.
    pub fn new(images: &[String], requirement: Requirement) -> Result<Self, globset::Error> {
        let compile = |glob: &String| Ok(GlobBuilder::new(glob).build()?.compile_matcher());
        Ok(Self { images: images.iter().map(compile).collect::<Result<_, _>>()?, requirement })
    }

    fn matches(&self, image: &Reference) -> bool {
        let repository = image.repository().to_string();
        let tagged = image.tag().map(|tag| format!("{repository}:{tag}"));
        let names = [Some(image.to_string()), tagged, Some(repository)];
        self.images.is_empty()
            || names.iter().flatten().any(|name| self.images.iter().any(|glob| glob.is_match(name)))
    }
}

impl Matcher {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => formatter.write_str(text),
            Self::Pattern(pattern) => write!(formatter, "/{pattern}/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_with_and_without_the_tag() {
        let matches = |glob: &str, image: &str| {
            Rule::new(&[glob.to_owned()], Requirement::Unsigned).unwrap().matches(&image.parse().unwrap())
        };
        for (glob, image, expected) in [
            ("quay.io/a/*", "quay.io/a/b:1", true),
            ("quay.io/a/*", "quay.io/a/b/c:1", true),
            ("quay.io/a/b", "quay.io/a/b:1", true),
            ("quay.io/a/b:1", "quay.io/a/b:1", true),
            ("quay.io/a/b:1", &format!("quay.io/a/b:1@sha256:{}", "0".repeat(64)), true),
            ("quay.io/a/b:1", "quay.io/a/b:2", false),
            ("quay.io/a", "quay.io/a/b:1", false),
            ("docker.io/library/*", "nginx", true),
            ("quay.io/{a,b}/**", "quay.io/b/c:1", true),
        ] {
            assert_eq!(matches(glob, image), expected, "{glob} {image}");
        }
    }

    #[test]
    fn a_pattern_is_not_anchored() {
        let pattern = |text: &str| Matcher::Pattern(Regex::new(text).unwrap());
        assert!(pattern("example").matches("me@example.com"));
        assert!(!pattern("^example").matches("me@example.com"));
        assert!(!Matcher::Exact("example".into()).matches("me@example.com"));
    }
}
