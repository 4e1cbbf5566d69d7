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

/// The variables that clap does not read, by the argument that they stand for.
const READ_HERE: [(&str, &str); 12] = [
    ("chart", names::CHART),
    ("include", names::INCLUDE),
    ("exclude", names::EXCLUDE),
    ("lock", names::LOCK),
    ("to", names::TO),
    ("to_password_stdin", names::TO_PASSWORD),
    ("license", names::LICENSE),
    ("license", names::LICENSE_FILE),
    ("output", names::OUTPUT),
    ("sign_password_stdin", names::SIGN_PASSWORD),
    ("sign_password_stdin", names::COSIGN_PASSWORD),
    ("trusted_root", names::TRUSTED_ROOT),
];

/// The arguments for which Helm takes an empty value as its default.
const EMPTY_IS_DEFAULT: [&str; 2] = ["namespace", "kube_version"];

/// The origin of every setting that is not a default, by the name of its flag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origins(BTreeMap<String, SettingOrigin>);

impl Origins {
    /// Reads them from the matches of a command line.
    pub(crate) fn new(command: &Command, matches: &ArgMatches) -> Self {
        let (command, matches) = innermost(command, matches);
        let origin = |arg: &Arg| Some((flag(arg)?, origin(arg, matches)?));
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
}

impl Origins {
    /// Names the variable that decides the flag that an error in the settings is about. Its text names only the flag,
    /// which the user did not type.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let mut words =
            failure.message.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
        let named =
            words.find(|word| word.starts_with("--")).and_then(|flag| Some((flag, self.0.get(flag)?)));
        let origin = match named {
            Some((flag, SettingOrigin::Variable(name))) if failure.kind == Kind::Usage => {
                format!("the value of {flag} comes from {name}")
            }
            _ => return failure,
        };
        let hint = failure.hint.as_ref().map_or_else(|| origin.clone(), |hint| format!("{hint}; {origin}"));
        failure.with_hint(hint)
    }
}

/// Refuses variables of the requested command that are empty or, as far as clap does not read them, not UTF-8: they
/// would be misread or ignored. A typed flag wins, so its variable is not read. No value is shown.
pub(crate) fn refuse_unusable_variables(command: &Command, matches: &ArgMatches) -> Result<(), Failure> {
    let (command, matches) = innermost(command, matches);
    let source = |id: &str| matches.try_contains_id(id).ok().and_then(|_| matches.value_source(id));
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let by_clap = arg.get_env().and_then(OsStr::to_str);
        match source(id) {
            Some(ValueSource::CommandLine) => continue,
            Some(ValueSource::EnvVariable) if !EMPTY_IS_DEFAULT.contains(&id) => refuse_empty(by_clap)?,
            _ => {}
        }
        // A password for cosign may be set for other programs.
        let is_read = id != "sign_password_stdin" || source("sign_key").is_some();
        let read_here = READ_HERE.iter().filter(|(other, name)| *other == id && by_clap != Some(name));
        read_here.filter(|_| is_read).try_for_each(|(_, name)| refuse_bytes(name))?;
        if id == "authfile" {
            refuse_bytes("DOCKER_AUTH_CONFIG")?;
        }
    }
    Ok(())
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
    let is_typed =
        |word: String| word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='));
    if typed.into_iter().any(is_typed) {
        return None;
    }
    // Several commands may have the flag, some of them without a variable.
    let args = arguments(command).into_iter().filter(|arg| self::flag(arg).as_deref() == Some(flag));
    let mut names = args.filter_map(|arg| arg.get_env()?.to_str());
    names.find(|name| env::var_os(name).is_some()).map(str::to_owned)
}

/// The arguments of a command and of all below it.
fn arguments(command: &Command) -> Vec<&Arg> {
    command.get_arguments().chain(command.get_subcommands().flat_map(arguments)).collect()
}

fn origin(arg: &Arg, matches: &ArgMatches) -> Option<SettingOrigin> {
    let id = arg.get_id().as_str();
    match matches.value_source(id) {
        Some(ValueSource::CommandLine) => return Some(SettingOrigin::Flag),
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env()?.to_str()?;
            return Some(SettingOrigin::Variable(name.to_owned()));
        }
        _ => {}
    }
    let read_here = READ_HERE.iter().filter(|(other, _)| *other == id);
    let set = read_here.map(|(_, name)| *name).find(|name| variable(name).is_some());
    set.map(|name| SettingOrigin::Variable(name.to_owned()))
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

    #[test]
    fn every_variable_that_is_read_here_belongs_to_a_flag() {
        let command = crate::cli::command();
        let ids: Vec<&str> = arguments(&command).into_iter().map(|arg| arg.get_id().as_str()).collect();
        for (id, name) in READ_HERE {
            assert!(ids.contains(&id), "{name} stands for {id}, which no command has");
        }
    }
}
