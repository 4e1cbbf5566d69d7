//! Writes a [`Sync`] as a command line, ready to be pasted into a shell.
//!
//! Every struct is destructured without `..`, so a new setting does not compile until it is handled here. Secrets are
//! not repeated: of `--set` only the key appears, and the user fills in the value.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    CopySettings, Destination, Destinations, ImagesFrom, LicenseFrom, LockedChart, Login, NamingRule,
    Password, Platforms, ReferrerSettings, RegistrySettings, RequiredSignatures, ShardSettings, Sync,
    setting::{Setting, SettingOrigin},
};
use crate::{
    confirm::CheckLevel,
    enumerate::{ChartOptions, Input, Mentions, SelectedFrom, Selection},
    error::escape,
    graph::Referrers,
    oci::Platform,
    outcome::Repair,
    trust::{Identity, Keys, Matcher, Requirement},
    vendor,
};

/// Stands for a value that the user must fill in.
pub(super) const HIDDEN: &str = "***";

/// The command line of this `sync`.
pub(crate) fn repair(sync: &Sync) -> Repair {
    let Sync { images, lock, destinations, registries, platforms, foreign_layers, copy, shard } = sync;
    let mut words = Words(vec!["thoras-mirror".to_owned(), "sync".to_owned()]);
    words.switch("--locked", matches!(images, ImagesFrom::Lock { .. }));
    words.flag("--lock", lock.iter().map(|path| path.display()));
    words.destinations(destinations);
    words.platforms(platforms);
    words.switch("--foreign-layers", *foreign_layers);
    words.copy(copy);
    if let Some(ShardSettings { number, plan }) = shard {
        words.flag("--shard", [number]);
        words.flag("--plan", plan.iter().map(|path| path.display()));
    }
    words.registries(registries);
    match images {
        ImagesFrom::Selection(selection) => words.selection(selection),
        ImagesFrom::Lock { chart: None } => {}
        ImagesFrom::Lock { chart: Some(chart) } => {
            let LockedChart { name, version, options } = &**chart;
            words.switch("--with-chart", true);
            words.flag("--chart", name.iter().map(|text| without_password(text)));
            words.flag("--chart-version", version);
            words.helm(options);
        }
    }
    words.repair()
}

/// The words of a command line.
pub(super) struct Words(Vec<String>);

