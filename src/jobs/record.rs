//! The last step of a job that copies images: writes the lock and completes the outcome.

use std::{
    collections::BTreeSet,
    io,
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{receipt::ReceiptFile, sharding::Division};
use crate::{
    confirm::CheckLevel,
    endpoint::registry::Registries,
    enumerate::Selection,
    error::{Failure, Kind},
    graph::ForeignLayers,
    lock::{Lock, LockFile, LockVersion, OneWriter, Placement, Receipt},
    oci::{ChartIdentity, Digest, Platform, Reference, Repository, mapping::Root},
    outcome::{
        Bytes, Command, DestinationOutcome, ExtraReads, ImageBlob, ImageOutcome, Mirrored, RunOutcome,
        ShardOutcome, requests_by_registry,
    },
    request::{Destination, Installation, RegistrySettings, next_steps},
    units,
};

/// A lock that will be written when the job ends. It is opened early, so that an unwritable folder fails before any
/// transfer.
pub(super) struct PendingLock {
    file: Option<LockFile>,
    /// Which lock the job read at its beginning, if it still knows its content.
    known: Option<LockVersion>,
}

impl PendingLock {
    /// Opens the file; `None` writes no lock.
    pub(super) fn prepare(path: Option<&Path>) -> Result<Self, Failure> {
        let prepare = |path| LockFile::prepare(path).map_err(|error| error.failure());
        path.map(prepare).transpose().map(|file| Self { file, known: None })
    }

    /// The same, for a job that has read this version of the lock.
    pub(super) fn knowing(self, version: LockVersion) -> Self {
        Self { known: Some(version), ..self }
    }

    /// Whether the lock will be written although the job does not know what it contains now.
    fn is_outdated(&self, path: &Path) -> bool {
        self.file.is_some() && self.known != Some(LockVersion::of(path))
    }

    /// Writes the lock, and returns the failure if that fails.
    pub(super) fn write(self, lock: impl FnOnce() -> Result<Lock, Failure>) -> Option<Failure> {
        let file = self.file?;
        lock().and_then(|lock| file.write(&lock).map_err(|error| error.failure())).err()
    }

    /// Writes the bytes of a lock piece by piece, and returns the failure if that fails.
    pub(super) fn write_pieces(
        self,
        lock: impl Iterator<Item = io::Result<bytes::Bytes>>,
    ) -> Option<Failure> {
        self.file?.write_pieces(lock).map_err(|error| error.failure()).err()
    }
}

/// What a job knows about one destination after copying images there.
pub(super) struct CopiedTo<'a> {
    pub(super) destination: &'a Destination,
    pub(super) placement: Placement,
    pub(super) images: Vec<Mirrored>,
    /// How long it took, concurrently with other destinations.
    pub(super) time: Duration,
    /// What was read once more for it.
    pub(super) extra_reads: ExtraReads,
}

/// Everything that a job knows after copying images.
pub(super) struct Copied<'a> {
    pub(super) command: Command,
    pub(super) started: Instant,
    pub(super) first: CopiedTo<'a>,
    pub(super) others: Vec<CopiedTo<'a>>,
    /// Images that filters left out of an import.
    pub(super) excluded: Vec<Reference>,
    /// The id of the bundle that the images came from.
    pub(super) bundle: Option<Digest>,
    pub(super) chart: Option<ChartIdentity>,
    pub(super) platforms: Vec<Platform>,
    pub(super) foreign_layers: ForeignLayers,
    /// The lock that exists, if it is extended rather than replaced.
    pub(super) extended: Option<Lock>,
    pub(super) check: CheckLevel,
    pub(super) dry_run: bool,
    /// Which part of the images the run was for.
    pub(super) shard: Option<ShardOutcome>,
    /// Failures that do not belong to an image.
    pub(super) failures: Vec<Failure>,
    /// Where to record what was imported.
    pub(super) receipt: Option<ReceiptFile>,
    /// How the run reached the registries.
    pub(super) registries: &'a RegistrySettings,
    /// The lock that the next steps name.
    pub(super) lock: &'a Path,
    /// Helm's settings, if the run rendered the chart.
    pub(super) selection: Option<&'a Selection>,
}

/// The failure of a job without a destination. Requests have at least one.
pub(super) fn no_destination() -> Failure {
    Failure::new(Kind::Usage, "--to is empty")
}

