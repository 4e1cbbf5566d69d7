//! One small file for each command: it chooses endpoints and options, the pipeline does the work.

mod bundle;
pub mod check;
pub mod doctor;
mod images;
mod inspect;
mod repair;
mod repositories;
mod serve;
mod sync;
mod verify;

use std::sync::Arc;

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    cli::{self, Cli, Command, SelectionArgs, Verbosity as VerbosityArgs},
    endpoint::packaged_chart::PackagedChart,
    enumerate::{self, ChartPackage, Enumeration, Selection},
    error::{Failure, Kind, exit, hide_logins},
    event::{Event, EventSink},
    lock::Placement,
    oci::{Mapping, Reference, mapping::Root},
    report::{self, Format, ImagesOutput, Reporter, RunDocument, Verbosity, print},
    request,
    waiver::Waivers,
};

/// How many threads wait for files at once. What they read ahead stays with them, so memory grows with their number.
const FILES_AT_ONCE: usize = 4;

/// Starts the runtime, runs a command, and returns the exit code. A signal ends the command where it is:
/// every transfer is dropped, and what is at the destination stays consistent.
#[must_use]
pub fn start(cli: Cli) -> u8 {
    match runtime(&cli.command) {
        Ok(runtime) => {
            let code = runtime.block_on(run(cli));
            // A read of standard input that nobody waits for any more must not keep the process alive.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            let failure = Failure::new(Kind::Image, format!("cannot start: {error}"));
            print::print_failure(&failure);
            failure.kind.exit_code()
        }
    }
}

/// As many threads as a command makes use of: each costs memory.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = match command {
        // Many clients.
        Command::Serve(_) => return Builder::new_multi_thread().enable_all().build(),
        // Hashed at the speed of the disk.
        Command::Bundle(cli::Bundle::Export(_)) => Builder::new_multi_thread(),
        // Bound by the network.
        _ => Builder::new_current_thread(),
    };
    builder.max_blocking_threads(FILES_AT_ONCE).enable_all().build()
}

/// Shows what is wrong with the command line, or the help that it asks for, and returns the exit code.
#[must_use]
pub fn refuse(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        // Whoever does not read on has seen enough.
        let _ = error.print();
        return exit::SUCCESS;
    }
    print::usage_error(&error.render(), std::env::args().skip(1));
    exit::USAGE
}

/// Runs a command to its end and returns the exit code. Everything that it has to say has been said then.
pub async fn run(cli: Cli) -> u8 {
    let verbosity = verbosity(cli.verbosity);
    let reporter = Arc::new(Reporter::new(verbosity));
    let session = Session { reporter: Arc::clone(&reporter), verbosity };
    let (command, format) = describe(&cli.command);
    // A signal is how a server is meant to end, so it sees to that by itself.
    let is_server = matches!(cli.command, Command::Serve(_));
    let work = async {
        match cli.command {
            Command::Images(args) => images::run(*args, &session).await,
            Command::Sync(args) => sync::run(*args, &session).await,
            Command::Verify(args) => verify::run(*args, &session).await,
            Command::Inspect(args) => inspect::run(args, &session).await,
            Command::Bundle(command) => Box::pin(bundle::run(command, &session)).await,
            Command::Doctor(args) => Box::pin(doctor::job::run(*args, &session)).await,
            Command::Serve(args) => serve::run(args, &session).await,
        }
    };
    let ended = tokio::select! {
        biased;
        code = ended_by_signal(), if !is_server => Err(interrupted(code)),
        ended = ticking(&reporter, work) => ended.map_err(|failure| (failure.kind.exit_code(), failure)),
    };
    reporter.finish();
    ended.unwrap_or_else(|(code, failure)| report_failure(command, format, failure, code))
}

/// What every command needs to speak.
struct Session {
    reporter: Arc<Reporter>,
    verbosity: Verbosity,
}

impl Session {
    fn events(&self) -> Arc<dyn EventSink> {
        let events: Arc<dyn EventSink> = Arc::<Reporter>::clone(&self.reporter);
        events
    }

