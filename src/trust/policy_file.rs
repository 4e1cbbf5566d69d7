//! The file of `--verify-policy`, in YAML or JSON:
//!
//! ```yaml
//! images:
//!   - match: registry.example.com/team/*        # a glob or a list of them, as in --include; the first match decides
//!     key: team.pub                             # a file or a list of files, relative to this file
//!     ignore-tlog: true
//!   - match: ghcr.io/acme/*
//!     identity-regexp: ^https://github\.com/acme/
//!     issuer: https://token.actions.githubusercontent.com
//!     trusted-root: trusted_root.json
//!   - match: registry.example.com/notary/*
//!     notation:                                 # the program `notation` verifies it
//!       certificates: ca.crt                    # a file or a list
//!       timestamp-certificates: tsa.crt         # the same; optional
//!       identities: "x509.subject: C=US, ST=WA, O=acme"   # one or a list; "*" for any
//!   - match: docker.io/library/*
//!     unsigned: true
//! otherwise: require                            # or: allow
//! ```

use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::policy::{
    ANY_IDENTITY, Identity, Keys, Matcher, NotationRequirement, Policy, Requirement, Rule, UnlistedImages,
};
use crate::{
    bounded_read::{self, MAX_SETTINGS_SIZE},
    error::{Failure, Kind, escape},
};

/// The whole file. Everything is optional here, so that messages can say what is missing.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    #[serde(default)]
    images: Vec<Value>,
    otherwise: Option<String>,
}

/// One entry of `images`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    r#match: Option<OneOrMany>,
    key: Option<OneOrMany>,
    #[serde(default)]
    ignore_tlog: bool,
    identity: Option<String>,
    identity_regexp: Option<String>,
    issuer: Option<String>,
    issuer_regexp: Option<String>,
    #[serde(default)]
    ignore_sct: bool,
    trusted_root: Option<PathBuf>,
    notation: Option<Value>,
    #[serde(default)]
    unsigned: bool,
}

/// What a signature of the Notary Project needs.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct NotationEntry {
    certificates: Option<OneOrMany>,
    timestamp_certificates: Option<OneOrMany>,
    identities: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// What is wrong with a file: one line, and what to do.
struct Problem {
    what: String,
    hint: String,
}

fn problem(what: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem { what: what.into(), hint: hint.into() }
}

impl Policy {
    /// Reads the file of `--verify-policy`. `trusted_root` is the default of its entries.
    pub fn from_file(path: &Path, trusted_root: Option<&Path>) -> Result<Self, Failure> {
        let text = bounded_read::read_text(path, MAX_SETTINGS_SIZE).map_err(|error| {
            let failure =
                Failure::new(Kind::Input, format!("--verify-policy: cannot read {}", path.display()));
            Failure { causes: vec![error.to_string()], ..failure }.with_hint(bounded_read::hint(&error))
        })?;
        Self::from_text(&text, path, trusted_root)
    }

    /// The same, from the text of the file.
    pub(super) fn from_text(text: &str, path: &Path, trusted_root: Option<&Path>) -> Result<Self, Failure> {
        parse(text, path.parent().unwrap_or_else(|| Path::new("")), trusted_root).map_err(|problem| {
            Failure::new(Kind::Input, format!("{}: {}", path.display(), problem.what)).with_hint(problem.hint)
        })
    }
}

const WRITE_IMAGES: &str = "write `images:` with entries such as `- match: registry.example.com/team/*` and `key: team.pub`, and `otherwise: require` or `otherwise: allow`";
const WRITE_ONE_OF: &str = "write one of: `key: FILE`; `identity:` and `issuer:`; `notation:` with `certificates:` and `identities:`; `unsigned: true` for images that need no signature";
const WRITE_NOTATION: &str = "write `certificates: FILE` and `identities: \"x509.subject: C=…, ST=…, O=…\"`, or `identities: \"*\"` for every certificate that these authorities issue";

