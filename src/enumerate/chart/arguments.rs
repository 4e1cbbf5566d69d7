//! Helm's command lines. None of them holds a value of `--set` or `--set-string`.
//!
//! Flags are written `--flag=value` and a `--` precedes the chart, so that nothing that was typed can
//! turn into a flag of its own.

use std::path::Path;

use super::{super::EnumerateError, ChartOptions, location};

/// Flags that have an option of their own, or that would break a guarantee, and why.
const REFUSED: [(&str, &str); 11] = [
    ("--set", "use --set"),
    ("--set-string", "use --set-string"),
    ("--set-file", "use --set-file"),
    ("--set-json", "its value would be visible on Helm's command line: put it in a values file (--values)"),
    (
        "--set-literal",
        "its value would be visible on Helm's command line: put it in a values file (--values)",
    ),
    ("--values", "use --values"),
    ("-f", "use `-f`"),
    ("--repo", "use --repo"),
    ("--version", "use --chart-version"),
    ("--output-dir", "the manifests hold Secrets and are not written anywhere"),
    ("-h", "see `helm template --help`"),
];

/// Flags of `helm pull` and of every command, with a value, that concern a download.
const DOWNLOAD_WITH_VALUE: [&str; 9] = [
    "--ca-file",
    "--cert-file",
    "--key-file",
    "--keyring",
    "--password",
    "--registry-config",
    "--repository-cache",
    "--repository-config",
    "--username",
];

/// The same, without a value.
const DOWNLOAD_SWITCHES: [&str; 6] =
    ["--debug", "--devel", "--insecure-skip-tls-verify", "--pass-credentials", "--plain-http", "--verify"];

/// Flags whose value is a path, besides those of downloads.
const OTHER_PATHS: [&str; 2] = ["--kube-ca-file", "--kubeconfig"];

/// Raw arguments, checked, with their paths made absolute.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HelmArguments {
    /// For `helm template`: all of them.
    template: Vec<String>,
    /// For `helm pull`: those about downloads.
    pull: Vec<String>,
}

/// Checks raw arguments.
pub(super) fn check(arguments: &[String]) -> Result<HelmArguments, EnumerateError> {
    let mut passed = HelmArguments::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let name = argument.split_once('=').map_or(argument.as_str(), |(name, _)| name);
        refuse(argument, name)?;
        let has_value = DOWNLOAD_WITH_VALUE.contains(&name);
        let is_path =
            OTHER_PATHS.contains(&name) || (has_value && !matches!(name, "--password" | "--username"));
        let mut words = vec![if is_path { with_absolute_path(argument) } else { argument.clone() }];
        if (has_value || is_path) && !argument.contains('=') {
            words.extend(
                rest.next().map(|value| if is_path { location::absolute_text(value) } else { value.clone() }),
            );
        }
        if has_value || DOWNLOAD_SWITCHES.contains(&name) {
            passed.pull.extend(words.iter().cloned());
        }
        passed.template.append(&mut words);
    }
    Ok(passed)
}

/// Checks raw arguments for a chart that Helm does not download: those about the download would have no effect. Returns
/// whether `--devel` is among them.
pub(super) fn check_for_published(arguments: &[String]) -> Result<bool, EnumerateError> {
    const INSTEAD: [(&str, &str); 8] = [
        ("--username", "Helm does not download this chart: use --authfile or `docker login`"),
        ("--password", "Helm does not download this chart: use --authfile or `docker login`"),
        ("--registry-config", "Helm does not download this chart: use --authfile"),
        ("--ca-file", "Helm does not download this chart: use --ca-cert"),
        ("--cert-file", "Helm does not download this chart: use --client-cert"),
        ("--key-file", "Helm does not download this chart: use --client-key"),
        ("--plain-http", "Helm does not download this chart: use --plain-http HOST"),
        ("--insecure-skip-tls-verify", "Helm does not download this chart: use --insecure HOST"),
    ];
    let name =
        |argument: &String| argument.split_once('=').map_or(argument.clone(), |(name, _)| name.to_owned());
    let names: Vec<String> = arguments.iter().map(name).collect();
    match INSTEAD.iter().find(|(flag, _)| names.iter().any(|name| name == flag)) {
        Some((flag, reason)) => Err(EnumerateError::HelmArgument { argument: (*flag).to_owned(), reason }),
        None => Ok(arguments.iter().any(|argument| argument == "--devel" || argument == "--devel=true")),
    }
}

