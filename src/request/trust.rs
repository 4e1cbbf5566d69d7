//! The signatures that images need: the flags as a policy.

use std::path::PathBuf;

use regex::Regex;

use super::{setting::variable, usage};
use crate::{
    cli::{TrustArgs, variable as names},
    error::Failure,
    trust::{Identity, Keys, Matcher, Policy, Requirement, TrustFiles, Verifier},
};

/// Whose signature an image must have.
#[derive(Debug, Clone)]
pub(crate) enum RequiredSignatures {
    /// No signature is verified.
    None,
    /// `--trust-bundle`: the files in the bundle decide.
    Bundle {
        /// Accept a signature by a key that is in no transparency log.
        ignore_log: bool,
        /// Instead of the trusted root in the bundle.
        trusted_root: Option<PathBuf>,
    },
    /// Every image needs the same.
    Same(Requirement),
    /// The file of `--verify-policy` decides.
    Policy {
        file: PathBuf,
        /// The default of the file's entries.
        trusted_root: Option<PathBuf>,
    },
}

impl RequiredSignatures {
    pub(crate) fn new(args: TrustArgs) -> Result<Self, Failure> {
        Self::with_bundle(args, false)
    }

    /// The same; with `trust_bundle`, the files in the bundle decide if no flag does.
    pub(crate) fn with_bundle(args: TrustArgs, trust_bundle: bool) -> Result<Self, Failure> {
        let has_identity = args.verify_identity.is_some() || args.verify_identity_regexp.is_some();
        let has_issuer = args.verify_issuer.is_some() || args.verify_issuer_regexp.is_some();
        let (keys, is_root_typed) = (args.verify_key, args.trusted_root.is_some());
        let root = args.trusted_root.or_else(|| Some(variable(names::TRUSTED_ROOT)?.value.into()));
        let uses_bundle =
            trust_bundle && keys.is_empty() && !has_identity && !has_issuer && args.verify_policy.is_none();
        if args.insecure_ignore_tlog && keys.is_empty() && !uses_bundle {
            return Err(usage("--insecure-ignore-tlog has no effect without --verify-key").with_hint(
                "remove it; in the file of --verify-policy, write `ignore-tlog: true` beside a key",
            ));
        }
        if args.insecure_ignore_sct && !has_identity {
            return Err(usage("--insecure-ignore-sct has no effect without --verify-identity").with_hint(
                "remove it; in the file of --verify-policy, write `ignore-sct: true` beside an identity",
            ));
        }
        if uses_bundle {
            let ignore_log = args.insecure_ignore_tlog;
            if ignore_log && is_root_typed {
                return Err(root_without_log());
            }
            return Ok(Self::Bundle { ignore_log, trusted_root: root });
        }
        match (!keys.is_empty(), has_identity || has_issuer, args.verify_policy) {
            (false, false, None) if is_root_typed => Err(usage(
                "--trusted-root has no effect without --verify-key, --verify-identity or --verify-policy",
            )
            .with_hint("add one of them: it says whose signature an image must have")),
            (false, false, None) => Ok(Self::None),
            (false, false, Some(file)) => Ok(Self::Policy { file, trusted_root: root }),
            (true, false, None) if is_root_typed && args.insecure_ignore_tlog => Err(root_without_log()),
            (true, false, None) => Ok(Self::Same(Requirement::Keys(Keys {
                files: keys,
                ignore_log: args.insecure_ignore_tlog,
                trusted_root: root,
            }))),
            (false, true, None) => {
                let subject = matcher("identity", args.verify_identity, args.verify_identity_regexp.as_deref())?;
                let issuer = matcher("issuer", args.verify_issuer, args.verify_issuer_regexp.as_deref())?;
                let (subject, issuer) = both(subject, issuer)?;
                let ignore_certificate_log = args.insecure_ignore_sct;
                let identity = Identity { subject, issuer, ignore_certificate_log, trusted_root: root };
                Ok(Self::Same(Requirement::Identity(identity)))
            }
            _ => Err(usage("--verify-key, --verify-identity and --verify-policy cannot be combined")
                .with_hint(
                    "keep one of them, or unset its variable THORAS_MIRROR_VERIFY_…; a policy can name keys for some images and \
                     identities for others",
                )),
        }
    }

    /// Reads the files that it names. `None` if no signature is verified.
    pub(crate) fn verifier(&self) -> Result<Option<Verifier>, Failure> {
        let policy = match self {
            Self::None | Self::Bundle { .. } => return Ok(None),
            Self::Same(requirement) => Policy::for_every_image(requirement.clone()),
            Self::Policy { file, trusted_root } => Policy::from_file(file, trusted_root.as_deref())?,
        };
        Verifier::new(policy).map(Some)
    }

    /// The same with the files of a bundle, whose signature has been checked. What was passed wins.
    pub(crate) fn verifier_with(&self, files: TrustFiles) -> Result<Verifier, Failure> {
        let policy = match self {
            Self::None => files.policy(None, false)?.ok_or_else(nothing_required)?,
            Self::Bundle { ignore_log, trusted_root } => {
                files.policy(trusted_root.as_deref(), *ignore_log)?.ok_or_else(nothing_required)?
            }
            Self::Same(requirement) => {
                let root = if requirement.lacks_root() { files.trusted_root()? } else { None };
                Policy::for_every_image(requirement.clone().with_default_root(root))
            }
            Self::Policy { file, trusted_root: Some(root) } => Policy::from_file(file, Some(root))?,
            Self::Policy { file, trusted_root: None } => {
                // With several, the entries of the policy name theirs.
                Policy::from_file(file, files.trusted_root().ok().flatten().as_deref())?
            }
        };
        Verifier::with_files(policy, files)
    }
}

