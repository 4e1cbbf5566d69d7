//! Assigns images to shards.
//!
//! Images are joined to groups, and groups are given to shards, the largest first, each to the shard that has least with
//! it. Images of one repository belong together, because a repository stores each blob once; so do images that share
//! layers, the largest layers first. A group that is too large for an even division is not joined: then a blob can be in
//! several shards, and [`Assignment::repeated`] counts it.
//!
//! Every step goes through sorted lists, so the result depends on nothing but the set of images, what is known about
//! them, and the number of shards.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use schemars::JsonSchema;
use serde::Serialize;

use crate::oci::{Digest, Reference, Repository};

/// What an image costs besides its bytes, in bytes: some twenty requests.
const IMAGE: u64 = 1024 * 1024;
/// How often the size of groups is halved until the division is even.
const HALVINGS: u32 = 4;
/// A division is even if the largest shard has at most this many percent of the smallest possible maximum.
const EVEN: u128 = 110;

/// An image to assign.
#[derive(Debug, Clone)]
pub(crate) struct ToAssign<'a> {
    pub(crate) source: &'a Reference,
    /// The repository and tag at the destination.
    pub(crate) repository: &'a Repository,
    pub(crate) tag: &'a str,
    /// Its blobs that have to be transferred, with their sizes, if they are known.
    pub(crate) known: BlobSizes<'a>,
}

/// The blobs of an image and their sizes, if they are known.
pub(crate) type BlobSizes<'a> = Option<&'a [(Digest, u64)]>;

/// Which image belongs to which shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// For each image, in the order of the input.
    pub(crate) shards: Vec<u32>,
    /// The repositories at the destination that several shards push to.
    pub(crate) split: Vec<Repository>,
    pub(crate) repeated: Repeated,
}

/// Transfers that one machine alone would not need: of each blob that is in several shards, all but the first. A shard
/// that finds the blob at the destination transfers none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Repeated {
    /// Their number.
    pub(crate) transfers: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Repeated {
    /// Counts a blob that is in this many shards.
    pub(crate) fn add(&mut self, size: u64, shards: usize) {
        let again = (shards as u64).saturating_sub(1);
        self.transfers = self.transfers.saturating_add(again);
        self.bytes = self.bytes.saturating_add(size.saturating_mul(again));
    }
}

/// Images that stay together regardless of their size: they have the same destination.
struct ImageGroup {
    positions: Vec<usize>,
    repository: usize,
    /// Everything but the known blobs.
    base: u64,
    blobs: BTreeSet<usize>,
}

/// A number of units that go to one shard.
#[derive(Clone)]
struct Group {
    units: Vec<usize>,
    base: u64,
    blobs: HashSet<usize>,
    bytes: u64,
}

impl Group {
    fn weight(&self) -> u64 {
        self.base.saturating_add(self.bytes)
    }
}

/// All units, and the sizes of their blobs, which have numbers here.
struct Units {
    units: Vec<ImageGroup>,
    sizes: Vec<u64>,
}

