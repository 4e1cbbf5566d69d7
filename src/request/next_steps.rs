//! The commands that follow a complete mirror: the chart's values, the pull secret and the installation.

use std::path::Path;

use super::{
    Login, Password, RegistrySettings,
    nodes::DEFAULT_SECRET,
    repair_command::{HIDDEN, Words, without_password},
};
use crate::{
    cli::DEFAULT_LOCK,
    enumerate::{ChartOptions, SelectedFrom, Selection},
    oci::{ArtifactKind, ChartIdentity, Reference, mapping::Root},
    outcome::{ImageOutcome, RunOutcome, ShardOutcome},
    vendor,
};

/// The file that `values` writes in the printed commands.
const VALUES_FILE: &str = "mirror.yaml";

/// What a run knows about the installation of its chart.
pub(crate) struct Installation<'a> {
    /// The mirror.
    pub(crate) root: &'a Root,
    pub(crate) login: Option<&'a Login>,
    pub(crate) registries: &'a RegistrySettings,
    pub(crate) lock: Option<&'a Path>,
    /// The name of the packaged chart before it was mirrored, if it was.
    pub(crate) packaged: Option<&'a Reference>,
    /// The images that filters left out.
    pub(crate) excluded: &'a [Reference],
    /// What the run selected, if it rendered the chart.
    pub(crate) selection: Option<&'a Selection>,
}

/// The commands, each ready for a shell. None if the images do not come from a chart, or if one of them is not there.
pub(crate) fn next_steps(outcome: &RunOutcome, installation: &Installation<'_>) -> Vec<String> {
    if let Some(shard) = &outcome.shard {
        return shard.lock.iter().map(|_| installation.merge(shard)).collect();
    }
    let Some(chart) = &outcome.chart else { return Vec::new() };
    let is_complete = !outcome.dry_run
        && outcome.failures.is_empty()
        && !outcome.images.is_empty()
        && outcome.images.iter().all(ImageOutcome::is_confirmed);
    if !is_complete {
        return Vec::new();
    }
    let mirrored = installation.mirrored_chart(&outcome.images);
    let commands = [
        installation.login(mirrored.as_deref()),
        Some(installation.with_note(installation.values(chart, mirrored.as_deref()))),
        installation.new_namespace(chart),
        Some(installation.pull_secret(chart)),
        Some(installation.with_note(installation.install(chart, mirrored.as_deref()))),
    ];
    commands.into_iter().flatten().collect()
}

