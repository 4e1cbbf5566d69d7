//! A record of operations on images in memory.

use std::collections::HashMap;

use thoras_mirror::{
    oci::{Digest, Repository},
    problem::Side,
};

/// The kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    ReadTag,
    ReadManifest,
    ExpectAttachments,
    ListAttachments,
    LookForBlob,
    OpenBlob,
    BeginBlob,
    CommitBlob,
    PutManifest,
}

/// The results of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Found,
    Absent,
    Present,
    Mounted,
    Wanted,
    Stored,
    Failed,
}

impl Answer {
    pub(super) fn found(found: bool) -> Self {
        if found { Self::Found } else { Self::Absent }
    }
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The side of the copy that made the request.
    pub side: Side,
    pub act: Act,
    pub repository: Repository,
    /// A tag or a digest.
    pub what: String,
    pub answer: Answer,
}

/// All operations. `entries` are in the order in which operations took effect.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub entries: Vec<Entry>,
    /// Blobs that became visible, with their sizes.
    pub commits: Vec<(Repository, Digest, u64)>,
    /// Blobs that were mounted, with their sizes.
    pub mounts: Vec<(Repository, Digest, u64)>,
    /// How many bytes of each blob were read, by side.
    pub read: HashMap<(Side, Digest), u64>,
    /// Manifests that were refused because of missing content.
    pub refused: Vec<String>,
    /// Tags that named an incomplete graph the moment they were pushed.
    pub incomplete_tags: Vec<String>,
    /// Bytes that were accepted under a digest that they do not match.
    pub violations: Vec<String>,
}

impl History {
    /// The operations of one side and kind.
    pub fn of(&self, side: Side, act: Act) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.side == side && entry.act == act)
    }

    /// How often one side opened each blob.
    pub fn opened(&self, side: Side) -> HashMap<String, usize> {
        let mut opened = HashMap::new();
        for entry in self.of(side, Act::OpenBlob) {
            *opened.entry(entry.what.clone()).or_default() += 1;
        }
        opened
    }

    /// The operations that change the destination, or start a change.
    pub fn writes(&self) -> Vec<&Entry> {
        let is_write = |act| matches!(act, Act::BeginBlob | Act::CommitBlob | Act::PutManifest);
        self.entries.iter().filter(|entry| is_write(entry.act)).collect()
    }

    /// What was stored, in order: digests of blobs and manifests, and tags.
    pub fn stored(&self) -> Vec<String> {
        self.writes()
            .into_iter()
            .filter(|entry| entry.answer == Answer::Stored)
            .map(|entry| entry.what.clone())
            .collect()
    }

    pub fn committed_bytes(&self) -> u64 {
        self.commits.iter().map(|(_, _, size)| size).sum()
    }

    pub fn mounted_bytes(&self) -> u64 {
        self.mounts.iter().map(|(_, _, size)| size).sum()
    }

    /// Asserts that the destination never received anything invalid.
    pub fn assert_no_violation(&self) {
        assert_eq!(self.violations, [""; 0], "bytes under a digest that they do not have");
    }

    /// Asserts that no manifest was pushed before its content.
    pub fn assert_children_first(&self) {
        self.assert_no_violation();
        assert_eq!(self.refused, [""; 0], "manifests before their content");
        assert_eq!(self.incomplete_tags, [""; 0], "tags on incomplete graphs");
    }
}
