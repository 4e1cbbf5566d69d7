//! Starts, runs, exits: nothing else.

use std::process::ExitCode;

use clap::Parser;
use thoras_mirror::{cli::Cli, commands};

fn main() -> ExitCode {
    ExitCode::from(commands::start(Cli::parse()))
}