impl Installation<'_> {
    /// Helm's settings, if the run rendered the chart.
    fn options(&self) -> Option<&ChartOptions> {
        match &self.selection?.from {
            SelectedFrom::Chart(options) => Some(options),
            _ => None,
        }
    }

    /// The login of the flags. Helm and `values` know only those of Docker's configuration.
    fn login(&self, mirrored: Option<&str>) -> Option<String> {
        let login =
            self.login.filter(|login| mirrored.is_some() && login.registry == self.root.registry())?;
        let Login { registry, username, password, origin: _ } = login;
        let mut words = Words::of(&["thoras-mirror", "login", registry]);
        words.flag("--username", [username]);
        words.switch("--password-stdin", matches!(password, Password::Stdin));
        words.connection(self.registries);
        Some(words.quoted())
    }

    /// `oci://…` of the packaged chart in the mirror.
    fn mirrored_chart(&self, images: &[ImageOutcome]) -> Option<String> {
        let packaged = self.packaged?;
        let root = self.root.to_string();
        images.iter().find_map(|image| {
            let destination: Reference = image.destination.parse().ok()?;
            let is_it = image.kind == ArtifactKind::Chart
                && image.source.repository() == packaged.repository()
                && destination.repository().is_below(&root);
            is_it.then(|| format!("oci://{}", destination.repository()))
        })
    }

    /// What follows when all shards are done.
    fn merge(&self, shard: &ShardOutcome) -> String {
        let mut words = Words::of(&["thoras-mirror", "lock", "merge"]);
        words.flag("--from", [self.root]);
        words.flag("--list", [&shard.list]);
        words.flag("--output", self.lock.filter(|path| *path != Path::new(DEFAULT_LOCK)).map(Path::display));
        if let Some(Login { username, password, .. }) = self.login {
            words.flag("--to-username", [username]);
            words.switch("--to-password-stdin", matches!(password, Password::Stdin));
        }
        words.flag("--authfile", self.registries.authfile.iter().map(|path| path.display()));
        words.flag("--plain-http", &self.registries.plain_http);
        words.quoted()
    }

    fn values(&self, chart: &ChartIdentity, mirrored: Option<&str>) -> String {
        let mut words = Words::of(&["thoras-mirror", "values"]);
        words.flag("--to", [self.root]);
        words.flag("--lock", self.lock.filter(|path| *path != Path::new(DEFAULT_LOCK)).map(Path::display));
        if let Some(options) = self.options() {
            let name = (options.chart != vendor::CHART).then(|| without_password(&options.chart));
            words.flag("--chart", name);
        } else if !is_thoras(chart) || mirrored.is_some() {
            words.flag("--chart", [mirrored.unwrap_or(HIDDEN)]);
        }
        words.flag("--chart-version", [&chart.version]);
        if let Some((selection, options)) = self.selection.zip(self.options()) {
            words.helm(options);
            words.filters(selection);
        } else {
            words.flag("--exclude", self.excluded);
            if mirrored.is_some() {
                words.flag("--authfile", self.registries.authfile.iter().map(|path| path.display()));
                words.connection(self.registries);
            }
        }
        words.flag("--pull-secret", is_thoras(chart).then_some(DEFAULT_SECRET));
        words.flag("--write", [VALUES_FILE]);
        words.quoted()
    }

    /// The secret comes before the chart, so Helm cannot create its namespace. Every cluster has `default`.
    fn new_namespace(&self, chart: &ChartIdentity) -> Option<String> {
        let namespace = Some(self.namespace(chart)).filter(|name| *name != "default")?;
        let create = Words::of(&["kubectl", "create", "namespace", namespace]).quoted();
        Some(format!("{create} --dry-run=client --output yaml | kubectl apply -f -"))
    }

    fn pull_secret(&self, chart: &ChartIdentity) -> String {
        let mut words = Words::of(&["thoras-mirror", "pull-secret"]);
        words.flag("--to", [self.root]);
        let login = self.login.filter(|login| login.registry == self.root.registry());
        if let Some(Login { username, password, .. }) = login {
            words.flag("--to-username", [username]);
            words.switch("--to-password-stdin", matches!(password, Password::Stdin));
        }
        words.flag("--authfile", self.registries.authfile.iter().map(|path| path.display()));
        words.flag("--plain-http", &self.registries.plain_http);
        words.flag("--namespace", [self.namespace(chart)]);
        format!("{} | kubectl apply -f -", words.quoted())
    }

    fn install(&self, chart: &ChartIdentity, mirrored: Option<&str>) -> String {
        let location = match (mirrored, self.options()) {
            (Some(mirrored), _) => mirrored.to_owned(),
            (None, Some(options)) => without_password(&options.chart),
            (None, None) if is_thoras(chart) => chart.name.clone(),
            // A lock records the name of a chart, not where it was.
            (None, None) => HIDDEN.to_owned(),
        };
        let mut words = Words::of(&["helm", "install", &chart.name, &location]);
        if is_name(&location) && location != HIDDEN {
            let repository = self.options().map_or(vendor::CHART_REPOSITORY, |options| &options.repository);
            words.flag("--repo", [without_password(repository)]);
        }
        words.flag("--version", [&chart.version]);
        if mirrored.is_some() {
            words.helm_connection(self.registries, self.root.registry());
        }
        words.flag("--namespace", [self.namespace(chart)]);
        if let Some(options) = self.options() {
            words.values(options);
        }
        words.flag("--values", [VALUES_FILE]);
        words.quoted()
    }

    /// A command that renders the chart, with what only the user can add: secrets and, because no lock records them,
    /// values.
    fn with_note(&self, command: String) -> String {
        match (command.contains(HIDDEN), self.options().is_some()) {
            (false, true) => command,
            (true, true) => format!("{command}  # replace each {HIDDEN} with your own value"),
            (false, false) => format!("{command}  # add your -f and --set"),
            (true, false) => format!("{command}  # replace {HIDDEN} with the chart; add your -f and --set"),
        }
    }

    /// Where the chart is installed: the vendor's guide installs Thoras into a namespace of its own.
    fn namespace(&self, chart: &ChartIdentity) -> &str {
        let chosen = self.options().and_then(|options| options.namespace.as_deref());
        chosen.unwrap_or(if is_thoras(chart) { "thoras" } else { "default" })
    }
}

fn is_thoras(chart: &ChartIdentity) -> bool {
    chart.name == vendor::CHART
}

/// Whether it is the name of a chart in a repository, not a URL, a folder or a file. A bare name is never a folder.
fn is_name(location: &str) -> bool {
    !location.contains('/') && !Path::new(location).is_file()
}

#[cfg(test)]
mod tests;
