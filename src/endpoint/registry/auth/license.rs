//! The vendor's license key as a registry credential.
//!
//! The key grants access to one vendor's registry and must never be sent to another. It is bound to a registry and a
//! path ([`vendor::LICENSE_SCOPE`]) that only the user can change (`--license-for`), and it is never sent to a token
//! server on another host (see [`super::realm`]).

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

use super::{
    credential::{Credential, CredentialError},
    origin::{Origin, Scheme},
};
use crate::{
    oci::{Repository, mapping::Root, reference::ReferenceError},
    vendor,
};

/// Far larger than any license key, in bytes.
pub(super) const MAX_LICENSE_SIZE: usize = 64 * 1024;

/// The license and the repositories for which it may be used.
#[derive(Debug, Clone)]
pub struct License {
    password: SecretString,
    scope: LicenseScope,
}

/// `HOST[:PORT][/PATH]`: the repositories for which the license may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LicenseScope {
    registry: String,
    path: Option<String>,
    /// The user named these repositories, so plain http is allowed if the user asked for it.
    named: bool,
}

impl License {
    /// Parses the content of a key file, of standard input or of an environment variable. `origin` names it in errors:
    /// `in FILE`, `from standard input`, `in VARIABLE`.
    ///
    /// Raw service account JSON is encoded; an encoded key is kept. Line breaks are removed.
    pub fn from_content(content: &str, origin: &str) -> Result<Self, CredentialError> {
        let refused =
            |reason: &str| CredentialError::License { origin: origin.to_owned(), reason: reason.to_owned() };
        if content.len() > MAX_LICENSE_SIZE {
            return Err(refused("is larger than 64 KiB, so it is not a license key"));
        }
        let text = content.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(refused("is empty"));
        }
        let password = if text.starts_with('{') {
            STANDARD.encode(check_json(text).map_err(refused)?)
        } else {
            unwrap_lines(text).map_err(refused)?
        };
        let scope = LicenseScope::vendor();
        Ok(Self { password: SecretString::from(password), scope })
    }

    /// Binds the license to this `HOST[:PORT][/PATH]` instead of the vendor's (`--license-for`).
    pub fn bound_to(self, place: &str) -> Result<Self, ReferenceError> {
        let root = place.parse::<Root>()?;
        let full = root.to_string();
        let path = full.split_once('/').map(|(_, path)| path.to_owned());
        let scope = LicenseScope { registry: root.registry().to_owned(), path, named: true };
        Ok(Self { scope, ..self })
    }

    /// Whether the license may be used for this repository as reached at `registry`.
    #[must_use]
    pub(crate) fn covers(&self, registry: &Origin, repository: &Repository) -> bool {
        self.scope.covers(registry, repository)
    }

    /// Whether the license is for this repository, regardless of the scheme.
    #[must_use]
    pub(crate) fn is_for(&self, repository: &Repository) -> bool {
        let at = |scheme| Origin::of_registry(repository.registry(), scheme);
        [Scheme::Https, Scheme::Http]
            .into_iter()
            .filter_map(|scheme| at(scheme).ok())
            .any(|origin| self.covers(&origin, repository))
    }

    /// The registry and path that it is for.
    #[must_use]
    pub(crate) fn scope(&self) -> String {
        let path = self.scope.path.iter().map(|path| format!("/{path}"));
        std::iter::once(self.scope.registry.clone()).chain(path).collect()
    }

    /// The key as the registry takes it.
    #[must_use]
    pub(crate) fn password(&self) -> &SecretString {
        &self.password
    }

    /// Where the license is valid, as the key of a pull secret.
    #[must_use]
    pub(crate) fn pull_secret_key(&self) -> String {
        match &self.scope {
            LicenseScope { named: false, .. } => vendor::IMAGE_PREFIX.to_owned(),
            LicenseScope { registry, path: Some(path), .. } => format!("{registry}/{path}"),
            LicenseScope { registry, path: None, .. } => registry.clone(),
        }
    }

    /// The license as a user name and a password.
    #[must_use]
    pub(crate) fn credential(&self) -> Credential {
        Credential::basic(vendor::LICENSE_USER, self.password.expose_secret())
    }
}

impl LicenseScope {
    fn vendor() -> Self {
        let (registry, path) = vendor::LICENSE_SCOPE.split_once('/').unwrap_or((vendor::LICENSE_SCOPE, ""));
        Self { registry: registry.to_owned(), path: Some(path.to_owned()), named: false }
    }

    fn covers(&self, registry: &Origin, repository: &Repository) -> bool {
        let here =
            Origin::of_registry(&self.registry, registry.scheme()).is_ok_and(|origin| origin == *registry);
        let below = self.path.as_deref().is_none_or(|path| is_at_or_below(repository.path(), path));
        here && below && (registry.is_https() || self.named)
    }
}

