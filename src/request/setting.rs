//! A setting together with its origin, for the places where the origin matters: a flag wins over the environment, and
//! a message names the flag or variable.

use std::env;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SettingOrigin {
    /// The command line.
    Flag,
    /// An environment variable.
    Variable(String),
}

impl SettingOrigin {
    /// The name of the variable, or else the flag.
    pub(super) fn name<'a>(&'a self, flag: &'a str) -> &'a str {
        match self {
            Self::Flag => flag,
            Self::Variable(name) => name,
        }
    }
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) origin: SettingOrigin,
}

impl<T> Setting<T> {
    pub(crate) const fn new(value: T, origin: SettingOrigin) -> Self {
        Self { value, origin }
    }
}

/// The value of an environment variable; an empty value counts as unset. A value that is not UTF-8 is kept, with
/// replacement characters; [`super::refuse_unusable_variables`] refuses it.
pub(super) fn variable(name: &str) -> Option<Setting<String>> {
    let value = env::var_os(name)?.to_string_lossy().into_owned();
    if value.is_empty() {
        return None;
    }
    Some(Setting::new(value, SettingOrigin::Variable(name.to_owned())))
}

/// The flag's value, else that of the variable.
pub(super) fn flag_or_variable(typed: Option<String>, name: &str) -> Option<Setting<String>> {
    typed.map(|value| Setting::new(value, SettingOrigin::Flag)).or_else(|| variable(name))
}

/// The flag's values, else those in the variable, separated by commas.
pub(super) fn flags_or_variable(typed: Vec<String>, name: &str) -> Vec<String> {
    if !typed.is_empty() {
        return typed;
    }
    variable(name).map(|list| list.value.split(',').map(str::to_owned).collect()).unwrap_or_default()
}
