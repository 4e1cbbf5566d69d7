//! Starts, runs, exits: nothing else.

use std::process::ExitCode;

use clap::Parser;
use thoras_mirror::{cli::Cli, commands};

fn main() -> ExitCode {
    ExitCode::from(match Cli::try_parse() {
        Ok(cli) => commands::start(cli),
        Err(error) => commands::refuse(&error),
    })
}
