//! The lock's images as moves from one repository to another, and the prefixes that describe them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{Failure, Kind},
    jobs::locked_names::LockedName,
    oci::Repository,
};

/// A source repository and its repository in the mirror.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Move {
    pub(super) source: Repository,
    pub(super) mirror: Repository,
}

/// A prefix of source names that is replaced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PrefixRule {
    /// `HOST[/PATH]`
    pub(super) source: String,
    /// `REGISTRY[/PATH]`
    pub(super) mirror: String,
}

/// The moves of a lock's images, sorted. Fails if one source repository is in two repositories of the mirror: no format
/// tells tags apart.
pub(super) fn moves(names: &[LockedName<'_>]) -> Result<Vec<Move>, Failure> {
    let mut by_source: BTreeMap<&Repository, BTreeSet<&Repository>> = BTreeMap::new();
    for name in names {
        by_source.entry(name.image.source.repository()).or_default().insert(name.mirror.repository());
    }
    let mut moves = Vec::new();
    for (source, mirrors) in by_source {
        match mirrors.into_iter().collect::<Vec<_>>().as_slice() {
            [mirror] => moves.push(Move { source: source.clone(), mirror: (*mirror).clone() }),
            several => {
                let several: Vec<String> = several.iter().map(ToString::to_string).collect();
                let message =
                    format!("the mirror has {source} in several repositories: {}", several.join(", "));
                return Err(Failure::new(Kind::Usage, message)
                    .with_hint("mirror with --naming full, which gives each source repository one name"));
            }
        }
    }
    Ok(moves)
}

/// The fewest prefixes that say where each repository is; the longest prefix of a name applies.
pub(super) fn prefix_rules(moves: &[Move]) -> Vec<PrefixRule> {
    // How many trailing components each move keeps. Zero makes a rule for the repository alone, which is always right.
    let mut kept: Vec<usize> = moves.iter().map(shared_suffix).collect();
    loop {
        let rules: BTreeSet<PrefixRule> =
            moves.iter().zip(&kept).map(|(one, kept)| one.without_suffix(*kept)).collect();
        let mut is_right = true;
        for (one, kept) in moves.iter().zip(&mut kept) {
            if *kept > 0 && !is_moved_right(&rules, one) {
                *kept -= 1;
                is_right = false;
            }
        }
        if is_right {
            return rules.into_iter().collect();
        }
    }
}

/// The number of trailing components that both names share, without the hosts.
fn shared_suffix(one: &Move) -> usize {
    let source = one.source.path().rsplit('/');
    source.zip(one.mirror.path().rsplit('/')).take_while(|(source, mirror)| source == mirror).count()
}

fn is_moved_right(rules: &BTreeSet<PrefixRule>, one: &Move) -> bool {
    let source = one.source.to_string();
    let applies = |rule: &&PrefixRule| source == rule.source || one.source.is_below(&rule.source);
    let longest = rules.iter().filter(applies).map(|rule| rule.source.len()).max().unwrap_or_default();
    let mut applying = rules.iter().filter(applies).filter(|rule| rule.source.len() == longest);
    applying.all(|rule| source.replacen(&rule.source, &rule.mirror, 1) == one.mirror.to_string())
}

impl Move {
    /// Both names without their last components.
    fn without_suffix(&self, components: usize) -> PrefixRule {
        let cut = |name: String| {
            let mut parts: Vec<&str> = name.split('/').collect();
            parts.truncate(parts.len().saturating_sub(components));
            parts.join("/")
        };
        PrefixRule { source: cut(self.source.to_string()), mirror: cut(self.mirror.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moves_of(pairs: &[(&str, &str)]) -> Vec<Move> {
        let moved = |(source, mirror): &(&str, &str)| Move {
            source: source.parse().unwrap(),
            mirror: format!("reg.io/{mirror}").parse().unwrap(),
        };
        pairs.iter().map(moved).collect()
    }

    fn rules(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        prefix_rules(&moves_of(pairs)).into_iter().map(|rule| (rule.source, rule.mirror)).collect()
    }

    fn rule(source: &str, mirror: &str) -> (String, String) {
        (source.to_owned(), mirror.to_owned())
    }

    #[test]
    fn one_rule_is_enough_for_names_with_one_prefix() {
        assert_eq!(rules(&[("v.io/p/a", "m/a"), ("v.io/p/b/c", "m/b/c")]), [rule("v.io/p", "reg.io/m")]);
        assert_eq!(
            rules(&[("docker.io/library/nginx", "m/docker.io/library/nginx")]),
            [rule("docker.io", "reg.io/m/docker.io")]
        );
        assert_eq!(rules(&[("v.io/a", "a")]), [rule("v.io", "reg.io")]);
    }

    #[test]
    fn names_inside_and_outside_the_stripped_prefix_get_their_own_rules() {
        assert_eq!(
            rules(&[("quay.io/a/x", "m/x"), ("quay.io/b/y", "m/b/y")]),
            [rule("quay.io", "reg.io/m"), rule("quay.io/a", "reg.io/m")]
        );
    }

    #[test]
    fn a_rule_that_would_move_another_image_is_narrowed() {
        let pairs = [("q.io/a/b/x", "one/x"), ("q.io/a/b/y", "two/y"), ("q.io/a/z", "m/q.io/a/z")];
        assert_eq!(
            rules(&pairs),
            [
                rule("q.io", "reg.io/m/q.io"),
                rule("q.io/a/b/x", "reg.io/one/x"),
                rule("q.io/a/b/y", "reg.io/two/y")
            ]
        );
    }

    proptest! {
        #[test]
        fn every_repository_is_moved_right(
            pairs in prop::collection::btree_map("h\\.io(/[ab]){1,4}", "[mn](/[ab]){0,4}", 1..8)
        ) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
            let moves = moves_of(&pairs);
            let rules: BTreeSet<PrefixRule> = prefix_rules(&moves).into_iter().collect();
            for one in &moves {
                prop_assert!(is_moved_right(&rules, one), "{one:?} {rules:?}");
            }
        }
    }
}
