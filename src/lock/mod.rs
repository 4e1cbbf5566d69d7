//! The record of a run: which images were mirrored, by digest, and where they went.
//!
//! Sorted and free of times, so that an idle second run writes the same bytes. It holds no `--set` values and no secret.
//! `verify` and `sync --locked` read it, and a bundle carries one.
//!
//! | what | where |
//! |---|---|
//! | the format that is written, `thoras-mirror/lock/v2` | `model` ([`Lock`]) |
//! | reading any version, and what a lock must agree with itself about | `parse` |
//! | the previous format, converted | `v1` |
//! | a lock that gains or replaces a destination | `merge` |
//! | the file: read whole, written whole or not at all | `file` ([`LockFile`]) |
//! | what can be wrong with a lock | `error` ([`LockError`]) |

mod error;
mod file;
mod merge;
mod model;
mod parse;
#[cfg(test)]
mod tests;
mod v1;

pub(crate) use self::file::LockFile;
pub use self::{
    error::{Contradiction, LockError, NotALock},
    model::{AttachedManifest, Base, Lock, LockedCopy, LockedImage, Placement, SCHEMA, Shard},
};
