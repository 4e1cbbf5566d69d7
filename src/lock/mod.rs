//! The record of a run: which images were mirrored, by digest, and where they are.
//!
//! A lock is sorted and contains no times, so an idle second run writes the same bytes. It contains no `--set` values
//! and no secrets. `verify` and `sync --locked` read it, and every bundle contains one.
//!
//! | what | where |
//! |---|---|
//! | the format that is written, `thoras-mirror/lock/v2` | `model` ([`Lock`]) |
//! | reading any version, and checking that it is consistent | `parse` |
//! | the previous format, converted | `v1` |
//! | adding or replacing a destination | `merge` |
//! | the names at a destination | `names` |
//! | reading the file, and replacing it atomically | `file` ([`LockFile`]) |
//! | runs that write the same file at the same time | `concurrent` |
//! | joining the locks of several machines | `shards` |
//! | the receipt of an import, which contains its lock | `receipt` |
//! | errors | `error` ([`LockError`]) |

mod concurrent;
mod error;
mod file;
mod merge;
mod model;
mod names;
mod parse;
mod receipt;
mod shards;
#[cfg(test)]
mod tests;
mod v1;

pub(crate) use self::{
    concurrent::{LockVersion, OneWriter},
    file::LockFile,
    names::RecordedNames,
    receipt::{MAX_SIZE as MAX_RECEIPT_SIZE, Receipt},
    shards::{JoinedLock, UnconfirmedImage, join},
};
pub use self::{
    error::{Contradiction, LockError, NotALock, WrongContent},
    model::{Base, Lock, LockedCopy, LockedImage, Placement, SCHEMA, Shard},
};