impl Words {
    /// These words.
    pub(super) fn of(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Adds each value after the flag.
    pub(super) fn flag<T: ToString>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.0.extend([name.to_owned(), value.to_string()]);
        }
    }

    pub(super) fn switch(&mut self, name: &str, on: bool) {
        self.0.extend(on.then(|| name.to_owned()));
    }

    fn seconds(&mut self, name: &str, time: Option<Duration>) {
        self.flag(name, time.map(|time| time.as_secs()));
    }

    fn destinations(&mut self, destinations: &Destinations) {
        let Destination { root, naming: NamingRule { naming, source_prefix }, login: _ } =
            &destinations.first;
        self.flag("--to", destinations.roots());
        self.flag("--naming", naming);
        self.flag("--source-prefix", source_prefix);
        let has_one_registry = destinations.roots().all(|other| other.registry() == root.registry());
        let login = destinations.iter().find_map(|destination| destination.login.as_ref());
        if let Some(Login { registry, username, password, origin: _ }) = login {
            let named = format!("{registry}={username}");
            self.flag("--to-username", [if has_one_registry { username } else { &named }]);
            self.switch("--to-password-stdin", matches!(password, Password::Stdin));
        }
    }

    fn platforms(&mut self, platforms: &Platforms) {
        let Platforms { required, waivers } = platforms;
        let names = |platforms: &[Platform]| {
            let mut names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            names.sort();
            names
        };
        let required = names(required);
        if required != names(&Platforms::default_required()) {
            self.flag("--platform", required);
        }
        self.flag("--allow-missing-platform", waivers);
    }

    fn copy(&mut self, copy: &CopySettings) {
        let CopySettings { check, referrers, overwrite, dry_run, jobs, fail_fast, strict, signatures } = copy;
        let ReferrerSettings { referrers, types, selection: _ } = referrers;
        self.flag("--referrers", (*referrers != Referrers::All).then_some(referrers));
        self.flag("--referrer-type", types);
        self.flag("--check", (*check != CheckLevel::Manifests).then_some(check));
        self.switch("--no-overwrite", !overwrite);
        self.switch("--dry-run", *dry_run);
        self.flag("--jobs", jobs);
        self.switch("--fail-fast", *fail_fast);
        self.switch("--strict", *strict);
        self.signatures(signatures);
    }

    fn signatures(&mut self, signatures: &RequiredSignatures) {
        let root = match signatures {
            RequiredSignatures::None
            // Only a policy has the latter.
            | RequiredSignatures::Same(Requirement::Unsigned | Requirement::Notation(_)) => return,
            // Only an import has it, which no repair repeats.
            RequiredSignatures::Bundle { trusted_root, .. } => trusted_root,
            RequiredSignatures::Policy { file, trusted_root } => {
                self.flag("--verify-policy", [file.display()]);
                trusted_root
            }
            RequiredSignatures::Same(Requirement::Keys(Keys { files, ignore_log, trusted_root })) => {
                self.flag("--verify-key", files.iter().map(|file| file.display()));
                self.switch("--insecure-ignore-tlog", *ignore_log);
                trusted_root
            }
            RequiredSignatures::Same(Requirement::Identity(identity)) => {
                let Identity { subject, issuer, ignore_certificate_log, trusted_root } = identity;
                for (name, matcher) in [("--verify-identity", subject), ("--verify-issuer", issuer)] {
                    match matcher {
                        Matcher::Exact(text) => self.flag(name, [text]),
                        Matcher::Pattern(pattern) => self.flag(&format!("{name}-regexp"), [pattern]),
                    }
                }
                self.switch("--insecure-ignore-sct", *ignore_certificate_log);
                trusted_root
            }
        };
        self.flag("--trusted-root", root.iter().map(|root| root.display()));
    }

    /// Passwords and the license key are never arguments.
    fn registries(&mut self, settings: &RegistrySettings) {
        let RegistrySettings {
            license,
            license_for,
            authfile,
            plain_http: _,
            ca_cert: _,
            client_cert: _,
            client_key: _,
            insecure: _,
            retries: _,
            connect_timeout: _,
            stall_timeout: _,
            helper_timeout: _,
            rates,
            quotas,
            are_quotas_typed,
        } = settings;
        match license {
            Some(LicenseFrom::Stdin) => self.flag("--license", ["-"]),
            Some(LicenseFrom::File(Setting { value, origin: SettingOrigin::Flag })) => {
                self.flag("--license", [value]);
            }
            // The variable is set in the user's shell; its value may be secret.
            Some(LicenseFrom::File(_) | LicenseFrom::Variable(_)) | None => {}
        }
        self.flag("--license-for", license_for);
        self.flag("--authfile", authfile.iter().map(|path| path.display()));
        self.connection(settings);
        if rates.source == rates.destination {
            self.flag("--limit-rate", rates.source);
        } else {
            self.flag("--limit-rate-from", rates.source);
            self.flag("--limit-rate-to", rates.destination);
        }
        // Those of the variable are set in the user's shell, and may be for other registries.
        self.flag("--quota", quotas.changes().iter().filter(|_| *are_quotas_typed));
    }

    /// How to connect, without any credential.
    pub(super) fn connection(&mut self, settings: &RegistrySettings) {
        let RegistrySettings {
            license: _,
            license_for: _,
            authfile: _,
            plain_http,
            ca_cert,
            client_cert,
            client_key,
            insecure,
            retries,
            connect_timeout,
            stall_timeout,
            helper_timeout,
            rates: _,
            quotas: _,
            are_quotas_typed: _,
        } = settings;
        self.flag("--plain-http", plain_http);
        self.flag("--insecure", insecure);
        self.flag("--ca-cert", ca_cert);
        self.flag("--client-cert", client_cert);
        self.flag("--client-key", client_key);
        self.flag("--retries", retries);
        self.seconds("--connect-timeout", *connect_timeout);
        self.seconds("--stall-timeout", *stall_timeout);
        self.seconds("--helper-timeout", *helper_timeout);
    }

    /// The same for `helm`, which has flags for one registry.
    pub(super) fn helm_connection(&mut self, settings: &RegistrySettings, registry: &str) {
        let RegistrySettings { plain_http, ca_cert, client_cert, client_key, insecure, .. } = settings;
        let names = |hosts: &[String]| hosts.iter().any(|host| host == registry);
        let of_registry = |files: &[String]| {
            let file = |text: &String| match text.split_once('=') {
                Some((host, file)) => (host == registry).then(|| file.to_owned()),
                None => Some(text.clone()),
            };
            files.iter().filter_map(file).next_back()
        };
        self.switch("--plain-http", names(plain_http));
        self.switch("--insecure-skip-tls-verify", names(insecure));
        self.flag("--ca-file", of_registry(ca_cert));
        self.flag("--cert-file", of_registry(client_cert));
        self.flag("--key-file", of_registry(client_key));
    }

    fn selection(&mut self, selection: &Selection) {
        let Selection { from, add, add_lists, annotated, with_chart, add_running, .. } = selection;
        self.switch("--with-chart", *with_chart);
        let input = |input: &Input| match input {
            Input::Stdin => "-".to_owned(),
            Input::File(path) => path.display().to_string(),
        };
        match from {
            SelectedFrom::Chart(options) => {
                let chart = (options.chart != vendor::CHART).then(|| without_password(&options.chart));
                self.flag("--chart", chart);
                self.flag("--chart-version", &options.version);
                self.helm(options);
            }
            SelectedFrom::Rendered(manifests) => self.flag("--rendered", [input(manifests)]),
            SelectedFrom::List(list) => self.flag("--images", [input(list)]),
            SelectedFrom::References(_) => {}
        }
        self.flag("--add", add);
        self.flag("--add-images", add_lists.iter().map(input));
        self.flag("--add-running", add_running.iter().map(input));
        self.switch("--annotated", *annotated);
        self.filters(selection);
        if let SelectedFrom::References(references) = from {
            self.0.extend(references.iter().cloned());
        }
    }

    /// Which of the images that are found count.
    pub(super) fn filters(&mut self, selection: &Selection) {
        let Selection { image_prefixes, mentions, test_hooks, include, exclude, .. } = selection;
        self.flag("--mentions", (*mentions != Mentions::default()).then_some(mentions));
        self.flag("--image-prefix", image_prefixes);
        self.switch("--no-test-hooks", !*test_hooks);
        self.flag("--include", include);
        self.flag("--exclude", exclude);
    }

    /// Helm's settings. The caller adds the chart and its version.
    pub(super) fn helm(&mut self, options: &ChartOptions) {
        let ChartOptions {
            chart: _,
            version: _,
            repository,
            values: _,
            set: _,
            set_string: _,
            set_file: _,
            namespace,
            kube_version,
            api_versions,
            include_crds,
            helm_args,
            helm,
            package: _,
        } = options;
        let repository = (repository != vendor::CHART_REPOSITORY).then(|| without_password(repository));
        self.flag("--repo", repository);
        self.values(options);
        self.flag("--namespace", namespace);
        self.flag("--kube-version", kube_version);
        self.flag("--api-versions", api_versions);
        self.switch("--include-crds", *include_crds);
        // With an equals sign, because these values begin with a dash. Only names: `--password=…` holds a secret.
        self.0.extend(helm_args.iter().map(|text| format!("--helm-arg={}", without_value(text))));
        self.flag("--helm", helm.iter().map(|path| path.display()));
    }

    /// The chart's values, which have the same flags here and in helm.
    pub(super) fn values(&mut self, options: &ChartOptions) {
        let ChartOptions { values, set, set_string, set_file, .. } = options;
        self.flag("--values", values.iter().map(|text| without_password(text)));
        self.flag("--set", set.iter().map(secret_without_value));
        self.flag("--set-string", set_string.iter().map(secret_without_value));
        self.flag("--set-file", set_file);
    }

    /// The command, quoted for a shell.
    pub(super) fn quoted(&self) -> String {
        // A lock or a chart may contain control characters, which must not reach the terminal.
        let words = self.0.iter().map(|word| escape(word).replace('\n', "\\n"));
        let quoted = words.map(|word| shlex::try_quote(&word).map_or(HIDDEN.to_owned(), Into::into));
        quoted.collect::<Vec<_>>().join(" ")
    }

    /// The command, and what to change in it.
    fn repair(&self) -> Repair {
        let command = self.quoted();
        let note = command.contains(HIDDEN).then(|| {
            format!("(replace each {HIDDEN} with your own value; it is not shown because it may be secret)")
        });
        Repair { command, note, ..Repair::default() }
    }
}

fn secret_without_value(text: &SecretString) -> String {
    without_value(text.expose_secret())
}

/// `KEY=***`. A word without a key may itself be a secret value, unless it is a flag.
fn without_value(text: &str) -> String {
    match text.split_once('=') {
        Some((key, _)) => format!("{key}={HIDDEN}"),
        None if text.starts_with("--") => text.to_owned(),
        None => HIDDEN.to_owned(),
    }
}

/// A URL with its password hidden; any other text unchanged.
pub(super) fn without_password(text: &str) -> String {
    let password = Url::parse(text).ok().and_then(|url| url.password().map(str::to_owned));
    password.map_or_else(|| text.to_owned(), |password| text.replacen(&format!(":{password}@"), ":***@", 1))
}

#[cfg(test)]
mod tests;
