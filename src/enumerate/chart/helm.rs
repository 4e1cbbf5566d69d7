//! Runs Helm in a private folder, with a controlled environment and limits.

use std::{fs::Permissions, io, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};
use url::Url;

use super::{super::EnumerateError, ChartOptions, secrets};
use crate::error::{escape, withhold_secrets, without_temporary_name};

/// More than any chart renders, in bytes.
const MAX_OUTPUT_SIZE: u64 = 256 * 1024 * 1024;
/// How much of Helm's error message is kept.
const MAX_MESSAGE_SIZE: u64 = 64 * 1024;
/// Shorter values are left in messages: removing every `1` from a text would make it unreadable.
const MIN_SECRET_LENGTH: usize = 4;

/// An installed Helm and the private folder (mode 0700, gone when this is dropped) in which it runs.
pub(super) struct Helm {
    program: PathBuf,
    workspace: TempDir,
    /// Texts to remove from its messages.
    secrets: Vec<String>,
}

impl Helm {
    /// Prepares the folder. Whether Helm is installed shows when it runs.
    pub(super) fn new(options: &ChartOptions) -> Result<Self, EnumerateError> {
        let program = match &options.helm {
            // The working folder changes, so a relative path would come to mean something else.
            Some(path) if path.components().count() > 1 => {
                std::path::absolute(path).map_err(EnumerateError::Workspace)?
            }
            Some(name) => name.clone(),
            None => PathBuf::from("helm"),
        };
        let workspace = tempfile::Builder::new()
            .prefix("thoras-mirror-helm-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|error| EnumerateError::Workspace(without_temporary_name(error)))?;
        std::fs::create_dir(workspace.path().join("empty")).map_err(EnumerateError::Workspace)?;
        let mut secrets: Vec<String> = secrets::of(options)
            .iter()
            .chain(&chart_passwords(options))
            .flat_map(|value| value.lines().chain([value.as_str()]))
            .filter(|text| text.len() >= MIN_SECRET_LENGTH)
            .map(str::to_owned)
            .collect();
        // The longest first, or a part that is a value itself would leave the rest of a longer one.
        secrets.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Ok(Self { program, workspace, secrets })
    }

    /// A folder below the private one, created if it is not there.
    pub(super) fn private_folder(&self, name: &str) -> Result<PathBuf, EnumerateError> {
        let path = self.workspace.path().join(name);
        std::fs::create_dir_all(&path).map_err(EnumerateError::Workspace)?;
        Ok(path)
    }

    /// Runs one subcommand and returns its standard output. Dropping the future ends the process.
    pub(super) async fn run(
        &self,
        operation: &'static str,
        arguments: Vec<String>,
        standard_input: Option<Vec<u8>>,
    ) -> Result<String, EnumerateError> {
        let mut child = self.spawn(&arguments, standard_input.is_some())?;
        let unusable = |source| EnumerateError::HelmUnusable { program: self.program.clone(), source };
        let (output, message) = feed_and_collect(&mut child, standard_input).await.map_err(|source| {
            if source.kind() == io::ErrorKind::FileTooLarge {
                EnumerateError::HelmOutput { operation, reason: source.to_string() }
            } else {
                unusable(source)
            }
        })?;
        let status = child.wait().await.map_err(unusable)?;
        if !status.success() {
            let status = status.to_string();
            return Err(EnumerateError::HelmFailed { operation, status, message: self.readable(&message) });
        }
        String::from_utf8(output)
            .map_err(|_| EnumerateError::HelmOutput { operation, reason: "is not UTF-8 text".to_owned() })
    }

    fn spawn(&self, arguments: &[String], has_input: bool) -> Result<Child, EnumerateError> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.workspace.path().join("empty"))
            .stdin(if has_input { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        withhold_secrets(&mut command);
        command.spawn().map_err(|source| {
            let program = self.program.clone();
            if source.kind() == io::ErrorKind::NotFound {
                EnumerateError::HelmMissing { program }
            } else {
                EnumerateError::HelmUnusable { program, source }
            }
        })
    }

    /// Helm's error message from `Error:` on, without blank lines and without the values that were set.
    fn readable(&self, message: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(message).into_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "***");
        }
        let text =
            text.find("Error: ").and_then(|start| text.get(start + "Error: ".len()..)).unwrap_or(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() { "it printed no message".to_owned() } else { escape(&lines.join("\n")) }
    }
}

/// Passwords for the chart's own repository, which Helm repeats when it cannot reach it.
fn chart_passwords(options: &ChartOptions) -> Vec<String> {
    let places = [&options.chart, &options.repository].into_iter().chain(&options.values);
    let in_urls = places.filter_map(|text| Url::parse(text).ok()?.password().map(str::to_owned));
    let arguments = &options.helm_args;
    let attached = arguments.iter().filter_map(|text| text.strip_prefix("--password=").map(str::to_owned));
    let separate = arguments.iter().skip_while(|text| *text != "--password").nth(1).cloned();
    in_urls.chain(attached).chain(separate).collect()
}

/// Feeds standard input and reads both outputs concurrently, so that no full pipe blocks Helm.
async fn feed_and_collect(
    child: &mut Child,
    standard_input: Option<Vec<u8>>,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (input, output, message) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut pipe), Some(bytes)) = (input, standard_input) {
            // Helm may fail before it reads; its own message then says more than a broken pipe.
            let _ = pipe.write_all(&bytes).await;
        }
        Ok(())
    };
    let collect = async {
        let output = read_at_most(output, MAX_OUTPUT_SIZE + 1).await?;
        if output.len() as u64 > MAX_OUTPUT_SIZE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is larger than 256 MiB"));
        }
        Ok(output)
    };
    let drain_message = async {
        let mut message = message;
        let kept = read_at_most(message.as_mut(), MAX_MESSAGE_SIZE).await?;
        if let Some(rest) = &mut message {
            tokio::io::copy(rest, &mut tokio::io::sink()).await?;
        }
        Ok(kept)
    };
    let ((), output, kept) = tokio::try_join!(feed, collect, drain_message)?;
    Ok((output, kept))
}

async fn read_at_most(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_values_and_control_characters() {
        let options =
            ChartOptions { set: vec!["a=hunter2,b=hunter2-longer,c=x".into()], ..ChartOptions::default() };
        let helm = Helm::new(&options).unwrap();
        let message = b"WARNING: noise\nError: bad hunter2-longer\x1b[31m and hunter2\n\n  at line x\n";
        assert_eq!(
            helm.readable(message),
            "bad ***\\u{1b}[31m and ***
at line x"
        );
        assert_eq!(helm.readable(b""), "it printed no message");
    }

    #[test]
    fn the_workspace_is_private() {
        let helm = Helm::new(&ChartOptions::default()).unwrap();
        let mode = std::fs::metadata(helm.workspace.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(helm.workspace.path().join("empty").is_dir());
    }
}
