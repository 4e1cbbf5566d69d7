//! Refuses flags that have no effect in combination with others, instead of ignoring them.
//!
//! Only flags on the command line are refused: a variable may be set for other commands.

use std::path::Path;

use clap::{ArgMatches, parser::ValueSource};

use super::{
    copying::{Baseline, comparison},
    usage,
};
use crate::{cli::Against, error::Failure, graph::Referrers};

/// Only a chart is rendered with them.
const FOR_CHARTS: [&str; 11] = [
    "repo",
    "chart_version",
    "values",
    "set",
    "set_string",
    "set_file",
    "namespace",
    "kube_version",
    "api_versions",
    "include_crds",
    "helm_arg",
];
/// They also apply to rendered manifests.
const FOR_MANIFESTS: [&str; 3] = ["mentions", "image_prefix", "no_test_hooks"];
/// They locate a chart that is packaged again.
const FOR_PACKAGING: [&str; 3] = ["repo", "chart_version", "helm_arg"];

/// The flags of a command.
struct Flags<'a>(&'a ArgMatches);

impl Flags<'_> {
    /// Whether it is on the command line.
    fn is_typed(&self, id: &str) -> bool {
        // Other commands do not have the flag.
        let has = self.0.try_contains_id(id).is_ok();
        has && self.0.value_source(id) == Some(ValueSource::CommandLine)
    }

    fn is_on(&self, id: &str) -> bool {
        self.0.try_get_one::<bool>(id).ok().flatten().copied().unwrap_or_default()
    }

    fn text(&self, id: &str) -> Option<&str> {
        self.0.try_get_one::<String>(id).ok().flatten().map(String::as_str)
    }

    /// Fails if one of the flags is on the command line.
    fn refuse(&self, ids: impl IntoIterator<Item = &'static str>, because: &str) -> Result<(), Failure> {
        match ids.into_iter().find(|id| self.is_typed(id)) {
            Some(id) => {
                let flag = name(id);
                Err(usage(format!("{flag} has no effect here: {because}")).with_hint(format!("omit {flag}")))
            }
            None => Ok(()),
        }
    }
}

/// The name of a flag on the command line.
fn name(id: &str) -> String {
    match id {
        "image" => "IMAGE".to_owned(),
        id => format!("--{}", id.replace('_', "-")),
    }
}

/// Checks the command line of a command.
pub(crate) fn refuse_ineffective(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((command, mut matches)) = matches.subcommand() else { return Ok(()) };
    let mut innermost = command;
    while let Some((name, below)) = matches.subcommand() {
        (innermost, matches) = (name, below);
    }
    let flags = Flags(matches);
    naming(&flags)?;
    if flags.0.try_get_one("referrers").ok().flatten() == Some(&Referrers::None) {
        flags.refuse(["referrer_type"], "--referrers none leaves nothing to select from")?;
    }
    if command == "sync" && flags.0.try_contains_id("shard").is_ok_and(|is_set| !is_set) {
        flags.refuse(["shards", "plan"], "without --shard, this machine copies every image")?;
    }
    match innermost {
        "export" => flags.refuse(["limit_rate_to"], "the images go to a bundle, not to a registry")?,
        "import" => {
            flags.refuse(["limit_rate_from"], "the images come from a bundle, not from a registry")?;
        }
        _ => {}
    }
    match command {
        "serve" => return serve(&flags),
        "bundle" | "import" | "export" => signing(&flags)?,
        "verify" => verify(&flags)?,
        "sync" if flags.is_on("locked") => return locked(&flags),
        _ => {}
    }
    selection(&flags)
}

fn selection(flags: &Flags<'_>) -> Result<(), Failure> {
    if let Some(from) = ["images", "image"].into_iter().find(|from| flags.is_typed(from)) {
        let because = format!("the images come from {}, not from manifests", name(from));
        return flags.refuse([FOR_CHARTS.as_slice(), &FOR_MANIFESTS, &["annotated"]].concat(), &because);
    }
    if flags.is_typed("rendered") {
        let because = "the manifests of --rendered are read as they are";
        return flags.refuse([FOR_CHARTS.as_slice(), &["annotated"]].concat(), because);
    }
    match flags.text("chart") {
        Some(chart) if chart.contains('/') || Path::new(chart).is_file() => {
            flags.refuse(["repo"], "--chart is not a name in a chart repository")
        }
        _ => Ok(()),
    }
}

/// `sync --locked`
fn locked(flags: &Flags<'_>) -> Result<(), Failure> {
    let because = "--locked copies what the lock records";
    let selecting = ["mentions", "image_prefix", "add", "add_images", "annotated", "no_test_hooks"];
    flags.refuse(selecting, because)?;
    flags.refuse(FOR_CHARTS.into_iter().filter(|id| !FOR_PACKAGING.contains(id)), because)?;
    if flags.is_on("with_chart") {
        return Ok(());
    }
    flags.refuse(FOR_PACKAGING, "--locked needs the chart only with --with-chart")
}

fn verify(flags: &Flags<'_>) -> Result<(), Failure> {
    let (lock, has_to) = (flags.0.get_one("lock"), flags.0.get_one::<String>("to").is_some());
    let against = flags.0.get_one::<Against>("against").copied();
    match comparison(lock, has_to, against) {
        Baseline::Source => flags.refuse(["lock"], "the mirror is compared with the source"),
        Baseline::Lock(path) => {
            let because = format!(
                "the mirror is compared with the lock {}; --against source compares it with the source",
                path.display()
            );
            let selecting = ["images", "rendered", "add", "add_images", "annotated"];
            let naming = ["naming", "source_prefix", "foreign_layers", "limit_rate_from"];
            let charts = FOR_CHARTS.into_iter().filter(|id| !FOR_PACKAGING.contains(id));
            // Without a lock, the reason is that there is none.
            if !path.exists() {
                return Ok(());
            }
            flags.refuse(selecting.into_iter().chain(naming).chain(FOR_MANIFESTS).chain(charts), &because)
        }
    }
}