/// Assigns every image to one of `count` shards.
pub(crate) fn assign(images: &[ToAssign<'_>], count: u32) -> Assignment {
    let units = Units::of(images);
    let shards = units.divide(count);
    let mut assigned = vec![0; images.len()];
    for (unit, shard) in units.units.iter().zip(&shards) {
        for position in &unit.positions {
            if let Some(slot) = assigned.get_mut(*position) {
                *slot = *shard;
            }
        }
    }
    let mut shards_of: BTreeMap<&Repository, BTreeSet<u32>> = BTreeMap::new();
    for (image, shard) in images.iter().zip(&assigned) {
        shards_of.entry(image.repository).or_default().insert(*shard);
    }
    let split = shards_of.into_iter().filter(|(_, shards)| shards.len() > 1);
    let split = split.map(|(repository, _)| repository.clone()).collect();
    Assignment { shards: assigned, split, repeated: units.repeated(&shards) }
}

impl Units {
    fn of(images: &[ToAssign<'_>]) -> Self {
        let mut sorted: Vec<(usize, &ToAssign<'_>)> = images.iter().enumerate().collect();
        sorted.sort_by_key(|(_, image)| (image.repository, image.tag, image.source));
        let mut blobs: BTreeMap<&Digest, u64> = BTreeMap::new();
        let known = || images.iter().filter_map(|image| image.known);
        for (digest, size) in known().flatten() {
            let known = blobs.entry(digest).or_insert(*size);
            *known = (*known).max(*size);
        }
        let numbers: HashMap<&Digest, usize> = blobs.keys().copied().zip(0..).collect();
        let total = known().flatten().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        let average = total.checked_div(known().count() as u64).unwrap_or(0);
        let mut units: Vec<ImageGroup> = Vec::new();
        let mut last: Option<&ToAssign<'_>> = None;
        let mut repositories = 0;
        for (position, image) in sorted {
            let is_same_repository = last.is_some_and(|last| last.repository == image.repository);
            let is_same = is_same_repository && last.is_some_and(|last| last.tag == image.tag);
            if last.is_some() && !is_same_repository {
                repositories += 1;
            }
            last = Some(image);
            if !is_same {
                let (positions, blobs) = (Vec::new(), BTreeSet::new());
                units.push(ImageGroup { positions, repository: repositories, base: 0, blobs });
            }
            let Some(unit) = units.last_mut() else { continue };
            unit.positions.push(position);
            unit.base = unit.base.saturating_add(IMAGE + image.known.map_or(average, |_| 0));
            let numbered =
                image.known.unwrap_or_default().iter().filter_map(|(digest, _)| numbers.get(digest));
            unit.blobs.extend(numbered);
        }
        Self { units, sizes: blobs.into_values().collect() }
    }

    fn size(&self, blob: usize) -> u64 {
        self.sizes.get(blob).copied().unwrap_or(0)
    }

    fn bytes<'a>(&self, blobs: impl IntoIterator<Item = &'a usize>) -> u64 {
        blobs.into_iter().fold(0, |sum: u64, blob| sum.saturating_add(self.size(*blob)))
    }

    /// The shard of each unit: of several divisions the first that is even, else the most even one.
    fn divide(&self, count: u32) -> Vec<u32> {
        let base = self.units.iter().fold(0_u64, |sum, unit| sum.saturating_add(unit.base));
        let total = base.saturating_add(self.bytes(&(0..self.sizes.len()).collect::<Vec<_>>()));
        let weight = |unit: &ImageGroup| unit.base.saturating_add(self.bytes(&unit.blobs));
        let largest = self.units.iter().map(weight).max().unwrap_or(0);
        let fair = total.div_ceil(u64::from(count.max(1))).max(largest);
        let mut best: Option<(u64, Vec<u32>)> = None;
        for halving in 0..=HALVINGS {
            let (most, shards) = self.spread(&self.joined((fair >> halving).max(largest)), count);
            let is_even = u128::from(most) * 100 <= u128::from(fair) * EVEN;
            if best.as_ref().is_none_or(|(least, _)| most < *least) {
                best = Some((most, shards));
            }
            if is_even || fair >> halving <= largest {
                break;
            }
        }
        best.map(|(_, shards)| shards).unwrap_or_default()
    }

    /// Joins units to groups of at most this weight: first those of one repository, then those that share a blob.
    fn joined(&self, capacity: u64) -> Vec<Group> {
        let mut groups = Groups::of(self);
        let mut of_repository: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut with_blob: Vec<Vec<usize>> = vec![Vec::new(); self.sizes.len()];
        for (number, unit) in self.units.iter().enumerate() {
            of_repository.entry(unit.repository).or_default().push(number);
            for blob in &unit.blobs {
                if let Some(holders) = with_blob.get_mut(*blob) {
                    holders.push(number);
                }
            }
        }
        for units in of_repository.values() {
            groups.join(units, capacity);
        }
        let saved = |blob: usize, holders: &[usize]| {
            self.size(blob).saturating_mul(holders.len().saturating_sub(1) as u64)
        };
        let mut shared: Vec<(usize, Vec<usize>)> = with_blob.into_iter().enumerate().collect();
        shared.retain(|(_, holders)| holders.len() > 1);
        shared.sort_by_key(|(blob, holders)| (Reverse(saved(*blob, holders)), *blob));
        for (_, holders) in &shared {
            groups.join(holders, capacity);
        }
        groups.into_groups()
    }

    /// Gives each group to the shard that has least with it, the largest group first. Returns the largest shard's weight
    /// and the shard of each unit.
    fn spread(&self, groups: &[Group], count: u32) -> (u64, Vec<u32>) {
        let mut sorted: Vec<&Group> = groups.iter().collect();
        sorted.sort_by_key(|group| (Reverse(group.weight()), group.units.first().copied()));
        let mut loads: BTreeSet<(u64, u32)> = (0..count).map(|shard| (0, shard)).collect();
        let mut load_of: Vec<u64> = vec![0; count as usize];
        let mut shards_with: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); self.sizes.len()];
        let mut assigned = vec![0; self.units.len()];
        for group in sorted {
            let mut present: BTreeMap<u32, u64> = BTreeMap::new();
            for blob in &group.blobs {
                for shard in shards_with.get(*blob).into_iter().flatten() {
                    let bytes = present.entry(*shard).or_default();
                    *bytes = bytes.saturating_add(self.size(*blob));
                }
            }
            // A shard without any of the blobs can only be the best if it has the least load.
            let least = loads.first().map_or(0, |(_, shard)| *shard);
            let candidates = present.keys().copied().chain([least]);
            let load = |shard: u32| load_of.get(shard as usize).copied().unwrap_or(0);
            let with = |shard: u32| {
                let more = group.weight().saturating_sub(present.get(&shard).copied().unwrap_or(0));
                load(shard).saturating_add(more)
            };
            let Some((total, shard)) = candidates.map(|shard| (with(shard), shard)).min() else { continue };
            loads.remove(&(load(shard), shard));
            loads.insert((total, shard));
            if let Some(load) = load_of.get_mut(shard as usize) {
                *load = total;
            }
            for blob in &group.blobs {
                if let Some(shards) = shards_with.get_mut(*blob) {
                    shards.insert(shard);
                }
            }
            for unit in &group.units {
                if let Some(slot) = assigned.get_mut(*unit) {
                    *slot = shard;
                }
            }
        }
        (loads.last().map_or(0, |(load, _)| *load), assigned)
    }

    fn repeated(&self, shards: &[u32]) -> Repeated {
        let mut shards_with: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); self.sizes.len()];
        for (unit, shard) in self.units.iter().zip(shards) {
            for blob in &unit.blobs {
                if let Some(shards) = shards_with.get_mut(*blob) {
                    shards.insert(*shard);
                }
            }
        }
        let mut repeated = Repeated::default();
        for (blob, shards) in shards_with.iter().enumerate() {
            repeated.add(self.size(blob), shards.len());
        }
        repeated
    }
}