fn parse(text: &str, folder: &Path, trusted_root: Option<&Path>) -> Result<Policy, Problem> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        problem(format!("line {line} is not valid YAML or JSON"), WRITE_IMAGES)
    })?;
    let file: File =
        serde_json::from_value(value).map_err(|error| problem(error.to_string(), WRITE_IMAGES))?;
    let otherwise = match file.otherwise.as_deref() {
        Some("require") => UnlistedImages::Require,
        Some("allow") => UnlistedImages::Allow,
        Some(other) => {
            return Err(problem(format!("otherwise: `{other}` is unknown"), "write `require` or `allow`"));
        }
        None => {
            return Err(problem(
                "`otherwise` is missing",
                "write `otherwise: require` to reject images that no entry matches, or `otherwise: allow` to copy them",
            ));
        }
    };
    let entry = |(position, value): (usize, Value)| {
        let at =
            |problem: Problem| Problem { what: format!("images[{position}]: {}", problem.what), ..problem };
        let entry = serde_json::from_value(value).map_err(|error| problem(error.to_string(), WRITE_ONE_OF));
        entry.and_then(|entry| rule(entry, folder, trusted_root)).map_err(at)
    };
    let rules = file.images.into_iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
    if rules.is_empty() {
        return Err(problem("it has no entries in `images`", WRITE_IMAGES));
    }
    Ok(Policy { rules, otherwise })
}

fn rule(entry: Entry, folder: &Path, trusted_root: Option<&Path>) -> Result<Rule, Problem> {
    let images = entry.r#match.as_ref().map_or_else(Vec::new, |globs| match globs {
        OneOrMany::One(glob) => vec![glob.clone()],
        OneOrMany::Many(globs) => globs.clone(),
    });
    if images.is_empty() {
        return Err(problem(
            "`match` is missing",
            "write the images that it applies to: `match:  registry.example.com/team/*`",
        ));
    }
    let requirement = requirement(entry, folder, trusted_root)?;
    Rule::new(&images, requirement).map_err(|error| {
        problem(format!("`match`: {error}"), "write a glob such as `registry.example.com/team/*`")
    })
}

fn requirement(entry: Entry, folder: &Path, default_root: Option<&Path>) -> Result<Requirement, Problem> {
    let has_identity = entry.identity.is_some() || entry.identity_regexp.is_some();
    let has_issuer = entry.issuer.is_some() || entry.issuer_regexp.is_some();
    let (keys, root) = (entry.key.map(OneOrMany::into_vec).unwrap_or_default(), entry.trusted_root);
    let kinds = [!keys.is_empty(), has_identity || has_issuer, entry.notation.is_some(), entry.unsigned];
    let kinds = kinds.into_iter().filter(|is_there| *is_there).count();
    if kinds != 1 {
        let what =
            if kinds == 0 { "it names no signer" } else { "it asks for more than one kind of signature" };
        return Err(problem(what, WRITE_ONE_OF));
    }
    let no_effect = |field: &str, needs: &str| {
        problem(format!("`{field}` has no effect without `{needs}`"), format!("remove `{field}`"))
    };
    if entry.ignore_tlog && keys.is_empty() {
        return Err(no_effect("ignore-tlog", "key"));
    }
    if entry.ignore_sct && !has_identity {
        return Err(no_effect("ignore-sct", "identity"));
    }
    if root.is_some() && entry.notation.is_some() {
        let what = "`trusted-root` has no effect with `notation`";
        return Err(problem(what, "write the authorities as `certificates` below `notation`"));
    }
    if root.is_some() && (entry.unsigned || entry.ignore_tlog) {
        return Err(no_effect("trusted-root", "identity` or with `unsigned` or `ignore-tlog"));
    }
    if let Some(notation) = entry.notation {
        return notation_requirement(notation, folder).map(Requirement::Notation);
    }
    let trusted_root = root.map(|root| folder.join(root)).or_else(|| default_root.map(Path::to_owned));
    if entry.unsigned {
        return Ok(Requirement::Unsigned);
    }
    if !keys.is_empty() {
        let files = keys.iter().map(|key| folder.join(key)).collect();
        return Ok(Requirement::Keys(Keys { files, ignore_log: entry.ignore_tlog, trusted_root }));
    }
    Ok(Requirement::Identity(Identity {
        subject: matcher("identity", entry.identity, entry.identity_regexp)?,
        issuer: matcher("issuer", entry.issuer, entry.issuer_regexp)?,
        ignore_certificate_log: entry.ignore_sct,
        trusted_root,
    }))
}

