//! `lock merge`: joins the locks that the shards of a `sync` have pushed.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::sharding::artifact::{self, PushedLock};
use crate::{
    endpoint::registry::Registries,
    error::{Failure, Kind},
    event::EventSink,
    lock::{JoinedLock, Lock, LockError, LockFile, OneWriter, UnconfirmedImage, join},
    oci::Repository,
    outcome::MergeOutcome,
    request::{Access, LockMerge},
    shard::{ImageList, SetError, ShardNumber, ShardSet, lock_tag, parse_lock_tag, ranges},
    units,
};

/// How many locks are read at once.
const CONCURRENCY: usize = 8;
/// How many images an error names.
const MAX_NAMED: usize = 5;

pub(crate) async fn run(request: &LockMerge, events: Arc<dyn EventSink>) -> Result<MergeOutcome, Failure> {
    let LockMerge { root, output, list, shards, login, registries } = request;
    let access = Access::open(registries, Arc::clone(&events))?;
    let file = LockFile::prepare(output).map_err(|error| of_output(&error))?;
    let registry = access.destination(login.as_ref()).await?;
    let repository = artifact::repository(root)?;
    let tags = registry.tags(&repository).await.map_err(|error| error.failure())?.unwrap_or_default();
    let found = tags.iter().filter_map(|tag| parse_lock_tag(tag));
    let set =
        ShardSet::choose(found, list.as_ref(), *shards).map_err(|error| incomplete(&error, &repository))?;
    let (locks, list) = read_all(&registry, &repository, &set).await?;
    let JoinedLock { lock, repeated, unconfirmed } = join(locks, &list).map_err(|error| error.failure())?;
    let images = lock.images.len();
    let _writer = OneWriter::beside(output);
    let earlier = match Lock::read(output) {
        Ok(earlier) => Some(earlier).filter(|lock| lock.has_destinations_besides(&[root])),
        Err(error) if error.is_damage() => return Err(error.failure_to_replace()),
        // Writing refuses to replace a file that is not a lock.
        Err(_) => None,
    };
    let lock = match earlier {
        Some(earlier) => earlier.with_destination(lock).map_err(|error| error.failure())?,
        None => lock,
    };
    file.write(&lock).map_err(|error| of_output(&error))?;
    access.warn_of_unused_hosts(&*events);
    Ok(MergeOutcome {
        from: root.to_string(),
        lock: output.display().to_string(),
        list: set.list.clone(),
        shards: set.count,
        images,
        confirmed: images - unconfirmed.len(),
        repeated,
        failures: not_confirmed(&unconfirmed, set.count).into_iter().collect(),
    })
}

/// The failure, whose hint names `--lock`, which this command does not have.
fn of_output(error: &LockError) -> Failure {
    let failure = error.failure();
    let hint = failure.hint.as_ref().map(|hint| hint.replace("--lock", "--output"));
    failure.with_optional_hint(hint)
}

/// The locks of all shards, and the list that all of them have.
async fn read_all(
    registry: &Registries,
    repository: &Repository,
    set: &ShardSet,
) -> Result<(Vec<(u32, Lock)>, ImageList), Failure> {
    let read = |shard: ShardNumber| async move {
        let tag = lock_tag(&set.list, shard);
        let found = artifact::read(registry, repository, &tag).await?;
        let PushedLock { lock, list } = found.ok_or_else(|| {
            let message = format!("the lock of shard {shard} disappeared: {repository}:{tag}");
            Failure::new(Kind::Input, message).with_hint("run this shard again")
        })?;
        if list.digest() != set.list {
            let (own, digest) = (list.digest(), &set.list);
            let message = format!("shard {shard} has the list {own}, not {digest}: {repository}:{tag}");
            return Err(Failure::new(Kind::Input, message).with_hint("run this shard again"));
        }
        Ok((shard.index, lock, list))
    };
    let read: Vec<(u32, Lock, ImageList)> =
        stream::iter(set.shards()).map(read).buffered(CONCURRENCY).try_collect().await?;
    let list = read.first().map_or_else(|| ImageList::new([]), |(_, _, list)| list.clone());
    Ok((read.into_iter().map(|(index, lock, _)| (index, lock)).collect(), list))
}

/// The failure with what was found instead, and what to do.
fn incomplete(error: &SetError, repository: &Repository) -> Failure {
    let hint = match error {
        SetError::NoShards => "run thoras-mirror sync --shard I/N for every shard, with the same --to",
        SetError::NotWanted(_) => "check --list and --shards",
        SetError::Several(_) => {
            "if all shards should have the same list, run those that differ again; else choose with --list DIGEST and --shards N"
        }
        SetError::Missing(..) => "run the missing shards, then merge again",
    };
    let failure = Failure::from_error(Kind::Input, error);
    let message = format!("{} ({repository})", failure.message);
    Failure { causes: error.found(), ..Failure::new(Kind::Input, message) }.with_hint(hint)
}

/// The failure of images that their shards could not confirm.
fn not_confirmed(images: &[UnconfirmedImage], count: u32) -> Option<Failure> {
    let mut shards: Vec<u32> = images.iter().map(|image| image.shard).collect();
    shards.sort_unstable();
    shards.dedup();
    let names: Vec<String> =
        images.iter().map(|image| format!("{} (shard {})", image.source, image.shard)).collect();
    let names = units::named(&names, MAX_NAMED);
    let message = match images.len() {
        0 => return None,
        1 => format!("an image is not confirmed: {names}"),
        several => format!("{several} images are not confirmed: {names}"),
    };
    let again = format!("run these shards of {count} again, then merge again: {}", ranges(&shards));
    Some(Failure::new(Kind::Image, message).with_hint(again))
}
