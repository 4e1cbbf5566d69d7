//! `bundle export`: writes the images to one file, which is read back before it gets its final name.
//!
//! [`exporter`] does the work, with the [`manifest_budget`]; [`announce`] and [`blocking`] emit its events; [`base`]
//! reads what `--base` leaves out; [`import_names`] looks ahead to the import.

mod announce;
mod base;
mod blocking;
mod exporter;
mod import_names;
mod manifest_budget;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    exporter::{BundleExtras, Exporter, Written},
    import_names::ImportNames,
};
use super::{
    images::{enumerate, packaged_chart, warn_of_idle_waivers},
    names::{self, ToName, earlier, earlier_if_usable, warn_of_unused_prefix},
    notation,
    record::PendingLock,
    signing::Signer,
    trust_files,
};
use crate::{
    endpoint::{
        bundle::{Output, trust::TrustArtifact},
        packaged_chart::ChartSource,
    },
    enumerate::{Enumeration, SelectedFrom},
    error::{Failure, Kind, exit, exit_code_of},
    event::{EventSink, warn},
    lock::{Base, Lock, OneWriter},
    oci::Reference,
    outcome::{BundleSummary, Command, ImageOutcome, Mirrored, RunOutcome, Status},
    pipeline::Options,
    quota::RunRegistries,
    request::{self, Access, Export, ExportTo, Signing, VolumeSize},
};

pub(crate) async fn run(request: &Export, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let Export { to, base, keep_going, lock, selection, naming, registries, platforms, .. } = request;
    let signatures = notation::verifier(&request.copy.signatures)?;
    let files = output(to, &*events)?;
    let signer = request.signing.as_ref().map(|signing| signer(signing, request.force)).transpose()?;
    let trust = TrustArtifact::new(trust_files::read(&request.trust_files)?);
    if trust.is_some() && signer.is_none() {
        warn(&*events, trust_files::NOT_SIGNED);
    }
    let access = Access::open(registries, Arc::clone(&events))?;
    let found = enumerate(selection, request.copy.strict, &access, &*events).await?;
    let to_name = ToName::found(&found);
    let references = to_name.references.clone();
    let waivers = platforms.waivers();
    warn_of_idle_waivers(&waivers, &references, &*events);
    let chart = selection.chart_repository();
    let sources = references.iter().map(Reference::repository).chain(&chart);
    access.check_registries(registries, sources, RunRegistries::default(), &*events)?;
    let record = PendingLock::prepare(lock.as_deref())?;
    if let Some(path) = lock.as_deref().filter(|_| !request.force) {
        refuse_lock_of_mirror(path)?;
    }
    let earlier = match lock.as_deref() {
        Some(path) if request.force => earlier_if_usable(path, &*events),
        Some(path) => earlier(path, &*events)?,
        None => None,
    };
    let (placement, mappings) = to_name.in_bundle(naming, earlier.as_ref());
    let is_list = matches!(selection.from, SelectedFrom::List(_) | SelectedFrom::References(_));
    let names = ImportNames::new(mappings, is_list, &*events).map_err(|error| names::failure(&error))?;
    let contents = BundleExtras {
        chart: found.chart.clone(),
        placement,
        base: base.as_ref().map(|base| read_base(base, &*events)).transpose()?,
        trust,
    };
    let foreign_layers = request.foreign_layers.into();
    let optional = found.optional();
    // Their names are known: what else was found about thousands of images is not needed any more.
    let Enumeration { chart, package, images, .. } = found;
    drop(images);
    let source = access.source()?.with_foreign_layers(foreign_layers);
    let exporter = Exporter {
        source: Arc::new(ChartSource::new(source, packaged_chart(package))),
        options: Options {
            optional,
            signatures,
            ..request.copy.options(platforms.required.clone(), waivers, foreign_layers)
        },
        contents,
        keep_going: *keep_going,
        overwrite: request.force,
        events: Arc::clone(&events),
    };
    warn_of_unused_prefix(naming, &references, &*events);
    let ended = match files {
        None => exporter.to_stream(references, names, tokio::io::stdout()).await?,
        Some(files) => exporter.to_files(references, names, files).await?,
    };
    access.warn_of_unused_hosts(&*events);
    let (written, failures) =
        ended.written.as_ref().map(|written| record_and_sign(request, written, record, signer)).unzip();
    let outcome = outcome(to, ended.mirrored, written, failures.unwrap_or_default());
    Ok(RunOutcome { chart, time: started.elapsed(), ..outcome })
}

