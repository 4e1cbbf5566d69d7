//! Records where the settings of a command came from. A variable that was exported long ago, or by a pipeline, decides
//! as much as a flag; `-v`, `doctor` and the errors of the command line name it.

use std::{collections::BTreeMap, env, ffi::OsStr};

use clap::{
    Arg, ArgMatches, Command,
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};

use super::{SettingOrigin, setting::variable, usage};
use crate::{
    cli::variable as names,
    error::{Failure, Kind},
};

/// The variables that a command reads for one of its arguments itself, without clap; the first that is set decides. The
/// same name may be another argument in another command: `lock merge --output` is a file.
fn read_here(command: &str, arg: &str) -> &'static [&'static str] {
    match (arg, command) {
        ("chart", _) => &[names::CHART],
        ("include", _) => &[names::INCLUDE],
        ("exclude", _) => &[names::EXCLUDE],
        ("lock", "verify" | "values") => &[names::LOCK],
        ("to", _) => &[names::TO],
        ("to_password_stdin", _) => &[names::TO_PASSWORD],
        // There, the license becomes one of the values, so it must be typed.
        ("license", "values") => &[],
        ("license", _) => &[names::LICENSE, names::LICENSE_FILE],
        ("output", "values") => &[names::OUTPUT],
        ("sign_password_stdin", _) => &[names::SIGN_PASSWORD, names::COSIGN_PASSWORD],
        ("trusted_root", _) => &[names::TRUSTED_ROOT],
        _ => &[],
    }
}

/// The argument without which a password is not read: it may be set for other commands or programs.
fn needed_for(arg: &str) -> Option<&'static str> {
    match arg {
        "to_password_stdin" => Some("to_username"),
        "sign_password_stdin" => Some("sign_key"),
        _ => None,
    }
}

/// The arguments for which Helm takes an empty value as its default.
const EMPTY_IS_DEFAULT: [&str; 2] = ["namespace", "kube_version"];

/// The origin of every setting that is not a default, by the name of its flag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origins(BTreeMap<String, SettingOrigin>);

impl Origins {
    /// Reads them from the matches of a command line.
    pub(crate) fn new(command: &Command, matches: &ArgMatches) -> Self {
        let (command, matches) = innermost(command, matches);
        let origin = |arg: &Arg| Some((flag(arg)?, origin(command, arg, matches)?));
        // Global flags decide how a command prints, not what it does.
        let own = command.get_arguments().filter(|arg| !arg.is_global_set());
        Self(own.filter_map(origin).collect())
    }

    /// Whether a flag was typed, rather than set by a variable.
    pub(super) fn is_typed(&self, flag: &str) -> bool {
        self.0.get(flag) == Some(&SettingOrigin::Flag)
    }

    /// The settings that variables decide, for example `--jobs (THORAS_MIRROR_JOBS)`. Never their values.
    pub(crate) fn set_by_environment(&self) -> Option<String> {
        let named = self.0.iter().filter_map(|(flag, origin)| match origin {
            SettingOrigin::Variable(name) => Some(format!("{flag} ({name})")),
            SettingOrigin::Flag => None,
        });
        Some(named.collect::<Vec<_>>().join(", ")).filter(|named| !named.is_empty())
    }

    /// Names the variable that decides the flag that an error in settings or input is about. The texts name only the
    /// flag, which the user did not type; some only in what to do.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        if !matches!(failure.kind, Kind::Usage | Kind::Input) {
            return failure;
        }
        let hint = failure.hint.as_deref().unwrap_or_default();
        let Some(flag) = first_flag(&failure.message).or_else(|| first_flag(hint)) else { return failure };
        let Some(SettingOrigin::Variable(name)) = self.0.get(flag) else { return failure };
        let origin = format!("the value of {flag} comes from {name}");
        let hint = match hint {
            "" => origin,
            lines if lines.contains('\n') => format!("{lines}\n{origin}"),
            line => format!("{line}; {origin}"),
        };
        failure.with_hint(hint)
    }
}

/// The first flag in a text.
fn first_flag(text: &str) -> Option<&str> {
    let mut words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
    words.find(|word| word.strip_prefix("--").is_some_and(|name| !name.is_empty()))
}

/// Refuses a variable that the requested command reads and that is empty, or whose value is not UTF-8. Clap refuses the
/// latter itself in the variables that it reads. The variable of a typed flag is not read. No value is shown.
pub(crate) fn refuse_unusable_variables(command: &Command, matches: &ArgMatches) -> Result<(), Failure> {
    let (command, matches) = innermost(command, matches);
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let by_clap = arg.get_env().and_then(OsStr::to_str);
        match source(matches, id) {
            Some(ValueSource::CommandLine) => continue,
            Some(ValueSource::EnvVariable) if !EMPTY_IS_DEFAULT.contains(&id) => refuse_empty(by_clap)?,
            _ => {}
        }
        let read_here = read_here(command.get_name(), id).iter().filter(|_| is_needed(matches, id));
        read_here.filter(|name| by_clap != Some(name)).try_for_each(|name| refuse_bytes(name))?;
        // `login` and `logout` change the file that --authfile names.
        if id == "authfile" && !matches!(command.get_name(), "login" | "logout") {
            refuse_bytes("DOCKER_AUTH_CONFIG")?;
        }
    }
    Ok(())
}

/// Where the value of an argument came from, if the command has that argument and a value for it.
fn source(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    matches.try_contains_id(id).ok().and_then(|_| matches.value_source(id))
}

