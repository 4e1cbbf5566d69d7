//! Checks of this machine: helm, and the folder of the lock.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::{CheckResult, DoctorCheck};
use crate::{
    error::{Failure, Kind, withhold_secrets},
    lock::{Lock, LockFile},
};

const INSTALL: &str = "install Helm (https://helm.sh/docs/intro/install/) or name it with --helm FILE; without Helm, \
                       pass --rendered FILE or --images FILE";

/// Whether helm is installed, and its version.
pub(crate) async fn helm(program: Option<PathBuf>, limit: Duration) -> CheckResult {
    let program = program.unwrap_or_else(|| PathBuf::from("helm"));
    match version(&program, limit).await {
        Ok(version) if version.starts_with("v2.") => CheckResult::warning(
            DoctorCheck::Helm,
            format!("{} is {version}, which is no longer maintained", program.display()),
            INSTALL,
        ),
        Ok(version) => CheckResult::ok(DoctorCheck::Helm, format!("{} is {version}", program.display())),
        Err(reason) => {
            let message = format!("{} {reason}", program.display());
            CheckResult::failed(DoctorCheck::Helm, Failure::new(Kind::Input, message).with_hint(INSTALL))
        }
    }
}

async fn version(program: &Path, limit: Duration) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(["version", "--short", "--client"]).stdin(Stdio::null()).kill_on_drop(true);
    withhold_secrets(&mut command);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Err(_) => return Err(format!("did not answer within {} s", limit.as_secs())),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("was not found; rendering a chart requires Helm".to_owned());
        }
        Ok(Err(error)) => return Err(format!("cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // Helm 2 calls it `Client: v2.17.0+g…`.
    let version = text.strip_prefix("Client:").unwrap_or(&text).trim().to_owned();
    if output.status.success() && version.starts_with('v') {
        Ok(version)
    } else {
        Err("does not report its version".to_owned())
    }
}

/// Whether a run could write the lock.
#[must_use]
pub(crate) fn lock(path: &Path) -> CheckResult {
    let failed = |failure| CheckResult::failed(DoctorCheck::Lock, failure);
    if let Err(error) = LockFile::prepare(path) {
        return failed(error.failure());
    }
    match Lock::read(path) {
        Err(error) if error.is_damage() => failed(error.failure_to_replace()),
        _ => CheckResult::ok(DoctorCheck::Lock, format!("{} can be written", path.display())),
    }
}
