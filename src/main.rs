//! Starts, runs, exits: nothing else.

use std::process::ExitCode;

use clap::Parser;
use thoras_mirror::{cli::Cli, jobs};

fn main() -> ExitCode {
    ExitCode::from(match Cli::try_parse() {
        Ok(cli) => jobs::start(cli),
        Err(error) => jobs::refuse(&error),
    })
}