fn notation_requirement(value: Value, folder: &Path) -> Result<NotationRequirement, Problem> {
    let entry: NotationEntry = serde_json::from_value(value)
        .map_err(|error| problem(format!("`notation`: {error}"), WRITE_NOTATION))?;
    let list = |field: Option<OneOrMany>| field.map(OneOrMany::into_vec).unwrap_or_default();
    let files = |field| list(field).iter().map(|file| folder.join(file)).collect::<Vec<PathBuf>>();
    let required = NotationRequirement {
        certificates: files(entry.certificates),
        timestamp_certificates: files(entry.timestamp_certificates),
        identities: list(entry.identities),
    };
    let lacks = |field: &str| problem(format!("`notation`: `{field}` is missing"), WRITE_NOTATION);
    if required.certificates.is_empty() {
        return Err(lacks("certificates"));
    }
    if required.identities.is_empty() {
        return Err(lacks("identities"));
    }
    let is_known = |identity: &str| identity == ANY_IDENTITY || identity.starts_with("x509.subject:");
    if let Some(identity) = required.identities.iter().find(|identity| !is_known(identity)) {
        return Err(problem(
            format!("`notation`: `{}` is not an identity", escape(identity)),
            WRITE_NOTATION,
        ));
    }
    if required.identities.len() > 1 && required.identities.iter().any(|identity| identity == ANY_IDENTITY) {
        return Err(problem("`notation`: `*` makes the other identities redundant", "remove one of them"));
    }
    Ok(required)
}