fn refuse(argument: &str, name: &str) -> Result<(), EnumerateError> {
    // `-fvalues.yaml` is the short flag with its value attached.
    let is_short = |flag: &str| flag.len() == 2 && !name.starts_with("--") && name.starts_with(flag);
    let refused = |reason| EnumerateError::HelmArgument { argument: name.to_owned(), reason };
    if let Some((_, reason)) = REFUSED.iter().find(|(flag, _)| *flag == name || is_short(flag)) {
        return Err(refused(reason));
    }
    if argument == "--" || !argument.starts_with('-') && argument.is_empty() {
        return Err(refused("it is not a flag"));
    }
    Ok(())
}

fn with_absolute_path(argument: &str) -> String {
    match argument.split_once('=') {
        Some((name, value)) => format!("{name}={}", location::absolute_text(value)),
        None => argument.to_owned(),
    }
}

/// `helm template`.
pub(super) fn template(
    options: &ChartOptions,
    values: &[String],
    passed: &HelmArguments,
    chart: &Path,
) -> Vec<String> {
    let mut arguments = vec!["template".to_owned()];
    arguments.extend(flag("--namespace", options.namespace.as_deref()));
    arguments.extend(flag("--kube-version", options.kube_version.as_deref()));
    arguments.extend(options.api_versions.iter().map(|version| format!("--api-versions={version}")));
    arguments.extend(options.include_crds.then(|| "--include-crds".to_owned()));
    arguments.extend(values.iter().cloned());
    arguments.extend(passed.template.iter().cloned());
    arguments.extend(["--".to_owned(), chart.display().to_string()]);
    arguments
}

/// `helm pull` into `folder`.
pub(super) fn pull(options: &ChartOptions, passed: &HelmArguments, folder: &Path) -> Vec<String> {
    let mut arguments = vec!["pull".to_owned(), format!("--destination={}", folder.display())];
    if location::is_bare_name(&options.chart) {
        arguments.extend(flag("--repo", Some(&options.repository)));
    }
    arguments.extend(flag("--version", options.version.as_deref()));
    arguments.extend(passed.pull.iter().cloned());
    arguments.extend(["--".to_owned(), options.chart.clone()]);
    arguments
}

/// `helm package` of a folder into `output`.
pub(super) fn package(folder: &Path, output: &Path) -> Vec<String> {
    let output = format!("--destination={}", output.display());
    vec!["package".to_owned(), output, "--".to_owned(), folder.display().to_string()]
}

/// `helm show chart`.
pub(super) fn show(chart: &Path) -> Vec<String> {
    ["show", "chart", "--"].map(str::to_owned).into_iter().chain([chart.display().to_string()]).collect()
}

/// `helm show values`.
pub(super) fn show_values(chart: &Path) -> Vec<String> {
    ["show", "values", "--"].map(str::to_owned).into_iter().chain([chart.display().to_string()]).collect()
}

fn flag(name: &str, value: Option<&str>) -> Option<String> {
    value.map(|value| format!("{name}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(arguments: &[&str]) -> Result<HelmArguments, EnumerateError> {
        check(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn download_flags_reach_both_commands_with_absolute_paths() {
        let passed = passed(&[
            "--skip-tests",
            "--ca-file",
            "ca.pem",
            "--key-file=k.pem",
            "--username",
            "u",
            "--debug",
        ])
        .unwrap();
        let here = std::env::current_dir().unwrap().display().to_string();
        let ca = format!("{here}/ca.pem");
        let key = format!("--key-file={here}/k.pem");
        assert_eq!(passed.template, ["--skip-tests", "--ca-file", &ca, &key, "--username", "u", "--debug"]);
        assert_eq!(passed.pull, ["--ca-file", &ca, &key, "--username", "u", "--debug"]);
    }

    #[test]
    fn flags_with_an_option_of_their_own_are_refused_without_their_value() {
        for argument in
            ["--set=a=hunter2", "--set-json=a=hunter2", "-fhunter2", "-f", "--output-dir=hunter2", "--"]
        {
            let error = passed(&[argument]).unwrap_err().to_string();
            assert!(error.starts_with("`--helm-arg=") && !error.contains("=hunter2"), "{error}");
        }
    }

    #[test]
    fn the_repository_is_for_bare_names() {
        let pulled = |chart: &str| {
            let options = ChartOptions {
                chart: chart.to_owned(),
                version: Some("1".into()),
                ..ChartOptions::default()
            };
            pull(&options, &HelmArguments::default(), Path::new("/d")).join(" ")
        };
        assert_eq!(
            pulled("thoras"),
            "pull --destination=/d --repo=https://thoras-ai.github.io/helm-charts --version=1 -- thoras"
        );
        assert_eq!(pulled("oci://x.io/thoras"), "pull --destination=/d --version=1 -- oci://x.io/thoras");
        assert_eq!(
            pulled("-x"),
            "pull --destination=/d --repo=https://thoras-ai.github.io/helm-charts --version=1 -- -x"
        );
    }
}