fn root_without_log() -> Failure {
    usage("--trusted-root has no effect with --insecure-ignore-tlog").with_hint("remove one of them")
}

/// A bundle cannot be trusted if it says nothing.
fn nothing_required() -> Failure {
    usage("--trust-bundle: the bundle has no policy and no public key, so it does not say whose signatures images need")
        .with_hint(
            "pass --verify-identity and --verify-issuer, which use its trusted root, or export it again with --trust FILE",
        )
}

/// What a flag or its `-regexp` asks for, and which of the two. They exclude each other.
fn matcher(
    name: &str,
    exact: Option<String>,
    pattern: Option<&str>,
) -> Result<Option<(String, Matcher)>, Failure> {
    let flag = |end: &str| format!("--verify-{name}{end}");
    match (exact, pattern) {
        (None, None) => Ok(None),
        (Some(exact), None) => Ok(Some((flag(""), Matcher::Exact(exact)))),
        (None, Some(pattern)) => {
            let parsed = Regex::new(pattern).map_err(|error| {
                let why = error.to_string().lines().last().unwrap_or_default().to_owned();
                let refused = usage(format!("{} is not a regular expression", flag("-regexp")));
                Failure { causes: vec![why], ..refused }
            });
            Ok(Some((flag("-regexp"), Matcher::Pattern(parsed?))))
        }
        (Some(_), Some(_)) => Err(usage(format!("{} and {} cannot be combined", flag(""), flag("-regexp")))
            .with_hint("pass one of them")),
    }
}

/// An identity and its issuer. The one that is there is named as it was passed.
fn both(
    subject: Option<(String, Matcher)>,
    issuer: Option<(String, Matcher)>,
) -> Result<(Matcher, Matcher), Failure> {
    let (flag, missing) = match (subject, issuer) {
        (Some((_, subject)), Some((_, issuer))) => return Ok((subject, issuer)),
        (None, Some((flag, _))) => (flag, "identity"),
        (subject, None) => (subject.map(|(flag, _)| flag).unwrap_or_default(), "issuer"),
    };
    Err(usage(format!("{flag} needs --verify-{missing}: an identity and its issuer belong together"))
        .with_hint(format!("pass --verify-{missing} or --verify-{missing}-regexp")))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn request(line: &str) -> Result<RequiredSignatures, Failure> {
        let words = shlex::split(&format!("x {line}")).unwrap();
        let matches = TrustArgs::augment_args(Command::new("x")).try_get_matches_from(words).unwrap();
        RequiredSignatures::new(TrustArgs::from_arg_matches(&matches).unwrap())
    }

    #[test]
    fn flags_become_a_requirement() {
        assert!(matches!(request("").unwrap(), RequiredSignatures::None));
        assert!(request("").unwrap().verifier().unwrap().is_none());
        let RequiredSignatures::Same(Requirement::Keys(keys)) =
            request("--verify-key a.pub --verify-key b.pub --insecure-ignore-tlog").unwrap()
        else {
            panic!()
        };
        assert_eq!((keys.files.len(), keys.ignore_log), (2, true));
        let RequiredSignatures::Same(Requirement::Identity(identity)) =
            request("--verify-identity-regexp ^me@ --verify-issuer https://a.example --trusted-root r.json")
                .unwrap()
        else {
            panic!()
        };
        assert_eq!(identity.subject.to_string(), "/^me@/");
        assert_eq!(identity.trusted_root, Some("r.json".into()));
        assert!(matches!(
            request("--verify-policy p.yaml --trusted-root r.json").unwrap(),
            RequiredSignatures::Policy { trusted_root: Some(_), .. }
        ));
    }

    #[test]
    fn contradictions_are_named() {
        for (line, expected) in [
            ("--insecure-ignore-tlog", "--insecure-ignore-tlog has no effect without --verify-key"),
            ("--insecure-ignore-sct --verify-key a", "--insecure-ignore-sct has no effect"),
            ("--trusted-root a", "--trusted-root has no effect without"),
            ("--verify-key a --insecure-ignore-tlog --trusted-root r", "--trusted-root has no effect with"),
            ("--verify-key a --verify-policy p", "cannot be combined"),
            ("--verify-key a --verify-identity b --verify-issuer c", "cannot be combined"),
            ("--verify-identity b", "--verify-identity needs --verify-issuer: "),
            ("--verify-issuer-regexp b", "--verify-issuer-regexp needs --verify-identity: "),
            ("--verify-identity b --verify-identity-regexp b --verify-issuer c", "--verify-identity and"),
            ("--verify-identity-regexp '(' --verify-issuer c", "is not a regular expression"),
        ] {
            let failure = request(line).unwrap_err();
            assert!(failure.message.contains(expected), "{line}: {failure:?}");
            assert_eq!(failure.kind.exit_code(), 2);
        }
    }

    #[test]
    fn missing_files_are_named_before_the_job_starts() {
        for line in ["--verify-policy /none/p.yaml", "--verify-key /none/a.pub --insecure-ignore-tlog"] {
            let failure = request(line).unwrap().verifier().err().unwrap();
            assert!(failure.message.contains("/none/"), "{failure:?}");
        }
    }
}