/// In an import, only a receipt is signed.
fn signing(flags: &Flags<'_>) -> Result<(), Failure> {
    let has_receipt = flags.0.try_contains_id("receipt").is_ok();
    if has_receipt && !flags.is_typed("receipt") {
        return flags.refuse(["sign_key"], "an import signs its --receipt");
    }
    Ok(())
}

/// A folder holds names, not images that have to be named.
fn serve(flags: &Flags<'_>) -> Result<(), Failure> {
    let path = flags.0.get_many::<std::path::PathBuf>("paths").into_iter().flatten().next();
    let is_folder = path.is_some_and(|path| path.is_dir() && !path.join("oci-layout").exists());
    if is_folder {
        flags.refuse(
            ["bundle_key"],
            "only a bundle is signed, and this is a folder to push to and pull from",
        )?;
        return flags.refuse(["naming", "source_prefix"], "the images in a folder already have names");
    }
    Ok(())
}

fn naming(flags: &Flags<'_>) -> Result<(), Failure> {
    let naming = flags.0.try_get_one::<crate::oci::Naming>("naming").ok().flatten();
    match naming.filter(|_| flags.is_typed("naming")) {
        Some(naming) if *naming != crate::oci::Naming::Relative => {
            flags.refuse(["source_prefix"], &format!("--naming {naming} removes no prefix"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn check(line: &str) -> Result<(), String> {
        let words = shlex::split(&format!("thoras-mirror {line}")).unwrap();
        let matches = cli::command().try_get_matches_from(words).unwrap();
        refuse_ineffective(&matches).map_err(|failure| failure.message)
    }

    #[test]
    fn a_flag_without_an_effect_is_named() {
        for (line, flag) in [
            ("sync --to r/a --images l.txt --values v.yaml", "--values"),
            ("images --set a=b quay.io/a/b:1", "--set"),
            ("images --rendered m.yaml --chart-version 1", "--chart-version"),
            ("images --rendered m.yaml --annotated", "--annotated"),
            ("doctor --to r/a --no-test-hooks --images l.txt", "--no-test-hooks"),
            ("bundle export -o x --image-prefix a.io quay.io/a/b:1", "--image-prefix"),
            ("images --chart oci://r.io/a --repo https://x.io", "--repo"),
            ("images --chart ./a --repo https://x.io", "--repo"),
            ("sync --to r/a --locked --add quay.io/a/b:1", "--add"),
            ("sync --to r/a --locked --values v.yaml", "--values"),
            ("sync --to r/a --locked --with-chart --set a=b", "--set"),
            ("sync --to r/a --locked --chart-version 1", "--chart-version"),
            ("sync --to r/a --naming full --source-prefix a.io", "--source-prefix"),
            ("bundle import x --to r/a --naming last --source-prefix a.io", "--source-prefix"),
            ("verify --to r/a --against source --lock l", "--lock"),
            ("serve src --naming full", "--naming"),
            ("serve src --bundle-key k.pub", "--bundle-key"),
            ("bundle import x --to r/a --sign-key k", "--sign-key"),
            ("import x --to r/a --sign-key k", "--sign-key"),
            ("sync --to r/a --shards 4", "--shards"),
            ("sync --to r/a --plan p.json", "--plan"),
            ("bundle export -o x --limit-rate-to 1MB/s quay.io/a/b:1", "--limit-rate-to"),
            ("export -o x --limit-rate-to 1MB/s quay.io/a/b:1", "--limit-rate-to"),
            ("bundle import x --to r/a --limit-rate-from 1MB/s", "--limit-rate-from"),
            ("import x --to r/a --limit-rate-from 1MB/s", "--limit-rate-from"),
        ] {
            let refused = check(line).unwrap_err();
            assert!(refused.starts_with(&format!("{flag} has no effect here: ")), "{line}: {refused}");
        }
    }

    #[test]
    fn flags_with_an_effect_are_fine() {
        for line in [
            "sync --to r/a --values v.yaml --chart-version 1 --repo https://x.io --chart x",
            "images --rendered m.yaml --mentions named --no-test-hooks",
            "sync --to r/a --images l.txt --add quay.io/a/b:1 --helm helm",
            "sync --to r/a --locked --with-chart --chart x --chart-version 1 --repo https://x.io",
            "sync --to r/a --locked --naming full",
            "sync --to r/a --shard auto --shards 4 --plan p.json",
            "verify --to r/a --against source --values v.yaml",
            "serve x.tar --naming full",
        ] {
            check(line).unwrap();
        }
    }

    #[test]
    fn a_lock_decides_what_verify_reads() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("my.lock");
        std::fs::write(&lock, "{}").unwrap();
        let lock = lock.display();
        for flag in
            ["--images a", "--limit-rate-from 1M", "--naming full", "--foreign-layers", "--values v.yaml"]
        {
            let refused = check(&format!("verify --lock {lock} {flag}")).unwrap_err();
            assert!(
                refused.contains("has no effect here") && refused.contains("--against source"),
                "{refused}"
            );
        }
        check(&format!("verify --lock {lock} --to r/a --chart ./x --platform linux/amd64")).unwrap();
    }
}
