//! The end of a job that copies images: writes the lock and completes the outcome.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{receipt::ReceiptFile, sharding::Division};
use crate::{
    confirm::CheckLevel,
    endpoint::registry::Registries,
    enumerate::Selection,
    error::{Failure, Kind},
    graph::ForeignLayers,
    lock::{Lock, LockFile, Placement, Receipt},
    oci::{ChartIdentity, Digest, Platform, Reference, Repository, mapping::Root},
    outcome::{Command, ImageBlob, ImageOutcome, Mirrored, RunOutcome, ShardOutcome},
    request::{Installation, Login, RegistrySettings, next_steps},
    units,
};

/// A lock that will be written when the job ends. It is opened early, so that an unwritable folder fails before any
/// transfer.
pub(super) struct Record(Option<LockFile>);

impl Record {
    /// Opens the file; `None` writes no lock.
    pub(super) fn prepare(path: Option<&Path>) -> Result<Self, Failure> {
        let prepare = |path| LockFile::prepare(path).map_err(|error| error.failure());
        path.map(prepare).transpose().map(Self)
    }

    /// Writes the lock, and returns the failure if that fails.
    pub(super) fn write(self, lock: impl FnOnce() -> Result<Lock, Failure>) -> Option<Failure> {
        let file = self.0?;
        lock().and_then(|lock| file.write(&lock).map_err(|error| error.failure())).err()
    }

    /// Writes the bytes of a lock, and returns the failure if that fails.
    pub(super) fn write_bytes(self, lock: &[u8]) -> Option<Failure> {
        self.0?.write_bytes(lock).map_err(|error| error.failure()).err()
    }
}

/// Everything that a job knows after copying images.
pub(super) struct Copied<'a> {
    pub(super) command: Command,
    pub(super) started: Instant,
    pub(super) root: Root,
    pub(super) placement: Placement,
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
    pub(super) images: Vec<Mirrored>,
    /// Which part of the images the run was for.
    pub(super) shard: Option<ShardOutcome>,
    /// Failures that do not belong to an image.
    pub(super) failures: Vec<Failure>,
    /// Where to record what was imported.
    pub(super) receipt: Option<ReceiptFile>,
    /// How the run reached the registries.
    pub(super) login: Option<&'a Login>,
    pub(super) registries: &'a RegistrySettings,
    /// The lock that the next steps name.
    pub(super) lock: &'a Path,
    /// Helm's settings, if the run rendered the chart.
    pub(super) selection: Option<&'a Selection>,
}

impl Copied<'_> {
    /// Pushes the lock of a shard and completes the outcome.
    pub(super) async fn finish_shard(mut self, division: &Division, registry: Arc<Registries>) -> RunOutcome {
        let pushed = if self.dry_run {
            None
        } else {
            let mut lock = self.lock_of_run();
            if !self.images.iter().all(|image| image.outcome.is_confirmed()) {
                let local = if self.extended.is_some() { None } else { Lock::read(self.lock).ok() };
                let earlier = division.earlier_lock(&*registry, &self.root).await;
                for known in self.extended.iter().chain(&local).chain(&earlier) {
                    lock.keep_known(known);
                }
            }
            lock.shard = Some(division.recorded());
            match division.push(&lock, registry, &self.root).await {
                Ok(reference) => Some(reference),
                Err(failure) => {
                    self.failures.push(failure);
                    None
                }
            }
        };
        self.shard = Some(division.outcome(pushed));
        self.finish(Record(None))
    }

    /// The lock of this run alone.
    fn lock_of_run(&self) -> Lock {
        let Self { chart, placement, platforms, foreign_layers, images, excluded, .. } = self;
        let mut lock = Lock::new(chart.clone(), placement.clone(), platforms, *foreign_layers, images);
        lock.excluded.clone_from(excluded);
        lock
    }

    /// Writes the lock and completes the outcome.
    pub(super) fn finish(self, record: Record) -> RunOutcome {
        let Self {
            command,
            started,
            root,
            placement,
            excluded,
            bundle,
            chart,
            platforms,
            foreign_layers,
            extended,
            check,
            dry_run,
            images,
            shard,
            failures,
            receipt,
            login,
            registries,
            lock: path,
            selection,
        } = self;
        let packaged = placement.chart.clone();
        // Of the lock that this one replaces, only images that this run could not confirm need anything. It is read
        // again for them: it would fill memory during the whole run. A damaged lock cannot be kept.
        let is_needed = extended.is_none() && !images.iter().all(|image| image.outcome.is_confirmed());
        let replaced = if is_needed { Lock::read(path).ok() } else { None };
        let run = || {
            let mut run = Lock::new(chart.clone(), placement.clone(), &platforms, foreign_layers, &images);
            run.excluded.clone_from(&excluded);
            if let Some(earlier) = extended.as_ref().or(replaced.as_ref()) {
                run.keep_known(earlier);
            }
            run
        };
        let lock = || match &extended {
            Some(earlier) => earlier.clone().with_destination(run()).map_err(|error| error.failure()),
            None => Ok(run()),
        };
        let mut failures: Vec<Failure> = failures.into_iter().chain(record.write(lock)).collect();
        if let Some((receipt, bundle)) = receipt.zip(bundle.clone()) {
            let now = units::timestamp(SystemTime::now(), false);
            let outcomes = images.iter().map(|image| &image.outcome);
            failures.extend(receipt.write(&Receipt::new(bundle, now, &root, &outcomes, run())).err());
        }
        failures.extend(missing_repositories(
            &images.iter().filter_map(|image| image.missing_repository.clone()).collect(),
        ));
        let planned = |image: Mirrored| {
            let blobs = image.content.blobs.into_iter().map(|(digest, size)| ImageBlob { digest, size });
            ImageOutcome { blobs: blobs.collect(), ..image.outcome }
        };
        let outcomes = images.into_iter().map(|image| if dry_run { planned(image) } else { image.outcome });
        let outcomes: Vec<ImageOutcome> = outcomes.collect();
        let outcome = match shard {
            // Other shards have other images: one without any has nothing left to do.
            Some(shard) => {
                let outcome = RunOutcome::new(command, Vec::new(), failures, started.elapsed());
                RunOutcome { images: outcomes, shard: Some(Box::new(shard)), ..outcome }
            }
            None => RunOutcome::new(command, outcomes, failures, started.elapsed()),
        };
        let outcome = RunOutcome {
            destination: Some(root.to_string()),
            bundle,
            excluded: excluded.clone(),
            level: Some(check.to_string()),
            chart,
            dry_run,
            ..outcome
        };
        let installation = Installation {
            root: &root,
            login,
            registries,
            lock: Some(path),
            packaged: packaged.as_ref(),
            excluded: &excluded,
            selection,
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
