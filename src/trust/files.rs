//! Trusted roots, public keys and a policy that come as a set, for example in a bundle, instead of from paths.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    notation::is_certificate,
    policy::{Identity, Keys, NotationRequirement, Policy, Requirement},
};
use crate::{
    error::{Failure, Kind},
    signing::{KeyError, PublicKey},
};

/// The folder that their paths have in a policy and in messages. It is never read.
const FOLDER: &str = "bundle:";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TrustFileKind {
    /// Authorities and logs, as `cosign trusted-root create` writes them.
    TrustedRoot,
    /// A public key in PEM.
    PublicKey,
    /// Certificates in PEM, which notation trusts.
    Certificate,
    /// Which images need whose signature: a file for `--verify-policy`.
    Policy,
}

impl TrustFileKind {
    /// Recognizes a file by its content. A private key is refused.
    pub(crate) fn of(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let refused = |what: String| Failure::new(Kind::Usage, format!("--trust: {} {what}", path.display()));
        let pass = "pass a trusted root (JSON), a public key or a certificate (PEM) or a policy (YAML)";
        let text =
            std::str::from_utf8(bytes).map_err(|_| refused("is not text".to_owned()).with_hint(pass))?;
        if is_certificate(bytes) && !text.contains("PRIVATE KEY-----") {
            return Ok(Self::Certificate);
        }
        if text.contains("-----BEGIN ") {
            return match PublicKey::from_pem(bytes) {
                Ok(_) => Ok(Self::PublicKey),
                Err(error) => Err(refused(format!("is not a public key: {error}")).with_hint(match error {
                    KeyError::Private => {
                        "never put a private key into a bundle: pass its public key, cosign.pub"
                    }
                    _ => pass,
                })),
            };
        }
        let json = serde_json::from_str::<Value>(text).ok();
        let media_type = json.as_ref().and_then(|json| json.get("mediaType")).and_then(Value::as_str);
        if media_type.is_some_and(|media_type| media_type.contains("trustedroot")) {
            return Ok(Self::TrustedRoot);
        }
        match Policy::from_text(text, path, None) {
            Ok(_) => Ok(Self::Policy),
            Err(failure) if json.is_none() => Err(Failure { kind: Kind::Usage, ..failure }),
            Err(_) => Err(refused("is neither a trusted root nor a policy".to_owned()).with_hint(pass)),
        }
    }

    /// Its media type in a bundle.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::TrustedRoot => "application/vnd.dev.sigstore.trustedroot+json",
            Self::PublicKey => "application/x-pem-file",
            Self::Certificate => "application/pem-certificate-chain",
            Self::Policy => "application/vnd.thoras-mirror.policy.v1+yaml",
        }
    }

    /// The kind with this media type.
    pub(crate) fn from_media_type(media_type: &str) -> Option<Self> {
        [Self::TrustedRoot, Self::PublicKey, Self::Certificate, Self::Policy]
            .into_iter()
            .find(|kind| kind.media_type() == media_type)
    }
}

impl fmt::Display for TrustFileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TrustedRoot => "trusted root",
            Self::PublicKey => "public key",
            Self::Certificate => "certificate",
            Self::Policy => "policy",
        })
    }
}

/// The files, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustFiles(BTreeMap<String, (TrustFileKind, Bytes)>);

impl TrustFiles {
    /// Two files with the same name are an error.
    pub(crate) fn new(
        files: impl IntoIterator<Item = (String, TrustFileKind, Bytes)>,
    ) -> Result<Self, Failure> {
        let mut by_name = BTreeMap::new();
        for (name, kind, bytes) in files {
            if by_name.insert(name.clone(), (kind, bytes)).is_some() {
                let message = format!("two trust files have the name {name}");
                return Err(Failure::new(Kind::Usage, message)
                    .with_hint("rename one of them: in a bundle, files have no folders"));
            }
        }
        let files = Self(by_name);
        if files.of(TrustFileKind::Policy).count() > 1 {
            let names: Vec<&str> = files.of(TrustFileKind::Policy).collect();
            let message = format!("there are several policies: {}", names.join(", "));
            return Err(Failure::new(Kind::Usage, message)
                .with_hint("merge them: the first entry that matches decides"));
        }
        Ok(files)
    }

    /// Whether one of them is a policy.
    pub(crate) fn has_policy(&self) -> bool {
        self.of(TrustFileKind::Policy).next().is_some()
    }