    fn warn(&self, message: impl Into<String>) {
        let message = hide_logins(&message.into());
        self.reporter.emit(Event::Warning { image: None, message });
    }
}

/// Lets the reporter draw while the work goes on.
async fn ticking<T>(reporter: &Reporter, work: impl Future<Output = T>) -> T {
    let mut ticks = tokio::time::interval(Reporter::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            ended = &mut work => return ended,
            _ = ticks.tick() => reporter.tick(),
        }
    }
}

/// SIGINT and SIGTERM, caught from [`Signals::listen`] on.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one and returns the exit code that a shell expects then.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => exit::INTERRUPTED,
            _ = self.terminate.recv() => exit::TERMINATED,
        }
    }
}

/// Waits until a signal ends the command.
async fn ended_by_signal() -> u8 {
    match Signals::listen() {
        Ok(mut signals) => signals.next().await,
        // Without handlers the system ends the process, which is as consistent and only less polite.
        Err(_) => std::future::pending().await,
    }
}

fn interrupted(code: u8) -> (u8, Failure) {
    let failure = Failure::new(Kind::Interrupted, "interrupted")
        .with_hint("nothing incomplete carries a tag; run the same command again to finish the work");
    (code, failure)
}

/// A command that failed before it had anything to show for it.
fn report_failure(command: report::Command, format: Format, failure: Failure, code: u8) -> u8 {
    let mut document = RunDocument::new(command, Vec::new(), vec![failure], std::time::Duration::ZERO);
    document.exit_code = code;
    if format == Format::Json
        && let Err(failure) = print::document(&document)
    {
        print::print_failure(&failure);
    }
    document.failures.iter().for_each(print::print_failure);
    code
}

fn describe(command: &Command) -> (report::Command, Format) {
    match command {
        Command::Images(args) => (
            report::Command::Images,
            if args.output == ImagesOutput::Json { Format::Json } else { Format::Table },
        ),
        Command::Sync(args) => (report::Command::Sync, args.output),
        Command::Verify(args) => (report::Command::Verify, args.output),
        Command::Inspect(args) => (report::Command::Inspect, args.output),
        Command::Bundle(command) => bundle::describe(command),
        Command::Doctor(args) => (report::Command::Doctor, args.output),
        Command::Serve(_) => (report::Command::Serve, Format::Table),
    }
}

fn verbosity(args: VerbosityArgs) -> Verbosity {
    match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    }
}

/// Finds the images that were asked for, and says what was left out on the way.
async fn enumerate(args: &SelectionArgs, session: &Session) -> Result<Enumeration, Failure> {
    enumerate_with(args, false, session).await
}

/// The same, and the chart itself where it is wanted.
async fn enumerate_with(
    args: &SelectionArgs,
    with_chart: bool,
    session: &Session,
) -> Result<Enumeration, Failure> {
    let selection = Selection { with_chart, ..request::selection(args) };
    let found = enumerate::enumerate(&selection).await?;
    for note in &found.notes {
        session.warn(format!("{}: {}", note.place.place(), note.reason));
    }
    for filter in &found.idle_filters {
        session.warn(format!("`{filter}` matches none of the images: check its spelling"));
    }
    Ok(found)
}

/// What a run holds of its chart, where no registry has it.
fn made_here(package: Option<ChartPackage>) -> Option<PackagedChart> {
    let ChartPackage { reference, artifact, .. } = package?;
    artifact.map(|artifact| PackagedChart { reference, artifact: Some(artifact) })
}

/// Says which leave to lack a platform helps nobody.
fn warn_of_idle_waivers(waivers: &Waivers, images: &[Reference], session: &Session) {
    for waiver in waivers.idle(images) {
        session.warn(format!(
            "`--allow-missing-platform {waiver}` matches none of the images: check its spelling"
        ));
    }
}

/// The names of the images at the destination, every one its own.
fn name_all(placement: &Placement, root: &Root, references: &[Reference]) -> Result<Vec<Mapping>, Failure> {
    placement.namer(root.clone()).map_all(references).map_err(|error| {
        Failure::from_error(Kind::Usage, &error)
            .with_hint("give them different names with --naming full, or leave one out with --exclude")
    })
}