/// Exactly one of the two is required.
fn matcher(name: &str, exact: Option<String>, pattern: Option<String>) -> Result<Matcher, Problem> {
    match (exact, pattern) {
        (Some(exact), None) => Ok(Matcher::Exact(exact)),
        (None, Some(pattern)) => match Regex::new(&pattern) {
            Ok(pattern) => Ok(Matcher::Pattern(pattern)),
            Err(error) => Err(problem(
                format!("`{name}-regexp` is not a regular expression"),
                error.to_string().lines().last().unwrap_or_default().to_owned(),
            )),
        },
        (Some(_), Some(_)) => Err(problem(
            format!("it has both `{name}` and `{name}-regexp`"),
            format!("remove `{name}-regexp`"),
        )),
        (None, None) => Err(problem(
            format!("`{name}` is missing"),
            format!("write `{name}:` or `{name}-regexp:`: an identity and its issuer belong together"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match parse(text, Path::new("/policies"), None) {
            Ok(policy) => panic!("{text}: {policy:?}"),
            Err(problem) => format!("{}; {}", problem.what, problem.hint),
        }
    }

    #[test]
    fn a_policy_in_yaml_or_json() {
        let yaml = "images:\n- match: [quay.io/a/*, quay.io/b/*]\n  key: [old.pub, keys/new.pub]\n  ignore-tlog: true\n\
                    - match: quay.io/c\n  identity-regexp: ^me@\n  issuer: https://issuer.example.com\n  \
                    trusted-root: root.json\n- match: '*'\n  unsigned: true\notherwise: allow\n";
        let json = serde_saphyr::from_str::<Value>(yaml).unwrap().to_string();
        for text in [yaml, &json] {
            let policy = parse(text, Path::new("/policies"), None)
                .unwrap_or_else(|problem| panic!("{}", problem.what));
            assert_eq!(policy.otherwise, UnlistedImages::Allow);
            let position = |image: &str| policy.position(&image.parse().unwrap());
            assert_eq!(
                ["quay.io/b/x:1", "quay.io/c:1", "quay.io/d:1"].map(position),
                [Some(0), Some(1), Some(2)]
            );
            let Requirement::Keys(keys) = &policy.rules[0].requirement else { panic!() };
            assert_eq!(keys.files, [Path::new("/policies/old.pub"), Path::new("/policies/keys/new.pub")]);
            assert!(keys.ignore_log);
            let Requirement::Identity(identity) = &policy.rules[1].requirement else { panic!() };
            assert!(identity.subject.matches("me@x") && !identity.subject.matches("you@x"));
            assert_eq!(identity.trusted_root.as_deref(), Some(Path::new("/policies/root.json")));
            assert!(matches!(policy.rules[2].requirement, Requirement::Unsigned));
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_entry() {
        let entry = |fields: &str| format!("images: [{{{fields}}}]\notherwise: allow\n");
        for (text, expected) in [
            (": : :", "line 1 is not valid YAML"),
            ("otherwise: allow", "it has no entries"),
            ("images: [{match: a, unsigned: true}]", "`otherwise` is missing"),
            ("images: []\notherwise: maybe", "otherwise: `maybe` is unknown"),
            ("imges: []\notherwise: allow", "unknown field `imges`"),
            (&entry("key: a.pub"), "images[0]: `match` is missing"),
            (&entry("match: a"), "images[0]: it names no signer"),
            (&entry("match: a, kye: a.pub"), "images[0]: unknown field `kye`"),
            (&entry("match: a, key: []"), "images[0]: it names no signer"),
            (
                &entry("match: a, key: a.pub, unsigned: true"),
                "images[0]: it asks for more than one kind of signature",
            ),
            (
                &entry("match: a, key: a.pub, identity: b, issuer: c"),
                "images[0]: it asks for more than one kind of signature",
            ),
            (&entry("match: a, identity: b"), "images[0]: `issuer` is missing"),
            (&entry("match: a, issuer: b"), "images[0]: `identity` is missing"),
            (&entry("match: a, identity: b, identity-regexp: c, issuer: d"), "images[0]: it has both"),
            (
                &entry("match: a, identity-regexp: '(', issuer: d"),
                "`identity-regexp` is not a regular expression",
            ),
            (&entry("match: a, identity: b, issuer: c, ignore-tlog: true"), "`ignore-tlog` has no effect"),
            (&entry("match: a, key: a.pub, ignore-sct: true"), "`ignore-sct` has no effect"),
            (&entry("match: 'a[', key: a.pub"), "images[0]: `match`: "),
            (
                &entry("match: a, key: a.pub, notation: {}"),
                "images[0]: it asks for more than one kind of signature",
            ),
            (&entry("match: a, notation: {identities: '*'}"), "`notation`: `certificates` is missing"),
            (&entry("match: a, notation: {certificates: a}"), "`notation`: `identities` is missing"),
            (&entry("match: a, notation: {certificate: a}"), "`notation`: unknown field `certificate`"),
            (&entry("match: a, notation: {certificates: a, identities: me@x}"), "`me@x` is not an identity"),
            (
                &entry("match: a, notation: {certificates: a, identities: ['*', 'x509.subject: C=US']}"),
                "makes the other identities redundant",
            ),
            (
                &entry("match: a, notation: {certificates: a, identities: '*'}, trusted-root: r.json"),
                "`trusted-root` has no effect with `notation`",
            ),
            (
                &entry("match: a, notation: {certificates: a, identities: '*'}, ignore-tlog: true"),
                "`ignore-tlog` has",
            ),
        ] {
            let refused = refused(text);
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn notation_needs_certificates_and_identities() {
        let text = "images: [{match: a, notation: {certificates: [a.crt, /b.crt], timestamp-certificates: t.crt, \
                    identities: 'x509.subject: C=US, ST=WA, O=acme'}}]\notherwise: require";
        let policy = parse(text, Path::new("/policies"), Some(Path::new("root.json")));
        let Ok(Policy { rules, .. }) = policy else { panic!() };
        let Requirement::Notation(required) = &rules[0].requirement else { panic!() };
        assert_eq!(required.certificates, [Path::new("/policies/a.crt"), Path::new("/b.crt")]);
        assert_eq!(required.timestamp_certificates, [Path::new("/policies/t.crt")]);
        assert_eq!(required.identities, ["x509.subject: C=US, ST=WA, O=acme"]);
    }

    #[test]
    fn the_entries_inherit_the_trusted_root() {
        let text = "images: [{match: a, identity: b, issuer: c}]\notherwise: require";
        let policy = parse(text, Path::new("p"), Some(Path::new("root.json"))).unwrap_or_else(|_| panic!());
        let Requirement::Identity(identity) = &policy.rules[0].requirement else { panic!() };
        assert_eq!(identity.trusted_root.as_deref(), Some(Path::new("root.json")));
    }
}
