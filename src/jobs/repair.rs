//! The command that repairs what `verify` found, ready to be pasted into a shell: it names what this run was given,
//! so that it brings the same images, from the same place, under the same names.
//!
//! Secrets are not repeated: of `--set` only the key is there, and whoever pastes the command puts the value back.

use std::path::Path;

use url::Url;

use crate::{
    cli::{NamingArgs, PlatformArgs, RegistryArgs, SelectionArgs, Verify},
    lock::{Lock, Placement},
    oci::Platform,
    outcome::Repair,
};

/// Stands where a value must be put back by hand.
const HIDDEN: &str = "***";

/// Repairs a mirror that was compared with its source.
pub(super) fn from_source(args: &Verify, to: &str) -> Repair {
    let mut words = Words::new(&["sync", "--to", to]);
    words.naming(&args.naming);
    words.platforms(&args.platforms);
    words.access(args);
    words.selection(&args.selection);
    words.repair()
}

/// Repairs one destination of a lock.
pub(super) fn from_lock(args: &Verify, lock: &Lock, placement: &Placement, path: &Path) -> Repair {
    let path = path.display().to_string();
    // An image that failed before its digest was known cannot be copied by digest.
    let all_known = lock.images.iter().all(|image| image.digest.is_some());
    let mut words = Words::new(if all_known { &["sync", "--locked"] } else { &["sync"] });
    words.flag("--lock", [&path]);
    words.flag("--to", &placement.to);
    words.required(&lock.platforms);
    for image in &lock.images {
        let waivers = image.waived.iter().map(|platform| format!("{}={platform}", image.source));
        words.flag("--allow-missing-platform", waivers);
    }
    words.access(args);
    if !all_known {
        words.switch("--foreign-layers", lock.foreign_layers);
        words.flag("--naming", [crate::cli::value_name(&placement.naming)]);
        words.flag("--source-prefix", placement.source_prefix.iter());
        words.0.extend(lock.images.iter().map(|image| image.source.to_string()));
    }
    words.repair()
}

/// The words of a command line.
struct Words(Vec<String>);

impl Words {
    fn new(first: &[&str]) -> Self {
        Self(std::iter::once("thoras-mirror").chain(first.iter().copied()).map(str::to_owned).collect())
    }

    /// The flag before each of its values.
    fn flag<T: ToString>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.0.extend([name.to_owned(), value.to_string()]);
        }
    }

    fn switch(&mut self, name: &str, on: bool) {
        self.0.extend(on.then(|| name.to_owned()));
    }

    fn naming(&mut self, args: &NamingArgs) {
        self.flag("--naming", args.naming.iter().map(crate::cli::value_name));
        self.flag("--source-prefix", &args.source_prefix);
    }

    fn platforms(&mut self, args: &PlatformArgs) {
        self.required(&args.platform);
        self.flag("--allow-missing-platform", &args.allow_missing_platform);
    }

    /// The platforms, unless they are the usual ones.
    fn required(&mut self, platforms: &[Platform]) {
        let mut names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        names.sort();
        if names != crate::cli::DEFAULT_PLATFORMS {
            self.flag("--platform", names);
        }
    }

    /// How registries are reached, and who we are there. Passwords and the license itself never were arguments.
    fn access(&mut self, args: &Verify) {
        let RegistryArgs { license, license_for, authfile, plain_http, ca_cert, .. } = &args.registries;
        let RegistryArgs { client_cert, client_key, insecure, connect_timeout, .. } = &args.registries;
        self.flag("--to-username", &args.login.to_username);
        self.switch("--to-password-stdin", args.login.to_password_stdin);
        self.flag("--license", license);
        self.flag("--license-for", license_for);
        self.flag("--authfile", authfile.iter().map(|path| path.display()));
        self.flag("--plain-http", plain_http);
        self.flag("--insecure", insecure);
        self.flag("--ca-cert", ca_cert);
        self.flag("--client-cert", client_cert);
        self.flag("--client-key", client_key);
        self.flag("--connect-timeout", connect_timeout);
    }

    fn selection(&mut self, args: &SelectionArgs) {
        self.flag("--chart", args.chart.iter().map(|text| without_password(text)));
        self.flag("--repo", args.repo.iter().map(|text| without_password(text)));
        self.flag("--chart-version", &args.chart_version);
        self.flag("--values", args.values.iter().map(|text| without_password(text)));
        self.flag("--set", args.set.iter().map(|text| without_value(text)));
        self.flag("--set-string", args.set_string.iter().map(|text| without_value(text)));
        self.flag("--set-file", &args.set_file);
        self.flag("--namespace", &args.namespace);
        self.flag("--kube-version", &args.kube_version);
        self.flag("--api-versions", &args.api_versions);
        self.switch("--include-crds", args.include_crds);
        // The equals sign, because these values begin with a dash; without theirs, because --password is one.
        self.0.extend(args.helm_arg.iter().map(|text| format!("--helm-arg={}", without_value(text))));
        self.flag("--helm", args.helm.iter().map(|path| path.display()));
        self.flag("--rendered", &args.rendered);
        self.flag("--images", &args.images);
        self.flag("--image-prefix", &args.image_prefix);
        self.flag("--include", &args.include);
        self.flag("--exclude", &args.exclude);
        self.0.extend(args.image.iter().cloned());
    }

    /// The command, quoted for a shell.
    fn repair(&self) -> Repair {
        let quoted = self.0.iter().map(|word| shlex::try_quote(word).unwrap_or(HIDDEN.into()));
        let command = quoted.collect::<Vec<_>>().join(" ");
        let note = command.contains(HIDDEN).then(|| {
            format!("(put your own value in each place of {HIDDEN}: it may be secret, so it is not shown)")
        });
        Repair { command, note, ..Repair::default() }
    }
}

