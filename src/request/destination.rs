//! Where images go, how they are named there, which platforms they must have, and how they are copied.

use std::{collections::BTreeSet, env, path::PathBuf};

use secrecy::SecretString;

use super::{RequiredSignatures, setting, usage};
use crate::{
    cli::{
        DEFAULT_PLATFORMS, DestinationArgs, DestinationsArgs, LoginArgs, NamingArgs, PlatformArgs,
        ReferrerArgs, variable,
    },
    confirm::CheckLevel,
    endpoint::shared_source::MOST_DESTINATIONS,
    error::{Failure, escape},
    graph::{ForeignLayers, ReferrerSelection, Referrers},
    lock::Placement,
    oci::{Naming, Platform, Reference, mapping::Root, reference::normalize_registry},
    pipeline::Options,
    waiver::{Waiver, Waivers},
};

/// Where images go.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// `--to`
    pub(crate) root: Root,
    pub(crate) naming: NamingRule,
    pub(crate) login: Option<Login>,
}

impl Destination {
    pub(super) fn new(args: DestinationArgs) -> Result<Self, Failure> {
        let DestinationArgs { to, naming, login } = args;
        let root = root(&to)?;
        let login = Login::new(login, Some(&root))?;
        Ok(Self { root, naming: naming.into(), login })
    }
}

/// One or several destinations, with the same naming rule.
#[derive(Debug, Clone)]
pub(crate) struct Destinations {
    pub(crate) first: Destination,
    pub(crate) others: Vec<Destination>,
}

impl From<Destination> for Destinations {
    fn from(first: Destination) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl Destinations {
    pub(super) fn new(args: DestinationsArgs) -> Result<Self, Failure> {
        let DestinationsArgs { to, naming, login } = args;
        let roots = roots(&to)?;
        let login = Login::for_one_of(login, &roots)?;
        let naming = NamingRule::from(naming);
        let mut all = roots.into_iter().map(|root| Destination {
            login: Login::for_root(login.as_ref(), &root),
            naming: naming.clone(),
            root,
        });
        let first = all.next().ok_or_else(|| usage("--to is empty"))?;
        Ok(Self { first, others: all.collect() })
    }

    /// All destinations, in the order in which they were given.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Destination> + Clone {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether there is more than one.
    pub(crate) fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// The roots of all destinations.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Root> {
        self.iter().map(|destination| &destination.root)
    }
}

/// The values of `--to`, or of its variable: each is a root, or a list with commas or spaces.
pub(super) fn roots(to: &[String]) -> Result<Vec<Root>, Failure> {
    let mut roots: Vec<Root> = Vec::new();
    for value in to {
        let separators = |character: char| character == ',' || character.is_whitespace();
        let parts: Vec<&str> = value.split(separators).filter(|part| !part.is_empty()).collect();
        // Text before an `@` may be a password with a comma in it.
        let parts = if parts.is_empty() || value.contains('@') { vec![value.as_str()] } else { parts };
        for part in parts {
            let root = root(part)?;
            if roots.contains(&root) {
                return Err(usage(format!("--to {root} is given twice")).with_hint("pass each --to once"));
            }
            roots.push(root);
        }
    }
    if roots.len() > MOST_DESTINATIONS {
        let message = format!("{} destinations are too many: at most {MOST_DESTINATIONS}", roots.len());
        return Err(usage(message).with_hint("run the command once for some of them, then for the others"));
    }
    Ok(roots)
}

