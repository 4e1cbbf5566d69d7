//! `bundle export`: the images in one file, read back before it gets its name.

use std::{io::IsTerminal as _, path::Path, sync::Arc, time::Instant};

use super::{
    super::{Session, enumerate_with, made_here, warn_of_idle_waivers},
    base,
};
use crate::{
    cli::Export,
    confirm::Level,
    endpoint::{bundle::Output, packaged_chart::ChartSource},
    error::{Failure, Kind},
    lock::{Base, Lock, LockFile, Placement},
    oci::Reference,
    outcome::ImageOutcome,
    pipeline::{Exported, Exporter, Options, Record, Written},
    report::{BundleSummary, Closing, Command, Format, RunDocument, present_run, present_run_on_stderr},
    request::{self, Access},
};

/// How many blobs move at once when nothing else is asked for.
const JOBS: u16 = 16;

pub(super) async fn run(args: Export, session: &Session) -> Result<u8, Failure> {
    let begun = Instant::now();
    let is_stream = args.output == Path::new("-");
    check(&args, is_stream)?;
    let output = Output { path: args.output.clone(), volume: volume(&args, session)? };
    if !is_stream {
        output.check().map_err(|error| error.failure())?;
    }
    request::check_stdin(Some(&args.selection), &args.registries, None)?;
    let access = Access::new(&args.registries, session.events())?;
    let found = enumerate_with(&args.selection, args.with_chart, session).await?;
    let mut references: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let options = options(&args);
    warn_of_idle_waivers(&options.waivers, &references, session);
    let chart = found.package.as_ref().map(|package| package.reference.clone());
    references.extend(chart.clone());
    let prepare = |path| LockFile::prepare(path).map_err(|error| error.failure());
    let lock_file = args.lock.as_deref().map(prepare).transpose()?;
    let placement = Placement {
        to: None,
        naming: args.naming.naming.unwrap_or_default(),
        source_prefix: args.naming.source_prefix.clone().or(found.source_prefix),
        chart,
    };
    let base = base(&args, session)?;
    let record = Record { chart: found.chart.clone(), placement, base };
    let exporter = Exporter {
        source: Arc::new(ChartSource::new(
            access.source()?.with_foreign_layers(options.foreign_layers),
            made_here(found.package),
        )),
        options,
        record,
        keep_going: args.keep_going,
        events: session.events(),
    };
    let ended = if is_stream {
        exporter.to_stream(references, tokio::io::stdout()).await?
    } else {
        exporter.to_files(references, output).await?
    };
    session.reporter.finish();
    let failures = match (&ended.written, lock_file) {
        (Some(written), Some(file)) => write_lock(file, &written.lock),
        _ => None,
    };
    let document = document(&args, ended, failures, found.chart, begun);
    // Where the bundle itself is standard output, nothing else may be.
    if is_stream {
        present_run_on_stderr(
            &document,
            Closing::Export { bundle: document.written.as_ref() },
            session.verbosity,
        );
        return Ok(document.exit_code);
    }
    let closing = Closing::Export { bundle: document.written.as_ref() };
    present_run(&document, closing, args.format, session.verbosity)?;
    Ok(document.exit_code)
}

/// What the far side has.
fn base(args: &Export, session: &Session) -> Result<Option<Base>, Failure> {
    let Some(path) = &args.base else { return Ok(None) };
    session.warn(
        "a bundle with --base is for `thoras-mirror bundle import` only: to other tools it is incomplete"
            .to_owned(),
    );
    base::read(path).map(Some)
}

/// The size of volumes in bytes.
fn volume(args: &Export, session: &Session) -> Result<Option<u64>, Failure> {
    let Some(text) = &args.split else { return Ok(None) };
    let (size, warning) = request::volume_size(text)?;
    if let Some(warning) = warning {
        session.warn(warning.to_owned());
    }
    Ok(Some(size))
}

fn write_lock(file: LockFile, lock: &Lock) -> Option<Failure> {
    file.write(lock).err().map(|error| error.failure())
}

/// What cannot be meant.
fn check(args: &Export, is_stream: bool) -> Result<(), Failure> {
    let usage = |message: &str, hint: &str| Err(Failure::new(Kind::Usage, message).with_hint(hint));
    if is_stream && args.format == Format::Json {
        return usage(
            "--output - and --format json both want standard output",
            "write the bundle to a file, or leave --format json out",
        );
    }
    if is_stream && std::io::stdout().is_terminal() {
        return usage(
            "standard output is a terminal, which a bundle would make unreadable",
            "pipe it somewhere, for example `| ssh HOST 'cat > thoras.tar'`, or name a file with --output FILE",
        );
    }
    if is_stream && args.split.is_some() {
        return usage(
            "--split writes files, and --output - is a stream",
            "name a file with --output, or cut the stream yourself, for example with split(1)",
        );
    }
    if !is_stream && args.lock.as_ref() == Some(&args.output) {
        return usage(
            "--output and --lock name the same file",
            "the bundle holds the lock: leave --lock out",
        );
    }
    if args.output == Path::new("json") || args.output == Path::new("table") {
        let name = args.output.display();
        return usage(
            &format!("--output {name} would write a bundle to a file of the name `{name}`"),
            "the form of the answer is chosen with --format; if the file is meant, write ./json or ./table",
        );
    }
    Ok(())
}

fn options(args: &Export) -> Options {
    Options {
        platforms: args.platforms.platform.clone(),
        waivers: request::waivers(&args.platforms),
        check: Level::Blobs,
        foreign_layers: args.foreign_layers.into(),
        overwrite: true,
        dry_run: false,
        jobs: usize::from(args.jobs.unwrap_or(JOBS)),
        fail_fast: false,
    }
}

fn document(
    args: &Export,
    exported: Exported,
    failure: Option<Failure>,
    chart: Option<crate::oci::ChartIdentity>,
    begun: Instant,
) -> RunDocument {
    let outcomes: Vec<ImageOutcome> = exported.mirrored.into_iter().map(|one| one.outcome).collect();
    let failures = failure.into_iter().collect();
    let mut document = RunDocument::new(Command::BundleExport, outcomes, failures, begun.elapsed());
    document.destination = Some(args.output.display().to_string());
    document.chart = chart;
    document.bundle = exported.written.as_ref().map(|written| written.id.clone());
    document.written = exported.written.map(|written| summary(&written));
    document
}

fn summary(written: &Written) -> BundleSummary {
    BundleSummary {
        id: written.id.clone(),
        files: written.files.iter().map(|file| file.display().to_string()).collect(),
        length: written.length,
        kept: written.kept,
        left_out: written.left_out,
    }
}
