//! Where images go, and how they are named there.

use std::collections::BTreeSet;

use super::{Login, usage};
use crate::{
    cli::{DestinationArgs, DestinationsArgs, NamingArgs},
    endpoint::shared_source::MAX_DESTINATIONS,
    error::Failure,
    lock::Placement,
    oci::{Naming, Reference, mapping::Root},
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
    if roots.len() > MAX_DESTINATIONS {
        let message =
            format!("{} destinations are too many: at most {MAX_DESTINATIONS} are supported", roots.len());
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
        usage(format!("--to {to} names several registries, but this command takes one"))
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
        let many: Vec<String> = (0..=MAX_DESTINATIONS).map(|number| format!("a.io/x{number}")).collect();
        assert!(roots(&many).is_err());
    }
}
