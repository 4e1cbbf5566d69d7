//! Finds the locks of shards that belong together, from their tags alone.

use std::collections::{BTreeMap, BTreeSet};

use super::ShardNumber;
use crate::oci::Digest;

/// The shards of one list that have pushed their locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardSet {
    pub(crate) list: Digest,
    /// The number of shards.
    pub(crate) count: u32,
    /// Those that exist.
    present: BTreeSet<u32>,
}

/// Why the tags name no complete set of shards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    /// No tag is that of a shard's lock.
    #[error("no shard has pushed its lock")]
    NoShards,
    /// None is that of the wanted list and number.
    #[error("no lock matches that list and number of shards")]
    NotWanted(Vec<ShardSet>),
    /// The shards had different lists, or were divided differently.
    #[error("the shards come from {} different lists or divisions", .0.len())]
    Several(Vec<ShardSet>),
    /// Some are missing.
    #[error("{} missing: list {}", counted(.1, .0.count), .0.list)]
    Missing(ShardSet, Vec<u32>),
}

impl SetError {
    /// What was found instead, a line for each set.
    pub(crate) fn found(&self) -> Vec<String> {
        match self {
            Self::Several(sets) | Self::NotWanted(sets) => sets.iter().map(ShardSet::in_words).collect(),
            Self::NoShards | Self::Missing(..) => Vec::new(),
        }
    }
}

impl ShardSet {
    /// The only set among these shards, which must be complete. `list` and `count` choose one of several.
    pub(crate) fn choose(
        found: impl IntoIterator<Item = (Digest, ShardNumber)>,
        list: Option<&Digest>,
        count: Option<u32>,
    ) -> Result<Self, SetError> {
        let mut sets: BTreeMap<(Digest, u32), BTreeSet<u32>> = BTreeMap::new();
        for (list, shard) in found {
            sets.entry((list, shard.count)).or_default().insert(shard.index);
        }
        let set = |((list, count), present)| Self { list, count, present };
        let all: Vec<Self> = sets.into_iter().map(set).collect();
        let is_wanted = |set: &&Self| {
            list.is_none_or(|list| *list == set.list) && count.is_none_or(|count| count == set.count)
        };
        let mut wanted: Vec<Self> = all.iter().filter(is_wanted).cloned().collect();
        match (wanted.pop(), wanted.is_empty(), all.is_empty()) {
            (Some(set), true, _) => set.complete(),
            (Some(set), false, _) => {
                wanted.push(set);
                Err(SetError::Several(wanted))
            }
            (None, _, true) => Err(SetError::NoShards),
            (None, _, false) => Err(SetError::NotWanted(all)),
        }
    }

    fn complete(self) -> Result<Self, SetError> {
        let missing: Vec<u32> = (0..self.count).filter(|index| !self.present.contains(index)).collect();
        if missing.is_empty() { Ok(self) } else { Err(SetError::Missing(self, missing)) }
    }

    /// All shards of the set.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardNumber> + use<> {
        let count = self.count;
        (0..count).map(move |index| ShardNumber { index, count })
    }

    fn in_words(&self) -> String {
        let present: Vec<u32> = self.present.iter().copied().collect();
        let word = if present.len() == 1 { "shard" } else { "shards" };
        format!("list {}: {word} {} of {}", self.list, ranges(&present), self.count)
    }
}

fn counted(missing: &[u32], count: u32) -> String {
    match missing {
        [only] => format!("shard {only} of {count} is"),
        several => format!("shards {} of {count} are", ranges(several)),
    }
}

/// Sorted numbers with their runs: `0-3, 5`.
pub(crate) fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let shown = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(
        found: &[(&str, u32, u32)],
        list: Option<&str>,
        count: Option<u32>,
    ) -> Result<(Digest, u32), SetError> {
        let digest = |name: &str| Digest::sha256(name.as_bytes());
        let shard = |(name, index, count): &(&str, u32, u32)| {
            (digest(name), ShardNumber { index: *index, count: *count })
        };
        let list = list.map(digest);
        ShardSet::choose(found.iter().map(shard), list.as_ref(), count).map(|set| (set.list, set.count))
    }

    #[test]
    fn a_complete_set_is_chosen() {
        let a = Digest::sha256(b"a");
        assert_eq!(choose(&[("a", 1, 2), ("a", 0, 2), ("a", 0, 2)], None, None), Ok((a.clone(), 2)));
        let both = [("a", 1, 2), ("a", 0, 2), ("b", 0, 1), ("a", 0, 1)];
        assert_eq!(choose(&both, Some("a"), Some(2)), Ok((a, 2)));
        assert_eq!(choose(&both, Some("b"), None).map(|(_, count)| count), Ok(1));
    }

    #[test]
    fn what_is_missing_or_differs_is_named() {
        let text = |result: Result<_, SetError>| {
            let error = result.unwrap_err();
            [vec![error.to_string()], error.found()].concat().join("\n")
        };
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        assert_eq!(
            text(choose(&[("a", 0, 4), ("a", 2, 4), ("a", 3, 4)], None, None)),
            format!("shard 1 of 4 is missing: list {a}")
        );
        assert_eq!(
            text(choose(&[("a", 0, 8), ("a", 4, 8)], None, None)),
            format!("shards 1-3, 5-7 of 8 are missing: list {a}")
        );
        let several = text(choose(&[("a", 0, 4), ("a", 1, 4), ("a", 3, 4), ("b", 2, 4)], None, None));
        assert!(several.starts_with("the shards come from 2 different lists or divisions\n"), "{several}");
        assert!(several.contains(&format!("list {a}: shards 0, 1, 3 of 4")), "{several}");
        assert!(several.contains(&format!("list {b}: shard 2 of 4")), "{several}");
        assert_eq!(text(choose(&[], None, None)), "no shard has pushed its lock");
        let other = text(choose(&[("a", 0, 1)], Some("b"), None));
        assert!(other.contains(&format!("list {a}: shard 0 of 1")), "{other}");
    }
}
