//! The values that templates read: `.Values.a.b` in the text of a template is the key `a.b`.
//!
//! Charts read keys that their `values.yaml` does not mention (`default .Values.version .Values.worker.imageTag`), also
//! through variables (`$worker := .Values.worker`). A subchart's keys are below its alias or name; `global` is the same
//! for all charts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::unpacked;

/// Subcharts nest at most this deep.
const MAX_CHART_DEPTH: usize = 5;

/// The keys that a chart's templates and those of its subcharts read. `chart` is its copy, unpacked with its subcharts.
pub(super) fn of_chart(chart: &Path) -> Vec<Vec<String>> {
    let mut keys = BTreeSet::new();
    collect(chart, &[Vec::new()], 0, &mut keys);
    keys.into_iter().collect()
}

/// Whether a chart's templates change its values while they are rendered (`set .Values "key" …`).
pub(super) fn change_values(chart: &Path) -> bool {
    let mut found = false;
    collect_lines(&chart.join("templates"), 0, &mut |line| found |= changes_values(line));
    found
}

fn changes_values(line: &str) -> bool {
    let words: Vec<&str> = line
        .split(|character: char| character.is_whitespace() || "(){}".contains(character))
        .filter(|word| !word.is_empty())
        .collect();
    words.windows(3).any(|words| {
        let &[function, target, key] = words else { return false };
        let is_change = ["set", "unset", "merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite"];
        let is_values = matches!(target, "." | "$") && key == "\"Values\""
            || target.trim_start_matches('$').starts_with(".Values");
        is_change.contains(&function) && is_values
    })
}

/// The lines of the chart's own templates that read this key.
pub(super) fn lines_reading(chart: &Path, key: &str) -> Vec<String> {
    let mut lines = Vec::new();
    collect_lines(&chart.join("templates"), 0, &mut |line| {
        if in_text(line).iter().any(|found| found.join(".") == key) {
            lines.push(line.to_owned());
        }
    });
    lines
}

fn collect_lines(folder: &Path, depth: usize, take: &mut dyn FnMut(&str)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && depth < MAX_CHART_DEPTH {
            collect_lines(&path, depth + 1, take);
        } else if let Ok(text) = fs::read_to_string(&path) {
            for line in without_variables(&text) {
                take(&line);
            }
        }
    }
}

/// The lines of a template, with `$disk.size` written out as `$.Values.data.disk.size` after
/// `$disk := .Values.data.disk`.
fn without_variables(text: &str) -> Vec<String> {
    let mut variables: BTreeMap<&str, &str> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut expanded = line.to_owned();
        for (name, path) in &variables {
            expanded = expanded.replace(&format!("{name}."), &format!("$.Values.{path}."));
        }
        lines.push(expanded);
        variables.extend(assignment(line));
    }
    lines
}

/// The variable and the key of `{{ $variable := .Values.key }}`, where nothing else is done to the value.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once(":=")?;
    let name =
        before.split_whitespace().next_back().filter(|name| name.starts_with('$') && name.len() > 1)?;
    let (value, _) = after.split_once("}}")?;
    let path = value.trim().trim_end_matches('-').trim_end();
    let path = path.strip_prefix('$').unwrap_or(path).strip_prefix(".Values.")?;
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.');
    path.chars().all(is_part).then_some((name, path))
}

/// `prefixes` are the keys below which the chart's values are: several if it is used under several aliases.
fn collect(chart: &Path, prefixes: &[Vec<String>], depth: usize, keys: &mut BTreeSet<Vec<String>>) {
    let mut own = BTreeSet::new();
    collect_lines(&chart.join("templates"), 0, &mut |line| own.extend(in_text(line)));
    for key in &own {
        if key.first().is_some_and(|first| first == "global") {
            keys.insert(key.clone());
        } else {
            keys.extend(prefixes.iter().map(|prefix| [prefix.as_slice(), key.as_slice()].concat()));
        }
    }
    if depth == MAX_CHART_DEPTH {
        return;
    }
    for (folder, names) in subcharts(chart) {
        let below: Vec<Vec<String>> = prefixes
            .iter()
            .flat_map(|prefix| names.iter().map(|name| [prefix.clone(), vec![name.clone()]].concat()))
            .collect();
        collect(&folder, &below, depth + 1, keys);
    }
}