/// Writes the lock and the signature of a bundle. If one fails, the other is written anyway.
fn record_and_sign(
    request: &Export,
    written: &Written,
    record: PendingLock,
    signer: Option<Signer>,
) -> (BundleSummary, Vec<Failure>) {
    let path = request.lock.as_deref();
    let _writer = path.map(OneWriter::beside);
    // A run that mirrors may have written it since.
    let refused = path.filter(|_| !request.force).and_then(|path| refuse_lock_of_mirror(path).err());
    let failed = refused.or_else(|| record.write_pieces(written.lock.pieces()));
    let mut failures: Vec<Failure> = failed.into_iter().collect();
    let signature =
        signer.and_then(|signer| signer.sign(&written.index).map_err(|failure| failures.push(failure)).ok());
    (summary(written, signature.as_deref()), failures)
}

/// The outcome of an export, without its chart and its time.
fn outcome(
    to: &ExportTo,
    mirrored: Vec<Mirrored>,
    written: Option<BundleSummary>,
    failures: Vec<Failure>,
) -> RunOutcome {
    let mut images: Vec<ImageOutcome> = mirrored.into_iter().map(|image| image.outcome).collect();
    let code = exit_code_of(images.iter().filter_map(ImageOutcome::failure_kind));
    if written.is_none() {
        // Copied to an unfinished file, which the next run keeps, but in no bundle.
        for image in images.iter_mut().filter(|image| image.is_confirmed()) {
            image.status = Status::Skipped;
        }
    }
    RunOutcome {
        destination: Some(match to {
            ExportTo::Stdout => "-".to_owned(),
            ExportTo::Files { path, .. } => path.display().to_string(),
        }),
        bundle: written.as_ref().map(|written| written.id.clone()),
        exit_code: written.is_none().then_some(code).filter(|code| *code != exit::SUCCESS),
        written,
        ..RunOutcome::new(Command::BundleExport, images, failures, Duration::ZERO)
    }
}

/// The lock of a mirror records where its images are, which the lock of a bundle does not.
fn refuse_lock_of_mirror(path: &Path) -> Result<(), Failure> {
    let lock = Lock::read(path).ok();
    let mut destinations = lock.iter().flat_map(|lock| &lock.destinations);
    match destinations.find_map(|placement| placement.to.as_ref()) {
        Some(to) => {
            let message = format!("{} exists and is the lock of the mirror {to}", path.display());
            Err(Failure::new(Kind::Usage, message)
                .with_hint("the file was not changed: pass another --lock, or replace it with --force"))
        }
        None => Ok(()),
    }
}

/// The files to write, checked; `None` for standard output.
fn output(to: &ExportTo, events: &dyn EventSink) -> Result<Option<Output>, Failure> {
    let ExportTo::Files { path, volume } = to else { return Ok(None) };
    if let Some(warning) = volume.and_then(VolumeSize::warning) {
        warn(events, warning);
    }
    let output = Output { path: path.clone(), volume: volume.map(VolumeSize::bytes) };
    output.check().map_err(|error| error.failure())?;
    Ok(Some(output))
}

/// The key, and the file that its signature goes to, checked before any download.
fn signer(signing: &Signing, overwrite: bool) -> Result<Signer, Failure> {
    Signer::prepare(signing.key.read()?, signing.signature.clone(), overwrite)
}

/// The blobs that the far side already has.
fn read_base(base: &request::Base, events: &dyn EventSink) -> Result<Base, Failure> {
    warn(
        events,
        "other tools cannot use a bundle written with --base: only `thoras-mirror bundle import` can",
    );
    base::read(base, events)
}

fn summary(written: &Written, signature: Option<&Path>) -> BundleSummary {
    BundleSummary {
        id: written.id.clone(),
        files: written.files.iter().map(|file| file.display().to_string()).collect(),
        signature: signature.map(|file| file.display().to_string()),
        length: written.length,
        kept: written.kept,
        left_out: written.left_out,
    }
}
