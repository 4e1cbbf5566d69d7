//! Passes values to Helm so that no other user of the machine can read them.
//!
//! Everyone can read a process's arguments, so `--set` and `--set-string` are not passed on. Their
//! assignments are applied here, in Helm's order (all `--set`, then all `--set-string`, over the values files), and
//! what they change reaches Helm on standard input as the last values file, which is its position in
//! Helm's own order of precedence. Two things make that exact:
//!
//! - An assignment can change one item of a list, or go through a value that is not a map. That depends on the
//!   values files, so Helm itself is asked what they say, by rendering a chart of one line.
//! - Helm reads numbers in files as floating point. Below a million they print alike; larger ones are
//!   refused with a hint (`--set-string`) rather than changed silently.
//!
//! One difference remains: a template that asks for the Go type of a small whole number (`kindIs "int64"`, or `eq`
//! with an integer literal) sees `float64`, as it does for every number in the chart's own `values.yaml`.
//! `--set-file` keeps its place behind both, and passes as it is: paths are not secret.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::{
    super::{EnumerateError, ReadAs, input},
    ChartOptions,
    helm::Helm,
    location,
    strvals::{self, SetError, Typing},
};

/// How the values reach `helm template`.
pub(super) struct HelmValues {
    pub(super) flags: Vec<String>,
    pub(super) standard_input: Option<Vec<u8>>,
}

/// Prepares flags and standard input for `helm template`.
pub(super) async fn prepare(helm: &Helm, options: &ChartOptions) -> Result<HelmValues, EnumerateError> {
    prepare_under(helm, options, None).await
}

/// The same with `last` over everything but `--set-file`.
pub(super) async fn prepare_under(
    helm: &Helm,
    options: &ChartOptions,
    last: Option<&Map<String, Value>>,
) -> Result<HelmValues, EnumerateError> {
    let files = files(helm, &options.values).await?;
    let mut flags: Vec<String> = files.iter().map(|file| values_flag(file)).collect();
    let mut standard_input = None;
    if last.is_some() || !(options.set.is_empty() && options.set_string.is_empty()) {
        let is_set = !(options.set.is_empty() && options.set_string.is_empty());
        let base = if files.is_empty() || !is_set { Map::new() } else { read_files(helm, &flags).await? };
        let mut changed = changed(options, &base)?;
        if let Some(last) = last {
            merge(&mut changed, last);
        }
        standard_input =
            Some(serde_json::to_vec(&changed).map_err(|error| EnumerateError::Workspace(error.into()))?);
        flags.push("--values=-".to_owned());
    }
    for (index, text) in options.set_file.iter().enumerate() {
        let refused = |reason| EnumerateError::Set { flag: "--set-file", number: index + 1, reason };
        flags.push(format!("--set-file={}", with_absolute_paths(text).map_err(refused)?));
    }
    Ok(HelmValues { flags, standard_input })
}

/// Everything that the user's files and assignments set, without the contents of `--set-file`.
pub(super) async fn given(helm: &Helm, options: &ChartOptions) -> Result<Map<String, Value>, EnumerateError> {
    let files = files(helm, &options.values).await?;
    let flags: Vec<String> = files.iter().map(|file| values_flag(file)).collect();
    let mut base = if files.is_empty() { Map::new() } else { read_files(helm, &flags).await? };
    let changed = changed(options, &base)?;
    base.extend(changed);
    Ok(base)
}

/// What the assignments alone set.
pub(super) fn assigned(options: &ChartOptions) -> Result<Map<String, Value>, EnumerateError> {
    let mut values = changed(options, &Map::new())?;
    for (index, text) in options.set_file.iter().enumerate() {
        let refused = |reason| EnumerateError::Set { flag: "--set-file", number: index + 1, reason };
        strvals::assign(text, Typing::Text, &mut values).map_err(refused)?;
    }
    Ok(values)
}