/// `KEY=***`. A word without a key may be a value in itself, unless it is a flag.
fn without_value(text: &str) -> String {
    match text.split_once('=') {
        Some((key, _)) => format!("{key}={HIDDEN}"),
        None if text.starts_with("--") => text.to_owned(),
        None => HIDDEN.to_owned(),
    }
}

/// A URL without the password in it; anything else as it is.
fn without_password(text: &str) -> String {
    let password = Url::parse(text).ok().and_then(|url| url.password().map(str::to_owned));
    password.map_or_else(|| text.to_owned(), |password| text.replacen(&format!(":{password}@"), ":***@", 1))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn repaired(arguments: &str) -> Repair {
        let words =
            shlex::split(&format!("thoras-mirror verify --to reg.example.com/a {arguments}")).unwrap();
        let Command::Verify(args) = Cli::try_parse_from(words).unwrap().command else { panic!("verify") };
        from_source(&args, "reg.example.com/a")
    }

    #[test]
    fn the_command_names_what_the_run_was_given() {
        for given in [
            "--chart ./my-chart --values a.yaml --namespace x --include-crds --exclude 'quay.io/**'",
            "--naming full --platform linux/amd64 --allow-missing-platform 'nginx=linux/arm64' --images list.txt",
            "--to-username ci --to-password-stdin --plain-http reg:5000 --ca-cert 'my ca.pem' quay.io/a/b:1",
        ] {
            let repair = repaired(given);
            assert_eq!(repair.command, format!("thoras-mirror sync --to reg.example.com/a {given}"));
            assert_eq!(repair.note, None);
        }
    }

    #[test]
    fn values_that_may_be_secret_are_left_out() {
        let Repair { command: text, note, .. } = repaired(
            "--set password=hunter2,other=hunter2 --set-string token=hunter2 \
             --helm-arg=--password --helm-arg=hunter2 --helm-arg=--password=hunter2 \
             --chart x --repo https://me:hunter2@charts.example.com/",
        );
        assert!(!text.contains("hunter2"), "{text}");
        assert!(note.is_some_and(|note| note.contains("in each place of ***")));
        assert!(text.contains("--set 'password=***' --set-string 'token=***'"), "{text}");
        assert!(text.contains("--repo 'https://me:***@charts.example.com/'"), "{text}");
    }
}
