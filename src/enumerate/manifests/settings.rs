//! Settings of programs: environment variables, arguments, and the data of `ConfigMap`s.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::enumerate::EnumerateError;

use super::{
    keys,
    parts::{self, JoinedImage},
    walk::{Position, Walker},
};

impl Walker<'_> {
    /// The data of a `ConfigMap`: each value is a setting, or a file full of them.
    pub(super) fn config_map(&mut self, data: &Map<String, Value>) -> Result<(), EnumerateError> {
        self.scope.is_settings = true;
        let texts: Vec<(&str, &str)> =
            data.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
        let taken = self.joined(&texts, |walker, at, take| match texts.get(at) {
            Some((key, _)) => walker.inside(key, take),
            None => take(walker),
        });
        for (at, (key, text)) in texts.iter().enumerate() {
            let is_closed = super::resource::is_closed_key(key);
            if !is_closed && !taken.contains(&at) {
                self.inside(key, |walker| walker.text(text, Position::Field(keys::without_extension(key))))?;
            }
        }
        Ok(())
    }

    /// A list of objects with `name` and `value`: the environment of a container, the parameters of a chart.
    pub(super) fn variables(
        &mut self,
        items: &[Value],
        position: Position<'_>,
    ) -> Result<(), EnumerateError> {
        // The value may be in another resource, but the name alone shows that the image has a tag.
        let names: Vec<(&str, &str)> =
            items.iter().filter_map(|item| Some((item.get("name")?.as_str()?, ""))).collect();
        self.tag_stems(&names);
        let pairs: Vec<(usize, String, String)> = items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| {
                let (name, value) = name_and_value(item)?;
                let expanded = expand(value, &self.scope.variables);
                Some((at, name.to_owned(), expanded.unwrap_or_else(|| value.to_owned())))
            })
            .collect();
        let texts: Vec<(&str, &str)> =
            pairs.iter().map(|(_, name, value)| (name.as_str(), value.as_str())).collect();
        let taken = self.joined(&texts, |walker, at, take| {
            let index = pairs.get(at).map_or(0, |(index, ..)| *index);
            walker.inside_index(index, |walker| walker.inside("value", take));
        });
        for (at, (index, name, value)) in pairs.iter().enumerate() {
            if !taken.contains(&at) {
                self.inside_index(*index, |walker| {
                    walker.inside("value", |walker| {
                        walker.scope.is_optional |= keys::is_optional_key(name);
                        walker.text(value, Position::Field(name))
                    })
                })?;
            }
        }
        let others = items.iter().enumerate().filter(|(_, item)| name_and_value(item).is_none());
        for (index, item) in others {
            self.inside_index(index, |walker| walker.value(item, Position::Item(position.key())))?;
        }
        Ok(())
    }

    /// The arguments of a program: `--flag=value`, or the value in the item behind the flag.
    pub(super) fn arguments(
        &mut self,
        items: &[Value],
        position: Position<'_>,
    ) -> Result<(), EnumerateError> {
        self.scope.is_settings = true;
        let expanded: Vec<String> = items
            .iter()
            .map(|item| item.as_str().unwrap_or_default())
            .map(|item| expand(item, &self.scope.variables).unwrap_or_else(|| item.to_owned()))
            .collect();
        let flags: Vec<(usize, &str, &str)> = flags(&expanded);
        let texts: Vec<(&str, &str)> = flags.iter().map(|(_, flag, value)| (*flag, *value)).collect();
        let taken: Vec<usize> = self
            .joined(&texts, |walker, at, take| {
                walker.inside_index(flags.get(at).map_or(0, |(index, ..)| *index), take);
            })
            .into_iter()
            .filter_map(|at| flags.get(at).map(|(index, ..)| *index))
            .collect();
        for (index, item) in expanded.iter().enumerate().filter(|(index, _)| !taken.contains(index)) {
            let flag = flags.iter().find(|(at, ..)| *at == index);
            self.inside_index(index, |walker| match flag {
                Some((_, flag, value)) => walker.text(value, Position::Field(flag)),
                None if item.starts_with('-') && !item.contains(['=', ' ']) => Ok(()),
                None => walker.text(item, Position::Item(position.key())),
            })?;
        }
        Ok(())
    }

    /// Takes the images that pairs write in parts; `at` runs something at the place of a pair. Returns the pairs that need
    /// no further reading.
    fn joined(
        &mut self,
        pairs: &[(&str, &str)],
        at: impl Fn(&mut Self, usize, &mut dyn FnMut(&mut Self)),
    ) -> Vec<usize> {
        if !self.reads_keys() {
            return Vec::new();
        }
        self.tag_stems(pairs);
        let mut taken = Vec::new();
        for JoinedImage { written, name_at, is_sure, taken: parts } in parts::join_pairs(pairs) {
            at(self, name_at, &mut |walker| walker.composed(&written, is_sure));
            taken.extend(parts);
        }
        taken
    }
}

/// The position of each flag's value, with both.
fn flags(arguments: &[String]) -> Vec<(usize, &str, &str)> {
    let mut flags = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        let is_flag =
            |text: &str| text.starts_with('-') && text.len() > 1 && !text.contains(char::is_whitespace);
        if let Some((flag, value)) = argument.split_once('=')
            && is_flag(flag)
        {
            flags.push((index, flag, value));
        } else if let Some(flag) = index.checked_sub(1).and_then(|before| arguments.get(before))
            && is_flag(flag)
            && !flag.contains('=')
            && !argument.starts_with('-')
            // `sh -c SCRIPT`
            && flag.len() > 2
        {
            flags.push((index, flag, argument));
        }
    }
    flags
}

/// Whether a list holds the arguments of a program.
pub(super) fn are_arguments(items: &[Value], key: &str) -> bool {
    let are_texts = items.iter().all(|item| !item.is_object() && !item.is_array());
    let has_flag = || items.iter().any(|item| item.as_str().is_some_and(|text| text.starts_with("--")));
    !items.is_empty() && are_texts && (matches!(key, "args" | "command") || has_flag())
}

/// Whether a list holds objects with a name and a value.
pub(super) fn are_variables(items: &[Value]) -> bool {
    items.iter().any(|item| name_and_value(item).is_some())
}

fn name_and_value(item: &Value) -> Option<(&str, &str)> {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    // Tekton calls the value of a parameter its default.
    Some((text("name").or_else(|| text("key"))?, text("value").or_else(|| text("default"))?))
}

/// The variables of an `env` list that have a literal value.
pub(super) fn literal_environment(env: &Value) -> BTreeMap<String, String> {
    let literal = |item| name_and_value(item).map(|(name, value)| (name.to_owned(), value.to_owned()));
    env.as_array().into_iter().flatten().filter_map(literal).collect()
}

/// Expands `$(NAME)` as the kubelet does in arguments and environment values, one level deep. Nothing is
/// returned when there is nothing to expand.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    if variables.is_empty() || !text.contains("$(") {
        return None;
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        expanded.push_str(before);
        let variable = after.split_once(')').and_then(|(name, after)| Some((variables.get(name)?, after)));
        if let Some((value, after)) = variable {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push_str("$(");
            rest = after;
        }
    }
    expanded.push_str(rest);
    Some(expanded)
}
