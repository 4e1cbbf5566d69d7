//! Divides a list of images between several machines. Pure: no requests, no clock, no state.
//!
//! - [`ShardNumber`]: which part of how many, as in `--shard 0/4`;
//! - [`assign()`]: which image belongs to which shard: the same on every machine, regardless of the order of the list;
//! - [`ImageList`]: the whole list in one form, so that its digest shows whether all machines had the same;
//! - [`lock_tag()`]: the tag under which a shard's lock is pushed; [`ShardSet`]: which of these tags belong together.

mod assign;
mod list;
mod sets;

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    assign::{Assignment, BlobSizes, Repeated, ToAssign, assign},
    list::{ImageList, ListedImage},
    sets::{SetError, ShardSet, ranges},
};
use crate::oci::{Digest, digest::Algorithm};

/// The most shards of one list.
pub(crate) const MAX_SHARDS: u32 = 10_000;

/// Which shard of how many. The first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardNumber {
    /// From 0.
    pub(crate) index: u32,
    /// The number of shards.
    pub(crate) count: u32,
}

/// Why a text or two numbers name no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShardNumberError {
    /// It is not `I/N`.
    #[error("`{}` is not I/N", .0.escape_debug())]
    Format(String),
    /// There are no shards, or too many.
    #[error("{0} shards: expected a number from 1 to {MAX_SHARDS}")]
    Count(u32),
    /// The first is 0.
    #[error("there is no shard {index} of {count}: the first is 0 and the last is {}", .count - 1)]
    Index {
        /// The shard that was named.
        index: u32,
        /// The number of shards.
        count: u32,
    },
}

impl ShardNumber {
    /// Checks both numbers.
    pub(crate) const fn new(index: u32, count: u32) -> Result<Self, ShardNumberError> {
        if count == 0 || count > MAX_SHARDS {
            return Err(ShardNumberError::Count(count));
        }
        if index >= count {
            return Err(ShardNumberError::Index { index, count });
        }
        Ok(Self { index, count })
    }

    /// This shard's part of a limit for all shards, at least 1.
    pub(crate) const fn part_of(self, limit: usize) -> usize {
        let part = limit / self.count as usize;
        if part == 0 { 1 } else { part }
    }
}

impl FromStr for ShardNumber {
    type Err = ShardNumberError;

    fn from_str(text: &str) -> Result<Self, ShardNumberError> {
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|_| is_number)
        };
        let numbers = text.split_once('/').and_then(|(index, count)| number(index).zip(number(count)));
        let (index, count) = numbers.ok_or_else(|| ShardNumberError::Format(text.to_owned()))?;
        Self::new(index, count)
    }
}

impl fmt::Display for ShardNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.count)
    }
}

/// The tag of the lock of one shard: `LISTDIGEST-I-of-N`, with the 64 digits of the list's digest.
pub(crate) fn lock_tag(list: &Digest, shard: ShardNumber) -> String {
    format!("{}-{}-of-{}", list.hex(), shard.index, shard.count)
}

/// What a tag says; `None` if it is not a tag of [`lock_tag`].
pub(crate) fn parse_lock_tag(tag: &str) -> Option<(Digest, ShardNumber)> {
    let (list, numbers) = tag.split_once('-')?;
    let (index, count) = numbers.split_once("-of-")?;
    let list: Digest = format!("sha256:{list}").parse().ok()?;
    let shard: ShardNumber = format!("{index}/{count}").parse().ok()?;
    (list.algorithm() == Algorithm::Sha256 && lock_tag(&list, shard) == tag).then_some((list, shard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_a_number_below_the_count() {
        let parse = |text: &str| text.parse::<ShardNumber>();
        assert_eq!(parse("0/1"), Ok(ShardNumber { index: 0, count: 1 }));
        assert_eq!(parse("7/8").unwrap().to_string(), "7/8");
        assert_eq!(parse("8/8"), Err(ShardNumberError::Index { index: 8, count: 8 }));
        assert_eq!(parse("0/0"), Err(ShardNumberError::Count(0)));
        assert_eq!(parse("0/10001"), Err(ShardNumberError::Count(10_001)));
        for text in ["", "1", "/", "1/", "/2", "-1/2", "+1/2", "a/2", "1/2/3", " 1/2", "1/99999999999"] {
            assert!(matches!(parse(text), Err(ShardNumberError::Format(_))), "{text}");
        }
    }

    #[test]
    fn a_tag_names_the_list_and_the_shard() {
        let list = Digest::sha256(b"list");
        let shard = ShardNumber { index: 2, count: 12 };
        let tag = lock_tag(&list, shard);
        assert!(tag.len() <= 128 && tag.ends_with("-2-of-12"), "{tag}");
        assert_eq!(parse_lock_tag(&tag), Some((list, shard)));
        for other in ["latest", "1.0", &tag.replace("-2-", "-02-"), &tag.replace("-2-", "-12-"), &tag[1..]] {
            assert_eq!(parse_lock_tag(other), None, "{other}");
        }
    }

    #[test]
    fn a_limit_is_divided_and_never_zero() {
        let shard = ShardNumber { index: 0, count: 4 };
        assert_eq!([16, 9, 4, 3, 1].map(|limit| shard.part_of(limit)), [4, 2, 1, 1, 1]);
    }
}