/// Merges maps as Helm merges values files: everything else is replaced.
fn merge(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => merge(under, over),
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

/// The values files as absolute paths. Standard input, which is needed for the assignments, moves to a
/// private file. Like Helm, splits at commas, unless there is a file of the whole name.
pub(super) async fn files(helm: &Helm, given: &[String]) -> Result<Vec<String>, EnumerateError> {
    let mut files = Vec::new();
    for text in given {
        let whole = Path::new(text).exists();
        let parts: Vec<&str> = if whole { vec![text] } else { text.split(',').collect() };
        for part in parts {
            let file = if part.trim() == "-" {
                let failed = |source| EnumerateError::Read {
                    input: "standard input".to_owned(),
                    read_as: ReadAs::Values,
                    source,
                };
                let bytes = input::read_stdin().await.map_err(failed)?;
                private_file(helm, "standard-input.yaml", &bytes)?.display().to_string()
            } else {
                // Helm would name the private folder that it runs in.
                location::check_readable_values(part)?;
                location::absolute_text(part)
            };
            files.push(file);
        }
    }
    Ok(files)
}

/// The flag is read as a line of CSV, so a comma or a quote in a path needs quoting.
fn values_flag(file: &str) -> String {
    if file.contains([',', '"']) {
        format!("--values=\"{}\"", file.replace('"', "\"\""))
    } else {
        format!("--values={file}")
    }
}

/// A chart that renders the values it is given.
const PROBE_CHART: &str = "apiVersion: v2\nname: probe\nversion: 0.0.0\n";
const PROBE_TEMPLATE: &str = "{\"values\": {{ .Values | toJson }}}\n";

/// What Helm reads from the values files, merged.
async fn read_files(helm: &Helm, flags: &[String]) -> Result<Map<String, Value>, EnumerateError> {
    let chart = helm.private_folder("probe")?;
    let templates = helm.private_folder("probe/templates")?;
    for (file, text) in
        [(chart.join("Chart.yaml"), PROBE_CHART), (templates.join("values.yaml"), PROBE_TEMPLATE)]
    {
        // Written once: another rendering may be reading it.
        if !file.exists() {
            std::fs::write(file, text).map_err(EnumerateError::Workspace)?;
        }
    }

    let mut arguments = vec!["template".to_owned()];
    arguments.extend(flags.iter().cloned());
    arguments.extend(["--".to_owned(), chart.display().to_string()]);
    let output = helm.run("template", arguments, None).await?;
    let line = output.lines().find(|line| line.starts_with('{'));
    match line
        .and_then(|line| serde_json::from_str::<Value>(line).ok())
        .and_then(|mut found| found.get_mut("values").map(Value::take))
    {
        Some(Value::Object(values)) => Ok(values),
        _ => Err(EnumerateError::HelmOutput {
            operation: "template",
            reason: "does not hold the values files' content".to_owned(),
        }),
    }
}

/// The top-level values that the assignments change, whole: lists in a values file replace lists.
fn changed(options: &ChartOptions, base: &Map<String, Value>) -> Result<Map<String, Value>, EnumerateError> {
    let mut values = base.clone();
    let mut apply = |flag: &'static str, texts: &[SecretString], typing| {
        texts.iter().enumerate().try_for_each(|(index, text)| {
            let refused = |reason| EnumerateError::Set { flag, number: index + 1, reason };
            strvals::assign(text.expose_secret(), typing, &mut values).map_err(refused)
        })
    };
    apply("--set", &options.set, Typing::Inferred)?;
    apply("--set-string", &options.set_string, Typing::Text)?;
    Ok(values.into_iter().filter(|(key, value)| base.get(key) != Some(value)).collect())
}