    fn of(&self, kind: TrustFileKind) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(_, (other, _))| *other == kind).map(|(name, _)| name.as_str())
    }

    /// The bytes behind a path of [`TrustFiles::policy`].
    pub(super) fn read(&self, path: &Path) -> Option<&Bytes> {
        let name = path.strip_prefix(FOLDER).ok()?.to_str()?;
        self.0.get(name).map(|(_, bytes)| bytes)
    }

    /// The path of the only trusted root among them, if there is one.
    pub(crate) fn trusted_root(&self) -> Result<Option<PathBuf>, Failure> {
        let names: Vec<&str> = self.of(TrustFileKind::TrustedRoot).collect();
        match names.as_slice() {
            [] => Ok(None),
            [name] => Ok(Some(Path::new(FOLDER).join(name))),
            several => {
                let message = format!("the bundle has several trusted roots: {}", several.join(", "));
                Err(Failure::new(Kind::Usage, message).with_hint("pass --trusted-root FILE to choose"))
            }
        }
    }

    /// What they require of images: the policy if there is one, otherwise a signature by one of the keys. `None` if there
    /// are only trusted roots. `root` is a trusted root that the user named.
    pub(crate) fn policy(&self, root: Option<&Path>, ignore_log: bool) -> Result<Option<Policy>, Failure> {
        if let Some(name) = self.of(TrustFileKind::Policy).next() {
            if ignore_log {
                let message = "--insecure-ignore-tlog has no effect: the bundle has a policy, which decides";
                return Err(Failure::new(Kind::Usage, message).with_hint("remove it"));
            }
            return self.named_policy(name, root).map(Some);
        }
        let files: Vec<PathBuf> =
            self.of(TrustFileKind::PublicKey).map(|name| Path::new(FOLDER).join(name)).collect();
        if files.is_empty() {
            return Ok(None);
        }
        let trusted_root = match root {
            _ if ignore_log => None,
            Some(root) => Some(root.to_owned()),
            None => self.trusted_root()?,
        };
        Ok(Some(Policy::for_every_image(Requirement::Keys(Keys { files, ignore_log, trusted_root }))))
    }

    /// A policy whose paths are names of these files. No other file is read, except the user's trusted root.
    fn named_policy(&self, name: &str, root: Option<&Path>) -> Result<Policy, Failure> {
        let path = Path::new(FOLDER).join(name);
        let bytes = self.0.get(name).map(|(_, bytes)| bytes.as_ref()).unwrap_or_default();
        let default = match root {
            Some(root) => Some(root.to_owned()),
            // With several, the entries of the policy name theirs.
            None => self.trusted_root().ok().flatten(),
        };
        let mut policy = Policy::from_text(&String::from_utf8_lossy(bytes), &path, default.as_deref())?;
        let own = |kind: TrustFileKind, file: &mut PathBuf| -> Result<(), Failure> {
            let own = file.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            if self.0.get(own).is_none_or(|(found, _)| *found != kind) {
                let message = format!("the policy {name} names the {kind} {own}, which is not beside it");
                return Err(Failure::new(Kind::Usage, message)
                    .with_hint(format!("add the file: bundle export --trust {own}")));
            }
            *file = Path::new(FOLDER).join(own);
            Ok(())
        };
        let own_root = |file: &mut Option<PathBuf>| match file {
            Some(file) if Some(&*file) != default.as_ref() => own(TrustFileKind::TrustedRoot, file),
            _ => Ok(()),
        };
        for rule in &mut policy.rules {
            match &mut rule.requirement {
                Requirement::Unsigned => {}
                Requirement::Keys(Keys { files, trusted_root, ignore_log: _ }) => {
                    files.iter_mut().try_for_each(|file| own(TrustFileKind::PublicKey, file))?;
                    own_root(trusted_root)?;
                }
                Requirement::Identity(Identity { trusted_root, .. }) => own_root(trusted_root)?,
                Requirement::Notation(NotationRequirement {
                    certificates,
                    timestamp_certificates,
                    identities: _,
                }) => {
                    let mut all = certificates.iter_mut().chain(timestamp_certificates);
                    all.try_for_each(|file| own(TrustFileKind::Certificate, file))?;
                }
            }
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../testdata/signing/p256.pub");
    const ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
    const POLICY: &str = "images:\n- match: a/*\n  key: /far/keys/old.pub\n- match: b/*\n  identity: me@x\n  \
                          issuer: https://i.example\notherwise: allow\n";

    fn files(files: &[(&str, &str)]) -> Result<TrustFiles, Failure> {
        TrustFiles::new(files.iter().map(|(name, text)| {
            let kind = TrustFileKind::of(Path::new(name), text.as_bytes()).unwrap();
            ((*name).to_owned(), kind, Bytes::copy_from_slice(text.as_bytes()))
        }))
    }

    #[test]
    fn files_are_recognized_by_their_content() {
        let of = |text: &str| TrustFileKind::of(Path::new("f"), text.as_bytes());
        assert_eq!(of(KEY).unwrap(), TrustFileKind::PublicKey);
        assert_eq!(of(ROOT).unwrap(), TrustFileKind::TrustedRoot);
        assert_eq!(of(POLICY).unwrap(), TrustFileKind::Policy);
        let private = include_str!("../../testdata/signing/p256.pem");
        for (text, expected) in [
            (private, "never put a private key"),
            ("{}", "neither a trusted root nor a policy"),
            ("images: []", "otherwise"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not a public key"),
        ] {
            let failure = of(text).unwrap_err();
            let said = format!("{} {:?}", failure.message, failure.hint);
            assert!(said.contains(expected) && failure.kind == Kind::Usage, "{said}");
        }
        assert!(TrustFileKind::of(Path::new("f"), b"\xff").is_err());
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        assert_eq!(of(&certificate).unwrap(), TrustFileKind::Certificate);
        let with_key = format!("{certificate}{}", made.signing_key.serialize_pem());
        assert!(of(&with_key).is_err(), "a private key never enters a bundle");
        for kind in [
            TrustFileKind::TrustedRoot,
            TrustFileKind::PublicKey,
            TrustFileKind::Certificate,
            TrustFileKind::Policy,
        ] {
            assert_eq!(TrustFileKind::from_media_type(kind.media_type()), Some(kind));
        }
    }

    #[test]
    fn a_policy_decides_before_keys_and_reads_only_the_files_beside_it() {
        let all = files(&[("p.yaml", POLICY), ("old.pub", KEY), ("new.pub", KEY), ("r.json", ROOT)]).unwrap();
        let policy = all.policy(None, false).unwrap().unwrap();
        let Requirement::Keys(keys) = &policy.rules[0].requirement else { panic!() };
        assert_eq!(keys.files, [Path::new("bundle:/old.pub")]);
        assert_eq!(all.read(&keys.files[0]).unwrap(), KEY);
        let Requirement::Identity(identity) = &policy.rules[1].requirement else { panic!() };
        assert_eq!(identity.trusted_root.as_deref(), Some(Path::new("bundle:/r.json")));
        let policy = all.policy(Some(Path::new("/mine.json")), false).unwrap().unwrap();
        let Requirement::Identity(identity) = &policy.rules[1].requirement else { panic!() };
        assert_eq!(identity.trusted_root.as_deref(), Some(Path::new("/mine.json")));
        assert!(all.policy(None, true).unwrap_err().message.contains("--insecure-ignore-tlog"));
        let alone = files(&[("p.yaml", POLICY)]).unwrap();
        assert!(alone.policy(None, false).unwrap_err().message.contains("old.pub, which is not beside it"));
        // A key is not a trusted root, even with the name of one.
        let text = POLICY.replace("issuer", "trusted-root: old.pub\n  issuer");
        let other = files(&[("p.yaml", &text), ("old.pub", KEY)]).unwrap();
        assert!(other.policy(None, false).unwrap_err().message.contains("trusted root old.pub"));
    }

    #[test]
    fn without_a_policy_any_key_is_enough() {
        let keys = files(&[("a.pub", KEY), ("b.pub", KEY), ("r.json", ROOT)]).unwrap();
        let of = |policy: Policy| match policy.rules[0].requirement.clone() {
            Requirement::Keys(keys) => (keys.files.len(), keys.ignore_log, keys.trusted_root),
            other => panic!("{other:?}"),
        };
        let root = Some(PathBuf::from("bundle:/r.json"));
        assert_eq!(of(keys.policy(None, false).unwrap().unwrap()), (2, false, root));
        assert_eq!(of(keys.policy(None, true).unwrap().unwrap()), (2, true, None));
        assert!(files(&[("r.json", ROOT)]).unwrap().policy(None, false).unwrap().is_none());
        let several = files(&[("r.json", ROOT), ("s.json", ROOT)]).unwrap();
        assert!(several.trusted_root().unwrap_err().message.contains("r.json, s.json"));
        assert!(files(&[("a", KEY), ("a", KEY)]).unwrap_err().message.contains("two trust files"));
        assert!(files(&[("a", POLICY), ("b", POLICY)]).unwrap_err().message.contains("several policies"));
    }
}
