//! From the command line to the exit code: starts the runtime, runs the job, presents its outcome.
//!
//! [`signals`] end a job, or become commands to a server. [`password`] asks for a login.

mod password;
mod signals;

use std::{process::ExitCode, sync::Arc};

use tokio::runtime::{Builder, Runtime};

use crate::{
    cli::{self, Bundle, LockCommand, Parsed},
    error::{Failure, Kind, exit},
    event::{Event, EventSink},
    jobs::{self, inspect::Inspected},
    outcome::{Command, RunOutcome},
    output::{Format, LogFormat, Verbosity},
    report::{DoctorDocument, Document, Presentation, Reporter, log, present, print},
    request::{
        ExportTo, Origins, Request, refuse_files_as_images, refuse_ineffective, refuse_unusable_variables,
        variable_at_fault,
    },
};

/// The number of threads for blocking file I/O. Each keeps a read-ahead buffer, so memory grows with their number.
const FILE_THREADS: usize = 4;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(match cli::parse() {
        Ok(parsed) => {
            if parsed.cli.verbosity.log_format == LogFormat::Json {
                log::use_json();
            }
            start(parsed)
        }
        Err(error) => refuse(&error),
    })
}

/// Prints the error in the command line, or the requested help, and returns the exit code.
fn refuse(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        // The reader closed the pipe: the rest is not needed.
        let _ = error.print();
        return exit::SUCCESS;
    }
    let text = error.render();
    if wants_json_log() {
        log::use_json();
    }
    // Clap names only the flag, which the user did not type.
    let variable = variable_at_fault(&cli::command(), error, words()).or_else(|| unreadable_variable(error));
    let tip = variable
        .map_or_else(String::new, |name| format!("\nThe value comes from {name}: correct or unset it.\n"));
    let (plain, colored) = (format!("{text}{tip}"), format!("{}{tip}", text.ansi()));
    print::usage_error(plain, colored, words());
    exit::USAGE
}

/// The variable of this program whose value is not UTF-8, if the error is about that. Clap names none.
fn unreadable_variable(error: &clap::Error) -> Option<String> {
    let is_about_it = error.kind() == clap::error::ErrorKind::InvalidUtf8
        && std::env::args_os().all(|word| word.to_str().is_some());
    let names = std::env::vars_os().filter(|(_, value)| is_about_it && value.to_str().is_none());
    names.filter_map(|(name, _)| name.into_string().ok()).find(|name| name.starts_with("THORAS_MIRROR_"))
}

/// The words of the command line, which need not be UTF-8.
fn words() -> impl Iterator<Item = String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())
}

/// Whether a command line that cannot be parsed asks for a JSON log.
fn wants_json_log() -> bool {
    let words: Vec<_> = std::env::args_os().collect();
    let is_json = LogFormat::Json.to_string();
    let typed = words.iter().any(|word| *word == *format!("--log-format={is_json}"))
        || words
            .iter()
            .zip(words.iter().skip(1))
            .any(|(flag, value)| *flag == *"--log-format" && *value == *is_json);
    typed || std::env::var(cli::variable::LOG_FORMAT).is_ok_and(|value| value == is_json)
}