/// Whether the command uses the argument's variables.
fn is_needed(matches: &ArgMatches, id: &str) -> bool {
    needed_for(id).is_none_or(|needed| source(matches, needed).is_some())
}

fn refuse_empty(name: Option<&str>) -> Result<(), Failure> {
    match name.filter(|name| env::var_os(name).is_some_and(|value| value.is_empty())) {
        Some(name) => Err(usage(format!("{name} is set, but empty")).with_hint("set a value, or unset it")),
        None => Ok(()),
    }
}

fn refuse_bytes(name: &str) -> Result<(), Failure> {
    if env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
        return Err(usage(format!("the value of {name} is not UTF-8 text")).with_hint("correct or unset it"));
    }
    Ok(())
}

/// The requested command, with its matches.
fn innermost<'a>(mut command: &'a Command, mut matches: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    while let Some((name, below)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else { break };
        (command, matches) = (found, below);
    }
    (command, matches)
}

/// The variable whose value an error in the command line is about. `typed` are the words of the command line.
pub(crate) fn variable_at_fault(
    command: &Command,
    error: &clap::Error,
    typed: impl Iterator<Item = String>,
) -> Option<String> {
    let ContextValue::String(shown) = error.get(ContextKind::InvalidArg)? else { return None };
    let flag = shown.split([' ', '=']).next()?;
    let is_flag =
        |word: &String| word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='));
    let typed: Vec<String> = typed.collect();
    if typed.iter().any(is_flag) {
        return None;
    }
    // Other commands may have the flag with another variable.
    let args = requested(command, &typed).into_iter().flat_map(Command::get_arguments);
    let args = args.filter(|arg| self::flag(arg).as_deref() == Some(flag));
    let mut names = args.filter_map(|arg| arg.get_env()?.to_str());
    names.find(|name| env::var_os(name).is_some()).map(str::to_owned)
}

/// The command that the words of a command line name, and those that it is below. There are no matches if the command
/// line is wrong.
fn requested<'a>(command: &'a Command, typed: &[String]) -> Vec<&'a Command> {
    let mut path = vec![command];
    let mut innermost = command;
    for word in typed {
        if let Some(found) = innermost.find_subcommand(word) {
            path.push(found);
            innermost = found;
        }
    }
    path
}

fn origin(command: &Command, arg: &Arg, matches: &ArgMatches) -> Option<SettingOrigin> {
    let id = arg.get_id().as_str();
    match matches.value_source(id) {
        Some(ValueSource::CommandLine) => return Some(SettingOrigin::Flag),
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env()?.to_str()?;
            return Some(SettingOrigin::Variable(name.to_owned()));
        }
        _ => {}
    }
    let mut read_here = read_here(command.get_name(), id).iter().filter(|_| is_needed(matches, id));
    let set = read_here.find(|name| variable(name).is_some());
    set.map(|name| SettingOrigin::Variable((*name).to_owned()))
}

/// The name of a flag on the command line.
fn flag(arg: &Arg) -> Option<String> {
    arg.get_long().map(|long| format!("--{long}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(words: &[&str]) -> Origins {
        let command = crate::cli::command();
        let words = [&["thoras-mirror"], words].concat();
        Origins::new(&command, &command.clone().try_get_matches_from(words).unwrap())
    }

    #[test]
    fn a_typed_flag_is_distinguished_from_a_default() {
        let found = origins(&["bundle", "export", "-o", "x.tar", "--jobs", "3"]);
        assert_eq!(found.0["--jobs"], SettingOrigin::Flag);
        assert_eq!(found.0["--output"], SettingOrigin::Flag);
        assert!(!found.0.contains_key("--format"));
        assert_eq!(found.set_by_environment(), None);
    }

    /// The commands without subcommands.
    fn leaves(command: &Command) -> Vec<&Command> {
        let below: Vec<&Command> = command.get_subcommands().flat_map(leaves).collect();
        if below.is_empty() { vec![command] } else { below }
    }

    /// Clap shows the variables that it reads; the texts of the help must show the others.
    #[test]
    fn a_variable_that_is_read_here_is_in_the_help_bug() {
        let cli = crate::cli::command();
        for command in leaves(&cli) {
            let help = |arg: &Arg| {
                let texts = [arg.get_help(), arg.get_long_help()].into_iter().flatten();
                texts.map(ToString::to_string).collect::<String>()
            };
            // The help of --sign-key shows those of --sign-password-stdin.
            let whole: String = command.get_arguments().map(help).collect();
            for arg in command.get_arguments() {
                let (name, id, help) = (command.get_name(), arg.get_id().as_str(), help(arg));
                let by_clap = arg.get_env().and_then(OsStr::to_str);
                for variable in read_here(name, id).iter().filter(|name| by_clap != Some(name)) {
                    assert!(whole.contains(variable), "{name}: {id} does not show {variable}");
                }
                if let Some((_, rest)) = help.split_once("[env: ") {
                    let shown = rest.split([']', ',', ' ']).next().unwrap();
                    assert!(read_here(name, id).contains(&shown), "{name}: {id} does not read {shown}");
                }
            }
        }
    }

    #[test]
    fn the_words_of_a_command_line_name_the_command() {
        let cli = crate::cli::command();
        let names = |words: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let path = requested(&cli, &words);
            path.iter().skip(1).map(|command| command.get_name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("lock --log-format json merge --jobs x"), ["lock", "merge"]);
        assert_eq!(names("sync quay.io/a/b:1 --lock lock"), ["sync"]);
        assert_eq!(names("--help"), [""; 0]);
    }
}
