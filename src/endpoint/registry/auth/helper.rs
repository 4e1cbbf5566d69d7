//! Credential helpers: programs named `docker-credential-NAME` that read a server from standard input and print a
//! credential as JSON (the protocol of docker/docker-credential-helpers).
//!
//! `docker_credential` implements this protocol too, but without a timeout; it passes our own secrets to the helper in
//! the environment, and it does not distinguish a missing helper from one without a credential. Most of this file deals
//! with these three points.

use std::{
    collections::HashMap,
    ffi::OsString,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::OnceCell,
};

use super::{
    super::message_text::says_no_credential,
    credential::{Credential, CredentialError},
};
use crate::error::withhold_secrets;

/// Long enough for a helper with a device login, short enough for a pipeline.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Cloud helpers return tokens that are valid for an hour or more. A helper runs again after this time, so that a long
/// run never sends an expired one.
const ANSWER_LIFETIME: Duration = Duration::from_secs(30 * 60);

const MAX_ANSWER_SIZE: u64 = 256 * 1024;
const MAX_MESSAGE_LENGTH: usize = 300;

type HelperAnswer = Result<Option<Credential>, CredentialError>;

/// Runs helpers and caches their answers, so that each runs once for each server.
#[derive(Debug)]
pub(crate) struct Helpers {
    time_limit: Duration,
    /// A folder to search instead of `PATH`.
    search_path: Option<OsString>,
    answers: Mutex<HashMap<(String, String), CachedAnswer>>,
}

#[derive(Debug)]
struct CachedAnswer {
    since: Instant,
    answer: Arc<OnceCell<HelperAnswer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// What `store` reads. No `Debug`: it holds a secret.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NewLogin<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    username: &'a str,
    secret: &'a str,
}

struct Output {
    success: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Default for Helpers {
    fn default() -> Self {
        Self { time_limit: TIME_LIMIT, search_path: None, answers: Mutex::default() }
    }
}

impl Helpers {
    /// The program behind a helper's short name.
    #[must_use]
    pub(crate) fn program(name: &str) -> String {
        format!("docker-credential-{name}")
    }

    /// Sets the timeout.
    #[must_use]
    pub(crate) fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// Returns the credential of the helper `name` for `server`; `None` when it has none. `origin` is the configuration
    /// that names the helper, for errors.
    pub(crate) async fn ask(&self, name: &str, server: &str, origin: &str) -> HelperAnswer {
        let answer = self.remembered(name, server);
        answer.get_or_init(|| self.run(name, server, origin)).await.clone()
    }

    fn remembered(&self, name: &str, server: &str) -> Arc<OnceCell<HelperAnswer>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || CachedAnswer { since: Instant::now(), answer: Arc::default() };
        let entry = answers.entry((name.to_owned(), server.to_owned())).or_insert_with(fresh);
        if entry.since.elapsed() > ANSWER_LIFETIME {
            *entry = fresh();
        }
        Arc::clone(&entry.answer)
    }

    /// Stores a login with the helper `name`.
    pub(crate) async fn store(
        &self,
        name: &str,
        server: &str,
        username: &str,
        password: &SecretString,
        origin: &str,
    ) -> Result<(), CredentialError> {
        let login = NewLogin { server, username, secret: password.expose_secret() };
        let failed = |message: &str| CredentialError::Helper {
            program: Self::program(name),
            server: server.to_owned(),
            message: Credential::basic(username, password.expose_secret()).redact(message),
        };
        let input = serde_json::to_string(&login).map_err(|error| failed(&error.to_string()))?;
        let output = self.start(name, "store", server, &input, origin).await?;
        if output.success { Ok(()) } else { Err(failed(&message_of(&output))) }
    }

    /// Removes a login from the helper `name`. Returns whether there was one, as far as the helper says.
    pub(crate) async fn erase(
        &self,
        name: &str,
        server: &str,
        origin: &str,
    ) -> Result<bool, CredentialError> {
        let output = self.start(name, "erase", server, server, origin).await?;
        let message = message_of(&output);
        if output.success || says_no_credential(&message) {
            return Ok(output.success);
        }
        Err(CredentialError::Helper { program: Self::program(name), server: server.to_owned(), message })
    }