/// The root of the mirror: `--to`.
pub(super) fn root(to: &str) -> Result<Root, Failure> {
    let refused = if to.is_empty() {
        usage("--to is empty")
    } else if to.contains('@') {
        // Not shown: the text before the `@` may be a password.
        usage("--to must not contain `@`: pass a user with --to-username; images keep their own digests")
    } else if to.contains(',') || to.trim().contains(char::is_whitespace) {
        usage(format!("--to {to} names several registries, and this command takes one"))
    } else if to.contains("://") {
        usage(format!("--to {to} is a URL; expected REGISTRY/PATH"))
    } else if to.rsplit_once('/').is_some_and(|(_, last)| last.contains(':')) {
        usage(format!("--to {to} ends in a tag: images keep their own tags"))
    } else {
        match to.parse() {
            Ok(root) => return Ok(root),
            Err(error) => usage(format!("--to {to}: {error}")),
        }
    };
    Err(refused.with_hint("write it as REGISTRY/PATH, for example registry.example.com/thoras"))
}

/// How images are named at the destination; unset fields have defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamingRule {
    pub(crate) naming: Option<Naming>,
    pub(crate) source_prefix: Option<String>,
}

impl From<NamingArgs> for NamingRule {
    fn from(NamingArgs { naming, source_prefix }: NamingArgs) -> Self {
        Self { naming, source_prefix }
    }
}

impl NamingRule {
    /// The complete rule, with `naming` and `source_prefix` as defaults.
    pub(crate) fn placement(
        &self,
        root: Option<&Root>,
        naming: Naming,
        source_prefix: Option<String>,
        chart: Option<Reference>,
    ) -> Placement {
        Placement {
            to: root.map(ToString::to_string),
            naming: self.naming.unwrap_or(naming),
            source_prefix: self.source_prefix.clone().or(source_prefix),
            chart,
            in_full: BTreeSet::new(),
        }
    }

    /// Whether the flags permit the names of an earlier run with this rule.
    pub(crate) fn agrees_with(&self, earlier: &Placement) -> bool {
        self.naming.is_none_or(|naming| naming == earlier.naming)
            && (self.source_prefix.is_none() || self.source_prefix == earlier.source_prefix)
    }
}

/// A user name for `--to`, and its password.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// The only registry that receives them: that of `--to` or `THORAS_MIRROR_TO`, never one that a lock names.
    pub(crate) registry: String,
    pub(crate) username: String,
    pub(crate) password: Password,
}

/// The login for `--to` of a command that also does without one. A pipeline may export a user name and a password for
/// other commands: without a destination they are not used.
pub(super) fn optional_login(args: LoginArgs, to: Option<String>) -> Result<Option<Login>, Failure> {
    let named = setting::flag_or_variable(to, variable::TO).map(|to| to.value);
    let exported = setting::variable(variable::TO_USERNAME).map(|name| name.value);
    if named.is_none() && args.to_username == exported && !args.to_password_stdin {
        return Ok(None);
    }
    let named = named.as_deref().filter(|_| args.to_username.is_some()).map(root).transpose()?;
    Login::new(args, named.as_ref())
}

/// Where a password comes from.
#[derive(Debug, Clone)]
pub(crate) enum Password {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// The environment.
    Variable(SecretString),
}

impl Login {
    /// `named` is the destination that the user named, if any.
    pub(super) fn new(args: LoginArgs, named: Option<&Root>) -> Result<Option<Self>, Failure> {
        Self::for_one_of(args, named.map_or(&[], std::slice::from_ref))
    }

    /// The same for several destinations: the login is for the registry of one of them.
    pub(super) fn for_one_of(args: LoginArgs, named: &[Root]) -> Result<Option<Self>, Failure> {
        let LoginArgs { to_username, to_password_stdin } = args;
        let Some(username) = to_username else { return Ok(None) };
        if named.is_empty() {
            let to = variable::TO;
            return Err(usage(format!(
                "--to-username applies to one registry, and neither --to nor {to} names it"
            ))
            .with_hint(format!(
                "set {to} to REGISTRY/PATH; or omit --to-username, and use `docker login` or --authfile FILE, which \
                 name their registry"
            )));
        }
        let (registry, username) = registry_and_name(&username, named)?;
        let password = if to_password_stdin {
            Password::Stdin
        } else if let Ok(password) = env::var(variable::TO_PASSWORD) {
            Password::Variable(password.into())
        } else {
            return Err(usage("--to-username needs a password")
                .with_hint(format!("pass --to-password-stdin, or set {}", variable::TO_PASSWORD)));
        };
        Ok(Some(Self { registry, username, password }))
    }