/// Groups that are being joined.
struct Groups<'a> {
    units: &'a Units,
    /// The unit that stands for the group of each unit.
    leader: Vec<usize>,
    joined: Vec<Option<Group>>,
}

impl<'a> Groups<'a> {
    fn of(units: &'a Units) -> Self {
        let group = |(number, unit): (usize, &ImageGroup)| Group {
            units: vec![number],
            base: unit.base,
            blobs: unit.blobs.iter().copied().collect(),
            bytes: units.bytes(&unit.blobs),
        };
        let groups: Vec<Option<Group>> = units.units.iter().enumerate().map(group).map(Some).collect();
        Self { units, leader: (0..groups.len()).collect(), joined: groups }
    }

    fn leader(&mut self, unit: usize) -> usize {
        let mut leader = unit;
        while let Some(next) = self.leader.get(leader).copied().filter(|next| *next != leader) {
            leader = next;
        }
        let mut unit = unit;
        while let Some(next) = self.leader.get_mut(unit).filter(|next| **next != leader) {
            unit = std::mem::replace(next, leader);
        }
        leader
    }

    /// Joins the groups of these units one after another. A group that would become too heavy is left, and the next one
    /// starts another.
    fn join(&mut self, units: &[usize], capacity: u64) {
        let leaders: BTreeSet<usize> = units.iter().map(|unit| self.leader(*unit)).collect();
        let mut current: Option<usize> = None;
        for next in leaders {
            current = Some(match current {
                Some(current) => self.join_two(current, next, capacity).unwrap_or(next),
                None => next,
            });
        }
    }

    /// Joins two groups and returns the leader; `None` if both together are too heavy.
    fn join_two(&mut self, one: usize, other: usize, capacity: u64) -> Option<usize> {
        let blobs =
            |group: usize| self.joined.get(group).and_then(Option::as_ref).map(|group| group.blobs.len());
        let (large, small) = if blobs(one) < blobs(other) { (other, one) } else { (one, other) };
        let (a, b) = (self.joined.get(large)?.as_ref()?, self.joined.get(small)?.as_ref()?);
        let shared = self.units.bytes(b.blobs.iter().filter(|blob| a.blobs.contains(blob)));
        let weight = a.weight().saturating_add(b.weight()).saturating_sub(shared);
        if weight > capacity {
            return None;
        }
        let b = self.joined.get_mut(small)?.take()?;
        let a = self.joined.get_mut(large)?.as_mut()?;
        a.units.extend(b.units);
        a.base = a.base.saturating_add(b.base);
        a.bytes = a.bytes.saturating_add(b.bytes).saturating_sub(shared);
        a.blobs.extend(b.blobs);
        if let Some(leader) = self.leader.get_mut(small) {
            *leader = large;
        }
        Some(large)
    }

    fn into_groups(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.joined.into_iter().flatten().collect();
        for group in &mut groups {
            group.units.sort_unstable();
        }
        groups
    }
}

#[cfg(test)]
mod tests;