    async fn run(&self, name: &str, server: &str, origin: &str) -> HelperAnswer {
        let output = self.start(name, "get", server, server, origin).await?;
        credential_in(&output).map_err(|message| CredentialError::Helper {
            program: Self::program(name),
            server: server.to_owned(),
            message,
        })
    }

    /// Runs an action of a helper with this input.
    async fn start(
        &self,
        name: &str,
        action: &str,
        server: &str,
        input: &str,
        origin: &str,
    ) -> Result<Output, CredentialError> {
        let program = Self::program(name);
        let failed = |message: String| CredentialError::Helper {
            program: program.clone(),
            server: server.to_owned(),
            message,
        };
        if !is_program_name(name) {
            return Err(failed("it is not a valid program name".to_owned()));
        }
        let child = self.command(&program, action).spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                CredentialError::HelperMissing { program: program.clone(), origin: origin.to_owned() }
            }
            _ => failed(format!("it cannot be started: {error}")),
        })?;
        tokio::time::timeout(self.time_limit, feed_and_collect(child, input))
            .await
            .map_err(|_| failed(format!("no answer within {} seconds", self.time_limit.as_secs())))?
            .map_err(|error| failed(format!("cannot communicate with it: {error}")))
    }

    fn command(&self, program: &str, action: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its own process group, so that its child processes can be killed with it.
        command.process_group(0);
        withhold_secrets(&mut command);
        if let Some(path) = &self.search_path {
            command.env("PATH", path);
        }
        command
    }
}

/// A running helper and its child processes. Dropping this kills them, unless the helper has exited.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // The child has not been waited for, so its ID cannot belong to another process.
        let leader = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(leader) = leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Sends the input and collects the output. Reads both streams concurrently so that neither blocks. On a timeout this
/// future is dropped, which kills the helper.
async fn feed_and_collect(child: Child, input: &str) -> std::io::Result<Output> {
    let mut group = Group(child);
    let child = &mut group.0;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let question = async {
        if let Some(mut stdin) = stdin {
            // A helper that fails at once may not read its input; its exit status is the better error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(question, read_some(stdout), read_some(stderr));
    let success = child.wait().await?.success();
    Ok(Output { success, stdout: stdout?, stderr: stderr? })
}

async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(MAX_ANSWER_SIZE).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// The message of a helper that failed: on standard output by the protocol, or on standard error after a crash.
fn message_of(output: &Output) -> String {
    let texts =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    let message = texts.into_iter().find(|text| !text.is_empty());
    message.map_or_else(|| "it failed without a message".to_owned(), |text| shown(&text))
}

/// Interprets the output. The error is a message for the user.
fn credential_in(output: &Output) -> Result<Option<Credential>, String> {
    if !output.success {
        let message = message_of(output);
        return if says_no_credential(&message) { Ok(None) } else { Err(message) };
    }
    // The output of a successful helper holds the secret: never show it in an error.
    let response: Response =
        serde_json::from_slice(&output.stdout).map_err(|_| "its output is not valid JSON".to_owned())?;
    match (response.username.as_str(), response.secret.as_str()) {
        ("", "") => Ok(None),
        (_, "") => Err("its output holds no secret".to_owned()),
        ("<token>", _) => Ok(Some(Credential::IdentityToken(SecretString::from(response.secret)))),
        _ => Ok(Some(Credential::basic(response.username, response.secret))),
    }
}

fn shown(message: &str) -> String {
    let mut short: String = message.chars().take(MAX_MESSAGE_LENGTH).collect();
    if short.len() < message.len() {
        short.push('…');
    }
    short.escape_debug().to_string()
}

/// A short name, never a path: a configuration must not start arbitrary programs.
fn is_program_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
pub(super) mod tests;