pub(super) fn private_file(helm: &Helm, name: &str, content: &[u8]) -> Result<PathBuf, EnumerateError> {
    let path = helm.private_folder("values")?.join(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let write = || options.open(&path)?.write_all(content);
    write().map_err(EnumerateError::Workspace)?;
    Ok(path)
}

/// Rewrites the paths of `KEY=PATH[,KEY=PATH…]`, where a path may also be a list of paths in braces.
fn with_absolute_paths(text: &str) -> Result<String, SetError> {
    let mut rewritten = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let equals = find(rest, '=').ok_or(SetError::NoValue)?;
        let (key, right) = rest.split_at_checked(equals + 1).ok_or(SetError::NoValue)?;
        rewritten.push_str(key);
        let list = right.strip_prefix('{');
        let end = list.map_or_else(
            || find(right, ',').unwrap_or(right.len()),
            |list| find(list, '}').unwrap_or(list.len()),
        );
        let (paths, after) = list.unwrap_or(right).split_at_checked(end).ok_or(SetError::Path)?;
        if list.is_some() {
            rest = after.strip_prefix('}').ok_or(SetError::OpenList)?;
            rewritten.push('{');
            push_paths(paths, &mut rewritten)?;
            rewritten.push('}');
        } else {
            rest = after;
            push_paths(paths, &mut rewritten)?;
        }
        if let Some(after) = rest.strip_prefix(',') {
            rewritten.push(',');
            rest = after;
        }
    }
    Ok(rewritten)
}

fn push_paths(paths: &str, rewritten: &mut String) -> Result<(), SetError> {
    let mut rest = paths;
    loop {
        let comma = find(rest, ',');
        let (path, after) = rest.split_at_checked(comma.unwrap_or(rest.len())).ok_or(SetError::Path)?;
        for character in location::absolute_text(&unescape(path)).chars() {
            if matches!(character, '\\' | ',' | '{' | '}') {
                rewritten.push('\\');
            }
            rewritten.push(character);
        }
        let Some(after) = after.strip_prefix(',') else { return Ok(()) };
        rewritten.push(',');
        rest = after;
    }
}

/// The first `stop` that no backslash escapes.
fn find(text: &str, stop: char) -> Option<usize> {
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        if character == stop {
            return Some(index);
        }
        if character == '\\' {
            characters.next();
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut unescaped = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        unescaped.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    unescaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_set_file_become_absolute() {
        let here = std::env::current_dir().unwrap().display().to_string();
        let rewrite = |text: &str| with_absolute_paths(text).unwrap().replace(&here, "HERE");
        assert_eq!(rewrite("a.b=x.txt"), "a.b=HERE/x.txt");
        assert_eq!(rewrite("a=x,b[0]=/y"), "a=HERE/x,b[0]=/y");
        assert_eq!(rewrite("a={x,/y},b=z"), "a={HERE/x,/y},b=HERE/z");
        assert_eq!(rewrite(r"a\=b=x\,y"), r"a\=b=HERE/x\,y");
        assert_eq!(rewrite("a=https://x.io/f"), "a=https://x.io/f");
        assert_eq!(with_absolute_paths("a").unwrap_err(), SetError::NoValue);
        assert_eq!(with_absolute_paths("a={x").unwrap_err(), SetError::OpenList);
    }

    #[test]
    fn paths_with_commas_are_quoted_for_the_flag() {
        assert_eq!(values_flag("/a,b.yaml"), "--values=\"/a,b.yaml\"");
        assert_eq!(values_flag("/a\"b.yaml"), "--values=\"/a\"\"b.yaml\"");
        assert_eq!(values_flag("/a b.yaml"), "--values=/a b.yaml");
    }

    #[test]
    fn only_what_changed_is_handed_over() {
        let base = serde_json::json!({"a": [1, {"x": 1}], "kept": true}).as_object().unwrap().clone();
        let options = ChartOptions {
            set: vec!["a[1].x=2,b=true".into()],
            set_string: vec!["b=false".into()],
            ..ChartOptions::default()
        };
        let changed = Value::Object(changed(&options, &base).unwrap());
        assert_eq!(changed, serde_json::json!({"a": [1, {"x": 2}], "b": "false"}));
    }

    proptest! {
        #[test]
        fn rewriting_never_panics(text in "[a-c=,\\[\\]{}\\\\é/ -]{0,30}") {
            let _ = with_absolute_paths(&text);
        }
    }
}