/// The folders of a chart's subcharts, each with its aliases or its name. What cannot be read is left out.
pub(super) fn subcharts(chart: &Path) -> Vec<(PathBuf, Vec<String>)> {
    let aliases = aliases(chart);
    let named = |folder: PathBuf| {
        let name = name(&folder)?;
        let of_chart = aliases.iter().filter(|(chart, _)| *chart == name);
        let mut names: Vec<String> = of_chart.map(|(_, alias)| alias.clone()).collect();
        if names.is_empty() {
            names.push(name);
        }
        Some((folder, names))
    };
    unpacked::subfolders(&chart.join("charts")).into_iter().filter_map(named).collect()
}

/// The name in a chart's `Chart.yaml`.
pub(super) fn name(chart: &Path) -> Option<String> {
    chart_yaml(chart).get("name").and_then(Value::as_str).map(str::to_owned)
}

fn chart_yaml(chart: &Path) -> Value {
    let text = fs::read_to_string(chart.join("Chart.yaml")).unwrap_or_default();
    serde_saphyr::from_str(&text).unwrap_or_default()
}

/// The names and aliases of the dependencies.
fn aliases(chart: &Path) -> Vec<(String, String)> {
    let metadata = chart_yaml(chart);
    let dependencies = metadata.get("dependencies").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    dependencies
        .iter()
        .filter_map(|dependency| {
            let name = text(dependency, "name")?;
            let alias = text(dependency, "alias").unwrap_or_else(|| name.clone());
            Some((name, alias))
        })
        .collect()
}

/// The keys in a template's text.
fn in_text(text: &str) -> Vec<Vec<String>> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.');
    text.split(".Values.")
        .skip(1)
        .filter_map(|rest| {
            // `(.Values.a).b` is `a.b`, and fails less.
            let rest = rest.lines().next().unwrap_or_default().replace(").", ".");
            let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
            let key = rest.get(..end)?.trim_end_matches('.');
            let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
            parts.iter().all(|part| !part.is_empty()).then_some(parts)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        in_text(text).iter().map(|key| key.join(".")).collect()
    }

    #[test]
    fn keys_are_read_from_expressions() {
        assert_eq!(
            keys("image: {{ $.Values.registry }}/x:{{ default .Values.version .Values.worker.imageTag }}"),
            ["registry", "version", "worker.imageTag"]
        );
        assert_eq!(keys("{{ ((.Values.a).b).c }} {{ .Values }} {{ .Values..x }} costs .Values."), ["a.b.c"]);
    }

    #[test]
    fn keys_are_read_through_variables() {
        let text = "{{- $disk := .Values.data.disk -}}\n{{ with ($disk.class).id }}{{ $disk.mode }} {{ $diskette.mode }}\n\
            {{ $all := default dict .Values.b }}{{ $all.x }}\n{{- if $.Values.a }}{{ $disk := $.Values.c }}\n{{ $disk.mode }}";
        let found: Vec<String> = without_variables(text).iter().flat_map(|line| keys(line)).collect();
        assert_eq!(found, ["data.disk", "data.disk.class.id", "data.disk.mode", "b", "a", "c", "c.mode"]);
    }

    #[test]
    fn templates_that_change_values_are_distinguished_from_those_that_read_them() {
        for line in [
            r#"{{- $_ := set $ "Values" (mustMergeOverwrite $defaults $.Values) }}"#,
            r#"{{ $_ := set .Values.web "tag" "1" }}"#,
            "{{- $_ := (mergeOverwrite $.Values.web $more) -}}",
        ] {
            assert!(changes_values(line), "{line}");
        }
        for line in [
            "{{- $all := merge dict .Values.web }}",
            r#"{{ $_ := set $web "tag" .Values.tag }}"#,
            "# set .Values",
        ] {
            assert!(!changes_values(line), "{line}");
        }
    }

    #[test]
    fn keys_of_subcharts_are_below_their_aliases() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "Chart.yaml",
            "name: shop\ndependencies:\n- {name: db, alias: orders}\n- {name: db, alias: stock}\n",
        );
        write("charts/db/Chart.yaml", "name: db\n");
        write("charts/db/templates/a.yaml", "{{ .Values.image.tag }} {{ .Values.global.registry }}");
        let found: Vec<String> = of_chart(folder.path()).iter().map(|key| key.join(".")).collect();
        assert_eq!(found, ["global.registry", "orders.image.tag", "stock.image.tag"]);
    }
}