    /// This login, if it is for the registry of `root`.
    pub(crate) fn for_root(login: Option<&Self>, root: &Root) -> Option<Self> {
        login.filter(|login| login.registry == root.registry()).cloned()
    }
}

/// The registry and the name in `[HOST=]NAME`. `roots` are the destinations, at least one.
pub(super) fn registry_and_name(typed: &str, roots: &[Root]) -> Result<(String, String), Failure> {
    let registries: BTreeSet<&str> = roots.iter().map(Root::registry).collect();
    let host = typed.split_once('=').map(|(host, name)| (normalize_registry(host), name));
    if let Some((host, name)) = &host {
        if registries.contains(host.as_str()) {
            if name.is_empty() {
                return Err(usage(format!("--to-username {host}= has no name")));
            }
            return Ok((host.clone(), (*name).to_owned()));
        }
        // Any other text before the sign may belong to the name.
        if host.contains(['.', ':']) || host == "localhost" || registries.len() > 1 {
            let known: Vec<&str> = registries.into_iter().collect();
            let message = format!("--to-username is for {}, which is not the registry of --to", escape(host));
            return Err(usage(message).with_hint(format!("--to has {}", known.join(", "))));
        }
    }
    let mut each = registries.into_iter();
    match (each.next(), each.next()) {
        (Some(only), None) => Ok((only.to_owned(), typed.to_owned())),
        _ => Err(usage("--to-username does not say for which of several registries it is").with_hint(
            "write it as HOST=NAME; for the others, use `docker login` or --authfile FILE, which name their registry",
        )),
    }
}

/// Which platforms every image must have.
#[derive(Debug, Clone)]
pub(crate) struct Platforms {
    pub(crate) required: Vec<Platform>,
    pub(crate) waivers: Vec<Waiver>,
}

impl From<PlatformArgs> for Platforms {
    fn from(PlatformArgs { platform, allow_missing_platform }: PlatformArgs) -> Self {
        Self { required: platform, waivers: allow_missing_platform }
    }
}

impl Platforms {
    /// The default platforms.
    pub(crate) fn default_required() -> Vec<Platform> {
        DEFAULT_PLATFORMS.iter().filter_map(|platform| platform.parse().ok()).collect()
    }

    /// The waivers: which images may lack which platforms.
    pub(crate) fn waivers(&self) -> Waivers {
        Waivers::new(self.waivers.clone())
    }
}

/// Which signatures, attestations and SBOMs: as typed, and what that means.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReferrerSettings {
    pub(crate) referrers: Referrers,
    /// Globs on artifact types.
    pub(crate) types: Vec<String>,
    pub(crate) selection: ReferrerSelection,
}

impl ReferrerSettings {
    pub(super) fn new(ReferrerArgs { referrers, referrer_type }: ReferrerArgs) -> Result<Self, Failure> {
        let selection = ReferrerSelection::new(referrers, &referrer_type).map_err(|error| {
            let pattern = error.glob().unwrap_or_default();
            usage(format!("--referrer-type: `{}` is not a glob: {}", escape(pattern), error.kind()))
                .with_hint("`*` matches any text: --referrer-type '*spdx*'")
        })?;
        Ok(Self { referrers, types: referrer_type, selection })
    }
}