/// Starts the runtime, runs a command, and returns the exit code.
fn start(parsed: Parsed) -> u8 {
    match runtime(&parsed.cli.command) {
        Ok(runtime) => {
            let code = runtime.block_on(run(parsed));
            // A pending read of standard input must not keep the process alive.
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

/// The number of worker threads of a command: each costs memory.
fn runtime(command: &cli::Command) -> std::io::Result<Runtime> {
    let mut builder = match command {
        // Serves many clients.
        cli::Command::Serve(_) => return Builder::new_multi_thread().enable_all().build(),
        // Hashes as fast as the disk delivers.
        cli::Command::Bundle(Bundle::Export(_)) | cli::Command::Export(_) => Builder::new_multi_thread(),
        // Bound by the network.
        _ => Builder::new_current_thread(),
    };
    builder.max_blocking_threads(FILE_THREADS).enable_all().build()
}

/// Runs a command and returns the exit code. A signal stops the job immediately: transfers are dropped, and the
/// destination stays consistent.
async fn run(parsed: Parsed) -> u8 {
    let Parsed { cli, command: flags, matches } = parsed;
    let verbosity = verbosity(cli.verbosity);
    let reporter = Arc::new(Reporter::new(verbosity));
    let (command, mut presentation) = describe(&cli.command, verbosity);
    let origins = Origins::new(&flags, &matches);
    if let Some(settings) = origins.set_by_environment() {
        reporter.emit(Event::Detail { message: format!("settings from the environment: {settings}") });
    }
    let request = refuse_unusable_variables(&flags, &matches)
        .and_then(|()| refuse_ineffective(&matches))
        .and_then(|()| refuse_files_as_images(&matches))
        .and_then(|()| Request::new(cli.command, &origins));
    // Every command with all its flags takes as much memory as the manifests of hundreds of images.
    drop((flags, matches));
    let result = match request {
        Ok(request) => {
            presentation.on_stderr =
                matches!(&request, Request::Export(export) if export.to == ExportTo::Stdout);
            Box::pin(ended(&request, &reporter)).await
        }
        Err(failure) => Err((failure.kind.exit_code(), failure)),
    };
    reporter.finish();
    let shown = match result {
        Ok(JobEnd::Document(document)) => present(&document, presentation).map(|()| document.exit_code()),
        Ok(JobEnd::Raw(bytes)) => print::raw(&bytes).map(|()| exit::SUCCESS),
        Ok(JobEnd::Text(text)) => print::line(&text).map(|()| exit::SUCCESS),
        Ok(JobEnd::Stopped(code)) => Ok(code),
        Err((code, failure)) => return show_failure(command, presentation, origins.explain(failure), code),
    };
    shown.unwrap_or_else(|failure| {
        let code = failure.kind.exit_code();
        show_failure(command, presentation, failure, code)
    })
}

/// How a job ended.
enum JobEnd {
    /// With a document to present.
    Document(Box<Document>),
    /// With bytes for standard output.
    Raw(bytes::Bytes),
    /// With a line for standard output.
    Text(String),
    /// A server was stopped with this exit code.
    Stopped(u8),
}

impl<T: Into<Document>> From<T> for JobEnd {
    fn from(outcome: T) -> Self {
        Self::Document(Box::new(outcome.into()))
    }
}

/// Runs the job until it ends or a signal arrives.
async fn ended(request: &Request, reporter: &Arc<Reporter>) -> Result<JobEnd, (u8, Failure)> {
    // A server handles signals itself.
    let is_server = matches!(request, Request::Serve(_));
    tokio::select! {
        biased;
        code = signals::ending(), if !is_server => {
            let failure = Failure::new(Kind::Interrupted, "interrupted");
            let copies = matches!(request, Request::Sync(_) | Request::Import(_) | Request::Export(_));
            let hint = copies.then(|| "no incomplete image was tagged; run the same command again to resume".to_owned());
            Err((code, failure.with_optional_hint(hint)))
        }
        ended = ticking(reporter, dispatch(request, reporter)) => {
            ended.map_err(|failure| (failure.kind.exit_code(), failure))
        }
    }
}

/// Text for other programs, with a line break at its end. It is printed as it is: escaping could change its meaning.
fn printed(mut text: String) -> JobEnd {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    JobEnd::Raw(text.into())
}

async fn dispatch(request: &Request, reporter: &Arc<Reporter>) -> Result<JobEnd, Failure> {
    let events: Arc<dyn EventSink> = Arc::<Reporter>::clone(reporter);
    Ok(match request {
        Request::Images(request) => Box::pin(jobs::images::run(request, events)).await?.into(),
        Request::Sync(request) => Box::pin(jobs::sync::run(request, events)).await?.into(),
        Request::Verify(request) => Box::pin(jobs::verify::run(request, events)).await?.into(),
        Request::Values(request) => Box::pin(jobs::values::run(request, events)).await?.into(),
        Request::Inspect(request) => match jobs::inspect::run(request, events).await? {
            Inspected::Images(inspection) => inspection.into(),
            Inspected::Raw(bytes) => JobEnd::Raw(bytes),
        },
        Request::Export(request) => Box::pin(jobs::export::run(request, events)).await?.into(),
        Request::Import(request) => Box::pin(jobs::import::run(request, events)).await?.into(),
        Request::BundleVerify(request) => jobs::bundle_verify::run(request, events).await?.into(),
        Request::BundleInspect(request) => jobs::bundle_inspect::run(request, &*events).await?.into(),
        Request::Doctor(request) => {
            let found = Box::pin(jobs::doctor::job::run(request, events)).await?;
            DoctorDocument::new(found.destination, found.findings, &found.names).into()
        }
        Request::PullSecret(request) => printed(Box::pin(jobs::pull_secret::run(request, events)).await?),
        Request::Redirect(request) => printed(jobs::redirect::run(request, &*events)?),
        Request::Running(request) => Box::pin(jobs::running::run(request, events)).await?.into(),
        Request::Serve(request) => {
            let control = signals::control()?;
            JobEnd::Stopped(jobs::serve::run(request, events, control).await?)
        }
        Request::LockMerge(request) => Box::pin(jobs::lock_merge::run(request, events)).await?.into(),
        Request::Login(request) => {
            let login = password::ask(request).await?;
            JobEnd::Text(jobs::login::store(request, login, events).await?)
        }
        Request::Logout(request) => JobEnd::Text(jobs::login::remove(request).await?),
    })
}

/// Lets the reporter draw while the job runs.
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

/// The document of a command that failed early.
fn show_failure(command: Command, presentation: Presentation, failure: Failure, code: u8) -> u8 {
    let outcome = RunOutcome { exit_code: Some(code), ..RunOutcome::failed(command, failure) };
    if let Err(failure) = present(&outcome.into(), presentation) {
        print::print_failure(&failure);
    }
    code
}

fn describe(command: &cli::Command, verbosity: Verbosity) -> (Command, Presentation) {
    let (command, format) = match command {
        cli::Command::Images(args) => {
            let presentation = Presentation { why: args.why, ..Presentation::new(args.output, verbosity) };
            return (Command::Images, presentation);
        }
        cli::Command::Sync(args) => (Command::Sync, args.output.output),
        cli::Command::Verify(args) => (Command::Verify, args.output.output),
        cli::Command::Values(args) => (Command::Values, args.format().unwrap_or(Format::Yaml)),
        cli::Command::Inspect(args) => {
            let presentation =
                Presentation { tree: args.tree, ..Presentation::new(args.output.output, verbosity) };
            return (Command::Inspect, presentation);
        }
        cli::Command::Bundle(Bundle::Export(args)) | cli::Command::Export(args) => {
            (Command::BundleExport, args.format)
        }
        cli::Command::Bundle(Bundle::Import(args)) | cli::Command::Import(args) => {
            (Command::BundleImport, args.output.output)
        }
        cli::Command::Bundle(Bundle::Verify(args)) => (Command::BundleVerify, args.output.output),
        cli::Command::Bundle(Bundle::Inspect(args)) => (Command::BundleInspect, args.output.output),
        cli::Command::Doctor(args) => (Command::Doctor, args.output.output),
        cli::Command::PullSecret(_) => (Command::PullSecret, Format::Table),
        cli::Command::Redirect(_) => (Command::Redirect, Format::Table),
        cli::Command::Running(args) => (Command::Running, args.output.output),
        cli::Command::Serve(_) => (Command::Serve, Format::Table),
        cli::Command::Lock(LockCommand::Merge(args)) => (Command::LockMerge, args.format),
        cli::Command::Login(_) => (Command::Login, Format::Table),
        cli::Command::Logout(_) => (Command::Logout, Format::Table),
    };
    (command, Presentation::new(format, verbosity))
}

fn verbosity(args: cli::Verbosity) -> Verbosity {
    match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    }
}
