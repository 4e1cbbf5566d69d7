//! Asks for a user name and a password on the terminal, without showing the password, or reads it from standard input.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;

use crate::{
    error::{Failure, Kind, escape},
    jobs::login::NewLogin,
    request::{StoreLogin, read_secret_from_stdin},
};

/// The most bytes that are read of a user name or a password.
const MAX_SIZE: u64 = 64 * 1024;

/// The user name and the password for a login. The terminal shows its input again when this is dropped, so also if a
/// signal ends the command.
pub(super) async fn ask(request: &StoreLogin) -> Result<NewLogin, Failure> {
    let registry = &request.registry;
    let username = if let Some(username) = &request.username {
        username.clone()
    } else {
        let terminal = Terminal::open("--username NAME")?;
        answer(terminal, format!("User name for {}: ", escape(registry)), "user name").await?
    };
    let password = if request.password_stdin {
        not_empty(&read_secret_from_stdin("--password-stdin")?, "password")?
    } else {
        let terminal = Terminal::open("--password-stdin, for example `… --password-stdin < password.txt`")?;
        let hidden = terminal.without_echo()?;
        let question = format!("Password of {} for {}: ", escape(&username), escape(registry));
        let password = answer(terminal, question, "password").await;
        // The user's line break was not shown either.
        hidden.end_line();
        password?
    };
    Ok(NewLogin { username, password: SecretString::from(password) })
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Usage, message)
}

fn not_empty(text: &str, what: &str) -> Result<String, Failure> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(usage(format!("the {what} is empty"))) } else { Ok(text.to_owned()) }
}

/// Asks on the terminal. The answer is read on another thread, so that signals still end the command.
async fn answer(terminal: Terminal, question: String, what: &str) -> Result<String, Failure> {
    let read = move || -> std::io::Result<String> {
        let mut file = terminal.file;
        file.write_all(question.as_bytes())?;
        file.flush()?;
        let mut line = String::new();
        BufReader::new(file.take(MAX_SIZE)).read_line(&mut line)?;
        Ok(line)
    };
    let cannot = |error: String| usage(format!("cannot read the {what} from the terminal: {error}"));
    let line = tokio::task::spawn_blocking(read).await.map_err(|error| cannot(error.to_string()))?;
    not_empty(&line.map_err(|error| cannot(error.to_string()))?, what)
}

/// The terminal of this process, even if standard input and output are redirected.
struct Terminal {
    file: File,
}

impl Terminal {
    fn open(instead: &str) -> Result<Self, Failure> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| {
            usage("cannot ask for the login without a terminal").with_hint(format!("pass {instead}"))
        })?;
        Ok(Self { file })
    }

    /// Hides what is typed until the result is dropped.
    fn without_echo(&self) -> Result<Hidden, Failure> {
        let hide = || -> std::io::Result<Hidden> {
            let file = self.file.try_clone()?;
            let before = tcgetattr(&file)?;
            let mut hidden = before.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            tcsetattr(&file, OptionalActions::Flush, &hidden)?;
            Ok(Hidden { file, before })
        };
        hide().map_err(|error| usage(format!("cannot hide the password on the terminal: {error}")))
    }
}

/// A terminal that does not show what is typed.
struct Hidden {
    file: File,
    before: Termios,
}

impl Hidden {
    fn end_line(&self) {
        let _ = (&self.file).write_all(b"\n");
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }
}