impl CopiedTo<'_> {
    fn are_all_confirmed(&self) -> bool {
        self.images.iter().all(|image| image.outcome.is_confirmed())
    }

    /// What the report says about this destination, if there are several.
    fn outcome(&self) -> DestinationOutcome {
        let outcomes = || self.images.iter().map(|image| &image.outcome);
        DestinationOutcome {
            to: self.destination.root.to_string(),
            images: self.images.len(),
            confirmed: outcomes().filter(|image| image.is_confirmed()).count(),
            failed: outcomes().filter(|image| image.failure_kind().is_some()).count(),
            bytes: outcomes().map(|image| image.bytes).fold(Bytes::default(), Bytes::plus),
            extra_reads: self.extra_reads,
            milliseconds: u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Copied<'_> {
    /// All destinations.
    fn copied(&self) -> impl Iterator<Item = &CopiedTo<'_>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Pushes the lock of a shard, which has one destination, and completes the outcome.
    pub(super) async fn finish_shard(mut self, division: &Division, registry: Arc<Registries>) -> RunOutcome {
        let root = &self.first.destination.root;
        let pushed = if self.dry_run {
            None
        } else {
            let mut lock = self.lock_of(&self.first);
            if !self.first.are_all_confirmed() {
                let local = if self.extended.is_some() { None } else { Lock::read(self.lock).ok() };
                let earlier = division.earlier_lock(&*registry, root).await;
                for known in self.extended.iter().chain(&local).chain(&earlier) {
                    lock.keep_known(known);
                }
            }
            lock.shard = Some(division.recorded());
            match division.push(&lock, registry, root).await {
                Ok(reference) => Some(reference),
                Err(failure) => {
                    self.failures.push(failure);
                    None
                }
            }
        };
        self.shard = Some(division.outcome(pushed));
        self.finish(PendingLock { file: None, known: None })
    }

    /// The lock of this run at one destination alone.
    fn lock_of(&self, copied: &CopiedTo<'_>) -> Lock {
        let Self { chart, platforms, foreign_layers, excluded, .. } = self;
        let CopiedTo { placement, images, .. } = copied;
        let mut lock = Lock::new(chart.clone(), placement.clone(), platforms, *foreign_layers, images);
        lock.excluded.clone_from(excluded);
        lock
    }

    /// The lock of this run, with what earlier runs know about images that could not be confirmed.
    fn lock_with_known(&self, copied: &CopiedTo<'_>, replaced: Option<&Lock>) -> Lock {
        let mut lock = self.lock_of(copied);
        if let Some(earlier) = self.extended.as_ref().or(replaced) {
            lock.keep_known(earlier);
        }
        lock
    }

    /// The lock of all destinations, with those that it keeps.
    fn whole_lock(&self, replaced: Option<&Lock>) -> Result<Lock, Failure> {
        let mut whole = self.extended.clone();
        for copied in self.copied() {
            let run = self.lock_with_known(copied, replaced);
            whole = Some(match whole {
                Some(whole) => whole.with_destination(run).map_err(|error| error.failure())?,
                None => run,
            });
        }
        Ok(whole.unwrap_or_else(|| self.lock_of(&self.first)))
    }

    /// Writes the receipt of an import, if it was asked for.
    fn write_receipt(&self, replaced: Option<&Lock>) -> Result<(), Failure> {
        let Some((receipt, bundle)) = self.receipt.as_ref().zip(self.bundle.clone()) else { return Ok(()) };
        let now = units::timestamp(SystemTime::now(), false);
        let outcomes = self.first.images.iter().map(|image| &image.outcome);
        let lock = self.lock_with_known(&self.first, replaced);
        receipt.write(&Receipt::new(bundle, now, &self.first.destination.root, &outcomes, lock))
    }

    /// Reads the lock again if another run may have written it since: that run may have added a destination.
    fn read_again(&mut self) -> Result<(), Failure> {
        match Lock::read(self.lock) {
            Ok(lock) => {
                let roots: Vec<&Root> = self.copied().map(|copied| &copied.destination.root).collect();
                let is_extended = lock.has_destinations_besides(&roots);
                self.extended = is_extended.then_some(lock);
                Ok(())
            }
            Err(error) if error.is_damage() => Err(error.failure_to_replace()),
            // Writing refuses to replace a file that is not a lock.
            Err(_) => Ok(()),
        }
    }

    /// Writes the lock and the receipt. Returns the failures of the whole run.
    fn write_records(&mut self, record: PendingLock) -> Vec<Failure> {
        let _writer = record.file.as_ref().map(|_| OneWriter::beside(self.lock));
        let read = if record.is_outdated(self.lock) { self.read_again() } else { Ok(()) };
        // Of the lock that this one replaces, only images that this run could not confirm need anything. It is read
        // again for them: it would fill memory during the whole run.
        let is_needed = self.extended.is_none() && !self.copied().all(CopiedTo::are_all_confirmed);
        let replaced = if is_needed { Lock::read(self.lock).ok() } else { None };
        let mut failures = std::mem::take(&mut self.failures);
        failures.extend(match read {
            Ok(()) => record.write(|| self.whole_lock(replaced.as_ref())),
            Err(damaged) => Some(damaged),
        });
        failures.extend(self.write_receipt(replaced.as_ref()).err());
        let missing = self.copied().flat_map(|copied| &copied.images);
        failures.extend(missing_repositories(
            &missing.filter_map(|image| image.missing_repository.clone()).collect(),
        ));
        failures
    }

    /// Writes the lock and completes the outcome.
    pub(super) fn finish(mut self, record: PendingLock) -> RunOutcome {
        let failures = self.write_records(record);
        let (destinations, roots): (Vec<DestinationOutcome>, Vec<String>) =
            self.copied().map(|copied| (copied.outcome(), copied.destination.root.to_string())).unzip();
        let Self { command, started, first, others, excluded, bundle, chart, check, dry_run, shard, .. } =
            self;
        let packaged = first.placement.chart.clone();
        let planned = |image: Mirrored| {
            let blobs = image.content.blobs.into_iter().map(|(digest, size)| ImageBlob { digest, size });
            ImageOutcome { blobs: blobs.collect(), ..image.outcome }
        };
        let destination = first.destination;
        let images = first.images.into_iter().chain(others.into_iter().flat_map(|copied| copied.images));
        let outcomes = images.map(|image| if dry_run { planned(image) } else { image.outcome });
        let outcomes: Vec<ImageOutcome> = outcomes.collect();
        let outcome = match shard {
            // Other shards have other images: one without any has nothing left to do.
            Some(shard) => {
                let outcome = RunOutcome::new(command, Vec::new(), failures, started.elapsed());
                RunOutcome { images: outcomes, shard: Some(Box::new(shard)), ..outcome }
            }
            None => RunOutcome::new(command, outcomes, failures, started.elapsed()),
        };
        let machines = outcome.shard.as_ref().and_then(|shard| NonZeroU32::new(shard.number.count));
        let machines = machines.unwrap_or(NonZeroU32::MIN);
        let is_from_registry = command != Command::BundleImport;
        let quotas = &self.registries.quotas;
        let outcome = RunOutcome {
            requests: if dry_run {
                requests_by_registry(&outcome.images, is_from_registry, quotas, machines)
            } else {
                Vec::new()
            },
            destination: Some(roots.join(", ")),
            destinations: if destinations.len() > 1 { destinations } else { Vec::new() },
            bundle,
            excluded: excluded.clone(),
            level: Some(check.to_string()),
            chart,
            dry_run,
            ..outcome
        };
        let installation = Installation {
            root: &destination.root,
            login: destination.login.as_ref(),
            registries: self.registries,
            lock: Some(self.lock),
            packaged: packaged.as_ref(),
            excluded: &excluded,
            selection: self.selection,
        };
        RunOutcome { next_steps: next_steps(&outcome, &installation), ..outcome }
    }
}

/// One failure for the repositories that must be created first, with a line to copy for each.
fn missing_repositories(repositories: &BTreeSet<Repository>) -> Option<Failure> {
    if repositories.is_empty() {
        return None;
    }
    let message = match repositories.len() {
        1 => "a repository does not exist at the destination".to_owned(),
        count => format!("{count} repositories do not exist at the destination"),
    };
    let lines: Vec<String> =
        repositories.iter().map(|repository| format!("\n{}", to_copy(repository))).collect();
    let hint = format!(
        "this registry does not create repositories on push; create them, then run this again:{}",
        lines.concat()
    );
    Some(Failure::new(Kind::Image, message).with_hint(hint))
}

/// The command that creates the repository, if known, else its name.
fn to_copy(repository: &Repository) -> String {
    let region =
        repository.registry().strip_suffix(".amazonaws.com").and_then(|host| host.split_once(".dkr.ecr."));
    match region {
        Some((_, region)) => {
            format!("aws ecr create-repository --region {region} --repository-name {}", repository.path())
        }
        None => repository.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn text(names: &[&str]) -> String {
        let repositories = names.iter().map(|name| name.parse().unwrap()).collect();
        missing_repositories(&repositories).map_or_else(String::new, |failure| {
            format!("{}\n{}", failure.message, failure.hint.unwrap_or_default())
        })
    }

    #[test]
    fn every_repository_is_a_line_to_copy() {
        assert_eq!(text(&[]), "");
        assert_snapshot!(text(&["reg.example/m/b", "reg.example/m/a", "reg.example/m/a"]), @r"
        2 repositories do not exist at the destination
        this registry does not create repositories on push; create them, then run this again:
        reg.example/m/a
        reg.example/m/b
        ");
        assert_snapshot!(text(&["123456789012.dkr.ecr.eu-west-1.amazonaws.com/thoras/services"]), @r"
        a repository does not exist at the destination
        this registry does not create repositories on push; create them, then run this again:
        aws ecr create-repository --region eu-west-1 --repository-name thoras/services
        ");
    }
}
