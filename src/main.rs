//! Starts and exits: nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    thoras_mirror::main()
}
