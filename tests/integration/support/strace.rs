//! Runs the program under strace, which records its system calls in order and can kill it at one of them.
//!
//! The order determines what a power cut leaves behind: bytes are durable once synced, a name once its folder is
//! synced.

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::process::Command;

use super::programs;

/// The recorded calls: everything that changes files or their names, and writes to sockets.
const TRACED: &str = "execve,/^open,/^mkdir,/^p?write,/^send,/^rename,/^f(data)?sync,copy_file_range";
const WRITES: [&str; 7] =
    ["write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range"];

/// One run of the program under strace.
#[derive(Debug)]
pub struct Strace {
    folder: TempDir,
    kill_at: Option<(&'static str, usize)>,
}

impl Strace {
    /// Only records.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), kill_at: None }
    }

    /// Kills the program when it begins the `n`th of these calls, counted from 1, before that call has any effect.
    pub fn killing_at(call: &'static str, n: usize) -> Self {
        Self { kill_at: Some((call, n)), ..Self::new() }
    }

    /// Runs this program; the process that it starts is the program itself, so signals and exit codes are the program's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(programs::find("THORAS_MIRROR_TEST_STRACE", "strace"));
        command.args(["-D", "-f", "-y", "-s", "64", "-e", &format!("trace={TRACED}"), "-o"]).arg(self.file());
        if let Some((call, n)) = self.kill_at {
            command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
        }
        command.arg(program);
        command
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// The calls of a program that has ended.
    pub async fn trace(&self) -> Trace {
        let complete = async {
            loop {
                let text = std::fs::read_to_string(self.file()).unwrap_or_default();
                if has_ended(&text) {
                    break text;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let text = tokio::time::timeout(Duration::from_secs(30), complete).await;
        Trace::parse(&text.expect("strace writes down how the program ended: may it trace processes here?"))
    }
}

/// Whether the first process, the program, has ended. strace runs a moment longer.
pub fn has_ended(text: &str) -> bool {
    let program = text.split(' ').next().unwrap_or_default();
    text.lines().any(|line| {
        let (process, rest) = line.split_once(' ').unwrap_or_default();
        process == program && (rest.contains("+++ exited") || rest.contains("+++ killed"))
    })
}

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments as strace shows them: a descriptor with its path, `3</tmp/x>`.
    pub arguments: Vec<String>,
    /// What it returned, `None` if it never did.
    pub result: Option<i64>,
    /// The line on which it begins.
    pub begins: usize,
    /// The line on which it ends.
    pub ends: usize,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// Whether it succeeded.
    pub fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }

    /// Whether it ended before the other one began.
    pub fn is_before(&self, other: &Self) -> bool {
        self.ends < other.begins
    }

    /// The path of the descriptor that is its first argument.
    pub fn file(&self) -> Option<&Path> {
        described(self.arguments.first()?)
    }

    /// The offset in the file that it writes to, if given.
    pub fn offset(&self) -> Option<u64> {
        if self.name == "pwrite64" { self.arguments.last()?.parse().ok() } else { None }
    }

    /// Whether it is a write to this file.
    pub fn writes_to(&self, path: &Path) -> bool {
        self.is(&WRITES) && self.file() == Some(path)
    }

    /// Whether it makes the bytes of this file, or the names in this folder, durable.
    pub fn syncs(&self, path: &Path) -> bool {
        self.is(&["fsync", "fdatasync"]) && self.file() == Some(path) && self.succeeded()
    }

    /// For a rename: from, to.
    pub fn renamed(&self) -> Option<(PathBuf, PathBuf)> {
        match (self.name.as_str(), self.arguments.as_slice()) {
            ("rename", [from, to]) => Some((text(from).into(), text(to).into())),
            ("renameat" | "renameat2", [from_folder, from, to_folder, to, ..]) => {
                Some((below(from_folder, from), below(to_folder, to)))
            }
            _ => None,
        }
    }

    /// For a call that may have created a file or a folder: which.
    pub fn created(&self) -> Option<PathBuf> {
        match (self.name.as_str(), self.arguments.as_slice()) {
            ("openat" | "openat2", [folder, name, flags, ..]) if flags.contains("O_CREAT") => {
                Some(below(folder, name))
            }
            ("mkdirat", [folder, name, ..]) => Some(below(folder, name)),
            _ => None,
        }
    }

    /// Whether it sends a response head with this status.
    pub fn answers(&self, status: u16) -> bool {
        let head = format!("\"HTTP/1.1 {status} ");
        self.arguments.iter().any(|argument| argument.contains(&head))
    }
}

/// The path in `3</tmp/x>`.
fn described(descriptor: &str) -> Option<&Path> {
    let (_, path) = descriptor.split_once('<')?;
    Some(Path::new(path.strip_suffix('>')?))
}

/// The text between quotation marks.
fn text(argument: &str) -> &str {
    argument.trim_matches('"')
}

fn below(folder: &str, name: &str) -> PathBuf {
    described(folder).unwrap_or(Path::new("")).join(text(name))
}

/// The calls of a program and all its threads, in the order in which they began.
#[derive(Debug)]
pub struct Trace {
    /// All of them.
    pub calls: Vec<Call>,
}

impl Trace {
    /// Reads what strace has written.
    pub fn parse(text: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        let mut unfinished: HashMap<&str, (usize, String)> = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let Some((thread, event)) = line.split_once(' ') else { continue };
            let event = event.trim_start();
            if let Some(beginning) = event.strip_suffix(" <unfinished ...>") {
                unfinished.insert(thread, (number, beginning.to_owned()));
            } else if event.starts_with("<... ") {
                let (begins, beginning) = unfinished.remove(thread).unwrap();
                let rest = event.split_once(" resumed>").unwrap().1;
                calls.extend(Call::parse(&format!("{beginning}{rest}"), begins, number));
            } else {
                calls.extend(Call::parse(event, number, number));
            }
        }
        let never =
            unfinished.into_values().filter_map(|(begins, text)| Call::parse(&text, begins, usize::MAX));
        calls.extend(never);
        calls.sort_by_key(|call| call.begins);
        Self { calls }
    }

