//! What one machine did of a shared `sync`, and `lock merge`.

use super::one_line;
use crate::{
    outcome::{MergeOutcome, ShardOutcome},
    shard::Repeated,
    units,
};

pub(super) fn text(merged: &MergeOutcome) -> String {
    let MergeOutcome { from, lock, list, shards, images, confirmed, repeated, failures: _ } = merged;
    let summary = format!(
        "{} of {} confirmed; the lock of {} below {} was written to {}",
        confirmed,
        units::counted(*images, "image"),
        units::counted(*shards as usize, "shard"),
        one_line(from),
        one_line(lock),
    );
    let mut lines = vec![summary, format!("list {list}")];
    lines.extend(repeated_line(*repeated));
    lines.join("\n")
}

/// Which part of the images the run was for, and what follows from the division.
pub(super) fn shard_lines(shard: &ShardOutcome) -> Vec<String> {
    let ShardOutcome { number, list, listed, repeated, split, lock } = shard;
    let mut lines = vec![format!("shard {number} of {}, list {list}", units::counted(*listed, "image"))];
    if !split.is_empty() {
        let split: Vec<String> = split.iter().map(|repository| one_line(repository)).collect();
        lines.push(format!("divided between shards: {}", split.join(", ")));
    }
    lines.extend(repeated.and_then(repeated_line));
    lines.extend(lock.iter().map(|lock| format!("lock {}", one_line(&lock.to_string()))));
    lines
}

fn repeated_line(repeated: Repeated) -> Option<String> {
    let Repeated { transfers, bytes } = repeated;
    let transfers = usize::try_from(transfers).unwrap_or(usize::MAX);
    (transfers > 0).then(|| {
        let blobs = units::counted(transfers, "transfer");
        format!(
            "at most {blobs} ({}) more than on one machine, for blobs in several shards",
            units::bytes(bytes)
        )
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::report::samples;

    #[test]
    fn a_merge_says_what_was_joined() {
        assert_snapshot!(text(&samples::merged()), @r"
        99 of 100 images confirmed; the lock of 4 shards below registry.example.com/thoras was written to thoras-mirror.lock
        list sha256:a330395cc0a53ad1207736546afff4735940937564bbf75ce1edad40780d9139
        at most 3 transfers (3.0 MiB) more than on one machine, for blobs in several shards
        ");
    }

    #[test]
    fn a_shard_says_what_it_was_part_of() {
        assert_snapshot!(shard_lines(&samples::shard()).join("\n"), @r"
        shard 1/4 of 100 images, list sha256:a330395cc0a53ad1207736546afff4735940937564bbf75ce1edad40780d9139
        divided between shards: registry.example.com/thoras/large
        at most 1 transfer (1.0 KiB) more than on one machine, for blobs in several shards
        lock registry.example.com/thoras/thoras-mirror/locks:x-1-of-4
        ");
    }
}