/// How images are copied.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate setting")]
pub(crate) struct CopySettings {
    /// What is checked at the destination, before and after copying.
    pub(crate) check: CheckLevel,
    /// What of that which is attached to the images is copied.
    pub(crate) referrers: ReferrerSettings,
    /// Whether a tag that points to another digest may be moved.
    pub(crate) overwrite: bool,
    /// Plan without copying.
    pub(crate) dry_run: bool,
    /// How many blobs are copied at once, if set.
    pub(crate) jobs: Option<u16>,
    /// Start no more images after the first failure.
    pub(crate) fail_fast: bool,
    /// Fail optional images that the source does not provide.
    pub(crate) strict: bool,
    /// Whose signatures images need at the source.
    pub(crate) signatures: RequiredSignatures,
}

impl Default for CopySettings {
    fn default() -> Self {
        Self {
            check: CheckLevel::Manifests,
            referrers: ReferrerSettings::default(),
            overwrite: true,
            dry_run: false,
            jobs: None,
            fail_fast: false,
            strict: false,
            signatures: RequiredSignatures::None,
        }
    }
}

impl CopySettings {
    /// These settings as the pipeline takes them.
    pub(crate) fn options(
        &self,
        platforms: Vec<Platform>,
        waivers: Waivers,
        foreign_layers: ForeignLayers,
    ) -> Options {
        Options {
            platforms,
            waivers,
            check: self.check.level(),
            foreign_layers,
            referrers: self.referrers.selection.clone(),
            overwrite: self.overwrite,
            dry_run: self.dry_run,
            jobs: self.jobs.map_or(Options::default().jobs, usize::from),
            fail_fast: self.fail_fast,
            strict: self.strict,
            ..Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(to: &[&str]) -> Result<Vec<String>, String> {
        let to: Vec<String> = to.iter().map(|text| (*text).to_owned()).collect();
        let roots = roots(&to).map_err(|failure| failure.message)?;
        Ok(roots.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn destinations_are_flags_or_a_list() {
        for to in
            [&["a.io/x", "b.io/y"][..], &["a.io/x,b.io/y"], &[" a.io/x\n b.io/y "], &["a.io/x", "b.io/y,"]]
        {
            assert_eq!(parsed(to), Ok(vec!["a.io/x".to_owned(), "b.io/y".to_owned()]), "{to:?}");
        }
        assert_eq!(parsed(&["a.io/x", "a.io/x/"]), Err("--to a.io/x is given twice".to_owned()));
        assert_eq!(parsed(&[""]), Err("--to is empty".to_owned()));
        let refused = parsed(&["me:s3,cret@a.io/x"]).unwrap_err();
        assert!(!refused.contains("s3") && !refused.contains("cret"), "{refused}");
        let many: Vec<String> = (0..=MOST_DESTINATIONS).map(|number| format!("a.io/x{number}")).collect();
        assert!(roots(&many).is_err());
    }

    #[test]
    fn a_login_is_for_one_registry() {
        let login = |typed: &str, to: &[&str]| {
            let roots: Vec<Root> = to.iter().map(|root| root.parse().unwrap()).collect();
            registry_and_name(typed, &roots).map_err(|failure| failure.message)
        };
        let pair = |registry: &str, name: &str| Ok((registry.to_owned(), name.to_owned()));
        assert_eq!(login("ci", &["a.io/x"]), pair("a.io", "ci"));
        assert_eq!(login("ci", &["a.io/x", "a.io/y"]), pair("a.io", "ci"));
        assert_eq!(login("cn=ci", &["a.io/x"]), pair("a.io", "cn=ci"));
        assert_eq!(login("a.io=ci", &["a.io/x"]), pair("a.io", "ci"));
        assert_eq!(login("b.io:5000=c=i", &["a.io/x", "b.io:5000/x"]), pair("b.io:5000", "c=i"));
        for (typed, to) in [
            ("ci", &["a.io/x", "b.io/x"][..]),
            ("cn=ci", &["a.io/x", "b.io/x"]),
            ("c.io=ci", &["a.io/x", "b.io/x"]),
            ("c.io=ci", &["a.io/x"]),
            ("a.io=", &["a.io/x"]),
        ] {
            assert!(login(typed, to).is_err(), "{typed} {to:?}");
        }
    }
}