    /// The rename that gave a file this name. Asserts that every byte of the file was synced before.
    #[track_caller]
    pub fn durable_rename_to(&self, path: &Path) -> &Call {
        let is_it = |call: &&Call| call.renamed().is_some_and(|(_, to)| to == path) && call.succeeded();
        let rename = self.calls.iter().find(is_it);
        let rename = rename.unwrap_or_else(|| panic!("no rename to {}", path.display()));
        let (from, _) = rename.renamed().unwrap();
        let writes = self.calls.iter().filter(|call| call.writes_to(&from) && call.begins < rename.begins);
        let last = writes.max_by_key(|call| call.ends);
        let last = last.unwrap_or_else(|| panic!("nothing is written to {}", from.display()));
        let is_between = |call: &Call| last.is_before(call) && call.is_before(rename);
        let is_synced = self.calls.iter().any(|call| call.syncs(&from) && is_between(call));
        assert!(is_synced, "{} gets its name before its bytes are synced", path.display());
        rename
    }

    /// The first sync of a folder that began after this call ended. Panics if there is none.
    #[track_caller]
    pub fn sync_of_folder(&self, folder: &Path, after: &Call) -> &Call {
        let sync = self.calls.iter().find(|call| call.syncs(folder) && after.is_before(call));
        sync.unwrap_or_else(|| panic!("{} is not synced after {after:?}", folder.display()))
    }

    /// The answers with this status.
    pub fn answers(&self, status: u16) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.answers(status))
    }
}

impl Call {
    /// `fsync(3</tmp/x>) = 0`; `None` for lines that are not calls: signals and exits.
    fn parse(text: &str, begins: usize, ends: usize) -> Option<Self> {
        // A call during which the process was killed.
        let text = text.replace(" <unfinished ...>", "");
        let (name, rest) = text.split_once('(')?;
        if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            return None;
        }
        let (arguments, after) = arguments(rest);
        let result = after.trim_start().strip_prefix('=').map(str::trim_start).unwrap_or_default();
        let result = result.split([' ', '<']).next().and_then(|number| number.parse().ok());
        Some(Self { name: name.to_owned(), arguments, result, begins, ends })
    }
}

/// The arguments of a call, up to its closing bracket, and what follows.
fn arguments(text: &str) -> (Vec<String>, &str) {
    let mut arguments = vec![String::new()];
    let (mut depth, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, letter) in text.char_indices() {
        let is_literal = is_quoted;
        if is_escaped {
            is_escaped = false;
        } else if is_quoted {
            is_escaped = letter == '\\';
            is_quoted = letter != '"';
        } else {
            match letter {
                '"' => is_quoted = true,
                '(' | '[' | '{' | '<' => depth += 1,
                ')' if depth == 0 => return (arguments, &text[at + 1..]),
                ')' | ']' | '}' | '>' => depth -= 1,
                _ => (),
            }
        }
        if letter == ',' && depth == 0 && !is_literal {
            arguments.push(String::new());
        } else if letter != ' ' || is_literal {
            arguments.last_mut().unwrap().push(letter);
        }
    }
    (arguments, "")
}