/// Compares path components, not characters: `thoras-registry-evil` is not below `thoras-registry`.
fn is_at_or_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_json(text: &str) -> Result<&str, &'static str> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|_| "is not valid JSON: it may be truncated")?;
    let is_other = |name: &str| value.get(name).is_some();
    if is_other("auths") || is_other("credHelpers") || is_other("credsStore") || is_other("kind") {
        return Err("is a Docker configuration or a Kubernetes object: pass it with --authfile");
    }
    Ok(text)
}

/// `base64` breaks its output into lines; the registry would refuse the line breaks.
fn unwrap_lines(text: &str) -> Result<String, &'static str> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let is_encoded = |line: &&str| {
        line.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'='))
    };
    if lines.len() > 1 && !lines.iter().all(is_encoded) {
        return Err("has several lines that are not base64, so it is not a license key");
    }
    let joined = lines.concat();
    if !joined.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("contains spaces or control characters, so it is not a license key");
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::registry::auth::origin::Scheme;

    fn license(content: &str) -> License {
        License::from_content(content, "in license.key").unwrap()
    }

    fn password(license: &License) -> String {
        license.password.expose_secret().to_owned()
    }

    fn covers(license: &License, scheme: Scheme, repository: &str) -> bool {
        let repository: Repository = repository.parse().unwrap();
        let registry = Origin::of_registry(repository.registry(), scheme).unwrap();
        license.covers(&registry, &repository)
    }

    #[test]
    fn line_ends_are_not_part_of_the_key() {
        for content in ["a2V5", "a2V5\n", "a2V5\r\n", "\u{feff}a2V5\n\n", "a2\nV5\n", "a2\r\nV5\r\n"] {
            assert_eq!(password(&license(content)), "a2V5", "{content:?}");
        }
    }

    #[test]
    fn raw_json_is_encoded() {
        let encoded = password(&license("{\"type\":\"service_account\"}\n"));
        assert_eq!(STANDARD.decode(encoded).unwrap(), b"{\"type\":\"service_account\"}");
    }

    #[test]
    fn the_user_is_the_vendors() {
        let Credential::Basic { username, .. } = license("a2V5").credential() else { panic!() };
        assert_eq!(username, "_json_key_base64");
    }

    #[test]
    fn an_invalid_license_is_refused_without_repeating_it() {
        for (content, reason) in [
            ("", "is empty"),
            (" \r\n", "is empty"),
            ("{\"type\": \"serv", "truncated"),
            ("{\"auths\":{}}", "--authfile"),
            ("{\"kind\":\"Secret\"}", "--authfile"),
            ("-----BEGIN PRIVATE KEY-----\ns3cret\n", "several lines"),
            ("apiVersion: v1\nkind: Secret", "several lines"),
            ("s3cret with spaces", "spaces"),
            ("s3cret\u{0}", "control characters"),
        ] {
            let error = License::from_content(content, "in license.key").unwrap_err().to_string();
            assert!(error.starts_with("the license in license.key ") && error.contains(reason), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(License::from_content(&"x".repeat(MAX_LICENSE_SIZE + 1), "in f").is_err());
    }

    #[test]
    fn it_is_bound_to_the_vendors_registry_and_path() {
        let license = license("a2V5");
        let covered = |repository| covers(&license, Scheme::Https, repository);
        assert!(covered("us-east4-docker.pkg.dev/thoras-registry/platform/services"));
        assert!(covered("us-east4-docker.pkg.dev:443/thoras-registry/platform/services"));
        assert!(!covered("us-east4-docker.pkg.dev/thoras-registry-evil/platform"));
        assert!(!covered("us-east4-docker.pkg.dev/other/thoras-registry/platform"));
        assert!(!covered("us-east4-docker.pkg.dev:8443/thoras-registry/platform"));
        assert!(!covered("us-east5-docker.pkg.dev/thoras-registry/platform"));
        assert!(!covered("us-east4-docker.pkg.dev.evil.example/thoras-registry/platform"));
        assert!(!covers(&license, Scheme::Http, "us-east4-docker.pkg.dev/thoras-registry/platform/services"));
    }

    #[test]
    fn license_for_binds_it_to_other_repositories() {
        let moved = license("a2V5").bound_to("proxy.example:8443/thoras").unwrap();
        assert!(covers(&moved, Scheme::Https, "proxy.example:8443/thoras/services"));
        assert!(covers(&moved, Scheme::Https, "proxy.example:8443/thoras"));
        assert!(!covers(&moved, Scheme::Https, "proxy.example:8443/thorasx/services"));
        assert!(!covers(&moved, Scheme::Https, "proxy.example/thoras/services"));
        assert!(!covers(&moved, Scheme::Https, "us-east4-docker.pkg.dev/thoras-registry/platform/services"));
        let whole_host = license("a2V5").bound_to("127.0.0.1:5000").unwrap();
        assert!(covers(&whole_host, Scheme::Http, "127.0.0.1:5000/any/thing"));
        assert!(license("a2V5").bound_to("https://x").is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", license("s3cret")).contains("s3cret"));
    }
}
